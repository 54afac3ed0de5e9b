//! What differs between two releases, by their manifests: files and links that came, went or changed. Reads no tree.

use std::{cmp::Ordering, ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use super::{
    manifest,
    order::{Answer, PreviousRelease},
    refusal::Refusal,
    walk::{ContentId, Entry, EntryKind},
};
use crate::model::printable;

/// The largest manifest that is read, in bytes.
const LARGEST: u64 = 256 << 20;
/// Paths that are named.
const MOST: usize = 2000;
/// All names together, in bytes.
const MOST_BYTES: usize = 192 * 1024;

/// Carries out [`super::order::Order::Diff`].
pub fn run(cache: &Path, from: &PreviousRelease, to: &PreviousRelease) -> Result<Answer, Refusal> {
    Ok(differ(&load(cache, from)?, &load(cache, to)?))
}

/// A release's files and links; directories are told by what is in them.
fn load(cache: &Path, of: &PreviousRelease) -> Result<Vec<Entry>, Refusal> {
    let mut entries = manifest::load_within(LARGEST, cache, &of.release, &of.manifest).map_err(Refusal::new)?;
    entries.retain(|entry| entry.kind != EntryKind::Directory);
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn differ(from: &[Entry], to: &[Entry]) -> Answer {
    let mut told = Told::default();
    let (mut old, mut new) = (from.iter().peekable(), to.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        match (a, b) {
            (Some(a), Some(b)) if same(a, b) => {}
            (Some(_), Some(b)) => told.tell('M', b),
            (None, Some(b)) => told.tell('A', b),
            (Some(a), None) => told.tell('D', a),
            (None, None) => {}
        }
    }
    let Told { added, removed, changed, names, .. } = told;
    Answer::Differs { added, removed, changed, names }
}

/// By content and mode. What is known of two files in different ways is not known to be the same.
fn same(a: &Entry, b: &Entry) -> bool {
    match (&a.kind, &b.kind) {
        (EntryKind::Link(a), EntryKind::Link(b)) => a == b,
        (EntryKind::File(_, ContentId::Unread), _) => a == b,
        (EntryKind::File(size, id), EntryKind::File(other, of)) => (size, id, a.mode) == (other, of, b.mode),
        _ => false,
    }
}

#[derive(Default)]
struct Told {
    added: u64,
    removed: u64,
    changed: u64,
    names: Vec<(char, String)>,
    bytes: usize,
}

impl Told {
    fn tell(&mut self, how: char, entry: &Entry) {
        match how {
            'A' => self.added += 1,
            'D' => self.removed += 1,
            _ => self.changed += 1,
        }
        let name = printable(&OsStr::from_bytes(&entry.path).to_string_lossy());
        self.bytes += name.len() + 8;
        // From the first that does not fit none is named, so that what is named is the beginning.
        if self.bytes > MOST_BYTES {
            self.bytes = MOST_BYTES + 1;
        } else if self.names.len() < MOST {
            self.names.push((how, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::walk::Stamp;

    fn entry(path: &[u8], kind: EntryKind) -> Entry {
        Entry { path: path.to_vec(), kind, mode: 0o644, stamp: Stamp::default() }
    }

    fn file(path: &[u8], content: u8) -> Entry {
        entry(path, EntryKind::File(1, ContentId::Sha256([content; 32])))
    }

    #[test]
    fn what_came_went_and_changed_is_told_in_order() {
        let link = |to: &[u8]| entry(b"public/storage", EntryKind::Link(to.to_vec()));
        let from = [file(b"a", 1), file(b"b", 1), file(b"c", 1), link(b"x")];
        let to = [file(b"a", 1), file(b"aa\x1b[2J", 1), file(b"b", 2), link(b"y")];
        let Answer::Differs { added, removed, changed, names } = differ(&from, &to) else { panic!("another answer") };
        assert_eq!((added, removed, changed), (1, 1, 2));
        let names: Vec<_> = names.iter().map(|(how, name)| format!("{how} {name}")).collect();
        assert_eq!(names, ["A aa\\u{1b}[2J", "M b", "D c", "M public/storage"]);
        assert_eq!(differ(&from, &from), Answer::Differs { added: 0, removed: 0, changed: 0, names: Vec::new() });
    }

    #[test]
    fn the_answer_is_bounded_and_the_counts_are_not() {
        let many: Vec<_> =
            (0..10_000).map(|n| file(format!("{n:05}/{}", "\u{1b}".repeat(200)).as_bytes(), 1)).collect();
        let answer = differ(&[], &many);
        let Answer::Differs { added, ref names, .. } = answer else { panic!("another answer") };
        assert!(added == 10_000 && !names.is_empty() && names.len() < MOST);
        assert!(serde_json::to_vec(&answer).unwrap().len() < super::super::order::MAX_LINE);
    }
}
