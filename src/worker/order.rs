//! What the engine may ask of a worker, and what a worker may answer: pure values, one JSON line each.
//!
//! An answer is an app user's word: bounded in size, strictly typed, digests and counts, never a path that root opens.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::{Migration, Share};

/// The longest line of either side, in bytes.
pub const MAX_LINE: usize = 1024 * 1024;

/// One piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Bring the source up to date and find what a reference names. Answer: [`Answer::Resolved`].
    Resolve {
        /// Where from.
        source: SourceOrder,
        /// The app's cache directory (`/var/cache/deployd/NAME`); a git mirror is `git` in it.
        cache: PathBuf,
        /// Files, relative to the source's top, whose presence is to be told.
        markers: Vec<String>,
    },
    /// Look at the shared paths and the site. Answer: [`Answer::Surveyed`].
    Survey {
        /// `<root>/shared`.
        shared_root: PathBuf,
        /// The shared paths that are configured.
        shared: Vec<SharedPath>,
    },
    /// Write the source's tree at a revision into the empty directory of a release. Answer: [`Answer::Exported`].
    Export {
        /// Where from.
        source: SourceOrder,
        /// The app's cache directory.
        cache: PathBuf,
        /// What [`Answer::Resolved`] said.
        revision: String,
        /// `<root>/releases/ID`: exists, empty, the worker's user's.
        release: PathBuf,
        /// The user that runs services, when another than the worker's: it gets a default ACL on `writable` dirs.
        run_as: Option<u32>,
        /// Directories of the release (made if missing) that `run_as` may write: build caches, compiled views.
        writable: Vec<String>,
        /// The release before, whose unchanged files are shared.
        previous: Option<PreviousRelease>,
        /// How.
        share: Share,
        /// Relative paths, beside `writable`, below which files are never links: they will be written.
        own: Vec<String>,
        /// Directories that are brought from the release before, when the source has none.
        carry: Vec<String>,
        /// Files of which is asked whether they are as in the release before.
        compare: Vec<String>,
    },
    /// Link the shared paths into a release, making the shared side from the release's own at first.
    /// Answer: [`Answer::Linked`].
    Link {
        /// The release.
        release: PathBuf,
        /// `<root>/shared`: exists, the worker's user's.
        shared_root: PathBuf,
        /// What to link, in order.
        shared: Vec<SharedPath>,
        /// The user that runs services, when another: shared directories get a default ACL for both.
        run_as: Option<u32>,
    },
    /// Keep built assets of the release before in a release. Answer: [`Answer::Done`].
    Assets {
        /// The release.
        release: PathBuf,
        /// The app's cache directory: what is kept, and since when, is `assets/ID` in it.
        cache: PathBuf,
        /// The release before.
        previous: PreviousRelease,
        /// Relative directories.
        dirs: Vec<String>,
        /// Since a build made it last.
        keep: Duration,
    },
    /// Remove directories of a release that the build needed and the release does not. Answer: [`Answer::Done`].
    Drop {
        /// The release.
        release: PathBuf,
        /// Relative paths.
        paths: Vec<String>,
    },
    /// Refuse a release in which one of these is something else than a directory of its own: PID 1 opens them for the
    /// services. One that is not there is none. Answer: [`Answer::Done`].
    Confine {
        /// The release.
        release: PathBuf,
        /// Relative directories.
        paths: Vec<String>,
    },
    /// Take the manifest. Answer: [`Answer::Sealed`].
    Seal {
        /// The release.
        release: PathBuf,
        /// The app's cache directory: the manifest is `manifests/ID` in it.
        cache: PathBuf,
        /// Relative directories whose content is not part of it (compiled views).
        except: Vec<String>,
    },
    /// Ask a php-fpm slot for a page of a release, over FastCGI. Answer: [`Answer::Probed`].
    ProbeFastcgi {
        /// Unix socket.
        socket: PathBuf,
        /// `DOCUMENT_ROOT`, absolute: `<release>/public`.
        document_root: PathBuf,
        /// `SCRIPT_FILENAME`, absolute.
        script: PathBuf,
        /// `REQUEST_URI`.
        uri: String,
        /// `HTTP_HOST`.
        host: String,
        /// The process that must be listening there (`SO_PEERCRED`).
        listener: Option<u32>,
        /// How often it is asked, one after the other: once for each process, which take requests in turns.
        times: u32,
        /// For one exchange.
        timeout: Duration,
    },
    /// Ask the site for a page. Answer: [`Answer::Probed`].
    ProbeHttp(HttpProbe),
    /// Ask nginx where it sends a page's request, by a header that deployd's snippets answer. Answer: [`Answer::Sent`].
    AskNginx {
        /// The page; what is expected of it is not looked at.
        page: HttpProbe,
        /// The header's name, in the request and in the answer.
        header: String,
        /// What is asked.
        ask: String,
    },
    /// Run a command in the release and judge its exit status. Answer: [`Answer::Probed`].
    ProbeRun {
        /// Program and arguments; never a shell string.
        run: Vec<String>,
        /// Working directory.
        release: PathBuf,
        /// Added to the environment.
        environment: BTreeMap<String, String>,
        /// Then it is killed, with all it started.
        timeout: Duration,
    },
    /// Look at a sealed release: what was written into it, how much PHP it has. Answer: [`Answer::Inspected`].
    Inspect {
        /// The release.
        release: PathBuf,
        /// Later changes are told, in seconds since 1970.
        since: i64,
        /// Relative paths that are left out, with what is in them.
        except: Vec<String>,
    },
    /// Run a command in the release that prints texts by name, as a JSON object. Answer: [`Answer::Told`].
    Tell {
        /// Program and arguments; never a shell string.
        run: Vec<String>,
        /// Working directory.
        release: PathBuf,
        /// Added to the environment.
        environment: BTreeMap<String, String>,
        /// Then it is killed, with all it started.
        timeout: Duration,
    },
    /// Whether the classes of the app's waiting jobs load in the release. Answer: [`Answer::Jobs`].
    Jobs {
        /// The probe: program and arguments. Its last line of output is the answer, as JSON.
        run: Vec<String>,
        /// Working directory.
        release: PathBuf,
        /// Added to the environment.
        environment: BTreeMap<String, String>,
        /// Then it is killed, with all it started.
        timeout: Duration,
    },
    /// The pending migrations of a release and what they would run. Answer: [`Answer::Migrations`].
    Migrations {
        /// The probe: program and arguments. Its last line of output is the answer, as JSON.
        run: Vec<String>,
        /// Working directory.
        release: PathBuf,
        /// Added to the environment.
        environment: BTreeMap<String, String>,
        /// Then it is killed, with all it started.
        timeout: Duration,
    },
    /// The digests of a Laravel app's keys. Answer: [`Answer::Keys`].
    Keys {
        /// The probe: program and arguments, as for [`Order::Tell`].
        run: Vec<String>,
        /// Working directory.
        release: PathBuf,
        /// Added to the environment.
        environment: BTreeMap<String, String>,
        /// The digests are made with it.
        salt: String,
        /// Then it is killed, with all it started.
        timeout: Duration,
    },
    /// The commits that one has and another has not. Answer: [`Answer::Commits`].
    Commits {
        /// The repository's, by which its mirror is known.
        url: String,
        /// The app's cache directory.
        cache: PathBuf,
        /// Full id.
        from: String,
        /// Full id.
        to: String,
    },
    /// Remove from the mirrors what none of these commits needs, and pack what is left. Answer: [`Answer::Done`].
    Tidy {
        /// The repository's, by which its mirror is known.
        url: String,
        /// The app's cache directory.
        cache: PathBuf,
        /// Commits of the releases that are kept: full ids.
        kept: Vec<String>,
    },
    /// Post JSON to a webhook. Answer: [`Answer::Probed`].
    Post {
        /// Where to.
        hook: Hook,
        /// What.
        body: String,
        /// For the whole exchange.
        timeout: Duration,
    },
    /// Look for a root in a user's crontab, which the worker has as a credential. Answer: [`Answer::Crontab`].
    Crontab {
        /// Whose; also the credential's name.
        user: String,
        /// What a line must name.
        root: PathBuf,
    },
    /// Whether the worker's user may pass every directory down to `path`. Answer: [`Answer::Traversed`].
    Traverse {
        /// Absolute.
        path: PathBuf,
    },
    /// Make an empty directory in the place of whatever is there. Answer: [`Answer::Done`].
    Fresh {
        /// Absolute; its parent is the user's.
        dir: PathBuf,
    },
    /// Remove everything below a directory, never following a link or crossing a mount. Answer: [`Answer::Done`].
    Empty {
        /// Absolute; itself kept (its parent is root's).
        dir: PathBuf,
    },
}

/// A site's page and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// `http://` or `https://`; of the host itself, by name or address.
    pub url: String,
    /// `Host` header and, with https, SNI; without it the url's host.
    pub host: Option<String>,
    /// Expected status; without it 200 to 299.
    pub status: Option<u16>,
    /// Text that the body must contain.
    pub body: Option<String>,
    /// JSON pointer (RFC 6901) and the value there, as text.
    pub json: Option<(String, String)>,
    /// For the whole exchange.
    pub timeout: Duration,
}

/// A webhook's address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// As it is.
    Url(String),
    /// In the credential of this name.
    Credential(String),
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

/// A release whose files may be shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviousRelease {
    /// `<root>/releases/ID`.
    pub release: PathBuf,
    /// The digest that was recorded of its manifest.
    pub manifest: String,
}

/// A path that outlives releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedPath {
    /// Relative, normal, of UTF-8: `storage`, `.env`, `database/database.sqlite`.
    pub path: String,
    /// What it is called below `<root>/shared`; mostly the same.
    pub from: String,
    /// What it is.
    pub kind: SharedKind,
    /// It must be there before a deployment (a `.env`).
    pub required: bool,
}

/// Whether a shared path is a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SharedKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// What a worker found or did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// For [`Order::Resolve`].
    Resolved {
        /// 40 or 64 hexadecimal digits: a commit, an archive's SHA-256, or the digest of a directory's listing.
        revision: String,
        /// Which of the asked markers are there.
        markers: Vec<String>,
    },
    /// For [`Order::Survey`], one for each asked path, in order.
    Surveyed {
        /// What was found.
        shared: Vec<SharedFound>,
        /// `storage/framework/down` or the like is there: the site is in maintenance mode.
        maintenance: bool,
    },
    /// For [`Order::Export`].
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
    /// For [`Order::Link`].
    Linked {
        /// Shared paths that were made from the release's own.
        adopted: Vec<String>,
    },
    /// For [`Order::Seal`].
    Sealed {
        /// SHA-256 of the manifest's file, hexadecimal.
        manifest: String,
        /// Number of entries.
        files: u64,
        /// Content, in bytes.
        bytes: u64,
    },
    /// For the probes: a verdict, not an error.
    Probed {
        /// Whether it was as expected.
        healthy: bool,
        /// In one line, what was answered: `200 in 12 ms`, `503, expected 200`.
        detail: String,
    },
    /// For [`Order::AskNginx`].
    Sent {
        /// Whether it goes where was asked; none: nobody answered that.
        there: Option<bool>,
    },
    /// For [`Order::Inspect`].
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
    /// For [`Order::Tell`].
    Told {
        /// Texts by name.
        config: BTreeMap<String, String>,
    },
    /// For [`Order::Crontab`].
    Crontab {
        /// Line from 1, and what stands there.
        lines: Vec<(usize, String)>,
    },
    /// For [`Order::Jobs`].
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
    /// For [`Order::Commits`], newest first.
    Commits {
        /// The first of them.
        commits: Vec<Commit>,
        /// Whether there are more.
        more: bool,
    },
    /// For [`Order::Keys`]: SHA-256 with the salt as the key, hexadecimal.
    Keys {
        /// Of the one that encrypts.
        current: Option<String>,
        /// Of those that still decrypt.
        previous: Vec<String>,
    },
    /// For [`Order::Migrations`].
    Migrations {
        /// In the order in which they would run.
        pending: Vec<Migration>,
        /// Why they could not be looked at.
        unknown: Option<String>,
    },
    /// For [`Order::Traverse`]: the first directory that may not be passed, if any.
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
