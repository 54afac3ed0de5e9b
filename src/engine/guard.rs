//! The directory of a slot's socket becomes root's once php-fpm listens: who owns it could put something else there.

use super::error::EngineError;
use crate::{
    model::{Paths, SlotInstance},
    system::tree::{Dir, EntryKind},
};

/// Takes the directory, then sees that what is in it is a socket. Whatever else is there goes, and the start fails.
pub fn guard(paths: &Paths, slot: &SlotInstance) -> Result<(), EngineError> {
    let socket = paths.fpm_socket(slot);
    let Some(parent) = socket.parent() else { return Ok(()) };
    let dir = Dir::open(parent)?;
    dir.set_owner(0, 0, 0o755)?;
    match dir.kind("fpm.sock")? {
        EntryKind::Other => Ok(()),
        EntryKind::Missing => Err(EngineError::Other(format!("{} is not there", socket.display()))),
        EntryKind::Directory => Err(EngineError::Other(format!("{} is a directory", socket.display()))),
        EntryKind::Link | EntryKind::File => {
            dir.unlink("fpm.sock")?;
            Err(EngineError::Other(format!("{} was no socket and is removed", socket.display())))
        }
    }
}
