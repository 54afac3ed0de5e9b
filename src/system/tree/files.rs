//! Regular files of a rooted directory: read whole and bounded, replaced whole. Nothing is changed in place.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{FileType, Mode, OFlags, fchmod, fchown, fstat, openat, renameat},
    io::Errno,
    process::{Gid, Uid},
};

use super::{Dir, EntryKind, TreeError};

/// Tells apart the files that one process writes beside.
static WRITES: AtomicU64 = AtomicU64::new(0);

impl Dir {
    /// Writes a file beside, syncs it, renames it over `name` and syncs this directory. The file gets this directory's
    /// group, so that `mode` says what that group may.
    pub fn write(&self, name: &str, content: &[u8], mode: u32) -> Result<(), TreeError> {
        self.replace(name, content, mode, None)?;
        self.sync()
    }
    /// Like [`Dir::write`], for a file of another group than the directory's.
    pub fn write_for(&self, gid: u32, name: &str, content: &[u8], mode: u32) -> Result<(), TreeError> {
        self.replace(name, content, mode, Some(gid))?;
        self.sync()
    }
    /// Like [`Dir::write`], without waiting for the directory: for /run, which goes with the machine.
    pub fn write_volatile(&self, name: &str, content: &[u8], mode: u32) -> Result<(), TreeError> {
        self.replace(name, content, mode, None)
    }
    fn replace(&self, name: &str, content: &[u8], mode: u32, group: Option<u32>) -> Result<(), TreeError> {
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let beside = format!(".{name}.{}-{number}.tmp", std::process::id());
        self.component(name)?;
        self.component(&beside)?;
        let written = self
            .write_new(&beside, content, mode, group)
            .and_then(|()| renameat(&self.fd, beside.as_str(), &self.fd, name).map_err(self.entry("replace", name)));
        if let Err(error) = written {
            // The first failure is the one to tell.
            let _ = self.unlink(&beside);
            return Err(error);
        }
        Ok(())
    }
    /// Removes what a process that was killed while it wrote `name` left beside it; returns how many. Only for the
    /// holder of the lock that `name` is written under.
    pub fn clean_writes(&self, name: &str) -> Result<usize, TreeError> {
        self.component(name)?;
        self.clean(&format!(".{name}."), EntryKind::File)
    }
    /// Reads a regular file of at most `max` bytes; no link is followed. `None`: not there.
    pub fn read(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, TreeError> {
        self.component(name)?;
        // Not blocking, or a fifo would hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.shape(name, "is a symbolic link; put the file itself there")),
            Err(error) => return Err(self.entry("open", name)(error)),
        };
        self.check_regular(name, &file)?;
        let mut content = Vec::new();
        let read = File::from(file).take(max.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|source| TreeError::Io { what: "read", path: self.at(name), source })?;
        if u64::try_from(content.len()).is_ok_and(|length| length > max) {
            return Err(self.shape(name, format!("is longer than {max} bytes; it is not what is expected there")));
        }
        Ok(Some(content))
    }

    /// Gives a regular file that has no other name to a user. `false`: not there.
    pub fn give_file(&self, name: &str, uid: u32, gid: u32) -> Result<bool, TreeError> {
        self.component(name)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(false),
            Err(Errno::LOOP) => return Err(self.shape(name, "is a symbolic link; put the file itself there")),
            Err(error) => return Err(self.entry("open", name)(error)),
        };
        self.check_regular(name, &file)?;
        if fstat(&file).map_err(self.entry("look at", name))?.st_nlink != 1 {
            return Err(self.shape(name, "has another name besides; it is not what is expected there"));
        }
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .map_err(self.entry("change the owner of", name))?;
        Ok(true)
    }

    /// Refuses a device, a fifo, a directory.
    pub(super) fn check_regular(&self, name: &str, file: &OwnedFd) -> Result<(), TreeError> {
        let stat = fstat(file).map_err(self.entry("look at", name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.shape(name, "is not a regular file; move it away"));
        }
        Ok(())
    }

    /// Gives a file of ours this directory's group. Who is not root may not, and keeps his own.
    pub(super) fn share(&self, name: &str, file: &OwnedFd) -> Result<(), TreeError> {
        self.give(name, file, self.stat()?.st_gid)
    }

    fn give(&self, name: &str, file: &OwnedFd, group: u32) -> Result<(), TreeError> {
        if fstat(file).map_err(self.entry("look at", name))?.st_gid == group {
            return Ok(());
        }
        match fchown(file, None, Some(Gid::from_raw(group))) {
            Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
            other => other.map_err(self.entry("change the group of", name)),
        }
    }

    fn write_new(&self, name: &str, content: &[u8], mode: u32, group: Option<u32>) -> Result<(), TreeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR).map_err(self.entry("make", name))?;
        match group {
            Some(group) => self.give(name, &file, group)?,
            None => self.share(name, &file)?,
        }
        // Whatever the umask is.
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(self.entry("change the mode of", name))?;
        let mut file = File::from(file);
        let fail = |what| move |source: io::Error| TreeError::Io { what, path: self.at(name), source };
        file.write_all(content).map_err(fail("write"))?;
        file.sync_all().map_err(fail("sync"))
    }
}
