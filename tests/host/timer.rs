//! Hosts that pull: a timer deploys what is new, does not try again what had to go back, and leaves no trail of nothing;
//! what a monitoring reads is there.

use std::time::Duration;

use crate::{
    common::{self, Live, with_shop},
    support::{host::Host, shop::Shop},
};

const HEALTH: &str =
    "[health]\nhttp = \"http://127.0.0.1/health.txt\"\nhost = \"shop.example.org\"\nbody = \"fine\"\nbake = \"0s\"\n";

fn eventually(what: &str, wanted: impl FnMut() -> bool) {
    common::eventually(what, Duration::from_secs(60), wanted);
}

/// How many deployments the timer has had, by the journal.
fn turns(host: &Host, outcome: &str) -> usize {
    let fields = ["DEPLOYD_ACTOR=timer".to_owned(), format!("DEPLOYD_OUTCOME={outcome}")];
    host.ok(&["journalctl", "--no-pager", "-q", "-o", "cat", &fields[0], &fields[1]]).lines().count()
}

/// One turn of the timer, to the end of what it started.
#[track_caller]
fn turn(host: &Host, outcome: &str) {
    let before = turns(host, outcome);
    host.ok(&["systemctl", "restart", "deploy@shop.timer"]);
    eventually(&format!("the timer's deployment ends: {outcome}"), || turns(host, outcome) > before);
    eventually("its unit has ended", || {
        let state = host.ok(&["systemctl", "show", "-P", "ActiveState", "deploy@shop"]);
        ["inactive", "failed"].contains(&state.trim())
    });
}

fn records(host: &Host, shop: &Shop) -> usize {
    host.ok(&["ls", &format!("/var/lib/deployd/apps/{}/deployments", shop.name())]).lines().count()
}

#[track_caller]
fn says(host: &Host, file: &str, line: &str) {
    let text = host.run_as("nobody", &["cat", &format!("/var/lib/deployd/metrics/shop-{file}.prom")]).ok();
    assert!(text.lines().any(|one| one.contains(line)), "{line} in\n{text}");
}

#[test]
fn a_timer_deploys_what_is_new_and_nothing_twice() {
    let (host, shop) = with_shop(HEALTH);
    host.write("/etc/systemd/system/deploy@shop.timer.d/soon.conf", common::SOON);
    host.ok(&["systemctl", "daemon-reload"]);
    shop.commit(&host, "r1", &[("public/health.txt", "all is fine\n")]);
    turn(&host, "succeeded");
    assert_eq!(shop.release(&host), "r1");
    says(&host, "deployment", "outcome=\"succeeded\"} 1");
    let id = shop.current(&host).rsplit('/').next().map(str::to_owned).expect("it names a release");
    let confirmed = format!("{id} is confirmed");
    eventually("it is confirmed", || !host.journal_of("MESSAGE", &confirmed).is_empty());
    host.run(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
    says(&host, "release", &format!("deployd_release_confirmed{{app=\"shop\",release=\"{id}\"}} 1"));
    let (before, kept) = (Live::of(&host, &shop), records(&host, &shop));
    turn(&host, "unchanged");
    assert_eq!(records(&host, &shop), kept, "nothing new is nothing to keep");
    shop.commit(&host, "r2", &[("public/health.txt", "all is lost\n")]);
    turn(&host, "rolled-back");
    says(&host, "deployment", "outcome=\"rolled-back\"} 1");
    turn(&host, "rejected");
    let kept = records(&host, &shop);
    turn(&host, "rejected");
    assert_eq!(records(&host, &shop), kept, "the same obstacle is recorded once");
    assert_eq!((turns(&host, "rolled-back"), Live::of(&host, &shop).current), (1, before.current), "it is tried once");
    let why = host.ok(&["systemctl", "show", "-P", "StatusText", "deploy@shop"]);
    assert!(why.contains("which failed its checks: a timer does not try it again"), "{why}");
    // A person may.
    shop.start(&host).expect_failure();
    assert!(host.journal_of("DEPLOYD_OUTCOME", "rolled-back").lines().count() >= 2);
    shop.commit(&host, "r3", &[("public/health.txt", "all is fine\n")]);
    turn(&host, "succeeded");
    assert_eq!(shop.release(&host), "r3");
    what_failed_while_it_baked_is_not_tried_again(&host, &shop);
}

/// Its record may be pruned by then.
fn what_failed_while_it_baked_is_not_tried_again(host: &Host, shop: &Shop) {
    host.run(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
    let bakes = HEALTH.replace("bake = \"0s\"", "bake = \"30s\"");
    shop.configure(host, &bakes);
    shop.commit(host, "r4", &[("public/health.txt", "all is fine\n")]);
    turn(host, "succeeded");
    assert_eq!(shop.release(host), "r4");
    host.sh("echo lost > /srv/shop/current/public/health.txt");
    eventually("it goes back by itself", || shop.release(host) == "r3");
    host.run(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
    turn(host, "rejected");
    assert_eq!(shop.release(host), "r3");
}

#[test]
fn the_newest_tag_of_a_pattern_is_deployed() {
    let (host, shop) = with_shop("source.ref = \"tag:v*\"\n");
    let tag = |name: &str| {
        let git_dir = format!("--git-dir={}", shop.repository());
        host.run_as(shop.user(), &["git", &git_dir, "tag", name, "main"]).ok();
    };
    tag("v1.9.0");
    shop.commit(&host, "r2", &[]);
    tag("v1.10.0");
    shop.commit(&host, "r3", &[]);
    tag("v2.0.0-rc1");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    assert!(shop.ctl(&host, "releases", &[]).ok().contains("v1.10.0"));
    let said = shop.ctl(&host, "deploy", &[]).expect_status(0);
    assert!(said.said().contains("nothing is new"), "{said}");
    tag("v1.10.1");
    assert!(shop.ctl(&host, "deploy", &[]).ok().contains("the newest tag is v1.10.1"));
    assert_eq!(shop.release(&host), "r3");
}
