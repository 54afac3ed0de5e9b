//! Starting again with nothing new changes nothing; what is new is named; two at once are never both at work.

use crate::{
    common::{Live, SLOW_STEP, forget_slow_step, releases, slow_step_begun, with_live_shop},
    support::host::Host,
};

#[test]
fn nothing_new_changes_nothing_and_says_so() {
    let (host, shop) = with_live_shop("");
    let before = Live::of(&host, &shop);
    shop.deploy(&host);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(0);
    assert!(said.said().contains("nothing"), "{said}");
    assert_eq!(Live::of(&host, &shop), before);
    assert!(host.journal_of("DEPLOYD_OUTCOME", "unchanged").lines().count() >= 2);
}

#[test]
fn force_makes_a_new_release_of_the_same_commit() {
    let (host, shop) = with_live_shop("");
    let before = shop.current(&host);
    shop.ctl(&host, "deploy", &["--force"]).ok();
    assert_ne!(shop.current(&host), before);
    assert_eq!((releases(&host, &shop).len(), shop.release(&host).as_str()), (2, "r1"));
}

#[test]
fn an_edited_env_is_served_and_named_as_the_reason() {
    let (host, shop) = with_live_shop("");
    assert_eq!(shop.get(&host, "/").value("greeting"), Some("hello"));
    shop.set_env(&host, "APP_GREETING", "good-evening");
    assert_eq!(shop.get(&host, "/").value("greeting"), Some("hello"), "it is baked into config:cache");
    // Everyone may ask, and is told what is there at that moment.
    let asked = |host: &_| Host::run_as(host, "nobody", &["deployctl", "status", "shop"]).ok();
    assert!(asked(&host).contains("shared/.env since"), "{}", asked(&host));
    let said = shop.ctl(&host, "deploy", &[]).expect_status(0);
    assert!(said.said().contains(".env"), "{said}");
    assert_eq!(shop.get(&host, "/").value("greeting"), Some("good-evening"));
    assert!(!asked(&host).contains("shared/.env since"), "{}", asked(&host));
    shop.set_env(&host, "APP_GREETING", "good-night");
    shop.deploy(&host);
    assert_eq!(shop.get(&host, "/").value("greeting"), Some("good-night"));
}

#[test]
fn changed_settings_make_a_new_release_and_are_named() {
    let (host, shop) = with_live_shop("");
    let before = shop.current(&host);
    shop.configure(&host, "[environment]\nAPP_DEBUG = \"true\"\n");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(0);
    assert!(said.said().contains("settings"), "{said}");
    assert_ne!(shop.current(&host), before);
}

#[test]
fn two_at_once_are_never_both_at_work() {
    // Each runs a step that fails when another one is in it.
    let step = "[[step]]\nname = \"alone\"\nshared = \"rw\"\n\
                run = [\"sh\", \"-c\", \"mkdir storage/alone && sleep 2 && rmdir storage/alone\"]\n";
    let (host, shop) = with_live_shop(step);
    shop.commit(&host, "r2", &[]);
    let ended = std::thread::scope(|scope| {
        let by_systemd = scope.spawn(|| shop.start(&host));
        let by_the_bus = scope.spawn(|| shop.ctl(&host, "deploy", &["--force"]));
        [by_systemd.join().unwrap(), by_the_bus.join().unwrap()]
    });
    for one in &ended {
        // Waited and ended well, or was refused before anything was touched.
        assert!(matches!(one.status, 0 | 3), "{one}");
    }
    assert!(ended.iter().any(|one| one.status == 0));
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn one_that_waits_says_for_whom() {
    let (host, shop) = with_live_shop(SLOW_STEP);
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    slow_step_begun(&host, &shop);
    let said = shop.ctl(&host, "deploy", &["--force"]);
    assert!(matches!(said.status, 0 | 3), "{said}");
    assert!(said.said().contains("wait") || said.status == 3, "{said}");
    assert_eq!(shop.release(&host), "r2");
}
