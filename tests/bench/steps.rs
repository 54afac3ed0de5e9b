//! `step-load`: how long the fast page takes while a build burns every core that it may have, and the disk: not at all, as
//! a step of a deployment, whose syncs are answered at once, and as a plain service beside the site, whose syncs are
//! carried out. What is synced for the step, by the seal, comes after it: `switch` has it. In turns on one host; the
//! medians of the rounds.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{
    deb,
    host::Host,
    load::{Plan, Running},
    root::Root,
    shop::{Shop, Spec},
    table::{self, Figure},
};

const WORK: &str = "step-load";
const WHO: [&str; 3] = ["idle", "deployd", "plain-step"];
/// How long the load is watched in each turn; the build takes longer.
const WATCHED: Duration = Duration::from_secs(12);
/// A build of the worst kind, for 20 s: a loop on each core, and one that writes and syncs.
const BURN: &str = "touch \"$1\"; for core in $(seq \"$(nproc)\"); do timeout 20 sh -c 'while :; do :; done' & done; \
                    end=$(($(date +%s) + 20)); while test \"$(date +%s)\" -lt $end; do \
                    dd if=/dev/zero of=\"$2\" bs=1M count=64 conv=fsync 2>/dev/null; done; wait; rm -f \"$2\"";
const BEGUN: &str = "/var/cache/deployd/shop/burn-began";

/// Measures in turns and prints the table.
pub fn compare(root: &Root, rounds: u32) -> Vec<Figure> {
    let host = Host::boot_weighing(root);
    host.install_deb(&deb::ensure());
    host.write("/usr/local/bin/burn", format!("#!/bin/sh\n{BURN}\n"));
    host.ok(&["chmod", "0755", "/usr/local/bin/burn"]);
    let step = format!("[[step]]\nname = \"burn\"\nrun = [\"burn\", \"{BEGUN}\", \"junk\"]\n");
    let shop = Shop::make(&host, Spec::new("shop"));
    shop.deploy(&host);
    shop.wait_release(&host, "r1");
    shop.configure(&host, &step);
    let mut all: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for round in 1..=rounds {
        for who in WHO {
            let (p50, p99) = turn(&host, &shop, who);
            eprintln!("steps: {who}: p50 {p50:.1} ms, p99 {p99:.1} ms (round {round} of {rounds})");
            all.entry((who, "p50_ms")).or_default().push(p50);
            all.entry((who, "p99_ms")).or_default().push(p99);
        }
    }
    report(&mut all)
}

/// One turn: what is done meanwhile is begun, the load is watched, and what was begun is waited for.
fn turn(host: &Host, shop: &Shop, who: &str) -> (f64, f64) {
    host.ok(&["rm", "-f", BEGUN]);
    std::thread::scope(|scope| {
        let work = match who {
            "deployd" => Some(scope.spawn(|| shop.ctl(host, "stage", &["--force"]))),
            "plain-step" => Some(scope.spawn(|| {
                host.run(&["systemd-run", "--wait", "--uid=shop", "burn", BEGUN, "/srv/shop/shared/storage/junk"])
            })),
            _ => None,
        };
        if work.is_some() {
            while host.run(&["test", "-e", BEGUN]).status != 0 {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        if who == "deployd" {
            eprintln!("steps: {}", held_back(host));
        }
        let plan = Plan { fast: ("/".into(), 100), slow: ("/up".into(), 0), sessions: 0, domain: shop.domain() };
        let load = Running::start(host.network(), plan);
        std::thread::sleep(WATCHED);
        let report = load.stop();
        assert_eq!(report.failed, 0, "{report:?}");
        if let Some(work) = work {
            work.join().expect("it does not panic").ok();
        }
        // What was written reaches the disk in nobody's turn.
        host.ok(&["sync"]);
        (report.p50_ms, report.p99_ms)
    })
}

/// What holds the step back here: what the slice of all steps weighs, where the host has a controller, and what the step
/// itself has everywhere.
fn held_back(host: &Host) -> String {
    let weights = "cd /sys/fs/cgroup; for at in cpu/deploysteps.slice blkio/deploysteps.slice deploysteps.slice; do \
                   for name in cpu.shares cpu.idle cpu.weight blkio.bfq.weight io.weight; do \
                   if test -e $at/$name; then echo \"$name=$(head -n1 $at/$name)\"; fi; done; done";
    let weights = host.sh(weights).lines().collect::<Vec<_>>().join(" ");
    let none = |what: &str| if weights.contains(what) { String::new() } else { format!("NO controller {what}: ") };
    let show =
        ["systemctl", "show", "-p", "Nice,CPUSchedulingPolicy,IOSchedulingClass,CPUAffinity", "deploy-step-shop-*"];
    let own = host.ok(&show).lines().collect::<Vec<_>>().join(" ");
    format!("{}{}the slice has {weights}, the step {own}", none("cpu."), none("io."))
}

fn report(all: &mut BTreeMap<(&str, &str), Vec<f64>>) -> Vec<Figure> {
    let mut median = |who, metric| {
        let runs = all.get_mut(&(who, metric)).expect("it was measured");
        runs.sort_by(f64::total_cmp);
        runs[runs.len() / 2]
    };
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    let idle = median("idle", "p99_ms");
    for who in WHO {
        let (p50, p99) = (median(who, "p50_ms"), median(who, "p99_ms"));
        figures.push(table::figure(WORK, who, "p50_ms", p50, "ms"));
        figures.push(table::figure(WORK, who, "p99_ms", p99, "ms"));
        rows.push(vec![who.to_owned(), format!("{p50:.1} ms"), format!("{p99:.1} ms"), format!("{:.2}", p99 / idle)]);
    }
    println!("\nthe fast page, 100/s, while a build burns every core it may have, and the disk\n");
    println!("{}", table::table(&["meanwhile", "p50", "p99", "ratio to idle"], &rows));
    figures
}
