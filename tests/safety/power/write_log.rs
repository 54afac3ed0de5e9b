//! The log that qemu's `blklogwrites` keeps of a disk, in the format of the kernel's dm-log-writes: what was written, in
//! the order in which it was done, and where the machine asked for it to be on the disk for good.

use std::{
    fs::File,
    io::{Error, ErrorKind, Read},
    os::unix::fs::FileExt,
    path::Path,
};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR: u64 = 512;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// One write, discard or flush.
#[derive(Debug)]
pub struct Entry {
    offset: u64,
    length: u64,
    flags: u64,
    data: Vec<u8>,
}

impl Entry {
    /// Whether all that was done before it, or it too, is on the disk for good.
    pub fn is_barrier(&self) -> bool {
        self.flags & (FLUSH | FUA) != 0
    }

    /// Does it to an image.
    pub fn apply(&self, image: &File) -> std::io::Result<()> {
        match self.flags & DISCARD {
            0 => image.write_all_at(&self.data, self.offset),
            // What a discarded range reads as is anybody's guess; zeros are one.
            _ => image.write_all_at(&vec![0; usize::try_from(self.length).unwrap_or(0)], self.offset),
        }
    }
}

/// Reads a log.
pub fn read(path: &Path) -> std::io::Result<Vec<Entry>> {
    let mut file = File::open(path)?;
    let head = sector(&mut file)?;
    if word(&head, 0) != MAGIC || word(&head, 1) != 1 {
        return Err(Error::new(ErrorKind::InvalidData, "it is no log of writes"));
    }
    (0..word(&head, 2)).map(|_| entry(&mut file)).collect()
}

fn entry(file: &mut File) -> std::io::Result<Entry> {
    let head = sector(file)?;
    let (offset, length, flags) = (word(&head, 0) * SECTOR, word(&head, 1) * SECTOR, word(&head, 2));
    let mut data = Vec::new();
    if flags & DISCARD == 0 {
        data.resize(usize::try_from(length).map_err(Error::other)?, 0);
        file.read_exact(&mut data)?;
    }
    Ok(Entry { offset, length, flags, data })
}

fn sector(file: &mut File) -> std::io::Result<[u8; SECTOR as usize]> {
    let mut bytes = [0; SECTOR as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn word(bytes: &[u8], number: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[number * 8..][..8]);
    u64::from_le_bytes(word)
}
