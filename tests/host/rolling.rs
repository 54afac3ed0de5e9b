//! The instances of a site's own template, one after the other: a Node program behind nginx. What fails goes back, or
//! pauses, and no request fails meanwhile.

use std::time::Duration;

use crate::{
    common::installed,
    support::{
        host::Host,
        load::{Plan, Report, Running},
        shop::{Shop, Spec},
        site::Php,
    },
};

/// An instance takes longer to answer than the delay between two: who does not wait for it has none left.
const UNIT: &str = "[Service]\nType=exec\nUser=shop\nEnvironment=PORT=300%i BOOT_MS=700\nWorkingDirectory=/srv/shop/current\n\
                    ExecStart=/usr/bin/node server.js\n[Install]\nWantedBy=multi-user.target\n";
const HEALTH: &str = "[health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
const FOUR: &str = "instances = [\"1\", \"2\", \"3\", \"4\"]\n";

fn service(more: &str) -> String {
    format!(
        "[[service]]\nunit = \"shop-web@.service\"\nstrategy = \"rolling\"\n\
         probe = \"http://127.0.0.1:300{{instance}}/up\"\nstart = \"10s\"\n{more}{HEALTH}"
    )
}

/// The app in instances of its own unit; nothing is deployed yet.
fn with_web(more: &str) -> (Host, Shop) {
    let host = installed();
    host.write("/etc/systemd/system/shop-web@.service", UNIT);
    host.ok(&["systemctl", "daemon-reload"]);
    let php = Php::Ports(vec![3001, 3002, 3003, 3004, 3005]);
    let shop = Shop::make(&host, Spec { php, ..Spec::node("shop").more(&service(more)) });
    (host, shop)
}

/// The instances that run, each with the release that its process works in.
fn running(host: &Host) -> Vec<(String, String)> {
    let script = r#"for unit in $(systemctl list-units --plain --no-legend --state=active 'shop-web@*' | cut -d ' ' -f 1); do
echo "$unit $(readlink "/proc/$(systemctl show -P MainPID "$unit")/cwd")"; done"#;
    let line = |line: &str| {
        let (unit, cwd) = line.split_once(' ').unwrap();
        (unit.replace("shop-web@", "").replace(".service", ""), cwd.replace("/srv/shop/", ""))
    };
    host.sh(script).lines().map(line).collect()
}

/// How many instances run what `current` names, and how many something else.
fn counts(host: &Host, shop: &Shop) -> (usize, usize) {
    let (current, running) = (shop.current(host), running(host));
    let new = running.iter().filter(|(_, release)| *release == current).count();
    (new, running.len() - new)
}

fn load(host: &Host, shop: &Shop) -> Running {
    let plan = Plan { fast: ("/".into(), 200), slow: ("/work/1000".into(), 5), sessions: 0, domain: shop.domain() };
    Running::start(host.network(), plan)
}

#[track_caller]
fn nothing_failed(report: &Report) {
    assert_eq!((report.failed, report.mixed), (0, 0), "{report:#?}");
}

#[test]
fn a_rolling_update_over_four_instances_fails_none_of_two_thousand_requests() {
    let (host, shop) = with_web(&format!("{FOUR}delay = \"200ms\"\n"));
    shop.commit(&host, "r2", &[]);
    shop.point(&host, "r1");
    shop.deploy(&host);
    assert_eq!(counts(&host, &shop), (4, 0), "the first deployment starts them");
    let load = load(&host, &shop);
    std::thread::sleep(Duration::from_secs(1));
    shop.point(&host, "r2");
    shop.deploy(&host);
    assert_eq!(counts(&host, &shop), (4, 0));
    assert_eq!(shop.release(&host), "r2");
    // Start-first: five instances, of which four run.
    shop.configure(&host, &service("instances = [\"1\", \"2\", \"3\", \"4\", \"5\"]\norder = \"start-first\"\n"));
    shop.point(&host, "r1");
    shop.deploy(&host);
    assert_eq!(counts(&host, &shop), (4, 0));
    let names: Vec<_> = running(&host).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"5".to_owned()), "the one that did not run was started first: {names:?}");
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(counts(&host, &shop), (4, 0));
    std::thread::sleep(Duration::from_secs(4));
    let report = load.stop();
    nothing_failed(&report);
    assert!(report.requests > 2000 && report.releases.len() == 2, "{report:#?}");
}

#[test]
fn an_instance_that_does_not_answer_takes_everything_back() {
    let (host, shop) = with_web(FOUR);
    shop.deploy(&host);
    let before = shop.current(&host);
    shop.commit(&host, "broken", &[("BROKEN", "yes\n")]);
    let load = load(&host, &shop);
    // Its time to answer is over after 10 s; what is wrong is in the message.
    let said = shop.ctl(&host, "deploy", &[]).expect_status(4).said();
    assert!(said.contains("shop-web@1.service") && said.contains("500"), "{said}");
    assert_eq!(shop.current(&host), before);
    assert_eq!(counts(&host, &shop), (4, 0));
    let report = load.stop();
    nothing_failed(&report);
    let others = report.releases.get("r1").copied().unwrap_or(0);
    assert!(others * 2 > report.requests, "one of four was moved, the others served: {report:#?}");
    let journal = host.sh("journalctl --no-pager -o cat -u 'shop-web@*'");
    assert_eq!(journal.matches("Started ").count(), 6, "four, and one of them twice more:\n{journal}");
}

#[test]
fn an_update_that_pauses_leaves_the_others_until_a_person_decides() {
    let (host, shop) = with_web(&format!("{FOUR}on_failure = \"pause\"\n").replace("10s", "2s"));
    shop.deploy(&host);
    shop.commit(&host, "broken", &[("BROKEN", "yes\n")]);
    let said = shop.ctl(&host, "deploy", &[]).expect_status(5).said();
    assert!(said.contains("is paused") && said.contains("deployctl rollback shop"), "{said}");
    assert_eq!(counts(&host, &shop), (1, 3), "one was moved, three serve on");
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(counts(&host, &shop), (4, 0), "back");
    assert_eq!(shop.release(&host), "r1");
    // Once more; this time what is wrong is put right, and the same deployment goes on.
    shop.ctl(&host, "deploy", &["--force"]).expect_status(5);
    assert_eq!(counts(&host, &shop), (1, 3));
    host.sh("rm /srv/shop/current/BROKEN");
    shop.deploy(&host);
    assert_eq!(counts(&host, &shop), (4, 0), "on");
    assert_eq!(shop.release(&host), "broken");
}

#[test]
fn an_update_that_was_killed_or_rebooted_is_taken_back() {
    let (mut host, shop) = with_web(&format!("{FOUR}delay = \"3s\"\n"));
    shop.deploy(&host);
    let before = shop.current(&host);
    shop.commit(&host, "r2", &[]);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    crate::common::eventually("one instance is moved", Duration::from_secs(20), || counts(&host, &shop).1 == 3);
    host.ok(&["systemctl", "kill", "--signal=KILL", "deploy@shop"]);
    crate::common::eventually("it is taken back", Duration::from_secs(30), || {
        shop.current(&host) == before && counts(&host, &shop) == (4, 0)
    });

    // And by a reboot in the middle of one: the instances are the site's own to start.
    host.ok(&["systemctl", "enable", "--quiet", "shop-web@1", "shop-web@2", "shop-web@3", "shop-web@4"]);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    crate::common::eventually("one instance is moved", Duration::from_secs(20), || counts(&host, &shop).1 == 3);
    host.reboot();
    crate::common::eventually("all run what was live", Duration::from_secs(60), || {
        shop.current(&host) == before && counts(&host, &shop) == (4, 0)
    });
    shop.wait_release(&host, "r1");
    shop.deploy(&host);
    let after = shop.current(&host);
    host.reboot();
    shop.wait_release(&host, "r2");
    assert_eq!((shop.current(&host), counts(&host, &shop)), (after, (4, 0)));
}
