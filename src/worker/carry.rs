//! Brings directories that no source has (`vendor`, `node_modules`) from the release before: by reference or copies,
//! never by links, since steps write there.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use super::{
    empty,
    exporter::{Exporter, Wanted},
    refusal::Refusal,
    rooted,
    walk::EntryKind,
};

/// Carries what of `dirs` the release before has and the source does not; returns which were. A directory in which
/// something is not as it was sealed is not carried at all: a part of it would look like the whole.
pub fn carry(root: &OwnedFd, release: &Path, dirs: &[String], exporter: &mut Exporter) -> Result<Vec<String>, Refusal> {
    let mut carried = Vec::new();
    for dir in dirs {
        rooted::parts(dir)?;
        if rooted::is_there(root, dir) {
            tracing::info!("{dir} is not carried: the source has one");
        } else if one(root, release, dir, exporter)? {
            carried.push(dir.clone());
        }
    }
    Ok(carried)
}

fn one(root: &OwnedFd, release: &Path, dir: &str, exporter: &mut Exporter) -> Result<bool, Refusal> {
    let Some(previous) = &exporter.sharing().previous else { return Ok(false) };
    let others: Vec<_> = previous.others_below(dir.as_bytes()).cloned().collect();
    if !others.iter().any(|entry| entry.path == dir.as_bytes() && entry.kind == EntryKind::Directory) {
        return Ok(false);
    }
    let files = previous.files_below(dir.as_bytes());
    let wanted = files.into_iter().map(|(path, known)| Wanted { path: path.to_vec(), mode: known.mode, id: known.id });
    let wanted = wanted.collect();
    for entry in &others {
        match &entry.kind {
            EntryKind::Link(target) => exporter.link(&entry.path, target)?,
            _ => exporter.dir(&entry.path, entry.mode & 0o777)?,
        }
    }
    let left = exporter.share_all(wanted)?;
    let Some(first) = left.first() else { return Ok(true) };
    let path = String::from_utf8_lossy(&first.path);
    tracing::warn!("{dir} is not carried: {} is not as it was sealed", crate::model::printable(&path));
    empty::path(root.as_fd(), dir, &release.join(dir))?;
    exporter.forget_below(dir.as_bytes());
    Ok(false)
}

/// Which of `files` have the same content as in the release before.
pub fn unchanged(files: &[String], exporter: &Exporter) -> Vec<String> {
    let Some(previous) = &exporter.sharing().previous else { return Vec::new() };
    let same = |file: &&String| {
        let now = exporter.content_of(file.as_bytes());
        now.is_some() && now == previous.content_of(file.as_bytes())
    };
    files.iter().filter(same).cloned().collect()
}
