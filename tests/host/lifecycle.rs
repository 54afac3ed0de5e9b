//! What ends in the middle: deployd killed, the engine killed, a deployment cancelled, the host rebooted.

use std::time::Duration;

use deployd::model::events;

use crate::common::{Live, SLOW_STEP, eventually, forget_slow_step, releases, slow_step_begun, with_live_shop};

#[test]
fn a_deployment_survives_the_killing_of_deployd() {
    let (host, shop) = with_live_shop(SLOW_STEP);
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    shop.ctl(&host, "deploy", &["--no-block"]).ok();
    slow_step_begun(&host, &shop);
    host.ok(&["systemctl", "kill", "--signal=KILL", "deployd.service"]);
    eventually("r2 is live", Duration::from_secs(60), || shop.get(&host, "/").value("end") == Some("r2"));
    let ended = || !host.journal_of("MESSAGE_ID", events::DEPLOYMENT_SUCCEEDED).lines().nth(1).unwrap_or("").is_empty();
    eventually("its end is in the journal", Duration::from_secs(30), ended);
    assert!(shop.ctl(&host, "status", &[]).ok().contains(&shop.current(&host).replace("releases/", "")));
}

#[test]
fn stopping_the_unit_cancels_and_changes_nothing_live() {
    let (host, shop) = with_live_shop(SLOW_STEP);
    let before = Live::of(&host, &shop);
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    slow_step_begun(&host, &shop);
    let status = host.run(&["systemctl", "status", "--no-pager", "deploy@shop"]).said();
    assert!(status.contains("slow"), "the step it is at: {status}");
    host.ok(&["systemctl", "stop", "deploy@shop"]);
    assert_eq!(Live::of(&host, &shop), before);
    let steps = ["systemctl", "list-units", "--plain", "--no-legend", "deploy-step-*", "deploy-worker-*"];
    let left = host.ok(&steps);
    // What bakes belongs to the settling of the release before, which goes on.
    let left: Vec<_> = left.lines().filter(|line| !line.contains("-bake")).collect();
    assert!(left.is_empty(), "nothing of it is left running: {left:?}");
    assert!(host.journal_of("DEPLOYD_OUTCOME", "cancelled").lines().count() >= 1);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn cancelling_by_the_bus_says_so() {
    let (host, shop) = with_live_shop(SLOW_STEP);
    let before = Live::of(&host, &shop);
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    let said = std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.ctl(&host, "deploy", &[]));
        slow_step_begun(&host, &shop);
        shop.ctl(&host, "cancel", &[]).ok();
        deploying.join().unwrap()
    });
    said.expect_status(6);
    assert_eq!(Live::of(&host, &shop), before);
}

#[test]
fn a_killed_engine_leaves_what_is_live_and_the_next_deployment_works() {
    let (host, shop) = with_live_shop(SLOW_STEP);
    let before = Live::of(&host, &shop);
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    slow_step_begun(&host, &shop);
    host.ok(&["systemctl", "kill", "--signal=KILL", "deploy@shop"]);
    let over = || host.run(&["systemctl", "is-active", "deploy@shop"]).stdout.trim() != "activating";
    eventually("it is over", Duration::from_secs(30), over);
    let now = Live::of(&host, &shop);
    assert_eq!((now.current, now.socket, now.slots), (before.current, before.socket, before.slots));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    assert_eq!(releases(&host, &shop).len(), 2, "what the killed one had begun is gone");
}

#[test]
fn a_reboot_keeps_the_live_slot() {
    let (mut host, shop) = with_live_shop("");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    let before = Live::of(&host, &shop);
    host.reboot();
    let after = Live::of(&host, &shop);
    assert_eq!((after.current, after.socket), (before.current, before.socket));
    assert_eq!(shop.release(&host), "r2");
    shop.commit(&host, "r3", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r3");
}

#[test]
fn the_old_slot_is_drained_and_stopped() {
    let (host, shop) =
        with_live_shop("[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n");
    let old = Live::of(&host, &shop);
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    let alone = || Live::of(&host, &shop).slots.len() == 1;
    eventually("one slot is left", Duration::from_secs(30), alone);
    assert_ne!(Live::of(&host, &shop).slots, old.slots);
    assert!(host.journal_of("MESSAGE_ID", events::DRAINED).lines().count() >= 1);
    assert!(host.journal_of("MESSAGE_ID", events::RELEASE_CONFIRMED).lines().count() >= 1);
}

#[test]
fn a_drain_that_cannot_see_the_sockets_says_unknown_and_stops_nothing() {
    let (host, shop) =
        with_live_shop("[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n");
    let old = Live::of(&host, &shop).slots.concat();
    // A network namespace of its own: sock_diag then answers with an empty list.
    for unit in ["deploy-drain@", "deploy-settle@", "deploy@"] {
        let file = format!("/etc/systemd/system/{unit}.service.d/90-test.conf");
        host.write(&file, "[Service]\nPrivateNetwork=yes\n");
    }
    host.ok(&["systemctl", "daemon-reload"]);
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    eventually("it says that it cannot see", Duration::from_secs(60), || {
        host.journal_of("MESSAGE_ID", events::DRAIN_INCOMPLETE).contains("unknown")
    });
    assert!(Live::of(&host, &shop).slots.concat().contains(&old), "the old slot runs on");
    assert!(host.journal_of("MESSAGE_ID", events::DRAINED).lines().all(|line| line.starts_with("--")));
}
