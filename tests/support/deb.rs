//! The package under test.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::{
    command,
    lock::{crate_dir, hosts_dir, lock},
};

/// The built .deb: `DEPLOYD_DEB`, or what `make deb` leaves in `dist/`, made once by each process.
pub fn ensure() -> PathBuf {
    static DEB: OnceLock<PathBuf> = OnceLock::new();
    DEB.get_or_init(|| match std::env::var_os("DEPLOYD_DEB") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
    .clone()
}

/// The receiver's package that was made with this one, beside it.
pub fn webhook(deb: &Path) -> Option<PathBuf> {
    let name = deb.file_name()?.to_str()?.strip_prefix("deployd_")?;
    Some(deb.with_file_name(format!("deployd-webhook_{name}"))).filter(|path| path.is_file())
}

fn build() -> PathBuf {
    let _held = lock(&hosts_dir().join("deb.lock"));
    eprintln!("building the package: make deb");
    let said = command::local(&["make", "-C", &crate_dir().to_string_lossy(), "deb"]);
    assert!(said.status == 0, "{said}");
    newest().unwrap_or_else(|| panic!("make deb left no dist/deployd_*.deb"))
}

fn newest() -> Option<PathBuf> {
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("deployd_") && name.ends_with(".deb")
    };
    let entries = fs::read_dir(crate_dir().join("dist")).ok()?;
    let debs = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_ours);
    debs.max_by_key(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
}
