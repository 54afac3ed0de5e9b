//! What is told of each entry of an archive, of whatever format.

use std::io::Read;

use super::super::refusal::Refusal;

/// An entry.
pub enum What<'a> {
    /// A directory.
    Directory,
    /// A regular file; its setuid bits and its owner are not even told.
    File {
        /// Whether somebody may execute it.
        executable: bool,
        /// As it is declared, in bytes.
        size: u64,
        /// Its content.
        content: &'a mut dyn Read,
    },
    /// A symbolic link and its text.
    Link(Vec<u8>),
    /// A hard link to an earlier entry.
    Same(Vec<u8>),
    /// What no release may have.
    Never(&'static str),
}

/// Who is told. An entry's name is in normal form.
pub trait Visit {
    /// One entry, in the archive's order.
    fn entry(&mut self, name: &[u8], what: What<'_>) -> Result<(), Refusal>;
}

/// A refusal of the archive itself.
pub fn wrong(reason: impl AsRef<str>) -> Refusal {
    Refusal::with(reason, "make the archive again, and try it with `tar -t` or `unzip -t`")
}
