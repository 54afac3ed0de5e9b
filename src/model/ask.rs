//! What is asked of the engine beside deployments, and what it answers: pruning, comparing two releases.

use serde::{Deserialize, Serialize};

use super::{Actor, AppName, DeploymentId, ReleaseId};

/// What the engine leaves for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply<T> {
    /// The answer.
    Done(T),
    /// There is none.
    Refused(Refused),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Of what kind, by which the bus names the error.
    pub kind: Refusing,
    /// The reason and the remedy, in one line.
    pub why: String,
}

/// What kinds of refusals there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusing {
    /// There is no such app.
    NoSuchApp,
    /// The app has no such release.
    NoSuchRelease,
    /// The app's configuration has errors.
    BadConfig,
    /// Anything else.
    Failed,
}

/// A pruning. As a file it lies where a [`super::Request`] does, and cannot be taken for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// Of which app.
    pub prune: AppName,
    /// This request's id.
    pub id: DeploymentId,
    /// How many releases are kept, instead of the configured number.
    pub keep: Option<u32>,
    /// Only say what would go.
    pub dry_run: bool,
    /// Who asked.
    pub actor: Actor,
}

/// What became of a release, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pruned {
    /// Which.
    pub release: ReleaseId,
    /// It went.
    pub pruned: bool,
    /// Why it went or stayed, in a few words.
    pub why: String,
    /// Its content, in bytes, as it was sealed.
    pub bytes: u64,
}

/// A comparison. As a file it lies where a [`super::Request`] does, and cannot be taken for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// Of which app.
    pub diff: AppName,
    /// This request's id.
    pub id: DeploymentId,
    /// The older; without it a default.
    pub from: Option<ReleaseId>,
    /// The newer; without it a default.
    pub to: Option<ReleaseId>,
    /// Who asked.
    pub actor: Actor,
}

/// What differs between two releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The older.
    pub from: ReleaseId,
    /// The newer.
    pub to: ReleaseId,
    /// The older's revision.
    pub from_revision: String,
    /// The newer's.
    pub to_revision: String,
    /// Both revisions are git's commits.
    pub commits: bool,
    /// Paths that only the newer has.
    pub added: u64,
    /// Paths that only the older has.
    pub removed: u64,
    /// Paths that both have and that are not the same.
    pub changed: u64,
    /// The first of them in the order of their names, each with `A`, `D` or `M` before it. Not every one is named.
    pub names: Vec<(char, String)>,
    /// What came since, newest first: abbreviated commit and subject. Of git only, and only the first.
    pub log: Vec<(String, String)>,
    /// Whether there are more of them.
    pub more: bool,
}
