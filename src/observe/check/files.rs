//! Root's own configuration files: read when root alone decides what is in them. A path that somebody else controls,
//! a file in an app's tree that nginx includes, is never opened: it is told as unread.

use std::{
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{check::Unread, model::Paths};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// The most files of one check.
const MOST: usize = 2000;

/// A reader of root's files.
pub struct Files<'a> {
    paths: &'a Paths,
    /// What could not be read, and why.
    pub unread: Vec<Unread>,
    left: usize,
}

impl<'a> Files<'a> {
    /// Of a host.
    pub fn new(paths: &'a Paths, unread: Vec<Unread>) -> Self {
        Self { paths, unread, left: MOST }
    }

    /// A file's text; none when it is not there, or was told as unread.
    pub fn text(&mut self, file: &Path) -> Option<String> {
        if self.left == 0 {
            let why = format!("was not opened: {MOST} files were read before it");
            self.unread.push(Unread { what: file.display().to_string(), why });
            return None;
        }
        self.left -= 1;
        match self.read(file) {
            Ok(text) => text,
            Err(why) => {
                self.unread.push(Unread { what: file.display().to_string(), why });
                None
            }
        }
    }

    fn read(&self, file: &Path) -> Result<Option<String>, String> {
        let real = match self.paths.host(file).canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot be found: {error}")),
        };
        for path in real.ancestors() {
            self.roots_own(path)?;
        }
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(&real)
            .map_err(|error| format!("cannot be opened: {error}"))?;
        if !opened.metadata().is_ok_and(|meta| meta.is_file()) {
            return Err("is no regular file".into());
        }
        let mut bytes = Vec::new();
        opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
        if bytes.len() as u64 > LARGEST {
            return Err(format!("is larger than {LARGEST} bytes"));
        }
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Whether root alone may write it. In a test's tree what is above it is the machine's.
    fn roots_own(&self, path: &Path) -> Result<(), String> {
        if !path.starts_with(self.paths.host(Path::new("/"))) {
            return Ok(());
        }
        let meta = std::fs::symlink_metadata(path).map_err(|error| format!("cannot be looked at: {error}"))?;
        let tested = self.paths.host(Path::new("/")) != Path::new("/");
        let owner = meta.uid() == 0 || (tested && meta.uid() == rustix::process::geteuid().as_raw());
        // In a sticky directory others may put files beside root's, but not in their place: crontabs lie in one.
        let sticky = meta.is_dir() && meta.mode() & 0o1000 != 0;
        match owner && (sticky || meta.mode() & 0o022 == 0) {
            true => Ok(()),
            false => Err(format!("was not opened: others than root may write {}", path.display())),
        }
    }

    /// The files that a pattern names, sorted: `*` and `?` in any part, as glob(7) has them.
    pub fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::from("/")];
        for part in pattern.components().skip(1) {
            let part = part.as_os_str().to_string_lossy();
            if !part.contains(['*', '?']) {
                found.iter_mut().for_each(|path| path.push(part.as_ref()));
                continue;
            }
            found = found.iter().flat_map(|dir| self.names(dir, &part)).collect();
        }
        found.truncate(MOST);
        found
    }

    fn names(&self, dir: &Path, pattern: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.paths.host(dir)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let visible = |name: &String| !name.starts_with('.') || pattern.starts_with('.');
        let mut found: Vec<_> =
            names.filter(visible).filter(|name| matches(pattern, name)).map(|name| dir.join(name)).collect();
        found.sort();
        found
    }
}

/// Whether a name is what a pattern describes. Linear: the last `*` is the only one that is tried again.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in [("*.conf", "a.conf"), ("*", "x"), ("a*c?", "abbcd"), ("x", "x"), ("*a*b", "aab")] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.conf", "a.con"), ("?", ""), ("a*c", "abd"), ("x", "xx")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_others_may_write_is_told_and_not_opened() {
        let tree = tempfile::tempdir().unwrap();
        let paths = Paths::below(tree.path().canonicalize().unwrap());
        let file = |path: &str| paths.host(Path::new(path));
        std::fs::create_dir_all(file("/etc/nginx")).unwrap();
        std::fs::create_dir_all(file("/srv/shop")).unwrap();
        std::fs::write(file("/etc/nginx/good"), "a;").unwrap();
        std::fs::write(file("/srv/shop/nginx.conf"), "b;").unwrap();
        std::os::unix::fs::symlink(file("/srv/shop/nginx.conf"), file("/etc/nginx/link")).unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(file("/srv/shop"), open).unwrap();
        let mut files = Files::new(&paths, Vec::new());
        assert_eq!(files.text(Path::new("/etc/nginx/good")).as_deref(), Some("a;"));
        assert_eq!(files.text(Path::new("/etc/nginx/none")), None);
        assert!(files.unread.is_empty());
        assert_eq!(files.text(Path::new("/etc/nginx/link")), None);
        assert!(files.unread[0].why.contains("others than root may write"), "{:?}", files.unread);
        assert_eq!(files.matching(Path::new("/etc/ng*/go*")), [Path::new("/etc/nginx/good")]);
    }
}
