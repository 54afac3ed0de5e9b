//! The app's git mirror: made once, fetched by explicit refspecs, asked for what a reference names.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::{
    git::{Failed, Git, Running, pin},
    git_names::{self, Transport},
    order::Answer,
    refusal::Refusal,
    submodules,
};

/// The mirror's own configuration, written before every use: nothing that somebody put there has an effect.
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n";
/// The most markers that may be asked for.
const MAX_MARKERS: usize = 256;
/// What stands for the repository's own default branch.
const DEFAULT: &str = "HEAD";
/// Where the mirror keeps it.
const DEFAULT_REF: &str = "refs/deployd/default";
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
    if let (true, Answer::Resolved { revision, .. }) = (git.submodules, &found) {
        submodules::fetch(git, revision)?;
    }
    Ok(found)
}

/// Sees that a commit is in the mirror.
pub fn have(git: &Git<'_>, commit: &str) -> Result<(), Refusal> {
    if !git_names::full_id(commit) {
        return Err(Refusal::new(format!("\"{commit}\" is not a commit's id")));
    }
    found(git, commit, &[]).map(drop)
}

fn found(git: &Git<'_>, reference: &str, markers: &[String]) -> Result<Answer, Refusal> {
    make(git)?;
    if git_names::full_id(reference)
        && let Some(found) = look_up(git, reference, markers)?
    {
        return Ok(found);
    }
    fetch(git, reference)?;
    if let Some(found) = look_up(git, reference, markers)? {
        return Ok(found);
    }
    // One that no branch and no tag has: most servers give it when they are asked for it by its id.
    if git_names::full_id(reference) && git.depth.is_none() && fetch_commit(git, reference).is_ok() {
        return look_up(git, reference, markers)?.ok_or_else(|| not_there(git, reference));
    }
    Err(not_there(git, reference))
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
fn fetch(git: &Git<'_>, reference: &str) -> Result<(), Refusal> {
    match fetch_once(git, reference) {
        Err(Failed { said, all }) if broken(&all) => {
            tracing::warn!(
                "{} is broken and is fetched again: {}",
                git.mirror().display(),
                crate::model::printable(&said)
            );
            std::fs::remove_dir_all(git.mirror()).map_err(|error| Refusal::io("remove", git.mirror(), error))?;
            make(git)?;
            fetch_once(git, reference)
        }
        other => other,
    }
    .map_err(|Failed { said, .. }| {
        super::leftovers::remove(&git.mirror());
        explain(git, &said)
    })
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
    fetch_refs(git, depth.as_deref().as_slice(), &[format!("+{commit}:refs/deployd/commits/{commit}")])
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
fn is_elsewhere(reference: &str) -> bool {
    reference.starts_with("refs/") && !reference.starts_with("refs/heads/") && !reference.starts_with("refs/tags/")
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
    let remedy = if has("couldn't find remote ref refs/") {
        "name one that `git ls-remote` shows of it".to_owned()
    } else if has("couldn't find remote ref HEAD") {
        "its default branch is not there: name a branch as ref in [source]".to_owned()
    } else if has("Host key verification failed") || has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        format!(
            "`ssh-keyscan {host}` into a file, compare its fingerprints with those the host publishes, \
             and name the file as known_hosts in [source]"
        )
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
    use std::{os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;
    use crate::worker::{
        order::{GitOrder, SourceOrder},
        testing,
    };

    struct Host {
        source: tempfile::TempDir,
        cache: tempfile::TempDir,
    }

    impl Host {
        fn new() -> Self {
            let host = Self { source: tempfile::tempdir().unwrap(), cache: tempfile::tempdir().unwrap() };
            testing::repository(host.source.path());
            host
        }

        fn resolve(&self, reference: &str, markers: &[&str]) -> Result<(String, Vec<String>), Refusal> {
            let url = self.source.path().to_str().unwrap();
            let git = Git::new(url, self.cache.path())?;
            let markers: Vec<String> = markers.iter().map(|marker| (*marker).to_owned()).collect();
            match resolve(&git, reference, &markers)? {
                Answer::Resolved { revision, markers } => Ok((revision, markers)),
                other => panic!("{other:?}"),
            }
        }

        fn git(&self, arguments: &[&str]) -> String {
            testing::git(self.source.path(), arguments)
        }

        fn write(&self, path: &str, content: &str) -> PathBuf {
            let path = self.source.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            path
        }

        fn commit(&self, message: &str) -> String {
            testing::commit(self.source.path(), message)
        }

        fn export(&self, revision: &str) -> Result<Vec<String>, Refusal> {
            let release = tempfile::tempdir().unwrap();
            let (url, reference) = (self.source.path().to_str().unwrap().to_owned(), "main".to_owned());
            let order = SourceOrder::Git(GitOrder { url, reference, ..GitOrder::default() });
            super::super::export::run(&testing::export(&order, self.cache.path(), revision, release.path()))?;
            Ok(testing::tree(release.path()))
        }
    }

    #[test]
    fn branches_tags_and_commits_are_found_and_exported() {
        let host = Host::new();
        let first = host.git(&["rev-parse", "HEAD"]);
        host.git(&["tag", "-a", "v1", "-m", "v1"]);
        let markers = ["artisan", "public", "composer.json"];
        let found = host.resolve("main", &markers).unwrap();
        assert_eq!(found, (first.clone(), vec!["artisan".to_owned(), "public".to_owned()]));
        host.write("composer.json", "{}");
        let second = host.commit("second");
        host.git(&["branch", "feature/x"]);
        assert_eq!(host.resolve("main", &markers).unwrap().0, second);
        assert_eq!(host.resolve("feature/x", &markers).unwrap().1.len(), 3);
        assert_eq!(host.resolve("v1", &[]).unwrap().0, first, "an annotated tag is its commit");
        assert_eq!(host.resolve(&first[..8], &[]).unwrap().0, first);
        assert_eq!(host.resolve(&first, &["artisan"]).unwrap(), (first.clone(), vec!["artisan".to_owned()]));
        let tree = host.export(&first).unwrap();
        assert_eq!(
            tree,
            [
                "artisan 755 #!/usr/bin/env php\n",
                "public/ 755",
                "public/index.php 644 <?php echo 1;",
                "public/link -> ../outside"
            ]
        );
        assert!(host.export("main").is_err(), "only a commit's id is exported");
    }

    #[test]
    fn requests_to_merge_are_found_by_their_whole_name() {
        let host = Host::new();
        host.write("change.php", "<?php");
        let change = host.commit("a change");
        host.git(&["update-ref", "refs/pull/7/head", &change]);
        host.git(&["reset", "--hard", "-q", "HEAD~1"]);
        assert_ne!(host.resolve("main", &[]).unwrap().0, change);
        assert_eq!(host.resolve("refs/pull/7/head", &["change.php"]).unwrap(), (change, vec!["change.php".to_owned()]));
        assert_eq!(host.resolve("refs/heads/main", &[]).unwrap(), host.resolve("main", &[]).unwrap());
        let Answer::Refused { reason, remedy } = host.resolve("refs/pull/8/head", &[]).unwrap_err().into() else {
            panic!()
        };
        assert!(reason.contains("refs/pull/8/head") && remedy.unwrap().contains("ls-remote"), "{reason}");
    }

    #[test]
    fn a_shallow_mirror_has_what_is_asked_for_and_becomes_whole_again() {
        let host = Host::new();
        let first = host.git(&["rev-parse", "HEAD"]);
        for number in 0..4 {
            host.write("file", &number.to_string());
            host.commit("more");
        }
        host.git(&["branch", "other"]);
        let url = host.source.path().to_str().unwrap().to_owned();
        let resolve = |reference: &str, depth| {
            let order = GitOrder { url: url.clone(), reference: reference.into(), depth, ..GitOrder::default() };
            resolve(&Git::of(&order, host.cache.path())?, reference, &["artisan".to_owned()])
        };
        let mirror = host.cache.path().join("git");
        let ask = |arguments: &[&str]| testing::git(&mirror, arguments);
        let head = host.git(&["rev-parse", "HEAD"]);
        for reference in ["main", "HEAD", &head] {
            let wanted = Answer::Resolved { revision: head.clone(), markers: vec!["artisan".into()] };
            assert_eq!(resolve(reference, Some(2)).unwrap(), wanted, "{reference}");
        }
        assert_eq!(ask(&["rev-list", "--count", "main"]), "2");
        assert_eq!(
            ask(&["for-each-ref", "--format=%(refname)", "refs/heads"]),
            "refs/heads/main",
            "no other is fetched"
        );
        resolve(&first, Some(1)).unwrap();
        resolve("other", Some(1)).unwrap();
        host.git(&["branch", "-D", "other"]);
        assert!(resolve("other", Some(1)).unwrap_err().reason().contains("no branch, tag or commit"));
        resolve("main", None).unwrap();
        assert_eq!(ask(&["rev-list", "--count", "main"]), "5");
        assert_eq!(host.export(&head).unwrap().len(), 5);
    }

    #[test]
    fn a_known_commit_needs_no_repository_and_a_forced_push_is_followed() {
        let host = Host::new();
        let first = host.resolve("main", &[]).unwrap().0;
        host.git(&["commit", "-q", "--amend", "-m", "rewritten"]);
        let second = host.git(&["rev-parse", "HEAD"]);
        assert_eq!(host.resolve("main", &[]).unwrap().0, second);
        host.git(&["branch", "gone"]);
        host.resolve("gone", &[]).unwrap();
        host.git(&["branch", "-D", "gone"]);
        assert!(host.resolve("gone", &[]).is_err(), "a branch that was deleted is not deployed any more");
        std::fs::rename(host.source.path().join(".git"), host.source.path().join("away")).unwrap();
        assert_eq!(host.resolve(&first, &[]).unwrap().0, first);
        assert!(host.resolve("main", &[]).unwrap_err().reason().contains("cannot fetch"));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is() {
        let host = Host::new();
        for absent in ["release", "deadbeef", "0123456789012345678901234567890123456789"] {
            let Answer::Refused { reason, remedy } = host.resolve(absent, &[]).unwrap_err().into() else { panic!() };
            assert!(reason.contains(&format!("no branch, tag or commit \"{absent}\"")), "{reason}");
            assert!(remedy.unwrap().contains("main"));
        }
        for bad in ["--upload-pack=x", "-x", "@{-1}", "main..x"] {
            assert!(host.resolve(bad, &[]).unwrap_err().reason().contains("is not a branch"), "{bad}");
        }
        assert!(host.resolve("main", &["../x"]).is_err());
    }

    #[test]
    fn nothing_of_a_repository_is_ever_run() {
        let host = Host::new();
        let proof = tempfile::tempdir().unwrap();
        let marker = proof.path().join("was-run");
        let script = host.write(".git/evil", &format!("#!/bin/sh\ntouch {}\ncat\n", marker.display()));
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let evil = script.to_str().unwrap();
        let names = [
            "post-checkout",
            "post-merge",
            "reference-transaction",
            "pre-auto-gc",
            "post-update",
            "fsmonitor-watchman",
        ];
        host.write(".gitattributes", "* filter=evil text eol=lf\n");
        host.write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c 'touch was-run'\n");
        let commit = host.commit("evil");
        for name in names {
            std::fs::copy(&script, host.source.path().join(".git/hooks").join(name)).unwrap_or_default();
        }
        let settings = [
            ("core.fsmonitor", evil),
            ("core.sshCommand", evil),
            ("filter.evil.smudge", evil),
            ("filter.evil.clean", evil),
            ("core.pager", evil),
            ("core.alternateRefsCommand", evil),
            ("uploadpack.packObjectsHook", evil),
            ("gpg.program", evil),
            ("credential.helper", evil),
            ("diff.external", evil),
            ("core.hooksPath", evil),
        ];
        for (name, value) in settings {
            host.git(&["config", name, value]);
        }
        let _ = std::fs::remove_file(&marker);
        assert_eq!(host.resolve("main", &[]).unwrap().0, commit);
        assert!(!marker.exists());
        // A step of the same user may have written into the mirror, too.
        let mirror = host.cache.path().join("git");
        let mut config = std::fs::read_to_string(mirror.join("config")).unwrap();
        for (name, value) in settings {
            let (section, key) = name.rsplit_once('.').unwrap();
            let section = section.split_once('.').map_or(section.to_owned(), |(a, b)| format!("{a} \"{b}\""));
            config += &format!("[{section}]\n\t{key} = {value}\n");
        }
        config += &format!("[include]\n\tpath = {}\n", host.source.path().join(".git/config").display());
        std::fs::write(mirror.join("config"), &config).unwrap();
        std::fs::create_dir_all(mirror.join("hooks")).unwrap();
        for name in names {
            std::fs::copy(&script, mirror.join("hooks").join(name)).unwrap();
        }
        // The test's own git would run them: this one reads no configuration of the kind.
        let later = host.git(&["commit-tree", "-p", &commit, "-m", "later", &format!("{commit}^{{tree}}")]);
        host.git(&["update-ref", "refs/heads/main", &later]);
        let _ = std::fs::remove_file(&marker);
        assert_eq!(host.resolve("main", &[]).unwrap().0, later);
        assert_eq!(host.export(&later).unwrap().len(), 6);
        assert!(!marker.exists());
        assert_eq!(std::fs::read_to_string(mirror.join("config")).unwrap(), CONFIG);
    }

    #[test]
    fn trees_that_would_be_a_git_directory_are_refused() {
        let host = Host::new();
        host.resolve("main", &[]).unwrap();
        let blob = host.git(&["hash-object", "-w", "artisan"]);
        for name in [".GIT", "git~1", ".git"] {
            let tree = {
                use std::io::Write;
                let mut child = std::process::Command::new("git")
                    .current_dir(host.source.path())
                    .args(["mktree"])
                    .stdin(std::process::Stdio::piped())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap();
                child.stdin.take().unwrap().write_all(format!("100644 blob {blob}\t{name}\n").as_bytes()).unwrap();
                let output = child.wait_with_output().unwrap();
                String::from_utf8(output.stdout).unwrap().trim().to_owned()
            };
            let commit = host.git(&["commit-tree", &tree, "-m", "x"]);
            host.git(&["update-ref", "refs/heads/evil", &commit]);
            let refused = host.resolve("evil", &[]).unwrap_err();
            assert!(refused.reason().contains("cannot fetch"), "{name}: {refused}");
        }
    }

    #[test]
    fn a_mirror_of_somebody_else_or_a_link_is_refused_and_a_broken_one_made_anew() {
        let host = Host::new();
        let commit = host.resolve("main", &[]).unwrap().0;
        let mirror = host.cache.path().join("git");
        std::fs::write(mirror.join("packed-refs.lock"), "").unwrap();
        host.git(&["branch", "-m", "main", "other"]);
        assert_eq!(host.resolve("other", &[]).unwrap().0, commit);
        std::fs::remove_dir_all(&mirror).unwrap();
        std::os::unix::fs::symlink(host.source.path().join(".git"), &mirror).unwrap();
        assert!(host.resolve("main", &[]).unwrap_err().reason().contains("is not a directory of the app's user"));
        if rustix::process::geteuid().is_root() {
            std::fs::remove_file(&mirror).unwrap();
            std::fs::create_dir(&mirror).unwrap();
            std::os::unix::fs::chown(&mirror, Some(65534), None).unwrap();
            assert!(host.resolve("main", &[]).unwrap_err().reason().contains("is not a directory of the app's user"));
        }
    }

    #[test]
    fn a_repository_of_another_user_is_read_when_it_is_named() {
        let test = "worker::mirror::tests::a_repository_of_another_user_is_read_when_it_is_named";
        let prepare = |tree: &Path| {
            let (repository, cache) = (tree.join("shop"), tree.join("cache"));
            std::fs::create_dir(&repository).unwrap();
            std::fs::create_dir(&cache).unwrap();
            testing::repository(&repository);
            std::os::unix::fs::chown(&cache, Some(65534), Some(65534)).unwrap();
        };
        let Some(tree) = testing::AsNobody::run_with(test, prepare) else { return };
        let url = tree.join("shop");
        if url.metadata().map_or(0, |meta| meta.uid()) == rustix::process::geteuid().as_raw() {
            return;
        }
        let mut plain = std::process::Command::new("git");
        plain
            .args(["ls-remote", url.to_str().unwrap()])
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", "/nonexistent");
        assert!(!plain.output().unwrap().status.success(), "git itself refuses, so that the setting is what lets it");
        let git = Git::new(url.to_str().unwrap(), &tree.join("cache")).map(|git| resolve(&git, "main", &[]));
        assert!(matches!(git, Ok(Ok(Answer::Resolved { .. }))), "{git:?}");
    }

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
