//! An app's deploy key: what is asked for, and what is answered. The private half is in neither.

use serde::{Deserialize, Serialize};

use super::{Actor, AppName, DeploymentId};

/// A deploy key that is asked for. As a file it lies where a [`super::Request`] does, and cannot be taken for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Of which app.
    pub key: AppName,
    /// This request's id.
    pub id: DeploymentId,
    /// A new one in the place of the one that is there.
    pub rotate: bool,
    /// Who asked.
    pub actor: Actor,
}

/// What was done about a deploy key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyChange {
    /// There was none.
    Made,
    /// It was there.
    Kept,
    /// The one that was there is no more.
    Replaced,
}

impl KeyChange {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyChange::Made => "made",
            KeyChange::Kept => "kept",
            KeyChange::Replaced => "replaced",
        }
    }
}

/// An app's deploy key, as others may know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployKey {
    /// The public half, as a line of `authorized_keys`.
    pub public: String,
    /// What was done.
    pub change: KeyChange,
}
