//! Jobs across deployments: deployd's handover of queue workers, beside the script with `systemctl restart` of them.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::support::{
    deb,
    host::Host,
    jobs::Log,
    root::Root,
    script::Scripted,
    shop::{Shop, Spec},
    table::{self, Figure},
};

const WORK: &str = "queue";
const DEPLOYMENTS: u32 = 6;
const JOBS: u32 = 150;
const SERVICES: &str = "[[service]]\nkind = \"php-fpm\"\n\
                        [[service]]\nkind = \"queue\"\nconnection = \"redis\"\nprocesses = 2\nsleep = 1\n\
                        [health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
/// What people write who have no more than systemd: two workers of what is current.
const WORKER: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nUser=shop\nWorkingDirectory=/srv/shop/current\n\
                      ExecStart=/usr/bin/php artisan queue:work redis --sleep=1\nRestart=always\n";
const WORKERS: [&str; 2] = ["shop-worker@1.service", "shop-worker@2.service"];

/// Measures both and prints the table.
pub fn compare(root: &Root, with_deployd: bool) -> Vec<Figure> {
    let mut measured = Vec::new();
    if with_deployd {
        measured.push(("deployd", by_deployd(root)));
    }
    measured.push(("restart", by_restart(root)));
    let row = |(who, log): &(&str, Log)| {
        vec![(*who).to_owned(), log.not_once().len().to_string(), format!("{:.0} ms", gap_ms(log))]
    };
    println!("\n{JOBS} jobs of 0.1 to 2 s across {DEPLOYMENTS} deployments, two workers\n");
    let head = ["who", "jobs lost or killed", "longest standstill"];
    println!("{}", table::table(&head, &measured.iter().map(row).collect::<Vec<_>>()));
    let figures = |(who, log): &(&str, Log)| {
        [
            table::figure(WORK, who, "jobs_lost_or_killed", log.not_once().len() as f64, "count"),
            table::figure(WORK, who, "gap_ms", gap_ms(log), "ms"),
        ]
    };
    measured.iter().flat_map(figures).collect()
}

fn gap_ms(log: &Log) -> f64 {
    log.longest_standstill() * 1000.0
}

fn by_deployd(root: &Root) -> Log {
    let host = Host::boot_alone(root);
    host.install_deb(&deb::ensure());
    let shop = Shop::make(&host, Spec::new("shop").more(SERVICES));
    under_jobs(&host, &shop, || shop.deploy(&host))
}

fn by_restart(root: &Root) -> Log {
    let host = Host::boot_alone(root);
    let peer = Scripted::make(&host, Spec::new("shop"), None);
    host.write("/etc/systemd/system/shop-worker@.service", WORKER);
    host.ok(&["systemctl", "daemon-reload"]);
    under_jobs(&host, &peer.shop, || {
        peer.deploy(&host).ok();
        host.ok(&[&["systemctl", "restart"], &WORKERS[..]].concat());
    })
}

/// Jobs all the time, so that some wait at every moment.
fn under_jobs(host: &Host, shop: &Shop, deploy: impl Fn()) -> Log {
    shop.set_env(host, "QUEUE_CONNECTION", "redis");
    deploy();
    shop.wait_release(host, "r1");
    let left = AtomicU32::new(DEPLOYMENTS);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=JOBS {
                // A slow deployment stretches the jobs; without one that is left they come at once.
                let ms = if number % 25 == 0 { 2000 } else { 100 + number };
                shop.get(host, &format!("/dispatch/{number}/{ms}"));
                let pause = if left.load(Ordering::Relaxed) == 0 { 20 } else { 150 };
                std::thread::sleep(Duration::from_millis(pause));
            }
        });
        for number in 0..DEPLOYMENTS {
            shop.commit(host, &format!("r{}", number + 2), &[]);
            deploy();
            left.fetch_sub(1, Ordering::Relaxed);
        }
    });
    wait_ended(host, shop)
}

fn wait_ended(host: &Host, shop: &Shop) -> Log {
    // A job that was killed never ends: nothing tells that but time.
    for _ in 0..200 {
        let log = Log::of(host, shop);
        if log.count("end") >= log.count("dispatch") {
            return log;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Log::of(host, shop)
}
