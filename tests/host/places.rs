//! What lies where an app's files are, and is not deployd's: a `current` of another make, disks of their own, a full disk
//! below the state, directories that are nobody's, another host name. Each is refused with the way out, or left alone.

use std::time::Duration;

use crate::{
    common::{Live, SLOW_STEP, eventually, forget_slow_step, installed, releases, slow_step_begun},
    support::{
        host::Host,
        shop::{Shop, Spec},
    },
};

const FPM: &str = "shared = [\"storage/\"]\n[[service]]\nkind = \"php-fpm\"\n[health]\nbake = \"0s\"\n";

fn small(name: &str, more: &str) -> Spec {
    Spec { laravel: false, over: Some("app-small"), ..Spec::new(name).more(more) }
}

fn with_small_shop(more: &str) -> (Host, Shop) {
    let host = installed();
    let shop = Shop::make(&host, small("shop", more));
    (host, shop)
}

#[test]
fn a_current_of_another_make_is_refused_with_the_way_out_and_left() {
    let (host, shop) = with_small_shop(FPM);
    let others = [
        ("mkdir -p /srv/shop/current", "is not a symbolic link", "move it away"),
        ("echo mine > /srv/shop/current", "is not a symbolic link", "move it away"),
        ("ln -s current /srv/shop/current", "points to current", "move it away"),
        ("ln -s /srv/elsewhere /srv/shop/current", "points to /srv/elsewhere", "move it away"),
        ("ln -s releases/../../../etc /srv/shop/current", "points to releases/../../../etc", "move it away"),
    ];
    let seen = || host.ok(&["stat", "--printf=%N %F %i %Y", "/srv/shop/current"]);
    for first in [true, false] {
        for (make, wrong, remedy) in others {
            host.sh(&format!("mkdir -p /srv/shop; rm -rf /srv/shop/current; {make}"));
            let before = seen();
            let said = shop.ctl(&host, "deploy", &["--force"]).expect_status(3);
            assert!(said.stderr.contains(wrong) && said.stderr.contains(remedy), "{make}: {said}");
            assert_eq!(seen(), before, "{make}");
        }
        host.sh("rm -rf /srv/shop/current");
        shop.ctl(&host, "deploy", &["--force"]).ok();
        assert_eq!(shop.release(&host), "r1");
        if first {
            // A release that is gone, and no `current` at all: the next deployment makes both good.
            host.sh("ln -sfn releases/20200101T000000Z-0000000 /srv/shop/current");
            shop.commit(&host, "r2", &[]);
            shop.ctl(&host, "deploy", &[]).ok();
            assert_eq!(shop.release(&host), "r2");
            shop.point(&host, "r1");
        }
    }
}

#[test]
fn disks_of_their_own_are_refused_or_told_when_they_are_full() {
    let (host, shop) = with_small_shop(FPM);
    host.sh("mkdir -p /srv/shop/releases; mount -t tmpfs -o mode=755 none /srv/shop/releases");
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("cannot open the directory /srv/shop/releases"), "{said}");
    assert!(said.stderr.contains("on another file system: nothing may be mounted there"), "{said}");
    assert_eq!(host.ok(&["ls", "/srv/shop/releases"]), "");
    host.sh("umount /srv/shop/releases");
    shop.deploy(&host);

    // What is recorded lies elsewhere than the app, and has no room.
    host.sh("cd /var/lib/deployd; mv apps was; mkdir -m 755 apps; mount -t tmpfs -o mode=755,size=256K none apps
         cp -a was/. apps/; head -c 1M /dev/zero > apps/ballast || true");
    let before = Live::of(&host, &shop);
    shop.commit(&host, "r2", &[]);
    let said = shop.ctl(&host, "deploy", &[]).expect_failure();
    assert!(said.stderr.contains("No space left on device") && said.stderr.contains("/var/lib/deployd"), "{said}");
    assert_eq!(Live::of(&host, &shop), before);
    host.sh("rm /var/lib/deployd/apps/ballast");
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn what_is_nobodys_in_releases_stays_and_hinders_nothing() {
    let (host, shop) = with_small_shop(&format!("{FPM}[releases]\nkeep = 2\n"));
    shop.deploy(&host);
    host.sh(
        "cd /srv/shop/releases; mkdir mine 20200101T000000Z-0000000; echo x | tee mine/x 20200101T000000Z-0000000/x plain
         ln -s /etc link",
    );
    for number in 2..=5 {
        shop.commit(&host, &format!("r{number}"), &[]);
        shop.deploy(&host);
    }
    let kept = releases(&host, &shop);
    for one in ["mine", "20200101T000000Z-0000000", "plain", "link"] {
        assert!(kept.iter().any(|entry| entry == one), "{one} is gone: {kept:?}");
    }
    assert!(!host.read("/etc/hostname").is_empty());
    let named = shop.ctl(&host, "releases", &[]).ok();
    assert!(!named.contains("20200101T000000Z"), "{named}");
    // Named by hand it is no release either.
    shop.ctl(&host, "rollback", &["20200101T000000Z-0000000"]).expect_failure();
    assert_eq!(shop.release(&host), "r5");
}

#[test]
fn another_name_of_the_host_and_settings_that_change_meanwhile_change_nothing() {
    let more = format!(
        "{}{}",
        "shared = [\"storage/\"]\n[health]\nbake = \"0s\"\n[[service]]\nkind = \"php-fpm\"\n", SLOW_STEP
    );
    let (mut host, shop) = with_small_shop(&more);
    shop.deploy(&host);
    host.sh("echo another > /etc/hostname; hostname another; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n' > /etc/machine-id");
    host.reboot();
    shop.wait_release(&host, "r1");

    // What a deployment does was read when it began.
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.ctl(&host, "deploy", &[]));
        slow_step_begun(&host, &shop);
        let described = host.read(&shop.toml_path());
        host.write(&shop.toml_path(), "user = [nonsense");
        deploying.join().expect("it is waited for").ok();
        let said = shop.ctl(&host, "deploy", &[]).expect_failure();
        assert!(said.stderr.contains("shop.toml"), "{said}");
        host.write(&shop.toml_path(), described);
    });
    assert_eq!(shop.release(&host), "r2");
    eventually("it is settled", Duration::from_secs(30), || shop.ctl(&host, "status", &[]).ok().contains("confirmed"));
    shop.ctl(&host, "rollback", &[]).ok();
    assert_eq!(shop.release(&host), "r1");
}

#[test]
fn many_apps_and_many_callers_at_once_are_all_served() {
    let host = installed();
    let apps: Vec<_> = (1..=12).map(|n| Shop::make(&host, small(&format!("app-{n}"), FPM))).collect();
    let units: Vec<_> = apps.iter().map(|app| format!("deploy@{}", app.name())).collect();
    let start: Vec<_> = ["systemctl", "start"].into_iter().chain(units.iter().map(String::as_str)).collect();
    host.ok(&start);
    for app in &apps {
        assert_eq!(app.release(&host), "r1", "{}", app.name());
    }
    let shop = &apps[0];
    shop.commit(&host, "r2", &[]);
    let callers = "for n in $(seq 25); do deployctl deploy app-1 & done; for n in $(seq 25); do systemctl start deploy@app-1 & done
                   for job in $(jobs -p); do wait \"$job\" || echo \"failed: $?\"; done";
    let said = host.sh(callers);
    assert_eq!(said.matches("failed").count(), 0, "{said}");
    assert_eq!(shop.release(&host), "r2");
    let made = releases(&host, shop).iter().filter(|entry| !entry.starts_with('.')).count();
    assert_eq!(made, 2, "one release for fifty that asked for it");
}
