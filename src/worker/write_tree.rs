//! Writes a tree below one directory handle: nothing is written through a link, outside, twice, or beyond the limits.

use std::{
    ffi::OsStr,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, Mode, OFlags},
    io::Errno,
};

use super::{
    refusal::Refusal,
    rooted::{self, WITHIN},
    walk::MAX_ENTRIES,
};

/// The most content of a tree, in bytes (64 GiB).
const MAX_BYTES: u64 = 64 << 30;
/// The longest text of a link, in bytes.
const MAX_LINK: usize = 4095;
/// Content is moved in pieces of so many bytes.
const BUFFER: usize = 256 * 1024;

/// What is writing, and how much it has written.
#[derive(Debug)]
pub struct TreeWriter {
    root: OwnedFd,
    top: PathBuf,
    /// The directory that was last written to and those above it: archives come sorted by directory.
    chain: Vec<(Vec<u8>, OwnedFd)>,
    entries: usize,
    /// Files and links written.
    pub files: u64,
    /// Content written, in bytes.
    pub bytes: u64,
    buffer: Vec<u8>,
}

impl TreeWriter {
    /// Writes below `root`; `top` is for messages.
    pub fn new(root: OwnedFd, top: &Path) -> Self {
        let (chain, buffer) = (Vec::new(), vec![0; BUFFER]);
        Self { root, top: top.to_owned(), chain, entries: 0, files: 0, bytes: 0, buffer }
    }

    /// Makes a directory (and those above it), if it is missing.
    pub fn dir(&mut self, path: &[u8], mode: u32) -> Result<(), Refusal> {
        self.count(path)?;
        let parts = rooted::parts_of_bytes(path)?;
        self.enter(&parts, mode)
    }

    /// Makes a link with the text `target`. It is never followed here.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refusal> {
        self.count(path)?;
        if target.is_empty() || target.len() > MAX_LINK || target.contains(&0) {
            return Err(Refusal::new(format!("{} is a link with an impossible text", self.place(path))));
        }
        let name = self.enter_parent(path)?;
        fs::symlinkat(target, self.at(), &name[..]).map_err(|error| self.refuse("make the link", path, error))?;
        self.files += 1;
        Ok(())
    }

    /// Makes a file with what `content` yields.
    pub fn file(&mut self, path: &[u8], mode: u32, content: &mut dyn Read) -> Result<(), Refusal> {
        let file = self.make_file(path, mode)?;
        let mut file = std::fs::File::from(file);
        loop {
            let n = match content.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refusal::io("read the content of", self.path(path), error)),
            };
            self.add_bytes(n as u64, path)?;
            let piece = self.buffer.get(..n).unwrap_or_default();
            file.write_all(piece).map_err(|error| Refusal::io("write", self.path(path), error))?;
        }
    }

    /// Makes a file with what is in another: by reference where the file system can, in the kernel, else by reading.
    pub fn copy(&mut self, path: &[u8], mode: u32, from: OwnedFd, size: u64) -> Result<(), Refusal> {
        /// Below so many bytes a read and a write are cheaper than asking for better.
        const SMALL: u64 = 128 * 1024;
        if size <= SMALL {
            return self.file(path, mode, &mut std::fs::File::from(from));
        }
        let to = self.make_file(path, mode)?;
        self.add_bytes(size, path)?;
        if fs::ioctl_ficlone(&to, &from).is_ok() {
            return Ok(());
        }
        // `io::copy` of two files uses copy_file_range, and reads and writes where that cannot be.
        let (mut from, mut to) = (std::fs::File::from(from).take(MAX_BYTES), std::fs::File::from(to));
        let copied = std::io::copy(&mut from, &mut to).map_err(|error| Refusal::io("write", self.path(path), error))?;
        if copied == size {
            Ok(())
        } else {
            Err(Refusal::new(format!("{} changed while it was copied", self.place(path))))
        }
    }

    fn make_file(&mut self, path: &[u8], mode: u32) -> Result<OwnedFd, Refusal> {
        self.count(path)?;
        let name = self.enter_parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        self.files += 1;
        fs::openat2(self.at(), &name[..], flags, Mode::from_raw_mode(mode & 0o777), WITHIN)
            .map_err(|error| self.refuse("make", path, error))
    }

    fn at(&self) -> &OwnedFd {
        self.chain.last().map_or(&self.root, |(_, fd)| fd)
    }

    fn enter_parent(&mut self, path: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut parts = rooted::parts_of_bytes(path)?;
        let name = parts.pop().unwrap_or_default();
        if path.ends_with(b"/") {
            return Err(Refusal::new(format!("{} names no file", self.place(path))));
        }
        self.enter(&parts, 0o755)?;
        Ok(name.to_vec())
    }

    /// Makes `parts` the last of the chain, reusing what of it is open already.
    fn enter(&mut self, parts: &[&[u8]], mode: u32) -> Result<(), Refusal> {
        let common = self.chain.iter().zip(parts).take_while(|((name, _), part)| name == *part).count();
        self.chain.truncate(common);
        for (depth, part) in parts.iter().enumerate().skip(common) {
            let last = depth + 1 == parts.len();
            let mode = Mode::from_raw_mode(if last { mode & 0o777 } else { 0o755 });
            let opened = match fs::mkdirat(self.at().as_fd(), *part, mode) {
                Ok(()) | Err(Errno::EXIST) => rooted::open_dir(self.at(), *part),
                Err(error) => Err(error),
            };
            let dir = opened.map_err(|error| self.refuse("make the directory", &parts[..=depth].join(&b'/'), error))?;
            self.chain.push((part.to_vec(), dir));
        }
        Ok(())
    }

    fn count(&mut self, path: &[u8]) -> Result<(), Refusal> {
        self.entries += 1;
        if self.entries <= MAX_ENTRIES {
            return Ok(());
        }
        Err(Refusal::new(format!("more than {MAX_ENTRIES} entries, at {}", self.place(path))))
    }

    fn add_bytes(&mut self, bytes: u64, path: &[u8]) -> Result<(), Refusal> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= MAX_BYTES {
            return Ok(());
        }
        Err(Refusal::new(format!("more than 64 GiB of content, at {}", self.place(path))))
    }

    fn refuse(&self, verb: &str, path: &[u8], error: Errno) -> Refusal {
        let place = self.place(path);
        match error {
            Errno::EXIST => Refusal::new(format!("{place} is there twice")),
            Errno::LOOP | Errno::NOTDIR => Refusal::new(format!("{place} would be written through a link or a file")),
            error => Refusal::io(verb, self.path(path), error),
        }
    }

    fn path(&self, path: &[u8]) -> PathBuf {
        self.top.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
    }

    fn place(&self, path: &[u8]) -> String {
        self.path(path).display().to_string()
    }
}
