//! `deployctl check`: on a stock host each trap is named by its id, and each is gone when its remedy was applied; on a
//! host set up as the README says there is nothing.

use std::collections::BTreeSet;

use crate::{
    common::{installed, with_live_shop},
    support::{
        host::Host,
        shop::{Shop, Spec},
        site::{self, Php, of_php},
    },
};

/// The exit status when something breaks the promise.
const BREAKS: i32 = 9;
const UNIT: &str = "[[service]]\nunit = \"php8.2-fpm.service\"\nstrategy = \"reload\"\n";
const SITE: &str = "/etc/nginx/sites-enabled/shop";

/// The ids that a check names.
fn ids(host: &Host, shop: &Shop) -> BTreeSet<String> {
    let said = shop.ctl(host, "check", &["--json"]);
    let found: serde_json::Value = serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let findings = found["findings"].as_array().unwrap_or_else(|| panic!("{said}"));
    let breaks = findings.iter().any(|finding| finding["severity"] == "breaks");
    assert_eq!(said.status, if breaks { BREAKS } else { 0 }, "{said}");
    findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
}

/// A site as Debian's own snippet makes it, with kept connections, and a piece of the app's tree included.
const STOCK_SITE: &str = "\
upstream shop-php { server unix:/run/php/shop.sock; keepalive 4; }
open_file_cache max=1000;
server {
    listen 80;
    server_name shop.example.org;
    root /srv/shop/current/public;
    include /srv/shop/shared/*.nginx;
    location / { try_files $uri /index.php$is_args$args; }
    location ~ \\.php$ {
        include snippets/fastcgi-php.conf;
        fastcgi_pass shop-php;
    }
}
";

/// What people have beside their site, in files of root's and of the app's user.
fn set_traps(host: &Host) {
    host.write(
        &of_php(host, "/etc/php/8.2/fpm/conf.d/99-traps.ini"),
        "opcache.preload = /srv/shop/current/preload.php\nopcache.max_accelerated_files = 5\n",
    );
    let pool = of_php(host, "/etc/php/8.2/fpm/pool.d/shop.conf");
    host.write(&pool, format!("{}php_admin_value[open_basedir] = /srv/shop/current:/tmp\n", host.read(&pool)));
    host.write("/etc/deployd/apps/inner.toml", "root = \"/srv/shop/inner\"\nuser = \"shop\"\n");
    host.write("/etc/cron.d/shop", "* * * * * shop cd /srv/shop/current && php artisan schedule:run\n");
    host.write(
        "/etc/supervisor/conf.d/shop.conf",
        "[program:shop-worker]\ncommand = php /srv/shop/current/artisan queue:work\nuser = shop\n",
    );
    host.write("/srv/shop/shared/site.nginx", "client_max_body_size 8m;\n");
    host.sh("chown shop /srv/shop/shared/site.nginx");
    host.write("/var/spool/cron/crontabs/shop", "# mine\n@daily php /srv/shop/current/artisan daily\n");
    host.sh("cd /var/spool/cron/crontabs; chmod 1730 .; chown shop shop; chmod 600 shop");
    host.sh("systemd-run -q --unit=stray --property=User=shop --working-directory=/srv/shop/current sleep 10000");
    host.sh("chown shop /srv/shop");
    // Later than the seal, by the clock of the file system.
    host.sh("sleep 3; runuser -u shop -- sh -c 'echo x > /srv/shop/current/public/export.csv'");
    for (name, service) in [
        ("shop-octane", "ExecStart=/usr/bin/php artisan octane:start\n"),
        ("shop-api", "ExecStart=/usr/bin/php artisan octane:start --port=8000\n"),
        ("shop-horizon", "KillMode=mixed\nTimeoutStopSec=5s\nExecStart=/usr/bin/php artisan horizon\n"),
    ] {
        host.write(&format!("/etc/systemd/system/{name}.service"), format!("[Service]\n{service}"));
    }
    host.sh("systemctl daemon-reload");
}

fn existing(unit: &str, strategy: &str) -> String {
    format!("[[service]]\nunit = \"{unit}.service\"\nstrategy = \"{strategy}\"\n")
}

/// A stock Debian php-fpm and nginx with a Laravel app, live by deployd, and every trap set.
fn stock() -> (Host, Shop) {
    let host = installed();
    host.sh(&of_php(&host, "systemctl start php8.2-fpm"));
    let unit = of_php(&host, UNIT);
    let mut spec = Spec::new("shop").more(&unit);
    spec.php = Php::Socket("/run/php/shop.sock".into());
    let shop = Shop::make(&host, spec);
    host.write(&of_php(&host, "/etc/php/8.2/fpm/pool.d/shop.conf"), site::pool("shop", "shop"));
    host.sh(&of_php(&host, "systemctl restart php8.2-fpm"));
    let sessions = include_str!("../app/config/session.php").replace("'file'", "'array'");
    let horizon = "<?php\n\nreturn ['fast_termination' => true];\n";
    shop.commit(&host, "r1", &[("config/session.php", &sessions), ("config/horizon.php", horizon)]);
    shop.deploy(&host);
    host.write(SITE, STOCK_SITE);
    set_traps(&host);
    let units =
        [existing("shop-octane", "reload"), existing("shop-api", "restart"), existing("shop-horizon", "restart")];
    shop.configure(&host, &format!("{unit}{}", units.concat()));
    (host, shop)
}

/// What a stock host has.
const TRAPS: [&str; 24] = [
    "code-written",
    "cron-line",
    "foreign-process",
    "fpm-process-control-timeout",
    "horizon-fast-termination",
    "nginx-document-root",
    "nginx-open-file-cache",
    "nginx-upstream-keepalive",
    "not-read",
    "octane-port",
    "octane-reload",
    "octane-restart",
    "octane-state-file",
    "opcache-preload",
    "opcache-size",
    "php-open-basedir",
    "root-overlap",
    "session-driver",
    "supervisor-program",
    "tree-owner",
    "unit-kill-mode",
    "unit-kill-signal",
    "unit-stop-timeout",
    "unit-writes",
];

#[test]
fn each_trap_of_a_stock_host_is_named_until_its_remedy_is_applied() {
    let (host, shop) = stock();
    let found = ids(&host, &shop);
    TRAPS.iter().for_each(|id| assert!(found.contains(*id), "{id} is not in {found:?}"));
    let said = shop.ctl(&host, "check", &[]).expect_status(BREAKS).stdout;
    for part in [
        "/etc/nginx/fastcgi.conf:2",
        &of_php(&host, "/etc/php/8.2/fpm/php-fpm.conf"),
        "/etc/cron.d/shop:1",
        "crontab of shop, line 2",
        "public/export.csv",
        "stray.service",
        "remedy: write `process_control_timeout = 30s`",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let before = shop.current(&host);

    // Each remedy, as the check words it.
    for (file, edit) in [
        ("/etc/php/8.2/fpm/php-fpm.conf", "s/.*process_control_timeout.*/process_control_timeout = 30s/"),
        ("/etc/nginx/fastcgi.conf", "s/\\$document_root/$realpath_root/"),
        (SITE, "s/keepalive 4;//; /open_file/d; /shared/d"),
        (
            "/etc/php/8.2/fpm/pool.d/shop.conf",
            "s/^\\(php_admin_value.open_basedir.\\) = .*/\\1 = \\/srv\\/shop:\\/tmp/",
        ),
    ] {
        host.ok(&["sed", "-i", edit, &of_php(&host, file)]);
    }
    host.sh("rm /etc/deployd/apps/inner.toml");
    host.sh("rm /etc/cron.d/shop /etc/supervisor/conf.d/shop.conf /var/spool/cron/crontabs/shop");
    host.sh(&of_php(&host, "rm /etc/php/8.2/fpm/conf.d/99-traps.ini; systemctl stop stray; chown root:root /srv/shop"));
    let stop = "[Service]\nKillSignal=SIGQUIT\nKillMode=mixed\n";
    host.write(&of_php(&host, "/etc/systemd/system/php8.2-fpm.service.d/stop.conf"), stop);
    host.sh("systemctl daemon-reload");
    shop.configure(&host, &of_php(&host, UNIT));
    let found = ids(&host, &shop);
    // What is left is the live release's own, and what only slots can do.
    assert_eq!(
        found,
        ["code-written", "fpm-reload-waits", "session-driver"].map(str::to_owned).into(),
        "all others have gone"
    );
    assert_eq!(shop.current(&host), before, "a check changes nothing");

    // Slots, by the README, and a release with another session driver.
    host.write(SITE, "");
    site::install(&host, "shop", "/srv/shop", &Php::Snippet);
    shop.configure(&host, "");
    shop.commit(&host, "r2", &[("config/session.php", include_str!("../app/config/session.php"))]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    assert!(ids(&host, &shop).is_empty());
}

/// A site that has a slot's own port and socket written into it.
const BESIDE_SITE: &str = "\
server {
    listen 80;
    server_name shop.example.org;
    root /srv/shop/current/public;
    location /api/ { proxy_pass http://127.0.0.1:3000; }
    location / {
        include fastcgi_params;
        fastcgi_param SCRIPT_FILENAME $realpath_root/index.php;
        fastcgi_pass unix:/run/php/php8.2-fpm.sock;
    }
}
";
const HTTP: &str = "[[service]]\nkind = \"http\"\nrun = [\"php\", \"server.php\"]\nports = [3000, 3001]\n";

#[test]
fn traps_of_slots_and_of_other_strategies_are_named_and_gone_when_mended() {
    let host = installed();
    // Less than a first release is given; and more processes than there is memory for.
    host.sh("mkdir -p /srv/shop; mount -t tmpfs -o size=200m,mode=0755 shop /srv/shop");
    let shop = Shop::make(&host, Spec::new("shop"));
    let beside = of_php(&host, BESIDE_SITE);
    host.write(SITE, &beside);
    host.write(&of_php(&host, "/etc/php/8.2/fpm/conf.d/99-off.ini"), "opcache.enable = 0\n");
    host.write("/srv/other/index.php", "<?php echo 'fine';\n");
    host.ok(&["systemd-run", "-q", "--unit=other", "php", "-S", "127.0.0.1:3001", "-t", "/srv/other"]);
    let pool = |children: u32| {
        format!(
            "[[service]]\nkind = \"php-fpm\"\n[service.pool]\n\"pm\" = \"static\"\n\"pm.max_children\" = \"{children}\"\n"
        )
    };
    shop.configure(&host, &format!("{}{HTTP}", pool(9000)));
    let wanted = [
        "disk-kind",
        "disk-space",
        "memory-slots",
        "nginx-document-root-param",
        "nginx-fastcgi-pass",
        "nginx-proxy-pass",
        "opcache-off",
        "slot-port",
    ];
    let found = ids(&host, &shop);
    wanted.iter().for_each(|id| assert!(found.contains(*id), "{id} is not in {found:?}"));
    let version = site::php_version(&host);
    let unit =
        |strategy: &str| format!("[[service]]\nunit = \"php{version}-fpm.service\"\nstrategy = \"{strategy}\"\n");
    shop.configure(&host, &unit("restart"));
    assert!(ids(&host, &shop).contains("fpm-restart"));
    shop.configure(&host, &unit("warm"));
    host.write(SITE, beside.replace("$realpath_root", "$document_root"));
    assert!(ids(&host, &shop).contains("warm-unproved"));

    // Each remedy.
    host.sh("mount -o remount,size=2g /srv/shop; systemctl stop other");
    host.sh(&of_php(&host, "rm /etc/php/8.2/fpm/conf.d/99-off.ini"));
    let mended = beside
        .replace("127.0.0.1:3000", "shop-http")
        .replace(&format!("unix:/run/php/php{version}-fpm.sock"), "unix:/run/deployd/shop/fpm.sock")
        .replace("fastcgi_pass", "fastcgi_param DOCUMENT_ROOT $realpath_root;\n        fastcgi_pass");
    host.write(SITE, mended);
    shop.configure(&host, &format!("{}{HTTP}", pool(4)));
    // It is the memory of the host all the same.
    assert_eq!(ids(&host, &shop).into_iter().collect::<Vec<_>>(), ["disk-kind"]);
}

#[test]
fn on_a_host_by_the_readme_there_is_nothing_and_require_holds_it_so() {
    let (host, shop) = with_live_shop("[safety]\nrequire = \"zero-downtime\"\n");
    let said = host.run(&["deployctl", "check"]).expect_status(0);
    assert_eq!(said.stdout.trim(), "shop: nothing was found");
    assert!(ids(&host, &shop).is_empty());
    assert_eq!(host.run(&["deployctl", "check", "nosuch"]).status, 8);
    assert_eq!(host.run_as("shop", &["deployctl", "check", "shop"]).status, 7, "polkit is asked as for a plan");

    // One trap, and nothing goes live any more; a rollback does.
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    let good = host.read(SITE);
    host.write(SITE, good.replace("root /srv", "open_file_cache max=10;\n root /srv"));
    shop.commit(&host, "r3", &[]);
    let warned = shop.ctl(&host, "deploy", &[]);
    assert_eq!(warned.status, 0, "a warning refuses nothing: {warned}");
    assert!(warned.said().contains("[nginx-open-file-cache]"), "it is told: {warned}");
    host.write(SITE, good.replace("include snippets", "fastcgi_param X y; include snippets"));
    host.write(
        "/etc/nginx/snippets/deployd-php.conf",
        host.read("/etc/nginx/snippets/deployd-php.conf").replace("$realpath_root", "$document_root"),
    );
    let before = shop.current(&host);
    shop.commit(&host, "r4", &[]);
    let refused = shop.ctl(&host, "deploy", &[]).expect_status(3);
    assert!(refused.stderr.contains("nginx-document-root (/etc/nginx/snippets/deployd-php.conf:"), "{refused}");
    assert!(refused.stderr.contains("$realpath_root"), "the remedy is told: {refused}");
    assert_eq!(shop.current(&host), before);
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
}
