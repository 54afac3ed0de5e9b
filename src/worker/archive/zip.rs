//! The entries of a zip file, in the order of its directory, which is what a zip file is; a file whose own headers say
//! something else than the directory is refused.

use std::{
    fs::File,
    io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
};

use zip::{
    read::{Config, ZipFile},
    unstable::read::ZipIterable,
};

use super::{
    super::{refusal::Refusal, walk::MAX_ENTRIES},
    names,
    stream::bomb,
    visit::{Visit, What, wrong},
};

/// The longest text of a link, in bytes.
const LINK: u64 = 4096;
/// The bits of a mode that say what an entry is, and what they are for a regular file (inode(7)).
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// Tells each entry of a file of `size` bytes.
pub fn entries(file: &File, size: u64, visit: &mut dyn Visit) -> Result<(), Refusal> {
    let damaged = |error: &dyn std::fmt::Display| wrong(format!("the archive is damaged: {error}"));
    let directory = BufReader::new(At { file, at: 0, size });
    let mut archive = ZipIterable::try_new(directory, Config::default())
        .map_err(|error| damaged(&error))?
        .enforce_header_consistency(true);
    if archive.len() > MAX_ENTRIES {
        return Err(wrong(format!("the archive has more than {MAX_ENTRIES} entries")));
    }
    let content = BufReader::new(At { file, at: 0, size });
    let mut files = archive.files_with_reader(content, Default::default()).map_err(|error| damaged(&error))?;
    let (mut unpacked, mut last) = (0, "its beginning".to_owned());
    while let Some(entry) = files.next() {
        let mut entry = entry.map_err(|error| wrong(format!("the archive is damaged after {last}: {error}")))?;
        last = names::shown(entry.name_raw());
        unpacked += one(&mut entry, &last, (unpacked, size), visit)?;
    }
    Ok(())
}

/// One entry; returns how much it unpacked to.
fn one<R: Read>(
    entry: &mut ZipFile<'_, R>,
    place: &str,
    (before, packed): (u64, u64),
    visit: &mut dyn Visit,
) -> Result<u64, Refusal> {
    let broken = |error: io::Error| wrong(format!("{place}: {error}"));
    let Some(name) = names::normal(entry.name_raw())? else { return Ok(0) };
    let mode = entry.unix_mode().unwrap_or(REGULAR);
    if entry.is_symlink() {
        let mut text = Vec::new();
        entry.take(LINK).read_to_end(&mut text).map_err(broken)?;
        visit.entry(&name, What::Link(text))?;
        return Ok(0);
    }
    if entry.is_dir() {
        visit.entry(&name, What::Directory)?;
        return Ok(0);
    }
    if !matches!(mode & KIND, 0 | REGULAR) {
        visit.entry(&name, What::Never("a device, a fifo or a socket"))?;
        return Ok(0);
    }
    let size = entry.size();
    let mut content = Counted { inner: entry, before, packed, read: 0 };
    visit.entry(&name, What::File { executable: mode & 0o111 != 0, size, content: &mut content })?;
    // To its end, where the checksum is compared.
    io::copy(&mut content, &mut io::sink()).map_err(broken)?;
    Ok(content.read)
}

/// A file that is read from a place of its own, whoever else reads it.
struct At<'a> {
    file: &'a File,
    at: u64,
    size: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for At<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = at.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// An entry's content, which ends when all that came out so far is too much for what went in.
struct Counted<R> {
    inner: R,
    before: u64,
    packed: u64,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read += n as u64;
        match bomb(self.before + self.read, self.packed) {
            Some(why) => Err(io::Error::new(ErrorKind::FileTooLarge, why)),
            None => Ok(n),
        }
    }
}
