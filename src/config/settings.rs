//! Settings: configuration as needed, every value parsed, every default filled in, valid ever after.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{Access, Fleet, Notify, Service, Step, Webhook};
use crate::model::{AppName, Share, UnitName};

/// A configuration that was refused: all its errors, rendered with file, line and caret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{rendered}")]
pub struct ConfigError {
    /// For a terminal: several lines, without colour.
    pub rendered: String,
    /// For a status line: `/etc/deployd/apps/shop.toml:3: unknown key "usr", did you mean "user"?`
    pub summary: String,
}

/// What resolving needs to know of the host. A value; `observe` reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// php-fpm binaries, newest first: version as `8.2` (empty when the name has none) and path.
    pub fpm: Vec<(String, PathBuf)>,
    /// The user nginx's workers run as, when nginx is there.
    pub web_user: Option<String>,
    /// Users that exist, of those asked: name to uid and primary gid.
    pub users: BTreeMap<String, (u32, u32)>,
}

/// An app's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Whose.
    pub app: AppName,
    /// `<root>`, absolute and normal.
    pub root: PathBuf,
    /// Builds and owns releases.
    pub user: String,
    /// Runs services and artisan.
    pub run_as: String,
    /// The user that nginx connects as; the slots' sockets admit it.
    pub web_user: Option<String>,
    /// nginx's unit: reloaded when a service that it reaches by port has moved.
    pub web_unit: UnitName,
    /// Where releases come from.
    pub source: Source,
    /// What outlives releases, in order.
    pub shared: Vec<Shared>,
    /// Directories of a release that services may write (compiled views, bootstrap/cache not).
    pub writable: Vec<String>,
    /// Directories of a release that steps may write as `run_as`, beyond `writable`; services may not (bootstrap/cache).
    pub build_writable: Vec<String>,
    /// How what did not change is shared with the release before.
    pub share: Share,
    /// Directories that are brought from the release before, for the steps to begin with.
    pub carry: Vec<String>,
    /// Built assets of earlier releases that stay in the new one.
    pub assets: Assets,
    /// What is cut over, in order.
    pub services: Vec<Service>,
    /// What builds a release, in order.
    pub steps: Vec<Step>,
    /// What those steps find beside the host's programs.
    pub build: Build,
    /// Directories dropped from a release before the seal (`node_modules`).
    pub drop: Vec<String>,
    /// Added to the environment of steps and services. `{release}` in a value stands for the release's directory
    /// (its real path, in steps and in a slot's configuration alike); use [`crate::config::in_release`].
    pub environment: BTreeMap<String, String>,
    /// What proves the site.
    pub health: Vec<Health>,
    /// Successes in a row that a deployment waits for.
    pub successes: u32,
    /// Between them.
    pub interval: Duration,
    /// Watched after the deployment has returned.
    pub bake: Duration,
    /// Releases kept, the live one included; at least 2.
    pub keep: usize,
    /// What a release must pass before it is one.
    pub gates: Gates,
    /// Who is told how a deployment ended.
    pub notify: Vec<Notify>,
    /// What a forge's delivery may have deployed.
    pub webhook: Option<Webhook>,
    /// The semaphore of which a host takes a slot before it activates.
    pub fleet: Option<Fleet>,
    /// Who may do what, beside those whom polkit lets.
    pub access: Access,
    /// What is refused for safety's sake.
    pub safety: Safety,
    /// What was not written but found or defaulted, for `deployctl show`: key, value, why.
    pub inferred: Vec<Inferred>,
    /// The files it was read from, strongest last.
    pub files: Vec<PathBuf>,
    /// Where each written key stands: `service[0].unit` to file and line (from 1).
    pub origins: BTreeMap<String, Origin>,
}

impl Settings {
    /// `FILE:LINE: ` of a key, or the first file when it was not written; for refusals that only the world decides.
    pub fn place(&self, key: &str) -> String {
        match (self.origins.get(key), self.files.first()) {
            (Some(origin), _) => format!("{}:{}: ", origin.file.display(), origin.line),
            (None, Some(file)) => format!("{}: ", file.display()),
            (None, None) => String::new(),
        }
    }
}

/// What a release must pass before it is one, beside its steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Gates {
    /// The tests, in a scratch copy of the source.
    pub tests: Option<Step>,
}

/// What the steps that build a release find beside the host's programs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Build {
    /// Directories with programs, before the host's.
    pub path: Vec<PathBuf>,
    /// Composer's `auth.json`, root's.
    pub composer_auth: Option<PathBuf>,
    /// An `.npmrc`, root's.
    pub npmrc: Option<PathBuf>,
}

/// Built assets of earlier releases that stay in the new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Assets {
    /// Relative directories; none, and nothing is kept.
    pub dirs: Vec<String>,
    /// Since a build made them last.
    pub keep: Duration,
}

/// What is refused for safety's sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Safety {
    /// What is done about waiting jobs whose class the release to come does not have.
    pub missing_jobs: MissingJobs,
    /// `require = "zero-downtime"`: what would break that promise is refused, not only warned of.
    pub zero_downtime: bool,
    /// What is done about migrations that the live release may not survive.
    pub migrations: Migrations,
    /// The longest that a migration waits for a lock.
    pub lock_timeout: Duration,
    /// Whether a release is on the disk before it is live.
    pub durability: Durability,
}

/// Whether a release is on the disk before it is live. What deployd itself records always is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Its file system is synced before the link is renamed: a power cut leaves a whole release.
    #[default]
    Full,
    /// The kernel writes it when it likes, within half a minute as a rule: a power cut may leave empty files.
    Relaxed,
}

impl Default for Safety {
    fn default() -> Self {
        Self {
            missing_jobs: MissingJobs::default(),
            zero_downtime: false,
            migrations: Migrations::default(),
            lock_timeout: Self::LOCK_TIMEOUT,
            durability: Durability::default(),
        }
    }
}

impl Safety {
    /// Of a migration, when none is written.
    pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
}

/// What is done about migrations that the live release may not survive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Migrations {
    /// They are refused.
    #[default]
    Safe,
    /// Nobody looks.
    Any,
}

/// What is done about waiting jobs whose class the release to come does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MissingJobs {
    /// The deployment is refused; nothing live changes.
    Refuse,
    /// It is told.
    Warn,
    /// Nobody looks.
    #[default]
    Ignore,
}

/// Something that was not written but found or defaulted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inferred {
    /// As it could have been written; items of lists by name: `step.migrate`, `service.php-fpm.php`, `shared..env`.
    pub key: String,
    /// Its value, as TOML.
    pub value: String,
    /// In one clause.
    pub why: String,
}

/// Where a key is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
}

/// Where releases come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A git repository.
    Git(GitSource),
    /// A directory of this host.
    Directory {
        /// Absolute.
        path: PathBuf,
        /// What of it is not taken.
        exclude: Vec<String>,
    },
    /// An archive.
    Archive {
        /// Checked: https, or an absolute path; `{ref}` in it stands for the reference.
        at: String,
        /// Checked.
        reference: Option<String>,
        /// What its SHA-256 must be, hexadecimal.
        sha256: Option<String>,
        /// Keys of minisign or ssh, of which one must have signed it.
        signed_by: Vec<String>,
        /// Where the signature is, when not beside it.
        signature: Option<String>,
        /// How it is unpacked.
        unpack: Unpack,
    },
    /// Only archives that are handed over.
    Upload {
        /// How they are unpacked.
        unpack: Unpack,
    },
}

impl Source {
    /// How an archive that is handed over is unpacked.
    pub fn unpack(&self) -> Unpack {
        match self {
            Source::Archive { unpack, .. } | Source::Upload { unpack } => unpack.clone(),
            Source::Git(_) | Source::Directory { .. } => Unpack::default(),
        }
    }
}

/// A git repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GitSource {
    /// Checked: https, ssh, scp-like or an absolute path.
    pub url: String,
    /// Checked.
    pub reference: String,
    /// ssh private key, which the app's user reads.
    pub ssh_key: Option<PathBuf>,
    /// Pinned host keys.
    pub known_hosts: Option<PathBuf>,
    /// Commits that are fetched with each tip; none: all of them.
    pub depth: Option<u32>,
    /// Submodules are a part of a release.
    pub submodules: bool,
    /// Submodules are fetched with the key or token from everywhere on its server, not only from beside the source.
    pub whole_server: bool,
    /// What is in Git LFS is released as its pointers.
    pub lfs_pointers: bool,
    /// What PID 1 hands over to whoever fetches.
    pub credential: Option<GitCredential>,
}

impl GitSource {
    /// Whether it is reached over ssh.
    pub fn is_ssh(&self) -> bool {
        !self.url.starts_with('/') && !self.url.starts_with("https://")
    }
}

/// A secret of root's that a repository asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GitCredential {
    /// An ssh private key.
    SshKey(PathBuf),
    /// A token for https, `TOKEN` or `USER:TOKEN`.
    Token(PathBuf),
}

/// What is left out of archives and directories when nothing else is said: what is no part of a release, or shared.
pub(super) const LEFT_OUT: [&str; 4] = [".git", ".env", "storage", "node_modules"];

impl Default for Unpack {
    fn default() -> Self {
        Self { strip: true, exclude: LEFT_OUT.map(str::to_owned).into() }
    }
}

/// How an archive is unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unpack {
    /// A single directory at the top is left out of all names.
    pub strip: bool,
    /// What is not taken, relative to the release.
    pub exclude: Vec<String>,
}

/// A path that outlives releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// In a release: relative and normal.
    pub path: String,
    /// Below `shared/`: the same, unless it is called otherwise there.
    pub from: String,
    /// A directory, or a file.
    pub directory: bool,
    /// Must be there before a deployment.
    pub required: bool,
}

/// What proves the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// For people.
    pub name: String,
    /// How.
    pub check: Check,
    /// For one try.
    pub timeout: Duration,
}

/// How health is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The site, over HTTP, after it is live.
    Http {
        /// Of this host.
        url: String,
        /// `Host` header and SNI.
        host: Option<String>,
        /// Expected status.
        status: Option<u16>,
        /// Text the body must contain.
        body: Option<String>,
        /// JSON pointer and value.
        json: Option<(String, String)>,
    },
    /// A command in the release, as `run_as`: before activate and after.
    Run {
        /// Program and arguments.
        run: Vec<String>,
    },
}
