//! Which files make an app's configuration, by systemd's precedence, and whether they may be trusted. Reads nothing but
//! configuration files; follows no symbolic link, except that one to /dev/null masks a file, as systemd has it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::errors::{Problem, Problems, SourceFile};
use crate::model::{AppName, Paths};

/// The largest configuration file, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

/// Reads an app's files, weakest first. `None`: there is no such app (or it is masked).
pub(super) fn read(paths: &Paths, app: &AppName, problems: &mut Problems) -> Option<Vec<SourceFile>> {
    let trust = Trust::of(paths);
    let main = format!("{app}.toml");
    let mut files = Vec::new();
    let found = paths.config_dirs().into_iter().map(|dir| dir.join(&main)).find(|p| p.symlink_metadata().is_ok())?;
    if masked(&found) {
        return None;
    }
    files.extend(trust.read_file(&found, problems));
    for path in drop_ins(paths, app, &trust, problems) {
        files.extend(trust.read_file(&path, problems));
    }
    Some(files)
}

/// Names of apps: every `NAME.toml` of a valid name that is not masked, sorted.
pub(super) fn list(paths: &Paths) -> std::io::Result<Vec<AppName>> {
    let mut seen: BTreeMap<AppName, bool> = BTreeMap::new();
    for dir in paths.config_dirs() {
        for (name, path) in toml_files(&dir)? {
            if let Some(app) = name.strip_suffix(".toml").and_then(|n| n.parse().ok()) {
                seen.entry(app).or_insert_with(|| !masked(&path));
            }
        }
    }
    Ok(seen.into_iter().filter_map(|(app, there)| there.then_some(app)).collect())
}

/// Where an app's files are or could be: `NAME.toml` and `NAME.d` of each directory, and what is in the latter.
pub(super) fn places(paths: &Paths, app: &AppName) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for dir in paths.config_dirs() {
        let drop_ins = dir.join(format!("{app}.d"));
        let inside = toml_files(&drop_ins).unwrap_or_default();
        out.extend([dir.join(format!("{app}.toml")), drop_ins]);
        out.extend(inside.into_iter().map(|(_, path)| path));
    }
    out
}

/// `NAME.d/*.toml` of all directories, by file name; of the same name only the strongest.
fn drop_ins(paths: &Paths, app: &AppName, trust: &Trust, problems: &mut Problems) -> Vec<PathBuf> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for dir in paths.config_dirs() {
        let dir = dir.join(format!("{app}.d"));
        if dir.symlink_metadata().is_err() {
            continue;
        }
        // Checked even when it is empty: whoever may write there may add a file.
        if let Err(problem) = trust.open_dir(&dir) {
            problems.push(problem);
            continue;
        }
        match toml_files(&dir) {
            Ok(names) => names.into_iter().for_each(|(name, path)| {
                found.entry(name).or_insert(path);
            }),
            Err(error) => problems.push(Problem::new(format!("cannot be listed: {error}")).in_file(&dir)),
        }
    }
    found.into_values().filter(|path| !masked(path)).collect()
}

fn toml_files(dir: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        if let Some(text) = name.to_str().filter(|n| n.ends_with(".toml") && !n.starts_with('.')) {
            found.push((text.to_owned(), dir.join(text)));
        }
    }
    Ok(found)
}

fn masked(path: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

/// Who may own configuration: root; below another root than `/` (tests) also whoever runs this.
struct Trust {
    root: PathBuf,
    also: Option<u32>,
}

impl Trust {
    fn of(paths: &Paths) -> Self {
        let root = paths.host(Path::new("/"));
        let also = (root != Path::new("/")).then(|| rustix::process::geteuid().as_raw());
        Self { root, also }
    }

    /// Opens every directory from the root down, none through a link, and checks each.
    fn open_dir(&self, dir: &Path) -> Result<OwnedFd, Problem> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::PATH;
        let mut at = self.root.clone();
        let mut fd = rustix::fs::open(&at, flags & !OFlags::NOFOLLOW, Mode::empty()).map_err(|e| unreadable(&at, e))?;
        for part in dir.strip_prefix(&self.root).unwrap_or(dir).components() {
            let Component::Normal(name) = part else { continue };
            at.push(name);
            fd = rustix::fs::openat(fd.as_fd(), name, flags, Mode::empty()).map_err(|e| unreadable(&at, e))?;
            let stat = rustix::fs::fstat(&fd).map_err(|e| unreadable(&at, e))?;
            self.check(&at, &stat)?;
        }
        Ok(fd)
    }

    fn read_file(&self, path: &Path, problems: &mut Problems) -> Option<SourceFile> {
        match self.try_read(path) {
            Ok(text) => Some(SourceFile { path: path.to_owned(), text }),
            Err(problem) => {
                problems.push(problem);
                None
            }
        }
    }

    fn try_read(&self, path: &Path) -> Result<String, Problem> {
        let dir = self.open_dir(path.parent().unwrap_or(Path::new("/")))?;
        let name = path.file_name().unwrap_or(OsStr::new(""));
        // Looked at before it is opened: opening a device has effects of its own.
        let before = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| unreadable(path, e))?;
        self.check_file(path, &before)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&dir, name, flags, Mode::empty()).map_err(|e| unreadable(path, e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| unreadable(path, e))?;
        self.check_file(path, &stat)?;
        let mut bytes = Vec::new();
        let mut limited = std::fs::File::from(fd).take(MAX_BYTES + 1);
        limited.read_to_end(&mut bytes).map_err(|e| Problem::new(format!("cannot be read: {e}")).in_file(path))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Problem::new("is larger than 256 KiB")
                .in_file(path)
                .help("a configuration file is text: shorten it"));
        }
        String::from_utf8(bytes)
            .map_err(|_| Problem::new("is not UTF-8 text").in_file(path).help("save it as UTF-8, as TOML requires"))
    }

    fn check_file(&self, path: &Path, stat: &Stat) -> Result<(), Problem> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.check(path, stat),
            FileType::Symlink => Err(link(path)),
            _ => Err(Problem::new("is not a regular file").in_file(path).help("put a plain text file in its place")),
        }
    }

    fn check(&self, path: &Path, stat: &Stat) -> Result<(), Problem> {
        let shown = path.display();
        if stat.st_uid != 0 && self.also != Some(stat.st_uid) {
            let title =
                format!("is not owned by root but by uid {}: its owner could run commands as others", stat.st_uid);
            return Err(Problem::new(title).in_file(path).help(format!("run `chown root:root {shown}`")));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(Problem::new("can be written by its group or by everyone")
                .in_file(path)
                .help(format!("run `chmod go-w {shown}`")));
        }
        Ok(())
    }
}

fn link(path: &Path) -> Problem {
    Problem::new("is a symbolic link, which is not followed")
        .in_file(path)
        .help("put the file itself there; a link to /dev/null masks one of the same name")
}

fn unreadable(path: &Path, error: Errno) -> Problem {
    if error == Errno::LOOP || (error == Errno::NOTDIR && path.is_symlink()) {
        return link(path);
    }
    Problem::new(format!("cannot be opened: {}", std::io::Error::from(error))).in_file(path)
}
