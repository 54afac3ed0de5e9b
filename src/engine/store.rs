//! The record on disk: an app's state with version and checksum, each ended deployment, and the app's lock.
//!
//! Every write is durable when it returns. A state of another version, or one whose checksum is wrong, is refused and
//! left where it is: never guessed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{error::EngineError, layout::open_or_make};
use crate::{
    model::{AppName, AppState, DeploymentId, DeploymentRecord, Paths},
    system::tree::{Dir, Lock},
};

/// The largest state file that is read, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Records of ended deployments kept for each app.
const KEEP_RECORDS: usize = 200;

/// The file that tells which directory the root was.
const ROOT: &str = "root";

/// Which directory an app's root is: a parent's owner could put another one there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootIdentity {
    /// Its path.
    pub path: PathBuf,
    /// Its file system's number, which may be another one after a boot.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// The boot that this was seen in.
    pub boot: String,
}

/// An app's record, opened.
#[derive(Debug)]
pub struct Store {
    dir: Dir,
}

/// A deployment's record in a directory.
pub fn record_in(dir: &Dir, name: &str) -> Result<Option<DeploymentRecord>, EngineError> {
    let Some(bytes) = dir.read(name, MAX_BYTES)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|e| EngineError::Record { place: format!("{}/{name}", dir.path), wrong: e.to_string() })
}

/// Lets `deployd` read a directory of the record. One that was only just made when its engine ended is not yet so.
fn readable(dir: &Dir, group: u32) -> Result<(), EngineError> {
    let (uid, gid, mode) = dir.owner()?;
    if uid == 0 && (gid, mode) != (group, 0o750) { Ok(dir.set_owner(0, group, 0o750)?) } else { Ok(()) }
}

impl Store {
    /// Opens an app's record, making its directories at first.
    pub fn open(paths: &Paths, app: &AppName) -> Result<Self, EngineError> {
        let group = crate::observe::find_user("deployd").map_or(0, |(_, gid)| gid);
        let base = paths.state_dir(app);
        let parent = base.parent().unwrap_or(&base);
        Dir::open_or_make(parent, 0o750)?;
        let dir = Dir::open_or_make(&base, 0o750)?;
        readable(&dir, group)?;
        readable(&open_or_make(&dir, "deployments", 0o750)?, group)?;
        Ok(Self { dir })
    }

    /// The state of an app without opening its record for writing: one that was never deployed has none.
    pub fn look(paths: &Paths, app: &AppName) -> Result<AppState, EngineError> {
        match Dir::open(&paths.state_dir(app)) {
            Ok(dir) => Self { dir }.load(),
            Err(error) if error.is_missing() => Ok(AppState::default()),
            Err(error) => Err(error.into()),
        }
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
        AppState::decode(&bytes)
            .map_err(|wrong| EngineError::Record { place: format!("{}/state.json", self.dir.path), wrong })
    }

    /// Which directory the app's root was, when it was last taken.
    pub fn root(&self) -> Result<Option<RootIdentity>, EngineError> {
        let Some(bytes) = self.dir.read(ROOT, MAX_BYTES)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| self.bad_root(&e))
    }

    /// Records which directory the app's root is.
    pub fn save_root(&self, root: &RootIdentity) -> Result<(), EngineError> {
        let json = serde_json::to_vec(root).map_err(|e| self.bad_root(&e))?;
        Ok(self.dir.write(ROOT, &json, 0o640)?)
    }

    fn bad_root(&self, error: &serde_json::Error) -> EngineError {
        EngineError::Record { place: format!("{}/{ROOT}", self.dir.path), wrong: error.to_string() }
    }

    /// Writes the state; it is on disk when this returns.
    pub fn save(&self, state: &AppState) -> Result<(), EngineError> {
        let bytes = state
            .encode()
            .map_err(|wrong| EngineError::Record { place: format!("{}/state.json", self.dir.path), wrong })?;
        Ok(self.dir.write("state.json", &bytes, 0o640)?)
    }

    /// The record of an ended deployment, if it has one.
    pub fn record(&self, id: &DeploymentId) -> Result<Option<DeploymentRecord>, EngineError> {
        record_in(&self.dir.dir("deployments")?, &format!("{id}.json"))
    }

    /// The record of the deployment that was begun last.
    pub fn newest_record(&self) -> Result<Option<DeploymentRecord>, EngineError> {
        let records = self.dir.dir("deployments")?;
        let names = records.names()?;
        Ok(names.iter().filter_map(|name| record_in(&records, name).ok()?).max_by_key(|record| record.started_at))
    }

    /// Writes the record of an ended deployment and removes the oldest beyond what is kept.
    pub fn save_record(&self, record: &DeploymentRecord) -> Result<(), EngineError> {
        let records = self.dir.dir("deployments")?;
        let json = serde_json::to_vec_pretty(record)
            .map_err(|e| EngineError::Record { place: records.path.clone(), wrong: e.to_string() })?;
        let own = format!("{}.json", record.id);
        records.write(&own, &json, 0o640)?;
        let names = records.names()?;
        if names.len() > KEEP_RECORDS {
            self.forget_oldest(&records, &names, &own, record.started_at);
        }
        Ok(())
    }

    /// Old records are for people only: one that cannot be removed is left, ignoring the failure. What is dated later than
    /// the one that was just written has a date of a clock that was set back since, and goes first: it would stay for
    /// ever, and what was written since would not.
    fn forget_oldest(&self, records: &Dir, names: &[String], own: &str, now: i64) {
        let mut dated: Vec<_> = names
            .iter()
            .filter(|name| *name != own)
            .filter_map(|name| {
                let record = record_in(records, name).ok()??;
                Some((record.started_at <= now, record.started_at, name))
            })
            .collect();
        dated.sort();
        let surplus = (dated.len() + 1).saturating_sub(KEEP_RECORDS);
        for (.., name) in dated.into_iter().take(surplus) {
            if let Err(error) = records.unlink(name) {
                tracing::debug!(%error, "an old record could not be removed, ignoring");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Outcome};

    fn record(number: u64, started_at: i64) -> DeploymentRecord {
        DeploymentRecord {
            id: DeploymentId::from_bits(number),
            kind: Kind::Deploy,
            actor: "systemd".into(),
            outcome: Outcome::Succeeded,
            message: String::new(),
            from: None,
            to: None,
            revision: None,
            reasons: Vec::new(),
            started_at,
            live_ms: None,
            wall_ms: 1,
            timings: Vec::new(),
        }
    }

    #[test]
    fn the_newest_records_stay_even_where_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let app = "shop".parse().unwrap();
        std::fs::create_dir_all(paths.state_dir(&app).parent().unwrap()).unwrap();
        let store = Store::open(&paths, &app).unwrap();
        let kept = u64::try_from(KEEP_RECORDS).unwrap();
        for number in 1..=kept {
            let earlier = record(number, 4_000_000_000);
            let path = paths.records_dir(&app).join(format!("{}.json", earlier.id));
            std::fs::write(path, serde_json::to_vec(&earlier).unwrap()).unwrap();
        }
        for later in 1..=3 {
            store.save_record(&record(kept + later, 1_700_000_000 + i64::try_from(later).unwrap())).unwrap();
        }
        let names = store.dir.dir("deployments").unwrap().names().unwrap();
        for later in 1..=3 {
            assert!(names.contains(&format!("{}.json", DeploymentId::from_bits(kept + later))), "{names:?}");
        }
        assert_eq!(names.len(), KEEP_RECORDS);
    }
}
