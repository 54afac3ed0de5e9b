//! Git LFS with a stand-in for git-lfs, which copies what a repository of this host has: what is fetched, refused, released
//! and shared.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::*;
use crate::{
    model::Share,
    worker::{
        export::{self, Export},
        git_access::Access,
        order::{Answer, GitOrder, PreviousRelease, SourceOrder},
        seal, testing,
    },
};

/// `git lfs fetch --include= --exclude= file://PLACE REVISION`.
const STAND_IN: &str = "#!/bin/sh -eu\nplace=${4#file://}\n/bin/mkdir -p \"$GIT_DIR/lfs\"\n\
    exec /bin/cp -Ru \"$place/.git/lfs/objects\" \"$GIT_DIR/lfs/\"\n";

struct Scene {
    tree: tempfile::TempDir,
    order: GitOrder,
}

impl Scene {
    fn new(attributes: &str) -> Self {
        let tree = tempfile::tempdir().unwrap();
        for dir in ["source", "cache", "programs", "releases"] {
            std::fs::create_dir(tree.path().join(dir)).unwrap();
        }
        let source = tree.path().join("source");
        testing::repository(&source);
        std::fs::write(source.join(".gitattributes"), attributes).unwrap();
        for program in ["git", "prlimit"] {
            let places = ["/usr/local/bin", "/usr/bin"].map(|dir| Path::new(dir).join(program));
            let place = places.iter().find(|place| place.exists()).unwrap();
            std::os::unix::fs::symlink(place, tree.path().join("programs").join(program)).unwrap();
        }
        let url = source.to_str().unwrap().to_owned();
        let scene = Self { order: GitOrder { url, reference: "main".into(), ..GitOrder::default() }, tree };
        scene.install();
        scene
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.path().join(path)
    }

    fn install(&self) {
        testing::program(&self.path("programs/git-lfs"), STAND_IN);
    }

    /// Writes a file as a commit by git-lfs has it, and its content where a push leaves it.
    fn track(&self, path: &str, content: &str) -> String {
        let oid = hex::encode(Sha256::digest(content));
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len());
        std::fs::create_dir_all(self.path("source").join(path).parent().unwrap()).unwrap();
        std::fs::write(self.path("source").join(path), &text).unwrap();
        let object = format!("lfs/objects/{}/{}/{oid}", &oid[..2], &oid[2..4]);
        let file = self.path("source/.git").join(&object);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
        object
    }

    fn resolve(&self) -> Result<String, Refusal> {
        let cache = self.path("cache");
        let git = Git::reached(&self.order, &cache, Access::with_programs(&self.path("programs")))?;
        match mirror::resolve(&git, &self.order.reference, &[])? {
            Answer::Resolved { revision, .. } => Ok(revision),
            other => panic!("{other:?}"),
        }
    }

    fn release(&self, name: &str, revision: &str, before: Option<&PreviousRelease>) -> Result<Released, Refusal> {
        let (release, cache) = (self.path("releases").join(name), self.path("cache"));
        std::fs::create_dir(&release).unwrap();
        let source = SourceOrder::Git(self.order.clone());
        let plain = testing::export(&source, &cache, revision, &release);
        let (answer, written) = export::run(&Export { previous: before, share: Share::Hardlink, ..plain })?;
        let Answer::Exported { shared, .. } = answer else { panic!("{answer:?}") };
        let Answer::Sealed { manifest, .. } = seal::run(&release, &cache, &[], Some(&written))? else { panic!() };
        let content = |path: &str| std::fs::read_to_string(release.join(path)).unwrap();
        let (hero, other) = (content("img/hero.bin"), content("img/other.bin"));
        Ok(Released { hero, other, shared, previous: PreviousRelease { release, manifest } })
    }
}

struct Released {
    hero: String,
    other: String,
    shared: u64,
    previous: PreviousRelease,
}

fn told(refusal: Refusal) -> (String, String) {
    let Answer::Refused { reason, remedy } = refusal.into() else { panic!() };
    (reason, remedy.unwrap_or_default())
}

const TRACKED: &str = "[attr]large filter=lfs diff=lfs merge=lfs -text\n*.bin large\n";

#[test]
fn what_is_in_lfs_is_released_as_its_content_and_shared_while_its_pointer_is_the_same() {
    // With the second one git converts content itself: the tree is read from its archive.
    for attributes in [TRACKED.to_owned(), format!("{TRACKED}*.bat text eol=crlf\ntests export-ignore\n")] {
        let scene = Scene::new(&attributes);
        scene.track("img/hero.bin", "the hero\r\n$Id$");
        scene.track("img/other.bin", "one");
        std::fs::write(scene.path("source/img/plain.bin"), "committed without git-lfs").unwrap();
        testing::commit(&scene.path("source"), "images");
        let revision = scene.resolve().unwrap();
        let first = scene.release("1", &revision, None).unwrap();
        assert_eq!((&*first.hero, &*first.other, first.shared), ("the hero\r\n$Id$", "one", 0));
        let plain = scene.path("releases/1/img/plain.bin");
        assert_eq!(std::fs::read_to_string(plain).unwrap(), "committed without git-lfs");

        scene.track("img/other.bin", "two");
        testing::commit(&scene.path("source"), "another");
        let revision = scene.resolve().unwrap();
        let second = scene.release("2", &revision, Some(&first.previous)).unwrap();
        // artisan, .gitattributes, public/index.php, img/hero.bin and img/plain.bin; of the pointers only one changed.
        assert_eq!((&*second.hero, &*second.other, second.shared), ("the hero\r\n$Id$", "two", 5));

        // Again, with neither the repository nor git-lfs: the mirror has all of it.
        std::fs::remove_dir_all(scene.path("source")).unwrap();
        std::fs::remove_file(scene.path("programs/git-lfs")).unwrap();
        let known = Scene { order: GitOrder { reference: revision.clone(), ..scene.order.clone() }, ..scene };
        assert_eq!(known.resolve().unwrap(), revision);
        assert_eq!(known.release("3", &revision, None).unwrap().other, "two");
    }
}

#[test]
fn without_git_lfs_it_is_refused_and_pointers_are_released_only_when_asked_for() {
    let mut scene = Scene::new(TRACKED);
    scene.track("img/hero.bin", "the hero");
    let object = scene.track("img/other.bin", "one");
    testing::commit(&scene.path("source"), "images");
    std::fs::remove_file(scene.path("programs/git-lfs")).unwrap();
    for _ in 0..2 {
        let (reason, remedy) = told(scene.resolve().unwrap_err());
        assert!(reason.contains("2 files") && reason.contains("img/hero.bin, img/other.bin"), "{reason}");
        assert!(remedy.contains("install git-lfs") && remedy.contains("lfs = false"), "{remedy}");
    }
    scene.order.lfs_pointers = true;
    let revision = scene.resolve().unwrap();
    let first = scene.release("1", &revision, None).unwrap();
    assert!(first.hero.starts_with("version https://git-lfs") && !scene.path("cache/git/lfs").exists());

    // The same commit with its contents: that the pointer's object did not change says nothing of the file.
    scene.order.lfs_pointers = false;
    scene.install();
    std::fs::remove_file(scene.path("source/.git").join(&object)).unwrap();
    let (reason, remedy) = told(scene.resolve().unwrap_err());
    assert!(reason.contains("1 files") && reason.contains("img/other.bin"), "{reason}");
    assert!(remedy.contains("git lfs push --all"), "{remedy}");
    scene.track("img/other.bin", "one");
    scene.resolve().unwrap();
    let second = scene.release("2", &revision, Some(&first.previous)).unwrap();
    assert_eq!((&*second.hero, &*second.other, second.shared), ("the hero", "one", 3));
}

#[test]
fn a_content_that_its_pointer_does_not_name_is_refused_and_fetched_anew() {
    let scene = Scene::new(TRACKED);
    scene.track("img/hero.bin", &"h".repeat(3 << 20));
    let object = scene.track("img/other.bin", "one");
    testing::commit(&scene.path("source"), "images");
    let revision = scene.resolve().unwrap();
    for (number, evil) in ["eno", "longer than it was"].into_iter().enumerate() {
        let kept = scene.path("cache/git").join(&object);
        std::fs::write(&kept, evil).unwrap();
        let refused = scene.release(&format!("bad{number}"), &revision, None).map(drop).unwrap_err();
        assert!(refused.reason().contains("img/other.bin") && refused.reason().contains("its pointer"), "{refused}");
        assert!(!kept.exists());
        scene.resolve().unwrap();
        assert_eq!(scene.release(&format!("good{number}"), &revision, None).unwrap().other, "one");
    }
    let kept = scene.path("cache/git").join(&object);
    std::fs::remove_file(&kept).unwrap();
    std::os::unix::fs::symlink(scene.path("source/artisan"), &kept).unwrap();
    assert!(scene.release("linked", &revision, None).is_err(), "no link is followed");
}

#[test]
fn a_server_that_sends_more_than_the_pointers_say_is_cut_off_and_what_does_not_fit_is_not_fetched() {
    let scene = Scene::new(TRACKED);
    scene.track("img/hero.bin", &"h".repeat(100_000));
    scene.track("img/other.bin", "one");
    testing::commit(&scene.path("source"), "images");
    let written = scene.path("cache/git/lfs/incomplete/half");
    let endless = "#!/bin/sh\n/bin/mkdir -p \"$GIT_DIR/lfs/incomplete\"\n\
                   /usr/bin/head -c 3000000 /dev/zero > \"$GIT_DIR/lfs/incomplete/half\"\nstatus=$?\n\
                   /usr/bin/stat -c %s \"$GIT_DIR/lfs/incomplete/half\" > \"$GIT_DIR/../size\"\nexit $status\n";
    testing::program(&scene.path("programs/git-lfs"), endless);
    let (reason, remedy) = told(scene.resolve().unwrap_err());
    assert!(reason.contains("sends more than their pointers say"), "{reason}");
    assert!(remedy.contains("nothing of it was kept") && !written.exists(), "{remedy}");
    let size: u64 = std::fs::read_to_string(scene.path("cache/size")).unwrap().trim().parse().unwrap();
    assert_eq!(size, 100_000 + OTHER, "as much as the largest content may be");

    // It would be more than any disk has; git-lfs is not even started.
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:OID\nsize 4611686018427387904\n";
    std::fs::write(scene.path("source/img/huge.bin"), pointer.replace("OID", &"0".repeat(64))).unwrap();
    testing::commit(&scene.path("source"), "huge");
    std::fs::remove_file(scene.path("cache/size")).unwrap();
    let (reason, remedy) = told(scene.resolve().unwrap_err());
    assert!(reason.contains("MiB free") && reason.contains("img/huge.bin"), "{reason}");
    assert!(remedy.contains("make room") && !scene.path("cache/size").exists(), "{remedy}");
}

#[test]
fn the_token_is_for_the_question_and_for_the_contents_only_where_the_answer_brings_nothing() {
    let scene = Scene::new(TRACKED);
    std::fs::create_dir_all(scene.path("cache/git")).unwrap();
    std::fs::create_dir(scene.path("secrets")).unwrap();
    std::fs::write(scene.path("secrets/source-token"), "s3cret").unwrap();
    let order = GitOrder { url: "https://h.example/acme/shop.git".into(), ..GitOrder::default() };
    let access = Access::handed(&order, &scene.path("secrets"), &scene.path("programs")).unwrap();
    let cache = scene.path("cache");
    let git = Git::reached(&order, &cache, access).unwrap();
    let note = "#!/bin/sh\necho \"$GIT_CONFIG_KEY_0\" >> \"$GIT_DIR/../asked\"\n";
    let lacking = [("img/hero.bin".to_owned(), Pointer { oid: "0".repeat(64), size: 7 })];
    let place = "https://h.example/acme/shop.git/info/lfs";
    let ask = |then: &str, place: &str| {
        testing::program(&scene.path("programs/git-lfs"), &format!("{note}{then}\n"));
        let ended = contents(&git, &"0".repeat(40), place, &lacking).unwrap();
        let asked = std::fs::read_to_string(scene.path("cache/asked")).unwrap();
        std::fs::remove_file(scene.path("cache/asked")).unwrap();
        (ended.is_ok(), asked)
    };
    let question = format!("http.{place}/objects/batch.extraHeader\n");
    let all = "http.https://h.example/.extraHeader\n";
    assert_eq!(ask("exit 0", place), (true, question.clone()));
    assert_eq!(ask("exit 2", place), (false, format!("{question}{all}")));
    assert!(ask("test \"$GIT_CONFIG_KEY_0\" = http.https://h.example/.extraHeader", place).0);
    for other in ["https://lfs.example/acme/shop", "https://h.example/other/shop"] {
        assert_eq!(ask("exit 2", other), (false, "\n".to_owned()), "{other}");
    }
}

#[test]
fn a_key_goes_to_no_place_that_only_a_commit_names() {
    let scene = Scene::new(TRACKED);
    std::fs::create_dir(scene.path("secrets")).unwrap();
    std::fs::write(scene.path("secrets/source-ssh-key"), "s3cret").unwrap();
    let order = GitOrder { url: "git@h.example:acme/shop.git".into(), ..GitOrder::default() };
    let access = Access::handed(&order, &scene.path("secrets"), &scene.path("programs")).unwrap();
    let cache = scene.path("cache");
    let source = Git::reached(&order, &cache, access).unwrap();
    let has_key = |git: &Git<'_>, place: &str| {
        let command = git.lfs_command(&["lfs"], &Lfs { place, asks: Asks::Where, largest: 7 }).unwrap();
        let mut set = command.get_envs().filter(|(name, _)| *name == "GIT_SSH_COMMAND");
        let ssh = set.next().unwrap().1.unwrap().to_str().unwrap();
        assert_eq!(git.withholds_at(place), !ssh.contains("source-ssh-key"), "{place}");
        ssh.contains("source-ssh-key")
    };
    let (own, beside) = ("git@h.example:acme/shop.git", "ssh://git@h.example/acme/assets.git");
    assert!(has_key(&source, own) && has_key(&source, beside));
    for other in ["ssh://git@h.example/other/secret", "git@lfs.example:acme/shop", "ssh://root@h.example/acme/shop"] {
        assert!(!has_key(&source, other), "{other}");
    }
    // What a submodule names is no way back to what was withheld from it.
    let module = source.module("git@lfs.example:acme/lib", &cache).unwrap();
    assert!(!has_key(&module, "git@lfs.example:acme/lib") && !has_key(&module, own));
}

#[test]
fn contents_are_where_the_repository_or_its_lfsconfig_says_and_never_where_that_reads_this_host() {
    let scene = Scene::new(TRACKED);
    let cache = scene.path("cache");
    let revision = scene.resolve().unwrap();
    for (url, expected) in [
        ("https://h.example/acme/shop.git", "https://h.example/acme/shop.git/info/lfs"),
        ("https://h.example/acme/shop/", "https://h.example/acme/shop.git/info/lfs"),
        ("git@h.example:acme/shop.git", "git@h.example:acme/shop.git"),
        ("/srv/git/shop.git", "file:///srv/git/shop.git"),
    ] {
        assert_eq!(place(&Git::new(url, &cache).unwrap(), &revision).unwrap(), expected);
    }
    for (written, good) in [
        ("https://lfs.example/acme/shop", true),
        ("ssh://git@lfs.example/acme/shop", true),
        ("file:///srv/other/.git", false),
        ("/srv/other", false),
        ("https://user:secret@lfs.example/x", false),
        ("ssh://-oProxyCommand=x/y", false),
        ("backup@nas:x|touch${IFS}y", false),
        ("ssh://git@lfs.example/x%20y", false),
        ("ssh://git@lfs.example/$(id)", false),
        ("http://lfs.example/acme", false),
    ] {
        let text =
            format!("[lfs]\n\turl = {written}\n\tfetchexclude = img\n[lfs \"customtransfer.x\"]\n\tpath = /bin/sh\n");
        std::fs::write(scene.path("source/.lfsconfig"), text).unwrap();
        testing::commit(&scene.path("source"), "elsewhere");
        let revision = scene.resolve().unwrap();
        let found = place(&Git::new(&scene.order.url, &cache).unwrap(), &revision);
        match found {
            Ok(found) => assert!(good && found == written, "{written}: {found}"),
            Err(refused) => assert!(!good && !refused.to_string().contains("secret"), "{written}: {refused}"),
        }
    }
}
