//! The webhook as it is installed: its socket, its sandbox, its user, and what polkit lets it.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use deployd::{model::events, webhook::signature::hex_of};

use crate::{
    common::{eventually, forget_slow_step, installed, slow_step_begun},
    support::{
        host::Host,
        requests::within,
        shop::{Shop, Spec},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const SECRET: &str = "the secret of the shop, 0123456789";
const ADDRESS: (&str, u16) = ("127.0.0.1", 7480);
const MORE: &str = "shared = [\"storage/\"]\n[webhook]\nrefs = [\"main\", \"tag:v*\"]\n";
const SLOW: &str = "[[step]]\nname = \"slow\"\nshared = \"rw\"\n\
                    run = [\"sh\", \"-c\", \"touch storage/step-began; sleep 6\"]\n";
/// As many as are slow: more than the receiver has places.
const SLOW_ONES: usize = 1000;
const PUSHES: usize = 500;

/// A host with a small app that a webhook may deploy, and the socket on.
fn listening() -> (Host, Shop) {
    let host = installed();
    let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop").more(MORE) });
    shop.deploy(&host);
    host.write("/etc/deployd/webhook/shop", format!("{SECRET}\n"));
    host.ok(&["systemctl", "start", "deployd-webhook.socket"]);
    (host, shop)
}

/// A push as GitHub sends it. `number` makes it another one.
fn push(reference: &str, number: usize, secret: &str) -> String {
    let after = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";
    let body = format!("{{\"ref\":\"{reference}\",\"after\":\"{after}\",\"number\":{number}}}");
    let signature = hex_of(secret.as_bytes(), body.as_bytes());
    let mut head = format!("POST /shop HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n", body.len());
    write!(head, "x-github-event: push\r\nx-github-delivery: {reference}-{number}\r\n").expect("a text");
    format!("{head}x-hub-signature-256: sha256={signature}\r\n\r\n{body}")
}

async fn exchange(request: String) -> String {
    let mut stream = TcpStream::connect(ADDRESS).await.expect("the socket listens");
    stream.write_all(request.as_bytes()).await.expect("it is read");
    let mut answer = String::new();
    // Who is refused before its body was read is cut off behind the answer.
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

fn send(host: &Host, request: String) -> String {
    within(host.network(), move || exchange(request))
}

#[track_caller]
fn status(host: &Host, request: String) -> u16 {
    let answer = send(host, request);
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

/// The release that is live.
fn live(host: &Host) -> String {
    host.read("/srv/shop/current/RELEASE").trim().to_owned()
}

/// How many deployments there were.
fn deployments(host: &Host) -> usize {
    host.sh("ls /var/lib/deployd/apps/shop/deployments | wc -l").trim().parse().expect("a number")
}

/// Until nothing of the app's runs or waits.
fn quiet(host: &Host) {
    let units = ["systemctl", "list-units", "--plain", "--no-legend", "--state=activating,active,deactivating"];
    eventually("all deployments have ended", Duration::from_secs(90), || {
        host.run(&[&units[..], &["deploy-run@shop:*"]].concat()).stdout.trim().is_empty()
    });
}

#[test]
fn a_signed_push_deploys_once_and_nothing_else_does() {
    let (host, shop) = listening();
    shop.commit(&host, "r2", &[]);
    let began = deployments(&host);
    // WH-01, WH-04: before the good one, so that nothing of them could have been what deployed.
    assert_eq!(status(&host, push("refs/heads/main", 1, "some other secret")), 401);
    assert_eq!(status(&host, push("refs/heads/main", 1, SECRET).replace("/shop ", "/other ")), 401);
    let large = format!("POST /shop HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", 1024 * 1024 + 1);
    assert_eq!(status(&host, large), 413);
    assert_eq!(status(&host, push("refs/heads/topic", 1, SECRET)), 200, "a forge would turn off a hook that fails");
    assert_eq!(status(&host, push("refs/tags/main", 1, SECRET)), 200);
    quiet(&host);
    assert_eq!(deployments(&host), began);
    assert!(host.journal_of("MESSAGE_ID", events::WEBHOOK_REFUSED).contains("not signed with the app's secret"));
    assert!(host.journal_of("MESSAGE_ID", events::ACCESS_DENIED).contains("deployd-webhook"));

    let answer = send(&host, push("refs/heads/main", 2, SECRET));
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let id = answer.split("\"deployment\":\"").nth(1).expect("an id").get(..16).expect("an id").to_owned();
    // Its unit may not have begun when the answer is here.
    eventually("it is live", Duration::from_secs(90), || live(&host) == "r2");
    quiet(&host);
    assert_eq!(deployments(&host), began + 1);
    assert!(host.journal_of("DEPLOYD_DEPLOYMENT", &id).contains("webhook:github asked for refs/heads/main of shop"));

    // WH-03: once, and after a restart too.
    assert_eq!(status(&host, push("refs/heads/main", 2, SECRET)), 409);
    host.ok(&["systemctl", "stop", "deployd-webhook.service"]);
    assert_eq!(status(&host, push("refs/heads/main", 2, SECRET)), 409);
    quiet(&host);
    assert_eq!(deployments(&host), began + 1);

    // WH-10: a receiver that was taken over can ask for what [webhook] names and for nothing else.
    let call = ["busctl", "call", "org.deployd1", "/org/deployd1", "org.deployd1.Manager"];
    let released = shop.current(&host).replace("releases/", "");
    for tried in [
        &["Deploy", "sa{sv}", "shop", "0"][..],
        &["Deploy", "sa{sv}", "shop", "1", "ref", "s", "refs/heads/topic"],
        &["Deploy", "sa{sv}", "shop", "2", "ref", "s", "refs/heads/main", "force", "b", "true"],
        &["Deploy", "sa{sv}", "shop", "2", "ref", "s", "refs/heads/main", "allow-destructive", "b", "true"],
        &["Stage", "sa{sv}", "shop", "1", "ref", "s", "refs/heads/main"],
        &["Rollback", "sa{sv}", "shop", "0"],
        &["Activate", "sa{sv}", "shop", "1", "release", "s", &released],
        &["Plan", "ssa{sv}", "shop", "deploy", "0"],
        &["MakeKey", "sa{sv}", "shop", "0"],
    ] {
        let said = host.run_as("deployd-webhook", &[&call[..], tried].concat()).expect_failure();
        assert!(said.stderr.contains("denied"), "{tried:?}: {said}");
    }
    for unit in ["deploy@shop", "deployd.service", "nginx.service"] {
        host.run_as("deployd-webhook", &["systemctl", "--no-ask-password", "stop", unit]).expect_failure();
    }
    for file in ["/etc/deployd/webhook/shop", "/var/lib/deployd/apps/shop/state.json", "/run/deployd/requests/shop"] {
        host.run_as("deployd-webhook", &["sh", "-c", "cat \"$1\" || ls \"$1\"", "sh", file]).expect_failure();
    }
    assert_eq!(deployments(&host), began + 1);
    let threshold = ["systemd-analyze", "security", "--no-pager", "--threshold=5", "deployd-webhook.service"];
    host.ok(&threshold);

    // WH-09: nothing is received with a secret that is empty, or that others can read.
    host.ok(&["systemctl", "stop", "deployd-webhook.service", "deployd-webhook.socket"]);
    for (spoil, why) in [
        ("chmod 0755 /etc/deployd/webhook", "readable for others"),
        ("chmod 0700 /etc/deployd/webhook; : > /etc/deployd/webhook/shop", "is empty"),
        ("rm /etc/deployd/webhook/shop", "there are no secrets"),
    ] {
        host.sh(spoil);
        host.run(&["systemctl", "reset-failed", "deployd-webhook.service", "deployd-webhook.socket"]);
        host.run(&["systemctl", "start", "deployd-webhook.service"]).expect_failure();
        let journal = host.run(&["journalctl", "--no-pager", "-n", "20", "-u", "deployd-webhook.service"]).stdout;
        assert!(journal.contains(why), "{why}: {journal}");
    }
}

/// WH-05, WH-07, WH-11.
#[test]
fn slow_ones_delay_nobody_and_a_burst_is_two_deployments() {
    let (host, shop) = listening();
    shop.configure(&host, &format!("{MORE}{SLOW}"));
    shop.commit(&host, "r2", &[]);
    forget_slow_step(&host, &shop);
    let began = deployments(&host);
    // Everything that is asked has been started before: alone it takes this long.
    assert_eq!(status(&host, push("refs/heads/topic", 0, SECRET)), 200);
    let alone = Instant::now();
    assert_eq!(status(&host, push("refs/heads/topic", 1, SECRET)), 200);
    let alone = alone.elapsed();
    let first = push("refs/heads/main", 0, SECRET);
    let (took, answer) = within(host.network(), move || async move {
        // Half of them with no head, half with a head and no body.
        let mut slow = Vec::new();
        for number in 0..SLOW_ONES {
            let mut stream = TcpStream::connect(ADDRESS).await.expect("the socket listens");
            let part = if number % 2 == 0 {
                "POST /shop HT"
            } else {
                "POST /shop HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n"
            };
            let _ = stream.write_all(part.as_bytes()).await;
            slow.push(stream);
        }
        let began = Instant::now();
        let answer = exchange(first).await;
        (began.elapsed(), answer)
    });
    println!("beside {SLOW_ONES} slow connections: {} ms, alone {} ms", took.as_millis(), alone.as_millis());
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(took < alone + Duration::from_secs(1), "{took:?}, alone {alone:?}");
    slow_step_begun(&host, &shop);
    shop.commit(&host, "r3", &[]);
    let (took, longest, answers) = within(host.network(), move || async move {
        let began = Instant::now();
        let all = (1..=PUSHES).map(|number| {
            tokio::spawn(async move {
                let began = Instant::now();
                (exchange(push("refs/heads/main", number, SECRET)).await, began.elapsed())
            })
        });
        let mut answers = Vec::new();
        for one in all.collect::<Vec<_>>() {
            answers.push(one.await.expect("it does not panic"));
        }
        let longest = answers.iter().map(|(_, took)| *took).max().unwrap_or_default();
        (began.elapsed(), longest, answers)
    });
    println!("{PUSHES} pushes: {} ms, the longest {} ms", took.as_millis(), longest.as_millis());
    for (answer, _) in &answers {
        assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    }
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    quiet(&host);
    assert_eq!(live(&host), "r3");
    assert_eq!(deployments(&host), began + 2, "one runs, and one for all that came meanwhile");
    let journal = host.run(&["journalctl", "--no-pager", "-u", "deployd-webhook.service"]).stdout;
    assert!(!journal.contains("panicked"), "{journal}");
}
