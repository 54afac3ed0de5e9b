//! Rooted directories: every path operation of root's goes through a directory handle, never through a path that someone
//! else can change. Opened with openat2(RESOLVE_NO_SYMLINKS); entries are single components.

mod files;
mod links;
mod lock;

use std::{
    ffi::OsStr,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path},
};

use rustix::{
    fs::{
        self, AtFlags, CWD, FileType, IFlags, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fchmod, fchown, fstat,
        fstatfs, fsync, ioctl_getflags, ioctl_setflags, mkdirat, openat2, renameat_with, statat, syncfs, unlinkat,
    },
    io::Errno,
    process::{Gid, Uid},
};

pub use self::lock::{Lock, await_unlocked};
use crate::model::printable;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);
const NO_LINKS: ResolveFlags = ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS);

/// What went wrong, where, and the way out.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A system call failed.
    #[error("cannot {what} {path}: {source}{}", remedy(.source))]
    Io {
        /// The verb.
        what: &'static str,
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
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

impl TreeError {
    /// What was asked for is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The way out of an error that has one.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ROFS) => "; remount the file system writable, or name the path in the unit's ReadWritePaths=",
        Some(Errno::NOSPC) => "; free space or inodes there, as `df -h` and `df -i` show",
        Some(Errno::DQUOT) => "; raise the quota or free space there",
        Some(Errno::ACCESS | Errno::PERM) => "; check owner and mode, and what the unit's sandbox leaves",
        Some(Errno::LOOP) => "; a part of it is a symbolic link: write the real path, as `readlink -f` prints it",
        Some(Errno::XDEV) => "; it is on another file system: nothing may be mounted there",
        Some(Errno::NOTDIR) => "; a part of it is not a directory",
        _ => "",
    }
}

/// An open directory and the path it was opened by, for messages only. Who owns it the caller checks by
/// [`Dir::owner`].
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
        let shown = show(path);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain {
            return Err(TreeError::Shape { path: shown, wrong: "is not an absolute path without `..`".into() });
        }
        match openat2(CWD, path, DIRECTORY, Mode::empty(), NO_LINKS) {
            Ok(fd) => Ok(Self { fd, path: shown }),
            Err(error) => Err(TreeError::Io { what: "open the directory", path: shown, source: error.into() }),
        }
    }
    /// Opens a directory, making it (mode) if it is missing; its parent must exist. No symbolic link on the way.
    pub fn open_or_make(path: &Path, mode: u32) -> Result<Self, TreeError> {
        match Self::open(path) {
            Err(TreeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return Self::open(path);
        };
        let parent = Self::open(parent)?;
        match parent.make_dir(name, mode) {
            // Somebody else was faster.
            Err(TreeError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => Self::open(path),
            made => {
                parent.sync()?;
                made
            }
        }
    }
    /// Owner and permission bits of this directory: uid, gid, mode & 0o7777.
    pub fn owner(&self) -> Result<(u32, u32, u32), TreeError> {
        self.stat().map(|stat| (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777))
    }
    /// Which directory this is: the number of its file system, and its own there.
    pub fn identity(&self) -> Result<(u64, u64), TreeError> {
        self.stat().map(|stat| (stat.st_dev, stat.st_ino))
    }
    /// Owner and permission bits of an entry, links not followed: uid, gid, mode & 0o7777. `None`: not there.
    pub fn owner_of(&self, name: &str) -> Result<Option<(u32, u32, u32)>, TreeError> {
        self.component(name)?;
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some((stat.st_uid, stat.st_gid, stat.st_mode & 0o7777))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.entry("look at", name)(error)),
        }
    }
    /// fchown and fchmod of this directory itself.
    pub fn set_owner(&self, uid: u32, gid: u32, mode: u32) -> Result<(), TreeError> {
        let mode = || fchmod(&self.fd, Mode::from_raw_mode(mode)).map_err(self.fail("change the mode of"));
        // Only the owner may change the mode (there is no CAP_FOWNER): given away after it, taken before it.
        let give_away = uid != rustix::process::geteuid().as_raw();
        if give_away {
            mode()?;
        }
        fchown(&self.fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(self.fail("change the owner of"))?;
        if give_away { Ok(()) } else { mode() }
    }
    /// What an entry is; links are not followed.
    pub fn kind(&self, name: &str) -> Result<EntryKind, TreeError> {
        self.component(name)?;
        match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => EntryKind::Directory,
                FileType::Symlink => EntryKind::Link,
                FileType::RegularFile => EntryKind::File,
                _ => EntryKind::Other,
            }),
            Err(Errno::NOENT) => Ok(EntryKind::Missing),
            Err(error) => Err(self.entry("look at", name)(error)),
        }
    }
    /// Opens a directory in this one; it may not be a link, nor on another file system.
    pub fn dir(&self, name: &str) -> Result<Dir, TreeError> {
        self.component(name)?;
        let resolve = NO_LINKS | ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
        let fd = openat2(&self.fd, name, DIRECTORY, Mode::empty(), resolve);
        Ok(Dir { fd: fd.map_err(self.entry("open the directory", name))?, path: self.at(name) })
    }
    /// Makes a directory in this one and opens it; an error when the name is taken.
    pub fn make_dir(&self, name: &str, mode: u32) -> Result<Dir, TreeError> {
        self.component(name)?;
        // At once as it shall be: whoever is ended before the next call leaves one that is of use.
        mkdirat(&self.fd, name, Mode::from_raw_mode(mode)).map_err(self.entry("make the directory", name))?;
        let made = self.dir(name)?;
        // Whatever the umask is.
        fchmod(&made.fd, Mode::from_raw_mode(mode)).map_err(made.fail("change the mode of"))?;
        Ok(made)
    }
    /// The names in this directory, sorted, without `.` and `..`; names that are not UTF-8 are left out.
    pub fn names(&self) -> Result<Vec<String>, TreeError> {
        let fail = || self.fail("list");
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd).map_err(fail())? {
            let entry = entry.map_err(fail())?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }
    /// Renames an entry within this directory; an error when the new name is taken.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), TreeError> {
        self.component(from)?;
        self.component(to)?;
        renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE).map_err(|error| match error {
            Errno::EXIST => self.entry("rename an entry to", to)(error),
            other => self.entry("rename", from)(other),
        })
    }
    /// Removes a link or a file.
    pub fn unlink(&self, name: &str) -> Result<(), TreeError> {
        self.component(name)?;
        unlinkat(&self.fd, name, AtFlags::empty()).map_err(self.entry("remove", name))
    }
    /// Removes an empty directory.
    pub fn remove_dir(&self, name: &str) -> Result<(), TreeError> {
        self.component(name)?;
        unlinkat(&self.fd, name, AtFlags::REMOVEDIR).map_err(self.entry("remove the directory", name))
    }
    /// fsync of this directory.
    pub fn sync(&self) -> Result<(), TreeError> {
        fsync(&self.fd).map_err(self.fail("sync"))
    }
    /// Another handle that is the same to the kernel: what it has told one of an error of the disk, it has told both.
    pub fn again(&self) -> Result<Self, TreeError> {
        let failed = |source| TreeError::Io { what: "take another handle of", path: self.path.clone(), source };
        Ok(Self { fd: self.fd.try_clone().map_err(failed)?, path: self.path.clone() })
    }
    /// syncfs: everything written so far to this directory's file system is on disk when it returns.
    pub fn sync_file_system(&self) -> Result<(), TreeError> {
        syncfs(&self.fd).map_err(self.fail("sync the file system of"))
    }
    /// Has the file system place each directory made in this one apart from the others, as ext4 does it for the
    /// directories at its top (`chattr +T`). Without it ext4 puts them all side by side, and whoever makes files steps
    /// over each inode that was removed there within the last minutes (`recently_deleted` in fs/ext4/ialloc.c): beside
    /// a removed tree of 2,000 files the next one takes ten times as long. Other file systems have no such flag.
    pub fn spread(&self) {
        let spread = ioctl_getflags(&self.fd).and_then(|flags| {
            if flags.contains(IFlags::TOPDIR) { Ok(()) } else { ioctl_setflags(&self.fd, flags | IFlags::TOPDIR) }
        });
        if let Err(error) = spread {
            tracing::debug!("{} is not spread: {error}, ignoring", self.path);
        }
    }
    /// Whether both directories are on one file system.
    pub fn same_file_system(&self, other: &Dir) -> Result<bool, TreeError> {
        Ok(self.stat()?.st_dev == other.stat()?.st_dev)
    }
    /// The file system's magic number (statfs).
    pub fn file_system(&self) -> Result<i64, TreeError> {
        // The type differs between architectures.
        #[allow(clippy::useless_conversion)]
        fstatfs(&self.fd).map(|stat| i64::from(stat.f_type)).map_err(self.fail("ask for the file system of"))
    }

    fn stat(&self) -> Result<Stat, TreeError> {
        fstat(&self.fd).map_err(self.fail("look at"))
    }

    /// Refuses what is not the name of one entry.
    fn component(&self, name: &str) -> Result<(), TreeError> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            let wrong = format!("can have no entry named {name:?}: give a single name, not a path");
            return Err(TreeError::Shape { path: self.path.clone(), wrong });
        }
        Ok(())
    }

    /// The path of an entry, for messages.
    fn at(&self, name: &str) -> String {
        format!("{}/{}", self.path.trim_end_matches('/'), printable(name))
    }

    fn fail(&self, what: &'static str) -> impl Fn(Errno) -> TreeError + '_ {
        move |error| TreeError::Io { what, path: self.path.clone(), source: error.into() }
    }

    fn entry<'a>(&'a self, what: &'static str, name: &'a str) -> impl Fn(Errno) -> TreeError + 'a {
        move |error| TreeError::Io { what, path: self.at(name), source: error.into() }
    }

    fn shape(&self, name: &str, wrong: impl Into<String>) -> TreeError {
        TreeError::Shape { path: self.at(name), wrong: wrong.into() }
    }
}

fn show(path: &Path) -> String {
    printable(&String::from_utf8_lossy(path.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests;
