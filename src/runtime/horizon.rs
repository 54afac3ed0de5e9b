//! Laravel Horizon in slots. Pure.
//!
//! - USR2, CONT and TERM go to the master only, which hands them down. `horizon:terminate` is never used: it matches
//!   masters by the beginning of the host's name, and tells every host that shares the cache.
//! - Two masters at once are fine, their names are random. A paused one starts no supervisor (work.php pauses it before
//!   its first turn), and the paused one of before keeps its workers.
//! - The master ends after the longest timeout of a supervisor, whatever still runs (`MasterSupervisor::terminate`), and
//!   what outlives the main process is killed: work.php has it wait for the rest of the control group.
//! - Proof: the record that the master and its supervisors keep in Redis, with the main process's pid; `horizon:status`
//!   proves nothing.

use std::{collections::BTreeMap, path::Path};

use super::queue::WORK;
use crate::config::Horizon;

/// Horizon's master.
pub fn command(horizon: &Horizon) -> Vec<String> {
    [horizon.php.as_str(), WORK, "horizon"].map(str::to_owned).into()
}

/// What a slot's processes need beside the app's own.
pub fn environment(release: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([("APP_BASE_PATH".to_owned(), release.display().to_string())])
}
