//! Where a release's files come from, as a worker is told it, and what its secrets are called.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a release's files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SourceOrder {
    /// A git repository.
    Git(GitOrder),
    /// A directory of this host.
    Directory {
        /// Absolute.
        path: PathBuf,
        /// What of it is not taken, relative.
        exclude: Vec<String>,
    },
    /// An archive.
    Archive(ArchiveOrder),
}

/// A git repository. A secret that it asks for is a credential of the worker: [`SSH_KEY`] or [`TOKEN`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GitOrder {
    /// `https://…`, `ssh://…`, `user@host:path`, or an absolute path (root-owned configuration only).
    pub url: String,
    /// Branch, tag or commit.
    pub reference: String,
    /// ssh private key, a file the user may read.
    pub ssh_key: Option<PathBuf>,
    /// Pinned host keys, in the format of ssh's known_hosts.
    pub known_hosts: Option<PathBuf>,
    /// Commits that are fetched with each tip; none: all of them.
    pub depth: Option<u32>,
    /// Submodules are a part of a release.
    pub submodules: bool,
    /// The key or token is for every repository of its server, not only for those beside this one.
    #[serde(default)]
    pub whole_server: bool,
    /// What is in Git LFS is released as its pointers.
    #[serde(default)]
    pub lfs_pointers: bool,
}

/// The worker's credential with an ssh private key for its source.
pub const SSH_KEY: &str = "source-ssh-key";
/// The credential that is the app's own deploy key, which nobody has named.
pub const DEPLOY_KEY: &str = "deploy-key";
/// The worker's credential with a token for its https source, `TOKEN` or `USER:TOKEN`.
pub const TOKEN: &str = "source-token";

impl SourceOrder {
    /// Whether the network may be needed for it. A repository of this host may have submodules and Git LFS elsewhere.
    pub fn is_remote(&self) -> bool {
        match self {
            SourceOrder::Git(git) => !git.url.starts_with('/') || git.submodules || !git.lfs_pointers,
            SourceOrder::Directory { .. } => false,
            SourceOrder::Archive(archive) => archive.at.starts_with("https://"),
        }
    }
}

/// An archive, and how it is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveOrder {
    /// `https://…`, or an absolute path (root-owned configuration, or what `deployd` was handed).
    pub at: String,
    /// What it is called in messages.
    pub name: String,
    /// The reference that is in `at`, for the record.
    pub reference: Option<String>,
    /// What its SHA-256 must be, hexadecimal.
    pub sha256: Option<String>,
    /// The keys of which one must have signed it: minisign's or ssh's, as one line each. None: no signature is looked at.
    pub signed_by: Vec<String>,
    /// Where the signature is; without it beside the archive, as `.minisig` or `.sig`.
    pub signature: Option<String>,
    /// Whether a single directory at its top is left out of all names.
    pub strip: bool,
    /// What of it is not taken, relative to the release.
    pub exclude: Vec<String>,
}
