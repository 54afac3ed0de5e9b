//! Rooted directories: every path operation of root's goes through a directory handle, never through a path that someone
//! else can change. Opened with openat2(RESOLVE_NO_SYMLINKS); entries are single components.

use std::{os::fd::OwnedFd, path::Path};

/// What went wrong, where, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The verb.
        what: &'static str,
        /// Where.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is there, but not as it must be.
    #[error("{path} {wrong}")]
    Shape {
        /// Where.
        path: String,
        /// What is wrong and the remedy.
        wrong: String,
    },
}

/// An open directory whose owner is root, and the path it was opened by, for messages only.
#[derive(Debug)]
pub struct Dir {
    /// The handle.
    pub fd: OwnedFd,
    /// For messages.
    pub path: String,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Nothing there.
    Missing,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A regular file.
    File,
    /// Device, fifo, socket.
    Other,
}

impl Dir {
    /// Opens an absolute directory; no component may be a symbolic link.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        let _ = path;
        todo!()
    }
    /// Opens a directory, making it (mode) if it is missing; its parent must exist. No symbolic link on the way.
    pub fn open_or_make(path: &Path, mode: u32) -> Result<Self, TreeError> {
        let _ = (path, mode);
        todo!()
    }
    /// Owner and permission bits of this directory: uid, gid, mode & 0o7777.
    pub fn owner(&self) -> Result<(u32, u32, u32), TreeError> {
        todo!()
    }
    /// fchown and fchmod of this directory itself.
    pub fn set_owner(&self, uid: u32, gid: u32, mode: u32) -> Result<(), TreeError> {
        let _ = (uid, gid, mode);
        todo!()
    }
    /// What an entry is; links are not followed.
    pub fn kind(&self, name: &str) -> Result<EntryKind, TreeError> {
        let _ = name;
        todo!()
    }
    /// Opens a directory in this one; it may not be a link, nor on another file system.
    pub fn dir(&self, name: &str) -> Result<Dir, TreeError> {
        let _ = name;
        todo!()
    }
    /// Makes a directory in this one and opens it; an error when the name is taken.
    pub fn make_dir(&self, name: &str, mode: u32) -> Result<Dir, TreeError> {
        let _ = (name, mode);
        todo!()
    }
    /// The names in this directory, sorted, without `.` and `..`; names that are not UTF-8 are left out.
    pub fn names(&self) -> Result<Vec<String>, TreeError> {
        todo!()
    }
    /// The text of a symbolic link.
    pub fn read_link(&self, name: &str) -> Result<String, TreeError> {
        let _ = name;
        todo!()
    }
    /// Makes `name` a link to `target` by one rename over whatever link is there, by way of `name.<token>.tmp`.
    /// Refuses when `name` is a directory. Not yet durable: call [`Dir::sync`].
    pub fn swap_link(&self, name: &str, target: &str, token: &str) -> Result<(), TreeError> {
        let _ = (name, target, token);
        todo!()
    }
    /// Removes left-over `name.*.tmp` links; returns how many.
    pub fn clean_links(&self, name: &str) -> Result<usize, TreeError> {
        let _ = name;
        todo!()
    }
    /// Renames an entry within this directory; an error when the new name is taken.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), TreeError> {
        let _ = (from, to);
        todo!()
    }
    /// Removes a link or a file.
    pub fn unlink(&self, name: &str) -> Result<(), TreeError> {
        let _ = name;
        todo!()
    }
    /// Removes an empty directory.
    pub fn remove_dir(&self, name: &str) -> Result<(), TreeError> {
        let _ = name;
        todo!()
    }
    /// Writes a file beside, syncs it, renames it over `name` and syncs this directory.
    pub fn write(&self, name: &str, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<(), TreeError> {
        let _ = (name, content, mode, owner);
        todo!()
    }
    /// Like [`Dir::write`], but not synced: for what may be lost with the machine (/run).
    pub fn write_volatile(&self, name: &str, content: &[u8], mode: u32) -> Result<(), TreeError> {
        let _ = (name, content, mode);
        todo!()
    }
    /// Reads a regular file of at most `max` bytes; no link is followed. `None`: not there.
    pub fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, TreeError> {
        let _ = (name, max);
        todo!()
    }
    /// fsync of this directory.
    pub fn sync(&self) -> Result<(), TreeError> {
        todo!()
    }
    /// syncfs: everything written so far to this directory's file system is on disk when it returns.
    pub fn sync_file_system(&self) -> Result<(), TreeError> {
        todo!()
    }
    /// Whether both directories are on one file system.
    pub fn same_file_system(&self, other: &Dir) -> Result<bool, TreeError> {
        let _ = other;
        todo!()
    }
    /// The file system's magic number (statfs).
    pub fn file_system(&self) -> Result<i64, TreeError> {
        todo!()
    }
}

/// An exclusive lock on a file (flock), held until dropped; dies with its holder.
#[derive(Debug)]
pub struct Lock {}

impl Lock {
    /// Takes the lock if it is free. `Ok(Err(holder))`: the text that the holder wrote into the file, printable.
    pub fn try_take(dir: &Dir, name: &str, holder: &str) -> Result<Result<Lock, String>, TreeError> {
        let _ = (dir, name, holder);
        todo!()
    }
    /// Waits for the lock (in a thread of its own) and takes it.
    pub async fn take(dir: &Dir, name: &str, holder: &str) -> Result<Lock, TreeError> {
        let _ = (dir, name, holder);
        todo!()
    }
}
