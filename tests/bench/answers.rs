//! What a person or a program waits for while nothing is deployed: the first answer of the bus service when nobody has
//! asked before, the status of 200 apps, and a deployment that finds nothing new, of a repository and of a directory of
//! 100,000 files. Each beside a usual program of the host that does about as much.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Instant,
};

use zbus::connection;

use super::tree::Tree;
use crate::support::{
    command, deb,
    disk::Disk,
    host::Host,
    inside::Inside,
    root::Root,
    site::{self, Php},
    table::{self, Figure},
};

const COLD: &str = "bus-cold-start";
const STATUS: &str = "status-200-apps";
const NOTHING: &str = "deploy-nothing-new";
const MANY: &str = "deploy-nothing-new-100000";
/// What PID 1 takes for a unit.
const FLOOR: &str = "same-unit-true";
const DISK_GIB: u64 = 8;
const APPS: usize = 200;
const REST: &str = "[[service]]\nkind = \"php-fpm\"\n[health]\nhttp = \"http://127.0.0.1/\"\n\
                    host = \"shop.example.org\"\nsuccesses = 1\nbake = \"0s\"\n[releases]\nkeep = 2\n";

/// By what was done, who did it and what was measured.
type Runs = BTreeMap<(&'static str, &'static str, &'static str), Vec<f64>>;

/// Measures in turns and prints the table.
pub fn compare(root: &Root, runs: usize) -> Vec<Figure> {
    let disk = Disk::make("ext4", DISK_GIB);
    let host = Host::boot_on(root, &[(&disk, "srv"), (&disk, "var/cache/deployd")]);
    host.install_deb(&deb::ensure());
    Tree::ten().put(&disk.dir().join("srv/repo"));
    Tree::many().put(&disk.dir().join("srv/many"));
    host.sh("useradd --create-home shop; chown -R shop: /srv/repo /srv/many");
    site::install(&host, "shop", "/srv/shop", &Php::Snippet);
    let mut all = Runs::new();
    let source = |line: &str| {
        host.write("/etc/deployd/apps/shop.toml", format!("root = \"/srv/shop\"\nuser = \"shop\"\n{line}\n{REST}"));
        host.ok(&["systemctl", "start", "deploy@shop"]);
        super::times::wait_quiet(&host);
    };
    source("source.git = \"/srv/repo\"\nsource.ref = \"main\"");
    host.ok(&["git", "config", "--global", "safe.directory", "*"]);
    host.ok(&["git", "clone", "--quiet", "--mirror", "/srv/repo", "/root/mirror"]);
    unit_of_true(&host, "deploy@.service", "true@.service");
    unit_of_true(&host, "deployd.service", "deployd-true.service");
    for _ in 0..runs {
        timed(&host, &mut all, (NOTHING, "deployd"), &["systemctl", "start", "deploy@shop"]);
        timed(&host, &mut all, (NOTHING, FLOOR), &["systemctl", "start", "true@shop"]);
        timed(&host, &mut all, (NOTHING, "git-fetch"), &["git", "-C", "/root/mirror", "fetch", "--quiet"]);
    }
    host.sh("git clone --quiet /srv/many /srv/build; chown -R shop: /srv/build");
    source("source.directory = \"/srv/build\"");
    // What was written a moment ago is read once more.
    host.ok(&["systemctl", "start", "deploy@shop"]);
    // The host has no rsync.
    let place = |path: &str| disk.dir().join(path).to_string_lossy().into_owned();
    let (from, to) = (place("srv/build/"), place("srv/shop/current/"));
    for _ in 0..runs {
        timed(&host, &mut all, (MANY, "deployd"), &["systemctl", "start", "deploy@shop"]);
        let begun = Instant::now();
        command::local(&["rsync", "-an", "--delete", "--exclude=.git", &from, &to]).ok();
        all.entry((MANY, "rsync-dry-run", "wall_ms")).or_default().push(milliseconds(begun));
    }
    more_apps(&host);
    for _ in 0..runs {
        for (who, name, unit) in [
            ("deployd", "org.deployd1", "deployd"),
            ("systemd-hostnamed", "org.freedesktop.hostname1", "systemd-hostnamed"),
        ] {
            cold(&host, &mut all, who, name, unit);
        }
        timed(&host, &mut all, (COLD, FLOOR), &["systemctl", "start", "deployd-true"]);
        timed(&host, &mut all, (STATUS, "deployd"), &["deployctl", "status"]);
        timed(&host, &mut all, (STATUS, "systemctl"), &["systemctl", "list-units", "--all", "--no-pager"]);
    }
    report(all)
}

/// A unit with its whole sandbox, in which nothing is done: what PID 1 takes for the bus service, and for one of the two
/// units that a deployment needs.
fn unit_of_true(host: &Host, unit: &str, name: &str) {
    let unit = host.ok(&["systemctl", "cat", unit]);
    let of_true = |line: &str| match line.split_once('=') {
        Some(("ExecStart", _)) => Some("ExecStart=/bin/true".to_owned()),
        Some(("Type", _)) => Some("Type=oneshot".to_owned()),
        Some(("OnFailure" | "BusName" | "Restart", _)) => None,
        _ => Some(line.to_owned()),
    };
    let lines: Vec<_> = unit.lines().filter_map(of_true).collect();
    host.write(&format!("/etc/systemd/system/{name}"), lines.join("\n") + "\n");
    host.ok(&["systemctl", "daemon-reload"]);
}

fn timed(host: &Host, all: &mut Runs, (what, who): (&'static str, &'static str), argv: &[&str]) {
    let begun = Instant::now();
    host.run(argv).ok();
    all.entry((what, who, "wall_ms")).or_default().push(milliseconds(begun));
}

fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}

/// As many apps as a large host has, each with the state of the one that was deployed.
fn more_apps(host: &Host) {
    let toml = host.read("/etc/deployd/apps/shop.toml");
    for number in 1..APPS {
        let of_its_own = toml
            .replace("/srv/shop", &format!("/srv/app{number}"))
            .replace("shop.example", &format!("app{number}.example"));
        host.write(&format!("/etc/deployd/apps/app{number}.toml"), of_its_own);
    }
    host.sh(&format!("cd /var/lib/deployd/apps; for n in $(seq 1 {}); do cp -a shop app$n; done", APPS - 1));
}

/// From a process inside the host that connects to the bus and asks for a property, to the answer; and what the service
/// then has in memory.
fn cold(host: &Host, all: &mut Runs, who: &'static str, name: &'static str, unit: &str) {
    host.ok(&["systemctl", "stop", unit]);
    let took = Arc::new(Mutex::new(None));
    let told = Arc::clone(&took);
    let asks = Inside::start(host, "root", move |_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let asked = runtime.block_on(async {
            let begun = Instant::now();
            let bus = connection::Builder::address("unix:path=/run/dbus/system_bus_socket");
            let bus = bus.build().await.expect("the host's bus is there");
            let path = format!("/{}", name.replace('.', "/"));
            let (interface, property) =
                if name == "org.deployd1" { ("org.deployd1.Manager", "Version") } else { (name, "Hostname") };
            let properties = Some("org.freedesktop.DBus.Properties");
            bus.call_method(Some(name), path, properties, "Get", &(interface, property)).await.expect("it answers");
            milliseconds(begun)
        });
        *told.lock().expect("nobody panics") = Some(asked);
    });
    asks.end();
    let took = took.lock().expect("nobody panics").expect("it was timed");
    all.entry((COLD, who, "wall_ms")).or_default().push(took);
    let pid = host.ok(&["systemctl", "show", "-P", "MainPID", unit]);
    let status = host.read(&format!("/proc/{}/status", pid.trim()));
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it runs");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    all.entry((COLD, who, "rss_mb")).or_default().push(kib / 1024.0);
}

fn report(all: Runs) -> Vec<Figure> {
    let medians: BTreeMap<_, _> = all
        .into_iter()
        .map(|(key, mut runs)| {
            runs.sort_by(f64::total_cmp);
            (key, runs[runs.len() / 2])
        })
        .collect();
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for (what, who, metric) in [
        (COLD, "deployd", "wall_ms"),
        (COLD, "systemd-hostnamed", "wall_ms"),
        (COLD, FLOOR, "wall_ms"),
        (COLD, "deployd", "rss_mb"),
        (COLD, "systemd-hostnamed", "rss_mb"),
        (STATUS, "deployd", "wall_ms"),
        (STATUS, "systemctl", "wall_ms"),
        (NOTHING, "deployd", "wall_ms"),
        (NOTHING, "git-fetch", "wall_ms"),
        (NOTHING, FLOOR, "wall_ms"),
        (MANY, "deployd", "wall_ms"),
        (MANY, "rsync-dry-run", "wall_ms"),
    ] {
        let Some(value) = medians.get(&(what, who, metric)) else { continue };
        let unit = if metric == "rss_mb" { "MB" } else { "ms" };
        let is_base = |one: &str| !["deployd", FLOOR].contains(&one);
        let other = medians.iter().find(|((w, o, m), _)| *w == what && is_base(o) && *m == metric);
        let ratio = other.map_or_else(String::new, |(_, base)| format!("{:.2}", value / base));
        figures.push(table::figure(what, who, metric, *value, unit));
        rows.push(vec![format!("{what}: {who}"), format!("{value:.1} {unit}"), ratio]);
    }
    println!("\nwhile nothing is deployed, medians on an idle host\n");
    println!("{}", table::table(&["work: who", "what it takes", "ratio"], &rows));
    figures
}
