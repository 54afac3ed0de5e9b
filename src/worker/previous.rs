//! The release before, as a source of files that did not change: only what its manifest says, and only what is still
//! as the manifest says.

use std::{
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::fs::Stat;

use super::{
    exporter::is_below,
    manifest,
    order::PreviousRelease,
    rooted,
    walk::{ContentId, Entry, EntryKind, Stamp},
};

/// A file of the release before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// In bytes.
    pub size: u64,
    /// Its content.
    pub id: ContentId,
    /// Permission bits.
    pub mode: u32,
    /// What the file system knew it by.
    pub stamp: Stamp,
}

impl Known {
    /// Whether it is as it was, by everything that a link to it leaves as it was.
    pub fn is_still(&self, stat: &Stat) -> bool {
        let now = Stamp::of(stat);
        let size = u64::try_from(stat.st_size).ok();
        (size, stat.st_mode & 0o7777) == (Some(self.size), self.mode)
            && (now.inode, now.modified) == (self.stamp.inode, self.stamp.modified)
    }

    /// Whether nothing at all was done to it, not even a link made or a time set back.
    pub fn is_untouched(&self, stat: &Stat) -> bool {
        self.is_still(stat) && Stamp::of(stat).changed == self.stamp.changed
    }
}

/// The release before.
#[derive(Debug)]
pub struct Previous {
    root: OwnedFd,
    files: HashMap<Vec<u8>, Known>,
    /// Directories and links, in order.
    others: Vec<Entry>,
}

impl Previous {
    /// Opens the release and reads its manifest. Without one that is as it was recorded nothing is shared: that costs
    /// time and is told, and is no reason to fail.
    pub fn open(cache: &Path, order: &PreviousRelease) -> Option<Self> {
        let opened = manifest::load(cache, &order.release, &order.manifest).and_then(|entries| {
            let root = rooted::open(&order.release).map_err(|refusal| refusal.to_string())?;
            let (files, others): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|entry| matches!(entry.kind, EntryKind::File(..)));
            Ok(Self { root, files: known(files), others })
        });
        match opened {
            Ok(previous) => Some(previous),
            Err(why) => {
                tracing::info!("nothing is shared with {}: {why}", order.release.display());
                None
            }
        }
    }

    /// Its top.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The file at `path`, if it had this content then.
    pub fn with(&self, path: &[u8], id: ContentId) -> Option<&Known> {
        self.files.get(path).filter(|known| known.id == id)
    }

    /// The content that the file at `path` had.
    pub fn content_of(&self, path: &[u8]) -> Option<ContentId> {
        self.files.get(path).map(|known| known.id)
    }

    /// The directories and links at `dir` and below it, in order.
    pub fn others_below<'a>(&'a self, dir: &'a [u8]) -> impl Iterator<Item = &'a Entry> {
        self.others.iter().filter(move |entry| is_below(&entry.path, dir))
    }

    /// The files below `dir`, sorted.
    pub fn files_below(&self, dir: &[u8]) -> Vec<(&[u8], &Known)> {
        let mut found: Vec<_> =
            self.files.iter().filter(|(path, _)| is_below(path, dir)).map(|(path, known)| (&path[..], known)).collect();
        found.sort_unstable_by_key(|(path, _)| *path);
        found
    }
}

fn known(entries: Vec<Entry>) -> HashMap<Vec<u8>, Known> {
    let one = |entry: Entry| match entry.kind {
        EntryKind::File(_, ContentId::Unread) => None,
        EntryKind::File(size, id) => Some((entry.path, Known { size, id, mode: entry.mode, stamp: entry.stamp })),
        EntryKind::Directory | EntryKind::Link(_) => None,
    };
    entries.into_iter().filter_map(one).collect()
}
