//! The host's own faults in the middle of a deployment: systemd reloaded and re-executed, the bus restarted, deployd
//! upgraded, a step killed, the file system read-only, a reboot. Each ends as promised: what is live is a complete
//! release, and the next deployment works.

use std::time::Duration;

use crate::{
    common::{Live, eventually, forget_slow_step, installed, slow_step_begun},
    support::{
        command::Ended,
        deb,
        host::Host,
        shop::{Shop, Spec},
    },
};

const MORE: &str = "shared = [\"storage/\"]\n\
    [[step]]\nname = \"build\"\nrun = [\"php\", \"-r\", \"copy('RELEASE', 'built');\"]\n\
    [[step]]\nname = \"slow\"\nshared = \"rw\"\nrun = [\"sh\", \"-c\", \"touch storage/step-began; sleep 3\"]\n\
    [[service]]\nkind = \"php-fpm\"\n[health]\nbake = \"0s\"\n";

/// A host with r1 live.
fn with_small_shop(begin: &str) -> (Host, Shop) {
    let host = installed();
    host.sh(begin);
    let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop").more(MORE) });
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    (host, shop)
}

/// Deploys `label` by systemd, with `fault` while a step runs.
fn deploy_under(host: &Host, shop: &Shop, label: &str, fault: impl FnOnce()) -> Ended {
    shop.commit(host, label, &[]);
    forget_slow_step(host, shop);
    std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.start(host));
        slow_step_begun(host, shop);
        fault();
        deploying.join().expect("it is waited for")
    })
}

/// Deploys `label` while systemd is told to do this, ten times a second, from before the first worker until after the end.
fn under_a_loop(host: &Host, shop: &Shop, label: &str, verb: &str) -> Ended {
    shop.commit(host, label, &[]);
    std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.start(host));
        while !deploying.is_finished() {
            host.run(&["systemctl", verb]);
            std::thread::sleep(Duration::from_millis(100));
        }
        deploying.join().expect("it is waited for")
    })
}

/// Returns when neither a deployment nor its settling is under way. systemctl may lose PID 1 over a re-execution.
fn has_ended(host: &Host) {
    let active = || host.run(&["systemctl", "is-active", "deploy@shop", "deploy-settle@shop"]).stdout;
    let over = || active().lines().filter(|state| !state.starts_with("activ")).count() == 2;
    eventually("it has ended", Duration::from_secs(60), over);
}

/// What is live but for the entries of `releases/`, of which a settling may be removing one.
fn live(host: &Host, shop: &Shop) -> Live {
    Live { releases: Vec::new(), slots: Vec::new(), ..Live::of(host, shop) }
}

#[test]
fn systemd_the_bus_and_deployd_itself_are_replaced_during_a_deployment() {
    let (host, shop) = with_small_shop("");
    under_a_loop(&host, &shop, "r2", "daemon-reload").ok();
    assert_eq!(shop.release(&host), "r2");
    // A call to PID 1 at that very moment has no answer, and the deployment then fails as before activate it may.
    let ended = under_a_loop(&host, &shop, "reexec", "daemon-reexec");
    has_ended(&host);
    let label = shop.release(&host);
    println!("under re-executions: {label} is live, {ended}");
    assert!(label == "r2" || label == "reexec", "{label}");

    deploy_under(&host, &shop, "r3", || drop(host.run(&["systemctl", "restart", "dbus.service"])));
    has_ended(&host);
    let label = shop.release(&host);
    println!("under a restart of the bus: {label} is live");
    assert!(["r2", "reexec", "r3"].contains(&&*label), "{label}");
    assert!(shop.ctl(&host, "status", &[]).ok().contains("shop"), "deployd is there again");

    let package = deb::ensure();
    deploy_under(&host, &shop, "r4", || host.install_again(&package)).ok();
    assert_eq!(shop.release(&host), "r4");
    shop.commit(&host, "r5", &[]);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(shop.release(&host), "r5");
}

#[test]
fn a_killed_step_a_read_only_disk_and_a_reboot_change_nothing_that_is_live() {
    let (mut host, shop) = with_small_shop("mkdir -p /srv/shop; mount -t tmpfs -o size=64M,mode=755 none /srv/shop");
    let before = live(&host, &shop);
    let said = deploy_under(&host, &shop, "r2", || {
        host.ok(&["systemctl", "kill", "--signal=KILL", "deploy-step-shop-*-slow.service"]);
    });
    said.expect_failure();
    assert_eq!((live(&host, &shop), shop.release(&host)), (before.clone(), "r1".into()));
    host.ok(&["systemctl", "start", "--wait", "deploy-settle@shop"]);

    // Of its own file system, as another fault makes it read-only: everywhere at once.
    let read_only = |option: &str| host.sh(&format!("mount -o remount,{option} /srv/shop"));
    deploy_under(&host, &shop, "r3", || drop(read_only("ro"))).expect_failure();
    assert_eq!((live(&host, &shop), shop.release(&host)), (before.clone(), "r1".into()));
    assert!(host.journal_of("DEPLOYD_APP", "shop").to_lowercase().contains("read-only"), "{}", host.journal(40));
    read_only("rw");
    host.ok(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
    host.sh(
        "rm -rf /srv/disk; mkdir /srv/disk; cp -a /srv/shop/. /srv/disk/; umount /srv/shop; mv /srv/disk/* /srv/shop/",
    );

    shop.commit(&host, "r4", &[]);
    forget_slow_step(&host, &shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    slow_step_begun(&host, &shop);
    host.reboot();
    shop.wait_release(&host, "r1");
    assert_eq!(shop.current(&host), before.current);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r4");
}
