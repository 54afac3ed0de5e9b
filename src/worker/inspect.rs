//! Looks at a sealed release: what was written into it since, and how much PHP it has. Changes nothing.

use std::path::Path;

use rustix::{
    fs::{Dir, FileType},
    io::Errno,
};

use super::{
    order::Answer,
    refusal::Refusal,
    rooted::{self, MAX_PATH},
};

/// Paths that are named; the others are counted.
const NAMED: usize = 5;
/// The most entries that are looked at.
const MOST: u64 = 2_000_000;

/// Carries out [`super::order::Order::Inspect`].
pub fn run(release: &Path, since: i64, except: &[String]) -> Result<Answer, Refusal> {
    let root = rooted::open(release)?;
    let mut seen = Seen { since, changed: Vec::new(), count: 0, php: (0, 0), left: MOST };
    let mut pending = vec![String::new()];
    while let Some(parent) = pending.pop() {
        let opened = if parent.is_empty() { rooted::open_dir(&root, c".") } else { rooted::open_dir(&root, &parent) };
        let dir = match opened {
            Ok(dir) => dir,
            // Not for this user's eyes, or gone, or something else since: it is not what is served.
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP) => continue,
            Err(error) => return Err(Refusal::io("open", release.join(&parent), error)),
        };
        let entries = Dir::read_from(&dir).map_err(|error| Refusal::io("read", release.join(&parent), error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Refusal::io("read", release.join(&parent), error))?;
            let name = entry.file_name().to_string_lossy();
            if name == "." || name == ".." {
                continue;
            }
            let path = if parent.is_empty() { name.into_owned() } else { format!("{parent}/{name}") };
            let Ok(Some(stat)) = rooted::look(&dir, entry.file_name()) else { continue };
            if except.contains(&path) || path.len() > MAX_PATH || !seen.take(&path, &stat) {
                continue;
            }
            if rooted::kind(&stat) == FileType::Directory {
                pending.push(path);
            }
        }
    }
    seen.changed.sort();
    let (php_files, php_bytes) = seen.php;
    Ok(Answer::Inspected { changed: seen.changed, count: seen.count, php_files, php_bytes })
}

struct Seen {
    since: i64,
    changed: Vec<String>,
    count: u64,
    php: (u64, u64),
    left: u64,
}

impl Seen {
    /// Notes an entry. `false`: there are too many.
    fn take(&mut self, path: &str, stat: &rustix::fs::Stat) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        // The change time, not the modification time: nobody can set it back.
        if stat.st_ctime > self.since && rooted::kind(stat) != FileType::Directory {
            self.count += 1;
            if self.changed.len() < NAMED {
                self.changed.push(path.to_owned());
            }
        }
        if path.ends_with(".php") && rooted::kind(stat) == FileType::RegularFile {
            self.php.0 += 1;
            self.php.1 += u64::try_from(stat.st_size).unwrap_or(0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_is_newer_is_named_and_php_is_counted() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("app/cache")).unwrap();
        std::fs::write(tree.path().join("app/a.php"), "<?php").unwrap();
        std::fs::write(tree.path().join("app/cache/b.php"), "<?php").unwrap();
        std::fs::write(tree.path().join("x.txt"), "x").unwrap();
        let now = std::fs::metadata(tree.path().join("x.txt")).unwrap().ctime();
        let looked = |since| match run(tree.path(), since, &["app/cache".to_owned()]).unwrap() {
            Answer::Inspected { changed, count, php_files, php_bytes } => (changed, count, php_files, php_bytes),
            other => panic!("{other:?}"),
        };
        assert_eq!(looked(now), (vec![], 0, 1, 5));
        assert_eq!(looked(now - 100), (vec!["app/a.php".to_owned(), "x.txt".to_owned()], 2, 1, 5));
        assert!(run(Path::new("/nonexistent/x"), 0, &[]).is_err());
    }
}
