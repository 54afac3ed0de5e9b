//! Callers of the bus who are not what they seem: gone before the answer, in deployd's name, while polkit is stopped or
//! restarted. Nobody is let through, nobody waits for ever, and what others do goes on.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use deployd::{dbus::deployment_path, model::events};
use futures_util::StreamExt;
use zbus::{Message, Variant, connection, message::Flags};

use crate::{
    common::{Live, SLOW_STEP, eventually, forget_slow_step, releases, slow_step_begun, with_live_shop},
    support::{
        host::Host,
        inside::{Inside, Shared, long},
    },
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

/// Asks for deployments and leaves: each caller with a connection of its own, which it ends at once, or a little later, so
/// that it is gone at another point of the way each time.
fn leave_early(shared: &Shared, callers: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let one = |number: u64| async move {
            let address = "unix:path=/run/dbus/system_bus_socket";
            let bus = connection::Builder::address(address).build().await.expect("the host's bus is there");
            let options = HashMap::from([("force", Variant::from(true))]);
            let call = Message::method_call("/org/deployd1", "Deploy");
            let call = call.destination("org.deployd1").interface("org.deployd1.Manager");
            let call = if number.is_multiple_of(2) { call.with_flags(Flags::NO_REPLY_EXPECTED) } else { call };
            bus.send(&call.build(&("shop", options)).expect("a message")).await.expect("it is sent");
            tokio::time::sleep(Duration::from_micros(number % 16 * 400)).await;
            let _ = bus.close().await;
            shared.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        futures_util::stream::iter(0..callers).for_each_concurrent(8, one).await;
    });
}

/// DB-12, as CVE-2021-3560 went: who is gone when polkit asks who it was, is nobody, and nobody may.
#[test]
fn of_ten_thousand_who_leave_early_none_is_let_through() {
    let (host, shop) = with_live_shop("");
    let before = Live::of(&host, &shop);
    let denied = |host: &Host| host.journal_of("MESSAGE_ID", events::ACCESS_DENIED).lines().count();
    host.ok(&["deployctl", "status", "shop"]);
    let pid = host.ok(&["systemctl", "show", "-P", "MainPID", "deployd"]);
    let (callers, began) = (if long() { 10_000 } else { 1_000 }, Instant::now());
    let leaving = Inside::start(&host, "nobody", move |shared| leave_early(shared, callers));
    let over = || leaving.count() == callers || leaving.has_ended();
    eventually("all have left", Duration::from_secs(1800), over);
    assert_eq!(leaving.end(), callers);
    // Calls are answered in the order of their arrival, or at least begun: what comes after them is served.
    host.ok(&["deployctl", "status", "shop"]);
    let last = host.run_as("nobody", &["deployctl", "deploy", "shop"]);
    host.ok(&["journalctl", "--sync"]);
    let journal = ["journalctl", "-q", "-o", "cat", "DEPLOYD_ACTOR=user:nobody"];
    let allowed = host.run(&[&journal[..], &[&format!("MESSAGE_ID={}", events::ACCESS_ALLOWED)]].concat()).stdout;
    let unanswered = host.run(&[&journal[..], &["--grep", "could not be asked"]].concat()).stdout.lines().count();
    println!(
        "callers: {callers} early-exit callers in {:.1} s, {} allowed; polkit was asked about {}, of whom it knew {unanswered} no more",
        began.elapsed().as_secs_f64(),
        allowed.lines().count(),
        denied(&host)
    );
    assert_eq!(allowed, "", "somebody was let through");
    last.expect_status(7);
    assert!(unanswered > 0, "nobody left early enough: this shows nothing");
    assert_eq!(Live::of(&host, &shop), before);
    assert_eq!(host.ok(&["sh", "-c", "ls /run/deployd/requests/shop 2>/dev/null || true"]), "");
    assert_eq!(host.ok(&["systemctl", "show", "-P", "MainPID", "deployd"]), pid, "deployd is another process");
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
        let path = deployment_path(&id.parse().expect("an id")).expect("a path").to_string();
        let ended = ["DeploymentRemoved", "ssoss", "shop", &id, &path, "succeeded", "all is well"];
        let emit = ["busctl", "emit", "/org/deployd1", "org.deployd1.Manager"];
        let changed = ["PropertiesChanged", "sa{sv}as", "org.deployd1.Deployment", "2", "Outcome", "s", "succeeded"];
        let more = ["Message", "s", "all is well", "0"];
        let property = ["busctl", "emit", &path, "org.freedesktop.DBus.Properties"];
        for _ in 0..20 {
            host.run_as("nobody", &[&emit[..], &ended].concat()).ok();
            host.run_as("nobody", &[&property[..], &changed, &more].concat()).ok();
        }
        deploying.join().expect("it is waited for")
    });
    assert!(said.expect_failure().stderr.contains("broken"));
    assert_eq!(shop.release(&host), "r1");
}
