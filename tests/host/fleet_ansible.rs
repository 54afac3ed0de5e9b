//! The Ansible collection as it is in packaging/: its modules on one host, and a real ansible-playbook that rolls releases
//! over three hosts by ssh, behind nginx, under load.

use std::{fs, time::Duration};

use crate::{
    common::{eventually, releases},
    support::{
        command::Ended,
        deb,
        fleet::{self, Fleet},
        host::Host,
        load::{Plan, Report, Running},
        lock::crate_dir,
        shop::{Shop, Spec},
    },
};

const COLLECTION: &str = "/usr/share/ansible/collections/ansible_collections/deployd/deployd";
const WORK: &str = "/root/fleet";
/// Files of a release that serves.
const GOOD: [(&str, &str); 2] = [("built", "yes"), ("public/index.php", include_str!("../app-small/public/index.php"))];
/// The app as an inventory has it.
const APP: &str = r#"
          - name: shop
            check: "no"
            settings:
              root: /srv/shop
              user: shop
              source: { git: /srv/git/shop.git }
              service:
                - kind: php-fpm
                  pool: { pm: static, pm.max_children: "16" }
              health: { http: "http://127.0.0.1/up", host: shop.example.org, bake: 1s, successes: 2 }
"#;
/// The receiver of webhooks, as an inventory has it.
const WEBHOOK: &str = r#"
        deployd_webhook: true
        deployd_webhook_package_file: /root/fleet/deployd-webhook.deb
        deployd_webhook_secrets: "#;
/// What it is given.
const SECRETS: &str = "[{ app: shop, secret: \"the secret of the shop, 0123456789\" }]";
/// Lists that are refused before anything is done, with a word of why.
const REFUSED: [(&str, &str); 6] = [
    ("[]", "wants an entry for each app"),
    ("[{ app: ../shop, secret: \"an x of 0123456789\" }]", "not so: ../shop"),
    ("[{ app: shop, secret: \"an x of 0123456789\" }, { app: shop, state: absent }]", "each app once"),
    (
        "[{ app: shop, secret: \" 0123456789 1234 \" }]",
        "shorter than 16 characters, so that it could be guessed: shop;",
    ),
    ("[{ app: shop.next }]", "missing or shorter than 16 characters"),
    (
        "[{ app: shop.next, secret: \"an x of 0123456789\" }, { app: blog, secret: \"an x of 0123456789\" }]",
        "the same secret is that of shop.next blog",
    ),
];
const BALANCER: &str = "upstream shop {\n    include /etc/nginx/fleet/shop/*.conf;\n}\nserver {\n    listen 80;\n    \
     server_name shop.example.org;\n    access_log off;\n    location / {\n        proxy_pass http://shop;\n        \
     proxy_set_header Host $host;\n        proxy_next_upstream off;\n    }\n}\n";

/// A play that installs the package and describes the app.
fn site(apps: &str) -> String {
    format!(
        "- hosts: web\n  gather_facts: false\n  roles:\n    - role: deployd.deployd.deployd\n      vars:\n        \
         deployd_package_file: {WORK}/deployd.deb\n        deployd_apps: {apps}"
    )
}

fn prepare(controller: &Host, inventory: &str) {
    controller.copy_in(&crate_dir().join("packaging/ansible"), COLLECTION);
    let (deployd, webhook) = (deb::ensure(), deb::webhook(&deb::ensure()).expect("it is beside the other"));
    controller.write(&format!("{WORK}/deployd.deb"), fs::read(deployd).unwrap());
    controller.write(&format!("{WORK}/deployd-webhook.deb"), fs::read(webhook).unwrap());
    controller.write(&format!("{WORK}/inventory"), inventory);
    controller.write(&format!("{WORK}/package.yml"), site("[]\n"));
    controller.write(&format!("{WORK}/site.yml"), site(APP));
    webhooks(controller, SECRETS);
}

/// A play for the receiver with these secrets.
fn webhooks(controller: &Host, secrets: &str) {
    controller.write(&format!("{WORK}/webhook.yml"), format!("{}{WEBHOOK}{secrets}\n", site("[]")));
}

fn playbook(controller: &Host, arguments: &[&str]) -> Ended {
    let inventory = format!("{WORK}/inventory");
    let head = ["env", "ANSIBLE_NOCOLOR=1", "ANSIBLE_DEPRECATION_WARNINGS=0", "ansible-playbook", "-i", &inventory];
    controller.run(&[&head[..], arguments].concat())
}

/// How often this word of a play's last lines is more than 0, and of how many hosts there is one.
fn recap(said: &Ended, word: &str) -> (usize, usize) {
    let lines: Vec<&str> = said.stdout.split("PLAY RECAP").last().unwrap_or_default().lines().skip(1).collect();
    let counts = lines.iter().filter_map(|line| line.split(&format!("{word}=")).nth(1)?.split_whitespace().next());
    let counts: Vec<usize> = counts.filter_map(|count| count.parse().ok()).collect();
    (counts.iter().filter(|count| **count > 0).count(), counts.len())
}

/// The app's user, repository and site on a host; its configuration is Ansible's to write.
fn shop(host: &Host) -> Shop {
    let spec = Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") };
    let shop = Shop::make(host, spec);
    shop.commit(host, "r1", &GOOD);
    host.ok(&["rm", &shop.toml_path()]);
    shop
}

/// A fleet whose hosts have the package, from the role, and serve r1, from the playbook.
fn scene() -> (Fleet, Vec<Shop>) {
    let fleet = Fleet::boot(&fleet::root(), 3);
    let hub = &fleet.hub;
    let host = |place: usize| format!("web{} ansible_host={}\n", place + 1, fleet::address(place));
    let hosts: String = (0..3).map(host).collect();
    prepare(hub, &format!("[web]\n{hosts}\n[balancer]\nlb ansible_connection=local\n"));
    hub.sh("mkdir -p /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519");
    let public = hub.read("/root/.ssh/id_ed25519.pub");
    for (place, web) in fleet.webs.iter().enumerate() {
        web.write("/root/.ssh/authorized_keys", &public);
        let known = web.read("/etc/ssh/ssh_host_ed25519_key.pub");
        let line = format!("{} {known}", fleet::address(place));
        hub.ok(&["sh", "-euc", r#"printf '%s\n' "$1" >> /root/.ssh/known_hosts"#, "sh", line.trim()]);
        hub.write(
            &format!("/etc/nginx/fleet/shop/web{}.conf", place + 1),
            format!("server {};\n", fleet::address(place)),
        );
    }
    playbook(hub, &[&format!("{WORK}/package.yml")]).ok();
    let shops: Vec<Shop> = fleet.webs.iter().map(shop).collect();
    playbook(hub, &[&format!("{WORK}/site.yml")]).ok();
    let first = rolling(hub, &[]);
    assert_eq!((recap(&first, "failed"), recap(&first, "changed")), ((0, 3), (3, 3)), "{first}");
    hub.write("/etc/nginx/sites-enabled/default", BALANCER);
    hub.ok(&["systemctl", "reload", "nginx"]);
    eventually("the load balancer serves", Duration::from_secs(20), || shops[0].get(hub, "/").is_whole());
    (fleet, shops)
}

/// The shipped playbook, with the shipped hooks for nginx as the load balancer.
fn rolling(hub: &Host, more: &[&str]) -> Ended {
    let hooks = ["out", "in"].map(|way| format!("deployd_lb_{way}={COLLECTION}/playbooks/tasks/nginx_{way}.yml"));
    let vars = ["deployd_app=shop", "deployd_hosts=web", "deployd_lb_host=lb", "deployd_lb_dir=/etc/nginx/fleet/shop"];
    // Root's key of ssh: the hosts have no sudo.
    let vars = [&vars[..], &["deployd_become=false"]].concat();
    let vars = vars.iter().copied().chain(hooks.iter().map(String::as_str)).flat_map(|one| ["-e", one]);
    let argv: Vec<&str> = ["deployd.deployd.rolling"].into_iter().chain(vars).chain(more.iter().copied()).collect();
    playbook(hub, &argv)
}

/// What each host serves by itself, and the names of all its releases.
fn state(fleet: &Fleet, shops: &[Shop]) -> Vec<(String, Vec<String>)> {
    let each = fleet.webs.iter().zip(shops);
    each.map(|(web, shop)| (shop.release(web), releases(web, shop))).collect()
}

/// Does something under 200 requests a second to the load balancer, of which none may fail.
fn under_load(fleet: &Fleet, work: impl FnOnce() -> Ended) -> (Ended, Report) {
    let plan = Plan { fast: ("/".into(), 200), slow: ("/".into(), 0), ..Plan::promise("shop.example.org") };
    let load = Running::start(fleet.hub.network(), Plan { sessions: 0, ..plan });
    std::thread::sleep(Duration::from_secs(1));
    let ended = work();
    std::thread::sleep(Duration::from_secs(2));
    let report = load.stop();
    eprintln!("{} requests, {} failed, {:?}", report.requests, report.failed, report.releases);
    assert_eq!((report.failed, report.mixed), (0, 0), "{report:#?}\n{ended}");
    (ended, report)
}

#[test]
fn a_release_rolls_over_three_hosts_and_a_bad_one_stops_at_the_first() {
    let (fleet, shops) = scene();
    let commit = |label: &str, files: &[(&str, &str)]| {
        fleet.webs.iter().zip(&shops).for_each(|(web, shop)| shop.commit(web, label, files));
    };

    commit("r2", &GOOD);
    let asked = rolling(&fleet.hub, &["--check", "--diff"]);
    assert_eq!((recap(&asked, "failed"), recap(&asked, "changed")), ((0, 3), (0, 3)), "{asked}");
    assert!(state(&fleet, &shops).iter().all(|(label, all)| label == "r1" && all.len() == 1));
    let (ended, report) = under_load(&fleet, || rolling(&fleet.hub, &[]));
    assert_eq!((recap(&ended, "failed"), recap(&ended, "changed")), ((0, 3), (3, 3)), "{ended}");
    assert!(state(&fleet, &shops).iter().all(|(label, _)| label == "r2"));
    assert!(report.releases.len() == 2 && report.requests > 1000, "{report:#?}");

    let again = rolling(&fleet.hub, &[]);
    assert_eq!((recap(&again, "failed"), recap(&again, "changed")), ((0, 3), (0, 3)), "{again}");
    let site = playbook(&fleet.hub, &[&format!("{WORK}/site.yml")]);
    assert_eq!((recap(&site, "failed"), recap(&site, "changed")), ((0, 3), (0, 3)), "{site}");

    commit("r3", &fleet::BAD);
    let (before, live) = (state(&fleet, &shops), shops[0].current(&fleet.webs[0]));
    let (ended, report) = under_load(&fleet, || rolling(&fleet.hub, &[]).expect_failure());
    assert!(ended.stdout.contains("rolled-back") && ended.stdout.contains("web1: shop: rolled-back: "), "{ended}");
    // The other two are not so much as named.
    assert_eq!(recap(&ended, "failed"), (1, 1), "{ended}");
    let after = state(&fleet, &shops);
    assert_eq!((shops[0].current(&fleet.webs[0]), after[0].0.as_str()), (live, "r2"), "{ended}");
    assert_eq!(after[1..], before[1..], "{ended}");
    assert_eq!(report.releases.keys().collect::<Vec<_>>(), ["r2"], "{report:#?}");
    assert_eq!(fleet.hub.read("/etc/nginx/fleet/shop/web1.conf"), "server 10.88.1.2;\n", "it serves again");
}

/// One module on the host itself: whether it changed something, or with what words it failed.
fn module(host: &Host, name: &str, arguments: &str, check: bool) -> Result<(bool, String), String> {
    let module = format!("deployd.deployd.{name}");
    let mut argv = vec!["env", "ANSIBLE_NOCOLOR=1", "ansible", "-i", "localhost,", "-c", "local", "localhost"];
    argv.extend(["-e", "ansible_python_interpreter=/usr/bin/python3", "-m", &module, "-a", arguments]);
    if check {
        argv.extend(["--check", "--diff"]);
    }
    let said = host.run(&argv);
    match said.status {
        0 => Ok((said.stdout.contains("localhost | CHANGED"), said.stdout)),
        _ => Err(said.said()),
    }
}

/// A secret that is replaced or taken away is good no longer; one that cannot be written is told of by its app.
fn secrets_come_and_go(host: &Host) {
    let states = ["systemctl", "is-active", "deployd-webhook.socket", "deployd-webhook.service"];
    let play = |name: &str| playbook(host, &[&format!("{WORK}/{name}.yml"), "-vvv", "--diff"]);
    for (secrets, there) in [
        (
            "[{ app: shop, secret: \"another secret, 0123456789\" }, { app: blog, secret: \"a third, 0123456789\" }]",
            "blog\nshop\n",
        ),
        ("[{ app: shop, secret: \"another secret, 0123456789\" }, { app: blog, state: absent }]", "shop\n"),
    ] {
        host.ok(&["systemctl", "start", "deployd-webhook.service"]);
        assert_eq!(host.run(&states).stdout, "active\nactive\n");
        webhooks(host, secrets);
        let said = play("webhook");
        assert_eq!(recap(&said, "failed"), (0, 1), "{said}");
        assert!(!said.said().contains("0123456789"), "{said}");
        assert_eq!(host.ok(&["ls", "/etc/deployd/webhook"]), there);
        assert_eq!(host.run(&states).stdout, "active\ninactive\n", "{said}");
    }

    host.sh("rm /etc/deployd/webhook/shop; mkdir /etc/deployd/webhook/shop");
    let said = play("webhook").expect_failure();
    assert!(
        said.stdout.contains("the secret of shop could not be written: ") && said.stdout.contains(" dir"),
        "{said}"
    );
    assert!(!said.said().contains("0123456789"), "{said}");
    host.ok(&["rmdir", "/etc/deployd/webhook/shop"]);

    // The receiver that is there wants the deployd of its own build.
    let said = play("package").expect_failure();
    assert!(said.stdout.contains("the receiver of webhooks is on this host, and goes with"), "{said}");
    let file = format!("deployd_webhook_package_file={WORK}/deployd-webhook.deb");
    let said = playbook(host, &[&format!("{WORK}/package.yml"), "-e", &file]);
    assert_eq!((recap(&said, "failed"), recap(&said, "changed")), ((0, 1), (0, 1)), "{said}");
}

#[test]
fn the_modules_converge_tell_a_plan_and_fail_with_the_remedy() {
    let host = Host::boot(&fleet::root());
    prepare(&host, "[web]\nlocalhost ansible_connection=local\n");
    let run = |name: &str, arguments: &str| module(&host, name, arguments, false);
    let changes = |name: &str, arguments: &str| run(name, arguments).unwrap().0;
    let would = |name: &str, arguments: &str| module(&host, name, arguments, true).unwrap();
    let refused = run("deployment", "name=shop").unwrap_err();
    assert!(refused.contains("deployctl is not on this host") && refused.contains("install the package"), "{refused}");
    playbook(&host, &[&format!("{WORK}/package.yml")]).ok();
    let shop = shop(&host);
    let missing = run("deployment", "name=shop").unwrap_err();
    assert!(missing.contains("\"rc\": 8") && missing.contains("not-there"), "{missing}");
    playbook(&host, &[&format!("{WORK}/site.yml"), "--check"]).ok();
    assert_ne!(host.run(&["test", "-e", &shop.toml_path()]).status, 0, "check mode writes nothing");
    playbook(&host, &[&format!("{WORK}/site.yml")]).ok();

    // Webhooks, where they are wanted: the receiver listens, and nobody but root reads the secret.
    let listens = ["systemctl", "is-active", "deployd-webhook.socket"];
    assert_ne!(host.run(&listens).status, 0);
    let webhook = |more: &[&str]| playbook(&host, &[&[&*format!("{WORK}/webhook.yml")], more].concat());
    webhook(&["--check"]).ok();
    assert_ne!(host.run(&listens).status, 0, "check mode installs nothing");
    for (secrets, why) in REFUSED {
        webhooks(&host, secrets);
        let said = webhook(&["-vvv"]).expect_failure();
        assert!(said.stdout.contains(why) && recap(&said, "changed") == (0, 1), "{secrets}: {said}");
        assert!(!said.said().contains("0123456789"), "{said}");
    }
    webhooks(&host, SECRETS);
    for changed in [1, 0] {
        let said = webhook(&["-vvv", "--diff"]);
        assert_eq!((recap(&said, "failed"), recap(&said, "changed")), ((0, 1), (changed, 1)), "{said}");
        assert!(!said.said().contains("0123456789"), "{said}");
    }
    host.ok(&listens);
    let secret = host.ok(&["stat", "-c", "%U %a %s", "/etc/deployd/webhook/shop"]);
    assert_eq!(secret, "root 600 35\n");
    secrets_come_and_go(&host);

    // What deployd does not take is taken back.
    let before = host.read(&shop.toml_path());
    let wrong = run("app", r#"{"name": "shop", "settings": {"root": "/srv/shop", "usr": "shop"}}"#).unwrap_err();
    assert!(wrong.contains("usr") && wrong.contains("shop.toml"), "{wrong}");
    assert_eq!(host.read(&shop.toml_path()), before);
    run("app", r#"{"name": "other", "content": "root = 1"}"#).unwrap_err();
    assert_ne!(host.run(&["test", "-e", "/etc/deployd/apps/other.toml"]).status, 0);
    run("app", "name=../x content=x").unwrap_err();

    // A deployment, its plan, and nothing new.
    assert!(would("deployment", "name=shop").0);
    assert_eq!(shop.current(&host), "");
    assert!(changes("deployment", "name=shop"));
    let first = shop.current(&host);
    assert!(!would("deployment", "name=shop").0 && !changes("deployment", "name=shop"));
    assert!(!changes("deployment", "name=shop wait=false"));
    shop.commit(&host, "r2", &GOOD);
    let (changed, told) = would("deployment", "name=shop");
    assert!(changed && told.contains(&format!("-{}", first.replace("releases/", ""))), "{told}");
    assert!(changes("deployment", "name=shop state=staged") && !changes("deployment", "name=shop state=staged"));
    assert_eq!(shop.current(&host), first);
    assert!(changes("deployment", "name=shop state=activated") && !changes("deployment", "name=shop state=activated"));
    assert_eq!(shop.release(&host), "r2");
    let nonsense = run("deployment", "name=shop state=rolled_back ref=main").unwrap_err();
    assert!(nonsense.contains("ref has no meaning with state=rolled_back"), "{nonsense}");

    // Away from a revision, once; and a release that is there.
    let git = format!("--git-dir={}", shop.repository());
    let revision = host.run_as("shop", &["git", &git, "rev-parse", "--short=10", "r2"]).ok();
    let away = format!("name=shop state=rolled_back from_revision={}", revision.trim());
    assert!(would("deployment", &away).0);
    assert!(changes("deployment", &away) && !changes("deployment", &away) && !would("deployment", &away).0);
    assert_eq!(shop.release(&host), "r1");
    let live = format!("name=shop state=live release={}", revision.trim());
    assert!(would("release", &live).0 && changes("release", &live) && !changes("release", &live));
    assert_eq!(shop.release(&host), "r2");
    assert!(!changes("release", &format!("name=shop release={}", revision.trim())));
    let none = run("release", "name=shop release=fffffff").unwrap_err();
    assert!(none.contains("there is no release fffffff; there are: "), "{none}");

    // Held: rejected, with who holds it; let go again.
    let hold = "name=shop state=held reason=moving";
    assert!(would("release", hold).0 && changes("release", hold));
    assert!(!changes("release", hold) && !would("release", hold).0);
    shop.commit(&host, "r3", &fleet::BAD);
    for rejected in [run("deployment", "name=shop"), module(&host, "deployment", "name=shop", true)] {
        let rejected = rejected.unwrap_err();
        assert!(rejected.contains("\"outcome\": \"rejected\"") && rejected.contains("moving"), "{rejected}");
        assert!(rejected.contains("deployctl unhold shop"), "{rejected}");
    }
    assert!(would("release", "name=shop state=unheld").0 && changes("release", "name=shop state=unheld"));
    assert!(!changes("release", "name=shop state=unheld"));

    // What does not prove healthy: rolled back, and where to read on.
    let bad = run("deployment", "name=shop").unwrap_err();
    assert!(bad.contains("\"outcome\": \"rolled-back\"") && bad.contains("deployctl logs shop --deployment"), "{bad}");
    assert_eq!(shop.release(&host), "r2");
    shop.point(&host, "r2");
    assert!(would("release", "name=shop state=pruned keep=1").0 && changes("release", "name=shop state=pruned keep=1"));
    assert!(!changes("release", "name=shop state=pruned keep=1"));

    // Without its file the app is not deployd's to deploy, and goes on serving.
    assert!(would("app", "name=shop state=absent").0 && changes("app", "name=shop state=absent"));
    assert!(!changes("app", "name=shop state=absent"));
    assert_eq!(shop.release(&host), "r2");
}
