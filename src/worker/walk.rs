//! Reads a whole tree by handles: what is there, sorted, and the digest of each file. Changes nothing.

use std::{
    ffi::OsStr,
    io::Read,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::{
    fs::{self, FileType, RawDir, Stat},
    io::Errno,
};
use sha2::{Digest, Sha256};

pub use super::content_id::ContentId;
use super::{
    directories::{Directories, Reading},
    refusal::Refusal,
    rooted::{self, MAX_PATH},
    threads::together,
};

/// The most entries of a tree.
pub const MAX_ENTRIES: usize = 2_000_000;
/// Files that a reader takes at once.
const BATCH: usize = 16;
/// Of a reader, in bytes.
const BUFFER: usize = 128 * 1024;

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the top.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits, 0o7777.
    pub mode: u32,
    /// What tells a file from what it was before; of other entries nothing.
    pub stamp: Stamp,
}

/// What the file system knows a file by: whoever writes it changes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Its number.
    pub inode: u64,
    /// Modified, in nanoseconds since 1970.
    pub modified: i128,
    /// Changed: nobody can set this one back.
    pub changed: i128,
}

impl Stamp {
    /// A file's.
    pub fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanos| i128::from(seconds) * 1_000_000_000 + i128::from(nanos as i64);
        Self {
            inode: stat.st_ino,
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file: its size and its content.
    File(u64, ContentId),
    /// A symbolic link and its text.
    Link(Vec<u8>),
}

/// Lists everything below `root`, sorted by path, without reading files, with a few threads. Refuses devices, fifos,
/// sockets and mounts.
///
/// The content of the directories of `except` is left out. `top` is for messages. Of several reasons to refuse it any
/// one is told.
pub fn list(root: BorrowedFd<'_>, top: &Path, except: &[String]) -> Result<Vec<Entry>, Refusal> {
    let (directories, count) = (Directories::of_tree(), AtomicUsize::new(0));
    let reader = || -> Result<Vec<Entry>, Refusal> {
        let mut entries = Vec::new();
        let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
        while let Some(mut reading) = directories.next() {
            if except.iter().any(|path| path.as_bytes() == reading.path) {
                continue;
            }
            if let Err(refusal) = list_one(root, top, &mut reading, &mut buffer, (&mut entries, &count)) {
                directories.give_up();
                return Err(refusal);
            }
        }
        Ok(entries)
    };
    let mut entries = Vec::new();
    for found in together(reader) {
        entries.append(&mut found?);
    }
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

/// What one directory has, and `count` what all have. The directories in it are found.
fn list_one(
    root: BorrowedFd<'_>,
    top: &Path,
    reading: &mut Reading<'_>,
    buffer: &mut [MaybeUninit<u8>],
    (entries, count): (&mut Vec<Entry>, &AtomicUsize),
) -> Result<(), Refusal> {
    let Reading { path: parent, found, .. } = reading;
    let place = |name: &[u8]| top.join(OsStr::from_bytes(name));
    let dir = if parent.is_empty() { rooted::open_dir(root, c".") } else { rooted::open_dir(root, &parent[..]) }
        .map_err(|error| match error {
            Errno::XDEV => Refusal::with(
                format!("{} is a mount point", place(parent).display()),
                "unmount it, or name it a shared path",
            ),
            error => Refusal::io("open", place(parent), error),
        })?;
    let mut names = RawDir::new(dir.as_fd(), buffer);
    while let Some(entry) = names.next() {
        let entry = entry.map_err(|error| Refusal::io("read", place(parent), error))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let mut path = parent.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if path.len() > MAX_PATH || count.fetch_add(1, Ordering::Relaxed) >= MAX_ENTRIES {
            return Err(Refusal::new(format!("{} is too deep or has too many entries", top.display())));
        }
        let Some(stat) =
            rooted::look(&dir, entry.file_name()).map_err(|error| Refusal::io("look at", place(&path), error))?
        else {
            continue;
        };
        let kind = match rooted::kind(&stat) {
            FileType::Directory => {
                found.push(path.clone());
                EntryKind::Directory
            }
            FileType::RegularFile => EntryKind::File(u64::try_from(stat.st_size).unwrap_or(0), ContentId::Unread),
            FileType::Symlink => {
                let target = fs::readlinkat(&dir, entry.file_name(), Vec::new())
                    .map_err(|error| Refusal::io("read the link", place(&path), error))?;
                EntryKind::Link(target.into_bytes())
            }
            _ => {
                return Err(Refusal::with(
                    format!("{} is a device, a fifo or a socket", place(&path).display()),
                    "remove it, or keep it in a shared directory",
                ));
            }
        };
        let stamp = if matches!(kind, EntryKind::File(..)) { Stamp::of(&stat) } else { Stamp::default() };
        entries.push(Entry { path, kind, mode: stat.st_mode & 0o7777, stamp });
    }
    Ok(())
}

/// Reads every file of `entries` whose content nobody knows, and puts its true size and digest there, with a few threads.
pub fn read_files(root: BorrowedFd<'_>, top: &Path, entries: &mut [Entry]) -> Result<(), Refusal> {
    let files: Vec<usize> = entries
        .iter()
        .enumerate()
        .filter(|(_, e)| matches!(e.kind, EntryKind::File(_, ContentId::Unread)))
        .map(|(i, _)| i)
        .collect();
    let next = AtomicUsize::new(0);
    let (shared, files) = (&*entries, &files[..]);
    let reader = || -> Result<Vec<(usize, u64, [u8; 32])>, Refusal> {
        let mut found = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let from = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = files.get(from..files.len().min(from + BATCH)).filter(|batch| !batch.is_empty()) else {
                return Ok(found);
            };
            for index in batch {
                let Some(entry) = shared.get(*index) else { continue };
                let (size, digest) = digest(root, &entry.path, &mut buffer)
                    .map_err(|error| Refusal::io("read", top.join(OsStr::from_bytes(&entry.path)), error))?;
                found.push((*index, size, digest));
            }
        }
    };
    for result in together(reader) {
        for (index, size, digest) in result? {
            if let Some(entry) = entries.get_mut(index) {
                entry.kind = EntryKind::File(size, ContentId::Sha256(digest));
            }
        }
    }
    Ok(())
}

fn digest(root: BorrowedFd<'_>, path: &[u8], buffer: &mut [u8]) -> std::io::Result<(u64, [u8; 32])> {
    let (file, _) = rooted::open_file(root, path)?;
    let mut file = std::fs::File::from(file);
    let mut hasher = Sha256::new();
    let mut size = 0;
    loop {
        match file.read(buffer)? {
            0 => return Ok((size, hasher.finalize().into())),
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
}

/// SHA-256 over the entries in their order (path, kind, mode, size and content or link text), hexadecimal.
///
/// Every field is preceded by its length, so that no two lists have one text.
pub fn listing(entries: &[Entry], mode: impl Fn(&Entry) -> u32) -> String {
    let mut hasher = Sha256::new();
    for entry in entries {
        hasher.update((entry.path.len() as u64).to_le_bytes());
        hasher.update(&entry.path);
        hasher.update(mode(entry).to_le_bytes());
        match &entry.kind {
            EntryKind::Directory => hasher.update(b"d"),
            EntryKind::File(size, id) => {
                hasher.update(b"f");
                hasher.update(size.to_le_bytes());
                match id {
                    ContentId::Unread => {}
                    ContentId::Sha256(id) | ContentId::Git256(id) => hasher.update(id),
                    ContentId::Git1(id) => hasher.update(id),
                }
            }
            EntryKind::Link(target) => {
                hasher.update(b"l");
                hasher.update((target.len() as u64).to_le_bytes());
                hasher.update(target);
            }
        }
    }
    hex::encode(hasher.finalize())
}

/// Number of entries that are not directories, and the bytes of the files.
pub fn count(entries: &[Entry]) -> (u64, u64) {
    entries.iter().fold((0, 0), |(files, bytes), entry| match entry.kind {
        EntryKind::Directory => (files, bytes),
        EntryKind::File(size, _) => (files + 1, bytes + size),
        EntryKind::Link(_) => (files + 1, bytes),
    })
}
