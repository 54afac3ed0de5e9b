//! The proof under load: no request fails, none is served by two releases, no session is lost. How long requests wait
//! is a measurement: `make bench` makes it, beside the common script.

use std::time::Duration;

use crate::{
    common::{eventually, installed_alone},
    support::{
        inside::long,
        load::{Plan, Running},
        shop::{Shop, Spec},
        site,
    },
};

const HEALTH: &str = "[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
/// Alternating releases, one after the other; in the long run each of them is also gone back from.
const DEPLOYMENTS: usize = 20;
const LONG: usize = 100;

#[test]
fn deployments_under_load_lose_nothing() {
    let host = installed_alone();
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{}{HEALTH}", site::pool_toml())));
    shop.commit_second(&host);
    shop.point(&host, "r1");
    shop.deploy(&host);
    let load = Running::start(host.network(), Plan::promise(&shop.domain()));
    std::thread::sleep(Duration::from_secs(3));
    for number in 0..if long() { LONG } else { DEPLOYMENTS } {
        shop.point(&host, if number % 2 == 0 || long() { "r2" } else { "r1" });
        shop.deploy(&host);
        std::thread::sleep(Duration::from_millis(500));
        if long() {
            shop.ctl(&host, "rollback", &[]).ok();
        }
    }
    shop.ctl(&host, "rollback", &[]).ok();
    std::thread::sleep(Duration::from_secs(4));
    let report = load.stop();
    assert_eq!((report.failed, report.mixed, report.sessions_lost), (0, 0, 0), "{report:#?}");
    assert!(report.releases.len() == 2 && report.requests > 1000, "{report:#?}");
}

#[test]
fn a_saturated_pool_is_handed_over_and_what_waits_in_its_queue_is_served() {
    let host = installed_alone();
    let pool = site::pool_toml().replace("= \"16\"", "= \"4\"");
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{pool}{HEALTH}")));
    shop.commit(&host, "r2", &[]);
    shop.point(&host, "r1");
    shop.deploy(&host);
    let queue = || {
        let listening = host.ok(&["ss", "-xlH", "src", "/run/deployd-fpm/shop:*/fpm.sock"]);
        listening.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok()).max().unwrap_or(0)
    };
    let (ask, queue) = (|| shop.get(&host, &Plan::promise("").slow.0), &queue);
    let answers: Vec<_> = std::thread::scope(|scope| {
        // Seven times as many as there are processes: the last of them begins when the deployment is long over.
        let slow: Vec<_> = (0..28).map(|_| scope.spawn(ask)).collect();
        eventually("requests wait in the accept queue", Duration::from_secs(10), || queue() >= 12);
        shop.point(&host, "r2");
        shop.deploy(&host);
        assert!(queue() > 0, "the deployment has taken too long to show anything");
        assert_eq!(shop.release(&host), "r2", "nobody waits behind them in the new slot");
        slow.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for answer in answers {
        assert!(answer.is_whole() && answer.value("end") == Some("r1"), "{answer:?}");
    }
}

#[test]
fn two_hundred_views_are_rendered_while_view_cache_runs() {
    let host = installed_alone();
    let spec = Spec { views: true, ..Spec::new("shop").more(&format!("{}{HEALTH}", site::pool_toml())) };
    let shop = Shop::make(&host, spec);
    shop.commit(&host, "r2", &[]);
    shop.point(&host, "r1");
    shop.deploy(&host);
    assert_eq!(shop.get(&host, "/views").value("views"), Some("200"));
    let plan = Plan { fast: ("/views".into(), 10), slow: ("/".into(), 10), ..Plan::promise(&shop.domain()) };
    let load = Running::start(host.network(), plan);
    for label in ["r2", "r1", "r2"] {
        shop.point(&host, label);
        shop.deploy(&host);
    }
    std::thread::sleep(Duration::from_secs(1));
    let report = load.stop();
    assert_eq!((report.failed, report.mixed, report.sessions_lost), (0, 0, 0), "{report:#?}");
    assert!(report.releases.len() == 2, "{report:#?}");
}
