//! Services that are not ours: an existing php-fpm by reload, every worker of before watched until it is gone.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    common::{eventually, installed},
    support::{
        host::Host,
        shop::{Shop, Spec},
        site::{self, Php},
    },
};

const UNIT: &str = "php8.2-fpm.service";

/// The processes of the unit, without its main one.
fn workers(host: &Host) -> BTreeSet<String> {
    let main = host.ok(&["systemctl", "show", "-P", "MainPID", UNIT]);
    let listed = host.ok(&["pgrep", "-P", main.trim()]);
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn an_existing_unit_is_reloaded_and_its_old_workers_are_waited_for() {
    let host = installed();
    host.sh(
        "sed -E -i 's/^;?process_control_timeout *=.*/process_control_timeout = 30s/' /etc/php/8.2/fpm/php-fpm.conf",
    );
    host.ok(&["useradd", "--create-home", "shop"]);
    host.write("/etc/php/8.2/fpm/pool.d/shop.conf", site::pool("shop", "shop"));
    host.ok(&["systemctl", "restart", UNIT]);
    let service = format!("[[service]]\nunit = \"{UNIT}\"\nstrategy = \"reload\"\n");
    let spec = Spec { php: Php::Socket("/run/php/shop.sock".into()), ..Spec::new("shop").more(&service) };
    let shop = Shop::make(&host, spec);
    shop.deploy(&host);
    shop.wait_release(&host, "r1");
    shop.commit(&host, "r2", &[]);
    let (old, main) = (workers(&host), host.ok(&["systemctl", "show", "-P", "MainPID", UNIT]));
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| shop.get(&host, "/work/8000"));
        eventually("the slow request is being served", Duration::from_secs(5), || {
            host.ok(&["ss", "-xH", "state", "connected", "src", "/run/php/shop.sock"]).lines().count() > 0
        });
        shop.deploy(&host);
        let left: Vec<_> = workers(&host).intersection(&old).cloned().collect();
        assert!(left.is_empty(), "old workers are left: {left:?}");
        slow.join().unwrap()
    });
    assert!(slow.is_whole() && !slow.is_mixed(), "{slow:?}");
    assert_eq!(slow.value("end"), Some("r1"), "it ended in the release it began in");
    assert_eq!(host.ok(&["systemctl", "show", "-P", "MainPID", UNIT]), main, "reloaded, not restarted");
    shop.wait_release(&host, "r2");
}

#[test]
fn a_site_s_own_pool_is_used_as_it_is_but_for_its_socket() {
    let host = installed();
    let pool = "/etc/php/8.2/fpm/pool.d/shop.conf";
    let service = format!("[[service]]\nkind = \"php-fpm\"\npool = \"{pool}\"\n");
    let shop = Shop::make(&host, Spec::new("shop").more(&service));
    host.write(pool, site::pool("shop", "shop").replace("= 16", "= 3"));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    let unit = host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "app-fpm@shop:*", "--state=active"]);
    let unit = unit.split_whitespace().next().expect("a slot runs").to_owned();
    let main = host.ok(&["systemctl", "show", "-P", "MainPID", &unit]);
    assert_eq!(host.ok(&["pgrep", "-c", "-P", main.trim()]), "3\n", "pm.max_children of the site's file");
}
