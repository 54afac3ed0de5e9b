//! What fails leaves what is live as it was, ends non-zero, and says why: at the terminal, in `systemctl status`, and
//! in the journal.

use std::time::Duration;

use crate::{
    common::{Live, eventually, with_live_shop, with_shop},
    support::{host::Host, shop::Shop},
};

const HEALTH: &str = "[health]\nhttp = \"http://127.0.0.1/health.txt\"\nhost = \"shop.example.org\"\nbody = \"fine\"\n";

/// Deploys by systemd and by the bus; each time it must end badly, with `status`, for a reason that contains `reason`.
#[track_caller]
fn fails(host: &Host, shop: &Shop, outcome: &str, status: i32, reason: &str) {
    let before = Live::of(host, shop);
    shop.start(host).expect_failure();
    let told = host.run(&["systemctl", "status", "--no-pager", "--full", &format!("deploy@{}", shop.name())]).said();
    let line = told.lines().find(|line| line.contains("Status:")).unwrap_or_default();
    assert!(line.contains(reason), "systemctl status does not say {reason:?}:\n{told}");
    assert_eq!(Live::of(host, shop), before, "after systemctl start");

    let said = shop.ctl(host, "deploy", &[]).expect_status(status);
    assert!(said.stderr.lines().any(|line| line.contains(reason)), "the terminal does not say {reason:?}: {said}");
    assert_eq!(Live::of(host, shop), before, "after deployctl deploy");

    let fields = [format!("DEPLOYD_APP={}", shop.name()), format!("DEPLOYD_OUTCOME={outcome}")];
    let journal = host.ok(&["journalctl", "--no-pager", "-o", "cat", &fields[0], &fields[1]]);
    assert!(journal.lines().filter(|line| line.contains(reason)).count() >= 2, "the journal has:\n{journal}");
}

#[test]
fn a_failing_step_changes_nothing() {
    let (host, shop) = with_live_shop("");
    shop.configure(&host, "[[step]]\nname = \"broken\"\nrun = [\"sh\", \"-c\", \"echo no luck >&2; exit 3\"]\n");
    fails(&host, &shop, "failed", 1, "broken");
    assert_eq!(shop.release(&host), "r1");
    let output = host.ok(&["journalctl", "--no-pager", "-o", "cat", "DEPLOYD_APP=shop"]);
    assert!(output.contains("no luck"), "a step's output is in the journal");
}

#[test]
fn a_failing_fastcgi_probe_changes_nothing() {
    let (host, shop) = with_live_shop("");
    shop.commit(&host, "r2", &[("public/index.php", "<?php\n\nhttp_response_code(500);\necho 'out of order';\n")]);
    fails(&host, &shop, "failed", 1, "500");
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn a_failing_http_health_check_goes_back() {
    let (host, shop) = with_shop(HEALTH);
    shop.commit(&host, "r1", &[("public/health.txt", "all is fine\n")]);
    shop.deploy(&host);
    shop.commit(&host, "r2", &[("public/health.txt", "all is lost\n")]);
    let before = Live::of(&host, &shop);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(4);
    assert!(said.stderr.contains("health.txt"), "{said}");
    let after = Live::of(&host, &shop);
    assert_eq!((&after.current, &after.socket), (&before.current, &before.socket));
    // The new slot had traffic: it ends what it has, in its own time.
    eventually("the new slot is gone", Duration::from_secs(30), || Live::of(&host, &shop).slots == before.slots);
    assert_eq!(shop.release(&host), "r1");
    shop.start(&host).expect_failure();
    let told = host.run(&["systemctl", "status", "--no-pager", "--full", "deploy@shop"]).said();
    assert!(told.contains("health.txt"), "{told}");
    let journal = host.journal_of("DEPLOYD_OUTCOME", "rolled-back");
    assert!(journal.contains("health.txt"), "{journal}");
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn a_slot_that_does_not_start_changes_nothing() {
    let (host, shop) = with_live_shop("");
    host.write("/etc/systemd/system/app-fpm@.service.d/90-test.conf", "[Service]\nExecStartPre=/bin/false\n");
    host.ok(&["systemctl", "daemon-reload"]);
    shop.commit(&host, "r2", &[]);
    fails(&host, &shop, "failed", 1, "app-fpm@shop:");
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn a_unit_that_does_not_restart_takes_the_deployment_back() {
    let worker = "[Service]\nExecStartPre=/bin/sh -c 'test ! -e /srv/shop/current/broken'\nExecStart=sleep infinity\n";
    let (host, shop) = with_shop(
        "[[service]]\nkind = \"php-fpm\"\n[[service]]\nunit = \"shop-worker.service\"\nstrategy = \"restart\"\n",
    );
    host.write("/etc/systemd/system/shop-worker.service", worker);
    host.ok(&["systemctl", "daemon-reload"]);
    shop.deploy(&host);
    assert_eq!(host.ok(&["systemctl", "is-active", "shop-worker"]), "active\n");
    shop.commit(&host, "r2", &[("broken", "")]);
    let before = shop.current(&host);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(4);
    assert!(said.stderr.contains("shop-worker.service"), "{said}");
    assert_eq!(shop.current(&host), before);
    assert_eq!(shop.release(&host), "r1");
    assert_eq!(host.ok(&["systemctl", "is-active", "shop-worker"]), "active\n");
}

#[test]
fn a_missing_env_is_a_clear_error() {
    let (host, shop) = with_shop("");
    host.ok(&["rm", "/srv/shop/shared/.env"]);
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("/srv/shop/shared/.env"), "{said}");
    assert_eq!(shop.current(&host), "");
}

#[test]
fn a_site_in_maintenance_mode_is_recognised() {
    let (host, shop) = with_live_shop("");
    let releases = Live::of(&host, &shop).releases;
    host.run_as("shop", &["php", "/srv/shop/current/artisan", "down"]).ok();
    assert_eq!(shop.get(&host, "/").status, 503);
    shop.commit(&host, "r2", &[]);
    let said = shop.ctl(&host, "deploy", &[]);
    assert!(said.said().contains("maintenance"), "{said}");
    assert_eq!(Live::of(&host, &shop).releases, releases, "it was seen before staging");
}
