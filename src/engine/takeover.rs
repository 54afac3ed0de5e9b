//! Taking an app's root over: what becomes root's, and what is refused since somebody else may have put it there.
//!
//! Where every directory above the root is root's, nobody else can exchange it. Below a home its owner can, and could
//! so have a directory of somebody else's given to the app's user.

use std::{os::unix::fs::MetadataExt, path::Path};

use super::{
    error::EngineError,
    layout::{open_or_make, root_owned},
    store::RootIdentity,
};
use crate::system::tree::{Dir, EntryKind};

/// A root that was taken.
#[derive(Debug)]
pub struct Root {
    /// Opened; root's.
    pub dir: Dir,
    /// For the record.
    pub identity: RootIdentity,
    /// Nobody but root can have put there what is in it.
    trusted: bool,
}

/// Opens the root, making it if it is missing, and makes it root's. `known`: which directory it was before; `users`:
/// whose it may be at first, beside root.
pub fn root(path: &Path, users: &[u32], known: Option<&RootIdentity>) -> Result<Root, EngineError> {
    let dir = Dir::open_or_make(path, 0o755)?;
    let (device, inode) = dir.identity()?;
    let identity = RootIdentity { path: path.to_owned(), device, inode, boot: boot_id() };
    let fixed = path.ancestors().skip(1).all(is_roots);
    let (uid, _, mode) = dir.owner()?;
    match known.filter(|known| known.path == path) {
        _ if fixed => {}
        Some(known) if !is_same(known, &identity) => {
            return Err(exchanged(path));
        }
        None if uid != 0 && !users.contains(&uid) => {
            return Err(EngineError::Other(format!(
                "{} is neither root's nor the app's user's: `chown root: {}`, if it is for this app",
                path.display(),
                path.display()
            )));
        }
        _ => {}
    }
    root_owned(&dir)?;
    Ok(Root { dir, identity, trusted: fixed && uid == 0 && mode & 0o022 == 0 })
}

/// Opens the root to give it back: only the very directory that was taken. None: it was never taken, or is gone, and
/// nothing there is deployd's to give.
pub fn taken(path: &Path, known: Option<&RootIdentity>) -> Result<Option<Dir>, EngineError> {
    let Some(known) = known else { return Ok(None) };
    if known.path != path {
        return Err(EngineError::Other(format!(
            "root is {} now, and deployd took {}: write that one into the configuration again, then disown again",
            path.display(),
            known.path.display()
        )));
    }
    let dir = match Dir::open(path) {
        Ok(dir) => dir,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (device, inode) = dir.identity()?;
    let now = RootIdentity { path: path.to_owned(), device, inode, boot: boot_id() };
    if is_same(known, &now) { Ok(Some(dir)) } else { Err(exchanged(path)) }
}

fn exchanged(path: &Path) -> EngineError {
    EngineError::Other(format!(
        "{} is not the directory that it was: put that one back; if it was you who exchanged it, remove the file `root` of \
         the app's record in /var/lib/deployd/apps",
        path.display()
    ))
}

/// Opens `shared`, making it if it is missing, and gives it to the app's user. One of root's with something in it only
/// where root has put it.
pub fn shared(root: &Root, name: &str, (uid, gid): (u32, u32)) -> Result<(), EngineError> {
    let made = root.dir.kind("shared")? == EntryKind::Missing;
    let shared = open_or_make(&root.dir, "shared", 0o755)?;
    if shared.owner()?.0 != 0 || uid == 0 {
        return Ok(());
    }
    if !made && !root.trusted && !shared.names()?.is_empty() {
        return Err(EngineError::Other(format!(
            "{} is root's and has something in it, and others than root could have put it there: \
             `chown {name}: {}`, if it is for this app",
            shared.path, shared.path
        )));
    }
    Ok(shared.set_owner(uid, gid, 0o755)?)
}

/// The number of a file system may be another one after a boot; within one boot it is not.
fn is_same(known: &RootIdentity, now: &RootIdentity) -> bool {
    known.inode == now.inode && (known.device == now.device || known.boot != now.boot)
}

/// Root's, and writable for nobody else. What cannot be looked at is not.
fn is_roots(dir: &Path) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0)
}

/// This boot, as the kernel names it; empty when it does not tell.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, chown},
    };

    use super::*;

    const DEPLOY: (u32, u32) = (4711, 4711);
    const OTHER: u32 = 4712;

    /// A home of the user's, with a `shop` of this owner in it.
    fn home(owner: u32) -> Option<tempfile::TempDir> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: giving directories away needs root");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("shop")).unwrap();
        chown(home.path(), Some(DEPLOY.0), Some(DEPLOY.1)).unwrap();
        chown(home.path().join("shop"), Some(owner), None).unwrap();
        Some(home)
    }

    fn take(path: &Path, known: Option<&RootIdentity>) -> Result<Root, String> {
        root(path, &[DEPLOY.0], known).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_directory_that_was_taken_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("shop");
        fs::create_dir(&path).unwrap();
        let opened = Dir::open(&path).unwrap();
        let (device, inode) = opened.identity().unwrap();
        let known = RootIdentity { path: path.clone(), device, inode, boot: boot_id() };
        let why = |known: &RootIdentity| taken(&path, Some(known)).unwrap_err().to_string();
        assert_eq!(taken(&path, Some(&known)).unwrap().unwrap().identity().unwrap(), (device, inode));
        assert!(taken(&path, None).unwrap().is_none(), "it was never taken");
        let other = RootIdentity { path: dir.path().join("before"), ..known.clone() };
        assert!(why(&other).contains("write that one into the configuration again"), "{}", why(&other));
        fs::rename(&path, dir.path().join("was")).unwrap();
        assert!(taken(&path, Some(&known)).unwrap().is_none(), "it is gone");
        fs::create_dir(&path).unwrap();
        assert!(why(&known).contains("not the directory that it was: put that one back"), "{}", why(&known));
        fs::remove_dir(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("was"), &path).unwrap();
        assert!(why(&known).contains("symbolic link"), "{}", why(&known));
    }

    #[test]
    fn the_users_own_directory_becomes_roots_and_stays_the_one_that_it_was() {
        let Some(home) = home(DEPLOY.0) else { return };
        let path = home.path().join("shop");
        let first = take(&path, None).unwrap();
        assert_eq!((first.dir.owner().unwrap().0, first.trusted), (0, false));
        assert!(take(&path, Some(&first.identity)).is_ok());
        let rebooted = RootIdentity { device: 1, boot: "before".into(), ..first.identity.clone() };
        assert!(take(&path, Some(&rebooted)).is_ok(), "numbers of file systems change at a boot");
        fs::rename(&path, home.path().join("was")).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(take(&path, Some(&first.identity)).unwrap_err().contains("not the directory that it was"));
        let elsewhere = RootIdentity { path: "/srv/before".into(), ..first.identity };
        assert!(take(&path, Some(&elsewhere)).is_ok(), "the configuration names another place now");
    }

    #[test]
    fn a_directory_of_somebody_else_is_not_taken() {
        let Some(home) = home(OTHER) else { return };
        let path = home.path().join("shop");
        assert!(take(&path, None).unwrap_err().contains("neither root's nor"));
        assert_eq!(fs::metadata(&path).unwrap().uid(), OTHER);
    }

    #[test]
    fn what_root_keeps_below_a_home_is_not_given_away() {
        let Some(home) = home(DEPLOY.0) else { return };
        let path = home.path().join("shop");
        fs::create_dir(path.join("shared")).unwrap();
        fs::write(path.join("shared/secret"), "").unwrap();
        fs::set_permissions(path.join("shared"), PermissionsExt::from_mode(0o700)).unwrap();
        let root = take(&path, None).unwrap();
        assert!(shared(&root, "deploy", DEPLOY).unwrap_err().to_string().contains("chown deploy:"));
        assert_eq!(fs::metadata(path.join("shared")).unwrap().uid(), 0);
        fs::remove_file(path.join("shared/secret")).unwrap();
        shared(&root, "deploy", DEPLOY).unwrap();
        assert_eq!(fs::metadata(path.join("shared")).unwrap().uid(), DEPLOY.0, "an empty one is harmless");
    }
}
