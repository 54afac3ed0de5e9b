//! Tier 4: the power goes at a random moment of a deployment; what is on the disk then, and what becomes of it.

use std::time::{Duration, Instant};

use super::{
    app,
    chance::Chance,
    disk::Disks,
    look,
    machine::{self, Machine},
    saved::{Saved, Warm},
};
use crate::ledger::{Ledger, Row};

/// The release to come, and the one to go on with.
const NEW: &str = "r3";
const NEXT: &str = "r4";

/// What is going on, and from when on the moment is counted.
struct Situation {
    scenario: &'static str,
    from: From,
}

#[derive(Clone, Copy, PartialEq)]
enum From {
    /// The start.
    Began,
    /// `current` was seen to have moved.
    Moved,
    /// systemctl has said that it is live.
    Told,
    /// It is confirmed, and what is beyond `keep` was pruned.
    Settled,
}

const SITUATIONS: [Situation; 11] = [
    Situation { scenario: "power-deploy", from: From::Moved },
    Situation { scenario: "power-deploy", from: From::Told },
    Situation { scenario: "power-deploy", from: From::Began },
    Situation { scenario: "power-deploy", from: From::Settled },
    Situation { scenario: "power-rollback", from: From::Began },
    Situation { scenario: "power-deploy", from: From::Began },
    Situation { scenario: "power-deploy", from: From::Moved },
    Situation { scenario: "power-deploy", from: From::Told },
    Situation { scenario: "power-first", from: From::Began },
    Situation { scenario: "power-recovery", from: From::Moved },
    Situation { scenario: "power-rollback", from: From::Moved },
];

/// Says when `current` has moved, with nothing but the shell: a new process takes too long there.
const WATCH: &str = "mkfifo /run/never; exec 3<> /run/never; \
     { while [ /srv/shop/current -ef \"$OLD\" ]; do read -r -t 0.01 -u 3; done; echo moved; } & ";

/// Waits for what follows a deployment.
pub const SETTLE: &str = " && systemctl start --wait deploy-settle@shop";

/// Takes the power away in case `number`, and looks; with `next`, also at how it goes on. A case that has its row is left
/// out.
pub fn case(saved: &Saved, warm: &Warm, (number, next): (u64, bool), chance: &Chance, ledger: &mut Ledger) {
    let situation = &SITUATIONS[usize::try_from(number).unwrap() % SITUATIONS.len()];
    if ledger.has(situation.scenario, number, "power", &warm.fs) {
        return;
    }
    let whole = u64::try_from(warm.took.as_millis()).unwrap();
    let (from, limit) = match situation.from {
        From::Began => ("started", whole + whole / 20),
        From::Moved => ("moved", 400),
        From::Told => ("told", 3000),
        From::Settled => ("settled", 400),
    };
    let after = chance.below(limit, &format!("{} {number}", warm.fs));
    let started = Instant::now();
    let mut row = Row::new(4, situation.scenario, &format!("{number} {from} +{after} ms"), "power");
    let (disks, told) = interrupted(saved, warm, situation, Duration::from_millis(after));
    let old = if situation.scenario == "power-first" { None } else { Some("r2") };
    let new = if situation.scenario == "power-rollback" { "r1" } else { NEW };
    let seen = look::at(&disks.app(), &saved.image.sources);
    row.violations.extend(seen.wrong.into_iter().map(|wrong| format!("after the cut: {wrong}")));
    let lost = told && seen.label.as_deref() != Some(new);
    if lost {
        row.violations.push(format!("{new} was told to be live, and after the cut it is {:?}", seen.label));
    }
    if row.violations.is_empty() && seen.label.as_deref() != Some(new) && seen.label.as_deref() != old {
        row.violations.push(format!("after the cut {:?} is live", seen.label));
    }
    let disks =
        if situation.scenario == "power-recovery" { cut_again(saved, warm, disks, chance, number) } else { disks };
    let outcome = going_on(saved, warm, &disks, next, &mut row.violations);
    row.outcome = match outcome.as_deref() {
        None => "none".into(),
        Some(label) if label == new => "new".into(),
        Some(_) => "old".into(),
    };
    if told && row.outcome != "new" {
        row.violations.push(format!("{new} was told to be live, and recovery left {outcome:?}"));
    }
    println!(
        "power: {}{} {}: {}, told {told}: {} was live, {} s{}",
        warm.fs,
        if warm.own_state { ", two disks," } else { "" },
        row.point,
        row.scenario,
        row.outcome,
        started.elapsed().as_secs(),
        row.violations.iter().map(|wrong| format!("\n  VIOLATION {wrong}")).collect::<String>(),
    );
    ledger.add(Row { fs: warm.fs.clone(), systemd: saved.image.systemd.clone(), ..row });
}

/// Starts what is to be interrupted, and interrupts it. Gives the disks, and whether its end had been told.
fn interrupted(saved: &Saved, warm: &Warm, situation: &Situation, after: Duration) -> (Disks, bool) {
    let first = situation.scenario == "power-first";
    let (disks, mut machine) = if first {
        let disks = Disks::blank(&saved.work());
        disks.format(&warm.fs);
        let mut machine = saved.cold(&disks);
        machine.run(&format!("{}{}", app::configure(NEW), app::come_up(warm.own_state))).ok();
        (disks, machine)
    } else {
        let disks = warm.disks.copy(&saved.work());
        let mut machine = saved.go_on(warm, &disks);
        machine.run(&app::configure(NEW)).ok();
        (disks, machine)
    };
    let unit = if situation.scenario == "power-rollback" { "deploy-rollback@shop" } else { "deploy@shop" };
    let watch = if situation.from == From::Moved { WATCH } else { "" };
    let settle = if situation.from == From::Settled { SETTLE } else { "" };
    machine.begin(&format!("OLD=$(readlink -f /srv/shop/current); {watch}systemctl start {unit}{settle}"));
    let mut told = match situation.from {
        From::Began => false,
        From::Moved => until(&mut machine, |line| line == "moved"),
        From::Told | From::Settled => until(&mut machine, |line| machine::status(line).is_some()),
    };
    let end = Instant::now() + after;
    while let Some(line) = machine.line(end) {
        told |= machine::status(&line) == Some(0);
    }
    told |= machine.cut().iter().any(|line| machine::status(line) == Some(0));
    (disks, told)
}

/// Reads on until a line that is it; whether it was told meanwhile that all is done.
fn until(machine: &mut Machine, is_it: impl Fn(&str) -> bool) -> bool {
    let limit = Instant::now() + Duration::from_secs(300);
    loop {
        let line = machine.line(limit).expect("a deployment ends within five minutes");
        let told = machine::status(&line) == Some(0);
        if told || is_it(&line) {
            return told;
        }
        assert!(machine::status(&line).is_none(), "it fails where nothing was done to it: {line}");
    }
}

/// The power goes once more, while what the first cut left is being settled.
fn cut_again(saved: &Saved, warm: &Warm, disks: Disks, chance: &Chance, number: u64) -> Disks {
    let mut machine = saved.cold(&disks);
    machine.begin(&format!("{}{}", app::configure(NEW), app::come_up(warm.own_state)));
    let end = Instant::now() + Duration::from_millis(500 + chance.below(6000, &format!("again {number}")));
    while machine.line(end).is_some() {}
    machine.cut();
    disks
}

/// The machine is started again and goes on by itself; with `next` it deploys then. Gives what recovery left live.
fn going_on(saved: &Saved, warm: &Warm, disks: &Disks, next: bool, wrong: &mut Vec<String>) -> Option<String> {
    let mut machine = saved.cold(disks);
    let up = machine.run(&format!("{}{}", app::configure(NEW), app::come_up(warm.own_state)));
    if up.status != 0 {
        wrong.push(format!("it does not come up: {}", up.said));
    }
    let label = machine.run("cat /srv/shop/current/RELEASE 2>/dev/null").said.trim().to_owned();
    let label = Some(label).filter(|label| !label.is_empty());
    if let Some(label) = &label {
        let other = machine.run(&format!("diff -rq /opt/source/{label} /srv/shop/current/ 2>&1"));
        if other.status != 0 {
            wrong.push(format!("after recovery {label} is not complete: {}", other.said));
        }
    }
    wrong.extend(left_over(&mut machine));
    if !next {
        return label;
    }
    let next = machine
        .run(&format!("{}systemctl start deploy@shop || {{ journalctl -o cat -n 40; exit 1; }}", app::configure(NEXT)));
    if next.status != 0 {
        wrong.push(format!("the next deployment fails: {}", next.said));
        return label;
    }
    machine.run("systemctl start --wait deploy-settle@shop");
    wrong.extend(left_over(&mut machine).into_iter().map(|wrong| format!("after the next one: {wrong}")));
    machine.cut();
    let last = look::at(&disks.app(), &saved.image.sources);
    wrong.extend(last.wrong.into_iter().map(|wrong| format!("after the next one: {wrong}")));
    if last.label.as_deref() != Some(NEXT) {
        wrong.push(format!("after the next one {:?} is live", last.label));
    }
    label
}

/// What a settled host does not have.
pub fn left_over(machine: &mut Machine) -> Vec<String> {
    let state = machine.run("cat /var/lib/deployd/apps/shop/state.json 2>/dev/null").said;
    let state = state.trim();
    let envelope: serde_json::Value = serde_json::from_str(state).unwrap_or_default();
    let inner = envelope["state"].as_str().and_then(|text| serde_json::from_str(text).ok());
    let Some(state): Option<serde_json::Value> = inner else {
        // Before its first deployment an app has no record.
        return if state.is_empty() { Vec::new() } else { vec![format!("the record cannot be read: {state:?}")] };
    };
    let mut wrong = Vec::new();
    for what in ["running", "stuck"] {
        if !state[what].is_null() {
            wrong.push(format!("the record says {what}: {}", state[what]));
        }
    }
    let known: Vec<_> =
        state["releases"].as_array().into_iter().flatten().filter_map(|one| one["id"].as_str()).collect();
    let there = machine.run("cd /srv/shop; ls -1A releases 2>/dev/null; ls -d current?* 2>/dev/null; true").said;
    let names = there.lines().filter(|name| !name.is_empty() && !name.starts_with(".next-"));
    let nobodys = names.filter(|name| !known.contains(name));
    wrong.extend(nobodys.map(|name| format!("{name} is left in the root")));
    wrong
}
