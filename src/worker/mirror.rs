//! The app's git mirror: made once, fetched by explicit refspecs, asked for what a reference names.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::{
    git::{Failed, Git, Running, pin},
    git_names::{self, Transport},
    order::Answer,
    refusal::Refusal,
};

/// The mirror's own configuration, written before every use: nothing that somebody put there has an effect.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
/// The most markers that may be asked for.
const MAX_MARKERS: usize = 256;
/// How many branches a remedy names.
const NAMED: usize = 8;

/// Carries out [`super::order::Order::Resolve`] for a repository.
pub fn resolve(git: &Git<'_>, reference: &str, markers: &[String]) -> Result<Answer, Refusal> {
    git_names::reference(reference)?;
    for marker in markers {
        super::rooted::parts(marker)?;
        if marker.contains('\n') {
            return Err(Refusal::new("a marker with a line break"));
        }
    }
    if markers.len() > MAX_MARKERS {
        return Err(Refusal::new("too many markers"));
    }
    make(git)?;
    if git_names::full_id(reference)
        && let Some(found) = look_up(git, reference, markers)?
    {
        return Ok(found);
    }
    fetch(git)?;
    match look_up(git, reference, markers)? {
        Some(found) => Ok(found),
        None => Err(not_there(git, reference)),
    }
}

/// Makes the mirror if it is missing, and sees that it is ours.
fn make(git: &Git<'_>) -> Result<(), Refusal> {
    let mirror = git.mirror();
    match mirror.symlink_metadata() {
        Ok(meta) if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() => {
            return Err(Refusal::with(
                format!("{} is not a directory of the app's user", mirror.display()),
                format!("remove it: `rm -r {}`; it is fetched again", mirror.display()),
            ));
        }
        Ok(_) if mirror.join("HEAD").is_file() && mirror.join("objects").is_dir() => {}
        Ok(_) => init(git, &mirror)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => init(git, &mirror)?,
        Err(error) => return Err(Refusal::io("look at", mirror, error)),
    }
    pin(&mirror.join("config"), CONFIG)
}

fn init(git: &Git<'_>, mirror: &Path) -> Result<(), Refusal> {
    let path = mirror.to_str().ok_or_else(|| Refusal::new("the cache's path is not UTF-8"))?;
    let arguments = ["init", "--bare", "--quiet", "--template=", "--initial-branch=main", "--end-of-options", path];
    git.run(&arguments, b"").map_err(|error| Refusal::new(format!("cannot make {}: {error}", mirror.display())))?;
    Ok(())
}

/// Brings all branches and tags up to date. A mirror that a power cut or a kill has left broken is made anew, once.
fn fetch(git: &Git<'_>) -> Result<(), Refusal> {
    match fetch_once(git) {
        Err(Failed(said)) if broken(&said) => {
            tracing::warn!(
                "{} is broken and is fetched again: {}",
                git.mirror().display(),
                crate::model::printable(&said)
            );
            std::fs::remove_dir_all(git.mirror()).map_err(|error| Refusal::io("remove", git.mirror(), error))?;
            make(git)?;
            fetch_once(git)
        }
        other => other,
    }
    .map_err(|Failed(said)| explain(git, &said))
}

fn fetch_once(git: &Git<'_>) -> Result<(), Failed> {
    let command = git.command(&[
        "fetch",
        "--quiet",
        "--prune",
        "--force",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        "--end-of-options",
        git.url,
        "+refs/heads/*:refs/heads/*",
        "+refs/tags/*:refs/tags/*",
    ]);
    Running::start(command)?.end()
}

/// Whether the mirror itself is what failed.
fn broken(said: &str) -> bool {
    [".lock': File exists", "is corrupt", "is empty", "bad object", "not a git repository: '", "unable to read tree"]
        .iter()
        .any(|sign| said.contains(sign))
}

/// What a reference names, and which markers are in its tree: one process, `None` when nothing of that name is there.
fn look_up(git: &Git<'_>, reference: &str, markers: &[String]) -> Result<Option<Answer>, Refusal> {
    let mut names = Vec::new();
    if git_names::full_id(reference) {
        names.push(reference.to_owned());
    } else {
        names.extend([format!("refs/heads/{reference}"), format!("refs/tags/{reference}")]);
        if git_names::short_id(reference) {
            names.push(reference.to_owned());
        }
    }
    // Every candidate with every marker at once: a second process would cost more than the questions.
    let mut questions = String::new();
    for name in &names {
        questions += &format!("{name}^{{commit}}\n");
        for marker in markers {
            questions += &format!("{name}^{{commit}}:{marker}\n");
        }
    }
    let answer = git
        .run(&["cat-file", "--batch-check=%(objectname) %(objecttype)"], questions.as_bytes())
        .map_err(|error| Refusal::new(format!("cannot ask {}: {error}", git.mirror().display())))?;
    let answer = String::from_utf8_lossy(&answer);
    let lines: Vec<&str> = answer.lines().collect();
    for group in lines.chunks(markers.len() + 1) {
        let Some((first, rest)) = group.split_first() else { continue };
        if first.ends_with(" ambiguous") {
            return Err(Refusal::with(
                format!("more than one object begins with {reference}"),
                "give more digits of the commit's id",
            ));
        }
        let Some(revision) = first.strip_suffix(" commit").filter(|id| git_names::full_id(id)) else { continue };
        let there = |line: &&str| line.ends_with(" blob") || line.ends_with(" tree") || line.ends_with(" commit");
        let markers = markers.iter().zip(rest).filter(|(_, line)| there(line)).map(|(marker, _)| marker.clone());
        return Ok(Some(Answer::Resolved { revision: revision.to_owned(), markers: markers.collect() }));
    }
    Ok(None)
}

fn not_there(git: &Git<'_>, reference: &str) -> Refusal {
    let reason = format!("{} has no branch, tag or commit \"{reference}\"", git.url);
    let format = "--format=%(refname:short)";
    match git
        .run(&["for-each-ref", "--sort=-committerdate", &format!("--count={}", NAMED + 1), format, "refs/heads"], b"")
    {
        Ok(names) if !names.is_empty() => {
            let names = String::from_utf8_lossy(&names);
            let some: Vec<&str> = names.lines().take(NAMED).collect();
            let more = if names.lines().count() > NAMED { ", …" } else { "" };
            Refusal::with(reason, format!("name one that is there; its branches are {}{more}", some.join(", ")))
        }
        _ => Refusal::with(reason, "push a branch to it first; it has none"),
    }
}

/// Git's words, and what to do about them.
fn explain(git: &Git<'_>, said: &str) -> Refusal {
    let host = git_names::host(git.url);
    let has = |text: &str| said.contains(text);
    let remedy = if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        format!(
            "`ssh-keyscan {host}` into a file, compare its fingerprints with those the host publishes, \
             and name the file as known_hosts in [source]"
        )
    } else if has("Permission denied (publickey") {
        "register the public half of ssh_key with the repository, or set ssh_key in [source]".to_owned()
    } else if has("UNPROTECTED PRIVATE KEY") || has("bad permissions") {
        "chmod 0600 the ssh key, and make it the app's user's".to_owned()
    } else if has("Could not resolve host") {
        format!("check the url's host name \"{host}\" and this host's DNS")
    } else if has("could not read Username") || has("Authentication failed") {
        "the repository is private: use a deploy key over ssh (ssh_key in [source])".to_owned()
    } else if has("dubious ownership") {
        "name the repository itself in [source], without symbolic links in its path".to_owned()
    } else if has("Connection refused") || has("Connection timed out") || has("Could not connect") {
        format!("check that {host} can be reached from this host")
    } else if git.transport == Transport::Local {
        format!("check that {} is a repository that the app's user may read", git.url)
    } else {
        format!("check the url, and that the app's user may read {}", git.url)
    };
    Refusal::with(format!("cannot fetch {}: {said}", git.url), remedy)
}
