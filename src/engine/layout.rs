//! The directories of an app that are root's: made at first, kept as they must be ever after.
//!
//! The root, `releases/` and `current` are root's, so that the app's user can neither re-point `current` nor replace
//! a release. `shared/` and the cache are the app user's. No link is followed on the way to any of them.

use super::{error::EngineError, store::Store, takeover};
use crate::{
    config::Settings,
    model::{DeploymentId, Paths},
    system::tree::{Dir, EntryKind, TreeError},
};

/// An app's root, opened.
#[derive(Debug)]
pub struct Layout {
    /// `<root>`.
    pub root: Dir,
    /// `<root>/releases`.
    pub releases: Dir,
    /// The build user: uid and gid.
    pub user: (u32, u32),
    /// The user of services: uid and gid.
    pub run_as: (u32, u32),
}

/// The uid and gid of a user of the settings.
pub fn ids(name: &str) -> Result<(u32, u32), EngineError> {
    crate::observe::find_user(name).ok_or_else(|| EngineError::Other(format!("the user {name} does not exist")))
}

/// Makes what is missing of the app's root and gives to root what must be root's.
pub fn prepare(paths: &Paths, settings: &Settings) -> Result<Layout, EngineError> {
    let user = ids(&settings.user)?;
    let run_as = ids(&settings.run_as)?;
    let store = Store::open(paths, &settings.app)?;
    let root = takeover::root(&settings.root, &[user.0, run_as.0], store.root()?.as_ref())?;
    let releases = open_or_make(&root.dir, "releases", 0o755)?;
    root_owned(&releases)?;
    releases.spread();
    if !root.dir.same_file_system(&releases)? {
        return Err(EngineError::Other(format!(
            "{} is on another file system than {}: a release cannot be activated by one rename; move it there",
            releases.path, root.dir.path
        )));
    }
    takeover::shared(&root, &settings.user, user)?;
    root.dir.clean_links("current")?;
    if store.root()?.as_ref() != Some(&root.identity) {
        store.save_root(&root.identity)?;
    }
    Ok(Layout { root: root.dir, releases, user, run_as })
}

/// Makes the app's cache: its user's, for nobody else. What is in it is the worker's to make.
pub fn prepare_cache(paths: &Paths, settings: &Settings) -> Result<(), EngineError> {
    let (uid, gid) = ids(&settings.user)?;
    let cache = Dir::open_or_make(&paths.cache_dir(&settings.app), 0o700)?;
    if cache.owner()?.0 != uid {
        cache.set_owner(uid, gid, 0o700)?;
    }
    Ok(())
}

/// A directory of `releases/` that the next release takes: root's and empty until then, so that nobody can put anything
/// into it before, and a worker's sandbox can be opened for it before the release has its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// What it is called until then.
    pub name: String,
    /// The number of its file system, and its own there.
    pub identity: (u64, u64),
}

/// What such a directory's name begins with. The rest differs each time: by the name ext4 chooses where the directory's
/// files go (see [`Dir::spread`]).
const NEXT: &str = ".next-";

/// Has a directory ready for the next release. Without it a deployment takes longer, no more.
pub fn have_next(layout: &Layout, deployment: &DeploymentId) {
    let have = || {
        if layout.releases.names()?.iter().any(|name| name.starts_with(NEXT)) {
            return Ok(());
        }
        layout.releases.make_dir(&format!("{NEXT}{deployment}"), 0o755).map(drop)
    };
    if let Err(error) = have() {
        tracing::debug!("no directory is ready in {}: {error}, ignoring", layout.releases.path);
    }
}

/// The directory for the next release, if one is ready, and so is what is shared.
pub fn next(settings: &Settings) -> Option<Next> {
    let root = Dir::open(&settings.root).ok()?;
    root.dir("shared").ok()?;
    let releases = root.dir("releases").ok()?;
    let name = releases.names().ok()?.into_iter().find(|name| name.starts_with(NEXT))?;
    let dir = releases.dir(&name).ok()?;
    let identity = dir.identity().ok()?;
    (dir.owner().ok()?.0 == 0).then_some(Next { name, identity })
}

pub(super) fn open_or_make(parent: &Dir, name: &str, mode: u32) -> Result<Dir, TreeError> {
    match parent.kind(name)? {
        EntryKind::Missing => parent.make_dir(name, mode),
        _ => parent.dir(name),
    }
}

/// Root's, and writable for nobody else; readable and passable as it was.
pub(super) fn root_owned(dir: &Dir) -> Result<(), TreeError> {
    let (uid, gid, mode) = dir.owner()?;
    if uid != 0 || mode & 0o022 != 0 {
        // The group keeps what access it had (a home of mode 0750), but does not write.
        dir.set_owner(0, gid, mode & !0o022)?;
    }
    Ok(())
}
