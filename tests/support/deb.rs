//! The .debs under test.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use super::built;

/// The built .deb: `DEPLOYD_DEB`, or what `make deb` leaves in `dist/`, made once by each process.
pub fn ensure() -> PathBuf {
    static DEB: OnceLock<PathBuf> = OnceLock::new();
    let ours = |name: &str| name.starts_with("deployd_") && name.ends_with(".deb");
    DEB.get_or_init(|| built::ensure("DEPLOYD_DEB", "deb", ours)).clone()
}

/// The receiver's package that was made with this one, beside it.
pub fn webhook(deb: &Path) -> Option<PathBuf> {
    built::webhook(deb, "deployd_", "deployd-webhook_")
}
