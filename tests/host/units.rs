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

/// The processes of the unit, without its main one.
fn workers(host: &Host, unit: &str) -> BTreeSet<String> {
    let main = host.ok(&["systemctl", "show", "-P", "MainPID", unit]);
    // Between the last of the old and the first of the new there are none.
    let listed = host.run(&["pgrep", "-P", main.trim()]);
    listed.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn an_existing_unit_is_reloaded_and_its_old_workers_are_waited_for() {
    let host = installed();
    let php = site::php_version(&host);
    let unit = format!("php{php}-fpm.service");
    host.sh("sed -E -i 's/^;?process_control_timeout *=.*/process_control_timeout = 30s/' /etc/php/*/fpm/php-fpm.conf");
    host.ok(&["useradd", "--create-home", "shop"]);
    host.write(&format!("/etc/php/{php}/fpm/pool.d/shop.conf"), site::pool("shop", "shop"));
    host.ok(&["systemctl", "restart", &unit]);
    let service = format!("[[service]]\nunit = \"{unit}\"\nstrategy = \"reload\"\n");
    let spec = Spec { php: Php::Socket("/run/php/shop.sock".into()), ..Spec::new("shop").more(&service) };
    let shop = Shop::make(&host, spec);
    shop.deploy(&host);
    shop.wait_release(&host, "r1");
    shop.commit(&host, "r2", &[]);
    let (old, main) = (workers(&host, &unit), host.ok(&["systemctl", "show", "-P", "MainPID", &unit]));
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| shop.get(&host, "/work/8000"));
        eventually("the slow request is being served", Duration::from_secs(5), || {
            host.ok(&["ss", "-xH", "state", "connected", "src", "/run/php/shop.sock"]).lines().count() > 0
        });
        shop.deploy(&host);
        let left: Vec<_> = workers(&host, &unit).intersection(&old).cloned().collect();
        assert!(left.is_empty(), "old workers are left: {left:?}");
        slow.join().unwrap()
    });
    assert!(slow.is_whole() && !slow.is_mixed(), "{slow:?}");
    assert_eq!(slow.value("end"), Some("r1"), "it ended in the release it began in");
    assert_eq!(host.ok(&["systemctl", "show", "-P", "MainPID", &unit]), main, "reloaded, not restarted");
    shop.wait_release(&host, "r2");
}

#[test]
fn a_site_s_own_pool_is_used_as_it_is_but_for_its_socket() {
    let host = installed();
    let pool = format!("/etc/php/{}/fpm/pool.d/shop.conf", site::php_version(&host));
    let service = format!("[[service]]\nkind = \"php-fpm\"\npool = \"{pool}\"\n");
    let shop = Shop::make(&host, Spec::new("shop").more(&service));
    host.write(&pool, site::pool("shop", "shop").replace("= 16", "= 3"));
    host.ok(&["chown", "shop", &pool]);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(3);
    assert!(said.stderr.contains("may be written by others than root"), "{said}");
    host.ok(&["chown", "root", &pool]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    let unit = host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "app-fpm@shop:*", "--state=active"]);
    let unit = unit.split_whitespace().next().expect("a slot runs").to_owned();
    let main = host.ok(&["systemctl", "show", "-P", "MainPID", &unit]);
    assert_eq!(host.ok(&["pgrep", "-c", "-P", main.trim()]), "3\n", "pm.max_children of the site's file");
}
