//! `make check-safety`, power cuts: a virtual machine in which deployd deploys is ended like by a pulled plug, at
//! random moments and, from its log of writes, between all of them; then its disk is looked at, it is started again,
//! and must go on. Without the two syncs it must not: those are the negative controls.
//!
//! Words after `--`: `short` takes four cuts on ext4 and the controls there; names of file systems choose those;
//! `limits` takes nothing but what needs controllers.
//! `SHARD=i/n` takes every n-th cut, beginning with the i-th.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the suite ends at the first surprise")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports to a terminal")]

#[path = "../support/mod.rs"]
mod support;

mod ledger;
#[path = "power/mod.rs"]
mod vm;

use std::process::ExitCode;

use ledger::Ledger;
use vm::{chance::Chance, control, cut, disk, limits, saved::Saved, states};

/// How many cuts a long run makes on each file system.
const CUTS: u64 = 50;
const SHORT: u64 = 4;
const FILE_SYSTEMS: [&str; 4] = ["ext4", "xfs", "btrfs", disk::CARELESS];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let short = words.iter().any(|word| word == "short");
    let asked = |name: &str| words.iter().any(|word| word == name);
    let any = FILE_SYSTEMS.iter().any(|name| asked(name));
    let chosen: Vec<_> =
        FILE_SYSTEMS.into_iter().filter(|name| if any { asked(name) } else { !short || *name == "ext4" }).collect();
    let mut ledger = Ledger::open();
    let saved = Saved::ensure();
    if asked("limits") {
        limits::all(&saved, &saved.warm("ext4", false), &mut ledger);
        return ledger.close();
    }
    for fs in chosen {
        let two_disks = saved.warm(fs, control::OWN_STATE);
        control::all(&saved, &two_disks, &mut ledger);
        if short {
            // Of the same machine, and only the one that was told of its end deploys once more: there is little time.
            (0..SHORT).for_each(|n| cut::case(&saved, &two_disks, (n, n == 1), &Chance::of(short), &mut ledger));
            continue;
        }
        let one_disk = saved.warm(fs, false);
        if fs == "ext4" {
            limits::all(&saved, &one_disk, &mut ledger);
        }
        states::all(&saved, &one_disk, &mut ledger);
        for number in shard(CUTS) {
            // What is safe on one disk may not be on two, of which each writes in an order of its own.
            let warm = if number % 2 == 0 { &one_disk } else { &two_disks };
            cut::case(&saved, warm, (number, true), &Chance::of(short), &mut ledger);
        }
    }
    ledger.close()
}

/// The part of the numbers that `SHARD` asks for.
fn shard(count: u64) -> Vec<u64> {
    let shard = std::env::var("SHARD").unwrap_or_else(|_| "1/1".into());
    let (i, n) = shard.split_once('/').expect("SHARD=i/n");
    let (i, n): (usize, usize) = (i.parse().expect("SHARD=i/n"), n.parse().expect("SHARD=i/n"));
    (0..count).skip(i - 1).step_by(n).collect()
}
