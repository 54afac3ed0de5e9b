//! Built assets of earlier releases (`public/build/app-1a2b3c.js`) stay in the new one for a while, so that a page that a
//! browser got from the old one finds its files.
//!
//! What a release has only for that is noted in the cache, `assets/ID`, with the time since when no build makes it: the
//! release after it takes that over, so that keeping ends, whatever is deployed and pruned meanwhile.

use std::{
    collections::HashMap,
    io::Read,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    order::{Answer, PreviousRelease},
    previous::Previous,
    refusal::Refusal,
    rooted,
    write_tree::TreeWriter,
};

/// The largest list of kept assets that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// What is kept, of which directories and how long.
#[derive(Debug)]
pub struct Keeping<'a> {
    /// The new release.
    pub release: &'a Path,
    /// The app's cache.
    pub cache: &'a Path,
    /// The release before.
    pub previous: &'a PreviousRelease,
    /// Relative directories.
    pub dirs: &'a [String],
    /// Since a build made it last.
    pub keep: Duration,
    /// Seconds since 1970.
    pub now: u64,
}

/// Carries out [`super::order::Order::Assets`].
pub fn run(keeping: &Keeping<'_>) -> Result<Answer, Refusal> {
    let Some(previous) = Previous::open(keeping.cache, keeping.previous) else {
        return Ok(Answer::Done { entries: 0 });
    };
    let root = rooted::open(keeping.release)?;
    let again = root.try_clone().map_err(|error| Refusal::io("open", keeping.release, error))?;
    let mut writer = TreeWriter::new(again, keeping.release);
    let since = list(&place(keeping.cache, &keeping.previous.release)?);
    let mut kept = Vec::new();
    for dir in keeping.dirs {
        rooted::parts(dir)?;
        for (path, known) in previous.files_below(dir.as_bytes()) {
            let Ok(text) = std::str::from_utf8(path) else { continue };
            let last = since.get(path).copied().unwrap_or(keeping.now);
            if keeping.now.saturating_sub(last) > keeping.keep.as_secs() || rooted::is_there(&root, text) {
                continue;
            }
            let Some((from, stat)) = writer.open_source(path, previous.root()) else { continue };
            // What was changed in place is not what a build made.
            if known.is_still(&stat) && writer.copy(path, known.mode, &from.into(), known.size, true).is_ok() {
                kept.push((last, path.to_vec()));
            }
        }
    }
    save(keeping, &kept)?;
    Ok(Answer::Done { entries: kept.len() as u64 })
}

fn place(cache: &Path, release: &Path) -> Result<PathBuf, Refusal> {
    let id = release.file_name().ok_or_else(|| Refusal::new("a release without a name"))?;
    Ok(cache.join("assets").join(id))
}

/// `SECONDS PATH`, with NUL between: what one release had kept. Without a list it had nothing.
fn list(place: &Path) -> HashMap<Vec<u8>, u64> {
    let mut text = Vec::new();
    let read = std::fs::File::open(place).and_then(|file| file.take(MAX_LIST).read_to_end(&mut text));
    if read.is_err() {
        return HashMap::new();
    }
    let one = |line: &[u8]| {
        let blank = line.iter().position(|byte| *byte == b' ')?;
        let (seconds, path) = line.split_at_checked(blank)?;
        Some((path.get(1..)?.to_vec(), std::str::from_utf8(seconds).ok()?.parse().ok()?))
    };
    text.split(|byte| *byte == 0).filter_map(one).collect()
}

/// Writes the list; those of releases that are gone are removed.
fn save(keeping: &Keeping<'_>, kept: &[(u64, Vec<u8>)]) -> Result<(), Refusal> {
    let place = place(keeping.cache, keeping.release)?;
    let dir = keeping.cache.join("assets");
    let mut text = Vec::new();
    for (last, path) in kept {
        text.extend_from_slice(format!("{last} ").as_bytes());
        text.extend_from_slice(path);
        text.push(0);
    }
    let write = || std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&place, &text));
    write().map_err(|error| Refusal::io("write", &place, error))?;
    let releases = keeping.release.parent().unwrap_or(keeping.release);
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        if !entry.file_name().as_bytes().is_empty() && !releases.join(entry.file_name()).exists() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{seal, testing};

    #[test]
    fn assets_stay_until_their_time_is_over_and_new_ones_are_not_touched() {
        let tree = tempfile::tempdir().unwrap();
        let cache = tree.path().join("cache");
        std::fs::create_dir(&cache).unwrap();
        let (dirs, keep) = (["build".to_owned()], Duration::from_secs(100));
        let release = |name: &str| tree.path().join("releases").join(name);
        let build = |name: &str, files: &[&str], previous: Option<&PreviousRelease>, now: u64| {
            let release = release(name);
            std::fs::create_dir_all(release.join("build")).unwrap();
            files.iter().for_each(|file| std::fs::write(release.join("build").join(file), name).unwrap());
            if let Some(previous) = previous {
                run(&Keeping { release: &release, cache: &cache, previous, dirs: &dirs, keep, now }).unwrap();
            }
            match seal::run(&release, &cache, &[], None).unwrap() {
                Answer::Sealed { manifest, .. } => PreviousRelease { release, manifest },
                other => panic!("{other:?}"),
            }
        };
        let has = |name: &str| testing::tree(&release(name));
        let first = build("1", &["a-1.js", "manifest.json"], None, 0);
        let second = build("2", &["a-2.js", "manifest.json"], Some(&first), 1000);
        assert_eq!(has("2"), ["build/ 755", "build/a-1.js 644 1", "build/a-2.js 644 2", "build/manifest.json 644 2"]);
        let third = build("3", &["a-3.js", "manifest.json"], Some(&second), 1050);
        assert_eq!(has("3").len(), 5, "a-1, a-2 and a-3");
        std::fs::remove_dir_all(release("1")).unwrap();
        let fourth = build("4", &["a-4.js", "manifest.json"], Some(&third), 1120);
        let expected = [
            "build/ 755",
            "build/a-2.js 644 2",
            "build/a-3.js 644 3",
            "build/a-4.js 644 4",
            "build/manifest.json 644 4",
        ];
        assert_eq!(has("4"), expected, "a-1 was last made for 1, until 1000");
        assert!(!cache.join("assets/1").exists());
        build("5", &["a-1.js"], Some(&fourth), 1130);
        assert!(has("5").contains(&"build/a-1.js 644 5".to_owned()), "made again");
    }
}
