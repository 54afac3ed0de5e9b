//! For what the process that holds a slot was begun: noted where it goes when the host is started again, as the process
//! does.

use serde::{Deserialize, Serialize};

use crate::{
    engine::error::EngineError,
    model::{AppName, ReleaseId},
    observe::Host,
    system::tree::Dir,
};

/// Its name below `/run/deployd/NAME`.
const NAME: &str = "fleet.json";
/// The largest, in bytes.
const LARGEST: u64 = 16 * 1024;

/// What it was begun for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Begun {
    /// The release.
    pub release: ReleaseId,
    /// What that was made from.
    pub revision: String,
    /// It was forced.
    pub force: bool,
    /// It was told that this host went back.
    pub went_back: bool,
}

impl Begun {
    /// As noted last; none: it was not begun since the boot.
    pub fn read(host: &Host, app: &AppName) -> Option<Self> {
        let dir = Dir::open(&host.paths.app_run_dir(app)).ok()?;
        serde_json::from_slice(&dir.read(NAME, LARGEST).ok()??).ok()
    }

    /// Notes it.
    pub fn write(&self, host: &Host, app: &AppName) -> Result<(), EngineError> {
        let json = serde_json::to_vec(self).map_err(|error| EngineError::Other(error.to_string()))?;
        Ok(Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?.write_volatile(NAME, &json, 0o600)?)
    }
}
