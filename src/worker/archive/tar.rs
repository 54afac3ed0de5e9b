//! The entries of a tar stream, in their order.

use std::io::{self, ErrorKind, Read};

use tar::EntryType;

use super::{
    super::refusal::Refusal,
    names,
    stream::{Bounded, Bounds},
    visit::{Visit, What, wrong},
};

/// What the headers before one entry may have: long names and extended attributes, in bytes.
const HEADERS: u64 = 4 << 20;
/// What may follow the end: tar fills its last record with zeros, in bytes.
const PADDING: u64 = 16 << 20;
/// Tar's block, in bytes.
const BLOCK: u64 = 512;

/// Tells each entry.
pub fn entries<R: Read>(stream: Bounded<R>, visit: &mut dyn Visit) -> Result<(), Refusal> {
    let bounds = stream.bounds();
    let mut archive = tar::Archive::new(stream);
    let mut last = String::new();
    let mut end = 0;
    let damaged = |after: &str, error: io::Error| {
        let place = if after.is_empty() { "at its beginning".to_owned() } else { format!("after {after}") };
        wrong(format!("the archive is damaged {place}: {error}"))
    };
    let mut entries = archive.entries().map_err(|error| damaged("", error))?;
    loop {
        bounds.allowed.set(bounds.read.get() + HEADERS);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry.map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => wrong(format!("after {last}: {error}")),
            _ => damaged(&last, error),
        })?;
        bounds.allowed.set(u64::MAX);
        let raw = entry.path_bytes().into_owned();
        last = names::shown(&raw);
        one(&raw, &mut entry, visit)?;
        // What is left of it is read here, where it is bounded as content is.
        io::copy(&mut entry, &mut io::sink()).map_err(|error| wrong(format!("{last}: {error}")))?;
        end = bounds.read.get();
    }
    finish(archive.into_inner(), &bounds, end, &last)
}

fn one<R: Read>(raw: &[u8], entry: &mut tar::Entry<'_, R>, visit: &mut dyn Visit) -> Result<(), Refusal> {
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader {
        // The comment in which git says which commit it is.
        return Ok(());
    }
    let Some(name) = names::normal(raw)? else { return Ok(()) };
    let target = || entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
    let what = match kind {
        EntryType::Directory => What::Directory,
        // As tar before POSIX wrote a directory.
        EntryType::Regular if raw.ends_with(b"/") => What::Directory,
        EntryType::Symlink => What::Link(target()),
        EntryType::Link => match names::normal(&target()) {
            Ok(Some(first)) => What::Same(first),
            _ => What::Never("a hard link to something outside"),
        },
        EntryType::Char | EntryType::Block => What::Never("a device"),
        EntryType::Fifo => What::Never("a fifo"),
        EntryType::GNUSparse => What::Never("a sparse file"),
        EntryType::Regular | EntryType::Continuous => {
            if sparse(entry) {
                What::Never("a sparse file")
            } else {
                let mode = entry.header().mode().map_err(|error| wrong(format!("{}: {error}", names::shown(raw))))?;
                let size = entry.size();
                return visit.entry(&name, What::File { executable: mode & 0o111 != 0, size, content: entry });
            }
        }
        _ => What::Never("of a kind that no release may have"),
    };
    visit.entry(&name, what)
}

/// Whether POSIX's extended header says that the content is a map of a sparse file.
fn sparse<R: Read>(entry: &mut tar::Entry<'_, R>) -> bool {
    let Ok(Some(extensions)) = entry.pax_extensions() else { return false };
    extensions.flatten().any(|one| one.key_bytes().starts_with(b"GNU.sparse."))
}

/// An archive that was cut off between two entries has no end mark; one with something behind it is two archives, of
/// which other programs may see the second.
fn finish<R: Read>(mut rest: Bounded<R>, bounds: &Bounds, end: u64, last: &str) -> Result<(), Refusal> {
    // The content of the last entry fills whole blocks; the end mark is one or two of zeros behind it.
    if bounds.read.get() < end.next_multiple_of(BLOCK) + BLOCK {
        return Err(wrong(format!("the archive is cut off after {last}")));
    }
    bounds.allowed.set(bounds.read.get() + PADDING);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match rest.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) if buffer.iter().take(n).all(|byte| *byte == 0) => {}
            Ok(_) => return Err(wrong("the archive has something after its end")),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(wrong(format!("the archive is damaged at its end: {error}"))),
        }
    }
}
