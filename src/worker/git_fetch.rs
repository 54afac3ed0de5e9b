//! Fetches a repository into its mirror, by explicit refspecs.

use super::{
    git::{Failed, Git, Running},
    git_names,
    git_remedy::explain,
    mirror,
    refusal::Refusal,
};

/// What stands for the repository's own default branch.
pub const DEFAULT: &str = "HEAD";
/// Where the mirror keeps it.
pub const DEFAULT_REF: &str = "refs/deployd/default";

/// Where the mirror keeps a commit that was asked for by its id.
pub fn commit_ref(commit: &str) -> String {
    format!("refs/deployd/commits/{commit}")
}

/// Brings what `reference` may name up to date: all branches and tags, of a shallow mirror that one. A mirror that a power
/// cut or a kill has left broken is made anew, once. A commit that the repository does not have is no error here.
pub fn fetch(git: &Git<'_>, reference: &str) -> Result<(), Refusal> {
    let fetched = match fetch_once(git, reference) {
        Err(Failed { said, all }) if broken(&all) => {
            tracing::warn!(
                "{} is broken and is fetched again: {}",
                git.mirror().display(),
                crate::model::printable(&said)
            );
            std::fs::remove_dir_all(git.mirror()).map_err(|error| Refusal::io("remove", git.mirror(), error))?;
            mirror::make(git)?;
            fetch_once(git, reference)
        }
        other => other,
    };
    settle(git, reference, fetched)
}

/// Asks for a commit by its id alone. One that the repository does not have is no error here.
pub fn commit(git: &Git<'_>, id: &str) -> Result<(), Refusal> {
    settle(git, id, fetch_commit(git, id))
}

fn settle(git: &Git<'_>, reference: &str, fetched: Result<(), Failed>) -> Result<(), Refusal> {
    let Err(Failed { said, all }) = fetched else { return Ok(()) };
    super::leftovers::remove(&git.mirror());
    if git_names::full_id(reference) && all.contains("not our ref") {
        return Ok(());
    }
    if all.contains("does not allow request for unadvertised object") {
        let reason = format!("{} gives {reference} to nobody who asks for it by its id", git.url);
        return Err(Refusal::with(reason, "name a branch or a tag that has it; this server gives nothing else"));
    }
    Err(explain(git, &said))
}

fn fetch_once(git: &Git<'_>, reference: &str) -> Result<(), Failed> {
    // A request to merge, or what else a forge keeps beside branches and tags: only when it is asked for by its name.
    let one = match reference {
        DEFAULT => Some(format!("+{DEFAULT}:{DEFAULT_REF}")),
        named if is_elsewhere(named) => Some(format!("+{named}:{named}")),
        _ => None,
    };
    let Some(depth) = git.depth else {
        let all = ["+refs/heads/*:refs/heads/*".to_owned(), "+refs/tags/*:refs/tags/*".to_owned()];
        // A mirror that was shallow has all of it from now on.
        let whole = git.mirror().join("shallow").is_file().then_some("--unshallow");
        let refspecs: Vec<String> = all.into_iter().chain(one).collect();
        return fetch_refs(git, &whole.into_iter().chain(["--prune"]).collect::<Vec<_>>(), &refspecs);
    };
    let refspecs = match one {
        Some(one) => vec![one],
        None if git_names::full_id(reference) => return fetch_commit(git, reference),
        None => named(git, reference)?.into_iter().map(|name| format!("+{name}:{name}")).collect(),
    };
    if refspecs.is_empty() { Ok(()) } else { fetch_refs(git, &[&format!("--depth={depth}")], &refspecs) }
}

fn fetch_commit(git: &Git<'_>, commit: &str) -> Result<(), Failed> {
    let depth = git.depth.map(|depth| format!("--depth={depth}"));
    fetch_refs(git, depth.as_deref().as_slice(), &[format!("+{commit}:{}", commit_ref(commit))])
}

fn fetch_refs(git: &Git<'_>, options: &[&str], refspecs: &[String]) -> Result<(), Failed> {
    let always = [
        "--quiet",
        "--force",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
        "--end-of-options",
        git.url,
    ];
    let refspecs = refspecs.iter().map(String::as_str);
    let arguments: Vec<&str> =
        ["fetch"].into_iter().chain(options.iter().copied()).chain(always).chain(refspecs).collect();
    Running::start(git.command(&arguments))?.end()
}

/// The branch and the tag of this name that the repository has. What it has no more goes from the mirror too.
fn named(git: &Git<'_>, reference: &str) -> Result<Vec<String>, Failed> {
    let wanted = match reference.starts_with("refs/") {
        true => vec![reference.to_owned()],
        false => vec![format!("refs/heads/{reference}"), format!("refs/tags/{reference}")],
    };
    let patterns = wanted.iter().map(String::as_str);
    let arguments: Vec<&str> =
        ["ls-remote", "--quiet", "--end-of-options", git.url].into_iter().chain(patterns).collect();
    let said = git.run(&arguments, b"")?;
    let said = String::from_utf8_lossy(&said);
    let there: Vec<&str> = said.lines().filter_map(|line| line.split_once('\t')).map(|(_, name)| name).collect();
    let (there, gone): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|name| there.contains(&name.as_str()));
    for name in gone {
        git.run(&["update-ref", "--no-deref", "-d", &name], b"")?;
    }
    Ok(there)
}

/// Whether it is the whole name of a reference that is neither a branch nor a tag.
pub fn is_elsewhere(reference: &str) -> bool {
    reference.starts_with("refs/") && !reference.starts_with("refs/heads/") && !reference.starts_with("refs/tags/")
}

/// Whether the mirror itself is what failed: git says so, and not a server whose words it repeats.
fn broken(said: &str) -> bool {
    let signs = [
        ".lock': File exists",
        "is corrupt",
        "is empty",
        "bad object",
        "not a git repository: '",
        "unable to read tree",
    ];
    let own = |line: &&str| !line.trim_start().starts_with("remote:");
    said.lines().filter(own).any(|line| signs.iter().any(|sign| line.contains(sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_no_sign_of_a_broken_mirror() {
        assert!(broken("error: object file /var/cache/deployd/shop/git/objects/4b is empty\nfatal: bad object"));
        assert!(!broken("remote: your quota is empty\nremote: bad object\nfatal: could not read from remote"));
    }
}
