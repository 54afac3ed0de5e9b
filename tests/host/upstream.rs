//! `kind = "http"`: a program on a port, blue-green by nginx's upstream. The program is PHP's own small server, which
//! dies at TERM with whatever it is at: what it loses nothing of was drained.

use std::time::Duration;

use deployd::model::events;

use crate::{
    common::{eventually, installed, installed_alone},
    support::{
        host::Host,
        load::{Plan, Running},
        shop::{Shop, Spec},
        site::Php,
    },
};

/// Becomes PHP's server on the port that it is given.
const SERVER: &str = "<?php\n\npcntl_exec(PHP_BINARY, ['-S', '127.0.0.1:'.getenv('PORT'), 'page.php'], getenv());\n";
/// Every page: `/work/MS` takes its time.
const PAGE: &str = r#"<?php

$release = include __DIR__.'/release.php';
header('Content-Type: text/plain');
echo "start=$release\n";
if (preg_match('~^/work/(\d+)~', $_SERVER['REQUEST_URI'], $wanted)) {
    usleep($wanted[1] * 1000);
}
echo 'file=', trim(file_get_contents(__DIR__.'/RELEASE')), "\nend=", $release, "\n";
"#;
pub const HTTP: &str = "[[service]]\nkind = \"http\"\nrun = [\"php\", \"server.php\"]\nports = [3000, 3001, 3002]\n\
                    drain = \"20s\"\n";
const REST: &str = "[environment]\nPHP_CLI_SERVER_WORKERS = \"16\"\n\
                    [health]\nhttp = \"http://127.0.0.1/\"\nhost = \"shop.example.org\"\nbake = \"1s\"\n";

/// An app whose program listens on a port, with releases r1 and r2; nothing is deployed yet.
pub fn shop(host: &Host, services: &str) -> Shop {
    let spec = Spec { laravel: false, php: Php::Upstream("http"), ..Spec::new("shop") };
    let shop = Shop::make(host, spec.more(&format!("{services}{REST}")));
    let files = [("server.php", SERVER), ("page.php", PAGE)];
    shop.commit(host, "r1", &files);
    shop.commit(host, "r2", &[]);
    shop.point(host, "r1");
    shop
}

pub fn live_shop(host: &Host, services: &str) -> Shop {
    let shop = shop(host, services);
    shop.deploy(host);
    assert_eq!(shop.release(host), "r1");
    shop
}

/// The slots of the program that are active.
pub fn slots(host: &Host) -> Vec<String> {
    let list = host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "app-http@*", "--state=active"]);
    list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn upstream(host: &Host) -> String {
    host.read("/run/deployd/shop/upstream-http.conf")
}

#[test]
fn a_program_on_a_port_moves_under_load_and_loses_nothing() {
    let host = installed_alone();
    let shop = live_shop(&host, HTTP);
    let plan = Plan { domain: shop.domain(), fast: ("/".into(), 60), slow: ("/work/5000".into(), 1), sessions: 0 };
    let load = Running::start(host.network(), plan);
    // Longer than a bake time: the old slot still has slow requests when its drain begins.
    std::thread::sleep(Duration::from_secs(1));
    let mut before = String::new();
    for number in 0..4 {
        let label = if number % 2 == 0 { "r2" } else { "r1" };
        before = shop.current(&host).replace("releases/", "");
        shop.point(&host, label);
        shop.deploy(&host);
        // The old release answers nobody any more once the deployment has returned.
        assert_eq!(shop.release(&host), label);
        std::thread::sleep(Duration::from_secs(1));
    }
    // By its name: which one is the newest confirmed is a question of how fast the machine is.
    shop.ctl(&host, "rollback", &[&before]).ok();
    assert_eq!(shop.release(&host), "r2");
    std::thread::sleep(Duration::from_secs(3));
    let report = load.stop();
    assert_eq!((report.failed, report.mixed), (0, 0), "{report:#?}");
    assert!(report.releases.len() == 2 && report.requests > 500, "{report:#?}");
    eventually("the old slots are stopped", Duration::from_secs(40), || slots(&host).len() == 1);
    assert!(host.journal_of("MESSAGE_ID", events::DRAINED).contains("no connection was left"));
}

#[test]
fn a_drain_at_its_limit_says_what_was_still_running() {
    let host = installed();
    let shop = live_shop(&host, &HTTP.replace("20s", "1s"));
    let plan = Plan { domain: shop.domain(), fast: ("/".into(), 0), slow: ("/work/9000".into(), 1), sessions: 0 };
    let load = Running::start(host.network(), plan);
    std::thread::sleep(Duration::from_millis(1500));
    shop.point(&host, "r2");
    shop.deploy(&host);
    eventually("it tells", Duration::from_secs(30), || {
        let told = host.journal_of("MESSAGE_ID", events::DRAIN_INCOMPLETE);
        told.contains("connections were open after 1s, processes: ")
    });
    // And the requests that it cut off did fail: the load would see what a drain loses.
    assert!(load.stop().failed > 0);
}

#[test]
fn a_reboot_brings_up_the_live_slot_and_no_other() {
    let mut host = installed();
    let shop = live_shop(&host, HTTP);
    shop.point(&host, "r2");
    shop.deploy(&host);
    let (live, current) = (upstream(&host), shop.current(&host));
    eventually("one slot is left", Duration::from_secs(30), || slots(&host).len() == 1);
    let slot = slots(&host);
    host.reboot();
    shop.wait_release(&host, "r2");
    assert_eq!((slots(&host), upstream(&host), shop.current(&host)), (slot, live, current));
}

#[test]
fn another_program_on_the_port_is_not_taken_for_the_release() {
    let host = installed();
    let shop = live_shop(&host, &HTTP.replace("[[service]]", "[[service]]\nstart = \"3s\""));
    let before = (shop.current(&host), slots(&host), upstream(&host));
    // Slot b's port is taken by a page that answers as well as any.
    host.write("/srv/other/index.php", "<?php echo 'fine';\n");
    host.ok(&["systemd-run", "--unit=other", "php", "-S", "127.0.0.1:3001", "-t", "/srv/other"]);
    shop.point(&host, "r2");
    shop.start(&host).expect_status(1);
    let told = host.journal_of("MESSAGE_ID", events::DEPLOYMENT_FAILED);
    assert!(told.contains("port 3001 is another program's") || told.contains("its program ended"), "{told}");
    assert_eq!((shop.current(&host), slots(&host), upstream(&host)), before);
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn an_nginx_that_would_not_reload_is_named_before_anything_is_live() {
    let host = installed();
    let shop = live_shop(&host, HTTP);
    let before = (shop.current(&host), upstream(&host));
    host.write("/etc/nginx/conf.d/wrong.conf", "no_such_directive on;\n");
    shop.point(&host, "r2");
    shop.start(&host).expect_status(1);
    let told = host.journal_of("MESSAGE_ID", events::DEPLOYMENT_FAILED);
    assert!(told.contains("no_such_directive") && told.contains("/etc/nginx/conf.d/wrong.conf"), "{told}");
    assert_eq!((shop.current(&host), upstream(&host)), before);
    assert_eq!(shop.release(&host), "r1");
    host.ok(&["rm", "/etc/nginx/conf.d/wrong.conf"]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn services_move_in_order_and_the_third_failing_brings_the_first_two_back() {
    let host = installed();
    host.write(
        "/etc/systemd/system/late.service",
        "[Service]\nExecStart=/bin/sh -c 'grep -q r1 /srv/shop/current/RELEASE && exec sleep infinity'\nType=exec\n\
         ExecStartPost=/bin/grep -q r1 /srv/shop/current/RELEASE\n",
    );
    let third = "[[service]]\nunit = \"late.service\"\nstrategy = \"restart\"\n";
    let shop = shop(&host, &format!("[[service]]\nkind = \"php-fpm\"\n{HTTP}{third}"));
    shop.deploy(&host);
    let before = (shop.current(&host), upstream(&host), host.ok(&["readlink", "/run/deployd/shop/fpm.sock"]));
    let moved = host.journal_of("MESSAGE_ID", events::SERVICE_LIVE);
    let place = |what: &str| moved.find(what).unwrap_or_else(|| panic!("{what}: {moved}"));
    assert!(place("php-fpm of ") < place("http of ") && place("http of ") < place("late.service runs"), "{moved}");

    shop.point(&host, "r2");
    shop.ctl(&host, "deploy", &[]).expect_status(4);
    let back = host.journal_of("MESSAGE_ID", events::SERVICE_BACK);
    let place = |what: &str| back.find(what).unwrap_or_else(|| panic!("{what}: {back}"));
    assert!(place("http is back in slot a") < place("php-fpm is back in slot a"), "{back}");
    let ended = host.journal_of("MESSAGE_ID", events::DEPLOYMENT_ROLLED_BACK);
    assert!(ended.contains("http, php-fpm, late.service went back in this order"), "{ended}");
    let socket = host.ok(&["readlink", "/run/deployd/shop/fpm.sock"]);
    assert_eq!((shop.current(&host), upstream(&host), socket), before);
    assert_eq!(shop.release(&host), "r1");
}

/// As `php artisan octane:start --server=frankenphp` behaves towards the outside: it refuses when its state file names a
/// server that runs, starts the server in the base path, writes who it is, and at TERM kills it with what it is at.
const ARTISAN: &str = r#"<?php

$config = is_file('bootstrap/cache/config.php')
    ? require getenv('APP_CONFIG_CACHE') ?: 'bootstrap/cache/config.php'
    : ['octane' => ['state_file' => getenv('OCTANE_STATE_FILE')]];
$file = $config['octane']['state_file'] ?? '/srv/shop/shared/octane-server-state.json';
$options = [];
foreach (array_slice($argv, 2) as $argument) {
    [$name, $value] = explode('=', ltrim($argument, '-'), 2);
    $options[$name] = $value;
}
$state = json_decode((string) @file_get_contents($file), true);
if ($state && posix_kill($state['masterProcessId'], 0)) {
    fwrite(STDERR, "Server is already running.\n");
    exit(1);
}
$server = pcntl_fork();
if ($server === 0) {
    pcntl_exec(PHP_BINARY, ['-S', "{$options['host']}:{$options['port']}", getenv('APP_BASE_PATH').'/page.php'], getenv());
}
file_put_contents($file, json_encode(['masterProcessId' => $server, 'state' => $options]));
pcntl_async_signals(true);
pcntl_signal(SIGTERM, function () use ($server) {
    echo "killing the server\n";
    posix_kill($server, SIGKILL);
});
while (pcntl_waitpid($server, $status) === -1) {
}
"#;

#[test]
fn octane_s_slots_have_their_own_state_and_their_server_is_told_by_a_stand_in() {
    let host = installed();
    let octane = "[[service]]\nkind = \"octane\"\nserver = \"frankenphp\"\nports = [8000, 8001]\nworkers = 2\n";
    let spec = Spec { laravel: false, php: Php::Upstream("octane"), ..Spec::new("shop") };
    let shop = Shop::make(&host, spec.more(&format!("{octane}{REST}")));
    // A cached configuration, as the preset makes it: it names a state file that slots would share.
    let cached = "<?php\n\nreturn ['octane' => []];\n";
    let files = [("artisan", ARTISAN), ("page.php", PAGE), ("bootstrap/cache/config.php", cached)];
    shop.commit(&host, "r1", &files);
    shop.deploy(&host);
    let command = host.ok(&["systemctl", "show", "-P", "ExecStart", "app-octane@shop:a"]);
    for word in ["--server=frankenphp", "--port=${PORT}", "--admin-port=${ADMIN_PORT}", "--workers=2"] {
        assert!(command.contains(word), "{word}: {command}");
    }
    shop.commit(&host, "r2", &[]);
    // Twice within a bake time, with two ports: the second waits until the oldest slot has drained.
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    shop.commit(&host, "r3", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r3");
    eventually("one slot is left", Duration::from_secs(40), || {
        host.ok(&["systemctl", "list-units", "--plain", "--no-legend", "app-octane@*"]).lines().count() == 1
    });
    assert!(!host.journal(2000).contains("killing the server"), "the server itself was told, not artisan");
    let state = host.read("/run/deployd-octane/shop:a/state.json");
    assert!(state.contains("\"port\":\"8000\",") && state.contains("\"admin-port\":\"6001\""), "{state}");
}

#[test]
fn a_template_of_the_site_s_own_is_started_in_the_release_and_drained_by_its_name() {
    let host = installed();
    host.write(
        "/etc/systemd/system/shop-web@.service",
        "[Service]\nType=exec\nUser=shop\nExecStart=/usr/bin/php server.php\nKillMode=mixed\n",
    );
    let service = "[[service]]\nkind = \"http\"\nunit = \"shop-web@.service\"\nports = [3000, 3001]\n";
    let spec = Spec { laravel: false, php: Php::Upstream("shop-web"), ..Spec::new("shop") };
    let shop = Shop::make(&host, spec.more(&format!("{service}{REST}")));
    shop.commit(&host, "r1", &[("server.php", SERVER), ("page.php", PAGE)]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    shop.commit(&host, "r2", &[]);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
    eventually("the old instance is drained", Duration::from_secs(30), || {
        host.journal_of("MESSAGE_ID", events::DRAINED).contains("shop-web@shop:a.service is drained and stopped")
    });
    assert_eq!(host.run(&["systemctl", "is-active", "shop-web@shop:b"]).stdout, "active\n");
}

/// Serves until its page `/dies` has been asked for, then dies, and at each start again.
const DIES: &str = "<?php\n\n$mark = '/srv/mark/dead';\nif (file_exists($mark)) {\n    sleep(1);\n    exit(1);\n}\n\
                    proc_open([PHP_BINARY, '-S', '127.0.0.1:'.getenv('PORT'), 'page.php'], [], $pipes);\n\
                    while (!file_exists($mark)) {\n    usleep(20000);\n    clearstatcache();\n}\nexit(1);\n";

#[test]
fn a_first_slot_that_dies_over_and_over_is_ended_when_the_deployment_goes_back() {
    let host = installed();
    let health = REST.replace("http://127.0.0.1/\"", "http://127.0.0.1/dies\"\nbody = \"never\"");
    let shop = shop(&host, HTTP);
    shop.configure(&host, &format!("{HTTP}{health}"));
    host.ok(&["install", "-d", "-o", "shop", "/srv/mark"]);
    let page =
        PAGE.replacen("<?php\n", "<?php\nif ($_SERVER['REQUEST_URI'] === '/dies') touch('/srv/mark/dead');\n", 1);
    shop.commit(&host, "r1", &[("server.php", DIES), ("page.php", &page)]);
    let failed = shop.ctl(&host, "deploy", &[]);
    assert_ne!(failed.status, 0, "{failed}");
    assert!(host.run(&["test", "-e", "/srv/mark/dead"]).status == 0, "it was asked, live: {failed}");
    let any = ["--all", "--state=active,activating,deactivating,reloading"];
    eventually("nothing of it runs, or is about to", Duration::from_secs(30), || {
        host.ok(&[&["systemctl", "list-units", "--plain", "--no-legend", "app-http@*"], &any[..]].concat()).is_empty()
    });
}

#[test]
fn an_engine_killed_between_two_services_leaves_none_of_them_moved() {
    let host = installed();
    // The second service takes its time, when the first has moved already.
    host.write(
        "/etc/systemd/system/late.service",
        "[Service]\nType=exec\nExecStart=sleep infinity\n\
         ExecStartPre=/bin/sh -c 'grep -q r1 /srv/shop/current/RELEASE || sleep 20'\n",
    );
    let second = "[[service]]\nunit = \"late.service\"\nstrategy = \"restart\"\n";
    let shop = live_shop(&host, &format!("{HTTP}{second}"));
    let before = (shop.current(&host), upstream(&host));
    shop.point(&host, "r2");
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    eventually("the first service has moved", Duration::from_secs(30), || upstream(&host) != before.1);
    eventually("the second is at it", Duration::from_secs(30), || {
        host.run(&["systemctl", "is-active", "late"]).stdout.trim() == "activating"
    });
    host.ok(&["systemctl", "kill", "--signal=KILL", "deploy@shop"]);
    // Without a person: the unit's failure has it settled.
    eventually("it is taken back", Duration::from_secs(60), || {
        (shop.current(&host), upstream(&host)) == before && shop.get(&host, "/").value("end") == Some("r1")
    });
    eventually("the new slot is stopped", Duration::from_secs(60), || slots(&host) == ["app-http@shop:a.service"]);
}
