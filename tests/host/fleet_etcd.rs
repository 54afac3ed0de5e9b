//! Hosts without a controller: `[fleet]` with a real etcd. Timers of three hosts fire at once and one switches at a time; a
//! host that dies with the slot frees it by its lease; a release that one went back from stays there; and fifty clients.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Barrier,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    common::{self, eventually},
    support::{
        deb,
        fleet::{self, Fleet},
        host::Host,
        load::{Plan, Running},
        requests::spawn_within,
        shop::{Shop, Spec},
    },
};

/// Files of a release that serves.
const GOOD: [(&str, &str); 1] = [("public/index.php", include_str!("../app-small/public/index.php"))];
const BALANCER: &str = "upstream shop {\n    server 10.88.1.2;\n    server 10.88.2.2;\n    server 10.88.3.2;\n}\nserver {\n    \
     listen 80;\n    server_name shop.example.org;\n    access_log off;\n    location / {\n        proxy_pass \
     http://shop;\n        proxy_set_header Host $host;\n        proxy_next_upstream off;\n    }\n}\n";

fn settings(place: usize, bake: &str) -> String {
    format!(
        "[[service]]\nkind = \"php-fpm\"\n[service.pool]\npm = \"static\"\n\"pm.max_children\" = \"4\"\n[health]\nhttp = \
         \"http://127.0.0.1/up\"\nhost = \"shop.example.org\"\nsuccesses = 2\nbake = \"{bake}\"\n[fleet]\ngroup = \
         \"web\"\netcd = [\"http://10.88.{}.1:2379\"]\nlease = \"5s\"\n",
        place + 1
    )
}

struct Scene {
    fleet: Fleet,
    shops: Vec<Shop>,
}

impl Scene {
    fn make() -> Self {
        let fleet = Fleet::boot(&fleet::etcd_root(), 3);
        fleet::serve_etcd(&fleet.hub);
        let shop = |(place, web): (usize, &Host)| {
            web.ok(&["hostname", &format!("web{}", place + 1)]);
            web.install_deb(&deb::ensure());
            let more = settings(place, "1s");
            web.write("/etc/systemd/system/deploy@shop.timer.d/soon.conf", common::SOON);
            web.ok(&["systemctl", "daemon-reload"]);
            Shop::make(web, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop").more(&more) })
        };
        let shops = fleet.webs.iter().enumerate().map(shop).collect();
        Self { fleet, shops }
    }

    /// One commit, the same on every host.
    fn commit(&self, label: &str, files: &[(&str, &str)]) {
        let (first, shop) = (&self.fleet.webs[0], &self.shops[0]);
        shop.commit(first, label, files);
        let pack = r#"tar -C "$1" -cz . | base64 -w0"#;
        let packed = first.ok(&["sh", "-euc", pack, "sh", &shop.repository()]);
        for web in &self.fleet.webs[1..] {
            web.write("/root/repository", &packed);
            let unpack = r#"base64 -d /root/repository | tar -C "$1" -xz; chown -R shop: "$1""#;
            web.ok(&["sh", "-euc", unpack, "sh", &shop.repository()]);
        }
    }

    /// The timers of these hosts fire at once.
    fn fire(&self, places: &[usize]) {
        let barrier = Barrier::new(places.len());
        std::thread::scope(|scope| {
            for place in places {
                scope.spawn(|| {
                    barrier.wait();
                    self.fleet.webs[*place].ok(&["systemctl", "restart", "deploy@shop.timer"]);
                });
            }
        });
    }

    fn serves(&self, place: usize) -> String {
        self.shops[place].release(&self.fleet.webs[place])
    }

    /// The journal's times of a line of a host's app, in microseconds.
    fn times(&self, place: usize, wanted: impl Fn(&serde_json::Value) -> bool) -> Vec<u64> {
        let journal = self.fleet.webs[place].ok(&["journalctl", "-q", "-o", "json", "DEPLOYD_APP=shop"]);
        let lines = journal.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        lines.filter(wanted).filter_map(|line| line["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()).collect()
    }

    /// From when until when the last release became live there: from the activation on until the next host may go on, which
    /// is said just before the release is noted as confirmed.
    fn switched(&self, place: usize) -> Option<(u64, u64)> {
        let last = |end: &str| {
            let ends = |line: &serde_json::Value| line["MESSAGE"].as_str().is_some_and(|text| text.ends_with(end));
            self.times(place, ends).last().copied()
        };
        let begun = self.times(place, |line| line["DEPLOYD_PHASE"] == "activating").last().copied()?;
        let (ended, confirmed) = (last(" the next host of web may go on")?, last(" is confirmed")?);
        (confirmed > begun).then_some((begun, ended))
    }

    /// All of them serve it, and it is confirmed.
    #[track_caller]
    fn settled(&self, places: &[usize], label: &str) -> Vec<(u64, u64)> {
        let limit = Duration::from_secs(90);
        eventually(&format!("{label} is live everywhere and confirmed"), limit, || {
            let serves = |place: usize| self.shops[place].get(&self.fleet.webs[place], "/").value("end") == Some(label);
            places.iter().all(|place| serves(*place) && self.switched(*place).is_some())
        });
        places.iter().filter_map(|place| self.switched(*place)).collect()
    }
}

/// No two at once.
#[track_caller]
fn one_at_a_time(mut spans: Vec<(u64, u64)>) {
    spans.sort_unstable();
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two hosts at once: {spans:?}");
    }
}

#[test]
fn timers_of_three_hosts_fire_at_once_and_one_switches_at_a_time() {
    let mut scene = Scene::make();
    let all = [0, 1, 2];
    scene.commit("r1", &GOOD);
    scene.fire(&all);
    one_at_a_time(scene.settled(&all, "r1"));
    scene.fleet.hub.write("/etc/nginx/sites-enabled/default", BALANCER);
    scene.fleet.hub.ok(&["systemctl", "restart", "nginx"]);
    eventually("the load balancer serves", Duration::from_secs(20), || {
        scene.shops[0].get(&scene.fleet.hub, "/").is_whole()
    });

    // Under 200 requests a second to the load balancer, of which none may fail.
    scene.commit("r2", &GOOD);
    let plan = Plan { fast: ("/".into(), 200), slow: ("/".into(), 0), ..Plan::promise("shop.example.org") };
    let load = Running::start(scene.fleet.hub.network(), Plan { sessions: 0, ..plan });
    scene.fire(&all);
    one_at_a_time(scene.settled(&all, "r2"));
    let report = load.stop();
    eprintln!("{} requests, {} failed, {:?}", report.requests, report.failed, report.releases);
    assert_eq!((report.failed, report.mixed, report.releases.len()), (0, 0, 2), "{report:#?}");
    let slots = fleet::etcd_keys(&scene.fleet.hub, "/deployd/fleet/web/");
    assert_eq!(slots.trim(), "", "every slot was given back");

    // A release that one goes back from stays there: the others keep it off by themselves.
    scene.commit("r3", &fleet::BAD);
    scene.fire(&all);
    let said = |place: usize| scene.fleet.webs[place].ok(&["deployctl", "list-deployments", "shop", "--json"]);
    let outcomes = || all.map(|place| serde_json::from_str::<serde_json::Value>(&said(place)).expect("JSON"));
    let ended = |outcome: &str| {
        let last = |records: &serde_json::Value| records.to_string().contains(outcome);
        outcomes().iter().filter(|records| last(records)).count()
    };
    eventually("one goes back and two are rejected", Duration::from_secs(180), || {
        ended("\"rolled-back\"") == 1 && ended("\"rejected\"") == 2
    });
    let reasons = outcomes().map(|records| records.to_string()).join("\n");
    assert!(
        reasons.contains("the fleet holds it back: ") && reasons.contains("went back from this revision"),
        "{reasons}"
    );
    assert!(all.iter().all(|place| scene.serves(*place) == "r2"));

    // When the release was not the cause: by force on one, and then the others take it.
    let up = "location = /up { return 200; }";
    for (web, _) in scene.fleet.webs.iter().zip(&scene.shops) {
        web.ok(&["sed", "-i", &format!("s|server_name shop.example.org;|& {up}|"), "/etc/nginx/sites-enabled/shop"]);
        web.ok(&["systemctl", "reload", "nginx"]);
    }
    let held = scene.shops[1].ctl(&scene.fleet.webs[1], "deploy", &[]);
    let forced = scene.shops[1].ctl(&scene.fleet.webs[1], "deploy", &["--force"]);
    assert!(held.status != 0 && held.said().contains("--force"), "{held}");
    forced.ok();
    scene.settled(&[1], "r3");
    eventually("the others are let go on", Duration::from_secs(20), || {
        fleet::etcd_keys(&scene.fleet.hub, "/deployd/fleet/web/").trim().is_empty()
    });
    scene.shops[2].deploy(&scene.fleet.webs[2]);
    scene.settled(&[2], "r3");

    // A host dies with the slot, while it watches its release: its lease ends, and the next one goes on.
    scene.commit("r4", &GOOD);
    scene.shops[0].configure(&scene.fleet.webs[0], &settings(0, "10min"));
    scene.shops[0].ctl(&scene.fleet.webs[0], "deploy", &["--force"]).ok();
    scene.fire(&[1]);
    let waits = |text: &str| text.contains("waits for a slot of web: taken by");
    eventually("the next one waits, and says for whom", Duration::from_secs(60), || {
        waits(&scene.fleet.webs[1].ok(&["deployctl", "status", "shop"]))
    });
    assert_eq!(scene.serves(1), "r3");
    drop(scene.fleet.webs.remove(0));
    scene.shops.remove(0);
    scene.settled(&[0], "r4");

    // Nobody answers: it waits and says so, and can be cancelled with nothing changed.
    scene.fleet.hub.ok(&["systemctl", "stop", "etcd"]);
    let web = &scene.fleet.webs[1];
    web.ok(&["systemctl", "start", "--no-block", "deploy@shop"]);
    eventually("it says that etcd cannot be reached", Duration::from_secs(60), || {
        web.ok(&["systemctl", "show", "-P", "StatusText", "deploy@shop"]).contains("etcd cannot be reached")
    });
    web.ok(&["systemctl", "stop", "deploy@shop"]);
    assert_eq!(scene.serves(1), "r3");
    eventually("nobody holds anything", Duration::from_secs(30), || {
        web.ok(&["systemctl", "show", "-P", "ActiveState", "deploy-fleet-shop"]).trim() == "inactive"
    });
}

/// One of the simulated hosts.
struct Client {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn start(host: usize, slots: u32) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_deploy-engine"))
            .arg("fleet")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program of this crate starts");
        let order = json!({
            "app": "shop", "host": format!("host{host}"), "id": format!("{host:032x}"), "group": "many",
            "release": "20260101T000000Z-a", "revision": "a", "force": false, "untold": null, "what": "take",
            "semaphore": { "etcd": {
                "endpoints": ["http://127.0.0.1:2379"], "slots": slots, "lease": { "secs": 5, "nanos": 0 }, "user": null,
            } },
        });
        let mut input = child.stdin.take().expect("a pipe");
        writeln!(input, "{order}").expect("it reads its order");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, said }
    }

    /// Whether it was given a slot.
    fn taken(&mut self) -> bool {
        let mut lines = self.said.by_ref().lines().map_while(Result::ok);
        lines.find(|line| !line.contains("waits")).as_deref() == Some("\"taken\"")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }
}

#[test]
fn fifty_hosts_never_have_more_slots_than_there_are() {
    const HOSTS: usize = 50;
    const SLOTS: u32 = 3;
    let host = Host::boot(&fleet::etcd_root());
    fleet::serve_etcd(&host);
    let (now, most) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicI32::new(0)));
    let one = |number: usize| {
        let (now, most) = (now.clone(), most.clone());
        spawn_within(host.network(), move || async move {
            let mut client = Client::start(number, SLOTS);
            assert!(client.taken(), "host {number} gets a slot");
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(400 + u64::try_from(number).unwrap_or(0) * 7 % 100));
            now.fetch_sub(1, Ordering::SeqCst);
            // Some of them die with it: their leases end.
            client.signal(if number % 10 == 9 { Signal::KILL } else { Signal::USR2 });
            client.child.wait().expect("it ends").success() == (number % 10 != 9)
        })
    };
    let all: Vec<_> = (0..HOSTS).map(one).collect();
    let ended = all.into_iter().map(|thread| thread.join().expect("no thread panics")).filter(|ended| *ended).count();
    assert_eq!(ended, HOSTS);
    assert_eq!(most.load(Ordering::SeqCst), i32::try_from(SLOTS).expect("small"), "never more, and all were used");
    eprintln!("{HOSTS} hosts, {SLOTS} slots: never more than {} at once", most.load(Ordering::SeqCst));
    let left = || fleet::etcd_keys(&host, "/deployd/fleet/many/");
    eventually("nothing is left", Duration::from_secs(20), || left().trim().is_empty());
}
