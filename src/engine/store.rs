//! The record on disk: an app's state with version and checksum, each ended deployment, and the app's lock.
//!
//! Every write is durable when it returns. A state of another version, or one whose checksum is wrong, is refused and
//! left where it is: never guessed.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::EngineError;
use crate::{
    model::{AppName, AppState, DeploymentRecord, Paths},
    system::tree::{Dir, Lock},
};

/// The version of the state's format that is written here.
pub const VERSION: u32 = 1;
/// The largest state file that is read, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Records of ended deployments kept for each app.
const KEEP_RECORDS: usize = 200;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    /// SHA-256 of `state`'s text, hexadecimal.
    sha256: String,
    /// The state as JSON text, so that the checksum is of exact bytes.
    state: String,
}

/// An app's record, opened.
#[derive(Debug)]
pub struct Store {
    dir: Dir,
}

impl Store {
    /// Opens an app's record, making its directories at first.
    pub fn open(paths: &Paths, app: &AppName) -> Result<Self, EngineError> {
        let group = crate::observe::find_user("deployd").map_or(0, |(_, gid)| gid);
        let base = paths.state_dir(app);
        let parent = base.parent().unwrap_or(&base);
        let apps = Dir::open_or_make(parent, 0o750)?;
        let fresh = apps.kind(app.as_str())? == crate::system::tree::EntryKind::Missing;
        let dir = Dir::open_or_make(&base, 0o750)?;
        if fresh {
            dir.set_owner(0, group, 0o750)?;
            dir.make_dir("deployments", 0o750)?.set_owner(0, group, 0o750)?;
        }
        Ok(Self { dir })
    }

    /// Takes the app's lock if it is free; otherwise tells who has it.
    pub fn try_lock(&self, holder: &str) -> Result<Result<Lock, String>, EngineError> {
        Ok(Lock::try_take(&self.dir, "lock", holder)?)
    }

    /// Waits for the app's lock.
    pub async fn lock(&self, holder: &str) -> Result<Lock, EngineError> {
        Ok(Lock::take(&self.dir, "lock", holder).await?)
    }

    /// The state; an app that was never deployed has the default one.
    pub fn load(&self) -> Result<AppState, EngineError> {
        let Some(bytes) = self.dir.read("state.json", MAX_BYTES)? else { return Ok(AppState::default()) };
        decode(&bytes).map_err(|wrong| EngineError::Record { place: format!("{}/state.json", self.dir.path), wrong })
    }

    /// Writes the state; it is on disk when this returns.
    pub fn save(&self, state: &AppState) -> Result<(), EngineError> {
        let bytes = encode(state)
            .map_err(|wrong| EngineError::Record { place: format!("{}/state.json", self.dir.path), wrong })?;
        Ok(self.dir.write("state.json", &bytes, 0o640)?)
    }

    /// Writes the record of an ended deployment and removes the oldest beyond what is kept.
    pub fn save_record(&self, record: &DeploymentRecord) -> Result<(), EngineError> {
        let records = self.dir.dir("deployments")?;
        let json = serde_json::to_vec_pretty(record)
            .map_err(|e| EngineError::Record { place: records.path.clone(), wrong: e.to_string() })?;
        records.write(&format!("{}.json", record.id), &json, 0o640)?;
        let names = records.names()?;
        if names.len() > KEEP_RECORDS {
            self.forget_oldest(&records, &names);
        }
        Ok(())
    }

    /// Old records are for people only: one that cannot be removed is left, ignoring the failure.
    fn forget_oldest(&self, records: &Dir, names: &[String]) {
        let mut dated: Vec<_> = names
            .iter()
            .filter_map(|name| {
                let bytes = records.read(name, MAX_BYTES).ok()??;
                let record: DeploymentRecord = serde_json::from_slice(&bytes).ok()?;
                Some((record.started_at, name))
            })
            .collect();
        dated.sort();
        let surplus = dated.len().saturating_sub(KEEP_RECORDS);
        for (_, name) in dated.into_iter().take(surplus) {
            if let Err(error) = records.unlink(name) {
                tracing::debug!(%error, "an old record could not be removed, ignoring");
            }
        }
    }
}

fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(state: &AppState) -> Result<Vec<u8>, String> {
    let state = serde_json::to_string(state).map_err(|e| e.to_string())?;
    let envelope = Envelope { version: VERSION, sha256: checksum(&state), state };
    serde_json::to_vec(&envelope).map_err(|e| e.to_string())
}

/// Reads what [`Store::save`] wrote.
pub fn decode(bytes: &[u8]) -> Result<AppState, String> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let damaged = |detail: &str| {
        format!("the record is damaged ({detail}); it was left as it is: move it away, and deployd begins a new one")
    };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
    if version != VERSION {
        return Err(format!(
            "the record is of version {version}, and this deployd knows {VERSION}: install the newer package"
        ));
    }
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| damaged(&e.to_string()))?;
    if checksum(&envelope.state) != envelope.sha256 {
        return Err(damaged("its checksum is wrong"));
    }
    serde_json::from_str(&envelope.state).map_err(|e| damaged(&e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_cut_or_changed_anywhere_is_refused() {
        let state = AppState { seq: 7, ..AppState::default() };
        let bytes = encode(&state).unwrap();
        assert_eq!(decode(&bytes).unwrap(), state);
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(decode(text.replace("\\\"seq\\\":7", "\\\"seq\\\":8").as_bytes()).unwrap_err().contains("checksum"));
        assert!(
            decode(text.replace("\"version\":1", "\"version\":2").as_bytes()).unwrap_err().contains("newer package")
        );
    }
}
