//! The app's git mirror: made once, brought up to date, asked for what a reference names.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::SystemTime,
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::{Errno, retry_on_intr},
};

use super::{
    git::{Git, pin},
    git_fetch::{self, DEFAULT, DEFAULT_REF},
    git_names,
    git_remedy::{listed, some_of},
    git_tags, lfs_fetch,
    order::Answer,
    refusal::Refusal,
    submodules,
};
use crate::model::pattern::TAG;

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
    let found = found(git, reference, markers)?;
    if let Answer::Resolved { revision, .. } = &found {
        lfs_fetch::fetch(git, revision)?;
        if git.submodules {
            submodules::fetch(git, revision)?;
        }
    }
    Ok(found)
}

/// Sees that a commit is in the mirror, and what it has in Git LFS.
pub fn have(git: &Git<'_>, commit: &str) -> Result<(), Refusal> {
    if !git_names::full_id(commit) {
        return Err(Refusal::new(format!("\"{commit}\" is not a commit's id")));
    }
    found(git, commit, &[])?;
    lfs_fetch::fetch(git, commit)
}

fn found(git: &Git<'_>, reference: &str, markers: &[String]) -> Result<Answer, Refusal> {
    let _held = hold(git)?;
    make(git)?;
    let found = looked_for(git, reference, markers)?;
    // A branch and a tag keep theirs.
    if let Answer::Resolved { revision, .. } = &found
        && (git_names::short_id(reference) || git_fetch::is_elsewhere(reference))
    {
        keep(git, revision)?;
    }
    Ok(found)
}

fn looked_for(git: &Git<'_>, reference: &str, markers: &[String]) -> Result<Answer, Refusal> {
    if let Some(pattern) = reference.strip_prefix(TAG) {
        return newest(git, pattern, markers);
    }
    let full_id = git_names::full_id(reference);
    if full_id && let Some(found) = look_up(git, reference, markers)? {
        return Ok(found);
    }
    git_fetch::fetch(git, reference)?;
    if let Some(found) = look_up(git, reference, markers)? {
        return Ok(found);
    }
    // One that no branch and no tag has: most servers give it when they are asked for it by its id.
    if full_id && git.depth.is_none() {
        git_fetch::commit(git, reference)?;
        if let Some(found) = look_up(git, reference, markers)? {
            return Ok(found);
        }
    }
    Err(not_there(git, reference))
}

/// The newest tag of a pattern.
fn newest(git: &Git<'_>, pattern: &str, markers: &[String]) -> Result<Answer, Refusal> {
    let name = git_tags::newest(git, pattern)?;
    match look_up(git, &name, markers)? {
        Some(Answer::Resolved { revision, markers, .. }) => {
            let tag = name.strip_prefix(git_tags::TAGS).map(str::to_owned);
            Ok(Answer::Resolved { revision, markers, tag })
        }
        _ => {
            Err(Refusal::with(format!("{name} of {} is no commit", git.url), "tag a commit, or write another pattern"))
        }
    }
}

/// Gives a commit a reference of its own, so that nothing tidies it away below an export: no branch may have it any more.
/// By the reference's time it is known when that was last of use.
fn keep(git: &Git<'_>, commit: &str) -> Result<(), Refusal> {
    let name = git_fetch::commit_ref(commit);
    let path = git.mirror().join(&name);
    let touched = OpenOptions::new().append(true).open(&path).and_then(|file| file.set_modified(SystemTime::now()));
    match touched {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let kept = git.run(&["update-ref", "--no-deref", &name, commit], b"");
            kept.map_err(|error| Refusal::new(format!("cannot keep {commit} in {}: {error}", git.mirror().display())))?;
            Ok(())
        }
        other => other.map_err(|error| Refusal::io("touch", &path, error)),
    }
}

/// One fetch into a mirror at a time, until it is dropped: a second one would meet its locks and its unfinished files, and
/// take the mirror for broken.
pub fn hold(git: &Git<'_>) -> Result<File, Refusal> {
    let path = git.lock();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let file = options.open(&path).map_err(|error| Refusal::io("open the lock", &path, error))?;
    let take = |how| retry_on_intr(|| flock(&file, how));
    let taken = match take(FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            tracing::info!("another fetch of {} is under way, waiting for it", git.url);
            take(FlockOperation::LockExclusive)
        }
        other => other,
    };
    taken.map_err(|error| Refusal::io("lock", &path, error))?;
    // By this it is known when the mirror was last of use.
    file.set_modified(SystemTime::now()).map_err(|error| Refusal::io("touch", &path, error))?;
    Ok(file)
}

/// Makes the mirror if it is missing, and sees that it is ours.
pub fn make(git: &Git<'_>) -> Result<(), Refusal> {
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

/// What a reference names, and which markers are in its tree: one process, `None` when nothing of that name is there.
fn look_up(git: &Git<'_>, reference: &str, markers: &[String]) -> Result<Option<Answer>, Refusal> {
    let mut names = Vec::new();
    if git_names::full_id(reference) {
        names.push(reference.to_owned());
    } else if reference == DEFAULT {
        names.push(DEFAULT_REF.to_owned());
    } else if reference.starts_with("refs/") {
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
        let (revision, markers) = (revision.to_owned(), markers.collect());
        return Ok(Some(Answer::Resolved { revision, markers, tag: None }));
    }
    Ok(None)
}

fn not_there(git: &Git<'_>, reference: &str) -> Refusal {
    let reason = format!("{} has no branch, tag or commit \"{reference}\"", git.url);
    match branches(git) {
        Some(names) if names.is_empty() => Refusal::with(reason, "push a branch to it first; it has none"),
        Some(names) => {
            let some = some_of(&names, NAMED);
            Refusal::with(reason, format!("name one that is there; its branches are {some}"))
        }
        None => Refusal::with(reason, "name one that `git ls-remote` shows of it"),
    }
}

/// The repository's branches, some of them. A shallow mirror has only those that were asked for, and keeps what is gone.
fn branches(git: &Git<'_>) -> Option<Vec<String>> {
    const HEADS: &str = "refs/heads/";
    let (newest, most) = ("--sort=-committerdate", format!("--count={}", NAMED + 1));
    let arguments = match git.depth {
        None => vec!["for-each-ref", newest, &most, "--format=%(objectname)\t%(refname)", HEADS],
        Some(_) => vec!["ls-remote", "--quiet", "--heads", "--end-of-options", git.url],
    };
    let said = git.run(&arguments, b"").ok()?;
    let said = String::from_utf8_lossy(&said);
    Some(listed(&said, HEADS).map(str::to_owned).collect())
}

#[cfg(test)]
#[path = "mirror_tests.rs"]
mod tests;
