//! What git said, and what to do about it when it failed. Pure.

use super::{
    git::Git,
    git_names::{self, Transport},
    refusal::Refusal,
};

/// How git tells that somebody may not read.
const REFUSED: [&str; 5] =
    ["Permission denied (publickey", "could not read Username", "Authentication failed", "not found", "403"];
/// What to do where the source's secrets are not for what it names.
pub const WITHHELD: &str = "the key or token of [source] is used beside its repository only: let this one be read without, or, if it \
     is of the same server, and whoever commits may have all that they open there, write submodules = \"server\"";

/// The references below a prefix, without it, in what `for-each-ref` and `ls-remote` list: an object's id, a tab and a
/// name on each line.
pub fn listed<'a>(said: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    said.lines().filter_map(move |line| line.split_once('\t')?.1.strip_prefix(prefix))
}

/// The first of several names, for a remedy.
pub fn some_of(names: &[impl AsRef<str>], most: usize) -> String {
    let some: Vec<&str> = names.iter().take(most).map(AsRef::as_ref).collect();
    some.join(", ") + if names.len() > most { ", …" } else { "" }
}

/// Git's words, and what to do about them.
pub fn explain(git: &Git<'_>, said: &str) -> Refusal {
    let host = git_names::host(git.url);
    let has = |text: &str| said.contains(text);
    let remedy = if has("couldn't find remote ref refs/") {
        "name one that `git ls-remote` shows of it".to_owned()
    } else if has("couldn't find remote ref HEAD") {
        "its default branch is not there: name a branch as ref in [source]".to_owned()
    } else if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        format!(
            "`ssh-keyscan {host}` into a file, compare its fingerprints with those the host publishes, \
             and name the file as known_hosts in [source]"
        )
    } else if git.withholds() && REFUSED.iter().any(|sign| has(sign)) {
        WITHHELD.to_owned()
    } else if has("Permission denied (publickey") {
        "register the public half of the key that is used with the repository: of ssh_key or ssh_key_credential in [source], \
         else what `deployctl key` prints"
            .to_owned()
    } else if has("UNPROTECTED PRIVATE KEY") || has("bad permissions") {
        "chmod 0600 the ssh key, and make it the app's user's".to_owned()
    } else if has("Could not resolve host") {
        format!("check the url's host name \"{host}\" and this host's DNS")
    } else if has("could not read Username") || has("Authentication failed") {
        "the repository is private, or the token is refused: write token_credential in [source], or use a deploy key over \
         ssh, which `deployctl key` makes"
            .to_owned()
    } else if has("dubious ownership") {
        "name the repository itself in [source], without symbolic links in its path".to_owned()
    } else if has("No space left on device") || has("Disk quota exceeded") {
        format!("make room where {} is", git.mirror().display())
    } else if has("Connection refused") || has("Connection timed out") || has("Could not connect") {
        format!("check that {host} can be reached from this host")
    } else if git.transport == Transport::Local {
        format!("check that {} is a repository that the app's user may read", git.url)
    } else {
        format!("check the url, and that the app's user may read {}", git.url)
    };
    Refusal::with(format!("cannot fetch {}: {said}", git.url), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::order::Answer;

    #[test]
    fn what_a_remote_says_has_its_remedy_and_no_escapes() {
        let cache = tempfile::tempdir().unwrap();
        let git = Git::new("git@git.example.org:acme/shop.git", cache.path()).unwrap();
        for (said, remedy) in [
            (
                "Host key verification failed.; fatal: Could not read from remote repository.",
                "ssh-keyscan git.example.org",
            ),
            ("git@git.example.org: Permission denied (publickey).", "deployctl key"),
            ("ssh: Could not resolve hostname git.example.org: Name or service not known", "DNS"),
            ("remote: \x1b[2J\x07evil", "check the url"),
        ] {
            let Answer::Refused { reason, remedy: found } = explain(&git, said).into() else { panic!() };
            assert!(found.as_deref().unwrap_or("").contains(remedy), "{said}: {found:?}");
            assert!(!reason.contains(['\x1b', '\x07']), "{reason:?}");
        }
    }
}
