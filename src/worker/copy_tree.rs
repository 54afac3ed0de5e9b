//! Copies a tree that was listed: by reference where the file system can.

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use super::{
    refusal::Refusal,
    rooted,
    walk::{Entry, EntryKind},
    write_tree::TreeWriter,
};

/// Writes what was listed below `from`; `mode` says with which permission bits. `top` is for messages.
pub fn copy(
    from: &OwnedFd,
    top: &Path,
    entries: &[Entry],
    writer: &mut TreeWriter,
    mode: impl Fn(&Entry) -> u32,
) -> Result<(), Refusal> {
    let mut by_reference = true;
    for entry in entries {
        match &entry.kind {
            EntryKind::Directory => writer.dir(&entry.path, mode(entry))?,
            EntryKind::Link(target) => writer.link(&entry.path, target)?,
            EntryKind::File(..) => {
                let (file, stat) = rooted::open_file(from, &entry.path[..])
                    .map_err(|error| Refusal::io("open", top.join(OsStr::from_bytes(&entry.path)), error))?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let (_, referred) = writer.copy(&entry.path, mode(entry), &file.into(), size, by_reference)?;
                by_reference &= referred || size == 0;
            }
        }
    }
    Ok(())
}
