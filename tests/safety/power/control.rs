//! The negative controls: a sync is taken out, and the same look at the disk, or at the host that goes on from it, must
//! see it. Otherwise it sees nothing.

use std::time::{Duration, Instant};

use super::{
    app, cut, look,
    machine::{self, Machine},
    saved::{Saved, Warm},
};
use crate::ledger::{Ledger, Row};

/// The record has a disk of its own there: on one disk, its syncs would bring `current` along.
pub const OWN_STATE: bool = true;

/// What is taken out, and what is then done before the power goes.
struct Control {
    name: &'static str,
    /// Of which engine.
    unit: &'static str,
    loses: &'static str,
    then: &'static str,
}

const DEPLOY: &str = "deploy";
const SETTLE: &str = "deploy-settle";

const ALL: [Control; 3] = [
    // Any program's fsync commits the names of a release; its bytes are not there yet.
    Control {
        name: "no-syncfs",
        unit: DEPLOY,
        loses: "syncfs",
        then: " && dd if=/dev/zero of=/mnt/app/other bs=1 count=1 conv=fsync",
    },
    Control { name: "no-directory-fsync", unit: DEPLOY, loses: "fsync:/srv/shop", then: "" },
    // What was pruned is forgotten, and there again.
    Control { name: "no-discard-fsync", unit: SETTLE, loses: "fsync:/srv/shop/releases", then: cut::SETTLE },
];

/// Runs all. On btrfs an fsync brings no other file's names along, so the first does not show there.
pub fn all(saved: &Saved, warm: &Warm, ledger: &mut Ledger) {
    for control in ALL.iter().filter(|control| warm.fs != "btrfs" || control.loses != "syncfs") {
        if ledger.has_control(control.name, &warm.fs) {
            continue;
        }
        let started = Instant::now();
        let violations = run(saved, warm, control);
        let caught = Some(!violations.is_empty());
        println!(
            "power: {} negative control, {}: {}, {} s: {}",
            warm.fs,
            control.name,
            if caught == Some(true) { "caught" } else { "NOT CAUGHT" },
            started.elapsed().as_secs(),
            violations.join("; ")
        );
        let row = Row::new(4, control.name, "0 told", "power");
        let (fs, systemd) = (warm.fs.clone(), saved.image.systemd.clone());
        ledger.add(Row { negative_control: true, caught, violations, fs, systemd, ..row });
    }
}

/// What is seen on the disk after a deployment without it was told to be live.
fn run(saved: &Saved, warm: &Warm, control: &Control) -> Vec<String> {
    let disks = warm.disks.copy(&saved.work());
    let mut machine = saved.go_on(warm, &disks);
    machine.run(&format!("{}{}", app::configure("r3"), wrap(control, &warm.fs))).ok();
    machine.begin(&format!("systemctl start deploy@shop{}", control.then));
    wait(&mut machine);
    machine.cut();
    if control.unit == SETTLE {
        let mut machine = saved.cold(&disks);
        machine.run(&format!("{}{}", app::configure("r3"), app::come_up(warm.own_state))).ok();
        return cut::left_over(&mut machine);
    }
    let seen = look::at(&disks.app(), &saved.image.sources);
    let mut wrong = seen.wrong;
    if wrong.is_empty() && seen.label.as_deref() != Some("r3") {
        wrong.push(format!("r3 was told to be live, and after the cut it is {:?}", seen.label));
    }
    wrong
}

fn wait(machine: &mut Machine) {
    let limit = Instant::now() + Duration::from_secs(300);
    let mut said = String::new();
    loop {
        let line = machine.line(limit).unwrap_or_else(|| panic!("the control does not end: {said}"));
        match machine::status(&line) {
            Some(0) => return,
            Some(status) => panic!("the control ends with {status}: {said}"),
            None => said.push_str(&line),
        }
    }
}

/// What keeps a file system from committing its journal by itself.
fn never_commits(fs: &str) -> &'static str {
    match fs {
        "xfs" => "echo 720000 > /proc/sys/fs/xfs/xfssyncd_centisecs",
        _ => "mount -o remount,commit=300 /mnt/app",
    }
}

/// Puts the program that keeps calls from the kernel in front of the engine. A deployment takes so long in this machine
/// that the kernel writes by itself what is half a minute old, and ext4 commits its journal within five seconds: they do
/// not there, as they could not on a real one.
fn wrap(control: &Control, fs: &str) -> String {
    let Control { unit, loses, .. } = control;
    let never_commits = never_commits(fs);
    let command = if *unit == SETTLE { "settle" } else { "run deploy" };
    format!(
        "set -e
{never_commits}
echo 0 > /proc/sys/vm/dirty_writeback_centisecs
echo 360000 > /proc/sys/vm/dirty_expire_centisecs
mkdir -p /run/systemd/system/{unit}@.service.d
cat > /run/systemd/system/{unit}@.service.d/lose.conf <<'END'
[Service]
SystemCallFilter=
NotifyAccess=all
ExecStart=
ExecStart=/usr/libexec/deployd/crash-at {command} %i
END
echo '/{unit}@shop 0 lose:{loses}' > /run/deployd-crash
systemctl daemon-reload
",
    )
}
