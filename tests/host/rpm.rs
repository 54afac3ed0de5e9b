//! The .rpms by rpm itself, on a booted host that has never had the .debs: installed, upgraded in the middle of a
//! deployment, downgraded, erased and installed again, while the app serves. The scriptlets say nothing and touch nothing
//! that is live.
//!
//! The host is Debian with Debian's rpm: its database knows none of what the packages ask for, hence `--nodeps`.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    common::{Live, SLOW_STEP, eventually},
    package::{HEALTH, STATE, deploy_during, goes_on, not_directories, settled, there},
    support::{
        host::Host,
        load::{Plan, Running},
        root::Root,
        rpm,
        shop::{Shop, Spec},
        site,
    },
};

const PACKAGES: [&str; 2] = ["deployd", "deployd-webhook"];
/// How lines begin that are no trouble: what Debian's rpm says of itself, and systemd's of a user or a link; and, newer
/// ones, of a unit that the macros stop when they have taken its links away without a reload.
const EXPECTED: [&str; 7] = [
    "rpm: RPM should not be used directly",
    "rpm: However assuming you know",
    "Creating group 'deployd",
    "Creating user 'deployd",
    "Created symlink",
    "Removed ",
    "Warning: The unit file, source configuration file or drop-ins of deployd",
];

/// Brings packages onto the host; their paths there.
fn bring(host: &Host, rpms: &[PathBuf; 2]) -> [String; 2] {
    rpms.each_ref().map(|from| {
        let to = format!("/root/{}", from.file_name().unwrap_or_default().to_string_lossy());
        host.write(&to, fs::read(from).unwrap_or_else(|e| panic!("{}: {e}", from.display())));
        to
    })
}

/// What rpm does with these packages or files; neither it nor a scriptlet has any trouble to tell.
#[track_caller]
fn does(host: &Host, verb: &[&str], packages: &[impl AsRef<str>]) {
    let packages: Vec<&str> = packages.iter().map(AsRef::as_ref).collect();
    let ended = host.run(&[&["rpm", "--nodeps"], verb, &packages[..]].concat());
    let expected = |line: &str| line.is_empty() || EXPECTED.iter().any(|start| line.starts_with(start));
    assert!(ended.status == 0 && ended.said().lines().all(expected), "{ended}");
}

/// What holds as soon as rpm has ended: nothing is changed, and the service answers by the new files.
#[track_caller]
fn is_well_installed(host: &Host, version: &str) {
    let query = ["rpm", "-q", "--qf", "%{NAME} %{VERSION}\n", "deployd", "deployd-webhook"];
    assert_eq!(host.ok(&query), format!("deployd {version}\ndeployd-webhook {version}\n"));
    assert_eq!(host.run(&["rpm", "-V", "--nodeps", "deployd", "deployd-webhook"]).said(), "");
    // The bus knows who may own the name, and PID 1 the unit that it starts for it.
    host.ok(&["busctl", "call", "org.deployd1", "/org/deployd1", "org.deployd1.Manager", "ListApps"]);
    assert_eq!(host.run(&["systemctl", "is-enabled", "deployd-recover.service"]).stdout, "enabled\n");
    let units = ["show", "--property=NeedDaemonReload", "--value", "deployd.service", "deploy@shop.service"];
    assert_eq!(host.ok(&[&["systemctl"], &units[..]].concat()), "no\n\nno\n");
    host.ok(&["getent", "passwd", "deployd", "deployd-webhook"]);
    let owned = ["stat", "-c", "%U %a", "/var/lib/deployd/apps", "/var/spool/deployd", "/run/deployd/requests"];
    assert_eq!(host.ok(&owned), "root 750\ndeployd 711\ndeployd 750\n");
    // An event's explanation is in the catalog.
    assert!(host.ok(&["journalctl", "--list-catalog"]).contains("deployd"));
}

#[test]
fn rpms_come_and_go_under_load_and_no_request_fails() {
    let host = Host::boot_alone(&Root::with(&["rpm"]));
    let built = rpm::ensure();
    let rpms = bring(&host, &built);
    let version = host.ok(&["rpm", "-qp", "--qf", "%{VERSION}", &rpms[0]]);
    let made = tempfile::tempdir().expect("a directory of the test's own");
    let newer = bring(&host, &rpm::of_version(&built, "99.0", made.path()));

    does(&host, &["-i"], &rpms);
    is_well_installed(&host, &version);
    let shop = Shop::make(&host, Spec::new("shop").more(&format!("{SLOW_STEP}{}{HEALTH}", site::pool_toml())));
    shop.deploy(&host);
    assert_eq!(host.run(&["systemctl", "is-enabled", "deployd-webhook.socket"]).stdout, "disabled\n");
    host.ok(&["systemctl", "enable", "--now", "deployd-webhook.socket"]);
    let plan = Plan { fast: ("/".into(), 40), sessions: 10, ..Plan::promise(&shop.domain()) };
    let load = Running::start(host.network(), plan);

    // Newer in the middle of a deployment; older again not by mistake, and when it is meant nothing live is touched.
    deploy_during(&host, &shop, "r2", || does(&host, &["-U"], &newer));
    is_well_installed(&host, "99.0");
    let before = settled(&host, &shop);
    let refused = host.run(&["rpm", "-U", "--nodeps", &rpms[0], &rpms[1]]).expect_failure();
    assert!(refused.said().contains("(which is newer than"), "{refused}");
    does(&host, &["-U", "--oldpackage"], &rpms);
    is_well_installed(&host, &version);
    assert_eq!(Live::of(&host, &shop), before, "a downgrade touches nothing that is live");
    assert_eq!(host.run(&["systemctl", "is-active", "deployd-webhook.socket"]).stdout, "active\n");
    deploy_during(&host, &shop, "r3", || ());

    // Erased: what was the package's is gone, and the site is served by what runs.
    let before = settled(&host, &shop);
    let theirs = not_directories(&host, &host.ok(&["rpm", "-ql", "deployd", "deployd-webhook"]));
    assert!(theirs.len() > 60 && there(&host, &theirs).lines().count() == theirs.len(), "{theirs:#?}");
    does(&host, &["-e"], &PACKAGES);
    goes_on(&host, &load);
    assert_eq!(Live::of(&host, &shop), before, "erasing the tool stops no site");
    assert_eq!((there(&host, &theirs), there(&host, &STATE.map(str::to_owned))), (String::new(), String::new()));
    let enabled = "find /etc/systemd /var/lib/systemd -name '*deployd*' -not -path '*/coredump/*'";
    assert_eq!(host.sh(enabled), "", "what enabled its units");
    let ended = ["systemctl", "is-active", "deployd-webhook.socket", "deployd", "deployd-recover"];
    assert_eq!(host.run(&ended).stdout, "inactive\ninactive\ninactive\n");
    let failed = host.ok(&["systemctl", "list-units", "--failed", "--plain", "--no-legend", "*deploy*", "app-*"]);
    assert_eq!(failed, "");
    host.ok(&["test", "-e", &shop.toml_path()]);

    // And again, over an app that serves by what is still running.
    does(&host, &["-i"], &rpms);
    is_well_installed(&host, &version);
    assert_eq!(Live::of(&host, &shop), before, "nor does installing it again");
    deploy_during(&host, &shop, "r4", || ());
    settled(&host, &shop);
    eventually("the bus service has ended", Duration::from_secs(60), || {
        host.run(&["systemctl", "is-active", "deployd"]).stdout == "inactive\n"
    });

    let report = load.stop();
    assert_eq!((report.failed, report.mixed, report.sessions_lost), (0, 0, 0), "{report:#?}");
    assert!(report.releases.len() == 4 && report.requests > 1000, "{report:#?}");
    println!("{} requests over four releases, 0 failed, the longest {} ms", report.requests, report.worst_ms);
}
