//! An archive's bytes: hashed as they are read, unpacked by what they are and not by their name, and bounded, so that a
//! small archive can become no endless one.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    rc::Rc,
};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use sha2::{Digest, Sha256};

/// What an archive is read in, in bytes.
const BUFFER: usize = 256 * 1024;
/// The memory that a dictionary or window may ask for: what `zstd --long` and `xz -9` need, in bytes.
const WINDOW: u64 = 128 << 20;
/// The most that an archive may unpack to, in bytes (64 GiB, as a release).
const LARGEST: u64 = 64 << 30;
/// Below so many bytes nothing is taken for a bomb.
const HARMLESS: u64 = 256 << 20;
/// More than so many bytes from each of the archive's are no release, but a bomb. Source code gives ten.
const RATIO: u64 = 200;

/// What an archive is packed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Tar,
    Gzip,
    Zstd,
    Xz,
    Zip,
}

/// Judges by the first bytes.
pub fn format(begin: &[u8]) -> Option<Format> {
    match begin {
        [0x1f, 0x8b, ..] => Some(Format::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Format::Xz),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(Format::Zip),
        _ if begin.get(257..262) == Some(b"ustar") => Some(Format::Tar),
        _ => None,
    }
}

/// A file that is hashed as it is read.
pub struct Hashed {
    inner: BufReader<File>,
    hasher: Sha256,
    count: Rc<Cell<u64>>,
}

impl Hashed {
    /// Reads a file from where it stands.
    pub fn new(file: File) -> Self {
        let inner = BufReader::with_capacity(BUFFER, file);
        Self { inner, hasher: Sha256::new(), count: Rc::default() }
    }

    /// The first bytes, which are not taken.
    pub fn begin(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    /// Reads what is left, and gives the digest of all of it, hexadecimal.
    pub fn digest(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex::encode(self.hasher.finalize()))
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..n).unwrap_or_default());
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// The tar stream in a packed file.
pub fn unpacked<'a>(raw: &'a mut Hashed, format: Format) -> Bounded<Box<dyn Read + 'a>> {
    let packed = Rc::clone(&raw.count);
    let inner: Box<dyn Read> = match format {
        Format::Gzip => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, raw))),
        Format::Zstd => Box::new(Zstd::new(raw)),
        Format::Xz => Box::new(XzReader::new_mem_limit(raw, true, u32::try_from(WINDOW >> 10).unwrap_or(u32::MAX))),
        Format::Tar | Format::Zip => Box::new(raw),
    };
    Bounded { inner, packed, read: Rc::default(), allowed: Rc::new(Cell::new(u64::MAX)) }
}

/// A reader that ends a bomb.
pub struct Bounded<R> {
    inner: R,
    packed: Rc<Cell<u64>>,
    read: Rc<Cell<u64>>,
    allowed: Rc<Cell<u64>>,
}

/// The knobs of a [`Bounded`] that something else has by now.
pub struct Bounds {
    /// How much was read, in bytes.
    pub read: Rc<Cell<u64>>,
    /// Where reading ends for now: a header may not be as large as a file.
    pub allowed: Rc<Cell<u64>>,
}

impl<R> Bounded<R> {
    /// Its knobs.
    pub fn bounds(&self) -> Bounds {
        Bounds { read: Rc::clone(&self.read), allowed: Rc::clone(&self.allowed) }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let read = self.read.get() + n as u64;
        self.read.set(read);
        if let Some(why) = bomb(read, self.packed.get()) {
            return Err(io::Error::new(ErrorKind::FileTooLarge, why));
        }
        if read > self.allowed.get() {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "its header is larger than a header may be"));
        }
        Ok(n)
    }
}

/// Why so much from so little is refused.
pub fn bomb(unpacked: u64, packed: u64) -> Option<String> {
    if unpacked > LARGEST {
        return Some(format!("the archive unpacks to more than {} GiB", LARGEST >> 30));
    }
    let much = unpacked > HARMLESS && unpacked / RATIO > packed;
    much.then(|| format!("the archive is a bomb: {} MiB came out of {} KiB", unpacked >> 20, packed >> 10))
}

/// All frames of a zstd file, one after the other, each with its checksum compared.
struct Zstd<R: Read> {
    from: BufReader<R>,
    decoder: FrameDecoder,
    within: bool,
}

impl<R: Read> Zstd<R> {
    fn new(inner: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Self { from: BufReader::with_capacity(BUFFER, inner), decoder, within: false }
    }

    /// Begins the next frame; one that is to be skipped is.
    fn begin(&mut self) -> io::Result<()> {
        match self.decoder.init(&mut self.from) {
            Ok(()) => self.within = true,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                io::copy(&mut (&mut self.from).take(u64::from(length)), &mut io::sink())?;
            }
            Err(error) => return Err(damaged(error)),
        }
        Ok(())
    }
}

impl<R: Read> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.within {
                if self.from.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin()?;
                continue;
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder.decode_blocks(&mut self.from, BlockDecodingStrategy::UptoBlocks(1)).map_err(damaged)?;
                continue;
            }
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            self.within = false;
            let told = self.decoder.get_checksum_from_data();
            if told.is_some() && self.decoder.get_calculated_checksum() != told {
                return Err(damaged("its checksum is wrong"));
            }
        }
        Ok(0)
    }
}

fn damaged(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
