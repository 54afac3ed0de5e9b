//! How long a whole deployment and a rollback take on an idle host: a repository of 2,000 files, no steps, one health
//! success. `live_ms`: to the new release answering at nginx; `wall_ms`: to the command's return. Both by the same
//! clock, from the same moment, in turns on one host.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::support::{
    command::Ended,
    deb,
    host::Host,
    requests,
    root::Root,
    script::Scripted,
    shop::{Shop, Spec},
    table::{self, Figure},
};

const DEPLOY: &str = "deploy-2000-files";
/// To a release whose slot still runs, because the new one is not confirmed yet.
const ROLLBACK: &str = "rollback";
/// To a release whose slot has ended.
const COLD: &str = "rollback-cold";
const HEALTH: &str = "[[service]]\nkind = \"php-fpm\"\n[health]\nhttp = \"http://127.0.0.1/\"\n\
                      host = \"shop.example.org\"\nsuccesses = 1\nbake = \"3s\"\n";

/// Milliseconds of each run, by work, who and metric.
type Runs = BTreeMap<(&'static str, &'static str, &'static str), Vec<f64>>;

/// Measures in turns and prints the table.
pub fn compare(root: &Root, runs: u32, with_deployd: bool) -> Vec<Figure> {
    let host = Host::boot_alone(root);
    let plain = |name: &str| Spec { laravel: false, ..Spec::new(name) };
    let peer = Scripted::make(&host, plain("peer"), None);
    let shop = with_deployd.then(|| {
        host.install_deb(&deb::ensure());
        Shop::make(&host, plain("shop").more(HEALTH))
    });
    peer.shop.commit(&host, "r2", &[]);
    peer.shop.pack(&host);
    peer.shop.point(&host, "r1");
    peer.deploy(&host).ok();
    if let Some(shop) = &shop {
        shop.commit(&host, "r2", &[]);
        shop.pack(&host);
        shop.point(&host, "r1");
        shop.deploy(&host);
    }
    // Confirmed, so that a rollback may go there; from now on `main` is r2 and each run goes r1, r2, r1.
    wait_quiet(&host);
    [Some(&peer.shop), shop.as_ref()].into_iter().flatten().for_each(|shop| shop.point(&host, "r2"));
    let mut all = Runs::new();
    for run in 1..=runs {
        let script = |what, label| (what, "script", &peer.shop, label);
        time(&host, &mut all, script(DEPLOY, "r2"), || peer.deploy(&host));
        wait_quiet(&host);
        time(&host, &mut all, script(ROLLBACK, "r1"), || peer.rollback(&host));
        peer.forget_newest(&host);
        wait_quiet(&host);
        if let Some(shop) = &shop {
            let rollback = || host.run(&["systemctl", "start", &format!("deploy-rollback@{}", shop.name())]);
            let deployd = |what, label| (what, "deployd", shop, label);
            time(&host, &mut all, deployd(DEPLOY, "r2"), || shop.start(&host));
            std::thread::sleep(Duration::from_secs(1));
            time(&host, &mut all, deployd(ROLLBACK, "r1"), rollback);
            wait_quiet(&host);
            time(&host, &mut all, deployd(DEPLOY, "r2"), || shop.start(&host));
            wait_quiet(&host);
            time(&host, &mut all, deployd(COLD, "r1"), rollback);
            wait_quiet(&host);
        }
        eprintln!("times: run {run} of {runs}");
    }
    report(&all)
}

/// Runs `work` while a client watches the site for `label`.
fn time(
    host: &Host,
    all: &mut Runs,
    (what, who, shop, label): (&'static str, &'static str, &Shop, &'static str),
    work: impl Fn() -> Ended,
) {
    let (live, wall) = watched(host, &shop.domain(), label, work);
    for (metric, value) in [("live_ms", live), ("wall_ms", wall)] {
        all.entry((what, who, metric)).or_default().push(value);
    }
}

/// The milliseconds of `work` until the site answers from the release that calls itself `label`, and until its end.
pub fn watched(host: &Host, domain: &str, label: &str, work: impl Fn() -> Ended) -> (f64, f64) {
    let wanted = label.to_owned();
    let is_it = move |answer: &requests::Answer| answer.is_whole() && answer.value("end") == Some(&wanted);
    let watch = requests::watch(host.network(), domain, "/", Duration::from_secs(60), is_it);
    // The watch must be running before the clock does.
    std::thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    work().ok();
    let wall = begun.elapsed();
    let live = watch.join().expect("it does not panic").unwrap_or_else(|| panic!("{domain}: {label} never answered"));
    assert!(live > begun, "{domain}: {label} answered before it was begun to make it live");
    ((live - begun).as_secs_f64() * 1000.0, wall.as_secs_f64() * 1000.0)
}

/// Waits until nothing of a deployment is left to be done: it has settled and the old slots have ended.
pub fn wait_quiet(host: &Host) {
    std::thread::sleep(Duration::from_millis(500));
    let until = Instant::now() + Duration::from_secs(30);
    let units = ["app-fpm@*", "deploy-settle@*", "deploy-drain@*", "deploy@*", "deploy-rollback@*"];
    let list =
        [&["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,deactivating"], &units[..]];
    while host.ok(&list.concat()).lines().count() > 1 {
        assert!(Instant::now() < until, "not quiet after 30 s:\n{}", host.ok(&list.concat()));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn report(all: &Runs) -> Vec<Figure> {
    let median = |what, who, metric| {
        let mut runs = all.get(&(what, who, metric))?.clone();
        runs.sort_by(f64::total_cmp);
        Some(runs[runs.len() / 2])
    };
    let (mut figures, mut rows) = (Vec::new(), Vec::new());
    for (what, who) in
        [(DEPLOY, "deployd"), (DEPLOY, "script"), (ROLLBACK, "deployd"), (COLD, "deployd"), (ROLLBACK, "script")]
    {
        let (Some(live), Some(wall)) = (median(what, who, "live_ms"), median(what, who, "wall_ms")) else { continue };
        figures.push(table::figure(what, who, "live_ms", live, "ms"));
        figures.push(table::figure(what, who, "wall_ms", wall, "ms"));
        let base = median(if what == COLD { ROLLBACK } else { what }, "script", "wall_ms").unwrap_or(f64::NAN);
        let ms = |value: f64| format!("{value:.0} ms");
        rows.push(vec![
            format!("{what}: {who}"),
            ms(live),
            ms(wall),
            format!("{:.2}", live / base),
            format!("{:.2}", wall / base),
        ]);
    }
    println!("\nmedians on an idle host; the ratios are to the script's wall\n");
    println!("{}", table::table(&["work: who", "live", "wall", "live ratio", "wall ratio"], &rows));
    figures
}
