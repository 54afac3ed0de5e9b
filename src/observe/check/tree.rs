//! The app's root, as root sees it without opening anything that is not root's: owners and room.

use std::{os::unix::fs::MetadataExt, path::Path};

use crate::{
    check::{DiskFacts, Owned, Unread},
    config::Settings,
    model::AppState,
};

/// The owners of what must be root's, of what is there.
pub fn owned(settings: &Settings, unread: &mut Vec<Unread>) -> Vec<Owned> {
    let mut found = Vec::new();
    for path in [settings.root.clone(), settings.root.join("releases"), settings.root.join("current")] {
        match std::fs::symlink_metadata(&path) {
            Ok(meta) => {
                let mode = if meta.is_symlink() { 0 } else { meta.mode() & 0o7777 };
                found.push(Owned { path, uid: meta.uid(), mode });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => unread.push(Unread { what: path.display().to_string(), why: error.to_string() }),
        }
    }
    found
}

/// Room where the root is, or will be.
pub fn disk(settings: &Settings, state: &AppState) -> Option<DiskFacts> {
    let there = settings.root.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let room = rustix::fs::statvfs(there).ok()?;
    let largest = state.releases.iter().map(|release| (release.bytes, release.files)).max().unwrap_or_default();
    Some(DiskFacts {
        free: room.f_bavail.saturating_mul(room.f_frsize),
        free_inodes: (room.f_files > 0).then_some(room.f_favail),
        kind: rustix::fs::statfs(there).map_or(0, |found| found.f_type),
        largest,
    })
}
