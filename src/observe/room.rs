//! Room for the next release, judged by the last one before anything is fetched.

use std::path::Path;

use super::read::ObserveError;
use crate::{
    config::Settings,
    model::{AppState, Share},
};

const MIB: u64 = 1024 * 1024;
/// What is left free in any case, in bytes: for the record, the journal and the mirror's new objects.
const SPARE: u64 = 8 * MIB;
/// Where files are shared: that much of a release, as a divisor, is new.
const PART: u64 = 10;
/// Of statfs(2): file systems that share by reference.
const REFLINK: [i64; 2] = [0x9123_683e, 0x5846_5342];

/// What a file system has free.
#[derive(Debug, Clone, Copy)]
struct Free {
    bytes: u64,
    /// None where it makes inodes as it needs them.
    inodes: Option<u64>,
    reflinks: bool,
}

/// Refuses when a release like the last one does not fit. Without a last one nothing is known.
pub fn room(settings: &Settings, state: &AppState) -> Result<(), ObserveError> {
    let there = settings.root.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let (Ok(found), Ok(kind)) = (rustix::fs::statvfs(there), rustix::fs::statfs(there)) else { return Ok(()) };
    let free = Free {
        bytes: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: (found.f_files > 0).then_some(found.f_favail),
        reflinks: REFLINK.contains(&kind.f_type),
    };
    let Some(last) = state.releases.iter().max_by_key(|release| release.seq) else { return Ok(()) };
    match judge(free, settings.share, (last.bytes, last.files)) {
        None => Ok(()),
        Some(short) => Err(ObserveError::Room {
            place: settings.root.join("releases").display().to_string(),
            wrong: format!(
                "{short} (the last one, {}, has {} MiB in {} files): make room there, or keep fewer releases \
                 ([releases] keep = {})",
                last.id,
                last.bytes.div_ceil(MIB),
                last.files,
                settings.keep.saturating_sub(1).max(2)
            ),
        }),
    }
}

/// What is short, if anything. With links neither content nor inodes are taken twice, by reference only inodes.
fn judge(free: Free, share: Share, (bytes, files): (u64, u64)) -> Option<String> {
    let linked = share == Share::Hardlink;
    let bytes = if linked || free.reflinks { bytes / PART } else { bytes }.saturating_add(SPARE);
    let inodes = if linked { files / PART } else { files };
    if free.bytes < bytes {
        return Some(format!(
            "has {} MiB free, and the next release may take {} MiB",
            free.bytes / MIB,
            bytes.div_ceil(MIB)
        ));
    }
    let short = free.inodes.filter(|free| *free < inodes)?;
    Some(format!("has {short} inodes free, and the next release may take {inodes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shared_is_not_taken_twice() {
        let free = |mib: u64, inodes, reflinks| Free { bytes: mib * MIB, inodes, reflinks };
        let last = (500 * MIB, 10_000);
        let short = |free, share| judge(free, share, last);
        let said = short(free(400, None, false), Share::Reflink).unwrap();
        assert_eq!(said, "has 400 MiB free, and the next release may take 508 MiB");
        for (free, share) in [
            (free(400, None, true), Share::Reflink),
            (free(400, None, false), Share::Hardlink),
            (free(600, Some(10_000), false), Share::Reflink),
            (free(600, Some(2_000), false), Share::Hardlink),
        ] {
            assert_eq!(short(free, share), None, "{free:?}");
        }
        assert!(short(free(600, Some(9_999), false), Share::Reflink).unwrap().contains("9999 inodes"));
        assert!(short(free(10, None, true), Share::Reflink).is_some());
    }
}
