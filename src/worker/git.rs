//! Runs git, hardened: an environment from zero, one transport, no hook, helper, filter, submodule, prompt or pager.
//!
//! The settings are in a file that `GIT_CONFIG_GLOBAL` names, not on the command line: git takes `GIT_CONFIG_COUNT` and
//! `-c` away from the upload-pack it starts for a local repository (connect.c, local_repo_env), whose `safe.directory`
//! it is that decides whether a repository of another user is read.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    git_access::{Access, Asks},
    git_names::{self, Transport},
    order::GitOrder,
    refusal::Refusal,
};

pub use super::git_running::{Failed, Running};

/// The most that a short answer of git may have, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;
/// Runs a program with a limit on every file that it and what it starts write; of util-linux.
const BOUNDING: &str = "prlimit";

/// What git-lfs is to fetch.
#[derive(Debug)]
pub struct Lfs<'a> {
    /// Where the contents are.
    pub place: &'a str,
    /// For which requests a token is.
    pub asks: Asks,
    /// No file becomes larger, in bytes.
    pub largest: u64,
}

/// A repository and how it is reached.
#[derive(Debug)]
pub struct Git<'a> {
    /// Checked.
    pub url: &'a str,
    /// Of the url.
    pub transport: Transport,
    /// Commits that are fetched with each tip; none: all of them.
    pub depth: Option<u32>,
    /// Submodules are a part of a release.
    pub submodules: bool,
    /// What is in Git LFS is released as its pointers.
    pub lfs_pointers: bool,
    cache: &'a Path,
    access: Access,
}

impl<'a> Git<'a> {
    /// The repository of an order, with what this worker has to reach it.
    pub fn of(order: &'a GitOrder, cache: &'a Path) -> Result<Self, Refusal> {
        Self::reached(order, cache, Access::of(order)?)
    }

    /// The same, reached in another way.
    pub fn reached(order: &'a GitOrder, cache: &'a Path, access: Access) -> Result<Self, Refusal> {
        let GitOrder { depth, submodules, lfs_pointers, .. } = *order;
        Self { depth, submodules, lfs_pointers, ..Self::with(&order.url, cache, access)? }.settled()
    }

    /// One that is reached without any secret, or whose mirror alone is asked.
    pub fn new(url: &'a str, cache: &'a Path) -> Result<Self, Refusal> {
        Self::with(url, cache, Access::default())?.settled()
    }

    /// The repository of a submodule, reached as this one is.
    pub fn module<'m>(&self, url: &'m str, cache: &'m Path) -> Result<Git<'m>, Refusal> {
        let Self { depth, submodules, lfs_pointers, .. } = *self;
        Git { depth, submodules, lfs_pointers, ..Git::with(url, cache, self.access.to(url))? }.settled()
    }

    /// Whether the source's key or token is not used for this one.
    pub fn withholds(&self) -> bool {
        self.access.withholds()
    }

    fn with(url: &'a str, cache: &'a Path, access: Access) -> Result<Self, Refusal> {
        let transport = git_names::transport(url)?;
        Ok(Self { url, transport, depth: None, submodules: false, lfs_pointers: false, cache, access })
    }

    /// Writes the settings file, if it is not there as it must be.
    fn settled(self) -> Result<Self, Refusal> {
        pin(&self.settings_file(), &self.settings())?;
        Ok(self)
    }

    /// The bare mirror.
    pub fn mirror(&self) -> PathBuf {
        self.cache.join("git")
    }

    /// What whoever fetches into the mirror has locked.
    pub fn lock(&self) -> PathBuf {
        self.cache.join("git.lock")
    }

    /// What is known of commits' files in Git LFS, by the commit.
    pub fn lfs_lists(&self) -> PathBuf {
        self.cache.join("lfs")
    }

    /// Where submodules' repositories are mirrored, each in a cache of its own.
    pub fn modules(&self) -> PathBuf {
        self.cache.join("modules")
    }

    fn settings_file(&self) -> PathBuf {
        self.cache.join("gitconfig")
    }

    fn settings(&self) -> String {
        let mut text = String::from(SETTINGS);
        if self.transport == Transport::Local {
            // The url has neither control characters nor backslashes.
            let path = self.url.trim_end_matches('/').replace('"', "\\\"");
            text += &format!("[safe]\n\tdirectory = \"{path}\"\n\tdirectory = \"{path}/.git\"\n");
        }
        text
    }

    /// A git-lfs command on the mirror. No file that it writes becomes larger than was said: it does not look before the end.
    /// For a repository of this host git-lfs starts a git of which it takes every variable away that begins with `GIT_`: that
    /// one finds the settings at its home.
    pub fn lfs_command(&self, arguments: &[&str], lfs: &Lfs<'_>) -> Result<Command, Refusal> {
        let home = self.home();
        std::fs::create_dir_all(&home).map_err(|error| Refusal::io("make the directory", &home, error))?;
        pin(&home.join(".gitconfig"), &self.settings())?;
        let mut command = match self.program(BOUNDING) {
            Some(bounding) => {
                let mut command = Command::new(bounding);
                command.arg(format!("--fsize={}", lfs.largest)).arg("git");
                command
            }
            None => {
                tracing::warn!(
                    "{BOUNDING} of util-linux is not there: what {} sends has no limit, ignoring",
                    lfs.place
                );
                Command::new("git")
            }
        };
        self.prepare(&mut command, arguments);
        // Of a program that was ended for a file that is too large: that it was, and no more.
        command.env("GOTRACEBACK", "none").envs(self.access.lfs_settings(lfs.place, lfs.asks));
        // It goes to that place over ssh with git's own command, and a commit may have named another than the source's.
        command.env("GIT_SSH_COMMAND", self.access.for_contents(lfs.place).ssh());
        Ok(command)
    }

    /// Whether the source's key or token is not used for the contents at a place.
    pub fn withholds_at(&self, place: &str) -> bool {
        !place.starts_with("file://") && self.access.for_contents(place).withholds()
    }

    /// Whether a token is for the contents at a place.
    pub fn has_token_for(&self, place: &str) -> bool {
        !self.access.lfs_settings(place, Asks::ForAll).is_empty()
    }

    /// The file of a program as git would find it.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.access.programs().split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
    }

    fn home(&self) -> PathBuf {
        self.cache.join("home")
    }

    /// A git command on the mirror.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        self.prepare(&mut command, arguments);
        command.envs(self.access.settings());
        command
    }

    fn prepare(&self, command: &mut Command, arguments: &[&str]) {
        command.arg("--git-dir").arg(self.mirror()).arg("--no-pager").args(arguments);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).current_dir("/");
        command
            .env("PATH", self.access.programs())
            .env("HOME", self.home())
            .env("LANG", "C.UTF-8")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.settings_file())
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_ALLOW_PROTOCOL", self.transport.protocol())
            .env("GIT_SSH_VARIANT", "ssh")
            .env("GIT_SSH_COMMAND", self.access.ssh());
    }

    /// Runs to the end; an error is what git said last.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Failed> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(command)?;
        if let Some(mut stdin) = running.child.stdin.take() {
            // It may leave without reading: then it says why.
            let _ = stdin.write_all(input);
        }
        let mut answer = Vec::new();
        if let Some(stdout) = running.child.stdout.take() {
            stdout.take(MAX_ANSWER).read_to_end(&mut answer).map_err(|error| Failed::from(error.to_string()))?;
        }
        if answer.len() as u64 >= MAX_ANSWER {
            running.kill();
            return Err(Failed::from(format!("its answer to {} is too long", arguments.first().unwrap_or(&""))));
        }
        running.end()?;
        Ok(answer)
    }
}

/// Writes a file of the cache, unless it is there with just this content.
pub fn pin(path: &Path, content: &str) -> Result<(), Refusal> {
    if std::fs::read(path).is_ok_and(|found| found == content.as_bytes()) {
        return Ok(());
    }
    let beside = path.with_extension("new");
    let write = || {
        let _ = std::fs::remove_file(&beside);
        std::fs::OpenOptions::new().write(true).create_new(true).open(&beside)?.write_all(content.as_bytes())?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|error| Refusal::io("write", path, error))
}

/// For every git that the worker starts, and those that they start.
const SETTINGS: &str = "\
# Written by deployd before every use.
[core]
	hooksPath = /dev/null
	fsmonitor = false
	attributesFile = /dev/null
	excludesFile = /dev/null
[fetch]
	fsckObjects = true
	recurseSubmodules = false
	writeCommitGraph = false
	showForcedUpdates = false
[transfer]
	fsckObjects = true
[submodule]
	recurse = false
[gc]
	auto = 0
[maintenance]
	auto = false
[credential]
	helper =
[lfs]
	repositoryformatversion = 0
	locksverify = false
[lfs \"ssh\"]
	automultiplex = false
[http]
	lowSpeedLimit = 1000
	lowSpeedTime = 60
[tar]
	umask = 0022
[advice]
	fetchShowForcedUpdates = false
";
