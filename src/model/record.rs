//! The record: what an app's releases and slots are, and what the running deployment has done so far.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DeploymentId, Kind, Migrating, MigrationRun, Outcome, Phase, ReleaseId, ReleaseState, Slot};

/// An app's state file, `/var/lib/deployd/apps/NAME/state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppState {
    /// The last sequence number given to a release; they only rise.
    pub seq: u64,
    /// Every release that is sealed, oldest first.
    pub releases: Vec<ReleaseRecord>,
    /// Which slot of each slotted service is live, and for which release.
    pub live: BTreeMap<String, LiveSlot>,
    /// The slot that was live before, kept until the bake time has passed: a rollback re-points to it at once.
    pub fallback: BTreeMap<String, LiveSlot>,
    /// The deployment that is running, or was when the engine ended.
    pub running: Option<Running>,
    /// The newest deployment whose release is still to be confirmed.
    pub settling: Option<DeploymentId>,
    /// The sentence that says why nothing more is done and how to go on.
    pub stuck: Option<String>,
    /// The migrations that deployments have run, oldest first.
    #[serde(default)]
    pub migrations: Vec<MigrationRun>,
    /// Those that are running, or were when the engine ended.
    #[serde(default)]
    pub migrating: Option<Migrating>,
    /// The steps that are run once for a release, and have been or were begun.
    #[serde(default)]
    pub once: Vec<StepRun>,
    /// The applications' keys of the releases, as digests.
    #[serde(default)]
    pub keys: Keys,
    /// What the newest release was made of that had to go back, until another one is live: a timer does not try it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedRelease>,
}

/// A release that had to go back; it may be pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedRelease {
    /// Which.
    pub id: ReleaseId,
    /// Its revision.
    pub revision: String,
    /// What it was made from beside that.
    pub made_from: MadeFrom,
}

impl AppState {
    /// Notes that a release had to go back.
    pub fn fail(&mut self, id: &ReleaseId) {
        for release in self.releases.iter_mut().filter(|release| release.id == *id) {
            release.state = ReleaseState::Failed;
            let (revision, made_from) = (release.revision.clone(), release.made_from.clone());
            self.failed = Some(FailedRelease { id: id.clone(), revision, made_from });
        }
    }

    /// When a release becomes live that does so now, or a migration has run: later than any before it, even where the
    /// clock was set back, since who was live last is told by it, and what has run since.
    pub fn moment(&self, now: i64) -> i64 {
        let live = self.releases.iter().filter_map(|release| release.live_at);
        let last = live.chain(self.migrations.iter().map(|run| run.at)).max();
        last.map_or(now, |last| now.max(last.saturating_add(1)))
    }
}

/// A run of a step that is run once for a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRun {
    /// The step's name.
    pub step: String,
    /// The release.
    pub release: ReleaseId,
    /// The deployment that ran it.
    pub deployment: DeploymentId,
    /// It has ended well. If not, it was begun, and how it ended is not known.
    pub ended: bool,
}

/// The keys of releases, as digests of no use to those who have not the salt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Random, of this app.
    pub salt: String,
    /// By release.
    pub releases: BTreeMap<ReleaseId, String>,
}

/// A slot and the release it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveSlot {
    /// Which.
    pub slot: Slot,
    /// What it runs.
    pub release: ReleaseId,
}

/// A release's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseRecord {
    /// Its id.
    pub id: ReleaseId,
    /// Its order.
    pub seq: u64,
    /// Commit, or digest of a directory's listing.
    pub revision: String,
    /// The reference it was resolved from.
    pub reference: String,
    /// What it is fit for.
    pub state: ReleaseState,
    /// Digest of the manifest.
    pub manifest: String,
    /// Number of entries.
    pub files: u64,
    /// Content, in bytes.
    pub bytes: u64,
    /// What it was made from, for "nothing new": settings, php, and each shared file by path.
    pub made_from: MadeFrom,
    /// Which of the files that steps need it has.
    #[serde(default)]
    pub markers: Vec<String>,
    /// The deployment that made it.
    pub deployment: DeploymentId,
    /// Seconds since 1970.
    pub sealed_at: i64,
    /// When it last became live, seconds since 1970; later than any before it (see [`AppState::moment`]).
    pub live_at: Option<i64>,
    /// What was live before it: where a rollback goes.
    #[serde(default)]
    pub replaced: Option<ReleaseId>,
}

/// What a release depends on beside its revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeFrom {
    /// Digest of the settings.
    pub settings: String,
    /// The php binary's identity.
    pub php: String,
    /// Digest of each shared file.
    pub shared: BTreeMap<String, String>,
}

/// The write-ahead journal of a running deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Running {
    /// Its id.
    pub id: DeploymentId,
    /// Its kind.
    pub kind: Kind,
    /// Who asked, as `DEPLOYD_ACTOR` gives it.
    pub actor: String,
    /// How far it is.
    pub phase: Phase,
    /// What `current` named at the start.
    pub from: Option<ReleaseId>,
    /// What it shall name.
    pub to: ReleaseId,
    /// The release is this deployment's own and is removed when it fails before the seal.
    pub fresh: bool,
    /// Slots it started or will start: service to slot.
    pub slots: BTreeMap<String, Slot>,
    /// Seconds since 1970.
    pub started_at: i64,
}

/// What a survey of the shared files found, `/run/deployd/NAME/survey.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// The survey's own id: that of its unit.
    pub id: DeploymentId,
    /// The shared files that differ from what the live release was made from.
    pub changed: Vec<String>,
}

/// An ended deployment, `/var/lib/deployd/apps/NAME/deployments/ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentRecord {
    /// Its id.
    pub id: DeploymentId,
    /// Its kind.
    pub kind: Kind,
    /// Who asked.
    pub actor: String,
    /// How it ended.
    pub outcome: Outcome,
    /// In one line: what happened, and when it failed the remedy.
    pub message: String,
    /// What `current` named before.
    pub from: Option<ReleaseId>,
    /// The release it was about.
    pub to: Option<ReleaseId>,
    /// The revision of it.
    pub revision: Option<String>,
    /// Why there was something to do.
    pub reasons: Vec<String>,
    /// Seconds since 1970.
    pub started_at: i64,
    /// Milliseconds to the new release being proved live; none when it never was.
    pub live_ms: Option<u64>,
    /// Milliseconds to the end.
    pub wall_ms: u64,
    /// Each phase and each step with its milliseconds, in order.
    pub timings: Vec<(String, u64)>,
}
