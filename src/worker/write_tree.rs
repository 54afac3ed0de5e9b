//! Writes a tree below one directory handle: nothing is written through a link, outside, twice, or beyond the limits.

use std::{
    ffi::OsStr,
    io::{Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat},
    io::Errno,
};

use super::{
    previous::Known,
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
/// A file's name while another takes its place.
const ASIDE: &str = ".deployd-aside";

/// What is writing, and how much it has written.
#[derive(Debug)]
pub struct TreeWriter {
    root: OwnedFd,
    top: PathBuf,
    /// The directory that was last written to and those above it: archives come sorted by directory.
    chain: Vec<(Vec<u8>, OwnedFd)>,
    /// The directory that was last shared from.
    source: Option<(Vec<u8>, OwnedFd)>,
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
        Self { root, top: top.to_owned(), chain, source: None, entries: 0, files: 0, bytes: 0, buffer }
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

    /// Makes a file with what `content` yields, and tells how the file system knows it.
    pub fn file(&mut self, path: &[u8], mode: u32, content: &mut dyn Read) -> Result<Stat, Refusal> {
        let file = self.make_file(path, mode)?;
        self.fill(std::fs::File::from(file), path, content)
    }

    /// Makes a file with the first `size` bytes of another: by reference where that is wanted and the file system can,
    /// else by reading. Also whether it was by reference.
    pub fn copy(
        &mut self,
        path: &[u8],
        mode: u32,
        from: &std::fs::File,
        size: u64,
        by_reference: bool,
    ) -> Result<(Stat, bool), Refusal> {
        let to = self.make_file(path, mode)?;
        if by_reference && size > 0 && fs::ioctl_ficlone(&to, from).is_ok() {
            self.add_bytes(size, path)?;
            let stat = fs::fstat(&to).map_err(|error| Refusal::io("look at", self.path(path), error))?;
            return Ok((stat, true));
        }
        let stat = self.fill(std::fs::File::from(to), path, &mut from.take(size))?;
        Ok((stat, false))
    }

    /// Makes `path` a second link to the file of that path below `from`, if that file is still `known`. `None`: it is
    /// not, or it cannot be linked; then nothing was made.
    pub fn hard_link(&mut self, path: &[u8], from: BorrowedFd<'_>, known: &Known) -> Result<Option<Stat>, Refusal> {
        let name = self.enter_parent(path)?;
        self.find_source(path, from);
        let Some((_, source)) = &self.source else { return Ok(None) };
        match fs::linkat(source, &name[..], self.at(), &name[..], AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(self.refuse("make", path, Errno::EXIST)),
            Err(_) => return Ok(None),
        }
        // Looked at by its new name: whatever was linked is what is judged.
        match rooted::look(self.at(), &name[..]) {
            Ok(Some(stat)) if known.is_still(&stat) && rooted::kind(&stat) == FileType::RegularFile => {
                self.count(path)?;
                self.add_bytes(known.size, path)?;
                self.files += 1;
                Ok(Some(stat))
            }
            Ok(_) => {
                fs::unlinkat(self.at(), &name[..], AtFlags::empty())
                    .map_err(|error| Refusal::io("remove", self.path(path), error))?;
                Ok(None)
            }
            Err(error) => Err(Refusal::io("look at", self.path(path), error)),
        }
    }

    /// Removes a file that was just made, with its counts.
    pub fn unmake(&mut self, path: &[u8], size: u64) -> Result<(), Refusal> {
        let name = self.enter_parent(path)?;
        fs::unlinkat(self.at(), &name[..], AtFlags::empty())
            .map_err(|error| Refusal::io("remove", self.path(path), error))?;
        self.uncount(size);
        Ok(())
    }

    /// Moves a file that was just made out of the way, so that `path` may be made otherwise.
    pub fn set_aside(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let name = self.enter_parent(path)?;
        fs::renameat_with(self.at(), &name[..], &self.root, ASIDE, RenameFlags::NOREPLACE)
            .map_err(|error| self.refuse("move away", path, error))
    }

    /// Removes what was set aside, and its counts.
    pub fn drop_aside(&mut self, path: &[u8], size: u64) -> Result<(), Refusal> {
        fs::unlinkat(&self.root, ASIDE, AtFlags::empty())
            .map_err(|error| Refusal::io("remove", self.path(path), error))?;
        self.uncount(size);
        Ok(())
    }

    /// Moves what was set aside back.
    pub fn take_back(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let name = self.enter_parent(path)?;
        fs::renameat_with(&self.root, ASIDE, self.at(), &name[..], RenameFlags::NOREPLACE)
            .map_err(|error| self.refuse("move back", path, error))
    }

    fn uncount(&mut self, size: u64) {
        self.entries -= 1;
        self.files -= 1;
        self.bytes = self.bytes.saturating_sub(size);
    }

    /// How the file system knows a file that was just made.
    pub fn look(&mut self, path: &[u8]) -> Result<Stat, Refusal> {
        let name = self.enter_parent(path)?;
        let found =
            rooted::look(self.at(), &name[..]).map_err(|error| Refusal::io("look at", self.path(path), error))?;
        found.ok_or_else(|| Refusal::new(format!("{} is gone", self.place(path))))
    }

    /// Opens a file of the same path below another top, as it is.
    pub fn open_source(&mut self, path: &[u8], from: BorrowedFd<'_>) -> Option<(OwnedFd, Stat)> {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        self.find_source(path, from);
        rooted::open_file(&self.source.as_ref()?.1, name).ok()
    }

    /// Counts what another writer of the same tree has written.
    pub fn add(&mut self, other: &TreeWriter) -> Result<(), Refusal> {
        (self.files, self.entries) = (self.files + other.files, self.entries + other.entries);
        self.add_bytes(other.bytes, b"")
    }

    /// Opens the directory of `path` below `from`, which stays the same top: the last one is kept.
    fn find_source(&mut self, path: &[u8], from: BorrowedFd<'_>) {
        let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at)).unwrap_or_default();
        if self.source.as_ref().is_none_or(|(kept, _)| kept != parent) {
            let dir = if parent.is_empty() { rooted::open_dir(from, c".") } else { rooted::open_dir(from, parent) };
            self.source = dir.ok().map(|dir| (parent.to_vec(), dir));
        }
    }

    fn fill(&mut self, mut file: std::fs::File, path: &[u8], content: &mut dyn Read) -> Result<Stat, Refusal> {
        loop {
            let n = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refusal::io("read the content of", self.path(path), error)),
            };
            self.add_bytes(n as u64, path)?;
            let piece = self.buffer.get(..n).unwrap_or_default();
            file.write_all(piece).map_err(|error| Refusal::io("write", self.path(path), error))?;
        }
        fs::fstat(&file).map_err(|error| Refusal::io("look at", self.path(path), error))
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
