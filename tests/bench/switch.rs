//! `make bench`: deployments under load, and the time of a deployment and a rollback, beside the common script.
//! It measures on booted hosts of its own, prints tables, and writes `target/bench/results.json`.
//!
//! Words after `--` choose: `switch`, `octane`, `queue`, `times`, `step-load`, `answers`, `stage` (with it `activate`, which
//! also goes alone, as does its part `stage-reflink`); `script` leaves deployd's rows out. `DEPLOYD_BENCH_DEPLOYMENTS` is the number of deployments under load
//! (20),
//! `DEPLOYD_BENCH_RUNS` the number of timed runs (7), `DEPLOYD_BENCH_ROUNDS` of turns under a build (3).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a bench ends at the first surprise")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it reports to a terminal")]

#[path = "../support/mod.rs"]
mod support;

mod activate;
mod answers;
mod load;
mod octane;
mod queue;
mod stage;
mod steps;
mod times;
mod tree;

use support::{root::Root, table};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let asked = |word: &str| words.iter().any(|w| w == word);
    let all = !["switch", "octane", "queue", "times", "step-load", "stage", "stage-reflink", "activate", "answers"]
        .iter()
        .any(|word| asked(word));
    let root = Root::chosen();
    let mut figures = Vec::new();
    if all || asked("switch") {
        figures.extend(load::compare(&root, number("DEPLOYD_BENCH_DEPLOYMENTS", 20), !asked("script")));
    }
    if all || asked("octane") {
        figures.extend(octane::compare(&root, number("DEPLOYD_BENCH_DEPLOYMENTS", 20).div_ceil(4)));
    }
    if all || asked("queue") {
        figures.extend(queue::compare(&root, !asked("script")));
    }
    if all || asked("times") {
        figures.extend(times::compare(&root, number("DEPLOYD_BENCH_RUNS", 7), !asked("script")));
    }
    if all || asked("step-load") {
        figures.extend(steps::compare(&root, number("DEPLOYD_BENCH_ROUNDS", 5)));
    }
    let runs = number("DEPLOYD_BENCH_RUNS", 5).clamp(1, 10);
    if (all || asked("stage") || asked("activate")) && !asked("script") {
        figures.extend(activate::compare(&root, runs as usize));
    }
    if (all || asked("answers")) && !asked("script") {
        figures.extend(answers::compare(&root, runs as usize));
    }
    if all || asked("stage") {
        figures.extend(stage::compare(&root, runs as usize, !asked("script")));
    }
    if asked("stage-reflink") {
        figures.extend(stage::by_reference(&root, runs as usize));
    }
    table::save(&figures);
}

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
