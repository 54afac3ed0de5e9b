//! Room for the next release, and memory for two slots. Pure.

use super::{
    Facts,
    found::{Found, Words},
};
use crate::{config::Settings, model::Severity};

const GROUP: &str = "disk";
/// What is wanted when no release is recorded yet, in bytes and in inodes.
const FIRST: (u64, u64) = (256 * MIB, 10_000);
const MIB: u64 = 1024 * 1024;

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    disk(settings, facts, found);
    memory(facts, found);
}

/// Room for two more releases: the next one, and what its build leaves for a while.
fn disk(settings: &Settings, facts: &Facts, found: &mut Found) {
    let Some(disk) = facts.disk else { return };
    let (bytes, files) = match disk.largest {
        (0, 0) => FIRST,
        (bytes, files) => (bytes.saturating_mul(2), files.saturating_mul(2)),
    };
    let place = settings.root.display().to_string();
    let mut tell = |thing: String, needs: String| {
        let words = Words {
            thing,
            place: place.clone(),
            happens: format!("two more releases take {needs}: the next deployment may fail before it is live"),
            remedy: "make room, or keep fewer: [releases] keep = 3".into(),
        };
        found.add(GROUP, "disk-space", Severity::Warning, words);
    };
    if disk.free < bytes {
        tell(format!("{} MiB free", disk.free / MIB), format!("{} MiB", bytes.div_ceil(MIB)));
    }
    if let Some(free) = disk.free_inodes.filter(|free| *free < files) {
        tell(format!("{free} inodes free"), format!("{files} inodes"));
    }
}

fn memory(facts: &Facts, found: &mut Found) {
    let Some(available) = facts.memory_available_mib else { return };
    for (service, wanted) in facts.slot_memory_mib.iter().filter(|(_, wanted)| **wanted > available) {
        let words = Words {
            thing: format!("memory for two slots of {service}"),
            place: String::new(),
            happens: format!("one may take {wanted} MiB and {available} MiB are available; the new one starts smaller"),
            remedy: "write a smaller pm.max_children in [service.pool], or add memory".into(),
        };
        found.add("memory", "memory-slots", Severity::Warning, words);
    }
}
