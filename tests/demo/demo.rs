//! `make demo`: boots a host in a container, installs the package, releases a Laravel app twice and goes back, under
//! load, and says in plain words what happens. It touches nothing of the machine but `target/` and missing packages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a demonstration ends at the first surprise"
)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a person")]

#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use support::{
    command::Ended,
    deb,
    host::Host,
    load::{Plan, Running},
    root::Root,
    shop::{Shop, Spec},
    site, table,
};

fn main() {
    println!("1. A Debian host with systemd, nginx and php-fpm boots in a container");
    let root = Root::chosen();
    let deb = deb::ensure();
    let begun = Instant::now();
    let host = Host::boot_weighing(&root);
    println!("   up after {} ms", begun.elapsed().as_millis());
    println!("2. apt-get installs {}", deb.file_name().unwrap_or_default().to_string_lossy());
    host.install_deb(&deb);

    println!("3. A Laravel app is described in /etc/deployd/apps/shop.toml");
    let health = "[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"3s\"\n";
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{}{health}", site::pool_toml())));
    host.read(&shop.toml_path()).lines().for_each(|line| println!("   | {line}"));

    println!("4. Its first release is deployed");
    say(&host, "systemctl start deploy@shop", |host| shop.start(host));
    serves(&host, &shop, "r1");
    println!("   as `deployctl status shop` tells it:");
    host.run(&["deployctl", "status", "shop"]).said().lines().for_each(|line| println!("   | {line}"));

    println!("5. From here on 100 requests a second arrive, 2 a second that take 3 s, and 20 people with sessions");
    let load = Running::start(host.network(), Plan::promise(&shop.domain()));
    std::thread::sleep(Duration::from_secs(4));

    println!("6. A second release, with a migration, is pushed and deployed");
    shop.commit_second(&host);
    say(&host, "systemctl start deploy@shop", |host| shop.start(host));
    serves(&host, &shop, "r2");
    std::thread::sleep(Duration::from_secs(6));

    println!("7. And taken back");
    say(&host, "deployctl rollback shop", |host| shop.ctl(host, "rollback", &[]));
    serves(&host, &shop, "r1");
    std::thread::sleep(Duration::from_secs(4));

    let report = load.stop();
    println!("8. What the visitors saw\n");
    println!("{}", table::table(&table::HEAD, &[table::row("deployd", &report)]));
    report.failures.iter().for_each(|failure| println!("   {failure}"));
    drop(host);
    println!("The host is gone; the machine is as it was, but for target/ and packages that apt-get had to install");
    assert!(report.failed == 0 && report.mixed == 0 && report.sessions_lost == 0, "visitors noticed: {report:?}");
}

/// Shows a command, runs it, tells how long it took.
fn say(host: &Host, command: &str, run: impl Fn(&Host) -> Ended) {
    println!("   # {command}");
    let begun = Instant::now();
    let said = run(host).ok();
    said.lines().for_each(|line| println!("   | {line}"));
    println!("   done after {} ms", begun.elapsed().as_millis());
}

fn serves(host: &Host, shop: &Shop, label: &str) {
    let serving = shop.release(host);
    assert_eq!(serving, label, "another release answers");
    println!("   http://{} now serves {serving}, from {}", shop.domain(), shop.current(host));
}
