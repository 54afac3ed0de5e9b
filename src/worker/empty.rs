//! Removes trees by handles: no link is followed, no mount is crossed, no depth is too deep.
//!
//! Depth costs nothing: what lies deeper than a few levels is renamed up to the top and removed from there, so neither
//! the stack nor the table of open files grows with it (and no `..` is ever trusted).

use std::{
    ffi::{CString, OsStr},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags},
    io::Errno,
};

use super::{
    order::Answer,
    refusal::Refusal,
    rooted::{self, WITHIN},
};

/// How deep directories are entered before they are brought up.
const LEVELS: usize = 32;

/// Carries out [`super::order::Order::Empty`].
pub fn run(dir: &Path) -> Result<Answer, Refusal> {
    let top = rooted::open(dir)?;
    Ok(Answer::Done { entries: below(top.as_fd(), dir)? })
}

/// Carries out [`super::order::Order::Fresh`].
pub fn fresh(dir: &Path) -> Result<Answer, Refusal> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name().and_then(OsStr::to_str)) else {
        return Err(Refusal::new(format!("{} cannot be made", dir.display())));
    };
    let parent = rooted::open(parent)?;
    let entries = entry(parent.as_fd(), name, dir)?;
    fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(|error| Refusal::io("make", dir, error))?;
    Ok(Answer::Done { entries })
}

/// Carries out [`super::order::Order::Drop`].
pub fn drop_paths(release: &Path, paths: &[String]) -> Result<Answer, Refusal> {
    let top = rooted::open(release)?;
    let mut entries = 0;
    for path in paths {
        entries += self::path(top.as_fd(), path, &release.join(path))?;
    }
    Ok(Answer::Done { entries })
}

/// Removes what is at a relative path below `top`, and everything below it; nothing there is fine.
pub fn path(top: BorrowedFd<'_>, path: &str, place: &Path) -> Result<u64, Refusal> {
    let mut parts = rooted::parts(path)?;
    let name = parts.pop().unwrap_or_default();
    let parent = match parts.is_empty() {
        true => rooted::open_dir(top, c"."),
        false => rooted::open_dir(top, parts.join("/")),
    };
    match parent {
        Ok(parent) => entry(parent.as_fd(), name, place),
        Err(Errno::NOENT) => Ok(0),
        Err(error) => Err(Refusal::io("open the directory of", place, error)),
    }
}

/// Removes the entry `name` of `parent` and everything below it; nothing there is fine. Returns how many entries went.
pub fn entry(parent: BorrowedFd<'_>, name: &str, path: &Path) -> Result<u64, Refusal> {
    let stat = rooted::look(parent, name).map_err(|error| Refusal::io("look at", path, error))?;
    match stat.map(|stat| rooted::kind(&stat)) {
        None => Ok(0),
        Some(FileType::Directory) => {
            let name = CString::new(name).map_err(|_| Refusal::new("a name with a NUL"))?;
            let dir = open_own(parent, &name).map_err(|error| refuse(path, error))?;
            let removed = below(dir.as_fd(), path)?;
            fs::unlinkat(parent, &name, AtFlags::REMOVEDIR).map_err(|error| refuse(path, error))?;
            Ok(removed + 1)
        }
        Some(_) => fs::unlinkat(parent, name, AtFlags::empty()).map(|()| 1).map_err(|error| refuse(path, error)),
    }
}

/// Removes everything below `top`. What cannot be removed is told after the rest is gone: the first, and how many.
pub fn below(top: BorrowedFd<'_>, path: &Path) -> Result<u64, Refusal> {
    let mut work = Work { top, removed: 0, lifted: 0, failed: 0, first: None };
    loop {
        let (failed, lifted) = (work.failed, work.lifted);
        work.level(top, path, 0);
        // What was lifted is an entry of the top now: once more, unless something stays for good.
        if work.lifted == lifted || work.failed > failed {
            break;
        }
    }
    match work.first {
        None => Ok(work.removed),
        Some(first) if work.failed == 1 => Err(first),
        Some(first) => Err(Refusal::new(format!("{} and {} more", first.reason(), work.failed - 1)).or_remedy(REMEDY)),
    }
}

const REMEDY: &str = "look at it with `ls -la` and `findmnt`; unmount it, `chattr -i` it or remove it as root";

struct Work<'a> {
    top: BorrowedFd<'a>,
    removed: u64,
    lifted: u64,
    failed: u64,
    first: Option<Refusal>,
}

impl Work<'_> {
    fn level(&mut self, dir: BorrowedFd<'_>, path: &Path, depth: usize) {
        let entries = match names(dir) {
            Ok(entries) => entries,
            Err(error) => return self.fail(refuse(path, error)),
        };
        for (name, kind) in entries {
            let place = || path.join(OsStr::from_bytes(name.to_bytes()));
            if kind != FileType::Directory {
                match fs::unlinkat(dir, &name, AtFlags::empty()) {
                    Ok(()) => self.removed += 1,
                    Err(Errno::NOENT) => {}
                    Err(error) => self.fail(refuse(&place(), error)),
                }
                continue;
            }
            match fs::unlinkat(dir, &name, AtFlags::REMOVEDIR) {
                Ok(()) => self.removed += 1,
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => self.directory(dir, &name, place(), depth),
                Err(Errno::NOENT) => {}
                Err(error) => self.fail(refuse(&place(), error)),
            }
        }
    }

    fn directory(&mut self, parent: BorrowedFd<'_>, name: &CString, path: PathBuf, depth: usize) {
        let dir = match open_own(parent, name) {
            Ok(dir) => dir,
            Err(error) => return self.fail(refuse(&path, error)),
        };
        if depth >= LEVELS {
            return match self.lift(parent, name) {
                Ok(()) => {}
                Err(error) => self.fail(refuse(&path, error)),
            };
        }
        let failed = self.failed;
        self.level(dir.as_fd(), &path, depth + 1);
        match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => self.removed += 1,
            // Something in it was told already.
            Err(_) if self.failed > failed => {}
            Err(error) => self.fail(refuse(&path, error)),
        }
    }

    /// Makes a deep directory an entry of the top.
    fn lift(&mut self, parent: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
        loop {
            self.lifted += 1;
            let free = format!(".deployd-deep-{}", self.lifted);
            match fs::renameat_with(parent, name, self.top, &free, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
    }

    fn fail(&mut self, refusal: Refusal) {
        self.failed += 1;
        self.first.get_or_insert(refusal);
    }
}

fn refuse(path: &Path, error: Errno) -> Refusal {
    match error {
        Errno::XDEV | Errno::BUSY => Refusal::new(format!("{} is a mount point, and is kept", path.display()))
            .or_remedy(format!("umount {}", path.display())),
        error => {
            Refusal::new(format!("cannot remove {}: {}", path.display(), std::io::Error::from(error))).or_remedy(REMEDY)
        }
    }
}

/// Opens a directory to remove what is in it; one of ours that does not let us is made to.
fn open_own(parent: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
    let dir = match rooted::open_dir(parent, name) {
        Err(Errno::ACCESS) => {
            let handle = fs::openat2(
                parent,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
                WITHIN,
            )?;
            // fchmod refuses such a handle, and fchmodat2 is Linux 6.6's: its link in /proc is the handle itself.
            use std::os::fd::AsRawFd;
            fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)?;
            rooted::open_dir(parent, name)?
        }
        other => other?,
    };
    let stat = fs::fstat(&dir)?;
    if stat.st_mode & 0o700 != 0o700 {
        // Not ours: then the removal itself will tell.
        let _ = fs::fchmod(&dir, Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700));
    }
    Ok(dir)
}

/// All names of a directory, and what they are.
fn names(dir: BorrowedFd<'_>) -> Result<Vec<(CString, FileType)>, Errno> {
    // A handle of its own: the position of a shared one would be wherever the last reader left it.
    let dir = rooted::open_dir(dir, c".")?;
    let mut buffer = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut raw = RawDir::new(dir.as_fd(), &mut buffer);
    let mut found = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        if matches!(entry.file_name().to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rooted::look(&dir, entry.file_name())? {
                Some(stat) => rooted::kind(&stat),
                None => continue,
            },
            kind => kind,
        };
        found.push((entry.file_name().to_owned(), kind));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_goes_and_what_it_points_to_stays() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "kept").unwrap();
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("a/b")).unwrap();
        symlink(outside.path(), tree.path().join("a/link")).unwrap();
        std::fs::hard_link(outside.path().join("kept"), tree.path().join("a/b/hard")).unwrap();
        assert_eq!(run(tree.path()).unwrap(), Answer::Done { entries: 4 });
        assert_eq!(std::fs::read_dir(tree.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(outside.path().join("kept")).unwrap(), "kept");
    }

    #[test]
    fn four_thousand_levels_go() {
        let tree = tempfile::tempdir().unwrap();
        let mut at = rooted::open(tree.path()).unwrap();
        for level in 0..4000 {
            fs::mkdirat(&at, "directory", Mode::RWXU).unwrap();
            if level % 500 == 0 {
                drop(fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap());
            }
            at = rooted::open_dir(&at, "directory").unwrap();
        }
        assert_eq!(run(tree.path()).unwrap(), Answer::Done { entries: 4008 });
        assert_eq!(std::fs::read_dir(tree.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dropped_path_never_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("node_modules")).unwrap();
        let tree = tempfile::tempdir().unwrap();
        symlink(outside.path(), tree.path().join("front")).unwrap();
        symlink(outside.path(), tree.path().join("node_modules")).unwrap();
        assert!(drop_paths(tree.path(), &["front/node_modules".into()]).is_err());
        assert!(drop_paths(tree.path(), &["../x".into()]).is_err());
        let done = drop_paths(tree.path(), &["node_modules".into(), "absent/deep".into()]).unwrap();
        assert_eq!(done, Answer::Done { entries: 1 });
        assert!(outside.path().join("node_modules").exists());
    }

    #[test]
    fn what_a_user_locked_goes_too() {
        let tree = crate::worker::testing::AsNobody::run("worker::empty::tests::what_a_user_locked_goes_too");
        let Some(tree) = tree else { return };
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(tree.join("a/closed/inner")).unwrap();
        std::fs::create_dir_all(tree.join("a/read-only/inner")).unwrap();
        for (dir, mode) in [("a/closed", 0o000), ("a/read-only", 0o500)] {
            std::fs::set_permissions(tree.join(dir), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        assert_eq!(run(&tree.join("a")).unwrap(), Answer::Done { entries: 4 });
    }

    #[test]
    fn a_mount_is_kept_with_all_in_it_and_named() {
        let mounts = "mount -t tmpfs none $DEPLOYD_TEST_TREE/a/mnt; echo x > $DEPLOYD_TEST_TREE/a/mnt/kept";
        let tree = crate::worker::testing::with_mounts(
            "worker::empty::tests::a_mount_is_kept_with_all_in_it_and_named",
            mounts,
            |tree| {
                std::fs::create_dir_all(tree.join("a/mnt")).unwrap();
                std::fs::create_dir(tree.join("a/other")).unwrap();
                std::fs::write(tree.join("b"), "").unwrap();
            },
        );
        let Some(tree) = tree else { return };
        let refused = run(&tree).unwrap_err();
        assert!(refused.reason().contains("a/mnt is a mount point"), "{refused}");
        assert_eq!(std::fs::read_to_string(tree.join("a/mnt/kept")).unwrap(), "x\n");
        assert!(!tree.join("b").exists() && !tree.join("a/other").exists(), "the rest went");
    }
}
