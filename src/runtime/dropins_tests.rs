//! What the generator's files say, to the letter.

use super::*;
use crate::config::{
    load,
    tests::{Host, facts},
};

fn all(app: &str, text: &str) -> Vec<(String, String)> {
    let host = Host::new();
    host.write(&format!("etc/deployd/apps/{app}.toml"), text);
    let mut settings = load(&host.paths(), &app.parse().unwrap(), &facts()).unwrap_or_else(|e| panic!("{e}"));
    settings.files = vec![format!("/etc/deployd/apps/{app}.toml").into()];
    dropins(&settings, &Paths::default()).into_iter().map(|(p, t)| (p.display().to_string(), t)).collect()
}

const SHOP: &str =
    "preset = \"laravel\"\nroot = \"/srv/my-shop\"\nuser = \"shop\"\nrun_as = \"www-data\"\nsource.git = \"/g\"\n";

#[test]
fn a_slots_drop_in() {
    let files = all("my-shop", SHOP);
    let expected = "\
# From /etc/deployd/apps/my-shop.toml by deployd-generator; changes are lost.
[Unit]
RequiresMountsFor=/srv/my-shop

[Service]
User=www-data
Group=
Slice=deployd-my\\x2dshop.slice
ExecStart=
ExecStart=/usr/sbin/php-fpm8.3 --nodaemonize --fpm-config /run/deployd/my-shop/fpm-b.conf
TimeoutStopSec=40
ReadOnlyPaths=-/srv/my-shop/releases
ReadWritePaths=-/run/deployd/slots/app-fpm@my-shop:b/bootstrap/cache/views
";
    assert_eq!(files[1].0, "app-fpm@my-shop:b.service.d/50-deployd.conf");
    assert_eq!(files[1].1, expected);
}

#[test]
fn every_unit_of_an_app_and_no_other() {
    let names: Vec<_> = all("my-shop", SHOP).into_iter().map(|(path, _)| path).collect();
    let slots = ["a", "b", "c", "d"].map(|s| format!("app-fpm@my-shop:{s}.service.d/50-deployd.conf"));
    let kinds = ["deploy", "deploy-stage", "deploy-activate", "deploy-rollback", "deploy-settle"]
        .map(|k| format!("{k}@my-shop.service.d/50-deployd.conf"));
    let shared = ["deploy-run@", "deploy-prune@", "deployd-recover"]
        .map(|unit| format!("{unit}.service.d/50-deployd-my-shop.conf"));
    let expected: Vec<_> = slots.into_iter().chain(kinds).chain(shared).collect();
    assert_eq!(names, expected);
}

#[test]
fn deployments_run_in_the_apps_slice_and_recovery_after_its_mounts() {
    let files = all("my-shop", SHOP);
    let text = "[Service]\nSlice=deployd-my\\x2dshop.slice\nReadWritePaths=-/srv/my-shop\n";
    assert!(files[4].1.ends_with(text), "{}", files[4].1);
    let recover = &files.last().unwrap().1;
    assert!(recover.contains("[Unit]\nAfter=srv.mount srv-my\\x2dshop.mount\n"), "{recover}");
}

#[test]
fn a_server_behind_a_port_takes_it_from_its_environment() {
    let octane = "[[service]]\nkind = \"octane\"\nserver = \"roadrunner\"\nports = [8000, 8001]\n";
    let files = all("my-shop", &format!("{SHOP}{octane}"));
    let slots: Vec<_> = files.iter().filter(|(path, _)| path.starts_with("app-octane@")).collect();
    assert_eq!(slots.len(), 2, "as many as ports");
    let recover = &files.last().unwrap().1;
    assert!(recover.ends_with("\nBefore=nginx.service\n\n[Service]\nReadWritePaths=-/srv/my-shop\n"), "{recover}");
    let text = &slots[1].1;
    for line in [
        "ExecStart=php /usr/share/deployd/octane/start.php octane:start --server=roadrunner --host=127.0.0.1 \
         --port=${PORT} --workers=auto --max-requests=500 --rpc-host=127.0.0.1 --rpc-port=${ADMIN_PORT}",
        "ExecStop=php /usr/share/deployd/octane/stop.php",
        "WorkingDirectory=/run/deployd/slots/app-octane@my-shop:b",
        "EnvironmentFile=/run/deployd/my-shop/slot-app-octane-b.env",
        "User=www-data",
        "TimeoutStopSec=30",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_template_of_the_sites_own_keeps_its_user_and_its_command() {
    let http = "[[service]]\nkind = \"http\"\nunit = \"shop-web@.service\"\nports = [3000, 3001]\n";
    let files = all("my-shop", &format!("{SHOP}{http}"));
    let text = &files.iter().find(|(path, _)| path == "shop-web@my-shop:a.service.d/50-deployd.conf").unwrap().1;
    assert!(!text.contains("User=") && !text.contains("ExecStart="), "{text}");
    assert!(text.contains("WorkingDirectory=/run/deployd/slots/shop-web@my-shop:a\n"), "{text}");
    assert!(text.contains("Before=deployd-slots.target nginx.service\n"), "{text}");
}

#[test]
fn a_command_of_the_sites_own_is_literal() {
    let http = "[[service]]\nkind = \"http\"\nrun = [\"node\", \"a b\", \"$HOME\"]\nports = [3000, 3001]\n";
    let files = all("my-shop", &format!("{SHOP}{http}"));
    let text = &files.iter().find(|(path, _)| path.starts_with("app-http@my-shop:a")).unwrap().1;
    assert!(text.contains("ExecStart=node \"a b\" $$HOME\n"), "{text}");
}

#[test]
fn without_php_fpm_there_are_no_slots() {
    let files = all("blog", "root = \"/srv/blog\"\nuser = \"shop\"\nsource.git = \"/g\"\n");
    assert!(!files.iter().any(|(path, _)| path.starts_with("app-fpm")));
    assert_eq!(files.len(), 8);
}

#[test]
fn strict_is_a_choice_and_leaves_home_readable_for_a_root_below_it() {
    let strict = "[[service]]\nkind = \"php-fpm\"\nsandbox = \"strict\"\n";
    let at = |root: &str| {
        all("blog", &format!("root = \"{root}\"\nuser = \"shop\"\nsource.git = \"/g\"\n{strict}")).remove(0).1
    };
    let srv = at("/srv/blog");
    for line in ["ProtectSystem=strict", "ProtectHome=yes", "ReadWritePaths=-/srv/blog/shared", "NoNewPrivileges=yes"] {
        assert!(srv.lines().any(|l| l == line), "{line}\n{srv}");
    }
    assert!(at("/home/deploy/blog").contains("ProtectHome=read-only\n"));
    assert!(!all("my-shop", SHOP)[0].1.contains("ProtectSystem"));
}

#[test]
fn words_and_names_are_escaped() {
    assert_eq!(word("/srv/a b%i\"x\\"), "\"/srv/a b%%i\\\"x\\\\\"");
    assert_eq!(word("/srv/plain:b"), "/srv/plain:b");
    assert_eq!(argument("$HOME"), "$$HOME");
    assert_eq!(word("a\nExecStart=x"), "\"a\\x0aExecStart=x\"");
    assert_eq!(path_name(Path::new("/srv/my-shop/.x")), "srv-my\\x2dshop-.x");
    assert_eq!(path_name(Path::new("/.x")), "\\x2ex");
}
