//! What a release takes over from the one before, what it leaves behind, and what keeps a release that is surplus.

use std::time::Duration;

use deployd::model::events;

use crate::{
    common::{eventually, installed, releases},
    hostile_steps::{SERVICE, line, shop},
    support::{host::Host, shop::Shop},
};

const SKIPS: &str = "skip_if_unchanged = [\"composer.lock\"]\nmakes = [\"vendor\"]\n";

/// A build that says when it was made and whether it found one there; and assets whose names carry the release.
fn builds(more: &str) -> String {
    let install =
        "if test -e vendor/made; then cp vendor/made vendor/found; fi; mkdir -p vendor; date +%s%N > vendor/made";
    let assets = "mkdir -p public/build; echo asset > \"public/build/app-$(cat RELEASE).js\"";
    format!("{}{}", line("install", more, install), line("assets", "", assets))
}

fn made(host: &Host) -> String {
    host.read("/srv/shop/current/vendor/made")
}

/// What is not there is answered by the app's page.
fn reached(host: &Host, shop: &Shop, label: &str) -> bool {
    shop.get(host, &format!("/build/app-{label}.js")).body == "asset\n"
}

#[test]
fn what_is_carried_is_not_made_again_and_old_assets_are_reached() {
    let host = installed();
    let shop = shop(&host, "");
    let more = format!("{}{SERVICE}{}", "carry = [\"vendor\"]\nassets.dirs = [\"public/build\"]\n", builds(SKIPS));
    shop.configure(&host, &more);
    shop.commit(&host, "r1", &[("composer.lock", "1\n")]);
    shop.deploy(&host);
    let first = made(&host);
    assert!(reached(&host, &shop, "r1"));

    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!((shop.release(&host).as_str(), made(&host)), ("r2", first.clone()));
    let said = host.journal_of("DEPLOYD_APP", "shop");
    assert!(said.contains("the step install is left out: composer.lock as before, vendor carried"), "{said}");
    assert_eq!([reached(&host, &shop, "r1"), reached(&host, &shop, "r2")], [true, true]);

    // With another lock file it is run, and finds what was carried.
    shop.commit(&host, "r3", &[("composer.lock", "2\n")]);
    shop.deploy(&host);
    assert_ne!(made(&host), first);
    assert_eq!(host.read("/srv/shop/current/vendor/found"), first);
    assert!(reached(&host, &shop, "r1"), "through all releases between");

    // Without these keys nothing is taken over.
    shop.configure(&host, &format!("{SERVICE}{}", builds("")));
    shop.commit(&host, "r4", &[]);
    shop.deploy(&host);
    assert_eq!(host.run(&["test", "-e", "/srv/shop/current/vendor/found"]).status, 1);
    assert_eq!([reached(&host, &shop, "r1"), reached(&host, &shop, "r4")], [false, true]);
}

#[test]
fn a_release_that_a_process_uses_is_not_pruned() {
    let host = installed();
    let shop = shop(&host, "");
    shop.configure(&host, &format!("{SERVICE}[health]\nbake = \"0s\"\n[releases]\nkeep = 2\n"));
    // Confirmed, so that no older one is kept as the way back.
    let deploy = |number: u32| {
        shop.commit(&host, &format!("r{number}"), &[]);
        shop.deploy(&host);
        let release = shop.current(&host).replace("releases/", "");
        let confirmed = || host.journal_of("MESSAGE_ID", events::RELEASE_CONFIRMED).contains(&release);
        eventually("it is confirmed", Duration::from_secs(30), confirmed);
        release
    };
    let mut made: Vec<String> = (1..=2).map(deploy).collect();
    let inside = |release: &str| format!("/srv/shop/releases/{release}");
    let dir = format!("--working-directory={}", inside(&made[0]));
    host.ok(&["systemd-run", "--uid=shop", "--unit=works", &dir, "sleep", "1000"]);
    let file = format!("{}/RELEASE", inside(&made[1]));
    host.ok(&["systemd-run", "--uid=shop", "--unit=reads", "tail", "-f", &file]);
    let there = |release: &String| releases(&host, &shop).contains(release);
    made.extend((3..=6).map(deploy));
    // What nobody uses goes, in the same prune that leaves the others.
    eventually("the third is pruned", Duration::from_secs(30), || !there(&made[2]));
    for (release, how) in [(&made[0], "its working directory"), (&made[1], "an open file")] {
        assert!(there(release), "{how} was taken away");
        let said = host.journal(2000);
        assert!(said.contains(&format!("{release} is kept beyond keep = 2: a process uses it")), "{how}: {said}");
    }
    host.ok(&["systemctl", "stop", "works", "reads"]);
    deploy(7);
    eventually("both are pruned", Duration::from_secs(30), || !there(&made[0]) && !there(&made[1]));
}
