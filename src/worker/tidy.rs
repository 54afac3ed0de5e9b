//! Takes out of the app's mirrors what nothing needs any more: references by which commits were asked for, contents of Git
//! LFS, repositories of submodules that are gone. What a deployment that is under way has just fetched is not old enough.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::DirEntry,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    empty,
    git::{Failed, Git},
    git_fetch::DEFAULT_REF,
    git_names::full_id,
    lfs_fetch, mirror,
    order::Answer,
    refusal::Refusal,
    submodules::{self, Module},
};

/// What was of use so recently may belong to a deployment that is under way.
const RECENT: Duration = Duration::from_secs(24 * 3600);
/// Of `git gc --auto`. References are left as they are: a fetch beside it would meet their locks.
const GC: [&str; 9] =
    ["-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "-c", "gc.packRefs=false", "gc", "--auto", "--quiet"];

/// Carries out [`super::order::Order::Tidy`].
pub fn run(git: &Git<'_>, kept: &[String]) -> Result<Answer, Refusal> {
    let kept = kept.iter().filter(|id| full_id(id)).cloned().collect();
    Ok(Answer::Done { entries: repository(git, &kept, submodules::DEEPEST)? })
}

fn repository(git: &Git<'_>, kept: &BTreeSet<String>, deep: usize) -> Result<u64, Refusal> {
    if !git.mirror().is_dir() {
        return Ok(0);
    }
    let mut removed = modules(git, kept, deep)?;
    {
        let _held = mirror::hold(git)?;
        mirror::make(git)?;
        // A repository of very many of them is tidied of the rest all the same.
        match references(git, kept) {
            Ok(gone) => removed += gone,
            Err(refusal) => tracing::warn!("{}, ignoring", refusal.reason()),
        }
        removed += contents(git, kept)?;
        lfs_fetch::drop_remains(git)?;
    }
    // In a shallow one it takes the lock that a fetch takes, and would be taken for what a crash left.
    let _held = git.mirror().join("shallow").exists().then(|| mirror::hold(git)).transpose()?;
    // By itself it does nothing most of the time.
    if let Err(failed) = git.run(&GC, b"") {
        tracing::warn!("{} is not packed: {failed}, ignoring", git.mirror().display());
    }
    Ok(removed)
}

/// References that are no branches and no tags, of commits that no release is made of: a deployment asks for them again.
/// One that is under way has asked just now, and is in no record yet.
fn references(git: &Git<'_>, kept: &BTreeSet<String>) -> Result<u64, Refusal> {
    let failed = |error: Failed| Refusal::new(format!("cannot tidy {}: {error}", git.mirror().display()));
    let all = git.run(&["for-each-ref", "--format=%(objectname) %(refname)"], b"").map_err(failed)?;
    let all = String::from_utf8_lossy(&all);
    let named = |name: &str| name.starts_with("refs/heads/") || name.starts_with("refs/tags/") || name == DEFAULT_REF;
    let others = all.lines().filter_map(|line| line.split_once(' ')).filter(|(_, name)| !named(name));
    let old = others.filter(|(id, name)| !kept.contains(*id) && is_old(&git.mirror().join(name)));
    let deletions: Vec<String> = old.map(|(id, name)| format!("delete {name} {id}\n")).collect();
    if !deletions.is_empty() {
        git.run(&["update-ref", "--no-deref", "--stdin"], deletions.concat().as_bytes()).map_err(failed)?;
    }
    Ok(deletions.len() as u64)
}

/// Contents of Git LFS that none of the lists which stay names.
fn contents(git: &Git<'_>, kept: &BTreeSet<String>) -> Result<u64, Refusal> {
    let mut named = BTreeSet::new();
    for list in entries(&git.lfs_lists()) {
        let commit = list.file_name().to_string_lossy().into_owned();
        if full_id(&commit) && !kept.contains(&commit) && is_old(&list.path()) {
            remove(&list.path())?;
        } else if let Some(files) = lfs_fetch::listed(&list.path()) {
            named.extend(files.into_iter().map(|(_, pointer)| pointer.oid));
        }
    }
    let mut removed = 0;
    let below = |dir: DirEntry| entries(&dir.path());
    for object in entries(&git.mirror().join("lfs/objects")).flat_map(below).flat_map(below) {
        if !named.contains(&*object.file_name().to_string_lossy()) {
            remove(&object.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Mirrors of submodules that no kept commit has; those that one has are tidied themselves.
fn modules(git: &Git<'_>, kept: &BTreeSet<String>, deep: usize) -> Result<u64, Refusal> {
    let caches: Vec<DirEntry> = entries(&git.modules()).collect();
    let Some(deeper) = deep.checked_sub(1).filter(|_| !caches.is_empty()) else { return Ok(0) };
    let mut used: BTreeMap<String, (Module, BTreeSet<String>)> = BTreeMap::new();
    // One that is not in the mirror any more needs nothing of it.
    for module in kept.iter().filter_map(|commit| submodules::of(git, commit).ok()).flatten() {
        let commit = module.commit.clone();
        used.entry(module.cache_name()).or_insert_with(|| (module, BTreeSet::new())).1.insert(commit);
    }
    let mut removed = 0;
    for cache in caches {
        let name = cache.file_name().to_string_lossy().into_owned();
        if let Some((module, commits)) = used.get(&name) {
            removed += module.with(git, |inner| repository(inner, commits, deeper))?;
        } else if is_old(&cache.path().join("git.lock")) {
            empty::drop_paths(&git.modules(), &[name])?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether it was last of use a while ago. What is not there has never been.
fn is_old(path: &Path) -> bool {
    let modified = path.symlink_metadata().and_then(|meta| meta.modified());
    modified.map_or(true, |then| SystemTime::now().duration_since(then).is_ok_and(|age| age > RECENT))
}

fn remove(path: &Path) -> Result<(), Refusal> {
    std::fs::remove_file(path).map_err(|error| Refusal::io("remove", path, error))
}

fn entries(dir: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().flatten()
}

#[cfg(test)]
#[path = "tidy_tests.rs"]
mod tests;
