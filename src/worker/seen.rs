//! What a source's directory was when it was last read: a file that is the same by device, number, size and both of its
//! times is not read again.
//!
//! Not by time alone: whoever writes a file or puts another in its place changes one of these, and the time of a change
//! cannot be set. A file that was changed in the moment when it was read is read again.

use std::{
    cmp::Ordering,
    io::Read,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    manifest,
    walk::{ContentId, Entry, EntryKind},
};

/// In the app's cache.
const FILE: &str = "directory.seen";
/// The first line: the format, the device, and when it was read.
const HEAD: &str = "deployd seen 1";
/// The largest that is read, in bytes.
const MAX_BYTES: u64 = 1 << 30;
/// What is changed within this of a look, in nanoseconds, may have been changed after it: as coarse as any file system's
/// clock.
const MOMENT: i128 = 1_000_000_000;

/// A look at a directory.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    /// The number of its file system.
    pub device: u64,
    /// When it began, in nanoseconds since 1970.
    pub at: i128,
}

impl Look {
    /// One that begins now.
    pub fn now(device: u64) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { device, at: i128::try_from(since.as_nanos()).unwrap_or_default() }
    }
}

/// What was seen at the last look.
#[derive(Debug, Default)]
pub struct Before(Option<(Look, Vec<Entry>)>);

/// Reads it.
pub fn before(cache: &Path) -> Before {
    let found = load(cache);
    Before(found.inspect_err(|why| tracing::debug!("every file is read: {why}")).ok())
}

/// Puts the content of files there that are as they were; how many must be read.
pub fn fill(before: Before, look: &Look, entries: &mut [Entry]) -> usize {
    let nothing = || (Look { device: look.device, at: i128::MIN }, Vec::new());
    let (before, known) = before.0.filter(|(before, _)| before.device == look.device).unwrap_or_else(nothing);
    let mut known = known.iter().peekable();
    let mut unread = 0;
    for entry in entries {
        let EntryKind::File(size, id) = &mut entry.kind else { continue };
        while known.next_if(|one| one.path.cmp(&entry.path) == Ordering::Less).is_some() {}
        let same = known.next_if(|one| one.path == entry.path).and_then(|one| match one.kind {
            EntryKind::File(was, content) if was == *size && one.stamp == entry.stamp => Some(content),
            _ => None,
        });
        match same.filter(|_| entry.stamp.changed.saturating_add(MOMENT) < before.at) {
            Some(content) => *id = content,
            None => unread += 1,
        }
    }
    unread
}

/// Keeps what was read. Without it every file is read the next time.
pub fn keep(cache: &Path, look: &Look, entries: &[Entry]) {
    let (place, beside) = (cache.join(FILE), cache.join(format!("{FILE}.new")));
    let mut text = format!("{HEAD} {} {}\n", look.device, look.at).into_bytes();
    text.extend(manifest::encode(entries));
    if let Err(error) = std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, &place)) {
        tracing::warn!("{} is not written: {error}, ignoring", place.display());
    }
}

fn load(cache: &Path) -> Result<(Look, Vec<Entry>), String> {
    let place = cache.join(FILE);
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", place.display());
    let mut text = Vec::new();
    std::fs::File::open(&place).map_err(failed)?.take(MAX_BYTES).read_to_end(&mut text).map_err(failed)?;
    parse(&text).ok_or_else(|| format!("{} is of another format", place.display()))
}

fn parse(text: &[u8]) -> Option<(Look, Vec<Entry>)> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let (head, rest) = text.split_at_checked(end)?;
    let (device, at) = std::str::from_utf8(head).ok()?.strip_prefix(HEAD)?.trim_start().split_once(' ')?;
    let look = Look { device: device.parse().ok()?, at: at.parse().ok()? };
    let entries = manifest::decode(rest.get(1..)?)?;
    let known = |entry: &Entry| !matches!(entry.kind, EntryKind::File(_, ContentId::Unread));
    (entries.is_sorted_by(|a, b| a.path < b.path) && entries.iter().all(known)).then_some((look, entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::walk::Stamp;

    fn file(path: &str, changed: i128, id: ContentId) -> Entry {
        let stamp = Stamp { inode: 7, modified: 5, changed };
        Entry { path: path.into(), kind: EntryKind::File(3, id), mode: 0o644, stamp }
    }

    #[test]
    fn only_what_is_the_same_and_was_still_is_not_read_again() {
        let cache = tempfile::tempdir().unwrap();
        let look = || Look { device: 1, at: 10 * MOMENT };
        let read = |path, changed| file(path, changed, ContentId::Sha256([9; 32]));
        let now = |path, changed| file(path, changed, ContentId::Unread);
        let unread = |look: Look, mut entries: Vec<Entry>| {
            let count = fill(before(cache.path()), &look, &mut entries);
            let open = entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File(_, ContentId::Unread)));
            assert_eq!(open.count(), count);
            count
        };
        assert_eq!(unread(look(), vec![now("a", 0)]), 1, "nothing was seen");
        keep(cache.path(), &look(), &[read("a", 0), read("b", 9 * MOMENT), read("c", 0)]);
        assert_eq!(unread(look(), vec![now("a", 0), now("c", 0)]), 0);
        assert_eq!(unread(look(), vec![now("0", 0), now("a", 0), now("bb", 0), now("c", 0)]), 2, "what is new");
        assert_eq!(unread(look(), vec![now("b", 9 * MOMENT)]), 1, "it was changed when it was read");
        assert_eq!(unread(look(), vec![now("a", 1)]), 1, "it was changed since");
        assert_eq!(unread(Look { device: 2, ..look() }, vec![now("a", 0)]), 1, "another file system");
        let mut larger = now("a", 0);
        larger.kind = EntryKind::File(4, ContentId::Unread);
        let mut replaced = now("c", 0);
        replaced.stamp.inode = 8;
        assert_eq!(unread(look(), vec![larger, replaced]), 2);
        for bad in ["", "x", "deployd seen 2 1 1\n", "deployd seen 1 1\n", "deployd seen 1 1 1\ndeployd manifest 2\0"] {
            std::fs::write(cache.path().join(FILE), bad).unwrap();
            assert_eq!(unread(look(), vec![now("a", 0)]), 1, "{bad}");
        }
    }
}
