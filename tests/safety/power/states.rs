//! Tier 3: every state that the disk can have been in during one deployment. Its writes are logged and done again to a
//! copy of the disk, up to each moment at which the machine asked for all to be written; and from there on some of the
//! writes that were under way and not others, as a disk without power may have done them.

use std::{
    fs::{self, File},
    time::Instant,
};

use super::{
    app,
    chance::Chance,
    disk::{self, Disks},
    look::{self, Look},
    saved::{Saved, Warm},
    write_log::{self, Entry},
};
use crate::ledger::{Ledger, Row};

const SCENARIO: &str = "disk-states";
/// How many choices of the writes under way are tried after each barrier.
const SUBSETS: u64 = 2;

/// All states of a deployment on this kind of disk, unless they have their rows.
pub fn all(saved: &Saved, warm: &Warm, ledger: &mut Ledger) {
    if ledger.has(SCENARIO, 0, "flush", &warm.fs) {
        return;
    }
    let started = Instant::now();
    let disks = Disks { logged: true, ..warm.disks.copy(&saved.work()) };
    record(saved, warm, &disks);
    let entries = write_log::read(&disks.log()).unwrap_or_else(|e| panic!("{}: {e}", disks.log().display()));
    let rows = replay(saved, warm, &disks, &entries);
    let violated = rows.iter().filter(|row| !row.violations.is_empty()).count();
    for row in rows.iter().filter(|row| !row.violations.is_empty()) {
        println!("  VIOLATION {} {} {}: {}", row.fs, row.point, row.kind, row.violations.join("; "));
    }
    println!(
        "power: {}: {} disk states of {} writes, {violated} with a violation, {} s",
        warm.fs,
        rows.len(),
        entries.len(),
        started.elapsed().as_secs()
    );
    ledger.add_all(rows);
}

/// One deployment, told to be live, and all that follows it, while its writes are logged.
fn record(saved: &Saved, warm: &Warm, disks: &Disks) {
    let mut machine = saved.go_on(warm, disks);
    machine.run(&format!("{}systemctl start deploy@shop", app::configure("r3"))).ok();
    machine.run("systemctl start --wait deploy-settle@shop; sync").ok();
    machine.cut();
}

fn replay(saved: &Saved, warm: &Warm, disks: &Disks, entries: &[Entry]) -> Vec<Row> {
    disk::copy_file(&warm.disks.app(), &disks.app());
    let image = File::options().write(true).open(disks.app()).unwrap();
    let chance = Chance::of(false);
    let (mut rows, mut new_since) = (Vec::new(), None);
    let mut begin = 0;
    let row = |point: String, kind: &str, seen: Look, mut wrong: Vec<String>| {
        wrong.extend(seen.wrong);
        let outcome = match seen.label.as_deref() {
            Some("r3") => "new",
            Some("r2") => "old",
            other => {
                wrong.push(format!("{other:?} is live"));
                "none"
            }
        };
        let (fs, systemd) = (warm.fs.clone(), saved.image.systemd.clone());
        Row { outcome: outcome.into(), violations: wrong, fs, systemd, ..Row::new(3, SCENARIO, &point, kind) }
    };
    for (number, entry) in entries.iter().enumerate() {
        entry.apply(&image).unwrap();
        if !entry.is_barrier() {
            continue;
        }
        let seen = look::at(&disks.app(), &saved.image.sources);
        let mut wrong = Vec::new();
        if new_since.is_some() && seen.label.as_deref() == Some("r2") {
            wrong.push(format!("the release before is live again, the new one was at {new_since:?}"));
        }
        if seen.label.as_deref() == Some("r3") {
            new_since = new_since.or(Some(number));
        }
        let name = format!("{begin} of {} writes", number + 1);
        rows.push(row(name, "flush", seen, wrong));
        let under_way = entries[number + 1..].iter().take_while(|entry| !entry.is_barrier()).collect::<Vec<_>>();
        for subset in 0..if under_way.len() > 1 { SUBSETS } else { 0 } {
            let some = disks.dir.join("some.img");
            disk::copy_file(&disks.app(), &some);
            let image = File::options().write(true).open(&some).unwrap();
            let taken = |at: &usize| chance.below(2, &format!("{} {number} {subset} {at}", warm.fs)) == 0;
            let chosen: Vec<_> = (0..under_way.len()).filter(taken).collect();
            chosen.iter().for_each(|at| under_way[*at].apply(&image).unwrap());
            let seen = look::at(&some, &saved.image.sources);
            let name = format!("{begin} and {} of {} under way", chosen.len(), under_way.len());
            rows.push(row(name, &format!("subset {subset}"), seen, Vec::new()));
            fs::remove_file(&some).ok();
        }
        begin += 1;
    }
    let last = rows.iter_mut().rfind(|row| row.kind == "flush").expect("a deployment asks for its writes");
    if last.outcome != "new" {
        last.violations.push("at the end the new release is not live".into());
    }
    rows
}
