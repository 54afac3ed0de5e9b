//! A change of nginx's site that has begun and is not proved: recorded before its first effect, so that one that was
//! interrupted is taken back when `init --apply` is begun again.

use std::{path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::change::opened;
use crate::{
    config::Settings,
    engine::{error::EngineError, upstream},
    model::AppName,
    observe::Host,
    system::tree::Dir,
};

/// The record's file, in the app's state.
const RECORD: &str = "apply.json";
/// Its largest size, in bytes: two texts, escaped.
const LARGEST: u64 = 8 * 1024 * 1024;

/// A file as it was, and as it was to be.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Undo {
    pub file: PathBuf,
    pub mode: u32,
    pub before: String,
    pub after: String,
}

impl Undo {
    pub fn record(&self, host: &Host, app: &AppName) -> Result<(), EngineError> {
        let json = serde_json::to_vec(self).map_err(|error| EngineError::Other(error.to_string()))?;
        Ok(Dir::open(&host.paths.state_dir(app))?.write(RECORD, &json, 0o600)?)
    }

    /// It is proved, or taken back.
    pub fn forget(host: &Host, app: &AppName) -> Result<(), EngineError> {
        let dir = Dir::open(&host.paths.state_dir(app))?;
        dir.unlink(RECORD)?;
        Ok(dir.sync()?)
    }

    /// The file as it was, and nginx has read it. What somebody wrote since stays.
    pub async fn take_back(&self, host: &Host, settings: &Settings) -> Result<(), EngineError> {
        if self.restore()? {
            upstream::reload(host, &settings.web_unit).await?;
        }
        Self::forget(host, &settings.app)
    }

    fn restore(&self) -> Result<bool, EngineError> {
        let (dir, name) = opened(&self.file)?;
        let there = dir.read(&name, LARGEST)?.unwrap_or_default();
        let ours = there == self.after.as_bytes();
        if ours {
            dir.write(&name, self.before.as_bytes(), self.mode)?;
        }
        // It may be nginx's only in part.
        Ok(ours || there == self.before.as_bytes())
    }
}

/// Takes back what was interrupted; tells what was done.
pub(super) async fn interrupted(host: &Host, app: &AppName) -> Result<Option<String>, EngineError> {
    let dir = match Dir::open(&host.paths.state_dir(app)) {
        Ok(dir) => dir,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(bytes) = dir.read(RECORD, LARGEST)? else { return Ok(None) };
    let undo: Undo = serde_json::from_slice(&bytes).map_err(|error| EngineError::Record {
        place: Path::new(&dir.path).join(RECORD).display().to_string(),
        wrong: error.to_string(),
    })?;
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    undo.take_back(host, &settings).await?;
    Ok(Some(format!("{}: a change that was interrupted is begun again", undo.file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_taken_back_and_what_somebody_wrote_since_stays() {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().canonicalize().unwrap().join("shop");
        let undo = Undo { file: file.clone(), mode: 0o644, before: "old".into(), after: "new".into() };
        let restored = |text: &str| {
            std::fs::write(&file, text).unwrap();
            (undo.restore().unwrap(), std::fs::read_to_string(&file).unwrap())
        };
        assert_eq!(restored("new"), (true, "old".into()));
        assert_eq!(restored("old"), (true, "old".into()));
        assert_eq!(restored("mine"), (false, "mine".into()));
    }
}
