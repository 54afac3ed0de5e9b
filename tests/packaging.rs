//! Holds what is installed to the code and to itself: events and catalog, units and sandbox, man pages and statuses,
//! versions. Reads files of this tree; starts nothing but `systemd-analyze verify`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)] // a test may

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use deployd::model::{Outcome, events};

#[path = "packaging/debian.rs"]
mod debian;

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(tree(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

const ENGINE_UNITS: [&str; 13] = [
    "deploy@.service",
    "deploy-stage@.service",
    "deploy-activate@.service",
    "deploy-rollback@.service",
    "deploy-run@.service",
    "deploy-plan@.service",
    "deploy-survey@.service",
    "deploy-key@.service",
    "deploy-hold@.service",
    "deploy-prune@.service",
    "deploy-settle@.service",
    "deploy-drain@.service",
    "deployd-recover.service",
];
const OTHER_UNITS: [&str; 13] = [
    "deployd.service",
    "deployd-webhook.service",
    "deployd-webhook.socket",
    "app-fpm@.service",
    "app-octane@.service",
    "app-http@.service",
    "app-horizon@.service",
    "app-queue@.service",
    "app-schedule@.service",
    "app-schedule@.timer",
    "deploy@.timer",
    "deployd-slots.target",
    "deploysteps.slice",
];

fn units() -> impl Iterator<Item = &'static str> {
    ENGINE_UNITS.into_iter().chain(OTHER_UNITS)
}

/// A unit's directives, `Section.Key=value`, in order, without comments.
fn directives(unit: &str) -> Vec<(String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in read(&format!("units/{unit}")).lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').into();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            found.push((format!("{section}.{key}"), value.to_owned()));
        }
    }
    found
}

fn value(unit: &str, key: &str) -> Option<String> {
    directives(unit).into_iter().rev().find(|(k, _)| k == key).map(|(_, v)| v)
}

/// Catalog entries: id to (constant named above it, headers and text).
fn catalog() -> BTreeMap<String, (String, String)> {
    let text = read("units/deployd.catalog");
    let mut found = BTreeMap::new();
    for entry in text.split("\n\n# ").skip(1) {
        let (name, rest) = entry.split_once('\n').unwrap();
        let (id, body) = rest.strip_prefix("-- ").expect(name).split_once('\n').unwrap();
        assert!(found.insert(id.to_owned(), (name.to_owned(), body.to_owned())).is_none(), "{id} is there twice");
    }
    assert_eq!(text.matches("\n-- ").count(), found.len());
    found
}

#[test]
fn every_event_has_a_catalog_entry_and_every_entry_an_event() {
    let here: BTreeMap<String, String> = catalog().into_iter().map(|(id, (name, _))| (id, name)).collect();
    let events: BTreeMap<String, String> =
        events::ALL.iter().map(|(name, id)| ((*id).to_owned(), (*name).to_owned())).collect();
    assert_eq!(events.len(), events::ALL.len(), "an id is used twice");
    assert_eq!(here, events);
    let constants = read("src/model/events.rs").matches(": EventId = ").count();
    assert_eq!(constants, events::ALL.len(), "a constant is missing from events::ALL");
    assert!(events.keys().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
}

#[test]
fn every_catalog_entry_says_what_is_and_what_to_do() {
    let known: BTreeSet<String> = read("src/model/events.rs")
        .split(|c: char| !c.is_ascii_uppercase() && c != '_')
        .filter(|word| word.starts_with("DEPLOYD_"))
        .map(str::to_owned)
        .collect();
    assert!(known.len() >= 8, "the fields are listed in events.rs: {known:?}");
    for (_, (name, body)) in catalog() {
        let (head, text) = body.split_once("\n\n").unwrap_or_else(|| panic!("{name} has no text"));
        for field in ["Subject: ", "Defined-By: deployd", "Support: ", "Documentation: man:"] {
            assert!(head.lines().any(|line| line.starts_with(field)), "{name} has no {field}");
        }
        man_pages_exist(&name, head.lines().filter_map(|l| l.strip_prefix("Documentation: ")));
        assert!(text.trim().split("\n\n").count() >= 2, "{name}: one paragraph for the state, one for what to do");
        for field in body.split('@').filter(|word| word.starts_with("DEPLOYD_")) {
            assert!(known.contains(field), "{name} uses the unknown field {field}");
        }
    }
}

fn man_pages_exist<'a>(whose: &str, documentation: impl Iterator<Item = &'a str>) {
    for page in documentation.flat_map(str::split_whitespace) {
        let page = page.strip_prefix("man:").unwrap_or_else(|| panic!("{whose}: {page} is not man:"));
        let (name, section) = page.trim_end_matches(')').split_once('(').unwrap();
        assert!(tree(&format!("man/{name}.{section}")).exists(), "{whose} names {page}, which is not in man/");
    }
}

#[test]
fn every_unit_is_there_and_documented() {
    let mut installed: Vec<String> = fs::read_dir(tree("units"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            name.ends_with(".service")
                || name.ends_with(".target")
                || name.ends_with(".slice")
                || name.ends_with(".socket")
                || name.ends_with(".timer")
        })
        .collect();
    installed.sort();
    let mut listed: Vec<&str> = units().collect();
    listed.sort_unstable();
    assert_eq!(installed, listed);
    for unit in units() {
        assert!(value(unit, "Unit.Description").is_some(), "{unit}");
        let documentation = value(unit, "Unit.Documentation").unwrap_or_else(|| panic!("{unit}"));
        man_pages_exist(unit, std::iter::once(documentation.as_str()));
        let escapes = directives(unit).into_iter().find(|(_, v)| v.contains("%I"));
        assert_eq!(escapes, None, "{unit}: names are used as they are, %i");
    }
}

#[test]
fn the_engines_units_share_one_sandbox() {
    // What a unit may write and be is its own; all else of the sandbox is common.
    let own = ["CapabilityBoundingSet", "ReadWritePaths", "StateDirectory", "CacheDirectory", "RuntimeDirectory"];
    let sandbox = |unit: &str| -> Vec<(String, String)> {
        let all = directives(unit).into_iter().filter(|(key, _)| key.starts_with("Service."));
        all.skip_while(|(key, _)| key != "Service.CapabilityBoundingSet")
            .filter(|(key, _)| !own.iter().any(|name| key.starts_with(&format!("Service.{name}"))))
            .collect()
    };
    let first = sandbox(ENGINE_UNITS[0]);
    assert!(first.len() > 25, "the sandbox was not found");
    for unit in ENGINE_UNITS {
        assert_eq!(sandbox(unit), first, "{unit}");
        // sock_diag sees the host's sockets only there; with a namespace of its own, a drain would find none.
        assert_eq!(value(unit, "Service.PrivateNetwork"), None, "{unit}");
        assert!(value(unit, "Service.RestrictAddressFamilies").unwrap().contains("AF_NETLINK"), "{unit}");
        // The engine reads /proc/meminfo and homes; /proc/PID of other users' processes by CAP_SYS_PTRACE.
        for left_off in ["ProcSubset", "ProtectHome", "PrivateUsers", "RestrictSUIDSGID", "User", "RootDirectory"] {
            assert_eq!(value(unit, &format!("Service.{left_off}")), None, "{unit}");
            let reason = format!("No {left_off}=:");
            assert!(read(&format!("units/{unit}")).contains(&reason), "{unit}: why is there no {left_off}=");
        }
        assert!(value(unit, "Service.ExecStart").unwrap().starts_with("/usr/libexec/deployd/deploy-engine "), "{unit}");
    }
    for unit in ["deploy-plan@.service", "deploy-survey@.service"] {
        let writes = value(unit, "Service.ReadWritePaths");
        assert_eq!(writes.as_deref(), Some("/run/deployd"), "{unit} has no effects");
    }
}

#[test]
fn a_failed_deployment_is_settled_and_starts_of_slots_are_not_limited() {
    for unit in &ENGINE_UNITS[..5] {
        assert_eq!(value(unit, "Unit.OnFailure").as_deref(), Some("deploy-settle@%i.service"), "{unit}");
        assert_eq!(value(unit, "Service.Type").as_deref(), Some("oneshot"), "{unit}");
    }
    for unit in ["deployd.service", "app-fpm@.service", "app-octane@.service", "app-http@.service"] {
        assert_eq!(value(unit, "Unit.StartLimitIntervalSec").as_deref(), Some("0"), "{unit}");
    }
    // php-fpm cuts requests off at TERM.
    assert_eq!(value("app-fpm@.service", "Service.KillSignal").as_deref(), Some("SIGQUIT"));
    // mail() goes through a setgid program.
    assert_eq!(value("app-fpm@.service", "Service.NoNewPrivileges"), None);
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not here, not verified");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for unit in units() {
        // The programs are not installed here.
        let text = read(&format!("units/{unit}")).replace("/usr/libexec/deployd/", "/bin/true ");
        let file = dir.path().join(unit);
        fs::write(&file, text).unwrap();
        files.push(file);
    }
    let verify = |files: &[PathBuf]| {
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .args(files)
            .env("SYSTEMD_UNIT_PATH", format!("{}:", dir.path().display()))
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let of_ours = |text: &str| text.lines().filter(|line| units().any(|u| line.contains(u))).count();
    let (good, text) = verify(&files);
    assert!(good && of_ours(&text) == 0, "{text}");

    let bad = dir.path().join("deployd.service");
    fs::write(&bad, "[Service]\nExecStart=/bin/true\nProtectSytem=strict\n").unwrap();
    let (_, text) = verify(&[bad]);
    assert!(text.contains("ProtectSytem"), "verify sees a wrong key: {text}");
}

#[test]
fn the_webhook_listens_to_this_host_and_is_as_confined_as_the_bus_service() {
    assert_eq!(value("deployd-webhook.socket", "Socket.ListenStream").as_deref(), Some("127.0.0.1:7480"));
    assert_eq!(value("deployd-webhook.socket", "Socket.IPAddressDeny").as_deref(), Some("any"));
    assert_eq!(value("deployd-webhook.socket", "Socket.IPAddressAllow").as_deref(), Some("localhost"));
    let sandbox = |unit: &str| -> BTreeSet<(String, String)> {
        let own = ["Service.UMask", "Service.TasksMax"];
        let all = directives(unit).into_iter().skip_while(|(key, _)| key != "Service.CapabilityBoundingSet");
        all.filter(|(key, _)| !own.contains(&key.as_str())).collect()
    };
    assert!(sandbox("deployd.service").len() > 25);
    assert_eq!(sandbox("deployd-webhook.service"), sandbox("deployd.service"));
    assert!(!read("units/90-deployd.preset").contains("webhook"), "it is off until somebody enables it");
    assert!(read("units/90-deployd-webhook.preset").ends_with("\ndisable deployd-webhook.socket\n"));
}

/// What `systemd-analyze security` counts against each unit, in tenths: it may only become less. The engine's is what
/// it needs: root, the host's network namespace for sock_diag, four capabilities, homes, chown; and of each three or four
/// tenths for two directives whose work `ReadOnlyPaths=` does, which is not counted.
#[test]
fn no_unit_is_more_exposed_than_it_was() {
    let of = |unit: &str| match unit {
        "deployd.service" | "deployd-webhook.service" => 6,
        "deploy-survey@.service" | "deploy-key@.service" | "deploy-hold@.service" => 24,
        _ => 26,
    };
    for unit in ENGINE_UNITS.into_iter().chain(["deployd.service", "deployd-webhook.service"]) {
        let analyze = |threshold: u32| {
            let mut command = Command::new("systemd-analyze");
            let unit = tree(&format!("units/{unit}"));
            command.args(["security", "--offline=true", "--no-pager", &format!("--threshold={threshold}")]).arg(unit);
            command.output()
        };
        let Ok(output) = analyze(of(unit)) else {
            eprintln!("systemd-analyze is not here, not measured");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{unit}: more than {} tenths\n{text}", of(unit));
        assert!(!analyze(1).unwrap().status.success(), "the measure of {unit} fails where it should");
    }
}

#[test]
fn what_systemd_does_not_count_stands_in_for_two_directives() {
    for unit in ENGINE_UNITS.into_iter().chain(["deployd.service", "deployd-webhook.service"]) {
        let of = |key: &str| value(unit, &format!("Service.{key}")).unwrap_or_default();
        if of("ProtectKernelTunables") == "yes" && of("ProtectControlGroups") == "yes" {
            continue;
        }
        let paths = of("ReadOnlyPaths");
        let paths: Vec<&str> = paths.split(' ').collect();
        assert!(paths.contains(&"/sys"), "{unit}: {paths:?}");
        assert!(paths.contains(&"/proc") || of("ProcSubset") == "pid", "{unit}: {paths:?}");
    }
}

#[test]
fn the_manual_has_every_exit_status() {
    let page = read("man/deployctl.1");
    let table = page.split(".Sh EXIT STATUS").nth(1).unwrap().split(".Sh ").next().unwrap();
    let meaning = |status: u8| {
        let entry = table.split(".It ").find(|e| e.starts_with(&format!("{status}\n")));
        entry.unwrap_or_else(|| panic!("status {status} is not in deployctl(1)")).to_lowercase()
    };
    for outcome in Outcome::ALL.into_iter().filter(|o| *o != Outcome::Unchanged) {
        let word = outcome.as_str().replace('-', " ");
        assert!(meaning(outcome.exit_status()).contains(&word), "{word}");
    }
    for (status, word) in deployd::ctl::EXIT_STATUSES {
        assert!(meaning(status).contains(word), "{status}");
    }
    let told: Vec<u8> = table.lines().filter_map(|line| line.strip_prefix(".It ")?.parse().ok()).collect();
    assert_eq!(told, deployd::ctl::EXIT_STATUSES.map(|(status, _)| status));
}

#[test]
fn the_manual_has_every_finding() {
    let page = read("man/deployctl.1");
    let table = page.split(".Sh FINDINGS").nth(1).unwrap().split(".Sh ").next().unwrap();
    let told: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix(".It Cm ")).flat_map(|names| names.split(" , ")).collect();
    assert_eq!(told, deployd::check::IDS.into_iter().collect());
}

#[test]
fn the_versions_are_one() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("packaging/debian/changelog").starts_with(&format!("deployd ({version}) ")));
    assert!(read("packaging/rpm/deployd.spec").contains(&format!("> - {version}-1\n")));
    assert!(read("CHANGELOG.md").contains(&format!("## {version}\n")));
}

/// A header that is added at a level takes away those that are inherited: the snippets add theirs within an `if`.
fn only_when_asked(lines: &[&str], header: &str) {
    let at = lines.iter().position(|line| *line == format!("add_header {header} always;")).unwrap();
    assert!(lines[at - 1].starts_with("if (") && lines[at + 1] == "}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("add_header")).count(), 1);
}

#[test]
fn the_nginx_snippet_hands_php_the_release_itself() {
    let text = read("packaging/nginx/deployd-php.conf");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.starts_with('#')).collect();
    let has = |words: &str| lines.iter().any(|l| l.split_whitespace().collect::<Vec<_>>().join(" ") == words);
    assert!(has("set $deployd_release $realpath_root;"));
    assert!(has("fastcgi_param SCRIPT_FILENAME $deployd_release/index.php;"));
    assert!(has("fastcgi_param DOCUMENT_ROOT $deployd_release;"));
    assert!(has("fastcgi_pass unix:/run/deployd/$deployd_app/fpm.sock;"));
    assert!(!lines.iter().any(|l| l.contains("$document_root") || l.contains("keepalive")));
    only_when_asked(&lines, "X-Deployd-Release $deployd_said");
}

#[test]
fn the_proxy_snippet_keeps_no_connection_and_asks_nothing_twice() {
    let text = read("packaging/nginx/deployd-proxy.conf");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.starts_with('#')).collect();
    let has = |words: &str| lines.contains(&words);
    // By a variable: nginx resolves it when it is asked, and starts without it.
    assert!(has("proxy_pass http://$deployd_app-$deployd_service;"));
    assert!(has("proxy_next_upstream off;") && has("proxy_set_header Host $http_host;"));
    assert!(!lines.iter().any(|l| l.starts_with("keepalive")));
    assert!(has("include snippets/deployd-upstream.conf;"));
    let asked = read("packaging/nginx/deployd-upstream.conf");
    let asked: Vec<&str> = asked.lines().map(str::trim).filter(|l| !l.starts_with('#')).collect();
    only_when_asked(&[&lines[..], &asked[..]].concat(), "X-Deployd-Upstream $deployd_at_upstream");
    // What a site says itself may not be said twice.
    assert!(!asked.iter().any(|l| l.starts_with("proxy_")));
    assert!(read("packaging/nginx/deployd-upstreams.conf").contains("\ninclude /run/deployd/*/upstream-*.conf;\n"));
}
