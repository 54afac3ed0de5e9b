//! Workers that do not answer: deaf in a job, in maintenance mode, failing at every start. None of them holds up a
//! deployment or its way back, and none takes a job that is not its.

use std::time::{Duration, Instant};

use crate::{
    common::eventually,
    queue::{BAKE, FPM, QUEUE, SECONDS, all_have_ended, dispatch, release, with_jobs},
    support::jobs::Log,
};

/// Waits for another program, in one call: PHP handles no signal meanwhile.
const DEAF: &str = r#"<?php

namespace App\Jobs;

class Deaf extends Work
{
    public function handle()
    {
        self::note('start', $this->number, $this->dispatched);
        shell_exec('until test -e '.escapeshellarg(storage_path('jobs-end')).'; do sleep 0.1; done');
        self::note('end', $this->number, $this->dispatched);
    }
}
"#;
/// A unit that runs every release but one.
const OTHER: &str =
    "[Service]\nExecStartPre=/bin/sh -c 'test ! -e /srv/shop/current/broken'\nExecStart=sleep infinity\n";

#[test]
fn a_job_that_hears_no_signal_holds_up_neither_a_deployment_nor_its_way_back() {
    let one = QUEUE.replace("processes = 2", "processes = 1");
    let (host, shop) = with_jobs(&one);
    host.write("/etc/systemd/system/shop-other.service", OTHER);
    let last = "[[service]]\nunit = \"shop-other.service\"\nstrategy = \"restart\"\n";
    shop.configure(&host, &format!("{FPM}{one}{last}{BAKE}"));
    shop.commit(&host, "r1", &[("app/Jobs/Deaf.php", DEAF)]);
    shop.deploy(&host);
    dispatch(&host, &shop, "1/0/0/Deaf");
    eventually("it begins", Duration::from_secs(20), || Log::of(&host, &shop).count("start") == 1);

    let begun = Instant::now();
    shop.commit(&host, "r2", &[("broken", "")]);
    shop.ctl(&host, "deploy", &[]).expect_status(4);
    assert!(begun.elapsed() < SECONDS, "back after {:?}", begun.elapsed());
    assert_eq!(shop.release(&host), "r1");
    host.ok(&["rm", "/srv/build/shop/broken"]);
    assert!(release(&host, &shop, "r3") < SECONDS);
    dispatch(&host, &shop, "2/10");
    eventually("the new one takes jobs", Duration::from_secs(20), || Log::of(&host, &shop).count("end") == 1);
    host.ok(&["touch", "/srv/shop/shared/storage/jobs-end"]);
    let log = all_have_ended(&host, &shop, 2, Duration::from_secs(20));
    let ran: Vec<&str> = log.of_event("end").map(|line| line.by.as_str()).collect();
    assert_eq!((log.not_once(), ran), (vec![], vec!["r3", "r1"]));
}

#[test]
fn a_rollback_in_maintenance_mode_and_one_from_workers_that_only_fail() {
    // With `crash` there, its workers fail: again and again, below a main process that runs.
    let app = include_str!("../app/bootstrap/app.php");
    let crash = "<?php\n\nif (PHP_SAPI === 'cli' && is_file(__DIR__.'/../storage/crash')) {\n    exit(3);\n}";
    let (host, shop) = with_jobs(QUEUE);
    shop.deploy(&host);
    shop.commit(&host, "r2", &[("bootstrap/app.php", &app.replacen("<?php", crash, 1))]);
    shop.deploy(&host);
    let artisan = |what: &str| host.run_as("shop", &["php", "/srv/shop/current/artisan", what]).ok();
    artisan("down");
    let begun = Instant::now();
    shop.ctl(&host, "rollback", &[]).ok();
    assert!(begun.elapsed() < SECONDS, "back after {:?}", begun.elapsed());
    artisan("up");
    dispatch(&host, &shop, "1/10");
    let log = all_have_ended(&host, &shop, 1, Duration::from_secs(20));
    assert_eq!(log.of_event("end").map(|line| line.by.as_str()).collect::<Vec<_>>(), ["r1"]);

    release(&host, &shop, "r3");
    host.ok(&["touch", "/srv/shop/shared/storage/crash"]);
    host.sh("pkill --parent $(systemctl show -P MainPID $(systemctl list-units --plain --no-legend 'app-queue@*' --state=active | tail -n 1 | cut -d ' ' -f 1))");
    let begun = Instant::now();
    shop.commit(&host, "r4", &[("bootstrap/app.php", app)]);
    shop.deploy(&host);
    assert!(begun.elapsed() < SECONDS, "live after {:?}", begun.elapsed());
    dispatch(&host, &shop, "2/10");
    let log = all_have_ended(&host, &shop, 2, Duration::from_secs(20));
    assert_eq!(log.of_event("end").map(|line| line.by.as_str()).collect::<Vec<_>>(), ["r1", "r4"]);
}
