//! Holds: an app that takes no new deployment, a release that is not pruned; each with who, since when and why.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Actor, AppName, DeploymentId, ReleaseId, state_file};

/// The longest reason, in bytes.
pub const MAX_REASON: usize = 300;

/// One hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Who, as `DEPLOYD_ACTOR` gives it.
    pub actor: String,
    /// Seconds since 1970.
    pub since: i64,
    /// Why; may be empty.
    pub reason: String,
}

impl fmt::Display for Hold {
    /// `held by user:anna: the sale is on`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held by {}", self.actor)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// What of an app is held, `/var/lib/deployd/apps/NAME/holds.json`. Apart from its state, which a running deployment
/// has to itself: a hold does not wait for that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holds {
    /// The app: no new deployment.
    pub app: Option<Hold>,
    /// Releases: not pruned.
    pub releases: BTreeMap<ReleaseId, Hold>,
}

impl Holds {
    /// As the file holds it, with version and checksum. An error is a value that JSON cannot hold.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        state_file::encode(self)
    }

    /// Reads the file's content. Another version and a damaged one are refused, in a clause with the remedy.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        state_file::decode(bytes)
    }
}

/// A hold that is asked for, or its end. As a file it lies where a [`super::Request`] does, and cannot be taken for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRequest {
    /// Of which app.
    pub hold: AppName,
    /// This request's id.
    pub id: DeploymentId,
    /// One release of it, instead of the app.
    pub release: Option<ReleaseId>,
    /// It shall be held from now on, or not any more.
    pub held: bool,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub actor: Actor,
}

/// What was done about a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldChange {
    /// It was not held, and is; or for another reason.
    Held,
    /// It was held, and is not any more.
    Unheld,
    /// It was so already.
    Unchanged,
}

impl HoldChange {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            HoldChange::Held => "held",
            HoldChange::Unheld => "unheld",
            HoldChange::Unchanged => "unchanged",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file of this version, as it was written once and must be read for ever.
    const FROZEN: &str = include_str!("../../tests/fuzz/corpus/record/holds.json");

    #[test]
    fn holds_of_version_1_are_read_and_a_damaged_file_is_refused() {
        let hold = |reason: &str| Hold { actor: "user:anna".into(), since: 1_767_225_600, reason: reason.into() };
        let release = "20260131T120000Z-1a2b3c4d".parse().unwrap();
        let holds = Holds { app: Some(hold("the sale is on")), releases: BTreeMap::from([(release, hold(""))]) };
        assert_eq!(Holds::decode(FROZEN.trim().as_bytes()).unwrap(), holds);
        assert_eq!(Holds::decode(&holds.encode().unwrap()).unwrap(), holds);
        let cut = FROZEN.replace("anna", "otto");
        assert!(Holds::decode(cut.as_bytes()).unwrap_err().contains("checksum"));
        assert_eq!(hold("x").to_string(), "held by user:anna: x");
    }
}
