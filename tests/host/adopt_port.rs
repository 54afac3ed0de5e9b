//! A program on a port that served before deployd did: nginx is led to its slots by `init --apply`, through the program of
//! before until the first of them is live; and the app is given back while ports and queues are live, without a failed
//! request.

use std::time::Duration;

use crate::{
    adopt::{CLONE, SITE, nothing_was_lost},
    common::eventually,
    queue::{QUEUE, dispatch},
    support::{
        deb,
        host::Host,
        jobs::Log,
        load::{Plan, Running},
        root::Root,
        shop::{Shop, Spec},
        site::Php,
    },
};

/// Becomes PHP's own server, which hands every page to Laravel.
const SERVER: &str = "<?php\n\npcntl_exec(PHP_BINARY, ['-S', '127.0.0.1:'.getenv('PORT'), '-t', 'public', \
                      'public/index.php'], getenv());\n";
const SERVICES: &str = "[[service]]\nkind = \"http\"\nrun = [\"php\", \"server.php\"]\nports = [3000, 3001, 3002]\n\
                        drain = \"20s\"\n";
const REST: &str = "[environment]\nPHP_CLI_SERVER_WORKERS = \"16\"\n\
                    [health]\nhttp = \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";
/// As Laravel's manual has it for Octane.
const PROXIED: &str = r#"map $http_upgrade $connection_upgrade { default upgrade; '' close; }
server {
    listen 80;
    server_name shop.example.org;
    root /var/www/shop/public;
    access_log off;
    location / { try_files $uri @octane; }
    location @octane {
        set $suffix "";
        if ($uri = /index.php) { set $suffix ?$query_string; }
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_pass http://127.0.0.1:8000$suffix;
    }
}
"#;
const UPSTREAM: &str = "/run/deployd/shop/upstream-http.conf";

/// A checkout whose program an administrator's unit runs on port 8000.
fn served_before(host: &Host) -> Shop {
    let php = Php::Socket("/run/none.sock".into());
    let spec = Spec { root: "/var/www/shop".into(), php, ..Spec::new("shop") };
    let shop = Shop::make(host, spec);
    host.sh("rm /etc/deployd/apps/shop.toml");
    shop.commit(host, "r1", &[("server.php", SERVER)]);
    shop.set_env(host, "QUEUE_CONNECTION", "redis");
    host.sh("chown -R shop: /var/www/shop");
    host.run_as("shop", &["env", "HOME=/home/shop", "sh", "-euc", CLONE]).ok();
    host.write(SITE, PROXIED);
    host.sh(
        "systemd-run -q --unit=old-program --property=User=shop --working-directory=/var/www/shop --setenv=PORT=8000 \
             --setenv=PHP_CLI_SERVER_WORKERS=16 php server.php; nginx -q -t; systemctl reload nginx",
    );
    eventually("the old program serves", Duration::from_secs(20), || shop.get(host, "/").value("end") == Some("r1"));
    shop
}

fn slots(host: &Host, pattern: &str) -> usize {
    host.ok(&[
        "systemctl",
        "list-units",
        "--plain",
        "--no-legend",
        "--state=active,activating,deactivating,reloading",
        pattern,
    ])
    .lines()
    .count()
}

/// Of port 8000, in a state.
fn sockets(host: &Host, state: &str) -> usize {
    host.ok(&["ss", "-Htn", "state", state, "sport = :8000"]).lines().count()
}

/// The engine is killed when the first slot is live and the next service takes its time: settling takes it back.
fn killed_when_the_slot_has_requests(host: &Host, shop: &Shop) {
    host.write(
        "/etc/systemd/system/late.service",
        "[Service]\nType=exec\nExecStart=sleep infinity\n\
         ExecStartPre=/bin/sh -c 'grep -q r1 /var/www/shop/current/RELEASE || sleep 20'\n",
    );
    host.ok(&["systemctl", "daemon-reload"]);
    let late = "[[service]]\nunit = \"late.service\"\nstrategy = \"restart\"\n";
    shop.configure(host, &format!("{SERVICES}{late}{REST}"));
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    eventually("the slot is live", Duration::from_secs(60), || shop.get(host, "/").value("end") == Some("r3"));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| shop.get(host, "/work/5000"));
        eventually("the slot has a request", Duration::from_secs(10), || {
            host.ok(&["ss", "-Htn", "state", "established", "sport >= :3000 and sport <= :3002"]).lines().count() > 0
        });
        host.ok(&["systemctl", "kill", "--signal=KILL", "deploy@shop"]);
        let answer = slow.join().unwrap();
        assert_eq!(answer.value("end"), Some("r3"), "it ends in the slot that began it: {answer:?}");
    });
    let settled = || host.run(&["systemctl", "is-active", "deploy-settle@shop"]).stdout.trim() == "inactive";
    eventually("it is taken back", Duration::from_secs(90), || {
        shop.get(host, "/").value("end") == Some("r1") && slots(host, "app-http@shop:*") == 0 && settled()
    });
    host.run(&["systemctl", "stop", "late"]);
}

#[test]
fn a_program_on_a_port_is_taken_over_and_given_back_under_load() {
    let host = Host::boot_alone(&Root::chosen());
    let shop = served_before(&host);
    host.install_deb(&deb::ensure());
    let plan = Plan { fast: ("/".into(), 15), slow: ("/work/3000".into(), 1), ..Plan::promise(&shop.domain()) };
    let load = Running::start(host.network(), Plan { sessions: 5, ..plan });
    std::thread::sleep(Duration::from_secs(1));

    // Nobody can see what runs it: the configuration has it to be filled in.
    shop.ctl(&host, "init", &["--write"]).ok();
    let toml = host.read("/etc/deployd/apps/shop.toml");
    assert!(toml.contains("nginx asks http://127.0.0.1:8000"), "{toml}");
    let shown = shop.ctl(&host, "init", &[]);
    assert!(shown.stderr.contains("no service of kind octane or http"), "{shown}");
    shop.configure(&host, &format!("{}{QUEUE}{REST}", SERVICES.replace("3000", "8000")));
    shop.ctl(&host, "adopt", &["--yes"]).ok();
    let refused = shop.ctl(&host, "init", &["--apply"]).expect_status(1);
    assert!(refused.stderr.contains("listens on port 8000") && refused.stderr.contains("other ports"), "{refused}");
    shop.configure(&host, &format!("{SERVICES}{QUEUE}{REST}"));
    let before = host.read(SITE);
    let applied = shop.ctl(&host, "init", &["--apply"]);
    assert_eq!(applied.status, 0, "{applied}");
    for line in [
        "+        set $deployd_app shop;",
        "+        set $deployd_service http;",
        "+        proxy_pass http://$deployd_app-$deployd_service$suffix;",
        "+    root /var/www/shop/current/public;",
    ] {
        assert!(applied.stdout.contains(line), "{line} is not in\n{applied}");
    }
    assert!(host.read(UPSTREAM).contains("server 127.0.0.1:8000;"), "{}", host.read(UPSTREAM));
    let again = shop.ctl(&host, "init", &["--apply"]);
    assert!(again.stderr.contains("is as it should be"), "{again}");

    // A first deployment that fails once it is live goes back to the program of before.
    let pages =
        std::fs::read_to_string(crate::support::lock::crate_dir().join("tests/app/app/Http/Pages.php")).unwrap();
    let bad = pages.replacen("return response(\"up\\n\")", "return response(\"down\\n\", 503)", 1);
    assert_ne!(bad, pages);
    shop.commit(&host, "r2", &[("app/Http/Pages.php", &bad)]);
    shop.ctl(&host, "deploy", &[]).expect_status(4);
    assert_eq!(shop.release(&host), "r1");
    assert!(host.read(UPSTREAM).contains("server 127.0.0.1:8000;"), "{}", host.read(UPSTREAM));
    eventually("its slots are drained", Duration::from_secs(30), || slots(&host, "app-*@shop:*") == 0);
    // A boot before the first deployment makes the way to it again.
    host.sh("rm -r /run/deployd/shop; systemd-tmpfiles --create /etc/tmpfiles.d/deployd-shop.conf; \
             systemctl restart deployd-recover");
    assert!(host.read(UPSTREAM).contains("server 127.0.0.1:8000;"), "{}", host.read(UPSTREAM));
    // So does one whose engine is killed when the slot has requests.
    shop.commit(&host, "r3", &[("app/Http/Pages.php", &pages)]);
    killed_when_the_slot_has_requests(&host, &shop);
    assert!(host.read(UPSTREAM).contains("server 127.0.0.1:8000;"), "{}", host.read(UPSTREAM));
    shop.configure(&host, &format!("{SERVICES}{QUEUE}{REST}"));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r3");
    assert!(!host.read(UPSTREAM).contains(":8000;"), "{}", host.read(UPSTREAM));
    dispatch(&host, &shop, "1/10");
    eventually("a job was done", Duration::from_secs(30), || Log::of(&host, &shop).count("end") >= 1);
    assert_eq!((slots(&host, "app-http@shop:*"), slots(&host, "app-queue@shop:*")), (1, 1));

    // Given back while all of it is live: not while nginx asks deployd's upstream.
    let refused = shop.ctl(&host, "disown", &["--yes"]).expect_status(1);
    assert!(refused.stderr.contains("`proxy_pass http://127.0.0.1:8000;`"), "{refused}");
    assert_eq!(slots(&host, "app-*@shop:*"), 2);
    eventually("what the old program had begun has ended", Duration::from_secs(20), || {
        sockets(&host, "established") == 0
    });
    host.sh("systemctl stop old-program
             systemd-run -q --unit=next-program --property=User=shop --working-directory=/var/www/shop/current \
             --setenv=PORT=8000 --setenv=PHP_CLI_SERVER_WORKERS=16 php server.php");
    eventually("the next program listens", Duration::from_secs(20), || sockets(&host, "listening") > 0);
    host.write(SITE, before.replace("/var/www/shop/public", "/var/www/shop/current/public"));
    host.sh("nginx -q -t; systemctl reload nginx");
    // What nginx's old workers have begun is ended by the slot, and so is the job that runs.
    dispatch(&host, &shop, "2/3000");
    let given = shop.ctl(&host, "disown", &["--yes"]);
    assert_eq!(given.status, 0, "{given}");
    assert!(given.stdout.contains("app-queue@shop:") && given.stdout.contains("app-http@shop:"), "{given}");
    assert_eq!(slots(&host, "app-*@shop*"), 0);
    for gone in ["/var/lib/deployd/apps/shop", "/run/deployd/shop", "/etc/tmpfiles.d/deployd-shop.conf"] {
        assert_ne!(host.run(&["test", "-e", gone]).status, 0, "{gone} is still there");
    }
    host.sh("nginx -q -t; systemctl reload nginx");
    assert_eq!(shop.release(&host), "r3");
    nothing_was_lost(load);
    assert_eq!(Log::of(&host, &shop).not_once(), Vec::<String>::new());
}
