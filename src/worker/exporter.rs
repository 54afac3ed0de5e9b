//! Writes a release from what any source yields, and shares with the release before what did not change: by hard links
//! where configured, by reference where the file system can, else by copies.
//!
//! A file is found unchanged by its content's id (git's object, or SHA-256), never by time. What it wrote it remembers,
//! so that the seal reads only files that something else has touched meanwhile.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::Read,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rustix::fs::Stat;
use sha2::{Digest, Sha256};

use super::{
    previous::{Known, Previous},
    refusal::Refusal,
    rooted,
    threads::together,
    walk::{ContentId, Stamp},
    write_tree::TreeWriter,
};
use crate::model::Share;

/// A file whose content nobody knows yet is held in memory up to so many bytes, until it is known whether to write it.
const HELD: usize = 1024 * 1024;
/// Files that a thread takes at once: neighbours, mostly of one directory.
const BATCH: usize = 64;

/// A file as it was written: its content, and how the file system knew it then.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Size, content, mode and stamp.
    pub known: Known,
    /// It is a file of the release before, by another link.
    pub linked: bool,
}

/// What became of a file that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// It is as it was.
    Same,
    /// It is another one, or has another content.
    Replaced,
    /// It is still the file of the release before, and that was changed.
    SharedChanged,
}

impl Written {
    /// Compares with what is there now. A link has no change time of its own: whoever makes another moves it.
    pub fn compare(&self, size: u64, mode: u32, now: Stamp) -> Compared {
        let then = &self.known;
        let same =
            (size, mode, now.inode, now.modified) == (then.size, then.mode, then.stamp.inode, then.stamp.modified);
        match (self.linked, same) {
            (true, false) if now.inode == then.stamp.inode => Compared::SharedChanged,
            (true, true) => Compared::Same,
            (false, true) if now.changed == then.stamp.changed => Compared::Same,
            _ => Compared::Replaced,
        }
    }
}

/// All that was written, for the seal.
#[derive(Debug, Default)]
pub struct Exported {
    /// The release.
    pub release: PathBuf,
    /// Its files by path.
    pub files: HashMap<Vec<u8>, Written>,
}

/// What a release is made with.
#[derive(Debug)]
pub struct Sharing {
    /// The release before.
    pub previous: Option<Previous>,
    /// How files are shared with it.
    pub share: Share,
    /// Relative paths below which every file is the release's own: services or steps write there.
    pub own: Vec<String>,
}

/// A file that a source knows by its content before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Relative to the top.
    pub path: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub id: ContentId,
}

/// One of the wanted, by its index; how the file system knows it, and whether it is a link.
type Made = (usize, Stat, bool);

/// Writes one release.
#[derive(Debug)]
pub struct Exporter {
    root: OwnedFd,
    top: PathBuf,
    writer: TreeWriter,
    sharing: Sharing,
    files: HashMap<Vec<u8>, Written>,
    shared: u64,
    no_reflink: AtomicBool,
}

impl Exporter {
    /// Writes below `root`; `top` is the release's path.
    pub fn new(root: &OwnedFd, top: &Path, sharing: Sharing) -> Result<Self, Refusal> {
        let again = || root.try_clone().map_err(|error| Refusal::io("open", top, error));
        let writer = TreeWriter::new(again()?, top);
        let (root, top) = (again()?, top.to_owned());
        let (files, no_reflink) = (HashMap::new(), AtomicBool::new(false));
        Ok(Self { root, top, writer, sharing, files, shared: 0, no_reflink })
    }

    /// Makes a directory, if it is missing.
    pub fn dir(&mut self, path: &[u8], mode: u32) -> Result<(), Refusal> {
        self.writer.dir(path, mode)
    }

    /// Makes a symbolic link with the text `target`.
    pub fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), Refusal> {
        self.writer.link(path, target)
    }

    /// Makes a file whose content the source knows by `id`.
    pub fn file_of(&mut self, wanted: &Wanted, content: &mut dyn Read) -> Result<(), Refusal> {
        let mode = self.mode(&wanted.path, wanted.mode);
        let stat = self.writer.file(&wanted.path, mode, content)?;
        self.note(wanted.path.clone(), wanted.id, &stat, false);
        Ok(())
    }

    /// Makes a file with what `content` yields; which content that is shows while it is read, and is returned.
    pub fn file(&mut self, path: &[u8], mode: u32, content: &mut dyn Read) -> Result<(u64, ContentId), Refusal> {
        let mode = self.mode(path, mode);
        let mut start = Vec::new();
        content
            .take(HELD as u64 + 1)
            .read_to_end(&mut start)
            .map_err(|error| Refusal::io("read the content of", self.top.join(named(path)), error))?;
        if start.len() <= HELD {
            let id = ContentId::Sha256(Sha256::digest(&start).into());
            if !self.share_one(path, mode, id)? {
                let stat = self.writer.file(path, mode, &mut start.as_slice())?;
                self.note(path.to_vec(), id, &stat, false);
            }
            return Ok((start.len() as u64, id));
        }
        self.large_file(path, mode, start.as_slice().chain(content))
    }

    /// It is written while it is read, and gives way to the shared one when that turns out to be the same: it
    /// stays beside until then.
    fn large_file(&mut self, path: &[u8], mode: u32, content: impl Read) -> Result<(u64, ContentId), Refusal> {
        let mut hashed = Hashed { inner: content, hasher: Sha256::new() };
        let stat = self.writer.file(path, mode, &mut hashed)?;
        let id = ContentId::Sha256(hashed.hasher.finalize().into());
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let saves_space = self.how(path) == Share::Hardlink || !self.no_reflink.load(Ordering::Relaxed);
        if saves_space && self.sharable(path, id, mode).is_some() {
            self.writer.set_aside(path)?;
            if self.share_one(path, mode, id)? {
                self.writer.drop_aside(path, size)?;
                return Ok((size, id));
            }
            self.writer.take_back(path)?;
        }
        // A change of its name is one of the file, as far as the file system tells.
        let stat = self.writer.look(path)?;
        self.note(path.to_vec(), id, &stat, false);
        Ok((size, id))
    }

    /// Shares what of `wanted` is in the release before with the same content; the others are returned, in order.
    pub fn share_all(&mut self, wanted: Vec<Wanted>) -> Result<Vec<Wanted>, Refusal> {
        if self.sharing.previous.is_none() {
            return Ok(wanted);
        }
        let next = AtomicUsize::new(0);
        let (this, all) = (&*self, &wanted[..]);
        let sharer = || -> Result<(TreeWriter, Vec<Made>), Refusal> {
            let root = this.root.try_clone().map_err(|error| Refusal::io("open", &this.top, error))?;
            let (mut writer, mut made) = (TreeWriter::new(root, &this.top), Vec::new());
            loop {
                let from = next.fetch_add(BATCH, Ordering::Relaxed);
                let Some(batch) = all.get(from..all.len().min(from + BATCH)).filter(|batch| !batch.is_empty()) else {
                    return Ok((writer, made));
                };
                for (index, one) in (from..).zip(batch) {
                    let mode = this.mode(&one.path, one.mode);
                    if let Some((stat, linked)) = this.share(&mut writer, &one.path, mode, one.id)? {
                        made.push((index, stat, linked));
                    }
                }
            }
        };
        let mut done = vec![None; wanted.len()];
        for result in together(sharer) {
            let (writer, made) = result?;
            self.writer.add(&writer)?;
            self.shared += made.len() as u64;
            for (index, stat, linked) in made {
                if let Some(slot) = done.get_mut(index) {
                    *slot = Some((stat, linked));
                }
            }
        }
        let mut rest = Vec::new();
        self.files.reserve(wanted.len());
        for (one, done) in wanted.into_iter().zip(done) {
            match done {
                Some((stat, linked)) => self.note(one.path, one.id, &stat, linked),
                None => rest.push(one),
            }
        }
        Ok(rest)
    }

    /// Opens a file that was written, and tells the mode that it was made with.
    pub fn open_again(&self, path: &[u8]) -> std::io::Result<(OwnedFd, u32)> {
        let (file, stat) = rooted::open_file(&self.root, path)?;
        Ok((file, if stat.st_mode & 0o100 == 0 { 0o644 } else { 0o755 }))
    }

    /// The release before, and how this one is shared with it.
    pub fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// The content of a file that was written.
    pub fn content_of(&self, path: &[u8]) -> Option<ContentId> {
        self.files.get(path).map(|written| written.known.id)
    }

    /// Forgets what was written below a directory that is gone again.
    pub fn forget_below(&mut self, dir: &[u8]) {
        self.files.retain(|path, _| !is_below(path, dir));
    }

    /// What was written: files and links, bytes, and how many of the files are shared.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.writer.files, self.writer.bytes, self.shared)
    }

    /// What the seal needs to know.
    pub fn finish(self) -> Exported {
        Exported { release: self.top, files: self.files }
    }

    fn share_one(&mut self, path: &[u8], mode: u32, id: ContentId) -> Result<bool, Refusal> {
        let Some(known) = self.sharable(path, id, mode).copied() else { return Ok(false) };
        let Some(previous) = &self.sharing.previous else { return Ok(false) };
        let how = How { share: self.how(path), no_reflink: &self.no_reflink };
        let Some((stat, linked)) = share_file(previous, &mut self.writer, path, mode, &known, &how)? else {
            return Ok(false);
        };
        self.shared += 1;
        self.note(path.to_vec(), id, &stat, linked);
        Ok(true)
    }

    fn share(
        &self,
        writer: &mut TreeWriter,
        path: &[u8],
        mode: u32,
        id: ContentId,
    ) -> Result<Option<(Stat, bool)>, Refusal> {
        let (Some(known), Some(previous)) = (self.sharable(path, id, mode), &self.sharing.previous) else {
            return Ok(None);
        };
        let how = How { share: self.how(path), no_reflink: &self.no_reflink };
        share_file(previous, writer, path, mode, known, &how)
    }

    fn sharable(&self, path: &[u8], id: ContentId, mode: u32) -> Option<&Known> {
        let linked = self.how(path) == Share::Hardlink;
        let fits = |known: &&Known| !linked || known.mode == mode;
        self.sharing.previous.as_ref()?.with(path, id).filter(fits)
    }

    /// A link is one file in several releases: nobody writes it, and what is written is nobody else's.
    fn how(&self, path: &[u8]) -> Share {
        if self.sharing.share == Share::Hardlink && !self.is_own(path) { Share::Hardlink } else { Share::Reflink }
    }

    fn mode(&self, path: &[u8], mode: u32) -> u32 {
        if self.how(path) == Share::Hardlink { mode & 0o555 } else { mode }
    }

    fn is_own(&self, path: &[u8]) -> bool {
        let below =
            |own: &String| path.strip_prefix(own.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]));
        self.sharing.own.iter().any(below)
    }

    fn note(&mut self, path: Vec<u8>, id: ContentId, stat: &Stat, linked: bool) {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let known = Known { size, id, mode: stat.st_mode & 0o7777, stamp: Stamp::of(stat) };
        self.files.insert(path, Written { known, linked });
    }
}

struct How<'a> {
    share: Share,
    no_reflink: &'a AtomicBool,
}

/// Makes `path` from the same path of the release before, if that is still as it was. Also whether it is a link.
fn share_file(
    previous: &Previous,
    writer: &mut TreeWriter,
    path: &[u8],
    mode: u32,
    known: &Known,
    how: &How<'_>,
) -> Result<Option<(Stat, bool)>, Refusal> {
    if how.share == Share::Hardlink {
        return Ok(writer.hard_link(path, previous.root(), known)?.map(|stat| (stat, true)));
    }
    let Some((from, before)) = writer.open_source(path, previous.root()) else { return Ok(None) };
    if !known.is_untouched(&before) {
        return Ok(None);
    }
    let from = std::fs::File::from(from);
    let by_reference = !how.no_reflink.load(Ordering::Relaxed);
    let (stat, referred) = writer.copy(path, mode, &from, known.size, by_reference)?;
    if by_reference && !referred && known.size > 0 {
        how.no_reflink.store(true, Ordering::Relaxed);
    }
    let after = rustix::fs::fstat(&from).map_err(|error| Refusal::io("look at", named(path), error))?;
    if known.is_untouched(&after) {
        return Ok(Some((stat, false)));
    }
    writer.unmake(path, u64::try_from(stat.st_size).unwrap_or(0))?;
    Ok(None)
}

/// Digests what passes.
struct Hashed<R> {
    inner: R,
    hasher: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

/// Whether a path is `dir` or below it.
pub fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
}

fn named(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
