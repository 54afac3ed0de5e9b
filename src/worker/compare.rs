//! Whether a release is still what was sealed, by its manifest: what is missing, and what was written since. What was
//! added is not looked for: nothing that was there before needs it.

use std::{
    ffi::OsStr,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{self, FileType, Stat},
    io::Errno,
};

use super::{
    exporter::is_below,
    manifest,
    order::Answer,
    refusal::Refusal,
    rooted,
    walk::{Entry, EntryKind, Stamp},
};

/// Somebody waits to go back: what was not looked at by then is not.
const LIMIT: Duration = Duration::from_millis(150);
/// The largest manifest that is read, in bytes: reading takes its time, too.
const LARGEST: u64 = 256 << 20;
/// Changed entries that are named.
const NAMED: usize = 5;

/// Carries out [`super::order::Order::Compare`].
pub fn run(release: &Path, cache: &Path, digest: &str, except: &[String]) -> Result<Answer, Refusal> {
    within(LIMIT, release, cache, digest, except)
}

fn within(limit: Duration, release: &Path, cache: &Path, digest: &str, except: &[String]) -> Result<Answer, Refusal> {
    let until = Instant::now() + limit;
    let (mut changed, mut count, mut unknown) = (Vec::new(), 0, None);
    match manifest::load_within(LARGEST, cache, release, digest) {
        Err(why) => unknown = Some(why),
        Ok(entries) => {
            let mut tree = Tree { root: rooted::open(release)?, parent: Vec::new(), dir: None };
            for (looked, entry) in entries.iter().enumerate() {
                if except.iter().any(|path| is_below(&entry.path, path.as_bytes())) {
                    continue;
                }
                if Instant::now() > until {
                    let all = entries.len();
                    unknown = Some(format!("it has {all} entries, and only {looked} were looked at in {limit:?}"));
                    break;
                }
                if !tree.is_still(entry) {
                    count += 1;
                    if changed.len() < NAMED {
                        changed.push(OsStr::from_bytes(&entry.path).to_string_lossy().into_owned());
                    }
                }
            }
        }
    }
    Ok(Answer::Compared { changed, count, unknown })
}

/// A release, and the directory in it that was looked at last: entries of one follow each other.
struct Tree {
    root: OwnedFd,
    parent: Vec<u8>,
    dir: Option<OwnedFd>,
}

impl Tree {
    /// Whether an entry is there as it was sealed. What cannot be looked at is not.
    fn is_still(&mut self, entry: &Entry) -> bool {
        self.look(&entry.path).ok().flatten().is_some_and(|found| same(entry, &found))
    }

    fn look(&mut self, path: &[u8]) -> Result<Option<Found>, Errno> {
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b"."[..], path),
        };
        let dir = match self.dir.take() {
            Some(dir) if self.parent == parent => dir,
            _ => {
                self.parent = parent.to_vec();
                rooted::open_dir(&self.root, parent)?
            }
        };
        let dir = self.dir.insert(dir);
        let Some(stat) = rooted::look(&*dir, name)? else { return Ok(None) };
        let target = match rooted::kind(&stat) {
            FileType::Symlink => Some(fs::readlinkat(&*dir, name, Vec::new())?.into_bytes()),
            _ => None,
        };
        Ok(Some(Found { stat, target }))
    }
}

/// What is at a path, and of a link its text.
struct Found {
    stat: Stat,
    target: Option<Vec<u8>>,
}

/// By everything that a copy with its times keeps: a host that was restored has other inodes and the same releases.
fn same(entry: &Entry, found: &Found) -> bool {
    let stat = &found.stat;
    let kind = rooted::kind(stat);
    match &entry.kind {
        EntryKind::Directory => kind == FileType::Directory,
        EntryKind::Link(text) => found.target.as_ref() == Some(text),
        EntryKind::File(size, _) => {
            kind == FileType::RegularFile
                && (u64::try_from(stat.st_size).ok(), stat.st_mode & 0o7777) == (Some(*size), entry.mode)
                && Stamp::of(stat).modified == entry.stamp.modified
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::FileTimes,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;
    use crate::worker::seal;

    /// A sealed tree with `count` more files; its manifest's digest.
    fn sealed(release: &Path, cache: &Path, count: usize) -> String {
        std::fs::create_dir_all(release.join("app/deep")).unwrap();
        std::fs::create_dir_all(release.join("views")).unwrap();
        for file in ["a", "app/b", "app/deep/c", "app-x", "views/compiled"] {
            std::fs::write(release.join(file), file).unwrap();
        }
        symlink("app/b", release.join("link")).unwrap();
        for number in 0..count {
            let dir = release.join(format!("many/{}", number / 100));
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(number.to_string()), "").unwrap();
        }
        match seal::run(release, cache, &["views".into()], None).unwrap() {
            Answer::Sealed { manifest, .. } => manifest,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_or_was_written_is_named() {
        let tree = tempfile::tempdir().unwrap();
        let (release, cache) = (tree.path().join("releases/1"), tree.path().join("cache"));
        std::fs::create_dir_all(&release).unwrap();
        let digest = sealed(&release, &cache, 0);
        let changed = || match run(&release, &cache, &digest, &["views".into()]).unwrap() {
            Answer::Compared { changed, count, unknown: None } if changed.len() as u64 == count => changed,
            other => panic!("{other:?}"),
        };
        assert_eq!(changed(), [""; 0]);
        // What services write, what was added, and a later release's links to its files are no change.
        std::fs::write(release.join("views/compiled"), "other").unwrap();
        std::fs::write(release.join("app/added"), "").unwrap();
        std::fs::hard_link(release.join("a"), tree.path().join("shared-with")).unwrap();
        assert_eq!(changed(), [""; 0]);

        let modified = release.join("a").metadata().unwrap().modified().unwrap();
        let write = |path: &str, content: &str, at| {
            std::fs::write(release.join(path), content).unwrap();
            let file = std::fs::File::options().write(true).open(release.join(path)).unwrap();
            file.set_times(FileTimes::new().set_modified(at)).unwrap();
        };
        write("a", "longer", modified);
        assert_eq!(changed(), ["a"], "its size");
        write("app/b", "other", modified + Duration::from_secs(1));
        assert_eq!(changed(), ["a", "app/b"], "its time");
        std::fs::set_permissions(release.join("app-x"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::remove_file(release.join("link")).unwrap();
        symlink("a", release.join("link")).unwrap();
        assert_eq!(changed(), ["a", "app-x", "app/b", "link"], "a mode, a link's text");
        std::fs::remove_dir_all(release.join("app/deep")).unwrap();
        symlink("/etc", release.join("app/deep")).unwrap();
        let Answer::Compared { changed, count: 6, .. } = run(&release, &cache, &digest, &[]).unwrap() else { panic!() };
        assert_eq!(changed, ["a", "app-x", "app/b", "app/deep", "app/deep/c"], "no link is followed, five are named");
    }

    #[test]
    fn what_cannot_be_known_in_time_is_said() {
        let tree = tempfile::tempdir().unwrap();
        let (release, cache) = (tree.path().join("releases/1"), tree.path().join("cache"));
        std::fs::create_dir_all(&release).unwrap();
        let digest = sealed(&release, &cache, 2000);
        let began = Instant::now();
        let all = within(Duration::from_secs(60), &release, &cache, &digest, &[]).unwrap();
        println!("2000 files in {:?}", began.elapsed());
        assert_eq!(all, Answer::Compared { changed: Vec::new(), count: 0, unknown: None });
        let none = within(Duration::ZERO, &release, &cache, &digest, &[]).unwrap();
        assert!(matches!(&none, Answer::Compared { count: 0, unknown: Some(why), .. } if why.contains("only 0")));
        let manifest = manifest::place(&cache, &release).unwrap();
        std::fs::File::options().write(true).open(manifest).unwrap().set_len(LARGEST + 1).unwrap();
        let large = run(&release, &cache, &digest, &[]).unwrap();
        assert!(
            matches!(&large, Answer::Compared { unknown: Some(why), .. } if why.contains("no more than")),
            "{large:?}"
        );
        let other = run(&release, &cache, &"0".repeat(64), &[]).unwrap();
        assert!(matches!(&other, Answer::Compared { count: 0, unknown: Some(_), .. }), "{other:?}");
    }
}
