//! A release's manifest: every entry, by which content it has and by what the file system knows it.
//!
//! The worker keeps it in the app's cache, `manifests/ID`, as text with NUL between the entries; the engine records its
//! digest, so that the next deployment shares files only on the word of a manifest that is as it was at the seal.

use std::{
    fmt::Write as _,
    io::Read,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    refusal::Refusal,
    rooted,
    walk::{ContentId, Entry, EntryKind, Stamp},
};

/// The first entry: the format, for later ones.
const HEAD: &[u8] = b"deployd manifest 1";
/// The largest manifest that is read, in bytes: of as many entries as a tree may have, with names of usual length.
const MAX_BYTES: u64 = 1 << 30;

/// A release's file in the cache.
pub fn place(cache: &Path, release: &Path) -> Result<PathBuf, Refusal> {
    let id = release.file_name().ok_or_else(|| Refusal::new("a release without a name"))?;
    Ok(cache.join("manifests").join(id))
}

/// Writes the manifest of a release and returns its digest. Those whose release is gone are removed.
pub fn save(cache: &Path, release: &Path, entries: &[Entry]) -> Result<String, Refusal> {
    let (place, text) = (place(cache, release)?, encode(entries));
    let beside = place.with_extension("new");
    let dir = cache.join("manifests");
    let write = || {
        std::fs::create_dir_all(&dir)?;
        std::fs::write(&beside, &text)?;
        std::fs::rename(&beside, &place)
    };
    write().map_err(|error| Refusal::io("write", &place, error))?;
    if let Some(releases) = release.parent() {
        forget(&dir, releases);
    }
    Ok(hex::encode(Sha256::digest(&text)))
}

/// Removes manifests of releases that are gone. One that stays does no harm.
fn forget(dir: &Path, releases: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !releases.join(entry.file_name()).exists() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The entries of a release, if its manifest is the one that was recorded with this digest.
pub fn load(cache: &Path, release: &Path, digest: &str) -> Result<Vec<Entry>, String> {
    load_within(MAX_BYTES, cache, release, digest)
}

/// The same of a manifest that is no larger than so many bytes: one that is was written by another than deployd, or takes
/// longer than whoever asks has.
pub fn load_within(largest: u64, cache: &Path, release: &Path, digest: &str) -> Result<Vec<Entry>, String> {
    let place = place(cache, release).map_err(|refusal| refusal.to_string())?;
    let name = place.file_name().unwrap_or_default();
    let mut text = Vec::new();
    let dir = rooted::open(&cache.join("manifests")).map_err(|refusal| refusal.to_string())?;
    let (file, stat) =
        rooted::open_file(&dir, name).map_err(|error| format!("cannot read {}: {error}", place.display()))?;
    if u64::try_from(stat.st_size).map_or(true, |size| size > largest) {
        return Err(format!("{} has {} bytes, and no more than {largest} are read", place.display(), stat.st_size));
    }
    let read = std::fs::File::from(file).take(largest).read_to_end(&mut text);
    read.map_err(|error| format!("cannot read {}: {error}", place.display()))?;
    if hex::encode(Sha256::digest(&text)) != digest {
        return Err(format!("{} is not as it was when the release was sealed", place.display()));
    }
    decode(&text).ok_or_else(|| format!("{} is of another format", place.display()))
}

/// The entries as text: `d MODE PATH`, `l MODE LENGTH-OF-TEXT PATH TEXT`, or
/// `f MODE SIZE ID INODE MODIFIED CHANGED PATH`, times in nanoseconds.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 140);
    let mut line = String::new();
    out.extend_from_slice(HEAD);
    out.push(0);
    for entry in entries {
        line.clear();
        // Writing to a string cannot fail.
        let _ = match &entry.kind {
            EntryKind::Directory => write!(line, "d {:o} ", entry.mode),
            EntryKind::Link(target) => write!(line, "l {:o} {} ", entry.mode, target.len()),
            EntryKind::File(size, id) => {
                let Stamp { inode, modified, changed } = entry.stamp;
                write!(line, "f {:o} {size} {id} {inode} {modified} {changed} ", entry.mode)
            }
        };
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(&entry.path);
        if let EntryKind::Link(target) = &entry.kind {
            out.push(b' ');
            out.extend_from_slice(target);
        }
        out.push(0);
    }
    out
}

/// The entries of such a text.
pub fn decode(text: &[u8]) -> Option<Vec<Entry>> {
    let mut records = text.strip_suffix(b"\0")?.split(|byte| *byte == 0);
    if records.next()? != HEAD {
        return None;
    }
    records.map(decode_one).collect()
}

fn decode_one(record: &[u8]) -> Option<Entry> {
    let mut rest = record;
    let kind = word(&mut rest)?;
    let mode = u32::from_str_radix(word(&mut rest)?, 8).ok()?;
    let (kind, path, stamp) = match kind {
        "d" => (EntryKind::Directory, rest, Stamp::default()),
        "l" => {
            let length: usize = word(&mut rest)?.parse().ok()?;
            let (path, target) = rest.split_at_checked(rest.len().checked_sub(length)?)?;
            (EntryKind::Link(target.to_vec()), path.strip_suffix(b" ")?, Stamp::default())
        }
        "f" => {
            let size = word(&mut rest)?.parse().ok()?;
            let id = ContentId::parse(word(&mut rest)?)?;
            let inode = word(&mut rest)?.parse().ok()?;
            let modified = word(&mut rest)?.parse().ok()?;
            let changed = word(&mut rest)?.parse().ok()?;
            (EntryKind::File(size, id), rest, Stamp { inode, modified, changed })
        }
        _ => return None,
    };
    Some(Entry { path: path.to_vec(), kind, mode, stamp })
}

/// Takes a word and the blank behind it.
fn word<'t>(rest: &mut &'t [u8]) -> Option<&'t str> {
    let at = rest.iter().position(|byte| *byte == b' ')?;
    let (word, tail) = rest.split_at_checked(at)?;
    *rest = tail.get(1..)?;
    std::str::from_utf8(word).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let stamp = Stamp { inode: 7, modified: 1_700_000_000_123_456_789, changed: -5 };
        let entry = |path: &[u8], kind, mode, stamp| Entry { path: path.to_vec(), kind, mode, stamp };
        vec![
            entry(b"a b", EntryKind::Directory, 0o755, Stamp::default()),
            entry(b"a b/\xff\n x", EntryKind::File(3, ContentId::Sha256([9; 32])), 0o444, stamp),
            entry(b"git", EntryKind::File(0, ContentId::git(&"0a".repeat(20)).unwrap()), 0o555, stamp),
            entry(b"link with blanks", EntryKind::Link(b"to a b ".to_vec()), 0o777, Stamp::default()),
        ]
    }

    #[test]
    fn what_is_saved_is_what_is_loaded() {
        let tree = tempfile::tempdir().unwrap();
        let (cache, release) = (tree.path().join("cache"), tree.path().join("releases/1"));
        std::fs::create_dir_all(&release).unwrap();
        let digest = save(&cache, &release, &entries()).unwrap();
        assert_eq!(load(&cache, &release, &digest).unwrap(), entries());
        assert!(load(&cache, &release, &"0".repeat(64)).unwrap_err().contains("not as it was"));
        // Seen before anything of it is read: a hole of any size costs nobody a disk.
        let file = std::fs::File::options().write(true).open(place(&cache, &release).unwrap()).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        assert!(load(&cache, &release, &digest).unwrap_err().contains("no more than"));
        let second = tree.path().join("releases/2");
        std::fs::create_dir_all(&second).unwrap();
        std::fs::remove_dir(&release).unwrap();
        save(&cache, &second, &[]).unwrap();
        assert!(load(&cache, &release, &digest).unwrap_err().contains("cannot read"), "its release is gone");
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        for bad in [&b""[..], b"\0", b"deployd manifest 2\0", b"deployd manifest 1\0f 644 1 x 1 1 1 p\0"] {
            assert_eq!(decode(bad), None);
        }
        assert_eq!(decode(b"deployd manifest 1\0"), Some(Vec::new()));
    }
}
