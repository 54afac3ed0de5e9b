//! Looks at the shared paths and at whether the site is in maintenance mode. Changes nothing.

use std::{io::Read, os::fd::OwnedFd, path::Path};

use rustix::{fs::FileType, io::Errno};
use sha2::{Digest, Sha256};

use super::{
    order::{Answer, SharedFound, SharedKind, SharedPath},
    refusal::Refusal,
    rooted,
};

/// Larger files are no configuration: no digest is taken.
const MAX_DIGEST: u64 = 1024 * 1024;
/// With which an SQLite database begins (its file format, section 1.3): it changes by itself, so it has no digest.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Laravel's marker of `artisan down` (MaintenanceModeManager), below the shared paths.
const DOWN: (&str, &str) = ("storage/framework", "down");

/// Carries out [`super::order::Order::Survey`].
pub fn run(shared_root: &Path, shared: &[SharedPath]) -> Result<Answer, Refusal> {
    let root = match rooted::open(shared_root) {
        Ok(root) => root,
        // Before the first deployment.
        Err(_) if !shared_root.exists() => {
            let nothing = SharedFound { kind: None, digest: None, modified: None };
            return Ok(Answer::Surveyed { shared: vec![nothing; shared.len()], maintenance: false });
        }
        Err(refusal) => return Err(refusal),
    };
    let found = shared.iter().map(|path| look(&root, shared_root, &path.from)).collect::<Result<_, _>>()?;
    let down = rooted::open_dir(&root, DOWN.0).and_then(|dir| rooted::look(&dir, DOWN.1));
    Ok(Answer::Surveyed { shared: found, maintenance: matches!(down, Ok(Some(_))) })
}

fn look(root: &OwnedFd, top: &Path, path: &str) -> Result<SharedFound, Refusal> {
    let place = top.join(path);
    let mut parts = rooted::parts(path)?;
    let name = parts.pop().unwrap_or_default();
    let parent = if parts.is_empty() { rooted::open_dir(root, c".") } else { rooted::open_dir(root, parts.join("/")) };
    let stat = match parent.and_then(|parent| rooted::look(&parent, name)) {
        Ok(Some(stat)) => stat,
        Ok(None) | Err(Errno::NOENT) => return Ok(SharedFound { kind: None, digest: None, modified: None }),
        Err(error) => return Err(Refusal::io("look at", place, error)),
    };
    let modified = Some(stat.st_mtime);
    match rooted::kind(&stat) {
        FileType::Directory => Ok(SharedFound { kind: Some(SharedKind::Directory), digest: None, modified }),
        FileType::RegularFile => {
            let digest = digest(root, path).map_err(|error| {
                let user = rustix::process::geteuid().as_raw();
                Refusal::io("read", &place, error)
                    .or_remedy(format!("make {} readable for the app's user (uid {user})", place.display()))
            })?;
            Ok(SharedFound { kind: Some(SharedKind::File), digest, modified })
        }
        FileType::Symlink => Err(Refusal::with(
            format!("{} is a symbolic link, which is not followed", place.display()),
            "put the file or directory itself there, or bind-mount it",
        )),
        _ => Err(Refusal::with(
            format!("{} is neither a file nor a directory", place.display()),
            format!("remove it: rm {}", place.display()),
        )),
    }
}

fn digest(root: &OwnedFd, path: &str) -> Result<Option<String>, std::io::Error> {
    let (file, _) = rooted::open_file(root, path)?;
    let mut content = Vec::new();
    std::fs::File::from(file).take(MAX_DIGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_DIGEST || content.starts_with(SQLITE) {
        return Ok(None);
    }
    Ok(Some(hex::encode(Sha256::digest(&content))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> SharedPath {
        SharedPath { path: path.into(), from: path.into(), kind: SharedKind::File, required: false }
    }

    #[test]
    fn kinds_digests_and_maintenance() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("storage/framework")).unwrap();
        std::fs::create_dir(tree.path().join("database")).unwrap();
        std::fs::write(tree.path().join(".env"), "abc").unwrap();
        std::fs::write(tree.path().join("database/database.sqlite"), [SQLITE, b"rest"].concat()).unwrap();
        let asked = [".env", "storage", "database/database.sqlite", "absent/x"].map(path);
        let Answer::Surveyed { shared, maintenance } = run(tree.path(), &asked).unwrap() else { panic!() };
        let kinds: Vec<_> = shared.iter().map(|found| found.kind).collect();
        assert_eq!(kinds, [Some(SharedKind::File), Some(SharedKind::Directory), Some(SharedKind::File), None]);
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(shared[0].digest.as_deref(), Some(digest), "FIPS 180-2's example");
        assert!(shared[0].modified.unwrap() > 0);
        assert_eq!(shared[2].digest, None, "a database changes by itself");
        assert!(!maintenance);
        std::fs::write(tree.path().join("storage/framework/down"), "{}").unwrap();
        let Answer::Surveyed { maintenance, .. } = run(tree.path(), &[]).unwrap() else { panic!() };
        assert!(maintenance);
    }

    #[test]
    fn links_and_fifos_are_refused_without_blocking() {
        let tree = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root/etc", tree.path().join("magic")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, tree.path().join(".env"), rustix::fs::Mode::RWXU).unwrap();
        for bad in ["link", "magic", "magic/passwd", ".env", "../x", "/etc/passwd"] {
            assert!(run(tree.path(), &[path(bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_there_before_the_first_deployment() {
        let Answer::Surveyed { shared, .. } = run(Path::new("/nonexistent/shared"), &[path("x")]).unwrap() else {
            panic!()
        };
        assert_eq!(shared[0].kind, None);
    }
}
