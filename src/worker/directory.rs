//! A directory of this host as a source: its revision is its content's, so that nothing new means the same revision.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use super::{
    exporter::Exporter,
    order::Answer,
    refusal::Refusal,
    rooted,
    seen::{self, Before, Look},
    walk::{self, Entry, EntryKind},
};

/// Carries out [`super::order::Order::Resolve`] for a directory.
pub fn resolve(path: &Path, exclude: &[String], cache: &Path, markers: &[String]) -> Result<Answer, Refusal> {
    let root = rooted::open_source(path)?;
    let revision = revision(&root, path, exclude, cache)?;
    let mut found = Vec::new();
    for marker in markers {
        rooted::parts(marker)?;
        if rooted::is_there(&root, marker) && !excluded(marker.as_bytes(), exclude) {
            found.push(marker.clone());
        }
    }
    Ok(Answer::Resolved { revision, markers: found, tag: None })
}

/// Writes the tree of `source`, and sees that it is the one that was resolved.
pub fn export(source: &Path, exclude: &[String], revision: &str, exporter: &mut Exporter) -> Result<(), Refusal> {
    let from = rooted::open_source(source)?;
    let entries = taken(&from, source, exclude)?;
    let mut written = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let bits = mode(&entry);
        match &entry.kind {
            EntryKind::Directory => exporter.dir(&entry.path, bits)?,
            EntryKind::Link(target) => exporter.link(&entry.path, target)?,
            EntryKind::File(..) => {
                let (file, _) = rooted::open_file(&from, &entry.path[..])
                    .map_err(|error| Refusal::io("open", source.join(OsStr::from_bytes(&entry.path)), error))?;
                let (size, id) = exporter.file(&entry.path, bits, &mut std::fs::File::from(file))?;
                entry.kind = EntryKind::File(size, id);
            }
        }
        written.push(entry);
    }
    if walk::listing(&written, mode) != revision {
        return Err(Refusal::with(
            format!("{} changed after it was looked at", source.display()),
            "deploy again when nothing writes there any more",
        ));
    }
    Ok(())
}

/// Of the listing: paths, modes as they would be written, sizes and digests.
fn revision(root: &OwnedFd, path: &Path, exclude: &[String], cache: &Path) -> Result<String, Refusal> {
    let stat = rustix::fs::fstat(root).map_err(|error| Refusal::io("look at", path, error))?;
    let look = Look::now(stat.st_dev);
    let (entries, before) = std::thread::scope(|scope| {
        let before = scope.spawn(|| seen::before(cache));
        let entries = taken(root, path, exclude);
        (entries, before.join().unwrap_or_else(|_| nothing_seen()))
    });
    let mut entries = entries?;
    if seen::fill(before, &look, &mut entries) > 0 {
        walk::read_files(root.as_fd(), path, &mut entries)?;
        seen::keep(cache, &look, &entries);
    }
    Ok(walk::listing(&entries, mode))
}

fn nothing_seen() -> Before {
    tracing::warn!("what was seen before could not be read, ignoring");
    Before::default()
}

/// What is there and is not left out.
fn taken(root: &OwnedFd, path: &Path, exclude: &[String]) -> Result<Vec<Entry>, Refusal> {
    let mut entries = walk::list(root.as_fd(), path, exclude)?;
    entries.retain(|entry| !excluded(&entry.path, exclude));
    Ok(entries)
}

/// Whether a path is left out, or something above it.
fn excluded(path: &[u8], exclude: &[String]) -> bool {
    let below = |one: &String| path.strip_prefix(one.as_bytes()).is_some_and(|r| r.is_empty() || r.starts_with(b"/"));
    exclude.iter().any(below)
}

/// The bits a release gets: the source's own, but never more than the owner may write, and no setuid.
fn mode(entry: &Entry) -> u32 {
    match entry.kind {
        EntryKind::Directory => entry.mode & 0o755 | 0o700,
        EntryKind::File(..) => entry.mode & 0o755 | 0o400,
        EntryKind::Link(_) => 0o777,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::worker::testing;

    fn revision_of(path: &Path) -> String {
        let cache = tempfile::tempdir().unwrap();
        let once = || match resolve(path, &[], cache.path(), &[]).unwrap() {
            Answer::Resolved { revision, .. } => revision,
            other => panic!("{other:?}"),
        };
        let (first, again) = (once(), once());
        assert_eq!(first, again, "by what was seen");
        first
    }

    fn source() -> tempfile::TempDir {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(source.path().join("public/deep")).unwrap();
        std::fs::write(source.path().join("public/index.php"), "<?php").unwrap();
        std::fs::write(source.path().join("artisan"), "x").unwrap();
        std::fs::set_permissions(source.path().join("artisan"), PermissionsExt::from_mode(0o4777)).unwrap();
        symlink("/etc/passwd", source.path().join("public/link")).unwrap();
        source
    }

    fn exported(source: &Path, revision: &str, release: &Path) -> Result<u64, Refusal> {
        let order = super::super::order::SourceOrder::Directory { path: source.to_owned(), exclude: Vec::new() };
        let (answer, _) = super::super::export::run(&testing::export(&order, Path::new("/"), revision, release))?;
        let Answer::Exported { files, .. } = answer else { panic!("{answer:?}") };
        Ok(files)
    }

    #[test]
    fn the_revision_follows_the_content_and_nothing_else() {
        let source = source();
        let path = source.path();
        let first = revision_of(path);
        assert_eq!(first.len(), 64);
        std::fs::write(path.join("public/index.php"), "<?php").unwrap();
        assert_eq!(revision_of(path), first, "a new time is no new content");
        std::fs::write(path.join("public/index.php"), "<?PHP").unwrap();
        let second = revision_of(path);
        assert_ne!(second, first);
        std::fs::set_permissions(path.join("artisan"), PermissionsExt::from_mode(0o644)).unwrap();
        assert_ne!(revision_of(path), second, "a mode is content");
        let third = revision_of(path);
        std::fs::remove_file(path.join("public/link")).unwrap();
        symlink("/etc/group", path.join("public/link")).unwrap();
        assert_ne!(revision_of(path), third, "so is a link's text");
    }

    #[test]
    fn markers_are_told_and_never_looked_for_outside() {
        let source = source();
        symlink("/etc", source.path().join("etc")).unwrap();
        let asked = ["artisan", "public/index.php", "composer.json", "etc/passwd"].map(str::to_owned);
        let Answer::Resolved { markers, .. } = resolve(source.path(), &[], Path::new("/nonexistent"), &asked).unwrap()
        else {
            panic!()
        };
        assert_eq!(markers, ["artisan", "public/index.php"]);
        assert!(resolve(source.path(), &[], Path::new("/nonexistent"), &["../x".into()]).is_err());
    }

    #[test]
    fn a_fifo_or_a_socket_is_refused_and_does_not_block() {
        let source = source();
        rustix::fs::mkfifoat(rustix::fs::CWD, source.path().join("public/pipe"), rustix::fs::Mode::RWXU).unwrap();
        let refused = resolve(source.path(), &[], Path::new("/nonexistent"), &[]).unwrap_err();
        assert!(refused.reason().contains("public/pipe"), "{refused}");
    }

    #[test]
    fn a_copy_is_the_same_tree_without_setuid_and_links_stay_links() {
        let source = source();
        let release = tempfile::tempdir().unwrap();
        assert_eq!(exported(source.path(), &revision_of(source.path()), release.path()).unwrap(), 3);
        assert_eq!(
            testing::tree(release.path()),
            [
                "artisan 755 x",
                "public/ 755",
                "public/deep/ 755",
                "public/index.php 644 <?php",
                "public/link -> /etc/passwd"
            ]
        );
    }

    #[test]
    fn a_source_that_changed_meanwhile_is_refused() {
        let source = source();
        let revision = revision_of(source.path());
        std::fs::write(source.path().join("late"), "x").unwrap();
        let release = tempfile::tempdir().unwrap();
        assert!(exported(source.path(), &revision, release.path()).unwrap_err().reason().contains("changed"));
    }
}
