//! The test host itself, without deployd: that the app, the load and the script do what the other tests rely on.

use std::time::Duration;

use crate::support::{
    host::Host,
    load::{Plan, Running},
    root::Root,
    script::Scripted,
    shop::Spec,
};

#[test]
fn the_script_deploys_the_app_and_loses_requests() {
    let host = Host::boot_alone(&Root::chosen());
    let peer = Scripted::make(&host, Spec { views: true, ..Spec::new("peer") }, None);
    let shop = &peer.shop;
    peer.deploy(&host).ok();
    shop.wait_release(&host, "r1");
    assert_eq!(shop.get(&host, "/").value("greeting"), Some("hello"));
    assert_eq!(shop.get(&host, "/notes").value("columns"), Some("id,text"));
    assert_eq!(shop.get(&host, "/views").value("views"), Some("200"));
    assert_eq!(shop.get(&host, "/write/a").value("owner"), Some("peer"));
    shop.commit_second(&host);
    let load = Running::start(host.network(), Plan::promise(&shop.domain()));
    std::thread::sleep(Duration::from_secs(4));
    peer.deploy(&host).ok();
    std::thread::sleep(Duration::from_secs(4));
    let report = load.stop();
    assert_eq!(shop.release(&host), "r2");
    assert_eq!(shop.get(&host, "/notes").value("columns"), Some("id,text,colour"));
    assert_eq!(report.sessions_lost, 0, "{report:?}");
    assert!(report.requests > 800, "{report:?}");
    assert!(report.failed > 0, "php-fpm's default ends requests in flight, so the load must see it: {report:?}");
    eprintln!("{report:#?}");
    peer.rollback(&host).ok();
    shop.wait_release(&host, "r1");
}
