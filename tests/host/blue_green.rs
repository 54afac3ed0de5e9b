//! Any HTTP program in slots behind nginx, here a Node one: blue-green by upstream under load.

use std::time::Duration;

use crate::{
    common::installed,
    support::{
        load::{Plan, Running},
        shop::{Shop, Spec},
        site::Php,
    },
};

const TOML: &str = "[[service]]\nkind = \"http\"\nrun = [\"node\", \"server.js\"]\nports = [3000, 3001, 3002]\n\
                    probe = \"/up\"\n[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";

#[test]
fn a_node_program_moves_blue_green_and_fails_none_of_two_thousand_requests() {
    let host = installed();
    let shop = Shop::make(&host, Spec { php: Php::Upstream("http"), ..Spec::node("shop").more(TOML) });
    shop.commit(&host, "r2", &[]);
    shop.point(&host, "r1");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    let plan = Plan { fast: ("/".into(), 200), slow: ("/work/3000".into(), 2), sessions: 0, domain: shop.domain() };
    let load = Running::start(host.network(), plan);
    std::thread::sleep(Duration::from_secs(1));
    for label in ["r2", "r1", "r2"] {
        shop.point(&host, label);
        shop.deploy(&host);
        assert_eq!(shop.release(&host), label, "the old release is never served after the switch");
    }
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    std::thread::sleep(Duration::from_secs(4));
    let report = load.stop();
    assert_eq!((report.failed, report.mixed), (0, 0), "{report:#?}");
    assert!(report.requests > 2000 && report.releases.len() == 2, "{report:#?}");
}
