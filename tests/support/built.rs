//! The packages under test: one that the environment names, or what `make` leaves in `dist/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    command,
    lock::{crate_dir, hosts_dir, lock},
};

/// The package that `variable` names, or the newest in `dist/` that is `ours` after `make TARGET`.
pub fn ensure(variable: &str, target: &str, ours: fn(&str) -> bool) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => build(target, ours),
    }
}

/// The receiver's package that was made with this one, beside it.
pub fn webhook(package: &Path, deployd: &str, receiver: &str) -> Option<PathBuf> {
    let name = package.file_name()?.to_str()?.strip_prefix(deployd)?;
    Some(package.with_file_name(format!("{receiver}{name}"))).filter(|path| path.is_file())
}

fn build(target: &str, ours: fn(&str) -> bool) -> PathBuf {
    // One lock for all of them: they are built in one target directory.
    let _held = lock(&hosts_dir().join("deb.lock"));
    eprintln!("building the package: make {target}");
    let said = command::local(&["make", "-C", &crate_dir().to_string_lossy(), target]);
    assert!(said.status == 0, "{said}");
    newest(ours).unwrap_or_else(|| panic!("make {target} left no package in dist/"))
}

fn newest(ours: fn(&str) -> bool) -> Option<PathBuf> {
    let is_ours = |path: &PathBuf| ours(&path.file_name().unwrap_or_default().to_string_lossy());
    let entries = fs::read_dir(crate_dir().join("dist")).ok()?;
    let packages = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours);
    packages.max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
}
