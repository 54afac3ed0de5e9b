//! What the engine may ask of a worker, and by `answer` what a worker may say: pure values, one JSON line each.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::model::Share;

pub use super::{answer::*, recognised::*, source::*};

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
    /// Look whether a release is still what was sealed, as far as there is time. Answer: [`Answer::Compared`].
    Compare {
        /// The release.
        release: PathBuf,
        /// The app's cache directory, where its manifest is.
        cache: PathBuf,
        /// The digest that was recorded of its manifest.
        manifest: String,
        /// Relative directories whose content is not part of it.
        except: Vec<String>,
    },
    /// What differs between two releases, by their manifests. Answer: [`Answer::Differs`].
    Diff {
        /// The app's cache directory, where they are.
        cache: PathBuf,
        /// The older.
        from: PreviousRelease,
        /// The newer.
        to: PreviousRelease,
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
    /// Look at a tree that another tool made. Answer: [`Answer::Recognised`].
    Recognise {
        /// The app's root.
        root: PathBuf,
        /// Relative paths of the code; told are those that are there and no links.
        paths: Vec<String>,
    },
    /// Ask the site for a page and tell what is answered. Answer: [`Answer::Fetched`].
    Fetch {
        /// The page; what is expected of it is not looked at.
        page: HttpProbe,
        /// The app's root: where below it a page says that it is, makes no difference.
        root: PathBuf,
    },
    /// Make the directories of a release that services may write. Answer: [`Answer::Done`].
    MakeWritable {
        /// The release.
        release: PathBuf,
        /// Relative directories.
        paths: Vec<String>,
        /// The user of services, when another.
        run_as: Option<u32>,
    },
    /// Let the owner of a release write in it again. Answer: [`Answer::Done`].
    Loosen {
        /// The release.
        release: PathBuf,
    },
    /// Move what outlives releases from a checkout into `shared/`, leaving a link in its place, by one exchange each.
    /// Answer: [`Answer::Linked`].
    MoveShared {
        /// The checkout, in whose `shared` they will be.
        root: PathBuf,
        /// What to move, in order.
        shared: Vec<SharedPath>,
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
    /// After so long without an answer one more request goes out beside the first, and the first that is answered counts: a
    /// server that listens before it serves may never answer what came in between (FrankenPHP 1 does that).
    pub beside: Option<Duration>,
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
