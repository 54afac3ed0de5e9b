//! One app of several services: php-fpm, Octane (a stand-in for Swoole), Horizon (a stand-in) and queue workers. They
//! move in order, go back in the opposite one, and over a reboot the live slots are up and no others.

use std::{collections::BTreeMap, time::Duration};

use deployd::model::events;

use crate::{
    common::{eventually, installed},
    queue::{BAKE, FPM, QUEUE, dispatch},
    support::{
        host::Host,
        jobs::Log,
        lock::crate_dir,
        requests,
        shop::{Shop, Spec},
        site::Php,
    },
};

const REST: &str = "[[service]]\nkind = \"octane\"\nserver = \"swoole\"\nports = [8000, 8001, 8002]\nworkers = 2\n\
                    drain = \"10s\"\n[[service]]\nkind = \"horizon\"\n";
/// The site once more, by php-fpm; its own name is nginx's to Octane.
const BY_FPM: &str = "server {\n    listen 80;\n    server_name fpm.example.org;\n    set $deployd_app shop;\n    \
                      root /srv/shop/current/public;\n    include snippets/deployd-php.conf;\n}\n";

/// The app with releases r1 and r2, and r3, whose Horizon ends as soon as it shall take jobs.
fn shop(host: &Host) -> Shop {
    let spec = Spec { php: Php::Upstream("octane"), over: Some("app-octane"), ..Spec::new("shop") };
    let shop = Shop::make(host, spec.more(&format!("{FPM}{REST}{QUEUE}{BAKE}")));
    shop.set_env(host, "QUEUE_CONNECTION", "redis");
    host.write("/etc/nginx/sites-enabled/shop-fpm", BY_FPM);
    host.ok(&["systemctl", "reload", "nginx"]);
    let read = |path: &str| std::fs::read_to_string(crate_dir().join(path)).unwrap();
    let horizon = read("tests/stand-in/horizon.php");
    let app = read("tests/app/bootstrap/app.php");
    let app = app.replace("return $app;", "require_once __DIR__.'/../app/horizon.php';\n\nreturn $app;");
    shop.commit(host, "r1", &[("app/horizon.php", &horizon), ("bootstrap/app.php", &app)]);
    shop.commit(host, "r2", &[]);
    let broken = horizon.replace("$this->working = true;", "exit(78);");
    assert_ne!(broken, horizon);
    shop.commit(host, "r3", &[("app/horizon.php", &broken)]);
    shop.point(host, "r1");
    shop
}

/// Every slot of the app that runs, each with the release that it was started from.
fn slots(host: &Host) -> BTreeMap<String, String> {
    let script = r#"for unit in $(systemctl list-units --plain --no-legend 'app-*@shop:*' \
--state=active,activating,deactivating,reloading | cut -d ' ' -f 1); do
echo "$unit $(readlink "/run/deployd/slots/${unit%.service}")"; done"#;
    let line = |line: &str| {
        let (unit, release) = line.split_once(' ').unwrap();
        (unit.to_owned(), release.replace("/srv/shop/", ""))
    };
    host.sh(script).lines().map(line).collect()
}

/// What nginx reads to find the live slots.
fn pointed(host: &Host) -> (String, String) {
    let socket = host.ok(&["readlink", "/run/deployd/shop/fpm.sock"]);
    (socket, host.read("/run/deployd/shop/upstream-octane.conf"))
}

/// The site's answers, by both ways.
fn answers(host: &Host, shop: &Shop) -> [Option<String>; 2] {
    ["shop.example.org", "fpm.example.org"].map(|name| {
        let answer = requests::get(host.network(), name, "/");
        assert!(answer.is_whole() && !answer.is_mixed(), "{} by {name}: {answer:?}", shop.name());
        answer.value("end").map(str::to_owned)
    })
}

/// One slot of each of the four services, of what `current` names.
fn one_of_each(host: &Host, shop: &Shop) -> bool {
    let (current, slots) = (shop.current(host), slots(host));
    let kinds: Vec<&str> = slots.keys().filter_map(|unit| unit.split('@').next()).collect();
    kinds == ["app-fpm", "app-horizon", "app-octane", "app-queue"] && slots.values().all(|of| *of == current)
}

#[track_caller]
fn in_this_order(text: &str, what: &[&str]) {
    let places: Vec<usize> =
        what.iter().map(|one| text.find(one).unwrap_or_else(|| panic!("no {one:?} in:\n{text}"))).collect();
    assert!(places.is_sorted(), "not {what:?}, but:\n{text}");
}

#[test]
fn four_services_move_in_order_the_third_failing_takes_two_back_and_a_reboot_keeps_what_is_live_by_stand_ins() {
    let mut host = installed();
    let shop = shop(&host);
    shop.deploy(&host);
    shop.point(&host, "r2");
    shop.deploy(&host);
    let moved = host.journal_of("MESSAGE_ID", events::SERVICE_LIVE);
    let second = moved.rfind("php-fpm of ").map(|at| moved[at..].to_owned()).unwrap();
    in_this_order(&second, &["php-fpm of ", "octane of ", "horizon of ", "queue of "]);
    assert!(
        second.lines().any(|line| line.starts_with("octane of ") && line.contains("seen through nginx")),
        "{second}"
    );
    assert_eq!(answers(&host, &shop), ["r2", "r2"].map(|label| Some(label.to_owned())));
    eventually("one slot of each is left", Duration::from_secs(60), || one_of_each(&host, &shop));

    // A reboot after a deployment.
    let before = (shop.current(&host), slots(&host), pointed(&host));
    host.reboot();
    eventually("the live slots are up", Duration::from_secs(30), || one_of_each(&host, &shop));
    assert_eq!((shop.current(&host), slots(&host), pointed(&host)), before);
    assert_eq!(answers(&host, &shop), ["r2", "r2"].map(|label| Some(label.to_owned())));
    dispatch(&host, &shop, "1/100");
    eventually("a job is done", Duration::from_secs(20), || Log::of(&host, &shop).count("end") == 1);

    // The third of them fails when its turn has come: the two before it had moved.
    let live = host.journal_of("MESSAGE_ID", events::SERVICE_LIVE).len();
    shop.point(&host, "r3");
    let said = shop.ctl(&host, "deploy", &[]).expect_status(4).said();
    assert!(said.contains("app-horizon@shop:"), "{said}");
    let moved = host.journal_of("MESSAGE_ID", events::SERVICE_LIVE).split_off(live);
    in_this_order(&moved, &["php-fpm of ", "octane of "]);
    assert!(!moved.contains("horizon of ") && !moved.contains("queue of "), "{moved}");
    let back = host.journal_of("MESSAGE_ID", events::SERVICE_BACK);
    in_this_order(&back, &["octane is back in slot ", "php-fpm is back in slot ", "horizon of slot "]);
    let ended = host.journal_of("MESSAGE_ID", events::DEPLOYMENT_ROLLED_BACK);
    assert!(ended.contains("horizon, octane, php-fpm went back in this order"), "{ended}");
    assert_eq!((shop.current(&host), pointed(&host)), (before.0.clone(), before.2.clone()));
    assert_eq!(answers(&host, &shop), ["r2", "r2"].map(|label| Some(label.to_owned())));
    dispatch(&host, &shop, "2/100");
    eventually("a job is done", Duration::from_secs(20), || Log::of(&host, &shop).count("end") == 2);

    assert_eq!(Log::of(&host, &shop).not_once(), Vec::<String>::new());

    // A reboot after a rollback.
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(answers(&host, &shop), ["r1", "r1"].map(|label| Some(label.to_owned())));
    let (current, pointed_at) = (shop.current(&host), pointed(&host));
    host.reboot();
    eventually("the live slots are up", Duration::from_secs(30), || one_of_each(&host, &shop));
    assert_eq!((shop.current(&host), pointed(&host)), (current, pointed_at));
    assert_eq!(answers(&host, &shop), ["r1", "r1"].map(|label| Some(label.to_owned())));
}
