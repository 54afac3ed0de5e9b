//! Links the shared paths into a release: by relative links, so that the tree can be mounted elsewhere.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{self, FileType, Mode},
    io::Errno,
};

use super::{
    empty,
    order::{Answer, SharedKind, SharedPath},
    refusal::Refusal,
    rooted,
    shared::Shared,
};

/// Carries out [`super::order::Order::Link`].
pub fn run(release: &Path, shared_root: &Path, shared: &[SharedPath], run_as: Option<u32>) -> Result<Answer, Refusal> {
    let root = rooted::open(release)?;
    let side = Shared { root: rooted::open(shared_root)?, top: shared_root, run_as };
    let mut adopted = Vec::new();
    for path in shared {
        if link(&root, release, &side, path)? {
            adopted.push(path.path.clone());
        }
    }
    Ok(Answer::Linked { adopted })
}

/// One path; returns whether the release's own became the shared one.
fn link(root: &OwnedFd, release: &Path, side: &Shared<'_>, path: &SharedPath) -> Result<bool, Refusal> {
    let place = release.join(&path.path);
    let mut parts = rooted::parts(&path.path)?;
    let name = parts.pop().unwrap_or_default();
    let (parent, _) = rooted::make_dirs(root, &parts, Mode::from_raw_mode(0o755)).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => Refusal::with(
            format!("{} lies below a link or a file of the release", place.display()),
            "share either the directory or what is in it, and keep links out of the repository there",
        ),
        error => Refusal::io("make the directory of", &place, error),
    })?;
    let target = relative(&release.join(parts.join("/")), &side.top.join(&path.from));
    let own = rooted::look(&parent, name).map_err(|error| Refusal::io("look at", &place, error))?;
    let own = own.map(|stat| rooted::kind(&stat));
    let from = match (own, path.kind) {
        (Some(FileType::Directory), SharedKind::Directory) | (Some(FileType::RegularFile), SharedKind::File) => {
            Some((&parent, name, place.as_path()))
        }
        (None | Some(FileType::Symlink), _) => None,
        (Some(_), _) => {
            let is = if path.kind == SharedKind::File { "file" } else { "directory" };
            return Err(Refusal::with(
                format!("{} is shared as a {is}, and the release has something else there", place.display()),
                "correct [shared] in the app's configuration, or the repository",
            ));
        }
    };
    let adopted = side.prepare(path, from)?;
    if own == Some(FileType::Symlink) {
        let found = fs::readlinkat(&parent, name, Vec::new()).map_err(|error| Refusal::io("read", &place, error))?;
        if found.to_bytes() == target.as_os_str().as_encoded_bytes() {
            return Ok(adopted);
        }
    }
    empty::entry(parent.as_fd(), name, &place)?;
    fs::symlinkat(&target, &parent, name).map_err(|error| Refusal::io("make the link", &place, error))?;
    Ok(adopted)
}

/// The way from a directory to a path; both absolute and in normal form.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let names = |path: &Path| -> Vec<PathBuf> {
        path.components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .map(|part| PathBuf::from(part.as_os_str()))
            .collect()
    };
    let (from, to) = (names(from), names(to));
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    from.iter().skip(common).map(|_| PathBuf::from("..")).chain(to.iter().skip(common).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::worker::testing;

    struct Site {
        root: tempfile::TempDir,
        release: PathBuf,
        shared: PathBuf,
    }

    fn site() -> Site {
        let root = tempfile::tempdir().unwrap();
        let (release, shared) = (root.path().join("releases/1"), root.path().join("shared"));
        std::fs::create_dir_all(release.join("storage/app")).unwrap();
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::write(release.join("storage/app/.gitignore"), "*").unwrap();
        Site { root, release, shared }
    }

    fn paths(list: &[(&str, SharedKind, bool)]) -> Vec<SharedPath> {
        list.iter()
            .map(|(path, kind, required)| {
                let (path, from) = ((*path).into(), (*path).into());
                SharedPath { path, from, kind: *kind, required: *required }
            })
            .collect()
    }

    const STORAGE: (&str, SharedKind, bool) = ("storage", SharedKind::Directory, false);
    const ENV: (&str, SharedKind, bool) = (".env", SharedKind::File, true);
    const SQLITE: (&str, SharedKind, bool) = ("database/database.sqlite", SharedKind::File, false);

    #[test]
    fn the_first_release_gives_what_the_second_finds() {
        for run_as in [None, Some(33)] {
            let site = site();
            std::fs::write(site.shared.join(".env"), "A=1").unwrap();
            std::fs::create_dir(site.release.join("database")).unwrap();
            std::fs::write(site.release.join("database/database.sqlite"), "db").unwrap();
            let all = paths(&[STORAGE, ENV, SQLITE]);
            let answer = run(&site.release, &site.shared, &all, run_as).unwrap();
            assert_eq!(answer, Answer::Linked { adopted: vec!["storage".into(), "database/database.sqlite".into()] });
            let expected = [
                "database/",
                ".env -> ../../shared/.env",
                "storage -> ../../shared/storage",
                "database/database.sqlite -> ../../../shared/database/database.sqlite",
            ];
            let found = testing::tree(&site.release);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for line in expected {
                assert!(found.iter().any(|found| found.starts_with(line)), "{line} in {found:?}");
            }
            assert_eq!(std::fs::read_to_string(site.release.join("storage/app/.gitignore")).unwrap(), "*");
            assert_eq!(std::fs::read_to_string(site.release.join("database/database.sqlite")).unwrap(), "db");
            for made in ["app/public", "framework/cache/data", "framework/sessions", "framework/views", "logs"] {
                assert!(site.shared.join("storage").join(made).is_dir(), "{made}");
            }
            assert!(!site.shared.join(".deployd-adopt").exists());

            // The second release's own is not taken, and what is shared does not change.
            let second = site.root.path().join("releases/2");
            std::fs::create_dir_all(second.join("storage/app")).unwrap();
            std::fs::write(second.join("storage/app/.gitignore"), "other").unwrap();
            let before = testing::tree(&site.shared);
            let answer = run(&second, &site.shared, &all, run_as).unwrap();
            assert_eq!(answer, Answer::Linked { adopted: vec![] });
            assert_eq!(testing::tree(&site.shared), before);
            // And once more is nothing new.
            assert_eq!(run(&second, &site.shared, &all, run_as).unwrap(), Answer::Linked { adopted: vec![] });
        }
    }

    #[test]
    fn a_shared_path_may_be_called_otherwise_there() {
        let site = site();
        std::fs::create_dir_all(site.release.join("public/uploads")).unwrap();
        std::fs::write(site.release.join("public/uploads/first"), "1").unwrap();
        let mut all = paths(&[("public/uploads", SharedKind::Directory, false), ENV]);
        all[0].from = "uploads".into();
        all[1].from = "env/production".into();
        all[1].required = false;
        let answer = run(&site.release, &site.shared, &all, None).unwrap();
        assert_eq!(answer, Answer::Linked { adopted: vec!["public/uploads".into()] });
        let link = |path: &str| std::fs::read_link(site.release.join(path)).unwrap();
        assert_eq!(link("public/uploads"), Path::new("../../../shared/uploads"));
        assert_eq!(link(".env"), Path::new("../../shared/env/production"));
        assert_eq!(std::fs::read_to_string(site.shared.join("uploads/first")).unwrap(), "1");
        assert!(!site.shared.join("public").exists());
    }

    #[test]
    fn both_users_can_write_what_was_adopted() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        use std::os::unix::process::CommandExt;
        let site = site();
        for dir in [site.root.path(), site.root.path().join("releases").as_path()] {
            std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        std::fs::write(site.release.join("storage/app/upload"), "x").unwrap();
        run(&site.release, &site.shared, &paths(&[STORAGE]), Some(65534)).unwrap();
        for path in ["app/upload", "app/new", "logs/laravel.log", "framework/cache/data/x"] {
            let mut tee = std::process::Command::new("/bin/dd");
            tee.arg("if=/dev/null").arg(format!("of={}", site.release.join("storage").join(path).display()));
            assert!(tee.uid(65534).gid(65534).output().unwrap().status.success(), "{path}");
        }
    }

    #[test]
    fn a_required_file_that_is_missing_is_an_error_with_the_remedy() {
        let site = site();
        std::fs::write(site.release.join(".env"), "from the repository").unwrap();
        let Answer::Refused { reason, remedy } =
            run(&site.release, &site.shared, &paths(&[ENV]), None).unwrap_err().into()
        else {
            panic!()
        };
        assert!(reason.contains("shared/.env is missing"), "{reason}");
        assert!(remedy.unwrap().starts_with("install -o "));
        assert!(!site.shared.join(".env").exists());
        let directory = paths(&[("storage", SharedKind::Directory, true)]);
        let refused = run(&site.release, &site.shared, &directory, None).unwrap_err();
        assert!(refused.reason().contains("shared/storage is missing"), "{refused}");
    }

    #[test]
    fn nothing_shared_is_followed_out_or_of_another_kind() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let refuse = |path: (&str, SharedKind, bool), prepare: &dyn Fn(&Site)| {
            let site = site();
            prepare(&site);
            let before = testing::tree(outside.path());
            assert!(run(&site.release, &site.shared, &paths(&[path]), Some(33)).is_err(), "{path:?}");
            assert_eq!(testing::tree(outside.path()), before);
        };
        refuse(STORAGE, &|site| symlink(outside.path(), site.shared.join("storage")).unwrap());
        refuse(STORAGE, &|site| std::fs::write(site.shared.join("storage"), "").unwrap());
        refuse(ENV, &|site| std::fs::create_dir(site.shared.join(".env")).unwrap());
        refuse(ENV, &|site| symlink(outside.path().join("secret"), site.shared.join(".env")).unwrap());
        refuse(ENV, &|site| std::fs::hard_link(outside.path().join("secret"), site.shared.join(".env")).unwrap());
        refuse(ENV, &|site| {
            rustix::fs::mkfifoat(fs::CWD, site.shared.join(".env"), Mode::RWXU).unwrap();
        });
        refuse(SQLITE, &|site| symlink(outside.path(), site.shared.join("database")).unwrap());
        refuse(SQLITE, &|site| symlink(outside.path(), site.release.join("database")).unwrap());
        refuse(("../x", SharedKind::File, false), &|_| {});
        refuse(("storage", SharedKind::File, false), &|_| {});
    }

    #[test]
    fn a_link_of_the_repository_is_replaced_and_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let site = site();
        std::fs::remove_dir_all(site.release.join("storage")).unwrap();
        symlink(outside.path(), site.release.join("storage")).unwrap();
        run(&site.release, &site.shared, &paths(&[STORAGE]), None).unwrap();
        assert_eq!(std::fs::read_link(site.release.join("storage")).unwrap(), Path::new("../../shared/storage"));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_release_and_what_is_shared_may_be_two_mounts() {
        let mounts = "cd $DEPLOYD_TEST_TREE; mount --bind releases/1 releases/1; mount --bind shared shared";
        let tree = testing::with_mounts(
            "worker::link::tests::a_release_and_what_is_shared_may_be_two_mounts",
            mounts,
            |tree| {
                std::fs::create_dir_all(tree.join("releases/1/storage/app")).unwrap();
                std::fs::write(tree.join("releases/1/storage/app/file"), "x").unwrap();
                std::fs::create_dir_all(tree.join("shared")).unwrap();
            },
        );
        let Some(tree) = tree else { return };
        let moved = std::fs::rename(tree.join("releases/1/storage/app"), tree.join("shared/app"));
        assert_eq!(moved.unwrap_err().kind(), std::io::ErrorKind::CrossesDevices, "as in the sandbox");
        let release = tree.join("releases/1");
        let answer = run(&release, &tree.join("shared"), &paths(&[STORAGE]), None).unwrap();
        assert_eq!(answer, Answer::Linked { adopted: vec!["storage".into()] });
        assert_eq!(std::fs::read_to_string(release.join("storage/app/file")).unwrap(), "x");
        assert!(tree.join("shared/storage/logs").is_dir() && !tree.join("shared/.deployd-adopt").exists());
    }
}
