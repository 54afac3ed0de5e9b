//! Room for the next release, a file system that keeps it, and memory for two slots. Pure.

use super::{
    Facts,
    found::{Found, Words},
};
use crate::{
    config::{Durability, Settings},
    model::Severity,
};

const GROUP: &str = "disk";
/// What is wanted when no release is recorded yet, in bytes and in inodes.
const FIRST: (u64, u64) = (256 * MIB, 10_000);
const MIB: u64 = 1024 * 1024;

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    disk(settings, facts, found);
    kind(settings, facts, found);
    durability(settings, found);
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

/// Of statfs(2), and linux/magic.h: what each is called, and what it does to releases.
const UNFIT: [(i64, &str, &str); 9] = [
    (0x0102_1994, "tmpfs", GONE),
    (0x8584_58f6, "ramfs", GONE),
    (0x4d44, "vfat", OWNERLESS),
    (0x2011_bab0, "exfat", OWNERLESS),
    (0x5346_544e, "ntfs", OWNERLESS),
    (0x7366_746e, "ntfs3", OWNERLESS),
    (0x6969, "NFS", ELSEWHERE),
    (0xfe53_4d42, "smb3", ELSEWHERE),
    (0xff53_4d42, "cifs", ELSEWHERE),
];
const GONE: &str = "every release is gone after a boot";
const OWNERLESS: &str = "it keeps no owners, modes and links: no release can be made there";
const ELSEWHERE: &str = "what was synced is as safe as its server makes it, and releases wait for the network";

/// A file system that does not keep what is promised of a release. Of an overlay nobody tells what is below it.
fn kind(settings: &Settings, facts: &Facts, found: &mut Found) {
    let kind = facts.disk.map_or(0, |disk| disk.kind);
    for (_, name, happens) in UNFIT.iter().filter(|(magic, ..)| *magic == kind) {
        let words = Words {
            thing: format!("{name} below the root"),
            place: settings.root.display().to_string(),
            happens: (*happens).to_owned(),
            remedy: "put the root on a disk of this host: ext4, xfs or btrfs".into(),
        };
        found.add(GROUP, "disk-kind", Severity::Warning, words);
    }
}

fn durability(settings: &Settings, found: &mut Found) {
    if settings.safety.durability == Durability::Full {
        return;
    }
    let words = Words {
        thing: "durability = \"relaxed\"".into(),
        place: settings.origins.get("safety.durability").map(super::place).unwrap_or_default(),
        happens: "a power cut within half a minute of a deployment may leave empty files in the live release".into(),
        remedy: "remove the line from [safety]".into(),
    };
    found.add(GROUP, "durability-relaxed", Severity::Warning, words);
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
