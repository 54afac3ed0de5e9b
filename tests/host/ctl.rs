//! The command line on a host: holds and prunings, its JSON against the manual, its completions, its terminal.

use std::{collections::BTreeSet, time::Duration};

use deployd::model::events;
use serde_json::json;

use crate::{
    common::{Live, eventually, releases, with_live_shop},
    support::{host::Host, shop::Shop},
};

/// Until what was deployed is confirmed.
fn confirmed(host: &Host, shop: &Shop) {
    let status = || shop.ctl(host, "status", &[]).ok();
    eventually("it is confirmed", Duration::from_secs(60), || status().contains(": live, confirmed"));
}

#[test]
fn a_held_app_takes_nothing_new_however_it_is_asked_and_a_held_release_stays() {
    let (host, shop) = with_live_shop("[health]\nbake = \"0s\"\n[releases]\nkeep = 2\n");
    confirmed(&host, &shop);
    let r1 = shop.current(&host).replace("releases/", "");
    host.run_as("nobody", &["deployctl", "hold", "shop"]).expect_status(7);
    shop.ctl(&host, "hold", &["--reason", "the sale \u{1b}[2J is on"]).ok();
    let status = host.run_as("nobody", &["deployctl", "status", "shop"]).ok();
    assert!(status.contains("shop: live, confirmed, held") && status.contains("by user:root since "), "{status}");
    assert!(status.contains("the sale \\u{1b}[2J is on\n") && status.contains("`deployctl unhold shop`"), "{status}");
    // Nothing new is still told, and is no failure.
    shop.ctl(&host, "deploy", &[]).ok();
    shop.ctl(&host, "deploy", &["--exit-code"]).expect_status(10);
    shop.commit(&host, "r2", &[]);
    let before = Live::of(&host, &shop);
    for verb in ["deploy", "stage", "rollback"] {
        let said = shop.ctl(&host, verb, &[]).expect_status(3);
        assert!(verb == "rollback" || said.stderr.contains("held by user:root: the sale"), "{said}");
    }
    assert!(shop.ctl(&host, "plan", &[]).expect_status(3).stdout.contains("held by"));
    for unit in ["deploy@shop", "deploy-stage@shop"] {
        host.run(&["systemctl", "start", unit]).expect_failure();
    }
    assert_eq!(Live::of(&host, &shop), before);
    assert!(host.journal_of("MESSAGE_ID", events::HELD).contains("the sale"));
    // A file that somebody damaged is not taken for no hold.
    let file = "/var/lib/deployd/apps/shop/holds.json";
    let good = host.read(file);
    assert_eq!(host.ok(&["stat", "-c", "%U %a", file]), "root 640\n");
    host.write(file, "{");
    assert!(shop.ctl(&host, "deploy", &[]).expect_status(3).stderr.contains("holds.json"));
    host.write(file, good);
    host.run(&["systemctl", "restart", "deployd"]).ok();
    shop.ctl(&host, "unhold", &[]).ok();
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");

    // keep = 2 would let r1 go once r3 and r4 are confirmed.
    confirmed(&host, &shop);
    shop.ctl(&host, "hold", &[&r1]).ok();
    for label in ["r3", "r4"] {
        shop.commit(&host, label, &[]);
        shop.deploy(&host);
        confirmed(&host, &shop);
    }
    let kept = |host: &Host| releases(host, &shop).into_iter().filter(|name| !name.starts_with('.')).count();
    eventually("r2 is pruned", Duration::from_secs(30), || kept(&host) == 3);
    assert!(releases(&host, &shop).contains(&r1));
    assert!(shop.ctl(&host, "prune", &["--keep", "0"]).ok().contains("held by user:root"));
    assert_eq!(kept(&host), 3, "what is live, the one before, the one that is held");
    shop.ctl(&host, "unhold", &[&r1]).ok();
    host.run_as("nobody", &["deployctl", "prune", "shop"]).expect_status(7);
    let dry = shop.ctl(&host, "prune", &["--dry-run"]).ok();
    assert!(dry.contains("1 would be pruned") && kept(&host) == 3, "{dry}");
    let pruned = shop.ctl(&host, "prune", &[]).ok();
    assert!(pruned.contains("1 pruned") && pruned.contains(&format!("prune  {r1}")), "{pruned}");
    assert!(!releases(&host, &shop).contains(&r1) && kept(&host) == 2);
    assert_eq!(shop.release(&host), "r4");
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(shop.release(&host), "r3");
}

/// The members that the manual names for a verb.
pub fn manual(verb: &str) -> BTreeSet<String> {
    let page = include_str!("../../man/deployctl.1");
    let table = page.split(".Sh JSON").nth(1).unwrap().split(".Sh ").next().unwrap();
    let entries = table.split(".It Cm ").skip(1);
    let of = |entry: &&str| entry.lines().next().unwrap().split(" , ").any(|name| name == verb);
    let entry = entries.filter(of).last().unwrap_or_else(|| panic!("{verb} is not in the manual's JSON"));
    let line = entry.lines().find_map(|line| line.strip_prefix(".Va ")).unwrap();
    line.split(" , ").map(|name| name.trim().to_owned()).collect()
}

/// The members of a value; of a list those of its first.
pub fn members(value: &serde_json::Value) -> BTreeSet<String> {
    let one = value.as_array().map_or(value, |list| &list[0]);
    one.as_object().unwrap_or_else(|| panic!("{value}")).keys().cloned().collect()
}

#[test]
fn what_each_verb_prints_as_json_is_what_the_manual_says() {
    let (host, shop) = with_live_shop("");
    shop.commit(&host, "r2", &[("hostile", "x")]);
    let json = |verb: &str, more: &[&str]| -> serde_json::Value {
        let said = shop.ctl(&host, verb, &[more, &["--json"]].concat());
        serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{verb}: {e}: {said}"))
    };
    let exactly = |verb: &str, more: &[&str]| {
        let value = json(verb, more);
        assert_eq!(members(&value), manual(verb), "{verb}");
        value
    };
    assert_eq!(exactly("stage", &[])["changed"], true);
    let diff = exactly("diff", &[]);
    assert!(diff["names"].as_array().unwrap().iter().any(|name| name == "A hostile"), "{diff}");
    assert_eq!(diff["commits"].as_array().unwrap().len(), 1, "{diff}");
    let staged = exactly("status", &[])["staged"].clone();
    assert_eq!(staged, diff["to"]);
    exactly("activate", &[]);
    assert_eq!(exactly("deploy", &[])["changed"], false);
    exactly("rollback", &[]);
    for verb in ["releases", "list-deployments", "check", "key"] {
        exactly(verb, &[]);
    }
    assert_eq!(exactly("hold", &["--reason", "x"])["change"], "held");
    assert_eq!(exactly("unhold", &[])["changed"], true);
    exactly("prune", &["--dry-run"]);
    let list: serde_json::Value = serde_json::from_str(&host.ok(&["deployctl", "list", "--json"])).unwrap();
    assert_eq!(members(&list), manual("list"));
    let described = exactly("init", &[]);
    assert_eq!((&described["changed"], &described["nginx"]), (&json!(false), &json!(null)), "{described}");
    let adopted = exactly("adopt", &[]);
    assert_eq!((&adopted["releases"], &adopted["made_by"]), (&json!([]), &json!(null)), "it is deployd's already");
    let live = shop.current(&host).replace("releases/", "");
    assert_eq!(adopted["live"], live, "and not what was recorded last: it was rolled back");
    // Of these the manual names what is always there.
    for verb in ["show", "plan"] {
        assert!(members(&json(verb, &[])).is_superset(&manual(verb)), "{verb}: {:?}", members(&json(verb, &[])));
    }
    let deployment = json("list-deployments", &[])[0]["id"].as_str().unwrap().to_owned();
    let logs = shop.ctl(&host, "logs", &["--json", "--deployment", &deployment]).ok();
    for line in logs.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(members(&entry).is_superset(&manual("logs")), "{line}");
        assert!(entry["DEPLOYD_DEPLOYMENT"].as_str().is_none_or(|id| id == deployment), "{line}");
    }
    // Its own words, and what its services said meanwhile.
    let said = shop.ctl(&host, "logs", &["--deployment", &deployment]).ok();
    assert!(said.contains("rollback succeeded"), "{said}");
    let services = shop.ctl(&host, "logs", &["-n", "1000"]).ok();
    assert!(services.contains("app-fpm@shop:a: "), "{services}");
    let without = shop.ctl(&host, "logs", &["-n", "1000", "--no-services"]).ok();
    assert!(!without.contains("app-fpm@shop:a: ") && without.contains("deploy succeeded"), "{without}");
    completions(&host, &shop);
    terminal(&host, &shop);
}

/// What bash proposes for a line, as its completion function answers.
fn proposed(host: &Host, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        ". /usr/share/bash-completion/completions/deployctl; compopt() {{ :; }}; COMP_WORDS=({}); COMP_CWORD={}; \
         COMP_TYPE=9; _clap_complete_deployctl deployctl {} x; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
        quoted.last().unwrap()
    );
    let said = host.run_as("nobody", &["bash", "-c", &script]).ok();
    said.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn completions(host: &Host, shop: &Shop) {
    let live = shop.current(host).replace("releases/", "");
    assert!(proposed(host, &["deployctl", "ho"]).contains(&"hold".to_owned()));
    assert_eq!(proposed(host, &["deployctl", "rollback", "sh"]), ["shop"]);
    let found = proposed(host, &["deployctl", "rollback", "shop", ""]);
    assert!(found.contains(&live), "{found:?}");
    let found = proposed(host, &["deployctl", "deploy", "shop", "--ref", "HE"]);
    assert_eq!(found, ["HEAD"]);
    let options = proposed(host, &["deployctl", "rollback", "other", ""]);
    assert!(options.iter().all(|option| option.starts_with('-')), "{options:?}");
    // Without deployd, and without a bus that would start it, nobody waits.
    host.ok(&["systemctl", "mask", "--runtime", "--now", "deployd.service"]);
    let begun = std::time::Instant::now();
    assert!(proposed(host, &["deployctl", "rollback", "sh"]).is_empty());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    host.ok(&["systemctl", "unmask", "--runtime", "deployd.service"]);
}

/// In a terminal a line is redrawn, and nothing that a repository or a step says moves the cursor.
fn terminal(host: &Host, shop: &Shop) {
    let step = "[[step]]\nname = \"noise\"\nrun = [\"sh\", \"-c\", \"for n in $(seq 40); do printf \
                'line %s \\\\033[2J\\\\033[1;1H\\\\r\\\\n' $n; done; sleep 1; exit 1\"]\n";
    shop.configure(host, step);
    shop.commit(host, "r3", &[]);
    let in_terminal = |command: &str| {
        let size = "stty rows 24 cols 80; export TERM=xterm";
        host.run(&["script", "-qec", &format!("{size}; {command}"), "/dev/null"]).stdout
    };
    let screen = in_terminal("deployctl deploy shop");
    assert!(screen.contains("==> Staging: noise") && screen.contains("    line 12 "), "{screen}");
    assert!(screen.contains("… 18 more lines") && screen.contains("    line 40 "), "{screen}");
    assert!(!screen.contains("    line 13 ") && screen.contains("\r\u{1b}[K"), "{screen}");
    for sequence in screen.split('\u{1b}').skip(1) {
        let ours = ["[K", "[1m", "[0m"].iter().any(|one| sequence.starts_with(one));
        assert!(ours, "a sequence of somebody else's: {sequence:?}");
    }
    let status = in_terminal("deployctl status shop");
    assert!(status.lines().count() <= 23, "{status}");
    let plain = in_terminal("NO_COLOR=1 TERM=dumb deployctl status shop");
    assert!(!plain.contains('\u{1b}'), "{plain}");
    let piped = shop.ctl(host, "deploy", &[]).expect_status(1).said();
    assert!(!piped.contains('\u{1b}') && piped.contains("  noise: line 25 "), "{piped}");
}
