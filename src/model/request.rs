//! What is asked for, by whom: an immutable value, frozen before anyone is asked for permission.

use serde::{Deserialize, Serialize};

use super::{AppName, DeploymentId, Kind, ReleaseId};

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "via", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Actor {
    /// Through systemd itself, which does not tell who.
    Systemd,
    /// A timer of systemd's.
    Timer,
    /// Through the bus: the caller's user.
    Bus {
        /// Numeric user id, as the bus daemon vouches for it.
        uid: u32,
        /// Its name, when it has one.
        user: Option<String>,
    },
    /// deployd itself: the settling of a deployment, or its recovery.
    Deployd,
}

impl std::fmt::Display for Actor {
    /// As the field `DEPLOYD_ACTOR` gives it: `systemd`, `timer`, `user:NAME`, `uid:N` or `deployd`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::Systemd => f.write_str("systemd"),
            Actor::Timer => f.write_str("timer"),
            Actor::Bus { user: Some(name), .. } => write!(f, "user:{name}"),
            Actor::Bus { uid, user: None } => write!(f, "uid:{uid}"),
            Actor::Deployd => f.write_str("deployd"),
        }
    }
}

/// One request for a deployment. As a file, `/run/deployd/requests/NAME/ID`, it is this value as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which app.
    pub app: AppName,
    /// This deployment's id.
    pub id: DeploymentId,
    /// What to do.
    pub kind: Kind,
    /// Branch, tag or commit, instead of the configured one. Checked with `config::check_reference`.
    #[serde(default)]
    pub reference: Option<String>,
    /// The release to activate or to roll back to; without it the newest sealed, or the previous confirmed one.
    #[serde(default)]
    pub release: Option<ReleaseId>,
    /// Make a new release although nothing is new.
    #[serde(default)]
    pub force: bool,
    /// What is not refused this time.
    #[serde(default)]
    pub allow: Allow,
    /// The archive that was handed over is the source: it lies where `Paths::upload_file` says.
    #[serde(default)]
    pub upload: bool,
    /// Who asked.
    pub actor: Actor,
}

/// What a deployment would refuse, and is told not to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Migrations that the live release may not survive.
    pub destructive: bool,
    /// Another key of the application, so that what the old one encrypted can no longer be read.
    pub key_rotation: bool,
    /// Steps that are run once for a release, once more.
    #[serde(default)]
    pub run_again: bool,
}

/// A check of the host that is asked for. As a file it lies where a [`Request`] does, and cannot be taken for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Of which app.
    pub check: AppName,
    /// This check's id.
    pub id: DeploymentId,
    /// Who asked.
    pub actor: Actor,
}

impl Request {
    /// The largest request file, in bytes.
    pub const MAX_BYTES: u64 = 16 * 1024;
}

impl Request {
    /// The one line that says how this deployment ended: `shop: deploy rolled-back: …`.
    pub fn exit_line(&self, outcome: super::Outcome, message: &str) -> String {
        format!("{}: {} {}: {}", self.app, self.kind, outcome, message)
    }
}
