//! `switch-octane`: an Octane app under load, by deployd's slots and by a restart of the unit that runs it. RoadRunner
//! where it can be built, the stand-in for Swoole elsewhere; the same server for both.

use std::time::Duration;

use crate::support::{
    deb,
    host::Host,
    load::{Plan, Report, Running},
    octane,
    root::Root,
    runtimes::Server,
    shop::Shop,
    table::{self, Figure},
};

const WORK: &str = "switch-octane";
const PAUSE: Duration = Duration::from_secs(2);

/// Measures each row on a host of its own and prints the table.
pub fn compare(root: &Root, deployments: u32) -> Vec<Figure> {
    let server = match Server::RoadRunner.ensure(root) {
        Ok(_) => "roadrunner",
        Err(why) => {
            println!("not run: RoadRunner: {why}; a stand-in for Swoole instead");
            "swoole"
        }
    };
    let measured = [
        ("deployd", by_deployd(root, server, deployments)),
        ("systemctl-restart", by_restart(root, server, deployments)),
    ];
    let rows: Vec<_> = measured.iter().map(|(who, report)| table::row(who, report)).collect();
    println!("\n{deployments} deployments of an Octane app ({server}), 60 fast requests/s, 2/s of 1 s\n");
    println!("{}", table::table(&table::HEAD, &rows));
    measured.iter().flat_map(|(who, report)| table::figures(WORK, who, report)).collect()
}

fn booted(root: &Root, server: &str) -> Host {
    let host = Host::boot_alone(root);
    host.install_deb(&deb::ensure());
    if server == "roadrunner" {
        octane::install(&host, root, Server::RoadRunner).unwrap_or_else(|why| panic!("it was there: {why}"));
    }
    host
}

fn by_deployd(root: &Root, server: &str, deployments: u32) -> Report {
    let host = booted(root, server);
    let shop = octane::shop(&host, &octane::service(server).replace("workers = 2", "workers = 4"));
    under_load("deployd", &host, &shop, deployments)
}

fn by_restart(root: &Root, server: &str, deployments: u32) -> Report {
    let host = booted(root, server);
    let unit = format!(
        "[Service]\nUser=shop\nWorkingDirectory=/srv/shop/current\nExecStart=/usr/bin/php artisan octane:start \
         --server={server} --port=8000 --rpc-port=6001 --workers=4\n"
    );
    host.write("/etc/systemd/system/shop-octane.service", unit);
    host.ok(&["systemctl", "daemon-reload"]);
    let service = "[[service]]\nunit = \"shop-octane.service\"\nstrategy = \"restart\"\n";
    let shop = octane::shop_at(&host, 8000, service);
    under_load("systemctl-restart", &host, &shop, deployments)
}

fn under_load(who: &str, host: &Host, shop: &Shop, deployments: u32) -> Report {
    shop.deploy(host);
    shop.wait_release(host, "r1");
    let plan = Plan { fast: ("/".into(), 60), slow: ("/work/1000".into(), 2), sessions: 0, domain: shop.domain() };
    let load = Running::start(host.network(), plan);
    std::thread::sleep(PAUSE);
    for number in 0..deployments {
        shop.point(host, if number % 2 == 0 { "r2" } else { "r1" });
        shop.deploy(host);
        std::thread::sleep(PAUSE);
    }
    let report = load.stop();
    report.failures.iter().for_each(|failure| eprintln!("{who}: {failure}"));
    report
}
