//! Jobs: every one runs once, to its end, by the right release, across deployments, a rollback and a reboot; and none
//! waits for a release that does not have its class.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use deployd::model::events;

use crate::{
    common::{Live, eventually, installed},
    support::{
        command::Ended,
        host::Host,
        jobs::{Log, activations},
        lock::crate_dir,
        shop::{Shop, Spec},
    },
};

pub const FPM: &str = "[[service]]\nkind = \"php-fpm\"\n";
pub const QUEUE: &str =
    "[[service]]\nkind = \"queue\"\nconnection = \"redis\"\nprocesses = 2\nsleep = 1\ntimeout = 600\n";
const HORIZON: &str = "[[service]]\nkind = \"horizon\"\n";
pub const BAKE: &str = "[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
/// A deployment takes seconds, also on a machine that tests other things meanwhile.
pub const SECONDS: Duration = Duration::from_secs(30);
/// No queue stands still longer, in milliseconds.
const LONGEST_GAP: u64 = 1000;

/// A host with release r1 of an app whose jobs go to Redis.
pub fn with_jobs(services: &str) -> (Host, Shop) {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{FPM}{services}{BAKE}")));
    shop.set_env(&host, "QUEUE_CONNECTION", "redis");
    (host, shop)
}

/// Has the live release dispatch a job.
#[track_caller]
pub fn dispatch(host: &Host, shop: &Shop, what: &str) {
    let answer = shop.get(host, &format!("/dispatch/{what}"));
    assert!(answer.is_whole(), "{what}: {answer:?}");
}

/// Commits the release `label` and deploys it; how long that took.
#[track_caller]
pub fn release(host: &Host, shop: &Shop, label: &str) -> Duration {
    shop.commit(host, label, &[]);
    let begun = Instant::now();
    shop.deploy(host);
    begun.elapsed()
}

#[track_caller]
pub fn all_have_ended(host: &Host, shop: &Shop, jobs: usize, limit: Duration) -> Log {
    eventually("every job has ended", limit, || Log::of(host, shop).count("end") >= jobs);
    Log::of(host, shop)
}

/// What each handover of a queue took, by the journal, in milliseconds.
fn gaps(host: &Host) -> Vec<u64> {
    let text = host.ok(&["journalctl", "--no-pager", "-q", "-o", "cat", "--output-fields=DEPLOYD_GAP_MS"]);
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Every job once, none on the wrong side of a switch.
#[track_caller]
fn in_order(host: &Host, log: &Log) {
    assert_eq!(log.not_once(), Vec::<String>::new());
    assert_eq!(log.dispatched_by_a_newer(), Vec::<&crate::support::jobs::Line>::new(), "an older release ran them");
    let activated = activations(host, events::RELEASE_ACTIVATED);
    let late = log.begun_late(&activated);
    assert!(late.is_empty(), "begun by a release that was not current any more, and how much later: {late:?}");
}

/// Dispatches `jobs` while `deployments` follow each other, the same share of them during each: spread over the time
/// that the one before has taken, so that some wait and some run at every switch.
fn jobs_across(host: &Host, shop: &Shop, jobs: u32, deployments: u32, ms: impl Fn(u32) -> u32 + Sync) {
    let (sent, begun, took) = (AtomicU32::new(0), AtomicU32::new(1), AtomicU64::new(3000));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=jobs {
                let due = || number <= jobs * begun.load(Ordering::Relaxed) / deployments;
                eventually("the next deployment begins", Duration::from_secs(120), due);
                dispatch(host, shop, &format!("{number}/{}", ms(number)));
                sent.store(number, Ordering::Relaxed);
                let share = u64::from(jobs / deployments);
                std::thread::sleep(Duration::from_millis(took.load(Ordering::Relaxed) * 12 / 10 / share));
            }
        });
        for number in 1..=deployments {
            begun.store(number, Ordering::Relaxed);
            let ms = release(host, shop, &format!("r{}", number + 1)).as_millis();
            took.store(u64::try_from(ms).unwrap().min(20_000), Ordering::Relaxed);
            let due = jobs * number / deployments;
            eventually("its jobs are sent", Duration::from_secs(120), || sent.load(Ordering::Relaxed) >= due);
        }
    });
}

#[test]
fn two_hundred_jobs_run_once_and_on_the_right_side_of_ten_deployments() {
    let (mut host, shop) = with_jobs(QUEUE);
    shop.deploy(&host);
    // 0.1 to 5 s; one in a hundred takes the longest.
    jobs_across(&host, &shop, 200, 10, |number| match number % 100 {
        50 => 5000,
        n if n % 10 == 0 => 800,
        n => 100 + n,
    });
    let log = all_have_ended(&host, &shop, 200, Duration::from_secs(90));
    in_order(&host, &log);
    let releases: BTreeMap<&str, usize> = log.of_event("start").fold(BTreeMap::new(), |mut releases, line| {
        *releases.entry(line.by.as_str()).or_default() += 1;
        releases
    });
    assert!(releases.len() >= 9, "nearly every release had jobs: {releases:?}");
    let moved = log.of_event("start").filter(|line| line.dispatched_by != line.by).count();
    assert!(moved > 0, "no job waited at a switch: the test shows nothing");
    let gaps = gaps(&host);
    println!("the queue stood still for {gaps:?} ms; jobs by release: {releases:?}");
    assert!(gaps.len() >= 10 && gaps.iter().all(|gap| *gap < LONGEST_GAP), "{gaps:?}");
    assert!(log.longest_standstill() < 2.0, "jobs waited and none ran for {} s", log.longest_standstill());

    host.reboot();
    let active = host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "app-queue@*"]);
    assert_eq!(active.lines().count(), 1, "the live slot, and no other: {active}");
    dispatch(&host, &shop, "300/100");
    assert_eq!(all_have_ended(&host, &shop, 201, Duration::from_secs(20)).not_once(), Vec::<String>::new());
}

#[test]
fn a_job_of_ten_minutes_holds_back_no_deployment_and_no_rollback() {
    let (host, shop) = with_jobs(QUEUE);
    shop.deploy(&host);
    dispatch(&host, &shop, "1/600000");
    eventually("it begins", Duration::from_secs(20), || Log::of(&host, &shop).count("start") == 1);
    let mut third = String::new();
    for label in ["r2", "r3", "r4"] {
        third = shop.current(&host).replace("releases/", "");
        let took = release(&host, &shop, label);
        assert!(took < SECONDS, "{label} took {took:?}");
    }
    // By its name: which one is the newest confirmed is a question of how fast the machine is.
    let begun = Instant::now();
    shop.ctl(&host, "rollback", &[&third]).ok();
    assert!(begun.elapsed() < SECONDS, "the rollback took {:?}", begun.elapsed());
    assert_eq!(shop.release(&host), "r3");
    assert_eq!(Log::of(&host, &shop).count("end"), 0, "the job still runs");
    dispatch(&host, &shop, "2/100");
    eventually("the next job ends", Duration::from_secs(30), || Log::of(&host, &shop).count("end") == 1);
    let draining = || host.run(&["systemctl", "is-active", "app-queue@shop:a.service"]).stdout;
    eventually("the slot of the long one drains", Duration::from_secs(60), || draining().trim() == "deactivating");
    host.ok(&["touch", &format!("{}/shared/storage/jobs-end", shop.root())]);
    let log = all_have_ended(&host, &shop, 2, Duration::from_secs(30));
    assert_eq!(log.not_once(), Vec::<String>::new());
    let ran: Vec<&str> = log.of_event("end").map(|line| line.by.as_str()).collect();
    assert_eq!(ran, ["r3", "r1"], "the second job went to the release that was rolled back to");
    eventually("its slot is stopped", Duration::from_secs(30), || draining().trim() == "inactive");
}

#[test]
fn a_waiting_job_of_a_removed_class_keeps_the_release_from_going_live() {
    let (host, shop) = with_jobs(QUEUE);
    let gone = "<?php\n\nnamespace App\\Jobs;\n\nclass Gone extends Work\n{\n}\n";
    shop.commit(&host, "r1", &[("app/Jobs/Gone.php", gone)]);
    shop.deploy(&host);
    dispatch(&host, &shop, "1/100/3600/Gone");
    host.ok(&["rm", "/srv/build/shop/app/Jobs/Gone.php"]);
    shop.commit(&host, "r2", &[]);
    let before = Live::of(&host, &shop);
    let refused = |said: Ended| assert!(said.stderr.contains("App\\Jobs\\Gone (1 delayed)"), "{said}");
    refused(shop.ctl(&host, "deploy", &[]).expect_status(3));
    assert_eq!(Live::of(&host, &shop), before);
    assert_eq!(host.ok(&["redis-cli", "zcard", "queues:default:delayed"]).trim(), "1");

    let warn = format!("{FPM}{QUEUE}{BAKE}[safety]\nmissing_jobs = \"warn\"\n");
    shop.configure(&host, &warn);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2", "told, and not refused");
    assert!(
        host.journal_of("MESSAGE_ID", deployd::model::events::DEPLOYMENT_WARNED)
            .contains("App\\Jobs\\Gone (1 delayed)")
    );

    // And before a rollback: a class that only the newer release has.
    host.ok(&["redis-cli", "flushall"]);
    shop.configure(&host, &format!("{FPM}{QUEUE}{BAKE}"));
    let second = shop.current(&host).replace("releases/", "");
    shop.commit(&host, "r3", &[("app/Jobs/Gone.php", gone)]);
    shop.deploy(&host);
    dispatch(&host, &shop, "2/100/3600/Gone");
    refused(shop.ctl(&host, "rollback", &[&second]).expect_status(3));
    assert_eq!(shop.release(&host), "r3");
    host.ok(&["redis-cli", "flushall"]);
    shop.ctl(&host, "rollback", &[&second]).ok();
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn horizon_is_handed_over_without_losing_a_job_by_a_stand_in() {
    let (host, shop) = with_jobs(HORIZON);
    let stand_in = std::fs::read_to_string(crate_dir().join("tests/stand-in/horizon.php")).unwrap();
    let app = std::fs::read_to_string(crate_dir().join("tests/app/bootstrap/app.php")).unwrap();
    let app = app.replace("return $app;", "require_once __DIR__.'/../app/horizon.php';\n\nreturn $app;");
    shop.commit(&host, "r1", &[("app/horizon.php", &stand_in), ("bootstrap/app.php", &app)]);
    shop.deploy(&host);
    // One takes longer than the master waits for its supervisor.
    jobs_across(&host, &shop, 80, 3, |number| if number == 79 { 600_000 } else { 100 + number });
    let begun = |log: &Log| log.of_event("start").any(|line| line.number == 79);
    eventually("the long one begins", Duration::from_secs(60), || begun(&Log::of(&host, &shop)));
    release(&host, &shop, "r5");
    let ending = ["systemctl", "list-units", "--plain", "--no-legend", "--state=deactivating", "app-horizon@*"];
    eventually("its slot drains", Duration::from_secs(60), || !host.ok(&ending).is_empty());
    // Two seconds are its master's patience.
    std::thread::sleep(Duration::from_secs(4));
    host.ok(&["touch", &format!("{}/shared/storage/jobs-end", shop.root())]);
    let log = all_have_ended(&host, &shop, 80, Duration::from_secs(60));
    in_order(&host, &log);
    println!("the queue stood still for {:?} ms", gaps(&host));
    let masters = host.ok(&["redis-cli", "keys", "master:*"]);
    assert!(!masters.trim().is_empty(), "{masters}");
}

#[test]
fn the_scheduler_runs_what_is_live_and_a_long_run_holds_back_no_other() {
    let (mut host, shop) = with_jobs("[[service]]\nkind = \"scheduler\"\n");
    shop.deploy(&host);
    let active = |host: &Host| host.run(&["systemctl", "is-active", "app-schedule@shop.timer"]).stdout;
    assert_eq!(active(&host).trim(), "active");
    let run = |host: &Host| host.ok(&["systemctl", "start", "app-schedule@shop.service"]);
    let log = |host: &Host| host.run(&["cat", "/srv/shop/shared/storage/schedule.log"]).stdout;
    let count = |host: &Host, what: &str| log(host).lines().filter(|line| line.starts_with(what)).count();
    host.ok(&["sh", "-euc", "echo 8 > /srv/shop/shared/storage/schedule-takes"]);
    let begun = Instant::now();
    run(&host);
    assert!(begun.elapsed() < Duration::from_secs(5), "it is not waited for: {:?}", begun.elapsed());
    eventually("the first run begins", Duration::from_secs(20), || count(&host, "start r1") >= 1);
    host.ok(&["rm", "/srv/shop/shared/storage/schedule-takes"]);
    release(&host, &shop, "r2");
    run(&host);
    eventually("the second run ends beside it", Duration::from_secs(20), || count(&host, "end r2") >= 1);
    eventually("the first run ends in its own release", Duration::from_secs(20), || count(&host, "end r1") >= 1);
    for line in log(&host).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[3], format!("/srv/shop/releases/{}/bootstrap/cache/views", words[2]), "{line}");
    }
    host.reboot();
    assert_eq!(active(&host).trim(), "active");
}
