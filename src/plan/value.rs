//! The plan: the very value that a deployment executes and that `deployctl plan` prints.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    config::{Assets, Health, SlotKind, Step, Strategy},
    model::{AppName, DeploymentId, Kind, LiveSlot, MadeFrom, ReleaseId, Share, Slot, UnitName},
    observe::Lack,
    worker::order::{PreviousRelease, SharedPath, SourceOrder},
};

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "decision", rename_all = "kebab-case")]
pub enum Decision {
    /// There is something to do.
    Go(Box<Plan>),
    /// Nothing is new.
    Unchanged {
        /// The release that stays.
        release: ReleaseId,
        /// In one line.
        message: String,
    },
}

/// Why a request was refused, before anything was touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The thing and the place, in one line.
    pub reason: String,
    /// The way out, in one line.
    pub remedy: Option<String>,
    /// Each thing that is lacking, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<Lack>,
}

/// What a deployment will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Whose.
    pub app: AppName,
    /// The deployment.
    pub id: DeploymentId,
    /// Its kind.
    pub kind: Kind,
    /// Why there is something to do, each in one clause.
    pub reasons: Vec<String>,
    /// What should be known beforehand, each in one line.
    pub warnings: Vec<String>,
    /// What `current` names now.
    pub from: Option<ReleaseId>,
    /// The release it is about.
    pub release: ReleaseId,
    /// Its revision.
    pub revision: String,
    /// The migrations that have run since that release was made: going there does not undo them.
    pub migrated_since: Vec<String>,
    /// How the release is made; none when it is there already.
    pub stage: Option<Stage>,
    /// How it becomes live; none when it is only staged.
    pub live: Option<GoLive>,
}

/// How a release is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Its place in the order of releases.
    pub seq: u64,
    /// Where from, with the reference that was asked for.
    pub source: SourceOrder,
    /// The reference, for the record.
    pub reference: String,
    /// What is linked.
    pub shared: Vec<SharedPath>,
    /// Directories that services may write; not part of the manifest.
    pub writable: Vec<String>,
    /// Directories that steps of the services' user may write.
    pub build_writable: Vec<String>,
    /// The release before, whose unchanged files are shared.
    pub previous: Option<PreviousRelease>,
    /// How.
    pub share: Share,
    /// The tests that the source must pass first, in a scratch copy of it.
    pub tests: Option<Step>,
    /// Directories that are brought from it before the steps.
    pub carry: Vec<String>,
    /// Built assets that stay.
    pub assets: Assets,
    /// The commands that apply, in order.
    pub steps: Vec<Step>,
    /// The commands that do not, and why.
    pub skipped: BTreeMap<String, String>,
    /// Removed before the seal.
    pub drop: Vec<String>,
    /// What the release depends on, for the record.
    pub made_from: MadeFrom,
    /// Which of the files that steps need are there, for the record.
    pub markers: Vec<String>,
}

/// How a release becomes live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GoLive {
    /// Of a release that was staged before: what is done first. None for one that is made now, or was live already.
    pub staged: Option<Staged>,
    /// The services, in order.
    pub moves: Vec<Move>,
    /// Commands after activate, in order.
    pub steps: Vec<Step>,
    /// The commands that have run for the release already, and run once.
    pub skipped: BTreeMap<String, String>,
    /// What proves the site.
    pub health: Vec<Health>,
    /// Successes in a row that are waited for.
    pub successes: u32,
    /// Between them.
    pub interval: Duration,
    /// Watched after the deployment has returned.
    pub bake: Duration,
}

/// What staging a release leaves for the time when it becomes live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Staged {
    /// The steps that migrate, in order: the database is live.
    pub steps: Vec<Step>,
    /// Which of the files that steps need are there.
    pub markers: Vec<String>,
}

/// How one service moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Move {
    /// From slot to slot.
    Handover(Box<Handover>),
    /// The scheduler: its next run is in the new release; its timer is started when it is not yet.
    Scheduler {
        /// The service, as the record names it.
        service: String,
        /// `app-schedule@shop.timer`.
        timer: UnitName,
    },
    /// An existing unit.
    Unit {
        /// The service, as the record names it.
        service: String,
        /// Which.
        unit: UnitName,
        /// How.
        strategy: Strategy,
        /// The longest that its old processes are watched.
        drain: Duration,
    },
}

impl Move {
    /// The service, as configuration and record name it.
    pub fn service(&self) -> &str {
        match self {
            Move::Handover(handover) => &handover.service,
            Move::Scheduler { service, .. } | Move::Unit { service, .. } => service,
        }
    }
}

/// From slot to slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Handover {
    /// The service, as the record names it.
    pub service: String,
    /// What runs in the slots.
    pub kind: SlotKind,
    /// The slot that is live now.
    pub from: Option<LiveSlot>,
    /// The slot that will be.
    pub to: Slot,
    /// How the new slot comes to run the release.
    pub start: Start,
    /// The longest that draining may take.
    pub drain: Duration,
}

/// How a slot comes to run a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// It runs it already: it was live before.
    Running,
    /// It is idle and is started.
    Idle {
        /// Smaller than configured, since memory is short.
        smaller: bool,
    },
    /// All are busy: it drains, and is waited for, then started.
    Draining,
}
