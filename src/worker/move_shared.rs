//! Moves what outlives releases from a checkout into `shared/`, while the site runs: a link is made there that is right
//! here, and the two change places by one rename (renameat2(2), RENAME_EXCHANGE). Nothing is copied, and at every
//! moment the old path leads to the same file.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, FileType, Mode, RenameFlags},
    io::Errno,
};

use super::{
    order::{Answer, SharedKind, SharedPath},
    refusal::Refusal,
    rooted,
};

/// Carries out [`super::order::Order::MoveShared`]. What was moved before stays: it may be begun again.
pub fn run(root: &Path, shared: &[SharedPath]) -> Result<Answer, Refusal> {
    let top = rooted::open(root)?;
    let refuse = |error: Errno| Refusal::io("make", root.join("shared"), error);
    let (side, _) = rooted::make_dirs(&top, &["shared"], Mode::from_raw_mode(0o755)).map_err(refuse)?;
    let mut adopted = Vec::new();
    for path in shared {
        if move_one(&top, root, &side, path)? {
            adopted.push(path.path.clone());
        }
    }
    Ok(Answer::Linked { adopted })
}

/// One path; returns whether it was moved now.
fn move_one(top: &OwnedFd, root: &Path, side: &OwnedFd, path: &SharedPath) -> Result<bool, Refusal> {
    let (here, there) = (root.join(&path.path), root.join("shared").join(&path.from));
    let (from, name) = parent(top, &path.path, &here, false)?;
    let Some(from) = from else { return Ok(false) };
    let look = |dir: &OwnedFd, name: &str, place: &Path| -> Result<Option<FileType>, Refusal> {
        let found = rooted::look(dir, name).map_err(|error| Refusal::io("look at", place, error))?;
        Ok(found.map(|stat| rooted::kind(&stat)))
    };
    match (look(&from, name, &here)?, path.kind) {
        (Some(FileType::Directory), SharedKind::Directory) | (Some(FileType::RegularFile), SharedKind::File) => {}
        // Moved before, or never there.
        (None | Some(FileType::Symlink), _) => return Ok(false),
        (Some(_), _) => {
            let what = if path.kind == SharedKind::File { "file" } else { "directory" };
            return Err(Refusal::with(
                format!("{} is to be shared as a {what}, and is something else", here.display()),
                "correct shared in the app's configuration",
            ));
        }
    }
    let (to, shared_name) = parent(side, &path.from, &there, true)?;
    let Some(to) = to else { return Ok(false) };
    let target = target(&path.path, &path.from);
    match look(&to, shared_name, &there)? {
        None => {
            fs::symlinkat(&target, &to, shared_name).map_err(|error| Refusal::io("make the link", &there, error))?
        }
        // Left by one that was interrupted here.
        Some(FileType::Symlink) if is_link(&to, shared_name, &target) => {}
        Some(_) => {
            return Err(Refusal::with(
                format!(
                    "{} and {} are both there, and which is the site's is not known",
                    here.display(),
                    there.display()
                ),
                format!("move the one that is not away: mv {0} {0}.old", there.display()),
            ));
        }
    }
    fs::renameat_with(&from, name, &to, shared_name, RenameFlags::EXCHANGE).map_err(|error| match error {
        Errno::XDEV => Refusal::with(
            format!("{} is on another file system than {}", here.display(), there.display()),
            "name another place for it by from in shared, or mount it at shared/ itself",
        ),
        Errno::INVAL => Refusal::with(
            format!("the file system of {} cannot exchange two names at once", root.display()),
            "move it by hand while the site is in maintenance",
        ),
        error => Refusal::io("exchange for its link", &here, error),
    })?;
    for (dir, place) in [(&to, &there), (&from, &here)] {
        fs::fsync(dir).map_err(|error| Refusal::io("sync the directory of", place, error))?;
    }
    Ok(true)
}

/// The directory that a path is in, and its name there. None: it is not there, and is not to be made.
fn parent<'p>(top: &OwnedFd, path: &'p str, place: &Path, make: bool) -> Result<(Option<OwnedFd>, &'p str), Refusal> {
    let mut parts = rooted::parts(path)?;
    let name = parts.pop().unwrap_or_default();
    let refuse = |error: Errno| Refusal::io("open the directory of", place, error);
    if make {
        let (dir, _) = rooted::make_dirs(top, &parts, Mode::from_raw_mode(0o755)).map_err(refuse)?;
        return Ok((Some(dir), name));
    }
    let opened = match parts.is_empty() {
        true => rooted::open_dir(top, c"."),
        false => rooted::open_dir(top, parts.join("/")),
    };
    match opened {
        Ok(dir) => Ok((Some(dir), name)),
        Err(Errno::NOENT) => Ok((None, name)),
        Err(error) => Err(refuse(error)),
    }
}

/// The link's text, right at the old path: `shared/.env`, `../shared/public/uploads`.
fn target(path: &str, from: &str) -> PathBuf {
    let up = path.matches('/').count();
    std::iter::repeat_n("..", up).collect::<PathBuf>().join("shared").join(from)
}

fn is_link(dir: &OwnedFd, name: &str, target: &Path) -> bool {
    fs::readlinkat(dir, name, Vec::new()).is_ok_and(|text| text.to_bytes() == target.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn shared() -> Vec<SharedPath> {
        [("storage", SharedKind::Directory), (".env", SharedKind::File), ("public/uploads", SharedKind::Directory)]
            .map(|(path, kind)| SharedPath { path: path.into(), from: path.into(), kind, required: false })
            .to_vec()
    }

    fn checkout() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("storage/app")).unwrap();
        std::fs::create_dir_all(tree.path().join("public/uploads")).unwrap();
        std::fs::write(tree.path().join("storage/app/upload"), "u").unwrap();
        std::fs::write(tree.path().join("public/uploads/cat"), "c").unwrap();
        std::fs::write(tree.path().join(".env"), "A=1").unwrap();
        tree
    }

    #[test]
    fn each_is_moved_as_it_is_and_its_old_path_leads_there() {
        let tree = checkout();
        let root = tree.path();
        let inode = |path: &str| root.join(path).metadata().unwrap().ino();
        let before = ["storage/app/upload", ".env", "public/uploads/cat"].map(inode);
        let Answer::Linked { adopted } = run(root, &shared()).unwrap() else { panic!() };
        assert_eq!(adopted, ["storage", ".env", "public/uploads"]);
        assert_eq!(["storage/app/upload", ".env", "public/uploads/cat"].map(inode), before, "nothing was copied");
        let there = ["shared/storage/app/upload", "shared/.env", "shared/public/uploads/cat"].map(inode);
        assert_eq!(there, before);
        let link = |path: &str| std::fs::read_link(root.join(path)).unwrap();
        assert_eq!(link("public/uploads"), Path::new("../shared/public/uploads"));
        let Answer::Linked { adopted } = run(root, &shared()).unwrap() else { panic!() };
        assert!(adopted.is_empty(), "once more is nothing new");
    }

    #[test]
    fn what_was_interrupted_goes_on_and_what_is_there_twice_is_refused() {
        let tree = checkout();
        let root = tree.path();
        std::fs::create_dir(root.join("shared")).unwrap();
        symlink("shared/.env", root.join("shared/.env")).unwrap();
        let Answer::Linked { adopted } = run(root, &shared()[1..2]).unwrap() else { panic!() };
        assert_eq!(adopted, [".env"]);
        assert_eq!(std::fs::read_to_string(root.join("shared/.env")).unwrap(), "A=1");
        std::fs::create_dir(root.join("shared/storage")).unwrap();
        let refused = run(root, &shared()).unwrap_err();
        assert!(refused.reason().contains("both there"), "{refused}");
        assert!(root.join("storage/app/upload").is_file() && root.join("storage").symlink_metadata().unwrap().is_dir());
    }

    #[test]
    fn a_reader_never_misses_it() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path().to_owned();
        let names: Vec<String> = (0..300).map(|number| format!("d{number}")).collect();
        for name in &names {
            std::fs::create_dir(root.join(name)).unwrap();
            std::fs::write(root.join(name).join("x"), "").unwrap();
        }
        let moved = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let reader = std::thread::spawn({
            let (root, names, moved) = (root.clone(), names.clone(), moved.clone());
            move || {
                let mut missed = Vec::new();
                while !moved.load(std::sync::atomic::Ordering::Relaxed) {
                    let gone = |name: &&String| std::fs::read(root.join(name).join("x")).is_err();
                    missed.extend(names.iter().filter(gone).cloned());
                }
                missed
            }
        });
        let path = |name: &String| SharedPath {
            path: name.clone(),
            from: name.clone(),
            kind: SharedKind::Directory,
            required: false,
        };
        run(&root, &names.iter().map(path).collect::<Vec<_>>()).unwrap();
        moved.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(reader.join().unwrap(), Vec::<String>::new());
    }
}
