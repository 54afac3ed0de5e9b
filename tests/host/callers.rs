//! Callers of the bus who are not what they seem: gone before the answer, in deployd's name, while polkit is stopped or
//! restarted. Nobody is let through, nobody waits for ever, and what others do goes on.

use std::time::Instant;

use crate::{
    common::{Live, SLOW_STEP, forget_slow_step, releases, slow_step_begun, with_live_shop},
    support::host::Host,
};

const DEPLOY: [&str; 8] =
    ["org.deployd1", "/org/deployd1", "org.deployd1.Manager", "Deploy", "sa{sv}", "shop", "1", "force"];

/// Asks for a deployment and leaves without waiting for what becomes of it.
fn ask_and_leave(host: &Host, user: &str) {
    let call = ["busctl", "call", "--expect-reply=no"];
    host.run_as(user, &[&call[..], &DEPLOY, &["b", "true"]].concat()).ok();
}

#[test]
fn who_leaves_after_asking_is_denied_or_served_and_nothing_is_left() {
    let (host, shop) = with_live_shop("");
    let before = Live::of(&host, &shop);
    for _ in 0..20 {
        ask_and_leave(&host, "nobody");
    }
    host.ok(&["deployctl", "status", "shop"]);
    assert_eq!(Live::of(&host, &shop), before);
    // Root asks, and leaves: it is a deployment like others.
    ask_and_leave(&host, "root");
    host.ok(&["systemctl", "start", "deploy@shop"]);
    let made = releases(&host, &shop).iter().filter(|entry| !entry.starts_with('.')).count();
    assert!(made <= 2, "{made}");
    host.ok(&["sh", "-c", "test -z \"$(ls /run/deployd/requests/shop)\""]);
}

#[test]
fn without_an_answer_of_polkit_nobody_is_let_through() {
    let (host, shop) = with_live_shop("");
    let before = Live::of(&host, &shop);
    host.ok(&["systemctl", "kill", "--signal=STOP", "polkit.service"]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| host.run_as("nobody", &["deployctl", "deploy", "shop", "--force"]));
        // Who needs no permission is served meanwhile.
        host.ok(&["deployctl", "status", "shop"]);
        let said = asking.join().expect("it is waited for").expect_status(7);
        assert!(began.elapsed().as_secs() < 60, "{said}");
    });
    assert_eq!(Live::of(&host, &shop), before);
    host.ok(&["systemctl", "kill", "--signal=CONT", "polkit.service"]);

    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            (0..10).map(|_| host.run_as("nobody", &["deployctl", "deploy", "shop", "--force"]).status).collect()
        });
        for _ in 0..5 {
            host.sh("systemctl restart polkit.service; systemctl reset-failed polkit.service");
        }
        let statuses: Vec<i32> = asking.join().expect("it is waited for");
        assert_eq!(statuses, [7; 10]);
    });
    assert_eq!(Live::of(&host, &shop), before);
}

#[test]
fn nobody_speaks_in_deployd_s_name() {
    let (host, shop) = with_live_shop("");
    let take = ["busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
    for user in ["nobody", "shop", "www-data"] {
        let said = host.run_as(user, &[&take[..], &["RequestName", "su", "org.deployd1", "6"]].concat());
        let said = said.expect_failure();
        assert!(said.stderr.contains("denied") || said.stderr.contains("not allowed"), "{user}: {said}");
    }
    // Signals of others are not deployd's: who waits for a deployment hears of its end from deployd alone.
    shop.configure(&host, &format!("{SLOW_STEP}[[step]]\nname = \"broken\"\nrun = [\"false\"]\n"));
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    let said = std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.ctl(&host, "deploy", &[]));
        slow_step_begun(&host, &shop);
        let id = host.sh("ls /run/deployd/requests/shop").trim().to_owned();
        let path = format!("/org/deployd1/deployment/shop/{id}");
        let ended = ["DeploymentRemoved", "ssoss", "shop", &id, &path, "succeeded", "all is well"];
        let emit = ["busctl", "emit", "/org/deployd1", "org.deployd1.Manager"];
        for _ in 0..20 {
            host.run_as("nobody", &[&emit[..], &ended].concat());
        }
        deploying.join().expect("it is waited for")
    });
    assert!(said.expect_failure().stderr.contains("broken"));
    assert_eq!(shop.release(&host), "r1");
}
