//! Slots that must not be ended, and slots that must: while traffic may still go there, and when nobody needs them.

use std::time::Duration;

use crate::{
    common::{eventually, installed, with_live_shop},
    support::load::{Plan, Running},
    upstream::{HTTP, live_shop, slots},
};

/// Fails with r2, and leaves an nginx behind it that takes no new configuration.
const BREAKS_NGINX: &str = "[Service]\nType=exec\nExecStart=sleep infinity\nExecStartPost=/bin/sh -c \
    'grep -q r1 /srv/shop/current/RELEASE || { echo nonsense > /etc/nginx/conf.d/broken.conf; exit 1; }'\n";

#[test]
fn where_nginx_cannot_be_pointed_back_the_new_slot_goes_on_until_it_can() {
    let host = installed();
    host.write("/etc/systemd/system/late.service", BREAKS_NGINX);
    let shop = live_shop(&host, &format!("{HTTP}[[service]]\nunit = \"late.service\"\nstrategy = \"restart\"\n"));
    let plan = Plan { fast: ("/".into(), 40), sessions: 0, ..Plan::promise(&shop.domain()) };
    let load = Running::start(host.network(), plan);
    shop.point(&host, "r2");
    let said = shop.ctl(&host, "deploy", &[]);
    assert!(said.stderr.contains("going back failed too") && said.stderr.contains("deploy-settle@shop"), "{said}");
    // Time enough for a drain to end the slot that nginx still asks.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(slots(&host).len(), 2, "{:?}", slots(&host));
    assert_eq!(shop.release(&host), "r2", "nginx has not heard of anything else");
    host.ok(&["rm", "/etc/nginx/conf.d/broken.conf"]);
    host.ok(&["systemctl", "start", "deploy-settle@shop"]);
    shop.wait_release(&host, "r1");
    eventually("the new slot ends", Duration::from_secs(30), || slots(&host) == ["app-http@shop:a.service"]);
    let report = load.stop();
    assert_eq!((report.failed, report.mixed), (0, 0), "{report:#?}");
}

#[test]
fn a_slot_that_nobody_needs_is_drained_by_the_next_deployment() {
    let (host, shop) =
        with_live_shop("[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    let slot_a = || host.run(&["systemctl", "is-active", "app-fpm@shop:a"]).stdout.trim().to_owned();
    eventually("the old slot ends", Duration::from_secs(30), || slot_a() == "inactive");
    // As an engine leaves it that is killed before it has had it drained.
    host.ok(&["systemctl", "start", "app-fpm@shop:a"]);
    assert_eq!(slot_a(), "active");
    shop.commit(&host, "r3", &[]);
    shop.deploy(&host);
    eventually("the one left over ends", Duration::from_secs(30), || slot_a() == "inactive");
    assert_eq!(shop.release(&host), "r3");
}
