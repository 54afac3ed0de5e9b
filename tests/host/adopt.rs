//! From what is there: a host that served before deployd came is described by `init`, taken over by `adopt` while it
//! serves, and given back by `disown`. The tree of Capistrano is made by Debian's own, over ssh.

use std::time::Duration;

use crate::{
    common::{eventually, installed},
    ctl::{manual, members},
    support::{
        capistrano, deb,
        host::Host,
        load::{Plan, Running},
        lock::crate_dir,
        root::Root,
        shop::{Shop, Spec},
        site::{self, Php},
    },
};

pub const SITE: &str = "/etc/nginx/sites-enabled/shop";

/// A host whose site is served by a pool of Debian's own php-fpm; nothing of deployd is described.
fn served_before(host: &Host, root: &str) -> Shop {
    let spec = Spec { root: root.into(), php: Php::Socket("/run/php/shop.sock".into()), ..Spec::new("shop") };
    let shop = Shop::make(host, spec);
    host.write(&site::of_php(host, "/etc/php/8.2/fpm/pool.d/shop.conf"), site::pool("shop", "shop"));
    host.sh(&site::of_php(host, "systemctl restart php8.2-fpm"));
    host.sh("rm -r /etc/deployd/apps/shop.toml; rmdir --ignore-fail-on-non-empty /etc/deployd/apps");
    shop
}

fn load(host: &Host, shop: &Shop) -> Running {
    let promise = Plan::promise(&shop.domain());
    let slow = (promise.slow.0.clone(), 1);
    Running::start(host.network(), Plan { fast: ("/".into(), 20), slow, sessions: 5, ..promise })
}

#[track_caller]
pub fn nothing_was_lost(load: Running) {
    let report = load.stop();
    assert_eq!((report.failed, report.mixed, report.sessions_lost), (0, 0, 0), "{report:#?}");
    assert!(report.requests > 200, "{report:#?}");
}

#[test]
fn init_describes_the_host_of_a_laravel_app_and_deploy_works_without_editing() {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop"));
    host.sh("rm /etc/deployd/apps/shop.toml");
    // A reload of nginx returns while its old workers still answer with the welcome page.
    eventually("the site's own answer", Duration::from_secs(30), || shop.get(&host, "/").status != 200);
    let shown = host.run(&["deployctl", "init", "--git", &shop.repository()]);
    assert!(shown.stdout.contains("preset = \"laravel\"") && shown.stdout.contains("root = \"/srv/shop\""), "{shown}");
    assert_ne!(host.run(&["test", "-e", "/etc/deployd/apps/shop.toml"]).status, 0, "it only shows");
    shop.ctl(&host, "init", &["--write", "--git", &shop.repository()]).ok();
    assert_eq!(host.read("/etc/deployd/apps/shop.toml"), shown.stdout);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
    let again = shop.ctl(&host, "init", &["--write"]).expect_status(1);
    assert!(again.stderr.contains("described already"), "{again}");
    let other = host.run_as("shop", &["deployctl", "init", "shop"]);
    assert!(other.status != 0 && other.stderr.contains("sudo deployctl init shop"), "{other}");
}

#[test]
fn a_tree_of_capistrano_s_is_adopted_deployed_and_given_back_under_load() {
    let host = Host::boot_alone(&capistrano::root());
    host.install_deb(&deb::ensure());
    let shop = served_before(&host, "/srv/shop");
    host.sh("chown -R shop: /srv/shop");
    capistrano::set_up(&host, &shop);
    let older = capistrano::deploy(&host, &shop);
    shop.commit(&host, "r2", &[]);
    let newer = capistrano::deploy(&host, &shop);
    assert!(older < newer && newer.len() == 14, "{older} {newer}");
    shop.commit(&host, "r3", &[]);
    assert_eq!(shop.release(&host), "r2");
    let load = load(&host, &shop);
    std::thread::sleep(Duration::from_secs(1));

    shop.ctl(&host, "init", &["--write"]).ok();
    let toml = host.read("/etc/deployd/apps/shop.toml");
    for part in [
        "git = \"/srv/git/shop.git\"",
        "ref = \"main\"",
        &site::of_php(&host, "unit     = \"php8.2-fpm.service\""),
        "\"public/uploads/\"",
        "host = \"shop.example.org\"",
    ] {
        assert!(toml.contains(part), "{part} is not in\n{toml}");
    }
    let before = shop.current(&host);
    let told = shop.ctl(&host, "adopt", &["--plan"]).ok();
    assert!(told.contains("made by Capistrano") && told.contains(&older) && told.contains(&newer), "{told}");
    assert_eq!(shop.current(&host), before, "a plan changes nothing");

    // Killed at whatever step it goes on when it is begun again, and the site serves throughout.
    // Each where the one before has left it: the old release's link, its exchange, the newer's, the sync, the state, and
    // the link beside `current` and its rename.
    let kills = [
        ("symlinkat", 1),
        ("renameat2", 1),
        ("renameat2", 2),
        ("syncfs", 1),
        ("renameat", 2),
        ("symlinkat", 1),
        ("renameat", 3),
    ];
    for (turn, (call, when)) in kills.into_iter().enumerate() {
        let inject = format!("inject={call}:signal=KILL:when={when}");
        host.run(&["strace", "-f", "-o", "/run/killed", "-e", &inject, "deployctl", "adopt", "shop", "--yes"]);
        let trace = host.read("/run/killed");
        assert!(trace.contains("+++ killed by SIGKILL +++"), "nobody was killed at {call} {when}:\n{trace}");
        assert_eq!(shop.release(&host), "r2", "killed at {call} {when}");
        if turn == 0 {
            let refused = shop.ctl(&host, "deploy", &[]);
            assert!(
                refused.status != 0 && refused.said().contains("`deployctl adopt shop --yes` goes on"),
                "{refused}"
            );
        }
    }
    let json = |verb: &str, more: &[&str]| -> serde_json::Value {
        let said = shop.ctl(&host, verb, &[more, &["--json"]].concat()).ok();
        let value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{verb}: {e}: {said}"));
        assert_eq!(members(&value), manual(verb), "{verb}");
        value
    };
    let adopted = json("adopt", &["--yes"]);
    let live = shop.current(&host);
    assert_eq!((&adopted["changed"], &adopted["made_by"]), (&true.into(), &"capistrano".into()), "{adopted}");
    assert_eq!(format!("releases/{}", adopted["live"].as_str().unwrap()), live);
    assert_eq!(adopted["releases"][1]["name"], newer, "{adopted}");
    let (day, time) = newer.split_at(8);
    assert!(live.starts_with(&format!("releases/{day}T{time}Z-")), "{live}");
    let of_before = format!("/srv/shop/releases/{newer}");
    assert_eq!(host.ok(&["readlink", "-f", &of_before]).trim(), format!("/srv/shop/{live}"));
    assert_eq!(
        host.ok(&["stat", "-c", "%U", "/srv/shop", "/srv/shop/releases", &format!("/srv/shop/{live}")]),
        "root\nroot\nshop\n"
    );
    let listed = shop.ctl(&host, "releases", &[]).ok();
    assert_eq!(listed.matches("confirmed").count(), 2, "{listed}");
    let again = shop.ctl(&host, "adopt", &["--yes"]);
    assert!(again.status == 0 && again.stderr.contains("deployd's already"), "{again}");

    // The first deployment works by a reload; what that does not promise is said in the configuration.
    let applied = json("init", &["--apply"]);
    assert_eq!(applied["changed"], true);
    let applied = applied["nginx"].as_str().unwrap();
    assert!(applied.contains("+        fastcgi_pass unix:/run/deployd/shop/fpm.sock;"), "{applied}");
    assert_eq!(host.ok(&["readlink", "/run/deployd/shop/fpm.sock"]).trim(), "/run/php/shop.sock");
    // One that fails its health check once it is live: then nginx is at the pool of before again.
    let pages = std::fs::read_to_string(crate_dir().join("tests/app/app/Http/Pages.php")).unwrap();
    let bad = pages.replacen("return response(\"up\\n\")", "return response(\"down\\n\", 503)", 1);
    assert_ne!(bad, pages);
    shop.commit(&host, "r4", &[("app/Http/Pages.php", &bad)]);
    shop.ctl(&host, "deploy", &[]).expect_status(4);
    assert_eq!((shop.release(&host).as_str(), shop.current(&host)), ("r2", live.clone()));
    assert_eq!(host.ok(&["readlink", "/run/deployd/shop/fpm.sock"]).trim(), "/run/php/shop.sock");
    shop.point(&host, "r3");
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r3");
    assert!(host.ok(&["readlink", "/run/deployd/shop/fpm.sock"]).contains("deployd-fpm"));
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!((shop.release(&host).as_str(), shop.current(&host)), ("r2", live.clone()));

    // Given back: not while nginx asks deployd's slots.
    let refused = shop.ctl(&host, "disown", &["--yes"]).expect_status(1);
    assert!(refused.stderr.contains("fastcgi_pass unix:/run/php/shop.sock"), "{refused}");
    let site = host.read(SITE).replace("unix:/run/deployd/shop/fpm.sock", "unix:/run/php/shop.sock");
    host.write(SITE, site);
    host.sh("nginx -q -t; systemctl reload nginx; sleep 1");
    // Whatever stands in its way is said before anything ends.
    host.write("/etc/deployd/apps/shop.toml.disowned", "");
    let refused = shop.ctl(&host, "disown", &["--yes"]).expect_status(1);
    assert!(refused.stderr.contains("shop.toml.disowned is there from before"), "{refused}");
    assert_ne!(host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "app-fpm@shop*"]), "");
    host.sh("rm /etc/deployd/apps/shop.toml.disowned; systemctl enable -q --now deploy@shop.timer");
    assert_eq!(json("disown", &[])["changed"], false);
    assert_eq!(json("disown", &["--yes"])["changed"], true);
    assert_eq!((shop.release(&host).as_str(), shop.current(&host)), ("r2", live));
    host.run_as("shop", &["touch", "/srv/shop/mine", "/srv/shop/releases/mine"]).ok();
    for gone in [
        "/var/lib/deployd/apps/shop",
        "/run/deployd/shop",
        "/etc/deployd/apps/shop.toml",
        "/etc/tmpfiles.d/deployd-shop.conf",
        "/etc/systemd/system/timers.target.wants/deploy@shop.timer",
        "/var/lib/deployd/metrics/shop-deployment.prom",
        "/var/lib/deployd/metrics/shop-release.prom",
    ] {
        assert_ne!(host.run(&["test", "-e", gone]).status, 0, "{gone} is still there");
    }
    assert_eq!(host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "app-*@shop*"]), "");
    nothing_was_lost(load);
    capistrano::deploy(&host, &shop);
    assert_eq!(shop.release(&host), "r3", "the other tool can deploy again");
}

/// A checkout in which somebody pulls, as user shop.
pub const CLONE: &str = r#"cd /var/www/shop; git init -q -b main; git remote add origin /srv/git/shop.git
git fetch -q; git reset -q --hard origin/main; git branch -q -u origin/main
mv shared/.env .env; mkdir -p storage/framework/sessions storage/framework/views storage/framework/cache/data storage/logs storage/app/public
echo upload > storage/app/public/cat; composer install -q --no-dev --no-interaction; php artisan migrate --force -q
php artisan config:cache -q"#;

/// A checkout with Horizon, by the stand-in; supervisor's file names it, and a unit in supervisor's place runs a worker.
fn with_horizon(host: &Host, shop: &Shop) {
    let stand_in = std::fs::read_to_string(crate_dir().join("tests/stand-in/horizon.php")).unwrap();
    let app = std::fs::read_to_string(crate_dir().join("tests/app/bootstrap/app.php")).unwrap();
    let app = app.replace("return $app;", "require_once __DIR__.'/../app/horizon.php';\n\nreturn $app;");
    shop.commit(host, "r1", &[("app/horizon.php", &stand_in), ("bootstrap/app.php", &app)]);
    shop.set_env(host, "QUEUE_CONNECTION", "redis");
    host.sh("chown -R shop: /var/www/shop");
    host.run_as("shop", &["env", "HOME=/home/shop", "sh", "-euc", CLONE]).ok();
    host.write(SITE, host.read(SITE).replace("/current/public", "/public"));
    host.write(
        "/etc/supervisor/conf.d/shop.conf",
        "[program:shop-horizon]\ncommand = php /var/www/shop/artisan horizon\nuser = shop\n",
    );
    host.write("/etc/cron.d/shop", "* * * * * shop cd /var/www/shop && php artisan schedule:run\n");
    host.sh("systemctl reload nginx; systemd-run -q --unit=supervisor-stand-in --property=User=shop --property=KillMode=mixed \
             --working-directory=/var/www/shop php artisan queue:work redis");
}

#[test]
fn a_checkout_is_at_its_first_deployment_in_a_few_commands_under_load() {
    let host = Host::boot_alone(&Root::chosen());
    let shop = served_before(&host, "/var/www/shop");
    with_horizon(&host, &shop);
    eventually("the checkout is served", Duration::from_secs(10), || shop.get(&host, "/").value("end") == Some("r1"));
    let files = ["/var/www/shop/.env", "/var/www/shop/storage/app/public/cat"];
    let inodes = |host: &Host| host.ok(&[&["stat", "-L", "-c", "%i"], &files[..]].concat());
    let before = inodes(&host);
    let load = load(&host, &shop);
    std::thread::sleep(Duration::from_secs(1));

    let mut commands = 1;
    host.install_deb(&deb::ensure());
    let mut ctl = |verb: &str, arguments: &[&str]| {
        commands += 1;
        let said = shop.ctl(&host, verb, arguments);
        assert_eq!(said.status, 0, "{said}");
        said.said()
    };
    ctl("init", &["--write"]);
    let toml = host.read("/etc/deployd/apps/shop.toml");
    let other = host.run(&["deployctl", "init", "blog", "--root", "/var/www/shop"]).expect_status(1);
    assert!(other.stderr.contains("/var/www/shop is shop's"), "{other}");
    assert!(toml.contains("kind = \"horizon\"") && toml.contains("# kind = \"scheduler\""), "{toml}");
    let told = ctl("adopt", &["--yes"]);
    for part in [
        "remove [program:shop-horizon]",
        "remove line 1 of /etc/cron.d/shop",
        "once `deployctl status shop` says confirmed",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    assert_eq!(inodes(&host), before, "nothing was copied");
    assert_eq!(host.ok(&["readlink", "/var/www/shop/storage"]).trim(), "shared/storage");
    let env = host.ok(&["stat", "-c", "%F %U", "/var/www/shop/shared/.env"]);
    assert_eq!(env.trim(), "regular file shop");
    ctl("init", &["--apply"]);
    assert!(host.read(SITE).contains("root /var/www/shop/current/public;"));
    shop.commit(&host, "r2", &[]);
    ctl("deploy", &[]);
    assert!(commands < 10, "{commands}");
    assert_eq!(shop.release(&host), "r2");
    assert_eq!(host.read("/var/www/shop/current/storage/app/public/cat"), "upload\n");
    // The old one runs until a person ends it; now both do.
    let running = |unit: &str| host.run(&["systemctl", "is-active", unit]).status == 0;
    assert!(running("supervisor-stand-in"));
    let slots = host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "app-horizon@shop:*"]);
    assert_eq!(slots.lines().count(), 1, "{slots}");
    host.sh("systemctl stop supervisor-stand-in; rm /etc/supervisor/conf.d/shop.conf /etc/cron.d/shop");
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(shop.release(&host), "r1", "the checkout is a release like any other");
    nothing_was_lost(load);
    a_change_by_which_the_site_answers_otherwise_is_taken_back(&host, &shop);
}

/// nginx may no longer reach the socket link: the site as it shall be would answer 502.
fn a_change_by_which_the_site_answers_otherwise_is_taken_back(host: &Host, shop: &Shop) {
    let before = host.read(SITE).replace("unix:/run/deployd/shop/fpm.sock", "unix:/run/php/shop.sock");
    host.write(SITE, &before);
    host.sh("systemctl reload nginx; sleep 1; chmod 700 /run/deployd/shop");
    let refused = shop.ctl(host, "init", &["--apply"]).expect_status(1);
    assert!(refused.stderr.contains("200 before, and 502 now"), "{refused}");
    assert_eq!((host.read(SITE), shop.release(host)), (before, "r1".into()));
}
