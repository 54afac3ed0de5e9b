//! Commands that prove a site, `[[health]] run`: asked before activate, after it and while it bakes, in a sealed
//! release that they cannot change.

use std::time::Duration;

use crate::{
    common::{Live, eventually, with_live_shop, with_shop},
    support::host::Host,
};

/// Says to `storage/asked` whether the release it runs in is live; fails where it can change the release.
const ASKED: &str = r#"[[health]]
name = "asked"
run = ["sh", "-c", "touch changed 2>/dev/null && exit 9; touch bootstrap/cache/views/seen || exit 8; test \"$(readlink -f /srv/shop/current)\" = \"$PWD\" && echo live >> storage/asked || echo idle >> storage/asked"]

[[step]]
name = "after"
after = "activate"
run = ["sh", "-c", "touch changed 2>/dev/null && exit 9; touch bootstrap/cache/views/step"]
"#;

#[test]
fn a_command_is_asked_before_and_after_and_neither_it_nor_a_later_step_changes_the_release() {
    let (host, shop) = with_shop(ASKED);
    shop.deploy(&host);
    let asked = host.read("/srv/shop/shared/storage/asked");
    assert_eq!(asked.lines().take(2).collect::<Vec<_>>(), ["idle", "live"]);
    host.ok(&["test", "-e", "/srv/shop/current/bootstrap/cache/views/step"]);
    assert_ne!(host.run(&["test", "-e", "/srv/shop/current/changed"]).status, 0);
}

/// Release r2 fails while there is a file that the test makes.
const FAILS_LATER: &str = r#"[[health]]
name = "later"
bake = "60s"
run = ["sh", "-c", "! test -e storage/broken-$(cat RELEASE) || { echo out of paper >&2; exit 3; }"]
"#;

#[test]
fn a_command_that_fails_while_a_release_bakes_takes_it_back() {
    let (host, shop) = with_live_shop(FAILS_LATER);
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    host.ok(&["touch", "/srv/shop/shared/storage/broken-r2"]);
    let back = |host: &Host| shop.get(host, "/").value("end") == Some("r1");
    eventually("r1 is live again", Duration::from_secs(30), || back(&host));
    let told = host.ok(&["journalctl", "--no-pager", "-o", "cat", "-u", "deploy-settle@shop"]);
    assert!(told.contains("later: exit status 3: out of paper"), "{told}");
}

#[test]
fn a_command_that_fails_before_activate_changes_nothing() {
    let (host, shop) = with_live_shop(FAILS_LATER);
    shop.commit(&host, "r2", &[]);
    host.ok(&["touch", "/srv/shop/shared/storage/broken-r2"]);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(1);
    assert!(said.stderr.contains("out of paper"), "{said}");
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn a_step_that_leads_a_writable_path_elsewhere_starts_no_slot() {
    let (host, shop) = with_live_shop("");
    let before = Live::of(&host, &shop);
    let led = "[[step]]\nname = \"led\"\n\
               run = [\"sh\", \"-c\", \"rm -r bootstrap/cache/views; ln -s /etc bootstrap/cache/views\"]\n";
    shop.configure(&host, led);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(1);
    assert!(said.stderr.contains("bootstrap/cache/views is no directory of the release"), "{said}");
    assert_eq!(Live::of(&host, &shop), before);
    let starts = host.ok(&["journalctl", "--no-pager", "-o", "cat", "-u", "app-fpm@shop:b", "-u", "app-fpm@shop:c"]);
    assert!(!starts.contains("Started"), "PID 1 would have followed the link for it: {starts}");
}
