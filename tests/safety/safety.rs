//! `make check-safety`: the engine and the worker are ended, or failed, at every system call that changes something,
//! and after each the host is looked at. Each row goes to `target/safety/ledger.json` as it is known, so that a run
//! that was interrupted goes on where it was.
//!
//! Words after `--`: `short` takes 60 points chosen by the commit; names of scenarios choose those. `SHARD=i/n` takes
//! every n-th point, beginning with the i-th.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the suite ends at the first surprise")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports to a terminal")]

#[path = "../support/mod.rs"]
mod support;

mod choice;
mod ledger;
mod look;
#[allow(dead_code, reason = "the table is judged by tests/promises.rs, and only counted here")]
mod promises;
mod rig;
mod scenario;

use std::process::ExitCode;

use choice::Choice;
use ledger::{Ledger, Row};
use rig::Rig;
use support::root::Root;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut ledger = Ledger::open();
    let rig = Rig::make(&Root::chosen());
    control(&rig, &mut ledger);
    let choice = Choice::of(&words);
    let asked = |name: &str| words.iter().all(|word| word == "short") || words.iter().any(|word| word == name);
    let scenarios: Vec<_> = scenario::ALL.iter().filter(|scenario| asked(scenario.name)).collect();
    let counted: Vec<_> = scenarios.iter().map(|scenario| (*scenario, scenario.count(&rig))).collect();
    let cases = choice.cases(&counted);
    println!("safety: {} of {} cases", cases.len(), counted.iter().map(|(_, points)| points).sum::<u64>());
    for (done, (scenario, point, kind)) in cases.iter().enumerate() {
        if ledger.has(scenario.name, *point, kind, "overlay") {
            continue;
        }
        let row = scenario.run(&rig, *point, kind);
        if !row.violations.is_empty() {
            println!("VIOLATION {} at {} ({kind}): {}", row.scenario, row.point, row.violations.join("; "));
        }
        ledger.add(row);
        if done % 20 == 19 {
            println!("safety: {} of {}", done + 1, cases.len());
        }
    }
    println!("safety: {}", promises::Table::read().counts());
    ledger.close()
}

/// The suite must see an unsettled host: with recovery taken out, a killed engine leaves one.
fn control(rig: &Rig, ledger: &mut Ledger) {
    let violations = rig.without_recovery();
    let caught = Some(!violations.is_empty());
    println!("safety: negative control, no recovery: {}", if caught == Some(true) { "caught" } else { "NOT CAUGHT" });
    ledger.add(Row { negative_control: true, caught, violations, ..Row::new(2, "no-recovery", "activate", "kill") });
}
