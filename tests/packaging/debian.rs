//! What Debian's policy and deployd's promises ask of the packages, as far as it can be told without building them.
//! `make lint` has lintian look at what was built; the host test `package` installs and removes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
};

use super::{ENGINE_UNITS, read, tree, units, value};

const PACKAGES: [&str; 2] = ["deployd", "deployd-webhook"];
const SCRIPTS: [&str; 4] = ["deployd.prerm", "deployd.postrm", "deployd-webhook.prerm", "deployd-webhook.postrm"];

/// The paragraphs of `control`; what continues a field follows it after a newline.
fn control() -> Vec<BTreeMap<String, String>> {
    let paragraph = |text: &str| {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines() {
            match line.strip_prefix(' ') {
                Some(more) => fields.get_mut(&last).unwrap().push_str(&format!("\n{more}")),
                None => {
                    let (name, value) = line.split_once(':').unwrap();
                    last = name.to_owned();
                    fields.insert(last.clone(), value.trim().to_owned());
                }
            }
        }
        fields
    };
    read("packaging/debian/control").trim().split("\n\n").map(paragraph).collect()
}

/// What `make` would do for a target: the commands.
fn dry_run(target: &str) -> String {
    let output = Command::new("make")
        .args(["-n", "-C"])
        .arg(tree(""))
        .args([target, "DESTDIR=/dest", "PROFILE=release"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_packages_are_described_as_policy_wants() {
    let paragraphs = control();
    let source = &paragraphs[0];
    for field in ["Section", "Priority", "Maintainer", "Standards-Version", "Homepage", "Rules-Requires-Root"] {
        assert!(source.get(field).is_some_and(|value| !value.is_empty()), "Source has no {field}");
    }
    let names: Vec<&str> = paragraphs[1..].iter().map(|package| package["Package"].as_str()).collect();
    assert_eq!(names, PACKAGES);
    for package in &paragraphs[1..] {
        let (synopsis, text) = package["Description"].split_once('\n').expect("a text below the synopsis");
        assert!(synopsis.len() < 80 && !synopsis.ends_with('.') && !synopsis.starts_with("a "), "{synopsis}");
        assert!(text.lines().all(|line| line.len() < 80), "{text}");
        assert!(package["Depends"].contains("${shlibs:Depends}") && package["Depends"].contains("${misc:Depends}"));
    }
    // Programs of one build speak with each other: the receiver goes with its own deployd.
    assert!(paragraphs[2]["Depends"].contains("deployd (= ${binary:Version})"));
    assert!(!paragraphs[1]["Depends"].contains("deployd-webhook"));
}

#[test]
fn what_is_the_receivers_is_in_its_package_and_all_else_in_deployds() {
    let (deployd, webhook) = (dry_run("install-deployd"), dry_run("install-webhook"));
    assert!(!deployd.contains("-webhook"), "{deployd}");
    for dir in ["units", "units/sysusers.d", "units/tmpfiles.d", "dbus", "man", "src/bin"] {
        for entry in fs::read_dir(tree(dir)).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            let from = match name.strip_suffix(".rs") {
                Some(program) => format!("/release/{program}"),
                None => format!("{dir}/{name}"),
            };
            let is = |dry: &str| dry.split([' ', '\n', ';']).any(|word| word.ends_with(&from));
            assert_eq!((is(&deployd), is(&webhook)), (!name.contains("-webhook"), name.contains("-webhook")), "{name}");
        }
    }
}

#[test]
fn each_package_makes_the_users_that_its_units_run_as() {
    let users = |package: &str| -> BTreeSet<String> {
        let text = read(&format!("units/sysusers.d/{package}.conf"));
        text.lines().filter_map(|line| Some(line.strip_prefix("u ")?.split(' ').next()?.to_owned())).collect()
    };
    for unit in units() {
        let Some(user) = value(unit, "Service.User").filter(|user| !user.contains('%')) else { continue };
        let package = if unit.contains("-webhook") { PACKAGES[1] } else { PACKAGES[0] };
        assert!(users(package).contains(&user), "{unit} runs as {user}, which {package} does not make");
    }
    assert!(users(PACKAGES[0]).is_disjoint(&users(PACKAGES[1])));
}

#[test]
fn maintainer_scripts_touch_nothing_that_is_live() {
    let found: BTreeSet<String> = fs::read_dir(tree("packaging/debian"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| ["preinst", "postinst", "prerm", "postrm"].iter().any(|script| name.ends_with(script)))
        .collect();
    assert_eq!(found, SCRIPTS.map(str::to_owned).into_iter().collect());
    for name in SCRIPTS {
        let text = read(&format!("packaging/debian/{name}"));
        assert!(text.starts_with("#!/bin/sh\n# ") && text.contains("\nset -e\n"), "{name}");
        assert_eq!(text.matches("\n#DEBHELPER#\n").count(), 1, "{name}");
        // What holds a fleet's slot is told to give it back, which `kill` does: by these two lines.
        let of_fleet = |line: &&str| {
            ["systemctl kill --signal=HUP", "deb-systemd-invoke stop"]
                .iter()
                .any(|does| line.trim() == format!("{does} 'deploy-fleet-*.service' || true"))
        };
        let code: String = text.lines().filter(|line| !line.starts_with('#') && !of_fleet(line)).collect();
        for live in ["app-", "restart", "reload", "nginx", "/srv", "/run/deployd", "/etc/deployd/*", "slots", "kill"] {
            assert!(!code.contains(live), "{name} has {live}");
        }
        // On removal and purge alone: an upgrade runs none of it.
        let when = if name.ends_with("prerm") { "if [ \"$1\" = remove ] && " } else { "if [ \"$1\" = purge ]; " };
        assert_eq!((code.matches("if [").count(), code.matches(when).count()), (1, 1), "{name}");
    }
}

/// Whether systemd's `pattern` is of this name, with each `*` for anything.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name
            .strip_prefix(head)
            .is_some_and(|name| name.char_indices().any(|(at, _)| matches(rest, &name[at..])) || matches(rest, "")),
    }
}

#[test]
fn removal_ends_whatever_runs_of_the_engine() {
    let spec = read("packaging/rpm/deployd.spec");
    let preun = spec.split("\n%preun\n").nth(1).unwrap().split("\n%systemd_preun").next().unwrap();
    let fleet = "deploy-fleet-shop.service";
    assert!(read("src/engine/fleet/process.rs").contains("\"deploy-fleet-{app}.service\""), "{fleet} is its name");
    for script in [&read("packaging/debian/deployd.prerm"), preun] {
        let script: Vec<&str> = script.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
        let script = script.join("\n");
        // One pattern in quotes after the other.
        let patterns: Vec<&str> = script.split('\'').skip(1).step_by(2).collect();
        let instances = ENGINE_UNITS.iter().filter(|unit| unit.contains('@')).map(|unit| unit.replace('@', "@shop"));
        for unit in instances.chain([fleet.to_owned(), "deploy@shop.timer".to_owned()]) {
            assert!(patterns.iter().any(|pattern| matches(pattern, &unit)), "{unit} is not ended by\n{script}");
        }
        for live in units().filter(|unit| unit.starts_with("app-")).map(|unit| unit.replace('@', "@shop:a")) {
            assert!(!patterns.iter().any(|pattern| matches(pattern, &live)), "{live} serves");
        }
        let at = |what: &str| script.find(what).unwrap_or_else(|| panic!("{what} is not ended"));
        assert!(at("'deploy@*.timer'") < at("'deploy@*.service'"), "a timer would begin another");
        // The settling of what was cancelled comes after it, and its own end after that; then nobody needs the slot.
        assert!(at("'deploy@*.service'") < at("'deploy-settle@*.service'"));
        assert!(at("'deploy-settle@*.service'") < at(" deployd.service"));
        let give_back = "systemctl kill --signal=HUP 'deploy-fleet-*.service'";
        assert!(
            at("'deploy-settle@*.service'") < at(give_back) && at(give_back) < at(" stop 'deploy-fleet-*.service'")
        );
    }
}

#[test]
fn an_upgrade_restarts_the_two_services_that_may_be_and_stops_nothing() {
    let rules = read("packaging/debian/rules");
    let mut units: Vec<&str> = Vec::new();
    for line in rules.lines().filter_map(|line| line.trim().strip_prefix("dh_installsystemd ")) {
        let unit = line.split(' ').next_back().unwrap();
        let restarts = line.contains("--restart-after-upgrade");
        assert!(line.contains("--no-start "), "{unit}: installing starts nothing");
        assert_ne!(restarts, line.contains("--no-stop-on-upgrade"), "{unit}: or it is stopped and not started again");
        assert_eq!(restarts, ["deployd.service", "deployd-webhook.service"].contains(&unit), "{unit}");
        assert_eq!(line.contains("--no-enable"), unit != "deployd-recover.service", "{unit}");
        units.push(unit);
    }
    // With no unit named, debhelper would start all.
    assert_eq!(
        units,
        ["deployd-recover.service", "deployd.service", "deployd-webhook.socket", "deployd-webhook.service"]
    );
}

#[test]
fn no_finding_of_lintian_is_hidden() {
    let overrides: Vec<String> = fs::read_dir(tree("packaging/debian"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("lintian-overrides"))
        .collect();
    for name in overrides {
        let text = read(&format!("packaging/debian/{name}"));
        let lines: Vec<&str> = text.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
            assert!(at > 0 && lines[at - 1].starts_with("# "), "{name}:{}: no reason above it", at + 1);
        }
    }
}

#[test]
fn the_packages_own_tests_are_there_and_ask_for_a_host_of_their_own() {
    for paragraph in read("packaging/debian/tests/control").trim().split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let script = tree(&format!("packaging/debian/tests/{}", field("Tests:")));
        let mode = fs::metadata(&script).unwrap_or_else(|e| panic!("{}: {e}", script.display())).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{} can be executed", script.display());
        assert!(field("Depends:").split(", ").any(|package| package == PACKAGES[0]), "{paragraph}");
        assert!(field("Restrictions:").contains("needs-root, isolation-container"), "{paragraph}");
    }
}
