//! The bus: every verb through it, and who may.

use std::time::Duration;

use deployd::model::events;
use serde_json::Value;

use crate::{
    common::{Live, eventually, installed, with_live_shop},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

/// A call of the manager.
fn call(host: &Host, method: &str, arguments: &[&str]) -> crate::support::command::Ended {
    let target = ["busctl", "call", "org.deployd1", "/org/deployd1", "org.deployd1.Manager", method];
    host.run(&[&target[..], arguments].concat())
}

#[test]
fn my_shop_through_every_verb_and_the_bus() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("my-shop"));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    let first = shop.current(&host).replace("releases/", "");
    for verb in ["show", "status", "releases", "logs", "list-deployments"] {
        let said = shop.ctl(&host, verb, &[]).ok();
        assert!(!said.trim().is_empty(), "{verb} says nothing");
    }
    assert!(host.ok(&["deployctl", "list"]).contains("my-shop"));
    shop.commit(&host, "r2", &[]);
    let plan = shop.ctl(&host, "plan", &[]).ok();
    assert!(plan.contains("my-shop"), "{plan}");
    assert_eq!(shop.release(&host), "r1", "a plan changes nothing");
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    shop.ctl(&host, "stage", &[]).ok();
    shop.ctl(&host, "activate", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
    for unit in ["deploy-rollback@my-shop", "deploy-stage@my-shop", "deploy-activate@my-shop", "deploy@my-shop"] {
        host.ok(&["systemctl", "start", unit]);
    }

    shop.commit(&host, "r3", &[]);
    let object = call(&host, "Deploy", &["sa{sv}", "my-shop", "0"]).ok();
    assert!(object.starts_with("o \"/org/deployd1/"), "{object}");
    eventually("r3 is live", Duration::from_secs(60), || shop.get(&host, "/").value("end") == Some("r3"));
    eventually("it has ended", Duration::from_secs(30), || {
        !host
            .run(&["systemctl", "list-units", "--plain", "--no-legend", "deploy-run@my-shop:*", "--state=activating"])
            .stdout
            .contains("deploy-run@")
    });
    assert!(call(&host, "ListApps", &[]).ok().contains("my-shop"));
    call(&host, "GetApp", &["s", "my-shop"]).ok();
    call(&host, "Rollback", &["sa{sv}", "my-shop", "1", "release", "s", &first]).ok();
    eventually("r1 is live", Duration::from_secs(30), || shop.get(&host, "/").value("end") == Some("r1"));
    let slices = host.ok(&["systemctl", "show", "-P", "Slice", "deploy@my-shop.service"]);
    assert_eq!(slices, "deployd-my\\x2dshop.slice\n");
}

#[test]
fn others_are_denied_and_each_denial_is_in_the_journal() {
    let (host, shop) = with_live_shop("");
    let before = Live::of(&host, &shop);
    shop.commit(&host, "r2", &[]);
    for verb in ["deploy", "rollback", "stage", "activate"] {
        let said = host.run_as("nobody", &["deployctl", verb, "shop"]).expect_status(7);
        assert!(said.stderr.lines().count() >= 1, "{said}");
    }
    let target = ["busctl", "call", "org.deployd1", "/org/deployd1", "org.deployd1.Manager", "Deploy"];
    host.run_as("nobody", &[&target[..], &["sa{sv}", "shop", "0"]].concat()).expect_failure();
    host.run_as("nobody", &["systemctl", "start", "--no-ask-password", "deploy@shop"]).expect_failure();
    // The app's own user is nobody special either.
    host.run_as("shop", &["deployctl", "deploy", "shop"]).expect_status(7);
    assert_eq!(Live::of(&host, &shop), before);
    let denials = host.journal_of("MESSAGE_ID", events::ACCESS_DENIED);
    assert!(denials.lines().count() >= 6, "{denials}");
    assert!(denials.contains("nobody"), "{denials}");
}

#[test]
fn nobody_reads_an_app_without_asking_root() {
    let (host, _shop) = with_live_shop("");
    assert!(host.run_as("nobody", &["deployctl", "status", "shop"]).ok().contains("shop"));
}

#[test]
fn deployd_leaves_when_idle_and_comes_when_called() {
    let (host, _shop) = with_live_shop("");
    host.ok(&["deployctl", "status", "shop"]);
    host.ok(&["systemctl", "stop", "deployd.service"]);
    host.ok(&["deployctl", "status", "shop"]);
}

#[test]
fn what_others_say_in_an_app_s_name_is_not_in_its_log() {
    let (host, shop) = with_live_shop("");
    let forged = "printf 'MESSAGE=%s\nDEPLOYD_APP=shop\nDEPLOYD_STEP=migrate\n' all-is-lost | logger --journald";
    host.run_as("nobody", &["sh", "-c", forged]).ok();
    host.ok(&["journalctl", "--sync"]);
    assert!(host.journal_of("DEPLOYD_APP", "shop").contains("all-is-lost"), "it is in the journal");
    let log = shop.ctl(&host, "logs", &["-n", "1000"]).ok();
    assert!(!log.contains("all-is-lost"), "{log}");
    for own in ["deploy succeeded", "storage-link"] {
        assert!(log.contains(own), "{own} is not in {log}");
    }
    // As Laravel 8 has it, or Laravel 10.
    assert!(["Migrated:", "DONE"].iter().any(|own| log.contains(own)), "what migrate printed is not in {log}");
}

#[test]
fn every_line_of_the_engine_carries_its_app_once() {
    let (host, shop) = with_live_shop("[health]\nbake = \"0s\"\n");
    // What cannot be written for a monitoring is told in a plain line, by a deployment and by its settling.
    host.sh("rm -r /var/lib/deployd/metrics; touch /var/lib/deployd/metrics");
    shop.commit(&host, "r2", &[]);
    shop.ctl(&host, "deploy", &[]).ok();
    let confirmed = || host.run(&["deployctl", "status", "shop"]).stdout.contains("confirmed");
    eventually("it is confirmed", Duration::from_secs(60), confirmed);
    // A description that cannot be read is told in lines of several kinds: in a deployment, and by what settles it.
    host.write(&shop.toml_path(), "preset = 7\n");
    shop.start(&host).expect_failure();
    host.run(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
    host.run(&["systemctl", "restart", "deployd-recover"]);
    host.ok(&["journalctl", "--sync"]);
    let json = host.ok(&["journalctl", "--no-pager", "-o", "json", "SYSLOG_IDENTIFIER=deploy-engine"]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect();
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    for line in &lines {
        // A field that came twice is an array.
        assert_eq!(line["DEPLOYD_APP"], "shop", "{line:#}");
        if text(line, "_SYSTEMD_UNIT").starts_with("deploy@") || text(line, "_SYSTEMD_UNIT").starts_with("deploy-run@")
        {
            assert_eq!(text(line, "DEPLOYD_DEPLOYMENT").len(), 16, "{line:#}");
            assert!(line["DEPLOYD_ACTOR"].is_string(), "{line:#}");
        }
        assert!(!line["DEPLOYD_RELEASE"].is_array(), "{line:#}");
    }
    for (unit, released) in
        [("deploy@shop", false), ("deploy-run@shop:", true), ("deploy-settle@shop", true), ("deployd-recover", false)]
    {
        let of_unit = |line: &&Value| text(line, "_SYSTEMD_UNIT").starts_with(unit);
        let whole = |line: &Value| line["MESSAGE_ID"].is_null() && (!released || line["DEPLOYD_RELEASE"].is_string());
        assert!(lines.iter().filter(of_unit).any(whole), "{unit} has told nothing but events, or not of which release");
    }
}
