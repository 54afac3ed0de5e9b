//! Findings from facts, as values: each trap is named, and without it nothing is said.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::*;
use crate::config::{
    Http, MissingJobs, Octane, OctaneServer, PhpFpm, Pool, Program, Safety, Service, ServiceKind, SlotKind, Source,
    Strategy, Web,
};

fn settings(services: Vec<Service>) -> Settings {
    Settings {
        app: "shop".parse().unwrap(),
        root: "/srv/shop".into(),
        user: "shop".into(),
        run_as: "shop".into(),
        web_user: None,
        web_unit: "nginx.service".parse().unwrap(),
        source: Source::Directory { path: "/srv/build".into(), exclude: Vec::new() },
        shared: vec![],
        writable: vec![],
        build_writable: vec![],
        services,
        steps: vec![],
        build: Default::default(),
        drop: vec![],
        environment: BTreeMap::new(),
        health: vec![],
        successes: 1,
        interval: Duration::from_millis(200),
        bake: Duration::ZERO,
        keep: 5,
        share: crate::model::Share::default(),
        gates: Default::default(),
        notify: Vec::new(),
        webhook: None,
        fleet: None,
        access: Default::default(),
        carry: vec![],
        assets: Default::default(),
        safety: Safety { zero_downtime: true, missing_jobs: MissingJobs::Refuse, ..Safety::default() },
        inferred: vec![],
        files: vec!["/etc/deployd/apps/shop.toml".into()],
        origins: BTreeMap::new(),
    }
}

fn slots(directives: &[(&str, &str)]) -> Service {
    let directives = directives.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let fpm = PhpFpm {
        version: "8.2".into(),
        binary: "/usr/sbin/php-fpm8.2".into(),
        pool: Pool::Directives(directives),
        probe: "/".into(),
        public: "public".into(),
        strict: false,
        memory_mib: 480,
    };
    Service { name: "php-fpm".into(), kind: ServiceKind::Slots(SlotKind::PhpFpm(fpm)), drain: Duration::from_secs(30) }
}

fn existing(unit: &str, strategy: Strategy) -> Service {
    let kind = ServiceKind::Unit { unit: unit.parse().unwrap(), strategy };
    Service { name: unit.into(), kind, drain: Duration::from_secs(30) }
}

fn unit(name: &str, exec: &[&str]) -> UnitFacts {
    UnitFacts {
        unit: name.into(),
        kill_signal: 15,
        kill_mode: "control-group".into(),
        stop_timeout: Some(Duration::from_secs(90)),
        exec: vec![exec.iter().map(|word| (*word).to_owned()).collect()],
    }
}

fn ids(settings: &Settings, facts: &Facts) -> Vec<String> {
    let mut ids: Vec<String> = check(settings, facts).into_iter().map(|finding| finding.id).collect();
    assert!(ids.iter().all(|id| IDS.contains(&id.as_str())), "{ids:?}");
    ids.dedup();
    ids
}

/// An nginx with one server, whose inside is given.
fn nginx(http: &str, server: &str) -> Vec<Directive> {
    parse_nginx(Path::new("/etc/nginx/nginx.conf"), &format!("http {{\n{http}\nserver {{\n{server}\n}}\n}}\n"))
}

const ROOT: &str = "root /srv/shop/current/public;\n";
const PASS: &str = "fastcgi_pass unix:/run/deployd/shop/fpm.sock;\n";

fn of_nginx(http: &str, server: &str) -> Vec<String> {
    let facts =
        Facts { nginx: nginx(http, server), fpm_link: Some("/run/deployd/shop/fpm.sock".into()), ..Facts::default() };
    ids(&settings(vec![slots(&[])]), &facts)
}

#[test]
fn the_shipped_snippet_and_site_are_good() {
    let site = include_str!("../../packaging/nginx/example-site.conf");
    let snippet = include_str!("../../packaging/nginx/deployd-php.conf");
    let params = "fastcgi_param DOCUMENT_ROOT $document_root;\nfastcgi_param SCRIPT_NAME $fastcgi_script_name;\n";
    let site = site.replace("include snippets/deployd-php.conf;", snippet).replace("include fastcgi_params;", params);
    let facts = Facts {
        nginx: parse_nginx(Path::new("/etc/nginx/x"), &format!("http {{ {site} }}")),
        fpm_link: Some("/run/deployd/shop/fpm.sock".into()),
        ..Facts::default()
    };
    assert_eq!(check(&settings(vec![slots(&[])]), &facts), []);
    let bad = site.replace("$realpath_root", "$document_root");
    assert!(bad != site, "the control changes something");
    let facts = Facts { nginx: parse_nginx(Path::new("/etc/nginx/x"), &format!("http {{ {bad} }}")), ..facts };
    assert_eq!(ids(&settings(vec![slots(&[])]), &facts), ["nginx-document-root"]);
}

#[test]
fn nginx_through_the_link_is_named_with_its_place() {
    let php = |script: &str| {
        format!("{ROOT}location ~ \\.php$ {{\n{PASS}fastcgi_param SCRIPT_FILENAME {script}$fastcgi_script_name;\n}}")
    };
    assert_eq!(of_nginx("", &php("$document_root")), ["nginx-document-root"]);
    assert_eq!(of_nginx("", &php("/srv/shop/current/public")), ["nginx-document-root"]);
    assert!(of_nginx("", &php("$realpath_root")).is_empty());
    assert!(of_nginx("", &format!("set $top $realpath_root;{}", php("$top"))).is_empty());
    // Inherited as a whole: the level's own parameters replace those of above.
    let outer = "fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;";
    assert_eq!(of_nginx(outer, &format!("{ROOT}location / {{ {PASS} }}")), ["nginx-document-root"]);
    assert!(of_nginx(outer, &php("$realpath_root")).is_empty());
    let facts = Facts { nginx: nginx("", &php("$document_root")), ..Facts::default() };
    let found = check(&settings(vec![]), &facts);
    assert_eq!(found[0].place, "/etc/nginx/nginx.conf:7");
    assert!(found[0].remedy.contains("$realpath_root"), "{found:?}");
}

#[test]
fn nginx_that_goes_elsewhere_or_keeps_connections_is_named() {
    let good = "fastcgi_param SCRIPT_FILENAME $realpath_root/index.php;";
    let to = |target: &str| format!("{ROOT}location / {{ {good} fastcgi_pass {target}; }}");
    assert_eq!(of_nginx("", &to("unix:/run/php/php8.2-fpm.sock")), ["nginx-fastcgi-pass"]);
    let upstream = |more: &str| format!("upstream php {{ server unix:/run/deployd/shop/fpm.sock; {more} }}");
    assert_eq!(of_nginx(&upstream("keepalive 8;"), &to("php")), ["nginx-upstream-keepalive"]);
    assert!(of_nginx(&upstream(""), &to("php")).is_empty());
    assert_eq!(
        of_nginx("open_file_cache max=1000;", &to("unix:/run/deployd/shop/fpm.sock")),
        ["nginx-open-file-cache"]
    );
    // Another program's corner of the site, and another site.
    let corner = "location /pma { root /usr/share/pma; fastcgi_pass unix:/run/php/x.sock; \
                  fastcgi_param SCRIPT_FILENAME $document_root/x; }";
    assert!(of_nginx("", &format!("{ROOT}{corner}")).is_empty());
    assert!(of_nginx("", "root /srv/shop2/public; location / { fastcgi_pass unix:/x; }").is_empty());
}

fn fpm_facts(global: &str) -> FpmFacts {
    let main = Path::new("/etc/php/8.2/fpm/php-fpm.conf");
    FpmFacts {
        main: Some(main.into()),
        process_control_timeout: parse_ini(main, global).pop(),
        ini: Vec::new(),
        pools: Vec::new(),
    }
}

#[test]
fn debians_php_fpm_cuts_requests_off_or_makes_them_wait() {
    let name = "php8.2-fpm.service";
    let debian = unit(name, &["/usr/sbin/php-fpm8.2", "--nodaemonize"]);
    let of = |strategy, global: &str, unit: &UnitFacts| {
        let facts = Facts {
            units: BTreeMap::from([(name.into(), unit.clone())]),
            fpm: BTreeMap::from([(name.into(), fpm_facts(global))]),
            ..Facts::default()
        };
        ids(&settings(vec![existing(name, strategy)]), &facts)
    };
    let stop = ["unit-kill-signal", "unit-kill-mode"];
    assert_eq!(of(Strategy::Reload, "", &debian), ["fpm-process-control-timeout", stop[0], stop[1]]);
    assert_eq!(of(Strategy::Reload, "process_control_timeout = 0", &debian)[0], "fpm-process-control-timeout");
    assert_eq!(of(Strategy::Reload, "process_control_timeout = 30s", &debian)[0], "fpm-reload-waits");
    assert_eq!(of(Strategy::Restart, "", &debian)[0], "fpm-restart");
    let graceful = UnitFacts { kill_signal: 3, kill_mode: "mixed".into(), ..debian };
    assert_eq!(of(Strategy::Restart, "", &graceful), ["fpm-restart"]);
    let short = UnitFacts { stop_timeout: Some(Duration::from_secs(10)), ..graceful };
    assert_eq!(of(Strategy::Restart, "", &short), ["fpm-restart", "unit-stop-timeout"]);
    assert_eq!(of(Strategy::Restart, "", &UnitFacts { stop_timeout: None, ..short }), ["fpm-restart"]);
}

#[test]
fn octane_and_horizon_by_units_of_the_site() {
    let octane = |name: &str, port: &str| unit(name, &["/usr/bin/php", "artisan", "octane:start", port]);
    let services = vec![existing("a.service", Strategy::Reload), existing("b.service", Strategy::Restart)];
    let app = |pairs: &[(&str, &str)]| AppFacts {
        config: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..AppFacts::default()
    };
    let both = |a: &str, b: &str| {
        BTreeMap::from([("a.service".into(), octane("a.service", a)), ("b.service".into(), octane("b.service", b))])
    };
    let file = app(&[("octane.state_file", "/srv/shop/shared/x"), ("octane.state_file-shared", "yes")]);
    let facts = Facts { units: both("--port=8000", "--watch"), app: Some(file), ..Facts::default() };
    let found = ids(&settings(services.clone()), &facts);
    assert_eq!(found, ["octane-reload", "octane-restart", "octane-port", "octane-state-file"]);
    let facts = Facts { units: both("--port=8000", "--port=8001"), ..Facts::default() };
    assert_eq!(ids(&settings(services), &facts), ["octane-reload", "octane-restart"]);

    let horizon = UnitFacts { kill_mode: "mixed".into(), ..unit("h.service", &["/usr/bin/php", "artisan", "horizon"]) };
    let services = vec![existing("h.service", Strategy::Restart)];
    let units = BTreeMap::from([("h.service".to_owned(), horizon)]);
    let facts = |value: &str| Facts {
        units: units.clone(),
        app: Some(app(&[("horizon.fast_termination", value)])),
        ..Facts::default()
    };
    assert_eq!(ids(&settings(services.clone()), &facts("1")), ["horizon-fast-termination"]);
    assert!(ids(&settings(services), &facts("0")).is_empty());
}

#[test]
fn phps_own_settings() {
    let of = |ini: &str, pool: &[(&str, &str)], php: (u64, u64)| {
        let fpm = FpmFacts { ini: parse_ini(Path::new("/etc/php/8.2/fpm/php.ini"), ini), ..FpmFacts::default() };
        let app = AppFacts { php, ..AppFacts::default() };
        let facts = Facts { fpm: BTreeMap::from([("php-fpm".into(), fpm)]), app: Some(app), ..Facts::default() };
        ids(&settings(vec![slots(pool)]), &facts)
    };
    const MIB: u64 = 1024 * 1024;
    assert!(of("opcache.enable=1\n", &[], (100, MIB)).is_empty());
    assert_eq!(of("opcache.preload = /srv/shop/current/preload.php\n", &[], (0, 0)), ["opcache-preload"]);
    assert!(of("opcache.preload =\n", &[], (0, 0)).is_empty());
    assert_eq!(of("open_basedir = /srv/shop/current:/tmp\n", &[], (0, 0)), ["php-open-basedir"]);
    assert!(of("open_basedir = /srv/shop/:/tmp\n", &[], (0, 0)).is_empty());
    assert_eq!(of("", &[("php_admin_value[open_basedir]", "/srv/shop/releases")], (0, 0)), ["php-open-basedir"]);
    assert!(of("open_basedir = /x\n", &[("php_admin_value[open_basedir]", "/srv")], (0, 0)).is_empty());
    assert_eq!(of("opcache.memory_consumption=16\n", &[], (100, 17 * MIB)), ["opcache-size"]);
    assert_eq!(of("", &[], (10_001, MIB)), ["opcache-size"]);
    assert!(of("opcache.max_accelerated_files=20000\n", &[], (10_001, MIB)).is_empty());
    assert_eq!(of("opcache.enable=0\n", &[], (10_001, MIB)), ["opcache-off"]);
}

#[test]
fn sessions_that_end_with_the_process_or_the_release() {
    let of = |pairs: &[(&str, &str)]| {
        let config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let facts = Facts { app: Some(AppFacts { config, ..AppFacts::default() }), ..Facts::default() };
        ids(&settings(vec![]), &facts)
    };
    assert_eq!(of(&[("session.driver", "array")]), ["session-driver"]);
    assert_eq!(of(&[("session.driver", "file"), ("session.files-shared", "no")]), ["session-driver"]);
    assert!(of(&[("session.driver", "file"), ("session.files-shared", "yes")]).is_empty());
    assert!(of(&[("session.driver", "redis"), ("session.files-shared", "no")]).is_empty());
}

#[test]
fn the_tree_the_disk_and_what_is_foreign() {
    let owned = |uid, mode| Owned { path: "/srv/shop/releases".into(), uid, mode };
    let at = Origin { file: "/etc/cron.d/shop".into(), line: 3 };
    let job = |by| ForeignJob { by, at: at.clone(), what: "shop-worker".into(), command: String::new() };
    let facts = Facts {
        owned: vec![owned(1000, 0o755), owned(0, 0o775), owned(0, 0o755)],
        disk: Some(DiskFacts { free: 100, free_inodes: Some(10), kind: 0x0102_1994, largest: (60, 4) }),
        slot_memory_mib: BTreeMap::from([("php-fpm".into(), 480)]),
        memory_available_mib: Some(100),
        jobs: vec![job(Scheduler::Cron), job(Scheduler::Supervisor)],
        processes: vec![ForeignProcess { pid: 7, name: "php".into(), unit: "session-1.scope".into() }],
        app: Some(AppFacts {
            release: "R".into(),
            changed: (vec!["public/uploads/x.jpg\u{1b}[2J".into()], 1),
            crontab: vec![("shop".into(), 2, "* * * * * cd /srv/shop/current && php artisan schedule:run".into())],
            ..AppFacts::default()
        }),
        writers: vec!["shop-worker.service".into()],
        neighbour: Some(Neighbour {
            app: "blog".parse().unwrap(),
            file: "/etc/deployd/apps/blog.toml".into(),
            root: "/srv".into(),
        }),
        unread: vec![Unread { what: "/srv/shop/current/nginx.conf".into(), why: "was not opened".into() }],
        ..Facts::default()
    };
    let found = check(&settings(vec![]), &facts);
    let count = |id: &str| found.iter().filter(|finding| finding.id == id).count();
    for (id, times) in [
        ("tree-owner", 2),
        ("root-overlap", 1),
        ("disk-kind", 1),
        ("disk-space", 1),
        ("memory-slots", 1),
        ("cron-line", 2),
        ("supervisor-program", 1),
        ("foreign-process", 1),
        ("unit-writes", 1),
        ("code-written", 1),
        ("not-read", 1),
    ] {
        assert_eq!(count(id), times, "{id}: {found:#?}");
    }
    assert!(found.iter().all(|finding| !finding.thing.contains('\u{1b}')), "what others wrote is printable");
    assert!(found.is_sorted_by_key(|finding| finding.severity), "the worst first");
    let refusing: Vec<_> = found.iter().filter(|finding| refuses(finding)).map(|f| f.id.as_str()).collect();
    assert_eq!(refusing, ["tree-owner", "tree-owner", "root-overlap", "supervisor-program", "not-read"]);
    assert!(check(&settings(vec![]), &Facts::default()).is_empty());
    let relaxed = Safety { durability: crate::config::Durability::Relaxed, ..Safety::default() };
    let found = check(&Settings { safety: relaxed, ..settings(vec![]) }, &Facts::default());
    assert_eq!(found.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["durability-relaxed"]);
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let process = |pid| ForeignProcess { pid, name: "php".into(), unit: String::new() };
    let facts = Facts { processes: (1..=40).map(process).collect(), ..Facts::default() };
    let found = check(&settings(vec![]), &facts);
    assert_eq!(found.len(), 12);
    assert!(found[11].thing.ends_with("(and 28 more)"), "{:?}", found[11]);
}

fn web() -> Web {
    Web { ports: vec![8000, 8001], probe: "/".into(), start: Duration::from_secs(30) }
}

fn octane_slots() -> Service {
    let octane = Octane {
        server: OctaneServer::Frankenphp,
        web: web(),
        admin_ports: vec![],
        workers: None,
        task_workers: None,
        max_requests: 500,
        php: "php".into(),
        strict: false,
    };
    Service {
        name: "octane".into(),
        kind: ServiceKind::Slots(SlotKind::Octane(octane)),
        drain: Duration::from_secs(30),
    }
}

#[test]
fn slots_that_are_reached_by_port() {
    let program = Program::Run { run: vec!["node".into()], strict: false };
    let http = ServiceKind::Slots(SlotKind::Http(Http { program, web: web() }));
    let service = Service { name: "http".into(), kind: http, drain: Duration::from_secs(30) };
    let settings = settings(vec![service]);
    let of = |to: &str| {
        ids(&settings, &Facts { nginx: nginx("", &format!("location / {{ proxy_pass {to}; }}")), ..Facts::default() })
    };
    assert_eq!(of("http://127.0.0.1:8001/x"), ["nginx-proxy-pass"]);
    assert_eq!(of("http://localhost:8000"), ["nginx-proxy-pass"]);
    for good in ["http://shop-http", "http://127.0.0.1:9000", "http://10.0.0.1:8000", "http://127.0.0.1:80000"] {
        assert!(of(good).is_empty(), "{good}");
    }
    let taken = vec![TakenPort { service: "http".into(), slot: "b".into(), port: 8001 }];
    assert_eq!(ids(&settings, &Facts { taken, ..Facts::default() }), ["slot-port"]);
}

#[test]
fn an_octane_slots_state_file_is_its_own_or_named() {
    let settings = settings(vec![octane_slots()]);
    let of = |pairs: &[(&str, &str)]| {
        let config = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ids(&settings, &Facts { app: Some(AppFacts { config, ..AppFacts::default() }), ..Facts::default() })
    };
    let file = ("octane.state_file", "/srv/shop/shared/storage/logs/octane-server-state.json");
    let shared = ("octane.state_file-shared", "yes");
    assert_eq!(of(&[file, shared, ("config.cached", "no")]), ["octane-state-file"]);
    assert!(of(&[file, shared, ("config.cached", "yes")]).is_empty());
    assert!(of(&[file, ("octane.state_file-shared", "no")]).is_empty());
}

#[test]
fn warm_is_proved_or_named() {
    let name = "php8.2-fpm.service";
    let settings = settings(vec![existing(name, Strategy::Warm)]);
    let site = |script: &str| {
        nginx("", &format!("{ROOT}location / {{ {PASS} fastcgi_param SCRIPT_FILENAME {script}/index.php; }}"))
    };
    let of = |nginx: Vec<Directive>, ini: &str| {
        let fpm = FpmFacts { ini: parse_ini(Path::new("/etc/php.ini"), ini), ..fpm_facts("") };
        let fpm = BTreeMap::from([(name.to_owned(), fpm)]);
        ids(&settings, &Facts { nginx, fpm, ..Facts::default() })
    };
    assert!(of(site("$realpath_root"), "").is_empty());
    assert!(of(site("$document_root"), "").contains(&"warm-unproved".to_owned()));
    assert!(of(site("$realpath_root"), "opcache.preload = /x").contains(&"warm-unproved".to_owned()));
    assert_eq!(of(vec![], ""), ["warm-unproved"], "what was not seen is not proved");
}

#[test]
fn a_name_in_access_that_is_nobody_s_is_told_with_its_list() {
    use crate::config::{Right, Who};
    let user = |name: &str| Who::User(name.into());
    let lists = [(Right::Deploy, vec![user("ci"), user("gone")]), (Right::ReadLogs, vec![Who::Group("gone".into())])];
    let origin = Origin { file: "/etc/deployd/apps/shop.toml".into(), line: 7 };
    let origins = BTreeMap::from([("access.deploy".into(), origin)]);
    let settings = Settings { access: lists.into_iter().collect(), origins, ..settings(vec![]) };
    let found = check(&settings, &Facts { strangers: vec![user("gone")], ..Facts::default() });
    assert_eq!((found.len(), found[0].id.as_str(), found[0].severity), (1, "access-name", Severity::Warning));
    assert_eq!(
        (found[0].thing.as_str(), found[0].place.as_str()),
        ("deploy = [\"gone\"]", "/etc/deployd/apps/shop.toml:7")
    );
    assert!(check(&settings, &Facts::default()).is_empty());
    let own = [(Right::Deploy, vec![user(&settings.user)])].into_iter().collect();
    let found = check(&Settings { access: own, ..settings }, &Facts::default());
    assert_eq!(found.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["access-own-user"]);
}
