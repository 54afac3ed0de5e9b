//! The package is removed while a release bakes: the fleet's slot is given back, by both protocols, and not by the end of
//! a lease. Nobody is left who would confirm the release.

use crate::{
    package::dpkg,
    support::{
        deb, fleet,
        host::Host,
        shop::{Shop, Spec},
    },
};

/// A server of FleetLock, which Debian has not: it grants everything, takes its time, and notes what it was asked.
const LOCK: &str = r#"<?php
usleep(500000);
file_put_contents('/root/asked', basename($_SERVER['REQUEST_URI'])."\n", FILE_APPEND);
"#;

fn app(host: &Host, name: &str, semaphore: &str) -> Shop {
    let more = format!(
        "[[service]]\nkind = \"php-fpm\"\n[health]\nhttp = \"http://127.0.0.1/\"\nhost = \"{name}.example.org\"\nbake = \"1h\"\n[fleet]\n{semaphore}\n"
    );
    let shop = Shop::make(host, Spec { laravel: false, over: Some("app-small"), ..Spec::new(name).more(&more) });
    shop.commit(host, "r1", &[("built", "yes")]);
    shop.deploy(host);
    shop
}

#[test]
fn removing_the_package_gives_the_fleets_slots_back() {
    let host = Host::boot(&fleet::etcd_root());
    fleet::serve_etcd(&host);
    host.write("/root/lock/index.php", LOCK);
    host.ok(&["systemd-run", "-q", "--unit=lock", "php", "-S", "127.0.0.1:9090", "/root/lock/index.php"]);
    host.install_deb(&deb::ensure());
    let slots = || fleet::etcd_keys(&host, "/deployd/fleet/shop/").trim().to_owned();
    let asked = || host.read("/root/asked").lines().map(str::to_owned).collect::<Vec<_>>();
    let shops = [
        app(&host, "shop", "etcd = [\"http://127.0.0.1:2379\"]\nlease = \"1h\""),
        app(&host, "blog", "fleet_lock = \"http://127.0.0.1:9090\""),
    ];
    let holders = ["systemctl", "is-active", "deploy-fleet-shop", "deploy-fleet-blog"];
    assert_eq!(host.run(&holders).stdout, "active\nactive\n");
    assert_ne!(slots(), "");
    assert_eq!(asked(), ["pre-reboot"]);

    dpkg(&host, "--remove", &["deployd-webhook", "deployd"]);
    assert_eq!(host.run(&holders).stdout, "inactive\ninactive\n");
    assert_eq!(slots(), "", "the next host may go on");
    assert_eq!(asked(), ["pre-reboot", "steady-state"]);
    assert!(shops.iter().all(|shop| shop.release(&host) == "r1"), "and the sites go on");
}
