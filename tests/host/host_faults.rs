//! The host's own faults in the middle of a deployment: systemd reloaded and re-executed, the bus restarted, deployd
//! upgraded, a step killed, the file system read-only, a reboot. Each ends as promised: what is live is a complete
//! release, and the next deployment works.

use std::time::{Duration, Instant};

use crate::{
    common::{Live, forget_slow_step, installed, slow_step_begun},
    package::{dpkg, of_version},
    support::{
        command::Ended,
        deb,
        host::Host,
        shop::{Shop, Spec},
    },
};

const MORE: &str = "shared = [\"storage/\"]\n\
    [[step]]\nname = \"build\"\nrun = [\"php\", \"-r\", \"copy('RELEASE', 'built');\"]\n\
    [[step]]\nname = \"slow\"\nshared = \"rw\"\nrun = [\"sh\", \"-c\", \"touch storage/step-began; echo >> storage/steps; sleep 3\"]\n\
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

/// Deploys `label` while systemd is told to do this again and again, from before the first worker until after the end;
/// how often it was. systemctl itself may lose PID 1 over a re-execution: what its unit says is how it has ended.
fn under_a_loop(host: &Host, shop: &Shop, label: &str, verb: &str) -> usize {
    shop.commit(host, label, &[]);
    forget_slow_step(host, shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    let until = Instant::now() + Duration::from_secs(120);
    let mut times = 0;
    while !(shop.release(host) == label && is_over(host)) {
        let failed = host.run(&["systemctl", "is-failed", "--quiet", "deploy@shop"]).status == 0;
        assert!(!failed && Instant::now() < until, "{label} after {times} times {verb}: {}", host.journal(60));
        host.run(&["systemctl", verb]);
        times += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    times
}

/// How often the slow step has run.
fn steps(host: &Host) -> usize {
    host.read("/srv/shop/shared/storage/steps").lines().count()
}

/// Whether neither a deployment nor its settling is under way.
fn is_over(host: &Host) -> bool {
    let states = host.run(&["systemctl", "is-active", "deploy@shop", "deploy-settle@shop"]).stdout;
    states.lines().filter(|state| matches!(*state, "inactive" | "failed")).count() == 2
}

#[test]
fn a_purge_ends_a_deployment_and_changes_nothing_that_is_live() {
    let (host, shop) = with_small_shop("");
    let before = shop.current(&host);
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    slow_step_begun(&host, &shop);
    dpkg(&host, "--purge", &["deployd", "deployd-webhook"]);
    let left =
        host.run(&["systemctl", "list-units", "--no-legend", "--state=active,activating", "deploy-*", "deploy@*"]);
    assert_eq!(left.stdout, "", "units of the deployment");
    // Told to end, it says so itself; it does not die of programs that are gone.
    assert!(host.journal_of("DEPLOYD_OUTCOME", "cancelled").contains("cancelled"), "{}", host.journal(40));
    assert_eq!((shop.current(&host), shop.release(&host)), (before, "r1".into()));
    host.install_again(&deb::ensure());
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r2");
}

/// What is live but for the entries of `releases/`, of which a settling may be removing one.
fn live(host: &Host, shop: &Shop) -> Live {
    Live { releases: Vec::new(), slots: Vec::new(), ..Live::of(host, shop) }
}

#[test]
fn systemd_the_bus_and_deployd_itself_are_replaced_during_a_deployment() {
    let (host, shop) = with_small_shop("");
    under_a_loop(&host, &shop, "r2", "daemon-reload");
    // A call to PID 1 at such a moment has no answer: it is neither lost nor carried out twice.
    for label in ["again-1", "again-2"] {
        let (before, times) = (steps(&host), under_a_loop(&host, &shop, label, "daemon-reexec"));
        println!("{label} is live after {times} re-executions");
        assert_eq!(steps(&host), before + 1, "{label}");
    }

    deploy_under(&host, &shop, "r3", || {
        host.run(&["systemctl", "restart", "dbus.service"]);
        // What PID 1 reads anew when it is told to reload before the step's process is there.
        let file = host.sh("grep -h ^ExecStart= /run/systemd/transient/deploy-step-shop-*-slow.service");
        assert!(file.contains("storage/steps") && !file.contains(['$', '\\']), "{file}");
    })
    .ok();
    assert_eq!(shop.release(&host), "r3");
    assert!(shop.ctl(&host, "status", &[]).ok().contains("shop"), "deployd is there again");

    let newer = of_version(&host, "99.0");
    deploy_under(&host, &shop, "r4", || dpkg(&host, "-i", &newer)).ok();
    assert_eq!(shop.release(&host), "r4");
    assert_eq!(host.ok(&["dpkg-query", "-W", "-f", "${Version}", "deployd"]), "99.0");
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
    // And before one begins.
    shop.ctl(&host, "deploy", &[]).expect_failure();
    assert_eq!((live(&host, &shop), shop.release(&host)), (before.clone(), "r1".into()));
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
    // By force: nothing is told to end.
    forget_slow_step(&host, &shop);
    host.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    slow_step_begun(&host, &shop);
    host.reboot_by(&["systemctl", "poweroff", "--force", "--force"]);
    shop.wait_release(&host, "r1");
    assert_eq!(shop.current(&host), before.current);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r4");
}

#[test]
fn a_start_that_arrives_twice_runs_nothing_twice() {
    let (host, shop) = with_small_shop("");
    let failing = "[[step]]\nname = \"broken\"\nrun = [\"false\"]\n\
        [[step]]\nname = \"told\"\non = \"failure\"\nshared = \"rw\"\nrun = [\"sh\", \"-c\", \"echo >> storage/told\"]\n";
    shop.configure(&host, &format!("shared = [\"storage/\"]\n{failing}[[service]]\nkind = \"php-fpm\"\n"));
    // Nobody follows it, as if deployd were gone too.
    host.ok(&["systemctl", "stop", "deployd.service"]);
    let id = "00000000000000aa";
    let request = format!("{{\"app\":\"shop\",\"id\":\"{id}\",\"kind\":\"deploy\",\"actor\":{{\"via\":\"systemd\"}}}}");
    host.write(&format!("/run/deployd/requests/shop/{id}"), request);
    let start = || host.run(&["systemctl", "start", &format!("deploy-run@shop:{id}.service")]).expect_failure();
    let seen = || {
        let record = host.read(&format!("/var/lib/deployd/apps/shop/deployments/{id}.json"));
        (host.read("/srv/shop/shared/storage/told").lines().count(), record)
    };
    start();
    let first = seen();
    assert!(first.0 == 1 && first.1.contains("the step broken failed"), "{first:?}");
    start();
    assert_eq!(seen(), first);
    let said = host.journal_of("_SYSTEMD_UNIT", &format!("deploy-run@shop:{id}.service"));
    assert!(said.contains(&format!("deployment {id} of shop has ended already: failed: the step broken")), "{said}");
    assert_eq!(shop.release(&host), "r1");
}
