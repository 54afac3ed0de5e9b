//! Octane under load: FrankenPHP and RoadRunner as they are, built from their Go modules, and a stand-in for Swoole.
//! `octane:start` itself is a stand-in in all three (tests/app-octane): Debian does not have laravel/octane.

use std::time::Duration;

use crate::{
    common::{eventually, installed},
    support::{
        host::Host,
        load::{Plan, Running},
        octane,
        root::Root,
        runtimes::Server,
        shop::Shop,
    },
};

/// One PHP thread is what FrankenPHP has here: the load leaves it room.
fn load(host: &Host, shop: &Shop) -> Running {
    let plan = Plan { fast: ("/".into(), 40), slow: ("/work/150".into(), 1), sessions: 5, domain: shop.domain() };
    Running::start(host.network(), plan)
}

/// Deployments and a rollback under load; then one with a request in flight that lasts longer than any server waits.
fn switches_under_load(host: &Host, shop: &Shop) {
    shop.deploy(host);
    assert_eq!(shop.release(host), "r1");
    let load = load(host, shop);
    std::thread::sleep(Duration::from_secs(1));
    for label in ["r2", "r1", "r2"] {
        shop.point(host, label);
        shop.deploy(host);
        for _ in 0..20 {
            assert_eq!(shop.release(host), label, "the old release is never served after the switch");
        }
    }
    shop.ctl(host, "rollback", &[]).ok();
    assert_eq!(shop.release(host), "r1");
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop();
    assert_eq!((report.failed, report.mixed, report.sessions_lost), (0, 0, 0), "{report:#?}");
    assert_eq!(report.releases.len(), 2, "{report:#?}");
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| shop.get(host, "/work/12000"));
        std::thread::sleep(Duration::from_millis(500));
        shop.point(host, "r2");
        shop.deploy(host);
        assert_eq!(shop.release(host), "r2");
        slow.join().unwrap()
    });
    assert!(slow.is_whole() && slow.value("end") == Some("r1"), "it ended in the release it began in: {slow:?}");
    eventually("the old slots are drained and ended", Duration::from_secs(40), || running_slots(host).len() == 1);
    let failed = host.ok(&["systemctl", "list-units", "--failed", "--plain", "--no-legend", "app-octane@*"]);
    assert_eq!(failed, "", "the servers ended well");
}

fn running_slots(host: &Host) -> Vec<String> {
    let list = ["systemctl", "list-units", "--plain", "--no-legend", "app-octane@*"];
    let list = host.ok(&[&list[..], &["--state=active,activating,deactivating,reloading"]].concat());
    list.lines().map(str::to_owned).collect()
}

/// With the real server, or a line that says why not.
fn on_a_real_one(server: Server, name: &str, service: &str) {
    let host = installed();
    match octane::install(&host, &Root::chosen(), server) {
        Err(why) => println!("not run: {name}: {why}; the stand-in for Swoole is what stands for it"),
        Ok(()) => switches_under_load(&host, &octane::shop(&host, service)),
    }
}

#[test]
fn frankenphp_moves_to_a_release_under_load_and_fails_no_request() {
    on_a_real_one(
        Server::FrankenPhp,
        "FrankenPHP",
        &octane::service("frankenphp").replace("workers = 2", "workers = 1"),
    );
}

#[test]
fn roadrunner_moves_to_a_release_under_load_and_fails_no_request() {
    on_a_real_one(Server::RoadRunner, "RoadRunner", &octane::service("roadrunner"));
}

#[test]
fn swoole_moves_to_a_release_under_load_and_fails_no_request_by_a_stand_in() {
    let host = installed();
    switches_under_load(&host, &octane::shop(&host, &octane::service("swoole")));
}
