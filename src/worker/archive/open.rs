//! Where an archive is, opened once for all that is done with it.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};

use super::{
    super::{order::ArchiveOrder, refusal::Refusal},
    fetch,
    stream::{self, Format, Hashed},
    tar,
    visit::{Visit, wrong},
    zip,
};

/// The largest archive, in bytes (32 GiB, the largest file that a worker may write).
pub const LARGEST: u64 = 32 << 30;

/// An open archive.
pub struct Archive<'a> {
    file: File,
    name: &'a str,
}

/// Opens it where it is, or fetches it first.
pub fn obtain<'a>(order: &'a ArchiveOrder, cache: &Path) -> Result<Archive<'a>, Refusal> {
    if order.at.starts_with("https://") {
        let file = kept(cache);
        let have = || open(&file, &order.name).and_then(|archive| archive.digest()).ok();
        if order.sha256.is_none() || have() != order.sha256 {
            fetch::fetch(order, &file)?;
        }
        return open(&file, &order.name);
    }
    open(Path::new(&order.at), &order.name)
}

/// Opens what was obtained before.
pub fn again<'a>(order: &'a ArchiveOrder, cache: &Path) -> Result<Archive<'a>, Refusal> {
    let file = if order.at.starts_with("https://") { kept(cache) } else { PathBuf::from(&order.at) };
    open(&file, &order.name)
}

/// Where the last archive that was fetched is kept, so that the same is not fetched again.
fn kept(cache: &Path) -> PathBuf {
    cache.join("archive")
}

/// Opens a file whose path root wrote down; never blocks, whatever is there.
fn open<'a>(path: &Path, name: &'a str) -> Result<Archive<'a>, Refusal> {
    if !path.is_absolute() {
        return Err(Refusal::new(format!("{} is not an absolute path", path.display())));
    }
    let file = file(path).map_err(|error| Refusal::io("open", path, error))?;
    let found = file.metadata().map_err(|error| Refusal::io("look at", path, error))?;
    if !found.is_file() {
        return Err(Refusal::with(format!("{name} is no regular file"), "name the archive itself"));
    }
    if found.len() > LARGEST {
        return Err(Refusal::new(format!("{name} is larger than {} GiB", LARGEST >> 30)));
    }
    Ok(Archive { file, name })
}

/// The file itself, whatever it is.
pub fn file(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(fs::openat2(fs::CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?.into())
}

impl Archive<'_> {
    /// The SHA-256 of its bytes, hexadecimal.
    pub fn digest(&self) -> Result<String, Refusal> {
        self.hashed()?.digest().map_err(|error| self.unreadable(error))
    }

    /// Tells each entry; returns the digest of what was read.
    pub fn entries(&self, visit: &mut dyn Visit) -> Result<String, Refusal> {
        let mut hashed = self.hashed()?;
        let begin = hashed.begin().map_err(|error| self.unreadable(error))?;
        let Some(format) = stream::format(begin) else {
            return Err(Refusal::with(
                format!("{} is no archive", self.name),
                "give a tar file, packed by gzip, zstd, xz or not at all, or a zip file",
            ));
        };
        if format == Format::Zip {
            return self.zip_entries(hashed, visit);
        }
        tar::entries(stream::unpacked(&mut hashed, format), visit).map_err(|refusal| refusal.of(self.name))?;
        hashed.digest().map_err(|error| self.unreadable(error))
    }

    /// A zip file is read here and there: its bytes are hashed before, and whether it was written to is seen by its time.
    fn zip_entries(&self, hashed: Hashed, visit: &mut dyn Visit) -> Result<String, Refusal> {
        let stamp = || {
            let found = self.file.metadata().map_err(|error| self.unreadable(error))?;
            Ok::<_, Refusal>((found.len(), found.ctime(), found.ctime_nsec(), found.mtime(), found.mtime_nsec()))
        };
        let before = stamp()?;
        let digest = hashed.digest().map_err(|error| self.unreadable(error))?;
        zip::entries(&self.file, before.0, visit).map_err(|refusal| refusal.of(self.name))?;
        if stamp()? != before {
            return Err(wrong(format!("{} was written to while it was read", self.name)));
        }
        Ok(digest)
    }

    fn hashed(&self) -> Result<Hashed, Refusal> {
        self.reopened().map(Hashed::new)
    }

    /// The file, to be read by whoever has it last.
    pub fn reopened(&self) -> Result<File, Refusal> {
        let again = self.file.try_clone().and_then(|mut file| file.seek(SeekFrom::Start(0)).map(|_| file));
        again.map_err(|error| self.unreadable(error))
    }

    /// Reads all of it, piece by piece.
    pub fn read_through(&self, mut each: impl FnMut(&[u8])) -> Result<(), Refusal> {
        let mut file = self.reopened()?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => each(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
    }

    fn unreadable(&self, error: std::io::Error) -> Refusal {
        Refusal::io("read", self.name, error)
    }
}
