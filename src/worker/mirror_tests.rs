//! The mirror against real repositories: what is found, what is fetched, and what of a repository is never run.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use super::*;
use crate::worker::{
    git_access::Access,
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
            Answer::Resolved { revision, markers, .. } => Ok((revision, markers)),
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
        crate::worker::export::run(&testing::export(&order, self.cache.path(), revision, release.path()))?;
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
fn a_pattern_of_tags_names_the_newest_version() {
    let host = Host::new();
    let commits: Vec<String> = ["v1.9.0", "v1.10.0", "v2.0.0-rc1", "v1.9.1", "other"]
        .map(|tag| {
            host.write("file", tag);
            let commit = host.commit(tag);
            host.git(&["tag", "-a", tag, "-m", tag]);
            commit
        })
        .into();
    let url = host.source.path().to_str().unwrap().to_owned();
    for depth in [None, Some(1)] {
        let cache = tempfile::tempdir().unwrap();
        let resolve = |reference: &str| {
            let order = GitOrder { url: url.clone(), reference: reference.into(), depth, ..GitOrder::default() };
            resolve(&Git::of(&order, cache.path())?, reference, &["artisan".to_owned()])
        };
        let found = |commit: usize, tag: &str| {
            let (revision, markers) = (commits[commit].clone(), vec!["artisan".into()]);
            Answer::Resolved { revision, markers, tag: Some(tag.into()) }
        };
        assert_eq!(resolve("tag:v*").unwrap(), found(1, "v1.10.0"), "not by date, and nothing unfinished");
        assert_eq!(resolve("tag:v1.9.*").unwrap(), found(3, "v1.9.1"));
        assert_eq!(resolve("tag:v*-rc*").unwrap(), found(2, "v2.0.0-rc1"));
        assert_eq!(resolve("tag:other").unwrap(), found(4, "other"));
        let Answer::Refused { reason, remedy } = resolve("tag:w*").unwrap_err().into() else { panic!() };
        assert!(reason.contains("\"w*\"") && remedy.unwrap().contains("v2.0.0-rc1"), "{reason}");
    }
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
        let wanted = Answer::Resolved { revision: head.clone(), markers: vec!["artisan".into()], tag: None };
        assert_eq!(resolve(reference, Some(2)).unwrap(), wanted, "{reference}");
    }
    assert_eq!(ask(&["rev-list", "--count", "main"]), "2");
    assert_eq!(ask(&["for-each-ref", "--format=%(refname)", "refs/heads"]), "refs/heads/main", "no other is fetched");
    resolve(&first, Some(1)).unwrap();
    resolve("other", Some(1)).unwrap();
    host.git(&["branch", "-D", "other"]);
    host.git(&["branch", "newer"]);
    let Answer::Refused { reason, remedy } = resolve("other", Some(1)).unwrap_err().into() else { panic!() };
    let remedy = remedy.unwrap();
    assert!(reason.contains("no branch, tag or commit"), "{reason}");
    assert!(remedy.contains("main, newer"), "the repository's branches, not the mirror's: {remedy}");
    let absent = resolve(&"0".repeat(40), Some(1)).unwrap_err();
    assert!(absent.reason().contains("no branch, tag or commit"), "{absent}");
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
fn a_commit_that_was_asked_for_stays_though_no_branch_has_it_any_more() {
    let host = Host::new();
    let first = host.resolve("main", &[]).unwrap().0;
    host.git(&["commit", "-q", "--amend", "-m", "rewritten"]);
    host.resolve("main", &[]).unwrap();
    let mirror = host.cache.path().join("git");
    let collect = || testing::git(&mirror, &["-c", "gc.packRefs=false", "gc", "-q", "--prune=now"]);
    // A short id, too: what it names is found before anything is fetched or packed.
    host.resolve(&first[..12], &[]).unwrap();
    collect();
    assert!(host.export(&first).is_ok(), "the mirror's branch has moved on");
    testing::git(&mirror, &["update-ref", "-d", &git_fetch::commit_ref(&first)]);
    collect();
    assert!(host.export(&first).is_err(), "nothing else kept it");
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
fn what_hinders_a_commit_from_being_fetched_is_told() {
    let host = Host::new();
    host.write("change.php", "<?php");
    let hidden = host.commit("no branch has it");
    host.git(&["reset", "--hard", "-q", "HEAD~1"]);
    assert_eq!(host.resolve(&hidden, &[]).unwrap().0, hidden, "most servers give it all the same");

    // The second connection fails: the first one has all branches and tags.
    let ssh = host.cache.path().join("ssh");
    let once = "#!/bin/sh\nfor last; do :; done\nif mkdir \"$0.once\" 2>/dev/null; then exec sh -c \"$last\"; fi\n\
                echo 'git@h.example: Permission denied (publickey).' >&2; exit 255\n";
    testing::program(&ssh, once);
    let cache = tempfile::tempdir().unwrap();
    let order = GitOrder { url: format!("git@h.example:{}", host.source.path().display()), ..GitOrder::default() };
    let git = Git::reached(&order, cache.path(), Access::through(&ssh)).unwrap();
    let Answer::Refused { reason, remedy } = resolve(&git, &hidden, &[]).unwrap_err().into() else { panic!() };
    assert!(reason.contains("Permission denied") && remedy.unwrap().contains("deployctl key"), "{reason}");
}

#[test]
fn whoever_fetches_has_the_mirror_for_himself() {
    let host = Host::new();
    let cache = host.cache.path();
    let (ssh, lock) = (cache.join("ssh"), cache.join("git.lock"));
    let text = format!(
        "#!/bin/sh\nif flock -n '{}' true; then mark=free; else mark=held; fi; touch '{}/'$mark\n\
         for last; do :; done\nexec sh -c \"$last\"\n",
        lock.display(),
        cache.display()
    );
    testing::program(&ssh, &text);
    let order = GitOrder { url: format!("git@h.example:{}", host.source.path().display()), ..GitOrder::default() };
    let git = Git::reached(&order, cache, Access::through(&ssh)).unwrap();
    resolve(&git, "main", &[]).unwrap();
    assert!(cache.join("held").exists() && !cache.join("free").exists());
    let held = hold(&git).unwrap();
    let other = File::open(&lock).unwrap();
    assert_eq!(flock(&other, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
    drop(held);
    assert_eq!(flock(&other, FlockOperation::NonBlockingLockExclusive), Ok(()));
}

#[test]
fn nothing_of_a_repository_is_ever_run() {
    let host = Host::new();
    let proof = tempfile::tempdir().unwrap();
    let marker = proof.path().join("was-run");
    let script = host.write(".git/evil", &format!("#!/bin/sh\ntouch {}\ncat\n", marker.display()));
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let evil = script.to_str().unwrap();
    let names =
        ["post-checkout", "post-merge", "reference-transaction", "pre-auto-gc", "post-update", "fsmonitor-watchman"];
    host.write(".gitattributes", "* filter=evil text eol=lf\n*.php ident\n*.lfs filter=lfs\n");
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
    plain.args(["ls-remote", url.to_str().unwrap()]).env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", "/nonexistent");
    assert!(!plain.output().unwrap().status.success(), "git itself refuses, so that the setting is what lets it");
    let git = Git::new(url.to_str().unwrap(), &tree.join("cache")).map(|git| resolve(&git, "main", &[]));
    assert!(matches!(git, Ok(Ok(Answer::Resolved { .. }))), "{git:?}");
}
