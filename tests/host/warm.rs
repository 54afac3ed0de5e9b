//! `strategy = "warm"`: an existing php-fpm that nobody tells anything. Refused until the check has seen that nginx hands
//! it each release's own path; then the next request is the new release's, and no worker is ended.

use std::time::Duration;

use crate::{
    common::installed,
    support::{
        host::Host,
        load::{Plan, Running},
        shop::{Shop, Spec},
        site::{self, Php},
    },
};

const SITE: &str = "/etc/nginx/sites-enabled/shop";

/// The workers of the site's pool.
fn workers(host: &Host) -> String {
    host.ok(&["pgrep", "-f", "php-fpm: pool shop"])
}

#[test]
fn a_warm_php_fpm_moves_under_load_with_no_worker_ended_and_over_a_reboot() {
    let mut host = installed();
    let php = site::php_version(&host);
    let unit = format!("php{php}-fpm.service");
    host.ok(&["useradd", "--create-home", "shop"]);
    host.write(&format!("/etc/php/{php}/fpm/pool.d/shop.conf"), site::pool("shop", "shop"));
    host.ok(&["systemctl", "enable", "--quiet", &unit]);
    host.ok(&["systemctl", "restart", &unit]);
    let service = format!("[[service]]\nunit = \"{unit}\"\nstrategy = \"warm\"\n");
    let spec = Spec { php: Php::Socket("/run/php/shop.sock".into()), ..Spec::new("shop").more(&service) };
    let shop = Shop::make(&host, spec);
    let good = host.read(SITE);
    host.write(SITE, good.replace("$realpath_root", "$document_root"));
    let refused = shop.ctl(&host, "deploy", &[]).expect_status(3);
    assert!(refused.stderr.contains("is not proved to be right") && refused.stderr.contains(SITE), "{refused}");
    assert_eq!(shop.current(&host), "");

    host.write(SITE, good);
    host.ok(&["systemctl", "reload", "nginx"]);
    shop.deploy(&host);
    shop.commit(&host, "r2", &[]);
    let before = workers(&host);
    let plan = Plan { fast: ("/".into(), 50), ..Plan::promise(&shop.domain()) };
    let load = Running::start(host.network(), plan);
    std::thread::sleep(Duration::from_secs(1));
    for label in ["r2", "r1", "r2"] {
        shop.point(&host, label);
        shop.deploy(&host);
        for _ in 0..20 {
            assert_eq!(shop.release(&host), label, "the old release is never served after the switch");
        }
    }
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    let report = load.stop();
    assert_eq!((report.failed, report.mixed, report.sessions_lost), (0, 0, 0), "{report:#?}");
    assert_eq!(workers(&host), before, "nobody was ended");

    let current = shop.current(&host);
    host.reboot();
    assert_eq!((shop.release(&host), shop.current(&host)), ("r1".to_owned(), current));
}
