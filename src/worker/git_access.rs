//! What a worker has to reach a repository: keys of hosts, a deploy key, a token. A secret is a credential that PID 1 handed
//! over; git gets a token in its environment, so that it stands in no argument, in no file and in no message.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    git_scope::Scope,
    order::{DEPLOY_KEY, GitOrder, SSH_KEY, TOKEN},
    refusal::Refusal,
};
use crate::system::credentials;

/// The keys of the large forges, as the package brings them.
const FORGES: &str = "/usr/share/deployd/ssh/known_hosts";
/// Where git and what it starts are found.
const PROGRAMS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The largest token, in bytes.
const LARGEST: u64 = 4096;
/// The user of a token that names none: GitHub wants this one of its apps, the others take any.
const TOKEN_USER: &str = "x-access-token";

/// How a repository is reached, and its submodules.
#[derive(Default, Clone)]
pub struct Access {
    ssh_key: Option<PathBuf>,
    /// The app's deploy key, tried before the user's own.
    own_key: Option<PathBuf>,
    known_hosts: Option<PathBuf>,
    /// An https server, `https://HOST[:PORT]/`, and the header that it is to get, and no other.
    header: Option<(String, String)>,
    /// For what the secrets are.
    scope: Option<Scope>,
    /// They are not for this one, and are not used.
    withheld: bool,
    /// In the place of ssh, for tests.
    program: Option<PathBuf>,
    /// In the place of [`PROGRAMS`], for tests.
    programs: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ssh_key, known_hosts, header, withheld, .. } = self;
        write!(f, "Access {{ {ssh_key:?}, {known_hosts:?}, a token: {}, withheld: {withheld} }}", header.is_some())
    }
}

impl Access {
    /// What the order names, and what was handed over to this worker.
    pub fn of(order: &GitOrder) -> Result<Self, Refusal> {
        Self::from(order, credentials::dir().as_deref())
    }

    fn from(order: &GitOrder, handed: Option<&Path>) -> Result<Self, Refusal> {
        let credential = |name: &str| handed.map(|dir| dir.join(name)).filter(|path| path.exists());
        let ssh_key = order.ssh_key.clone().or_else(|| credential(SSH_KEY));
        let own_key = credential(DEPLOY_KEY);
        for path in ssh_key.iter().chain(&own_key).chain(&order.known_hosts) {
            plain(path)?;
        }
        let header = match (credential(TOKEN), server(&order.url)) {
            (Some(path), Some(server)) => Some((server, header(&path)?)),
            _ => None,
        };
        let scope = Scope::of(&order.url, order.whole_server);
        Ok(Self { ssh_key, own_key, known_hosts: order.known_hosts.clone(), header, scope, ..Self::default() })
    }

    /// The same for another repository, which the source names: without the secrets, unless they are for that one too.
    pub fn to(&self, url: &str) -> Self {
        Self { withheld: !self.is_for(url), ..self.clone() }
    }

    /// The same for contents in Git LFS, whose place a commit may have named: what is withheld stays so.
    pub fn for_contents(&self, place: &str) -> Self {
        Self { withheld: self.withheld || !self.is_for(place), ..self.clone() }
    }

    /// Whether there is a secret that is not used for this repository.
    pub fn withholds(&self) -> bool {
        self.withheld && (self.ssh_key.is_some() || self.own_key.is_some() || self.header.is_some())
    }

    /// Without a scope they are for the source alone, and for nothing that it names.
    fn is_for(&self, url: &str) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope.covers(url))
    }

    /// Where git and what it starts are found, as `PATH`.
    pub fn programs(&self) -> &str {
        self.programs.as_deref().unwrap_or(PROGRAMS)
    }

    /// With the programs of this directory alone.
    #[cfg(test)]
    pub fn with_programs(dir: &Path) -> Self {
        Self { programs: Some(dir.display().to_string()), ..Self::default() }
    }

    /// The same with what was handed over.
    #[cfg(test)]
    pub fn handed(order: &GitOrder, secrets: &Path, programs: &Path) -> Result<Self, Refusal> {
        Ok(Self { programs: Some(programs.display().to_string()), ..Self::from(order, Some(secrets))? })
    }

    /// By another program than ssh.
    #[cfg(test)]
    pub fn through(program: &Path) -> Self {
        Self { program: Some(program.to_owned()), ..Self::default() }
    }

    /// What git is told to start for ssh. It hands this one string to a shell; every path in it was checked to be plain,
    /// and is quoted besides.
    pub fn ssh(&self) -> String {
        let mut text = self.program();
        text += " -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=30 \
             -o ServerAliveInterval=15 -o ServerAliveCountMax=4 -o ForwardAgent=no -o PermitLocalCommand=no";
        match &self.known_hosts {
            Some(path) => {
                text += &format!(" -o 'UserKnownHostsFile={}' -o GlobalKnownHostsFile=/dev/null", path.display());
            }
            None => text += &format!(" -o 'GlobalKnownHostsFile=/etc/ssh/ssh_known_hosts {FORGES}'"),
        }
        if self.withheld {
            // Where a key is named, the user's own ones are for nothing of this app, and are not offered in its place.
            if self.ssh_key.is_some() {
                text += " -o IdentitiesOnly=yes -o IdentityFile=none";
            }
            return text;
        }
        if let Some(path) = &self.ssh_key {
            text += &format!(" -i '{}' -o IdentitiesOnly=yes", path.display());
        } else if let Some(path) = &self.own_key {
            // Nobody named it: where it is not registered (yet), the user's own keys still count.
            text += &format!(" -i '{}'", path.display());
        }
        text
    }

    fn program(&self) -> String {
        self.program.as_ref().map_or_else(|| "ssh".into(), |program| program.display().to_string())
    }

    /// Settings for git's environment: the token, for the repository's own server and no other.
    pub fn settings(&self) -> Vec<(String, String)> {
        match self.header.as_ref().filter(|_| !self.withheld) {
            Some((server, header)) => settings(server, header),
            None => Vec::new(),
        }
    }

    /// The same for git-lfs, which asks at `place` where the contents are, and then for these. Two headers of the kind make a
    /// bad request, and the answer mostly has one for each content: there the token is for the question alone.
    pub fn lfs_settings(&self, place: &str, asks: Asks) -> Vec<(String, String)> {
        let Some((server, header)) = self.header.as_ref().filter(|(server, _)| place.starts_with(server)) else {
            return Vec::new();
        };
        match asks {
            _ if self.for_contents(place).withheld => Vec::new(),
            Asks::Where => settings(&format!("{}/objects/batch", place.trim_end_matches('/')), header),
            Asks::ForAll => settings(server, header),
        }
    }
}

/// For which of git-lfs's requests a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// For the first one: where the contents are.
    Where,
    /// For the contents too, since the server's answer has brought nothing that opens them.
    ForAll,
}

/// A header for what begins with a url, and no redirect, which would take it along.
fn settings(url: &str, header: &str) -> Vec<(String, String)> {
    let settings = [(format!("http.{url}.extraHeader"), header), ("http.followRedirects".into(), "false")];
    let mut out = vec![("GIT_CONFIG_COUNT".to_owned(), settings.len().to_string())];
    for (number, (key, value)) in settings.into_iter().enumerate() {
        out.push((format!("GIT_CONFIG_KEY_{number}"), key));
        out.push((format!("GIT_CONFIG_VALUE_{number}"), value.to_owned()));
    }
    out
}

/// `https://HOST[:PORT]/` of a url.
fn server(url: &str) -> Option<String> {
    let (authority, _) = url.strip_prefix("https://")?.split_once('/')?;
    Some(format!("https://{authority}/"))
}

/// The header of a token, whose file holds `TOKEN` or `USER:TOKEN`. No message names any of it.
fn header(path: &Path) -> Result<String, Refusal> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
    read.map_err(|error| Refusal::new(format!("the token that was handed over cannot be read: {error}")))?;
    let too_long = text.len() as u64 > LARGEST;
    let text = text.trim();
    if too_long || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let remedy = "write TOKEN or USER:TOKEN into the file of token_credential, and nothing else";
        return Err(Refusal::with(
            "the token of the source is none: it is empty, longer than 4096 bytes, or more than one word",
            remedy,
        ));
    }
    let pair = if text.contains(':') { text.to_owned() } else { format!("{TOKEN_USER}:{text}") };
    Ok(format!("Authorization: Basic {}", STANDARD.encode(pair)))
}

/// A path that means the same to ssh's option parser (`%h`, `~`, blanks) and to a shell as to the kernel.
fn plain(path: &Path) -> Result<(), Refusal> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "/._-+@,:=".contains(c);
    if path.is_absolute() && path.to_str().is_some_and(|text| text.chars().all(fine)) {
        return Ok(());
    }
    let reason = format!("{} cannot be given to ssh", path.display());
    Err(Refusal::with(reason, "use an absolute path of letters, digits and /._-+@,:="))
}

#[cfg(test)]
#[path = "git_access_tests.rs"]
mod tests;
