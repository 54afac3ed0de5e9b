//! A lock between processes, and where things are kept.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The crate's directory.
pub fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Cargo's target directory.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate_dir().join("target"), PathBuf::from)
}

/// Where roots and running hosts are kept: `DEPLOYD_TEST_ROOTS`, or `target/hosts`.
pub fn hosts_dir() -> PathBuf {
    std::env::var_os("DEPLOYD_TEST_ROOTS").map_or_else(|| target_dir().join("hosts"), PathBuf::from)
}

/// Waits for the lock `path` and holds it until the value is dropped.
pub fn lock(path: &Path) -> File {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).unwrap_or_else(|e| panic!("{}: {e}", parent.display()));
    }
    let file = File::create(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file.lock().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    file
}
