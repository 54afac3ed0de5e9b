//! Observed: the world as one value, with nothing of how it was read.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::Lack;
use crate::{
    check::Facts,
    model::{AppState, Hold, ReleaseId, Slot},
    worker::order::SharedFound,
};

/// What one deployment knows of the world before its first effect.
#[derive(Debug, Clone, Serialize)]
pub struct Observed {
    /// UTC, as a release id's stamp: `20260131T120000Z`.
    pub stamp: String,
    /// What the record says.
    pub state: AppState,
    /// Somebody holds the app.
    pub held: Option<Hold>,
    /// What `current` names; `None`: there is none.
    pub current: Option<ReleaseId>,
    /// Names in `releases/` that are release ids.
    pub on_disk: Vec<ReleaseId>,
    /// What the source names now (deploy and stage only).
    pub source: Option<Resolved>,
    /// What a deployment would run into: programs and secrets that are not there, a source that cannot be reached.
    pub lacking: Vec<Lack>,
    /// What a build can do without, worse: told, and no reason to refuse.
    pub missed: Option<Lack>,
    /// Shared paths as found, in the settings' order.
    pub shared: Vec<SharedFound>,
    /// The site is in maintenance mode.
    pub maintenance: bool,
    /// Digest of the settings that a release depends on.
    pub settings_digest: String,
    /// The php-fpm binary's identity: version, or path with size and time.
    pub php: String,
    /// For each service by name, its slots' or its unit's state.
    pub services: BTreeMap<String, ServiceObserved>,
    /// The first directory nginx may not pass on its way to the document root.
    pub web_blocked: Option<PathBuf>,
    /// The engine's units may write the root: it lies where they always may, or systemd has read the app's description.
    pub root_writable: bool,
    /// What one slot of each php-fpm service takes at its fullest, in MiB; 0: not known.
    pub slot_memory_mib: BTreeMap<String, u64>,
    /// MemAvailable of the host, in MiB.
    pub memory_available_mib: u64,
    /// What a check of the host needs to know.
    pub facts: Facts,
}

/// What the source names.
#[derive(Debug, Clone, Serialize)]
pub struct Resolved {
    /// Commit, or digest of a directory's listing.
    pub revision: String,
    /// Marker files that are there.
    pub markers: Vec<String>,
    /// The tag's name, where a pattern of tags was asked for.
    pub tag: Option<String>,
}

/// A service as found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceObserved {
    /// Slots: what systemd says of each (`active`, `inactive`, `failed`, `deactivating`, …).
    Slots(BTreeMap<Slot, String>),
    /// A unit: its load state and active state.
    Unit {
        /// `loaded`, `not-found`, `masked`.
        load: String,
        /// `active`, `inactive`, …
        active: String,
    },
    /// The instances of a template, in their order.
    Instances(Vec<(String, InstanceObserved)>),
}

/// An instance of a template as found.
#[derive(Debug, Clone, Serialize)]
pub struct InstanceObserved {
    /// `loaded`, `not-found`, `masked`.
    pub load: String,
    /// `active`, `inactive`, …
    pub active: String,
    /// The release that its main process works in, where that can be seen.
    pub release: Option<ReleaseId>,
}
