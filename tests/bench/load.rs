//! Alternating releases under load: deployd's handover, and the script with php-fpm's two ways to reload.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{
    deb,
    host::Host,
    load::{Plan, Report, Running},
    root::Root,
    script::Scripted,
    shop::{Shop, Spec},
    site,
    table::{self, Figure},
};

const WORK: &str = "switch-php-fpm";
/// Before the first deployment, between two, and after the last.
const PAUSE: Duration = Duration::from_secs(2);

/// Measures each row on a host of its own and prints the table.
pub fn compare(root: &Root, deployments: u32, with_deployd: bool) -> Vec<Figure> {
    let mut measured: Vec<(&str, Report)> = vec![("nobody", by_nobody(root, deployments))];
    if with_deployd {
        measured.push(("deployd", by_deployd(root, deployments)));
    }
    measured.push(("script", by_script(root, deployments, None)));
    measured.push(("script-timeout-30s", by_script(root, deployments, Some("30s"))));
    let rows: Vec<_> = measured.iter().map(|(who, report)| table::row(who, report)).collect();
    println!("\n{deployments} deployments of a Laravel app, 100 fast requests/s, 2/s of 3 s, 20 sessions\n");
    println!("{}", table::table(&table::HEAD, &rows));
    measured.iter().flat_map(|(who, report)| table::figures(WORK, who, report)).collect()
}

/// The same load for about as long and nothing deployed: what the machine itself gives.
fn by_nobody(root: &Root, deployments: u32) -> Report {
    let host = Host::boot_weighing(root);
    let peer = Scripted::make(&host, Spec::new("shop"), None);
    peer.deploy(&host).ok();
    peer.shop.wait_release(&host, "r1");
    std::thread::sleep(PAUSE);
    let began = SystemTime::now();
    let load = Running::start(host.network(), Plan::promise(&peer.shop.domain()));
    std::thread::sleep(PAUSE * 2 * deployments);
    tell("nobody", &host, began, load.stop())
}

fn by_deployd(root: &Root, deployments: u32) -> Report {
    let host = Host::boot_weighing(root);
    host.install_deb(&deb::ensure());
    let health = "[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{}{health}", site::pool_toml())));
    under_load("deployd", &host, &shop, deployments, || shop.start(&host).ok())
}

fn by_script(root: &Root, deployments: u32, timeout: Option<&str>) -> Report {
    let host = Host::boot_weighing(root);
    let peer = Scripted::make(&host, Spec::new("shop"), timeout);
    let who = timeout.map_or("script", |_| "script-timeout-30s");
    under_load(who, &host, &peer.shop, deployments, || peer.deploy(&host).ok())
}

fn under_load(who: &str, host: &Host, shop: &Shop, deployments: u32, deploy: impl Fn() -> String) -> Report {
    shop.commit_second(host);
    shop.pack(host);
    shop.point(host, "r1");
    deploy();
    shop.wait_release(host, "r1");
    let began = SystemTime::now();
    let load = Running::start(host.network(), Plan::promise(&shop.domain()));
    for number in 0..deployments {
        let label = if number % 2 == 0 { "r2" } else { "r1" };
        // Somebody pushes: the host that keeps the repository has nothing to do when the deployment begins.
        std::thread::sleep(PAUSE / 4);
        shop.point(host, label);
        std::thread::sleep(PAUSE - PAUSE / 4);
        let begun = std::time::Instant::now();
        deploy();
        eprintln!("{who}: {label} deployed in {} ms ({} of {deployments})", begun.elapsed().as_millis(), number + 1);
    }
    std::thread::sleep(PAUSE);
    let report = load.stop();
    assert_eq!(report.releases.len(), 2, "both releases answered: {report:?}");
    tell(who, host, began, report)
}

/// Tells what failed, and what the host did at the worst waits.
fn tell(who: &str, host: &Host, began: SystemTime, report: Report) -> Report {
    report.failures.iter().for_each(|failure| eprintln!("{who}: {failure}"));
    for (at, wait) in &report.worst {
        eprintln!("{who}: among the worst waits: {wait:.0} ms, at {at:.1} s");
        eprintln!("{}", meanwhile(host, began + Duration::from_secs_f64(*at), *wait));
    }
    report
}

/// What the host's journal has of the time of the worst wait.
fn meanwhile(host: &Host, at: SystemTime, worst_ms: f64) -> String {
    let second = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let (since, until) = (second(at) - 0.3, second(at) + worst_ms / 1000.0 + 0.2);
    let (since, until) = (format!("--since=@{since:.3}"), format!("--until=@{until:.3}"));
    host.run(&["journalctl", "-q", "--no-pager", "-o", "short-precise", &since, &until]).stdout
}
