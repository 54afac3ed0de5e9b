//! What tidying takes and what it leaves.

use std::fs::File;

use super::*;
use crate::worker::testing;

const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

struct Scene {
    tree: tempfile::TempDir,
    commits: Vec<String>,
}

impl Scene {
    /// A repository with three commits, mirrored; the second one is on no branch.
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        let (source, cache) = (tree.path().join("source"), tree.path().join("cache"));
        std::fs::create_dir(&source).unwrap();
        std::fs::create_dir(&cache).unwrap();
        testing::repository(&source);
        let first = testing::git(&source, &["rev-parse", "HEAD"]);
        let second = testing::commit(&source, "second");
        testing::git(&source, &["update-ref", "refs/pull/7/head", &second]);
        testing::git(&source, &["reset", "-q", "--hard", &first]);
        let third = testing::commit(&source, "third");
        let scene = Self { tree, commits: vec![first, second, third] };
        for reference in ["main", "refs/pull/7/head", "HEAD", &scene.commits[1]] {
            mirror::resolve(&scene.git(), reference, &[]).unwrap();
        }
        scene
    }

    fn git(&self) -> Git<'_> {
        let url: &str = Box::leak(self.tree.path().join("source").to_str().unwrap().to_owned().into_boxed_str());
        Git::new(url, Box::leak(self.tree.path().join("cache").into_boxed_path())).unwrap()
    }

    fn references(&self) -> usize {
        testing::git(&self.git().mirror(), &["for-each-ref"]).lines().count()
    }

    fn tidy(&self, kept: &[usize]) -> u64 {
        let kept: Vec<String> = kept.iter().map(|number| self.commits[*number].clone()).collect();
        let Answer::Done { entries } = run(&self.git(), &kept).unwrap() else { panic!() };
        entries
    }
}

fn age(path: &Path) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - RECENT - Duration::from_secs(60)).unwrap();
}

#[test]
fn references_of_no_kept_release_go_and_can_be_asked_for_again() {
    let scene = Scene::new();
    assert_eq!(scene.references(), 4, "main, the request, the default branch, the commit");
    let asked = format!("refs/deployd/commits/{}", scene.commits[1]);
    assert_eq!(scene.tidy(&[0]), 0, "a deployment that is under way has just asked for it");
    for reference in ["refs/pull/7/head", &asked] {
        age(&scene.git().mirror().join(reference));
    }
    assert_eq!(scene.tidy(&[0, 1]), 0);
    mirror::resolve(&scene.git(), &scene.commits[1], &[]).unwrap();
    assert_eq!(scene.tidy(&[0]), 1, "the commit was asked for again");
    age(&scene.git().mirror().join(&asked));
    assert_eq!(scene.tidy(&[0]), 1);
    assert_eq!(scene.references(), 2);
    assert!(mirror::resolve(&scene.git(), "refs/pull/7/head", &[]).is_ok());
}

#[test]
fn contents_of_lfs_stay_while_a_list_names_them() {
    let scene = Scene::new();
    let git = scene.git();
    let place = git.mirror().join("lfs/objects/4d/7a");
    std::fs::create_dir_all(&place).unwrap();
    let (kept, other) = (place.join(OID), place.join(OID.replace('4', "5")));
    for object in [&kept, &other] {
        std::fs::write(object, "x").unwrap();
    }
    let half = git.mirror().join("lfs/incomplete/half");
    std::fs::create_dir_all(half.parent().unwrap()).unwrap();
    std::fs::write(&half, "x").unwrap();
    let list = git.lfs_lists().join(&scene.commits[0]);
    std::fs::write(&list, format!("{OID} 1 hero.bin\nend\n")).unwrap();
    scene.tidy(&[0]);
    assert!(kept.exists() && !other.exists() && !half.exists());
    // A deployment that is under way has looked at it: it is in no record yet.
    scene.tidy(&[1]);
    assert!(kept.exists() && list.exists());
    age(&list);
    scene.tidy(&[1]);
    assert!(!kept.exists() && !list.exists());
}

#[test]
fn mirrors_of_submodules_that_no_kept_commit_has_go_after_a_while() {
    let mut scene = Scene::new();
    scene.tidy(&[]);
    let source = scene.tree.path().join("source");
    let commit = |url: &str, number: usize| {
        let text = format!("[submodule \"lib\"]\n\tpath = lib\n\turl = {url}\n");
        std::fs::write(source.join(".gitmodules"), text).unwrap();
        testing::git(&source, &["add", ".gitmodules"]);
        let entry = format!("160000,{},lib", scene.commits[number]);
        testing::git(&source, &["update-index", "--add", "--cacheinfo", &entry]);
        testing::git(&source, &["commit", "-q", "-m", "submodule"]);
        testing::git(&source, &["rev-parse", "HEAD"])
    };
    let commits = ["https://h.example/one", "https://h.example/two"].map(|url| commit(url, 0));
    scene.commits = commits.into();
    let git = scene.git();
    mirror::resolve(&git, "main", &[]).unwrap();
    let cache = |number: usize| {
        let module = submodules::of(&git, &scene.commits[number]).unwrap().remove(0);
        git.modules().join(module.cache_name())
    };
    let (one, two) = (cache(0), cache(1));
    for dir in [&one, &two] {
        std::fs::create_dir_all(dir).unwrap();
        File::create(dir.join("git.lock")).unwrap();
    }
    assert_eq!(scene.tidy(&[1]), 0, "the other one was of use just now");
    age(&one.join("git.lock"));
    assert_eq!(scene.tidy(&[0, 1]), 0);
    assert_eq!(scene.tidy(&[1]), 1);
    assert!(!one.exists() && two.exists());
}
