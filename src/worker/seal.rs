//! Takes the manifest of a release: what makes it possible to say later that nothing in it has changed.

use std::{
    ffi::OsStr,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::{
    fs::{self, Mode},
    io::Errno,
};

use super::{
    exporter::{Compared, Exported},
    manifest,
    order::Answer,
    refusal::Refusal,
    rooted,
    walk::{self, EntryKind},
};

/// What nginx, another user, needs to pass and list the top of a release.
const PASSABLE: u32 = 0o055;

/// Carries out [`super::order::Order::Confine`].
pub fn confine(release: &Path, paths: &[String]) -> Result<Answer, Refusal> {
    let root = rooted::open(release)?;
    for path in paths {
        rooted::parts(path)?;
        match rooted::open_dir(&root, path.as_str()) {
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => {
                return Err(Refusal::with(
                    format!("{} is no directory of the release itself: {error}", release.join(path).display()),
                    "let the steps leave the directories of `writable` alone; a shared path needs no entry there",
                ));
            }
        }
    }
    Ok(Answer::Done { entries: 0 })
}

/// Carries out [`super::order::Order::Seal`]. What was `exported` and is as it was then is not read again.
pub fn run(release: &Path, cache: &Path, except: &[String], exported: Option<&Exported>) -> Result<Answer, Refusal> {
    confine(release, except)?;
    let root = rooted::open(release)?;
    let stat = fs::fstat(&root).map_err(|error| Refusal::io("look at", release, error))?;
    if stat.st_mode & PASSABLE != PASSABLE {
        fs::fchmod(&root, Mode::from_raw_mode(stat.st_mode & 0o7777 | PASSABLE))
            .map_err(|error| Refusal::io("change the mode of", release, error))?;
    }
    let mut entries = walk::list(root.as_fd(), release, except)?;
    let exported = exported.filter(|exported| exported.release == release);
    for entry in &mut entries {
        let EntryKind::File(size, id) = &mut entry.kind else { continue };
        let place = || release.join(OsStr::from_bytes(&entry.path)).display().to_string();
        if entry.mode & 0o6000 != 0 {
            return Err(Refusal::with(
                format!("{} is setuid or setgid", place()),
                "let the step that made it clear the bit: chmod u-s,g-s",
            ));
        }
        let Some(written) = exported.and_then(|exported| exported.files.get(&entry.path)) else { continue };
        match written.compare(*size, entry.mode, entry.stamp) {
            Compared::Same => *id = written.known.id,
            Compared::Replaced => {}
            Compared::SharedChanged => {
                return Err(Refusal::with(
                    format!("{} is one file with the release before, and was changed meanwhile", place()),
                    "let steps write a new file and rename it, or set share = \"reflink\" in [releases]",
                ));
            }
        }
    }
    walk::read_files(root.as_fd(), release, &mut entries)?;
    let (_, bytes) = walk::count(&entries);
    let manifest = manifest::save(cache, release, &entries)?;
    Ok(Answer::Sealed { manifest, files: entries.len() as u64, bytes })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn seal(path: &Path, except: &[String]) -> Result<Answer, Refusal> {
        let cache = tempfile::tempdir().unwrap();
        run(path, cache.path(), except, None)
    }

    fn manifest(path: &Path) -> String {
        match seal(path, &["views".into()]).unwrap() {
            Answer::Sealed { manifest, .. } => manifest,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_change_shows_but_those_in_excepted_directories() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path();
        std::fs::create_dir_all(path.join("views/deep")).unwrap();
        std::fs::write(path.join("a"), "1").unwrap();
        symlink("a", path.join("l")).unwrap();
        let first = manifest(path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o755, "nginx can pass");
        std::fs::write(path.join("views/deep/compiled"), "x").unwrap();
        assert_eq!(manifest(path), first);
        let changes: [(&str, &dyn Fn()); 5] = [
            ("content", &|| std::fs::write(path.join("a"), "2").unwrap()),
            ("mode", &|| std::fs::set_permissions(path.join("a"), PermissionsExt::from_mode(0o755)).unwrap()),
            ("a new entry", &|| std::fs::write(path.join("b"), "").unwrap()),
            ("a link's text", &|| {
                std::fs::remove_file(path.join("l")).unwrap();
                symlink("b", path.join("l")).unwrap();
            }),
            ("a name", &|| std::fs::rename(path.join("b"), path.join("c")).unwrap()),
        ];
        let mut before = first;
        for (what, change) in changes {
            change();
            let after = manifest(path);
            assert_ne!(after, before, "{what}");
            before = after;
        }
    }

    #[test]
    fn what_no_release_may_have_is_refused_by_name() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::write(tree.path().join("tool"), "x").unwrap();
        std::fs::set_permissions(tree.path().join("tool"), PermissionsExt::from_mode(0o4755)).unwrap();
        assert!(seal(tree.path(), &[]).unwrap_err().reason().contains("tool is setuid"));
        std::fs::remove_file(tree.path().join("tool")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("sock")).unwrap();
        assert!(seal(tree.path(), &[]).unwrap_err().reason().contains("sock"));
        assert!(seal(tree.path(), &["../x".into()]).is_err());
    }

    /// PID 1 follows a link there as root when it makes it writable for a slot.
    #[test]
    fn a_writable_path_that_leads_elsewhere_is_refused() {
        let tree = tempfile::tempdir().unwrap();
        let views = ["cache/views".to_owned()];
        assert!(confine(tree.path(), &views).is_ok(), "it is not there");
        std::fs::create_dir_all(tree.path().join("cache/views")).unwrap();
        assert!(confine(tree.path(), &views).is_ok());
        for (link, target) in [("cache/views", "/etc"), ("cache/views", "../../other"), ("cache", "/tmp")] {
            std::fs::remove_dir_all(tree.path().join("cache")).unwrap();
            if link != "cache" {
                std::fs::create_dir(tree.path().join("cache")).unwrap();
            }
            symlink(target, tree.path().join(link)).unwrap();
            for refused in [confine(tree.path(), &views), seal(tree.path(), &views)] {
                assert!(refused.unwrap_err().reason().contains("cache/views is no directory"), "{link} -> {target}");
            }
            if link == "cache" {
                std::fs::remove_file(tree.path().join(link)).unwrap();
            }
        }
    }
}
