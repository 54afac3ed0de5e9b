//! Many deployments: one after the other nothing grows, several at once end with one release that is live and complete.
//! `make check-safety` makes a thousand of the first and has a stopped engine and a stalled git server waited for.

use std::{collections::BTreeMap, time::Duration};

use deployd::model::Slot;

use crate::{
    common::{Live, SLOW_STEP, eventually, forget_slow_step, installed, slow_step_begun},
    support::{
        fuzz::Numbers,
        host::Host,
        inside::long,
        shop::{Shop, Spec},
    },
};

const FPM: &str =
    "shared = [\"storage/\"]\n[[service]]\nkind = \"php-fpm\"\n[health]\nbake = \"0s\"\n[releases]\nkeep = 3\n";

fn with_small_shop(more: &str) -> (Host, Shop) {
    let host = installed();
    let spec = Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop").more(&format!("{FPM}{more}")) };
    let shop = Shop::make(&host, spec);
    shop.commit(&host, "r2", &[]);
    shop.point(&host, "r1");
    shop.deploy(&host);
    (host, shop)
}

fn settle(host: &Host) {
    host.run(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
}

/// What a deployment may leave behind, counted.
fn left(host: &Host) -> BTreeMap<String, i64> {
    let script = "count() { name=$1; shift; echo \"$name $(\"$@\" 2>/dev/null | wc -l)\"; }
        count run find /run/deployd /run/systemd/transient -not -name 'fpm-?.conf' -not -name 'slot-*' -not -path '*/slots/*'
        count slots find /run/deployd -name 'fpm-?.conf' -o -name 'slot-*' -o -path '*/slots/*'
        count state find /var/lib/deployd -not -path '*/records/*' -not -path '*/deployments/*' -not -name '*.json'
        count cache find /var/cache/deployd -not -path '*/git/*'
        count releases ls -A /srv/shop/releases
        count units systemctl list-units --all --plain --no-legend 'deploy*' 'app-*'
        count groups find /sys/fs/cgroup -path '*deploy*' -type d
        count mounts cat /proc/self/mountinfo
        count open ls \"/proc/$(systemctl show -P MainPID deployd)/fd\"";
    let counted = host.sh(script);
    counted
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| (name.to_owned(), count.trim().parse().unwrap_or(-1)))
        .collect()
}

#[test]
fn nothing_grows_over_deployments_in_a_row() {
    let (host, shop) = with_small_shop("");
    let another = |number: u32| {
        shop.point(&host, if number.is_multiple_of(2) { "r1" } else { "r2" });
        shop.ctl(&host, "deploy", &[]).ok();
    };
    let (warm, all) = if long() { (205, 1000) } else { (5, 26) };
    (1..=warm).for_each(another);
    settle(&host);
    let before = left(&host);
    (warm + 1..=all).for_each(another);
    // By itself, however many there were.
    let confirmed = || host.read("/var/lib/deployd/apps/shop/state.json").contains(r#"settling\":null"#);
    eventually("the last one is confirmed", Duration::from_secs(30), confirmed);
    settle(&host);
    let after = left(&host);
    println!("after {warm} deployments {before:?}, after {all} {after:?}");
    for (what, count) in &after {
        // Which of its slots an app has used depends on how fast its drains are: a configuration, a record and a link each.
        let most = if what == "slots" { 3 * i64::try_from(Slot::ALL.len()).unwrap() } else { before[what] + 2 };
        assert!(*count <= most, "{what} grows: {before:?}, {after:?}");
    }
}

/// What is asked for in one round, each word for word.
const VERBS: [&[&str]; 8] = [
    &["deployctl", "deploy", "shop", "--force"],
    &["deployctl", "deploy", "shop", "--ref", "r1"],
    &["deployctl", "deploy", "shop", "--ref", "r2"],
    &["deployctl", "rollback", "shop"],
    &["deployctl", "stage", "shop", "--force"],
    &["deployctl", "cancel", "shop"],
    &["systemctl", "start", "deploy@shop"],
    &["systemctl", "restart", "deploy-rollback@shop"],
];

#[test]
fn whatever_is_asked_for_at_once_one_whole_release_is_live() {
    let (host, shop) = with_small_shop("");
    let seed = std::env::var("DEPLOYD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let mut numbers = Numbers::from(seed);
    for round in 0..if long() { 150 } else { 5 } {
        let asked: Vec<_> = (0..4).map(|_| *numbers.of(&VERBS)).collect();
        let ended: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = asked.iter().map(|argv| scope.spawn(|| host.run(argv))).collect();
            asking.into_iter().map(|one| one.join().expect("it is waited for")).collect()
        });
        let about = format!("seed {seed}, round {round}: {asked:?}: {ended:?}");
        assert!(ended.iter().all(|one| one.status != 5), "stuck: {about}");
        eventually("nothing is under way", Duration::from_secs(60), || {
            let units = ["deploy@*", "deploy-run@*", "deploy-stage@*", "deploy-rollback@*", "deploy-settle@*"];
            let list = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,deactivating"];
            host.run(&[&list[..], &units].concat()).stdout.is_empty()
        });
        host.run(&["systemctl", "reset-failed", "deploy-settle@shop"]);
        settle(&host);
        let label = host.read("/srv/shop/current/RELEASE").trim().to_owned();
        assert_eq!(shop.release(&host), label, "what is live is not what is served: {about}");
        eventually("one slot is left", Duration::from_secs(20), || {
            let slots =
                host.run(&["systemctl", "list-units", "--plain", "--no-legend", "--state=active", "app-fpm@shop:*"]);
            slots.stdout.lines().count() == 1
        });
    }
    shop.ctl(&host, "deploy", &["--force"]).ok();
}

#[test]
fn a_stopped_engine_and_a_silent_git_server_are_not_waited_for_for_ever() {
    if !long() {
        return println!("not run: it takes twelve minutes; `make check-safety` does");
    }
    let (host, shop) = with_small_shop(SLOW_STEP);
    let before = Live::of(&host, &shop);
    shop.point(&host, "r2");
    forget_slow_step(&host, &shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    slow_step_begun(&host, &shop);
    host.ok(&["systemctl", "kill", "--kill-whom=main", "--signal=STOP", "deploy@shop"]);
    let over = || host.run(&["systemctl", "is-active", "deploy@shop"]).stdout.trim() == "failed";
    eventually("its unit ends it", Duration::from_secs(15 * 60), over);
    settle(&host);
    assert_eq!(Live::of(&host, &shop), before);

    let silent = "use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 5, LocalPort => 8099, ReuseAddr => 1); \
                  my @kept; while (my $c = $s->accept) { push @kept, $c }";
    host.ok(&["systemd-run", "--unit=silent", "perl", "-e", silent]);
    host.sh("sed -i 's|^git = .*|git = \"http://127.0.0.1:8099/shop.git\"|; s|^source.git = .*|source.git = \"http://127.0.0.1:8099/shop.git\"|' /etc/deployd/apps/shop.toml");
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    println!("a git server that says nothing: {said}");
    assert_eq!(Live::of(&host, &shop), before);
}
