//! What a worker may answer: an app user's word, bounded in size, strictly typed, digests and counts,
//! never a path that root opens.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{order::SharedKind, recognised::Recognised};
use crate::model::Migration;

/// What a worker found or did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// For [`super::order::Order::Resolve`].
    Resolved {
        /// 40 or 64 hexadecimal digits: a commit, an archive's SHA-256, or the digest of a directory's listing.
        revision: String,
        /// Which of the asked markers are there.
        markers: Vec<String>,
        /// The tag's name, where a pattern of tags was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tag: Option<String>,
    },
    /// For [`super::order::Order::Survey`], one for each asked path, in order.
    Surveyed {
        /// What was found.
        shared: Vec<SharedFound>,
        /// `storage/framework/down` or the like is there: the site is in maintenance mode.
        maintenance: bool,
    },
    /// For [`super::order::Order::Export`].
    Exported {
        /// Number of files and links written.
        files: u64,
        /// Their content, in bytes.
        bytes: u64,
        /// How many files are shared with the release before.
        shared: u64,
        /// Which of `carry` were brought.
        carried: Vec<String>,
        /// Which of `compare` are as they were.
        unchanged: Vec<String>,
    },
    /// For [`super::order::Order::Link`].
    Linked {
        /// Shared paths that were made from the release's own.
        adopted: Vec<String>,
    },
    /// For [`super::order::Order::Seal`].
    Sealed {
        /// SHA-256 of the manifest's file, hexadecimal.
        manifest: String,
        /// Number of entries.
        files: u64,
        /// Content, in bytes.
        bytes: u64,
    },
    /// For [`super::order::Order::Compare`].
    Compared {
        /// Entries that are gone or were written since, relative, the first few.
        changed: Vec<String>,
        /// How many there are.
        count: u64,
        /// Why not all of it is known.
        unknown: Option<String>,
    },
    /// For [`super::order::Order::Diff`].
    Differs {
        /// Paths that only the newer has.
        added: u64,
        /// Paths that only the older has.
        removed: u64,
        /// Paths of both that are not the same.
        changed: u64,
        /// The first of them, with `A`, `D` or `M`.
        names: Vec<(char, String)>,
    },
    /// For the probes: a verdict, not an error.
    Probed {
        /// Whether it was as expected.
        healthy: bool,
        /// In one line, what was answered: `200 in 12 ms`, `503, expected 200`.
        detail: String,
    },
    /// For [`super::order::Order::AskNginx`].
    Sent {
        /// Whether it goes where was asked; none: nobody answered that.
        there: Option<bool>,
    },
    /// For [`super::order::Order::Inspect`].
    Inspected {
        /// Files that were written since, relative, the first few.
        changed: Vec<String>,
        /// How many there are.
        count: u64,
        /// Files whose name ends in `.php`.
        php_files: u64,
        /// Their content, in bytes.
        php_bytes: u64,
    },
    /// For [`super::order::Order::Tell`].
    Told {
        /// Texts by name.
        config: BTreeMap<String, String>,
    },
    /// For [`super::order::Order::Crontab`].
    Crontab {
        /// Line from 1, and what stands there.
        lines: Vec<(usize, String)>,
    },
    /// For [`super::order::Order::Jobs`].
    Jobs {
        /// Jobs that were looked at.
        looked: u64,
        /// Whether all were: there are limits.
        complete: bool,
        /// Why the queues could not be looked at.
        unknown: Option<String>,
        /// Classes that do not load.
        missing: Vec<MissingJobs>,
    },
    /// For [`super::order::Order::Commits`], newest first.
    Commits {
        /// The first of them.
        commits: Vec<Commit>,
        /// Whether there are more.
        more: bool,
    },
    /// For [`super::order::Order::Keys`]: SHA-256 with the salt as the key, hexadecimal.
    Keys {
        /// Of the one that encrypts.
        current: Option<String>,
        /// Of those that still decrypt.
        previous: Vec<String>,
    },
    /// For [`super::order::Order::Migrations`].
    Migrations {
        /// In the order in which they would run.
        pending: Vec<Migration>,
        /// Why they could not be looked at.
        unknown: Option<String>,
    },
    /// For [`super::order::Order::Recognise`].
    Recognised(Box<Recognised>),
    /// For [`super::order::Order::Fetch`].
    Fetched {
        /// The status; none: nobody answered.
        status: Option<u16>,
        /// SHA-256 of the body, hexadecimal; or why there was no answer.
        digest: String,
    },
    /// For [`super::order::Order::Traverse`]: the first directory that may not be passed, if any.
    Traversed {
        /// Absolute.
        blocked: Option<PathBuf>,
    },
    /// For orders with nothing to tell.
    Done {
        /// Number of entries removed or changed.
        entries: u64,
    },
    /// The order could not be carried out.
    Refused {
        /// In one line, the thing and the place.
        reason: String,
        /// In one line, the remedy.
        remedy: Option<String>,
    },
}

/// A shared path as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedFound {
    /// What is there; `None`: nothing.
    pub kind: Option<SharedKind>,
    /// SHA-256 of a file of at most 1 MiB, hexadecimal.
    pub digest: Option<String>,
    /// Modified, in seconds since 1970.
    pub modified: Option<i64>,
}

/// A commit, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Commit {
    /// Abbreviated.
    pub id: String,
    /// The first line of its message.
    pub subject: String,
}

/// A class that does not load, and how many jobs wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingJobs {
    /// Its name.
    pub class: String,
    /// Jobs to be taken now.
    pub pending: u64,
    /// Jobs to be taken later.
    pub delayed: u64,
    /// Jobs that a worker has taken.
    pub reserved: u64,
}

impl MissingJobs {
    /// All of them.
    pub fn count(&self) -> u64 {
        self.pending.saturating_add(self.delayed).saturating_add(self.reserved)
    }
}
