//! Sharing with the release before, on whatever file system the tests' directory is: what is shared, and what is never.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    export::{self, Export},
    exporter::Exported,
    git::Git,
    mirror,
    order::{Answer, GitOrder, PreviousRelease, SourceOrder},
    refusal::Refusal,
    seal, testing,
};
use crate::model::Share;

struct Site {
    tree: tempfile::TempDir,
    share: Share,
    source: SourceOrder,
}

impl Site {
    fn new(share: Share, git: bool) -> Self {
        let tree = tempfile::tempdir().unwrap();
        for dir in ["source", "cache", "releases"] {
            std::fs::create_dir(tree.path().join(dir)).unwrap();
        }
        let path = tree.path().join("source");
        testing::repository(&path);
        let url = path.to_str().unwrap().to_owned();
        let source = match git {
            true => SourceOrder::Git(GitOrder { url, reference: "main".into(), ..GitOrder::default() }),
            false => {
                std::fs::remove_dir_all(path.join(".git")).unwrap();
                SourceOrder::Directory { path, exclude: Vec::new() }
            }
        };
        Self { tree, share, source }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.tree.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path("source").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn revision(&self) -> String {
        let answer = match &self.source {
            SourceOrder::Git(GitOrder { url, .. }) => {
                testing::commit(&self.path("source"), "next");
                let cache = self.path("cache");
                mirror::resolve(&Git::new(url, &cache).unwrap(), "main", &[])
            }
            SourceOrder::Directory { path, exclude } => {
                super::directory::resolve(path, exclude, &self.path("cache"), &[])
            }
            SourceOrder::Archive(_) => unreachable!("no archive is made here"),
        };
        match answer.unwrap() {
            Answer::Resolved { revision, .. } => revision,
            other => panic!("{other:?}"),
        }
    }

    /// Exports into `releases/NAME`, sharing with another release; how many files are shared.
    fn export(&self, name: &str, previous: Option<&PreviousRelease>) -> Result<(u64, Exported), Refusal> {
        let (release, cache) = (self.path("releases").join(name), self.path("cache"));
        std::fs::create_dir(&release).unwrap();
        let (writable, own, revision) = (["views".to_owned()], ["own".to_owned()], self.revision());
        let plain = testing::export(&self.source, &cache, &revision, &release);
        let order = Export { writable: &writable, own: &own, previous, share: self.share, ..plain };
        let (answer, exported) = export::run(&order)?;
        let Answer::Exported { shared, .. } = answer else { panic!("{answer:?}") };
        Ok((shared, exported))
    }

    fn seal(&self, exported: Option<&Exported>, name: &str) -> Result<PreviousRelease, Refusal> {
        let release = self.path("releases").join(name);
        match seal::run(&release, &self.path("cache"), &["views".into()], exported)? {
            Answer::Sealed { manifest, .. } => Ok(PreviousRelease { release, manifest }),
            other => panic!("{other:?}"),
        }
    }

    fn make(&self, name: &str, previous: Option<&PreviousRelease>) -> (u64, PreviousRelease) {
        let (shared, exported) = self.export(name, previous).unwrap();
        (shared, self.seal(Some(&exported), name).unwrap())
    }

    fn inode(&self, release: &str, path: &str) -> u64 {
        self.path("releases").join(release).join(path).metadata().unwrap().ino()
    }

    fn content(&self, release: &str, path: &str) -> String {
        std::fs::read_to_string(self.path("releases").join(release).join(path)).unwrap()
    }
}

/// Writes in place what root could always write, and a file's owner after a chmod.
fn scribble(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"changed").unwrap();
}

#[test]
fn what_did_not_change_is_shared_and_what_did_is_new() {
    for (share, git) in
        [(Share::Hardlink, true), (Share::Hardlink, false), (Share::Reflink, true), (Share::Reflink, false)]
    {
        let site = Site::new(share, git);
        let large = "x".repeat(3 << 20);
        for (path, content) in
            [("a/same", "same"), ("a/other", "one"), ("own/x", "own"), ("views/x", "view"), ("large", &large)]
        {
            site.write(path, content);
        }
        let (shared, first) = site.make("1", None);
        assert_eq!(shared, 0);
        site.write("a/other", "two");
        site.write("new", "new");
        let (shared, second) = site.make("2", Some(&first));
        // artisan, public/index.php, a/same, own/x, large, and views/x, which has no manifest.
        // A large file that was written to learn its content stays where nothing would be saved.
        let spared = |shared, all: u64| shared == all || (!git && share == Share::Reflink && shared == all - 1);
        assert!(spared(shared, 5), "{share:?} git: {git}: {shared}");
        let linked = share == Share::Hardlink;
        for path in ["a/same", "artisan", "large"] {
            assert_eq!(site.inode("1", path) == site.inode("2", path), linked, "{path}");
            assert_eq!(site.content("1", path), site.content("2", path));
        }
        for path in ["own/x", "views/x", "a/other"] {
            assert_ne!(site.inode("1", path), site.inode("2", path), "{path} is the release's own");
        }
        assert_eq!((site.content("1", "a/other"), site.content("2", "a/other")), ("one".into(), "two".into()));
        let mode = |path: &str| site.path("releases/2").join(path).metadata().unwrap().mode() & 0o777;
        let expected = if linked { [0o444, 0o555, 0o644] } else { [0o644, 0o755, 0o644] };
        assert_eq!([mode("a/same"), mode("artisan"), mode("own/x")], expected);
        assert!(!site.path("releases/2/.deployd-aside").exists());
        let (shared, _) = site.make("3", Some(&second));
        assert!(spared(shared, 7), "{share:?} git: {git}: {shared}");
    }
}

/// A step or the app has written into the release before: its content is not what the manifest says.
#[test]
fn what_was_changed_in_place_is_never_shared() {
    for share in [Share::Hardlink, Share::Reflink] {
        let site = Site::new(share, true);
        site.write("kept", "kept");
        site.write("step", "step");
        let (_, exported) = site.export("1", None).unwrap();
        let release = site.path("releases/1");
        scribble(&release.join("step"));
        let first = site.seal(Some(&exported), "1").unwrap();
        let (written, times) = (release.join("kept"), release.join("kept").metadata().unwrap());
        if share == Share::Reflink {
            // Of the same size, and with its time set back: the change time tells.
            std::fs::write(&written, "evil").unwrap();
            let modified = std::fs::FileTimes::new().set_modified(times.modified().unwrap());
            std::fs::File::options().write(true).open(&written).unwrap().set_times(modified).unwrap();
        } else {
            scribble(&written);
        }
        let (shared, _) = site.make("2", Some(&first));
        assert_eq!((site.content("2", "kept"), site.content("2", "step")), ("kept".into(), "step".into()), "{share:?}");
        assert_eq!(shared, 2, "artisan and public/index.php");
    }
}

#[test]
fn a_link_that_was_written_through_fails_the_seal() {
    let site = Site::new(Share::Hardlink, true);
    site.write("file", "file");
    site.write("renamed", "renamed");
    let (_, first) = site.make("1", None);
    let (_, exported) = site.export("2", Some(&first)).unwrap();
    // What a step does well: a new file in the place of the linked one.
    let release = site.path("releases/2");
    std::fs::write(release.join("beside"), "new").unwrap();
    std::fs::rename(release.join("beside"), release.join("renamed")).unwrap();
    site.seal(Some(&exported), "2").unwrap();
    assert_eq!(site.content("1", "renamed"), "renamed");
    scribble(&release.join("file"));
    let refused = site.seal(Some(&exported), "2").unwrap_err();
    assert!(refused.reason().contains("releases/2/file is one file with the release before"), "{refused}");
    std::fs::remove_dir_all(&release).unwrap();
    let (_, exported) = site.export("2", None).unwrap();
    scribble(&release.join("file"));
    site.seal(Some(&exported), "2").unwrap();
}

#[test]
fn without_the_recorded_manifest_nothing_is_shared() {
    let site = Site::new(Share::Hardlink, true);
    let (_, first) = site.make("1", None);
    let other = PreviousRelease { manifest: "0".repeat(64), ..first.clone() };
    assert_eq!(site.make("2", Some(&other)).0, 0);
    std::fs::write(site.path("cache/manifests/1"), "deployd manifest 1\0").unwrap();
    assert_eq!(site.make("3", Some(&first)).0, 0);
}

/// The seal takes from the export what it need not read, and reads all else: both give one manifest but for the names
/// of contents.
#[test]
fn the_seal_sees_every_change_since_the_export() {
    let site = Site::new(Share::Reflink, false);
    site.write("a", "one");
    let (_, exported) = site.export("1", None).unwrap();
    let remembered = site.seal(Some(&exported), "1").unwrap();
    assert_eq!(site.seal(None, "1").unwrap(), remembered, "read again, the same");
    let path = site.path("releases/1/a");
    let times = std::fs::FileTimes::new().set_modified(path.metadata().unwrap().modified().unwrap());
    std::fs::write(&path, "two").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    assert_ne!(site.seal(Some(&exported), "1").unwrap(), remembered);
    let text = std::fs::read(site.path("cache/manifests/1")).unwrap();
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest("two"));
    assert!(text.windows(64).any(|window| window == digest.as_bytes()));
}

/// What steps made in the release before: brought whole or not at all, and never by links.
#[test]
fn what_steps_made_is_carried_as_it_was_sealed_or_not_at_all() {
    let site = Site::new(Share::Hardlink, true);
    site.write("composer.lock", "1");
    let (_, exported) = site.export("1", None).unwrap();
    let vendor = site.path("releases/1/vendor");
    std::fs::create_dir_all(vendor.join("bin")).unwrap();
    std::fs::write(vendor.join("a.php"), "a").unwrap();
    std::os::unix::fs::symlink("../a.php", vendor.join("bin/a")).unwrap();
    let first = site.seal(Some(&exported), "1").unwrap();
    let (carry, compare) =
        (["vendor".to_owned(), "absent".to_owned()], ["composer.lock".to_owned(), "none".to_owned()]);
    let carried = |name: &str| {
        let (release, cache) = (site.path("releases").join(name), site.path("cache"));
        std::fs::create_dir(&release).unwrap();
        let revision = site.revision();
        let plain = testing::export(&site.source, &cache, &revision, &release);
        let order = Export { carry: &carry, compare: &compare, previous: Some(&first), share: site.share, ..plain };
        match export::run(&order).unwrap().0 {
            Answer::Exported { carried, unchanged, .. } => (carried, unchanged),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(carried("2"), (vec!["vendor".to_owned()], vec!["composer.lock".to_owned()]));
    let tree = |release: &str| testing::tree(&site.path("releases").join(release).join("vendor"));
    assert_eq!(tree("2"), ["a.php 644 a", "bin/ 755", "bin/a -> ../a.php"]);
    assert_ne!(site.inode("1", "vendor/a.php"), site.inode("2", "vendor/a.php"));
    site.write("composer.lock", "2");
    assert_eq!(carried("3").1, [""; 0]);
    scribble(&vendor.join("a.php"));
    assert_eq!(carried("4").0, [""; 0]);
    assert!(!site.path("releases/4/vendor").exists());
    site.write("vendor/own", "the source's");
    assert_eq!(carried("5").0, [""; 0]);
    assert_eq!(tree("5"), ["own 644 the source's"]);
}

#[test]
fn attributes_leave_out_and_convert_as_git_archive_does() {
    let site = Site::new(Share::Hardlink, true);
    site.write(".gitattributes", "* text=auto eol=lf\n/tests export-ignore\n*.md export-ignore\n");
    site.write("deep/.gitattributes", "secret export-ignore\n");
    for path in ["tests/a/b", "README.md", "deep/secret", "deep/kept", "deep/tests/kept"] {
        site.write(path, path);
    }
    let (_, first) = site.make("1", None);
    let names = |release: &str| {
        let all = testing::tree(&site.path("releases").join(release));
        all.iter().filter(|line| !line.contains('/') || line.starts_with("deep")).cloned().collect::<Vec<_>>()
    };
    let found = names("1");
    for (path, there) in
        [("tests", false), ("README", false), ("deep/secret", false), ("deep/kept", true), ("deep/tests/kept", true)]
    {
        assert_eq!(found.iter().any(|line| line.starts_with(path)), there, "{path} in {found:?}");
    }
    site.write(".gitattributes", "version export-subst\n");
    site.write("version", "$Format:%s$");
    let (shared, second) = site.make("2", Some(&first));
    assert_eq!((site.content("2", "version").as_str(), shared), ("next", 0), "other names of the same contents");
    let files = testing::tree(&site.path("releases/2"))
        .iter()
        .filter(|line| !line.contains("/ ") && !line.contains(" -> "))
        .count();
    assert_eq!(site.make("3", Some(&second)).0, files as u64, "by content now");
}
