//! Submodules: other repositories' commits within a commit. What `.gitmodules` says is a repository's word: a place is taken
//! only if it is https or ssh, or is told relative to such a place.

use std::{collections::HashMap, path::PathBuf};

use sha2::{Digest, Sha256};

use super::{
    git::{Failed, Git},
    git_names::{self, Transport},
    git_tree::{self, Item, ItemKind},
    mirror,
    refusal::Refusal,
};
use crate::model::printable;

/// How deep submodules may have submodules.
pub const DEEPEST: usize = 8;
/// The most submodules of a release.
const MOST: usize = 256;

/// A submodule of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Where it is, relative to the top of what has it.
    pub path: Vec<u8>,
    /// Its commit.
    pub commit: String,
    /// Its repository; checked.
    pub url: String,
}

impl Module {
    /// The cache of its repository, below the app's.
    fn cache(&self, git: &Git<'_>) -> PathBuf {
        git.modules().join(self.cache_name())
    }

    /// What that is called.
    pub fn cache_name(&self) -> String {
        let mut name = hex::encode(Sha256::digest(self.url.as_bytes()));
        name.truncate(24);
        name
    }

    /// Its name in messages.
    pub fn shown(&self) -> String {
        printable(&String::from_utf8_lossy(&self.path))
    }

    /// Does something with its repository.
    pub fn with<T>(&self, git: &Git<'_>, work: impl FnOnce(&Git<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        let cache = self.cache(git);
        std::fs::create_dir_all(&cache).map_err(|error| Refusal::io("make the directory", &cache, error))?;
        work(&git.module(&self.url, &cache)?)
    }
}

/// Fetches all submodules of a commit, and theirs.
pub fn fetch(git: &Git<'_>, revision: &str) -> Result<(), Refusal> {
    let mut left = MOST;
    fetch_below(git, revision, DEEPEST, &mut left)
}

fn fetch_below(git: &Git<'_>, revision: &str, deep: usize, left: &mut usize) -> Result<(), Refusal> {
    for module in of(git, revision)? {
        let deeper = deep.checked_sub(1).zip(left.checked_sub(1));
        let Some((deeper, fewer)) = deeper else {
            let reason = format!("there are more than {MOST} submodules, or they lie more than {DEEPEST} deep");
            return Err(Refusal::with(reason, "a submodule may contain itself; see .gitmodules"));
        };
        *left = fewer;
        let named = |refusal: Refusal| refusal.of(&format!("the submodule {}", module.shown()));
        module
            .with(git, |repository| {
                mirror::have(repository, &module.commit)?;
                fetch_below(repository, &module.commit, deeper, left)
            })
            .map_err(named)?;
    }
    Ok(())
}

/// The submodules of a commit.
pub fn of(git: &Git<'_>, revision: &str) -> Result<Vec<Module>, Refusal> {
    let failed = |error: Failed| Refusal::new(format!("cannot list {revision} of {}: {error}", git.url));
    let items = git_tree::list(git, revision).map_err(failed)?;
    among(git, revision, &items)
}

/// The submodules among the entries of a commit's tree.
pub fn among(git: &Git<'_>, revision: &str, items: &[Item]) -> Result<Vec<Module>, Refusal> {
    let modules: Vec<&Item> = items.iter().filter(|item| item.kind == ItemKind::Submodule).collect();
    if modules.is_empty() {
        return Ok(Vec::new());
    }
    let urls = urls(git, revision)?;
    let module = |item: &&Item| {
        let shown = printable(&String::from_utf8_lossy(&item.path));
        let written = urls.get(&item.path).ok_or_else(|| {
            let remedy = "`git submodule add URL PATH` writes it; or remove the entry by `git rm --cached PATH`";
            Refusal::with(format!("the submodule {shown} has no url in .gitmodules"), remedy)
        })?;
        let url = resolve(git.url, written).map_err(|why| {
            let remedy = "write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or ../PATH into .gitmodules";
            Refusal::with(format!("the url of the submodule {shown} {why}"), remedy)
        })?;
        Ok(Module { path: item.path.clone(), commit: item.id.clone(), url })
    };
    modules.iter().map(module).collect()
}

/// What `.gitmodules` says: path to url. Git reads it, with no include and no other configuration.
fn urls(git: &Git<'_>, revision: &str) -> Result<HashMap<Vec<u8>, String>, Refusal> {
    let blob = format!("{revision}:.gitmodules");
    let arguments = ["config", "--no-includes", "--blob", &blob, "-z", "--list"];
    let text = git.run(&arguments, b"").map_err(|error| {
        let reason = format!("{revision} has submodules, and its .gitmodules cannot be read: {error}");
        Refusal::with(reason, "commit a .gitmodules, or remove the submodules by `git rm --cached PATH`")
    })?;
    Ok(pairs(&text))
}

/// Of `submodule.NAME.path` and `submodule.NAME.url`, each `KEY\nVALUE\0`.
fn pairs(text: &[u8]) -> HashMap<Vec<u8>, String> {
    let (mut paths, mut urls) = (HashMap::new(), HashMap::new());
    for entry in text.split(|byte| *byte == 0) {
        let Some(end) = entry.iter().position(|byte| *byte == b'\n') else { continue };
        let (key, value) = (entry.get(..end).unwrap_or_default(), entry.get(end + 1..).unwrap_or_default());
        let Some(key) = key.strip_prefix(b"submodule.") else { continue };
        if let Some(name) = key.strip_suffix(b".path") {
            paths.insert(name, value.strip_suffix(b"/").unwrap_or(value).to_vec());
        } else if let (Some(name), Ok(url)) = (key.strip_suffix(b".url"), std::str::from_utf8(value)) {
            urls.insert(name, url.to_owned());
        }
    }
    paths.into_iter().filter_map(|(name, path)| Some((path, urls.remove(name)?))).collect()
}

/// A submodule's place: as it is written, or relative to the repository that has it. Never a path of this host.
fn resolve(base: &str, written: &str) -> Result<String, String> {
    let url = if written.starts_with("./") || written.starts_with("../") {
        relative(base, written).ok_or("leads out of the place that it is relative to")?
    } else {
        written.to_owned()
    };
    match git_names::transport(&url) {
        Ok(Transport::Https | Transport::Ssh) => Ok(url),
        Ok(Transport::Local) => Err("is a path of this host".into()),
        Err(_) => Err("is none that is fetched: neither https nor ssh".into()),
    }
}

/// `../x` beside `https://host/acme/shop.git` is `https://host/acme/x`.
fn relative(base: &str, written: &str) -> Option<String> {
    let base = base.trim_end_matches('/');
    // Where the path begins, which nothing may go above.
    let start = match base.split_once("://") {
        Some((scheme, rest)) => scheme.len() + 3 + rest.find('/')? + 1,
        None if base.starts_with('/') => 1,
        None => base.find(':')? + 1,
    };
    let (head, path) = base.split_at_checked(start)?;
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    // What is left must still be a path below the base's own start.
    (!parts.is_empty()).then(|| format!("{head}{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{git_access::Access, order::GitOrder, order::SourceOrder, testing};

    #[test]
    fn places_are_https_or_ssh_and_never_of_this_host() {
        for (base, written, url) in [
            ("https://h.example/acme/shop.git", "../lib.git", "https://h.example/acme/lib.git"),
            ("https://h.example/acme/shop.git/", "./lib", "https://h.example/acme/shop.git/lib"),
            ("git@h.example:acme/shop.git", "../../other/lib.git", "git@h.example:other/lib.git"),
            ("ssh://git@h.example:22/acme/shop", "../lib", "ssh://git@h.example:22/acme/lib"),
            ("/srv/git/shop.git", "https://h.example/lib.git", "https://h.example/lib.git"),
            ("https://h.example/a/b", "git@h.example:lib.git", "git@h.example:lib.git"),
        ] {
            assert_eq!(resolve(base, written).as_deref(), Ok(url), "{base} {written}");
        }
        for (base, written) in [
            ("https://h.example/acme/shop.git", "../../../lib"),
            ("https://h.example/acme/shop.git", "../.."),
            ("git@h.example:shop.git", "../../x"),
            ("/srv/git/shop.git", "../lib.git"),
            ("https://h.example/a/b", "/srv/git/lib.git"),
            ("https://h.example/a/b", "file:///srv/git/lib.git"),
            ("https://h.example/a/b", "ext::sh -c id"),
            ("https://h.example/a/b", "-u./x"),
            ("https://h.example/a/b", "--upload-pack=x"),
            ("https://h.example/a/b", "http://h.example/lib"),
            ("https://h.example/a/b", "git://h.example/lib"),
            ("https://h.example/a/b", "ssh://-oProxyCommand=x/y"),
            ("https://h.example/a/b", "https://user:secret@h.example/lib"),
            ("https://h.example/a/b", "lib"),
            ("https://h.example/a/b", ""),
            ("https://h.example/a/b", "../lib\r"),
            ("https://h.example/a/b", "../ext::sh -c id"),
        ] {
            assert!(resolve(base, written).is_err(), "{base} {written}");
        }
    }

    #[test]
    fn names_and_paths_come_together_whatever_they_are_called() {
        let text =
            b"submodule.a.b.path\nlibs/one\0submodule.a.b.url\n../one.git\0core.x\ny\0submodule.two.url\nz\0junk\0";
        let found = pairs(text);
        assert_eq!(found, HashMap::from([(b"libs/one".to_vec(), "../one.git".to_owned())]));
    }

    /// A repository with a submodule `libs/one`, which has a submodule `deep` itself, all reached by a stand-in for ssh.
    struct Scene {
        dir: tempfile::TempDir,
        order: GitOrder,
    }

    impl Scene {
        fn new(url_of_one: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            for name in ["shop", "one", "deep"] {
                std::fs::create_dir(at(name)).unwrap();
                testing::repository(&at(name));
                std::fs::write(at(name).join("name"), name).unwrap();
            }
            let add = |to: &str, path: &str, url: &str, commit: &str| {
                let text = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
                std::fs::write(at(to).join(".gitmodules"), text).unwrap();
                testing::git(&at(to), &["add", ".gitmodules"]);
                testing::git(&at(to), &["update-index", "--add", "--cacheinfo", &format!("160000,{commit},{path}")]);
                testing::git(&at(to), &["add", "name"]);
                testing::git(&at(to), &["commit", "-q", "-m", "submodule"]);
                testing::git(&at(to), &["rev-parse", "HEAD"])
            };
            let deep = testing::commit(&at("deep"), "named");
            let one = add("one", "deep", "../deep", &deep);
            add("shop", "libs/one", url_of_one, &one);
            std::fs::create_dir(at("cache")).unwrap();
            let url = format!("git@h.example:{}", at("shop").display());
            Self { order: GitOrder { url, reference: "main".into(), submodules: true, ..GitOrder::default() }, dir }
        }

        fn git(&self) -> Git<'_> {
            let ssh = self.dir.path().join("ssh");
            if !ssh.exists() {
                // The last argument is what git wants to be run over there.
                testing::program(&ssh, "#!/bin/sh\nfor last; do :; done\nexec sh -c \"$last\"\n");
            }
            let access = Access::through(&ssh);
            Git::reached(&self.order, Box::leak(self.dir.path().join("cache").into_boxed_path()), access).unwrap()
        }

        fn resolve(&self) -> Result<String, Refusal> {
            match mirror::resolve(&self.git(), &self.order.reference, &[])? {
                super::super::order::Answer::Resolved { revision, .. } => Ok(revision),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn submodules_and_theirs_are_in_the_release_by_their_commits() {
        let scene = Scene::new("../one");
        let revision = scene.resolve().unwrap();
        let release = tempfile::tempdir().unwrap();
        let source = SourceOrder::Git(scene.order.clone());
        // From the mirrors alone: nothing is fetched any more.
        for name in ["shop", "one", "deep"] {
            std::fs::rename(scene.dir.path().join(name), scene.dir.path().join(format!("{name}-gone"))).unwrap();
        }
        let cache = scene.dir.path().join("cache");
        super::super::export::run(&testing::export(&source, &cache, &revision, release.path())).unwrap();
        let tree = testing::tree(release.path());
        for wanted in ["libs/one/name 644 one", "libs/one/deep/name 644 deep", "name 644 shop", "libs/one/artisan 755 "]
        {
            assert!(tree.iter().any(|line| line.starts_with(wanted)), "{wanted}: {tree:#?}");
        }
        // Without the setting their directories are empty, as after a plain clone.
        let bare = tempfile::tempdir().unwrap();
        let source = SourceOrder::Git(GitOrder { submodules: false, ..scene.order.clone() });
        super::super::export::run(&testing::export(&source, &cache, &revision, bare.path())).unwrap();
        assert_eq!(std::fs::read_dir(bare.path().join("libs/one")).unwrap().count(), 0);
    }

    #[test]
    fn a_submodule_that_would_run_or_read_something_here_is_refused() {
        let proof = tempfile::tempdir().unwrap();
        let marker = proof.path().join("was-run");
        for url in
            [format!("ext::touch {}", marker.display()), "/srv/git/x".into(), "file:///srv/x".into(), "-x".into()]
        {
            let scene = Scene::new(&url);
            let reason = scene.resolve().unwrap_err().reason().to_owned();
            // Git's own check of what is fetched may be the first to see it.
            assert!(
                reason.contains("the submodule libs/one") || reason.contains("disallowed submodule url"),
                "{reason}"
            );
            assert!(!marker.exists());
        }
    }
}
