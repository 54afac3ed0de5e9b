//! Numbers that look random and are the same again: from a seed, and what they are for.

use sha2::{Digest, Sha256};

use crate::support::command;

/// Where numbers come from.
pub struct Chance(String);

impl Chance {
    /// A short run takes other moments at every commit; a long one the same, so that it can be resumed.
    pub fn of(short: bool) -> Self {
        Self(if short { command::local(&["git", "rev-parse", "HEAD"]).stdout } else { String::new() })
    }

    /// From 0 to below `end`.
    pub fn below(&self, end: u64, what: &str) -> u64 {
        let digest = Sha256::digest(format!("{} {what}", self.0));
        u64::from_le_bytes(digest[..8].try_into().unwrap()) % end.max(1)
    }
}
