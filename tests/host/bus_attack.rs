//! The bus under attack: every method and property with arguments that nobody should send, as root and as nobody, and
//! one caller's flood while another works. deployd is the same process afterwards, no larger, and holds nothing open.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use deployd::model::events;
use futures_util::StreamExt;
use zbus::{Connection, DBusError, connection};

use crate::{
    common::{SLOW_STEP, eventually, installed, slow_step_begun},
    support::{
        fuzz::{self, Member, Numbers},
        host::Host,
        inside::{Inside, Shared, long},
        shop::{Shop, Spec},
    },
};

/// No call may take longer, whoever else calls.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the work of another caller may take while one floods.
const BESIDE_A_FLOOD: Duration = Duration::from_secs(1);
/// What the process may grow by, in KiB: what was deployed meanwhile is remembered, up to a number.
const GROWTH_KIB: u64 = 16 * 1024;

/// What calls came to: by the name of the error, or `answered`.
type Ends = Arc<Mutex<BTreeMap<String, u64>>>;

async fn connect() -> Connection {
    let address = "unix:path=/run/dbus/system_bus_socket";
    connection::Builder::address(address).build().await.expect("the host's bus is there")
}

async fn call(
    bus: &Connection,
    path: zbus::ObjectPath<'static>,
    interface: Option<&str>,
    name: &str,
    arguments: Option<zbus::Structure<'static>>,
) -> String {
    let answer = async {
        match &arguments {
            Some(arguments) => bus.call_method(Some("org.deployd1"), path, interface, name, arguments).await,
            None => bus.call_method(Some("org.deployd1"), path, interface, name, &()).await,
        }
    };
    match tokio::time::timeout(PATIENCE, answer).await {
        Err(_) => "no answer".into(),
        Ok(Ok(_)) => "answered".into(),
        Ok(Err(zbus::Error::MethodError(name, _, _))) => name.to_string(),
        Ok(Err(zbus::Error::FDO(error))) => error.name().to_string(),
        Ok(Err(error)) => format!("lost: {error}"),
    }
}

/// Makes calls, some at once, until there were enough or the test says so.
fn attack(shared: &Shared, ends: &Ends, seed: u64, calls: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let methods = fuzz::methods();
    runtime.block_on(async {
        let mut numbers = Numbers::from(seed);
        let mut bus = connect().await;
        let mut made = 0;
        while made < calls && !shared.stop.load(Ordering::Relaxed) {
            let batch: Vec<_> = (0..64).map(|_| one(&mut numbers, &methods)).collect();
            made += batch.len();
            let calls = batch.into_iter().map(|(path, interface, name, arguments)| {
                let bus = bus.clone();
                async move { call(&bus, path, interface.as_deref(), &name, arguments).await }
            });
            let answers: Vec<String> = futures_util::stream::iter(calls).buffer_unordered(16).collect().await;
            shared.count.fetch_add(answers.len() as u64, Ordering::Relaxed);
            let lost = answers.iter().any(|answer| answer.starts_with("lost"));
            note(ends, answers);
            if lost {
                bus = connect().await;
            }
        }
    });
}

fn note(ends: &Ends, answers: Vec<String>) {
    let mut ends = ends.lock().expect("no panic");
    answers.into_iter().for_each(|answer| *ends.entry(answer).or_default() += 1);
}

type Call = (zbus::ObjectPath<'static>, Option<String>, String, Option<zbus::Structure<'static>>);

fn one(numbers: &mut Numbers, methods: &[Member]) -> Call {
    let member = numbers.of(methods).clone();
    // Mostly where it is; sometimes where it is not.
    let path = match member.interface.as_str() {
        "org.deployd1.Manager" if numbers.percent(90) => zbus::ObjectPath::try_from("/org/deployd1").expect("a path"),
        "org.deployd1.App" if numbers.percent(90) => {
            zbus::ObjectPath::try_from("/org/deployd1/app/shop").expect("a path")
        }
        _ => fuzz::path(numbers),
    };
    let interface = (!numbers.percent(5)).then(|| member.interface.clone());
    let name = if numbers.percent(2) { "NoSuchMethod".to_owned() } else { member.name.clone() };
    let arguments = fuzz::arguments(numbers, &member);
    (path, interface, name, arguments)
}

/// deployd as the kernel and systemd see it.
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: String,
    rss_kib: u64,
    open: usize,
}

fn process(host: &Host) -> Process {
    let pid = host.ok(&["systemctl", "show", "-P", "MainPID", "deployd"]).trim().to_owned();
    let status = host.read(&format!("/proc/{pid}/status"));
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    let open = host.ok(&["ls", &format!("/proc/{pid}/fd")]).lines().count();
    Process { pid, rss_kib: rss.expect("it runs"), open }
}

/// Runs the fuzzer as a user to its end.
fn fuzz_as(host: &Host, user: &str, seed: u64, calls: usize) {
    let (ends, began) = (Ends::default(), Instant::now());
    let seen = Arc::clone(&ends);
    let caller = Inside::start(host, user, move |shared| attack(shared, &seen, seed, calls));
    let enough = || caller.count() >= calls as u64;
    eventually("the calls are answered", Duration::from_secs(3600), enough);
    let made = caller.end();
    let ends = ends.lock().unwrap();
    println!("bus, {user}: {made} calls in {:.1} s, seed {seed}: {ends:?}", began.elapsed().as_secs_f64());
    // What the bus itself does not carry, it ends with the connection.
    let is_wrong = |end: &&String| *end == "no answer" || end.contains("NoReply");
    assert_eq!(ends.keys().filter(is_wrong).count(), 0, "{ends:?}");
    let lost: u64 = ends.iter().filter(|(end, _)| end.starts_with("lost")).map(|(_, n)| n).sum();
    assert!(
        ends.get("answered").is_some_and(|n| *n > made / 50) && lost < made / 10,
        "too little was reached: {ends:?}"
    );
}

/// What nobody may change.
fn state(host: &Host) -> String {
    host.sh("find /srv/shop /var/lib/deployd/apps /var/lib/deployd/keys /etc/deployd -printf '%p %y %U %m %s %T@\\n' | grep -v '/lock' | sort
             readlink /srv/shop/current; sha256sum /var/lib/deployd/apps/shop/state.json")
}

fn is_as_before(now: &str, before: &str) {
    let changed: Vec<_> = now.lines().filter(|line| !before.contains(line)).collect();
    assert!(now == before, "nobody changed something: {changed:#?}");
}

fn plain_shop(more: &str) -> (Host, Shop) {
    let host = installed();
    let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") }.more(more));
    shop.deploy(&host);
    host.ok(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
    (host, shop)
}

#[test]
fn whatever_is_called_deployd_lives_on_and_keeps_nothing() {
    let (host, shop) = plain_shop("");
    let calls = if long() { 50_000 } else { 1_500 };
    fuzz_as(&host, "root", 1, 500);
    let before = process(&host);
    let untouched = state(&host);
    fuzz_as(&host, "nobody", 2, calls);
    is_as_before(&state(&host), &untouched);
    fuzz_as(&host, "root", 3, calls);

    // One caller floods with what costs most, another works.
    let (worst, calls) = flooded(&host);
    println!("bus, beside a flood of {calls} calls: the worst of another's took {} ms", worst.as_millis());
    assert!(worst < BESIDE_A_FLOOD, "{worst:?}");
    assert!(calls > 100, "no flood: {calls}");

    let closed = || process(&host).open <= before.open + 4;
    eventually("everything is closed again", Duration::from_secs(30), closed);
    let after = process(&host);
    println!("bus: {before:?} before, {after:?} after");
    assert_eq!(after.pid, before.pid, "it is another process: {}", host.journal(60));
    assert_eq!(host.ok(&["systemctl", "show", "-P", "NRestarts", "deployd"]), "0\n");
    assert!(after.rss_kib < before.rss_kib + GROWTH_KIB, "{before:?}, {after:?}");
    assert_eq!(host.run(&["journalctl", "-q", "--no-pager", "--grep", "panicked"]).stdout, "");
    shop.commit(&host, "r2", &[]);
    // Root may have held it, at random.
    shop.ctl(&host, "unhold", &[]);
    shop.ctl(&host, "deploy", &[]).ok();
    assert_eq!(host.read("/srv/shop/current/RELEASE"), "r2\n");
}

/// nobody keeps as many calls going as the bus lets it; the worst time of root's calls meanwhile, and how many it were.
fn flooded(host: &Host) -> (Duration, u64) {
    let flood = Inside::start(host, "nobody", |shared| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bus = connect().await;
            let kinds = [("Check", true), ("Deploy", true), ("ListReleases", false), ("Show", false)];
            let calls = (0..).take_while(|_| !shared.stop.load(Ordering::Relaxed)).map(|n: usize| {
                let (name, options) = kinds[n % kinds.len()];
                let arguments = zbus::Structure::builder().append_field("shop".into());
                let none = std::collections::HashMap::<String, zbus::Variant<'static>>::new();
                let arguments = if options { arguments.add_field(none) } else { arguments }.build().expect("arguments");
                let path = zbus::ObjectPath::try_from("/org/deployd1").expect("a path");
                let bus = bus.clone();
                async move { call(&bus, path, Some("org.deployd1.Manager"), name, Some(arguments)).await }
            });
            let mut ends = futures_util::stream::iter(calls).buffer_unordered(120);
            while ends.next().await.is_some() {
                shared.count.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    eventually("the flood has begun", Duration::from_secs(20), || flood.count() > 0);
    let worst = Arc::new(Mutex::new(Duration::ZERO));
    let seen = Arc::clone(&worst);
    let other = Inside::start(host, "root", move |shared| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (bus, until) = (connect().await, Instant::now() + Duration::from_secs(5));
            while Instant::now() < until {
                let at = Instant::now();
                let path = zbus::ObjectPath::try_from("/org/deployd1").expect("a path");
                assert_eq!(call(&bus, path, Some("org.deployd1.Manager"), "ListApps", None).await, "answered");
                let mut worst = seen.lock().expect("no panic");
                *worst = (*worst).max(at.elapsed());
                drop(worst);
                shared.count.fetch_add(1, Ordering::Relaxed);
            }
            shared.mode.store(1, Ordering::Relaxed);
        });
    });
    eventually("the other has done its work", Duration::from_secs(120), || other.mode() == 1);
    other.end();
    let worst = *worst.lock().unwrap();
    (worst, flood.end())
}

#[test]
fn each_action_is_denied_to_others_and_told() {
    let (host, shop) = plain_shop("");
    host.sh("mkdir -p /srv/builds; tar -C /srv/build/shop -czf /srv/builds/shop.tar.gz .; chmod -R a+rX /srv/builds");
    let other = "root = \"/srv/other\"\nuser = \"other\"\nsource.directory = \"/srv/builds\"\n";
    host.write("/etc/deployd/apps/other.toml", other);
    host.ok(&["useradd", "--create-home", "other"]);
    let before = state(&host);
    let denied = |verb: &str, more: &[&str]| {
        // The owner of another app, and the app's own user, are no others than anybody.
        for user in ["nobody", "other", "shop"] {
            host.run_as(user, &[&["deployctl", verb, "shop"], more].concat()).expect_status(7);
        }
    };
    for verb in ["deploy", "stage", "activate", "rollback", "plan", "check", "key", "logs"] {
        denied(verb, &[]);
    }
    denied("key", &["--rotate"]);
    denied("deploy", &["--upload", "/srv/builds/shop.tar.gz"]);
    is_as_before(&state(&host), &before);
    shop.configure(&host, &format!("shared = [\"storage/\"]\n{SLOW_STEP}"));
    shop.ctl(&host, "deploy", &["--no-block"]).ok();
    slow_step_begun(&host, &shop);
    denied("cancel", &[]);
    let told = host.journal_of("MESSAGE_ID", events::ACCESS_DENIED);
    for action in
        ["deploy", "upload", "stage", "activate", "rollback", "cancel", "read-logs", "plan", "key", "rotate-key"]
    {
        assert!(told.contains(&format!("org.deployd1.{action}")), "{action} is not in {told}");
    }
}
