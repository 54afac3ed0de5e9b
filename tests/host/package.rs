//! The packages as an administrator has them: installed, upgraded in the middle of a deployment, downgraded, removed,
//! purged and installed again, while the app serves. Maintainer scripts touch nothing that is live.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    common::{Live, SLOW_STEP, eventually, forget_slow_step, installed, installed_alone, slow_step_begun},
    support::{
        host::{DEBS, Host},
        load::{Plan, Running},
        lock::crate_dir,
        requests::spawn_within,
        shop::{Shop, Spec},
        site,
    },
};

pub const HEALTH: &str = "[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
const PACKAGES: [&str; 2] = ["deployd", "deployd-webhook"];
/// What a purge takes away besides the packages' files.
pub const STATE: [&str; 4] =
    ["/var/lib/deployd", "/var/cache/deployd", "/var/spool/deployd", "/var/lib/deployd-webhook"];

/// Waits until PID 1 has done all that a removal asked for, and the load has gone on after it.
#[track_caller]
pub fn goes_on(host: &Host, load: &Running) {
    let answered = load.answered();
    eventually("a removal is done, and the load goes on", Duration::from_secs(60), || {
        let jobs = host.ok(&["systemctl", "list-jobs", "--plain", "--no-legend"]);
        (jobs.is_empty() || jobs.starts_with("No jobs")) && load.answered() > answered + 150
    });
}

/// The installed packages made anew under another version, as files of the host.
pub fn of_version(host: &Host, version: &str) -> Vec<String> {
    let script = r#"rm -rf "$1"; dpkg-deb -R "$2" "$1"
        sed -i "s/^Version:.*/Version: $3/; s/deployd (= [^)]*)/deployd (= $3)/" "$1/DEBIAN/control"
        dpkg-deb -Znone -b "$1" "$1.deb""#;
    let make = |(name, from): (&str, &str)| {
        let tree = format!("/root/{name}-{version}");
        host.ok(&["sh", "-euc", script, "sh", &tree, from, version]);
        format!("{tree}.deb")
    };
    PACKAGES.into_iter().zip(DEBS).map(make).collect()
}

/// What dpkg does with these packages or files.
#[track_caller]
pub fn dpkg(host: &Host, verb: &str, packages: &[impl AsRef<str>]) {
    let packages: Vec<&str> = packages.iter().map(AsRef::as_ref).collect();
    host.ok(&[&["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", verb], &packages[..]].concat());
}

/// Begins a deployment of `label` and does `meanwhile` while its step runs; it must succeed.
pub fn deploy_during(host: &Host, shop: &Shop, label: &str, meanwhile: impl FnOnce()) {
    shop.commit(host, label, &[]);
    forget_slow_step(host, shop);
    std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.start(host));
        slow_step_begun(host, shop);
        meanwhile();
        deploying.join().expect("it is waited for").ok();
    });
    assert_eq!(shop.release(host), label);
}

/// Until one slot is live and nothing of a deployment runs any more; what is live then.
pub fn settled(host: &Host, shop: &Shop) -> Live {
    let busy = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,deactivating"];
    eventually("all of a deployment has ended", Duration::from_secs(90), || {
        host.run(&[&busy[..], &["deploy-*@*", "deploy@*.service"]].concat()).stdout.trim().is_empty()
            && Live::of(host, shop).slots.len() == 1
    });
    Live::of(host, shop)
}

/// What the packages have put on the host, without directories.
fn files(host: &Host) -> Vec<String> {
    not_directories(host, &host.ok(&[&["dpkg", "-L"], &PACKAGES[..]].concat()))
}

/// Those of the listed paths that are no directories.
pub fn not_directories(host: &Host, listed: &str) -> Vec<String> {
    let is_file = |path: &&str| host.run(&["test", "-d", path]).status != 0;
    listed.lines().filter(|line| line.starts_with('/')).filter(is_file).map(str::to_owned).collect()
}

/// Those of these paths that are there.
pub fn there(host: &Host, paths: &[String]) -> String {
    let script = r#"for path; do if [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi; done"#;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    host.ok(&[&["sh", "-euc", script, "sh"], &paths[..]].concat())
}

#[test]
fn packages_come_and_go_under_load_and_no_request_fails() {
    let host = installed_alone();
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{SLOW_STEP}{}{HEALTH}", site::pool_toml())));
    shop.deploy(&host);
    host.ok(&["systemctl", "enable", "--now", "deployd-webhook.socket"]);
    let plan = Plan { fast: ("/".into(), 40), sessions: 10, ..Plan::promise(&shop.domain()) };
    let load = Running::start(host.network(), plan);

    // Newer in the middle of a deployment, older again while nothing is deployed.
    deploy_during(&host, &shop, "r2", || dpkg(&host, "-i", &of_version(&host, "99.0")));
    assert_eq!(host.ok(&["dpkg-query", "-W", "-f", "${Version} ", "deployd", "deployd-webhook"]), "99.0 99.0 ");
    let before = settled(&host, &shop);
    dpkg(&host, "-i", &DEBS);
    assert_eq!(Live::of(&host, &shop), before, "a downgrade touches nothing that is live");
    deploy_during(&host, &shop, "r3", || ());

    // Removed while nothing is deployed: not even nginx notices when it is reloaded.
    let before = settled(&host, &shop);
    dpkg(&host, "--remove", &PACKAGES);
    host.sh("nginx -q -t; systemctl reload nginx");
    goes_on(&host, &load);
    assert_eq!(Live::of(&host, &shop), before, "removing the tool stops no site");
    assert_eq!(
        host.run(&["systemctl", "is-active", "deployd-webhook.socket", "deployd"]).stdout,
        "inactive\ninactive\n"
    );
    dpkg(&host, "-i", &DEBS);
    assert_eq!(Live::of(&host, &shop), before, "nor does installing it again");
    deploy_during(&host, &shop, "r4", || ());

    // Purged: all is forgotten but what was never the package's.
    let before = settled(&host, &shop);
    let theirs = files(&host);
    assert!(theirs.len() > 60 && there(&host, &theirs).lines().count() == theirs.len(), "{theirs:#?}");
    dpkg(&host, "--purge", &PACKAGES);
    assert_eq!(there(&host, &theirs), "");
    assert_eq!(there(&host, &STATE.map(str::to_owned)), "");
    let enabled = "find /etc/systemd /var/lib/systemd -name '*deployd*' -not -path '*/coredump/*'";
    assert_eq!(host.sh(enabled), "", "what enabled its units");
    assert_eq!(Live::of(&host, &shop), before);
    host.ok(&["test", "-e", &shop.toml_path()]);
    goes_on(&host, &load);

    // And from the beginning, over an app that serves by what is still running.
    dpkg(&host, "-i", &DEBS);
    assert_eq!(Live::of(&host, &shop), before);
    deploy_during(&host, &shop, "r5", || ());
    settled(&host, &shop);

    let report = load.stop();
    assert_eq!((report.failed, report.mixed, report.sessions_lost), (0, 0, 0), "{report:#?}");
    assert!(report.releases.len() == 5 && report.requests > 1000, "{report:#?}");
    println!("{} requests over five releases, 0 failed, the longest {} ms", report.requests, report.worst_ms);
}

/// The status of the answer to a delivery that nobody signed; 0 when there is none.
async fn unsigned() -> u16 {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", 7480)).await?;
        stream.write_all(b"POST /shop HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = ask.await.unwrap_or_default();
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn deliveries_during_an_upgrade_are_all_answered() {
    let host = installed();
    Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") });
    host.write("/etc/deployd/webhook/shop", "the secret of the shop, 0123456789\n");
    host.ok(&["systemctl", "start", "deployd-webhook.socket"]);
    let newer = of_version(&host, "99.0");
    let main_pid = || host.ok(&["systemctl", "show", "--property=MainPID", "--value", "deployd-webhook.service"]);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let deliveries = spawn_within(host.network(), move || async move {
        let (mut stopped, mut statuses) = (stopped, Vec::new());
        while stopped.try_recv().is_err() {
            statuses.push(unsigned().await);
        }
        statuses
    });
    eventually("it listens", Duration::from_secs(10), || main_pid().trim() != "0");
    let before = main_pid();
    dpkg(&host, "-i", &newer);
    eventually("the new one runs", Duration::from_secs(10), || main_pid().trim() != "0");
    assert_ne!(main_pid(), before, "the service is the new package's");
    let _ = stop.send(());
    let statuses = deliveries.join().expect("it does not panic");
    let others: Vec<_> = statuses.iter().enumerate().filter(|(_, status)| **status != 401).collect();
    assert!(statuses.len() > 100 && others.is_empty(), "{others:?} of {}", statuses.len());
    println!("{} deliveries were answered, from before the upgrade until after it", statuses.len());
}

/// What Debian's autopkgtest runs on an installed package, each on a host of its own as its isolation asks.
#[test]
fn the_packages_own_tests_pass() {
    for name in ["deploy", "webhook"] {
        let host = installed();
        host.copy_in(&crate_dir().join("packaging/debian/tests"), "/root/tests");
        host.ok(&[&format!("/root/tests/{name}")]);
    }
}
