//! Runs git, hardened: an environment from zero, one transport, no hook, helper, filter, submodule, prompt or pager.
//!
//! The settings are in a file that `GIT_CONFIG_GLOBAL` names, not on the command line: git takes `GIT_CONFIG_COUNT` and
//! `-c` away from the upload-pack it starts for a local repository (connect.c, local_repo_env), whose `safe.directory`
//! it is that decides whether a repository of another user is read.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use super::{
    git_access::Access,
    git_names::{self, Transport},
    order::GitOrder,
    refusal::Refusal,
};

/// What of git's messages is kept, in bytes: the end.
const KEPT: usize = 16 * 1024;
/// The most that a short answer of git may have, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;

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
        Git { depth, submodules, lfs_pointers, ..Git::with(url, cache, self.access.clone())? }.settled()
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

    /// A git-lfs command on the mirror. For a repository of this host git-lfs starts a git of which it takes every variable
    /// away that begins with `GIT_`: that one finds the settings at its home.
    pub fn lfs_command(&self, arguments: &[&str]) -> Result<Command, Refusal> {
        let home = self.home();
        std::fs::create_dir_all(&home).map_err(|error| Refusal::io("make the directory", &home, error))?;
        pin(&home.join(".gitconfig"), &self.settings())?;
        Ok(self.command(arguments))
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
            .env("GIT_SSH_COMMAND", self.access.ssh())
            .envs(self.access.settings());
        command
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

/// A running git whose messages are read.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    messages: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts it; its standard error must be a pipe.
    pub fn start(mut command: Command) -> Result<Self, Failed> {
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failed::from("git is not installed".to_owned()),
            _ => Failed::from(format!("cannot start git: {error}")),
        })?;
        let messages = child.stderr.take().map(|stderr| std::thread::spawn(move || last(stderr)));
        Ok(Self { child, messages })
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<(), Failed> {
        let status = self.child.wait().map_err(|error| Failed::from(error.to_string()))?;
        let messages = self.messages.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let all = String::from_utf8_lossy(&messages).into_owned();
        Err(Failed { said: said(&all, &status.to_string()), all })
    }

    /// Ends it now: what it had to give is not wanted any more.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What git said before it ended with an error.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct Failed {
    /// Its last words, in one line.
    pub said: String,
    /// All that was kept.
    pub all: String,
}

impl From<String> for Failed {
    fn from(said: String) -> Self {
        Self { all: said.clone(), said }
    }
}

fn last(mut from: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return kept,
            Ok(n) => kept.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        }
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
}

/// The last lines in one, up to git's own verdict: what follows that, and warnings, is advice.
fn said(messages: &str, status: &str) -> String {
    let noise = |line: &&str| {
        !line.trim().is_empty()
            && !line.starts_with("hint:")
            && !line.starts_with("warning:")
            && !line.starts_with("Please make sure you have the correct access rights")
            && !line.starts_with("and the repository exists")
    };
    let lines: Vec<&str> = messages.lines().filter(noise).collect();
    let verdict = lines.iter().rposition(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let until = verdict.map_or(lines.len(), |at| at + 1);
    let end: Vec<&str> = lines.iter().take(until).rev().take(4).rev().copied().collect();
    if end.is_empty() { format!("git ended with {status}") } else { end.join("; ") }
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
