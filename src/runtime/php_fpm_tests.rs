//! What a slot's php-fpm configuration says, and what it never can.

use proptest::prelude::*;

use super::*;
use crate::config::{
    SlotKind, load,
    tests::{Host, facts},
};

const BASE: &str =
    "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/srv/git/shop.git\"\n[[service]]\nkind = \"php-fpm\"\n";

fn settings(more: &str) -> Settings {
    let host = Host::with(&format!("{BASE}{more}"));
    host.write("etc/pool.conf", "");
    load(&host.paths(), &"shop".parse().unwrap(), &facts()).unwrap_or_else(|e| panic!("{e}"))
}

fn text(settings: &Settings, pool_file: Option<&str>, shrink: bool) -> Result<String, ConfigTextError> {
    let Some(SlotKind::PhpFpm(fpm)) = settings.services[0].slots() else { panic!() };
    let slot = "shop:a".parse().unwrap();
    let drain = settings.services[0].drain;
    let release = Path::new("/srv/shop/releases/20260131T120000Z-1a2b3c4d");
    let config = SlotConfig { settings, fpm, drain, slot: &slot, release, pool_file, shrink };
    config_text(&config, &Paths::default())
}

#[test]
fn a_slot_of_defaults() {
    let s = settings("[environment]\nVIEWS = \"{release}/v\"\nQUOTED = \"it's \\\"x\\\" ${HOME} ; y\"\n");
    let expected = "\
; shop:a: written by deployd before each start, changes are lost
[global]
error_log = syslog
syslog.facility = daemon
syslog.ident = 'php-fpm-shop:a'
daemonize = no
process_control_timeout = 30s

[shop]
catch_workers_output = 'yes'
clear_env = 'yes'
decorate_workers_output = 'no'
pm = 'dynamic'
pm.max_children = '10'
pm.max_requests = '0'
pm.max_spare_servers = '3'
pm.min_spare_servers = '1'
pm.start_servers = '2'
security.limit_extensions = '.php'
prefix = '/run/deployd-fpm/shop:a'
listen = 'fpm.sock'
listen.mode = 0660
listen.backlog = 511
listen.acl_users = 'www-data'
env[QUOTED] = 'it'\"'\"'s \"x\" ${HOME} ; y'
env[VIEWS] = '/srv/shop/releases/20260131T120000Z-1a2b3c4d/v'
";
    assert_eq!(text(&s, None, false).unwrap(), expected);
}

#[test]
fn environment_that_php_fpm_would_change_is_refused() {
    for value in ["$HOME", "a$pool", ""] {
        let s = Settings { environment: [("A".to_owned(), value.to_owned())].into(), ..settings("") };
        assert!(text(&s, None, false).is_err(), "{value}");
    }
}

#[test]
fn who_is_admitted() {
    let with = |run_as: &str, web: Option<&str>| {
        let s = Settings { run_as: run_as.into(), web_user: web.map(str::to_owned), ..settings("") };
        let text = text(&s, None, false).unwrap();
        text.lines().find_map(|l| l.strip_prefix("listen.acl_users = ").map(str::to_owned))
    };
    assert_eq!(with("shop", Some("www-data")).as_deref(), Some("'www-data'"));
    assert_eq!(with("www-data", Some("www-data")).as_deref(), Some("'shop'"));
    assert_eq!(with("app", Some("www-data")).as_deref(), Some("'www-data,shop'"));
    assert_eq!(with("shop", Some("shop")), None);
    assert_eq!(with("shop", None), None);
}

const SITE: &str = "; the site's\n[shop]\nuser = www-data\ngroup=www-data\nlisten = /run/php/x.sock\nlisten.owner = x\n\
                    pm = static\npm.max_children = 7 ; many\nslowlog = /var/log/$pool.log\nphp_admin_value[x] = \"a\nuser = b\"\n";

#[test]
fn the_sites_pool_is_used_as_it_is() {
    let s = settings("pool = \"/etc/pool.conf\"\n");
    let text = text(&s, Some(SITE), false).unwrap();
    for line in ["[shop]", "pm = static", "pm.max_children = 7 ; many", "slowlog = /var/log/$pool.log", "user = b\""] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    for gone in ["user = www-data", "group=www-data", "listen = /run/php/x.sock", "listen.owner = x"] {
        assert!(!text.lines().any(|l| l == gone), "{gone}\n{text}");
    }
    assert_eq!(text.lines().filter(|l| l.starts_with("listen = ")).count(), 1);
    assert_eq!(memory_mib(SITE), 7 * 48);
    assert_eq!(memory_mib("nothing"), 0);
}

#[test]
fn a_small_slot_grows_later() {
    let s = settings("pool = \"/etc/pool.conf\"\n");
    let small = text(&s, Some(SITE), true).unwrap();
    assert!(small.contains("\npm = ondemand\n") && !small.contains("\npm = static\n"), "{small}");
    let dynamic = text(&s, Some("[x]\npm = dynamic\npm.start_servers = 20\n"), true).unwrap();
    assert!(dynamic.contains("\npm.start_servers = 1\n") && !dynamic.contains("= 20"), "{dynamic}");
    let ours = text(&settings(""), None, true).unwrap();
    assert!(ours.contains("pm.start_servers = '1'"), "{ours}");
    let fixed = text(&settings("[service.pool]\npm = \"static\"\n"), None, true).unwrap();
    assert!(fixed.contains("pm = 'ondemand'") && !fixed.contains("spare"), "{fixed}");
}

#[test]
fn what_a_slot_cannot_have_is_refused_with_the_remedy() {
    let s = settings("pool = \"/etc/pool.conf\"\n");
    for (pool, wrong) in [
        ("[a]\n[b]\n", "several pools, [a] and [b]"),
        ("[global]\nx = 1\n[a]\n", "a [global] section"),
        ("[a]\ninclude = /etc/x\n", "includes another file"),
        ("[a]\nchroot = /x\n", "sets chroot"),
        (" [a]\n  prefix=/x\n", "sets prefix"),
        ("pm = static\n[a]\n", "sets pm before"),
        ("; nothing\n", "has no pool"),
        ("[a b]\n", "not plain"),
        ("[a]\r[b]\r", "several pools"),
    ] {
        let error = text(&s, Some(pool), false).unwrap_err();
        assert!(error.what.contains(wrong), "{pool:?}: {error}");
        assert!(!error.remedy.is_empty());
    }
    assert!(text(&s, None, false).unwrap_err().to_string().contains("/etc/pool.conf"));
}

proptest! {
    #[test]
    fn no_value_begins_another_directive(value in "[ -#%-~]{0,30}", breaks in "[a\n\r\0]{0,4}") {
        let s = settings("");
        let count = |s: &Settings| text(s, None, false).map(|t| t.lines().count());
        let plain = count(&s).unwrap();
        let with = |v: String| Settings { environment: [("A".to_owned(), v)].into(), ..s.clone() };
        let bad = breaks.contains(['\n', '\r', '\0']);
        match count(&with(format!("x{value}{breaks}"))) {
            Ok(lines) => prop_assert!(!bad && lines == plain + 1),
            Err(_) => prop_assert!(bad),
        }
    }

    #[test]
    fn no_pool_file_makes_it_panic(pool in "[\\[\\]a-c=;\"'\\\\ \n\r]{0,60}") {
        let _ = super::pool::from_file(&pool, true);
    }
}
