//! Processes: watched by pidfd, read through /proc.

use std::{path::PathBuf, time::Duration};

/// What can be said of a question to the kernel: an observer that cannot read answers unknown, never "nothing".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It was read.
    Known(T),
    /// It could not be, and why.
    Unknown(String),
}

/// Processes that are watched until they are gone; safe against reuse of their pids.
#[derive(Debug)]
pub struct Watch {}

impl Watch {
    /// Opens a pidfd for each. A pid that is already gone is left out; one that cannot be opened is an error.
    pub fn new(pids: &[u32]) -> std::io::Result<Self> {
        let _ = pids;
        todo!()
    }
    /// Waits until all are gone, at most `limit`; returns the pids still there then.
    pub async fn gone(self, limit: Duration) -> Vec<u32> {
        let _ = limit;
        todo!()
    }
}

/// A process's working directory (needs CAP_SYS_PTRACE for other users' processes).
pub fn cwd(pid: u32) -> Seen<PathBuf> {
    let _ = pid;
    todo!()
}

/// MemAvailable of /proc/meminfo, in MiB.
pub fn memory_available_mib() -> std::io::Result<u64> {
    todo!()
}
