//! Which entries of a directory processes use: where they work, what they run, have mapped and have open.

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::process::Seen;

/// The names in `dir` that some process uses at or below, by its working directory, root, program, mappings or open
/// files (needs CAP_SYS_PTRACE for other users' processes). One that ends meanwhile uses nothing.
///
/// A php-fpm worker works in its script's directory while it serves a request (`php_execute_script`, PHP's main/main.c):
/// no status page has to be asked which scripts run.
pub fn used_in(dir: &Path) -> Seen<BTreeSet<String>> {
    let entries = match std::fs::read_dir("/proc") {
        Ok(entries) => entries,
        Err(error) => return Seen::Unknown(format!("cannot read /proc: {error}")),
    };
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse().ok());
    used_by(entries.flatten().filter_map(number), dir)
}

fn used_by(pids: impl Iterator<Item = u32>, dir: &Path) -> Seen<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    for pid in pids {
        if let Err(error) = of_process(&Path::new("/proc").join(pid.to_string()), dir, &mut used) {
            return Seen::Unknown(format!("cannot read what the process {pid} uses: {error}"));
        }
    }
    Seen::Known(used)
}

fn of_process(process: &Path, dir: &Path, used: &mut BTreeSet<String>) -> io::Result<()> {
    for link in ["cwd", "root", "exe"] {
        if let Some(path) = unless_gone(std::fs::read_link(process.join(link)))? {
            used.extend(name_in(dir, &path));
        }
    }
    for entry in unless_gone(std::fs::read_dir(process.join("fd")))?.into_iter().flatten().flatten() {
        if let Some(path) = unless_gone(std::fs::read_link(entry.path()))? {
            used.extend(name_in(dir, &path));
        }
    }
    let maps = unless_gone(std::fs::read(process.join("maps")))?.unwrap_or_default();
    // A path is the last field, and may hold anything but a line's end, which is escaped.
    for line in maps.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'/') else { continue };
        let path = String::from_utf8_lossy(line.get(at..).unwrap_or_default()).into_owned();
        used.extend(name_in(dir, &PathBuf::from(path)));
    }
    Ok(())
}

/// The first name of a path below `dir`.
fn name_in(dir: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(dir).ok()?.iter().next()?.to_str()?;
    Some(name.to_owned())
}

/// A process that has ended has nothing any more, and a kernel's thread never had.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        process::{Command, Stdio},
    };

    use super::*;

    fn used(dir: &Path, pids: &[u32]) -> Vec<String> {
        match used_by(pids.iter().copied(), dir) {
            Seen::Known(used) => used.into_iter().collect(),
            Seen::Unknown(why) => panic!("{why}"),
        }
    }

    #[test]
    fn where_one_works_what_one_runs_and_has_open_is_used() {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().canonicalize().unwrap();
        for name in ["cwd", "exe", "open", "idle"] {
            std::fs::create_dir_all(dir.join(name).join("deep")).unwrap();
        }
        std::fs::copy("/bin/cat", dir.join("exe/cat")).unwrap();
        let me = std::process::id();
        assert_eq!(used(&dir, &[me, u32::MAX]), [""; 0]);
        let file = File::create(dir.join("open/deep/file")).unwrap();
        let cat = |program: &Path, cwd: &Path| {
            Command::new(program).current_dir(cwd).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        };
        let mut works = cat(Path::new("/bin/cat"), &dir.join("cwd/deep"));
        assert_eq!(used(&dir, &[me, works.id()]), ["cwd", "open"]);
        drop(file);
        // Another test's child may hold the copy open for writing until it executes.
        let mut runs = std::iter::repeat_with(|| {
            Command::new(dir.join("exe/cat")).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()
        })
        .find_map(Result::ok)
        .unwrap();
        assert_eq!(used(&dir, &[me, works.id(), runs.id()]), ["cwd", "exe"]);
        for child in [&mut works, &mut runs] {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        assert_eq!(used(&dir, &[me, works.id(), runs.id()]), [""; 0]);
    }
}
