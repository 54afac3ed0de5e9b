//! Lets the owner of releases write in them again: what is shared by hard links was made read-only.

use std::{
    ffi::OsStr,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::fs::{self, Mode};

use super::{
    order::Answer,
    refusal::Refusal,
    rooted,
    walk::{self, EntryKind},
};

/// What the owner of a file may do with it.
const WRITE: u32 = 0o200;

/// Carries out [`super::order::Order::Loosen`].
pub fn run(release: &Path) -> Result<Answer, Refusal> {
    let root = rooted::open(release)?;
    let mut loosened = 0;
    for entry in walk::list(root.as_fd(), release, &[])? {
        if entry.mode & WRITE != 0 || matches!(entry.kind, EntryKind::Link(_)) {
            continue;
        }
        let place = release.join(OsStr::from_bytes(&entry.path));
        let opened = match entry.kind {
            EntryKind::Directory => rooted::open_dir(&root, &entry.path[..]).map_err(std::io::Error::from),
            _ => rooted::open_file(&root, &entry.path[..]).map(|(file, _)| file),
        };
        let opened = opened.map_err(|error| Refusal::io("open", &place, error))?;
        fs::fchmod(&opened, Mode::from_raw_mode(entry.mode & 0o7777 | WRITE))
            .map_err(|error| Refusal::io("change the mode of", &place, error))?;
        loosened += 1;
    }
    Ok(Answer::Done { entries: loosened })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_read_only_can_be_written_again_and_no_link_is_followed() {
        let tree = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let read_only = |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o444)).unwrap();
        for file in [tree.path().join("a"), outside.path().join("b")] {
            std::fs::write(&file, "").unwrap();
            read_only(&file);
        }
        std::os::unix::fs::symlink(outside.path().join("b"), tree.path().join("l")).unwrap();
        assert_eq!(run(tree.path()).unwrap(), Answer::Done { entries: 1 });
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&tree.path().join("a")), mode(&outside.path().join("b"))), (0o644, 0o444));
    }
}
