//! A deployment: its id, kind, phases and outcomes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A deployment's id: 16 lower-case hexadecimal digits, random (the bus) or of systemd's invocation id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeploymentId(String);

impl DeploymentId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From 64 random bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("{bits:016x}"))
    }
}

impl FromStr for DeploymentId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(text.into()))
        } else {
            Err("a deployment id is 16 lower-case hexadecimal digits".into())
        }
    }
}
impl TryFrom<String> for DeploymentId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<DeploymentId> for String {
    fn from(id: DeploymentId) -> String {
        id.0
    }
}
impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a deployment is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Stage, activate, cut over.
    Deploy,
    /// Make a release and leave what is live alone.
    Stage,
    /// Make an already sealed release live.
    Activate,
    /// Go back to a confirmed release.
    Rollback,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 4] = [Kind::Deploy, Kind::Stage, Kind::Activate, Kind::Rollback];
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Deploy => "deploy",
            Kind::Stage => "stage",
            Kind::Activate => "activate",
            Kind::Rollback => "rollback",
        }
    }
}
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Kind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Kind::ALL
            .into_iter()
            .find(|k| k.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a kind of deployment"))
    }
}

/// Where in the transaction a deployment is. In this order; not every kind passes all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// For the app's lock.
    Waiting,
    /// Reading the world; making the plan.
    Planning,
    /// Export, link, steps.
    Staging,
    /// Manifest, sync, record.
    Sealing,
    /// Idle slots started and probed, not live.
    Starting,
    /// The one rename.
    Activating,
    /// Pointing the services, in order.
    CuttingOver,
    /// Proving by observation.
    Verifying,
    /// A failure after activation: going back.
    RollingBack,
    /// Ended.
    Done,
}
impl Phase {
    /// The word for it, as journal field and bus property give it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Planning => "planning",
            Phase::Staging => "staging",
            Phase::Sealing => "sealing",
            Phase::Starting => "starting",
            Phase::Activating => "activating",
            Phase::CuttingOver => "cutting-over",
            Phase::Verifying => "verifying",
            Phase::RollingBack => "rolling-back",
            Phase::Done => "done",
        }
    }
}
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a deployment ended. The exit status of `deploy-engine` and `deployctl` follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, and live unless only staged.
    Succeeded,
    /// Nothing was new, nothing was changed.
    Unchanged,
    /// Refused before anything live was touched.
    Rejected,
    /// Failed before activate: nothing live was changed.
    Failed,
    /// Failed after activate; the old release is live again.
    RolledBack,
    /// Stopped on request before activate.
    Cancelled,
    /// Could not be put right without a person; the message says how to go on.
    Stuck,
}
impl Outcome {
    /// Every outcome.
    pub const ALL: [Outcome; 7] = [
        Outcome::Succeeded,
        Outcome::Unchanged,
        Outcome::Rejected,
        Outcome::Failed,
        Outcome::RolledBack,
        Outcome::Cancelled,
        Outcome::Stuck,
    ];
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Unchanged => "unchanged",
            Outcome::Rejected => "rejected",
            Outcome::Failed => "failed",
            Outcome::RolledBack => "rolled-back",
            Outcome::Cancelled => "cancelled",
            Outcome::Stuck => "stuck",
        }
    }
    /// Process exit status: 0 succeeded or unchanged, 1 failed, 3 rejected, 4 rolled back, 5 stuck, 6 cancelled.
    pub fn exit_status(self) -> u8 {
        match self {
            Outcome::Succeeded | Outcome::Unchanged => 0,
            Outcome::Failed => 1,
            Outcome::Rejected => 3,
            Outcome::RolledBack => 4,
            Outcome::Stuck => 5,
            Outcome::Cancelled => 6,
        }
    }
}
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl FromStr for Outcome {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Outcome::ALL.into_iter().find(|o| o.as_str() == text).ok_or_else(|| format!("{text:?} is not an outcome"))
    }
}
