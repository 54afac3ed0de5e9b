//! Configuration from trees of files to settings, and what is told of those that are refused.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;

use super::*;

/// A host's tree with configuration in it.
pub(crate) struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }
    pub(crate) fn with(text: &str) -> Self {
        let host = Self::new();
        host.write("etc/deployd/apps/shop.toml", text);
        host
    }
    pub(crate) fn paths(&self) -> Paths {
        Paths::below(self.dir.path())
    }
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut dir = path.parent().unwrap();
        while dir.starts_with(self.dir.path()) && dir != self.dir.path() {
            std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755)).unwrap();
            dir = dir.parent().unwrap();
        }
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }
    pub fn load(&self) -> Result<Settings, ConfigError> {
        load(&self.paths(), &"shop".parse().unwrap(), &facts())
    }
    /// What is told, with the tree's own place taken out of it.
    fn told(&self) -> String {
        let error = self.load().expect_err("it loaded");
        error.rendered.replace(&self.dir.path().display().to_string(), "")
    }
}

pub(crate) fn facts() -> HostFacts {
    HostFacts {
        fpm: vec![("8.3".into(), "/usr/sbin/php-fpm8.3".into()), ("8.2".into(), "/usr/sbin/php-fpm8.2".into())],
        web_user: Some("www-data".into()),
        users: [("shop".into(), (1000, 1000)), ("www-data".into(), (33, 33)), ("root".into(), (0, 0))].into(),
    }
}

const FOUR: &str = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/srv/git/shop.git\"\n";
const BARE: &str = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"git@h:shop.git\"\n";

fn inferred<'a>(settings: &'a Settings, key: &str) -> &'a str {
    settings.inferred.iter().find(|i| i.key == key).map(|i| i.value.as_str()).unwrap_or_default()
}

#[test]
fn four_lines_are_a_laravel_app() {
    let s = Host::with(FOUR).load().unwrap();
    assert_eq!(s.run_as, "shop");
    assert_eq!(
        s.source,
        Source::Git(GitSource { url: "/srv/git/shop.git".into(), reference: "HEAD".into(), ..GitSource::default() })
    );
    let names: Vec<_> = s.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "composer-install",
            "npm-ci",
            "npm-build",
            "storage-link",
            "config-cache",
            "route-cache",
            "view-cache",
            "event-cache",
            "migrate"
        ]
    );
    assert!(s.steps.iter().all(|step| step.shared_rw == (step.name == "migrate")));
    assert!(s.steps.iter().all(|step| step.once == (step.name == "migrate")));
    assert!(s.steps.iter().all(|step| step.as_run_as == (step.name.ends_with("-cache") || step.name == "migrate")));
    assert_eq!(s.services.len(), 1);
    let Some(SlotKind::PhpFpm(fpm)) = s.services[0].slots() else { panic!() };
    assert_eq!((fpm.version.as_str(), fpm.memory_mib), ("8.3", 480));
    assert_eq!(s.environment["VIEW_COMPILED_PATH"], "{release}/bootstrap/cache/views");
    assert_eq!(in_release(&s.environment["VIEW_COMPILED_PATH"], Path::new("/srv/x")), "/srv/x/bootstrap/cache/views");
    assert_eq!(s.bake, Duration::from_secs(20));
    assert_eq!((s.successes, s.interval, s.keep), (3, Duration::from_millis(200), 5));
    for (key, value) in [
        ("run_as", "\"shop\""),
        ("web.user", "\"www-data\""),
        ("source.ref", "\"HEAD\""),
        ("service.php-fpm.php", "\"8.3\""),
        ("shared..env", "{ path = \".env\", kind = \"file\", required = true }"),
        ("releases.keep", "5"),
        ("health.bake", "\"20s\""),
    ] {
        assert_eq!(inferred(&s, key), value, "{key}");
    }
    assert!(inferred(&s, "step.migrate").contains("--force"));
}

#[test]
fn without_a_preset_nothing_is_added() {
    let s = Host::with(BARE).load().unwrap();
    assert!(s.services.is_empty() && s.steps.is_empty() && s.health.is_empty() && s.shared.is_empty());
    assert!(s.environment.is_empty() && s.drop.is_empty() && s.writable.is_empty());
    assert_eq!(s.bake, Duration::ZERO);
}

#[test]
fn all_that_can_be_written_is_read() {
    let host = Host::with(
        r#"
preset = "laravel"
root = "/home/deploy/shop/"
user = "shop"
run_as = "www-data"
writable = ["tmp"]
shared = ["uploads/", "database/database.sqlite", { path = ".env", required = false }, { path = "x", kind = "file" }]
[environment]
APP_ENV = "production"
PORT = 8080
APP_DEBUG = false
[source]
git = "ssh://git@h:22/shop.git"
ref = "v1"
ssh_key = "/etc/deployd/keys/shop"
known_hosts = "/etc/deployd/keys/known_hosts"
[web]
user = "www-data"
[[service]]
kind = "php-fpm"
php = "8.2"
probe = "/up"
public = "web"
sandbox = "strict"
drain = "1min 30s"
[service.pool]
pm.max_children = 20
php_admin_value.memory_limit = "256M"
"php_flag[display_errors]" = false
[[service]]
unit = "worker@1.service"
strategy = "restart"
[[step]]
run = ["php", "artisan", "app:warm"]
as = "run_as"
after = "activate"
needs = ["artisan"]
shared = "rw"
network = true
timeout = "5min"
environment = { A = "b" }
[[step]]
name = "npm-ci"
timeout = "20min"
[[step]]
name = "event-cache"
run = []
[health]
http = "https://127.0.0.1/up"
host = "shop.example.org"
status = 200
body = "ok"
json = { pointer = "/status", value = "ok" }
timeout = "2s"
successes = 5
interval = "100ms"
bake = "1min"
[releases]
keep = 3
"#,
    );
    let s = host.load().unwrap();
    assert_eq!(s.root, Path::new("/home/deploy/shop"));
    let shared: Vec<_> = s.shared.iter().map(|x| (x.path.as_str(), x.directory, x.required)).collect();
    assert_eq!(
        shared,
        [
            ("storage", true, false),
            (".env", false, false),
            ("uploads", true, false),
            ("database/database.sqlite", false, false),
            ("x", false, false)
        ]
    );
    assert_eq!((s.environment["PORT"].as_str(), s.environment["APP_DEBUG"].as_str()), ("8080", "false"));
    let Some(SlotKind::PhpFpm(fpm)) = s.services[0].slots() else { panic!() };
    assert_eq!(
        (fpm.binary.to_str(), fpm.probe.as_str(), fpm.public.as_str()),
        (Some("/usr/sbin/php-fpm8.2"), "/up", "web")
    );
    assert!(fpm.strict);
    let Pool::Directives(pool) = &fpm.pool else { panic!() };
    assert_eq!(pool["pm.max_children"], "20");
    assert_eq!(pool["php_admin_value[memory_limit]"], "256M");
    assert_eq!(pool["php_flag[display_errors]"], "no");
    assert_eq!(pool["pm"], "dynamic");
    assert_eq!(s.services[0].drain, Duration::from_secs(90));
    assert_eq!(s.services[1].name, "worker@1.service");
    let step = s.steps.last().unwrap();
    assert_eq!(step.name, "artisan-app-warm");
    assert!(step.as_run_as && step.after_activate && step.shared_rw && step.network);
    assert_eq!(step.timeout, Duration::from_secs(300));
    let npm = s.steps.iter().find(|x| x.name == "npm-ci").unwrap();
    assert_eq!((npm.timeout, npm.run[0].as_str()), (Duration::from_secs(1200), "npm"));
    assert!(!s.steps.iter().any(|x| x.name == "event-cache"));
    assert_eq!(s.health.len(), 2);
    assert!(
        matches!(&s.health[1].check, Check::Http { status: Some(200), json: Some((p, v)), .. } if p == "/status" && v == "ok")
    );
    assert_eq!((s.successes, s.interval, s.bake, s.keep), (5, Duration::from_millis(100), Duration::from_secs(60), 3));
    assert_eq!(s.writable, ["bootstrap/cache/views", "tmp"]);
    assert_eq!(s.origins["service[1].unit"].line, 31);
    assert!(s.place("service[1].unit").ends_with("/etc/deployd/apps/shop.toml:31: "));
}

#[test]
fn files_have_systemds_precedence() {
    let host = Host::with(BARE);
    host.write("usr/lib/deployd/apps/shop.toml", "nonsense here");
    host.write("usr/lib/deployd/apps/shop.d/10-a.toml", "releases.keep = 10\n");
    host.write("run/deployd/apps.d/shop.d/20-b.toml", "releases.keep = 20\n");
    host.write("etc/deployd/apps/shop.d/15-c.toml", "releases.keep = 15\n");
    host.write("etc/deployd/apps/shop.d/README", "not read");
    let s = host.load().unwrap();
    assert_eq!(s.keep, 20);
    let names: Vec<_> = s.files.iter().map(|f| f.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["shop.toml", "10-a.toml", "15-c.toml", "20-b.toml"]);

    host.write("etc/deployd/apps/shop.d/20-b.toml", "");
    assert_eq!(host.load().unwrap().keep, 15, "a file of the same name in /etc hides that of /run");
    symlink("/dev/null", host.path("etc/deployd/apps/shop.d/10-a.toml")).unwrap();
    assert_eq!(host.load().unwrap().files.len(), 3);
}

#[test]
fn apps_are_listed_and_masked() {
    let host = Host::with(BARE);
    host.write("usr/lib/deployd/apps/blog.toml", "");
    host.write("usr/lib/deployd/apps/gone.toml", "");
    host.write("run/deployd/apps.d/my-shop.toml", "");
    host.write("etc/deployd/apps/Bad Name.toml", "");
    host.write("etc/deployd/apps/x.toml.bak", "");
    symlink("/dev/null", host.path("etc/deployd/apps/gone.toml")).unwrap();
    let names: Vec<_> = list(&host.paths()).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["blog", "my-shop", "shop"]);
    assert!(list(&Host::new().paths()).unwrap().is_empty());
    assert!(Host::new().told().contains("there is no app \"shop\""));
}

#[test]
fn users_are_mentioned_before_they_are_looked_up() {
    let host = Host::with("root = \"/srv/x\"\nuser = \"a\"\nrun_as = \"b\"\nweb.user = \"c\"\n");
    assert_eq!(mentioned_users(&host.paths(), &"shop".parse().unwrap()), ["a", "b", "c"]);
    assert!(mentioned_users(&host.paths(), &"none".parse().unwrap()).is_empty());
}

#[test]
fn what_others_may_write_is_not_read() {
    let host = Host::with(BARE);
    let file = host.path("etc/deployd/apps/shop.toml");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o664)).unwrap();
    let told = host.told();
    assert!(told.contains("can be written by its group"), "{told}");
    assert!(told.contains("chmod go-w /"), "{told}");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();

    for dir in ["etc", "etc/deployd", "etc/deployd/apps"] {
        std::fs::set_permissions(host.path(dir), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(
            host.told().contains(&format!("chmod go-w /{dir}\n")) || host.told().ends_with(&format!("/{dir}`")),
            "{}",
            host.told()
        );
        std::fs::set_permissions(host.path(dir), PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::fs::create_dir(host.path("etc/deployd/apps/shop.d")).unwrap();
    std::fs::set_permissions(host.path("etc/deployd/apps/shop.d"), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(host.told().contains("shop.d"), "an empty directory that anyone may fill");
    std::fs::remove_dir(host.path("etc/deployd/apps/shop.d")).unwrap();
    assert!(host.load().is_ok());

    std::fs::rename(&file, host.path("etc/elsewhere.toml")).unwrap();
    symlink(host.path("etc/elsewhere.toml"), &file).unwrap();
    assert!(host.told().contains("is a symbolic link"));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(host.told().contains("is not a regular file"));
    std::fs::remove_dir(&file).unwrap();
    host.write("etc/deployd/apps/shop.toml", &"#".repeat(256 * 1024 + 1));
    assert!(host.told().contains("larger than 256 KiB"));
    std::fs::write(&file, [b'#', 0xff]).unwrap();
    assert!(host.told().contains("not UTF-8"));

    std::fs::rename(host.path("etc/deployd"), host.path("etc/real")).unwrap();
    symlink(host.path("etc/real"), host.path("etc/deployd")).unwrap();
    assert!(host.told().contains("is a symbolic link"));
}

#[test]
fn another_owner_is_refused_with_the_remedy() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can give a file away.
    }
    let host = Host::with(BARE);
    std::os::unix::fs::chown(host.path("etc/deployd/apps/shop.toml"), Some(1234), None).unwrap();
    let told = host.told();
    assert!(told.contains("not owned by root but by uid 1234"), "{told}");
    assert!(told.contains("chown root:root /"), "{told}");
}

#[test]
fn an_error_names_file_line_caret_and_remedy() {
    let told = Host::with("root = \"/srv/shop\"\nuser = \"shop\"\nusr = \"x\"\nsource.git = \"git@h:x\"\n").told();
    let expected = "\
error: unknown key \"usr\", did you mean \"user\"?
 --> /etc/deployd/apps/shop.toml:3:1
  |
3 | usr = \"x\"
  | ^^^
  |
  = help: write `user`";
    assert_eq!(told, expected);
}

#[test]
fn all_errors_are_told_at_once_and_in_order() {
    let host =
        Host::with("root = \"srv\"\nuser = \"nobody2\"\nkep = 1\n[source]\ngit = \"-x\"\nref = \"--upload-pack=x\"\n");
    host.write("etc/deployd/apps/shop.d/50.toml", "[releases]\nkeep = 1\n");
    let error = host.load().unwrap_err();
    let lines: Vec<_> = error.rendered.lines().filter(|l| l.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 6, "{}", error.rendered);
    assert!(lines[0].contains("\"srv\" is not an absolute path"));
    assert!(lines[1].contains("user \"nobody2\" does not exist"));
    assert!(lines[5].contains("keep = 1 is out of range"));
    assert!(error.rendered.contains("shop.d/50.toml:2"), "{}", error.rendered);
    assert!(error.rendered.contains("useradd"), "{}", error.rendered);
    assert!(
        error.summary.contains(
            "shop.toml:1: \"srv\" is not an absolute path; write it from the root: \"/srv/srv\" (and 5 more)"
        ),
        "{}",
        error.summary
    );
    assert!(!error.summary.contains('\n'));
}

/// What is written, and two pieces of what must be told of it: what is wrong, and the way out.
const REFUSED: &[(&str, &str, &str)] = &[
    ("root = \"/etc\"\n", "root = \"/etc\" is the system's", "/srv/shop"),
    ("user = \"root\"\n", "user may not be root", "useradd"),
    ("user = 5\n", "a number cannot stand here", "write a text: user = \"shop\""),
    ("run_as = \"nginx\"\n", "user \"nginx\" does not exist", "useradd"),
    ("run_as = \"www-dta\"\n", "did you mean \"www-data\"?", "useradd"),
    ("preset = \"larvel\"\n", "did you mean \"laravel\"?", "preset = \"laravel\""),
    ("shared = \"x\"\n", "a text cannot stand here", "write a list: shared ="),
    ("shared = [{ path = \"a\", from = \"../x\" }]\n", "leads out of the release", "without `..`"),
    ("shared = [\"up\", { path = \"pub/up\", from = \"up/x\" }]\n", "are one in shared/", "by from"),
    ("shared = [\"../x\"]\n", "leads out of the release", "without `..`"),
    ("shared = [\"/x\"]\n", "is absolute", "write \"x\""),
    ("shared = [\"a\", \"a/b\"]\n", "lies inside \"a\"", "share one"),
    ("shared = [\"a\", \"a\"]\n", "shared twice", "remove one"),
    ("shared = [{ path = \"a\", kind = \"dir\" }]\n", "kind = \"dir\" is not known", "\"file\" or \"directory\""),
    ("[environment]\nLD_PRELOAD = \"/x\"\n", "LD_PRELOAD may not be set", "remove it"),
    ("[environment]\nlower = \"x\"\n", "not a variable's name", "A-Z"),
    ("[environment]\nA = \"x\\ny\"\n", "NUL or a line break", "one line"),
    ("[environment]\nA = [1]\n", "the value of A is a list", "write A = "),
    ("service = [{ kind = \"php-fpm\" }]\n[environment]\nA = \"\"\n", "A is empty", "the app's own .env"),
    ("service = [{ kind = \"php-fpm\" }]\n[environment]\nA = \"$x\"\n", "A begins with `$`", "the app's own .env"),
    ("[[service]]\nkind = \"php-fpm\"\n[service.pool]\npm = \"\"\n", "pm is empty", "remove it"),
    ("[access]\ndeploy = \"ci\"\n", "a text cannot stand here", "[\"ci\", \"%web\"]"),
    ("[access]\ndeploy = [\"1000\"]\n", "neither a user's name nor a group's", "not a number"),
    ("[access]\ndeploy = [\"%\"]\n", "neither a user's name nor a group's", "\"%web\""),
    ("[access]\ndeploy = [\"a b\"]\n", "neither a user's name nor a group's", "\"%web\""),
    ("[access]\ndeplyo = [\"ci\"]\n", "did you mean \"deploy\"", "write `deploy`"),
    ("[access]\nkey = [\"ci\"]\n", "unknown key \"key\" in [access]", "read_logs"),
    ("[[service]]\nkind = \"reverb\"\n", "kind = \"reverb\" comes in a later version", "strategy = \"restart\""),
    ("[[service]]\nkind = \"octane\"\nports = [8000, 8001]\n", "which server Octane runs", "server = \"swoole\""),
    ("[[service]]\nkind = \"octane\"\nserver = \"swoole\"\n", "the ports of the slots are not said", "ports = [8000"),
    (
        "[[service]]\nkind = \"octane\"\nserver = \"swoole\"\nports = [8000]\n",
        "ports is not a list of 2 to 4 ports",
        "each once",
    ),
    (
        "[[service]]\nkind = \"octane\"\nserver = \"roadrunner\"\nports = [8000, 8001]\nadmin_ports = [8001, 8002]\n",
        "a port is in ports and in admin_ports",
        "none of ports",
    ),
    (
        "[[service]]\nkind = \"octane\"\nserver = \"swoole\"\nports = [8000, 8001]\nadmin_ports = [6000, 6001]\n",
        "admin_ports is only of RoadRunner and FrankenPHP",
        "remove admin_ports",
    ),
    (
        "[[service]]\nkind = \"octane\"\nserver = \"frankenphp\"\nports = [8000, 8001]\ntask_workers = 2\n",
        "task_workers is only of Swoole",
        "remove task_workers",
    ),
    ("[[service]]\nkind = \"http\"\nports = [3000, 3001]\n", "what serves is not said", "run = [\"node\""),
    (
        "[[service]]\nkind = \"http\"\nunit = \"web.service\"\nports = [3000, 3001]\n",
        "web.service is no template",
        "\"web@.service\"",
    ),
    ("[[service]]\nkind = \"queue\"\nqueues = [\"--x\"]\n", "cannot be the name of a queue", "each queue an item"),
    ("[safety]\nmissing_jobs = \"no\"\n", "missing_jobs = \"no\" is not known", "\"refuse\", \"warn\" or \"ignore\""),
    ("[safety]\ndurability = \"none\"\n", "durability = \"none\" is not known", "\"full\" or \"relaxed\""),
    ("[[service]]\nkind = \"php_fpm\"\n", "did you mean \"php-fpm\"?", "kind = \"php-fpm\""),
    ("[[service]]\nkind = \"php-fpm\"\nphp = \"8.1\"\n", "php-fpm \"8.1\" is not on this host", "\"8.3\" or \"8.2\""),
    ("[[service]]\nkind = \"php-fpm\"\nphp = 8.2\n", "a number with a point cannot stand here", "in quotes: \"8.2\""),
    (
        "[[service]]\nkind = \"php-fpm\"\nport = 1\n",
        "unknown key \"port\" in [[service]]",
        "the keys here are kind, unit",
    ),
    ("[[service]]\nkind = \"php-fpm\"\nprobe = \"up\"\n", "not the path of a page", "\"/up\""),
    (
        "[[service]]\nkind = \"php-fpm\"\npool = \"/etc/none.conf\"\n",
        "there is no pool file /etc/none.conf",
        "shop.toml:6",
    ),
    ("[[service]]\nkind = \"php-fpm\"\n[service.pool]\nlisten = \"/x\"\n", "listen may not be set here", "remove it"),
    ("[[service]]\nkind = \"php-fpm\"\n[service.pool]\nchroot = \"/x\"\n", "chroot may not be set here", "remove it"),
    (
        "[[service]]\nkind = \"php-fpm\"\n[service.pool]\npm.max_childen = 1\n",
        "did you mean \"pm.max_children\"?",
        "write",
    ),
    ("[[service]]\nkind = \"php-fpm\"\n[service.pool]\npm = \"a\\nb\"\n", "a line break", "one line"),
    ("[[service]]\nkind = \"php-fpm\"\n[[service]]\nkind = \"php-fpm\"\n", "two services \"php-fpm\"", "remove one"),
    (
        "[[service]]\nkind = \"queue\"\nqueues = [\"a\"]\n[[service]]\nkind = \"queue\"\nqueues = [\"b\"]\n",
        "two services \"queue\"",
        "queues = [\"high\", \"default\"]",
    ),
    (
        "[[service]]\nkind = \"octane\"\nserver = \"swoole\"\nports = [8000, 8001]\n\
         [[service]]\nkind = \"octane\"\nserver = \"swoole\"\nports = [9000, 9001]\n",
        "two services \"octane\"",
        "unit = \"shop-api@.service\"",
    ),
    ("[[service]]\nunit = \"x.service\"\n", "how x.service moves", "strategy = \"reload\""),
    ("[[service]]\nunit = \"x.service\"\nstrategy = \"rolling\"\n", "x.service is no template", "\"web@.service\""),
    ("[[service]]\nunit = \"deploy@shop.service\"\nstrategy = \"reload\"\n", "deployd's own", "php-fpm"),
    ("[[service]]\nunit = \"x\"\nstrategy = \"reload\"\n", "unit name \"x\" is not valid", "systemctl list-units"),
    ("[[service]]\nunit = \"x.service\"\nstrategy = \"signal\"\n", "which signal tells x.service", "signal = \"USR2\""),
    (
        "[[service]]\nunit = \"x@.service\"\nstrategy = \"rolling\"\norder = \"start-first\"\n",
        "which is not said",
        "one more than shall run",
    ),
    (
        "[[service]]\nunit = \"x@.service\"\nstrategy = \"rolling\"\ninstances = [\"1\", \"2\"]\nparallel = 2\n",
        "parallel = 2 of 2 instances leaves none",
        "a smaller parallel",
    ),
    (
        "[[service]]\nunit = \"x@.service\"\nstrategy = \"rolling\"\non_failure = \"pause\"\n\
         [[service]]\nkind = \"php-fpm\"\n",
        "x@.service may pause, and php-fpm comes after it",
        "on_failure = \"rollback\"",
    ),
    (
        "[[service]]\nunit = \"x.service\"\nstrategy = \"signal\"\nsignal = \"KILL\"\n",
        "does not tell a program to take up new code",
        "\"USR2\"",
    ),
    ("[[service]]\nunit = \"x@.service\"\nstrategy = \"reload\"\n", "is a template", "instance"),
    ("[[service]]\ndrain = \"1s\"\n", "neither kind nor unit", "kind = \"php-fpm\""),
    ("[[service]]\nkind = \"php-fpm\"\ndrain = \"infinity\"\n", "must always end", "drain = \"30s\""),
    ("[[step]]\nrun = \"php artisan x\"\n", "a command is a list", "run = [\"php\", \"artisan\", \"x\"]"),
    ("[[step]]\nrun = [\"-x\"]\n", "\"-x\" is not a program", "each argument an item"),
    ("[[step]]\nrun = []\n", "run is empty", "program and its arguments"),
    ("[[step]]\nname = \"x\"\n", "nothing to run", "run = ["),
    ("[[step]]\nrun = [\"a\"]\nname = \"a b\"\n", "not a step's name", "letters, digits and -"),
    (
        "[[step]]\nrun = [\"a\"]\nname = \"x\"\n[[step]]\nrun = [\"b\"]\nname = \"x\"\n",
        "two steps \"x\"",
        "its own name",
    ),
    ("[[step]]\nrun = [\"a\"]\nas = \"root\"\n", "as = \"root\" is not known", "\"user\" or \"run_as\""),
    ("[[step]]\nrun = [\"a\"]\nbefore = \"activate\"\nafter = \"activate\"\n", "not both", "remove one"),
    ("[[step]]\nrun = [\"a\"]\ntimeout = \"2 fortnights\"\n", "\"fortnights\" is not a unit of time", "from 1s to 6h"),
    ("[step]\nrun = [\"a\"]\n", "a table cannot stand here", "[[step]]"),
    ("[[notify]]\nkind = \"irc\"\n", "kind = \"irc\" is not known", "\"slack\""),
    ("[[notify]]\nto = \"a@b\"\n", "has no kind", "write kind"),
    ("[[notify]]\nkind = \"slack\"\n", "has no address", "url_file"),
    ("[[notify]]\nkind = \"slack\"\nurl = \"http://h/x\"\n", "is not https", "url_file"),
    ("[[notify]]\nkind = \"mail\"\nto = \"a@b\\nBcc: c@d\"\n", "is not a mail address", "ops@example.org"),
    ("[webhook]\n", "not known which refs", "refs = ["),
    ("[webhook]\nrefs = []\n", "refs has 0 patterns", "tag:v*"),
    ("[webhook]\nrefs = [\"-x\"]\n", "no pattern of branches", "\"main\""),
    ("[webhook]\nrefs = [\"tag:\"]\n", "no pattern of branches", "tag:v*"),
    ("[webhook]\nrefs = [\"main\"]\nsecret = \"x\"\n", "unknown key \"secret\"", "refs"),
    ("source.upload = true\n[webhook]\nrefs = [\"main\"]\n", "the source has none", "remove [webhook]"),
    ("[fleet]\n", "not known where the fleet's slots are", "fleet_lock = "),
    ("[fleet]\netcd = []\n", "etcd has 0 endpoints", "etcd = ["),
    ("[fleet]\netcd = [\"ftp://h\"]\n", "neither http:// nor https://", ":2379"),
    ("[fleet]\netcd = [\"http://u:p@h\"]\n", "a user or a password in it", "password_file"),
    ("[fleet]\netcd = [\"http://h/?x\"]\n", "has no valid host", "and no more"),
    ("[fleet]\netcd = [\"http://h:1\"]\nslots = 0\n", "slots = 0 is out of range", "from 1"),
    ("[fleet]\netcd = [\"http://h:1\"]\nlease = \"1s\"\n", "lease = 1s is out of range", "from 5s"),
    ("[fleet]\netcd = [\"https://h:1\"]\nuser = \"a\"\n", "user needs password_file", "write both"),
    (
        "[fleet]\netcd = [\"http://127.0.0.1.x\"]\nuser = \"a\"\npassword_file = \"/a\"\n",
        "for everyone to read",
        "write https://",
    ),
    ("[fleet]\netcd = [\"http://h:1\"]\ncert_file = \"/a\"\n", "cert_file needs key_file", "write both"),
    ("[fleet]\netcd = [\"http://h:1\"]\ngroup = \"a/b\"\n", "is not a group's name", "letters, digits"),
    ("[fleet]\netcd = [\"http://h:1\"]\nca_file = \"/srv/shop/a\"\n", "in the app's own tree", "/etc/deployd/secrets"),
    ("[fleet]\nfleet_lock = \"http://h\"\nslots = 2\n", "slots is etcd's", "remove one"),
    ("[[step]]\nrun = \"a | b\"\n", "a command is a list", "shell = true"),
    ("[[step]]\nrun = [\"a\"]\nshell = true\n", "a shell's line is one text", "remove shell = true"),
    ("[[step]]\nrun = [\"php\", \"artisan\", \"down\"]\n", "takes the live site down", "remove it"),
    (
        "[[step]]\nrun = [\"php\", \"artisan\", \"down\"]\nafter = \"activate\"\n",
        "takes the live site down",
        "requests are answered",
    ),
    ("[[step]]\nrun = \"cd x && php artisan down\"\nshell = true\n", "takes the live site down", "remove it"),
    ("[[step]]\nrun = [\"php\", \"artisan\", \"cache:clear\"]\n", "before activate empties", "after = \"activate\""),
    ("[[step]]\nrun = [\"php\", \"artisan\", \"view:clear\"]\n", "before activate removes views", "compiles its own"),
    ("[[step]]\nrun = [\"./artisan\", \"queue:restart\"]\n", "before activate restarts", "kind = \"queue\""),
    ("[[step]]\nrun = [\"php\", \"artisan\", \"migrate:fresh\"]\n", "takes data away", "migrations = \"any\""),
    ("[[step]]\nrun = [\"a\"]\non = \"failure\"\nafter = \"activate\"\n", "when the deployment has ended", "remove on"),
    ("[[step]]\nrun = [\"a\"]\nmemory = \"4K\"\n", "not a size", "at least 16M"),
    ("[[step]]\nrun = [\"a\"]\ncpu_weight = 0\n", "out of range", "from 1 to 10000"),
    ("[[step]]\nrun = [\"a\"]\nenvironment_file = \"x.env\"\n", "not an absolute path", "from the root"),
    ("[[step]]\nrun = [\"a\"]\ncredentials = { \"a/b\" = \"/x\" }\n", "not a credential's name", "letters, digits"),
    (
        "[[step]]\nrun = [\"a\"]\ncredentials = { a = \"/srv/shop/shared/.env\" }\n",
        "in the app's own tree",
        "/etc/deployd/secrets",
    ),
    ("[build]\npath = [\"node/bin\"]\n", "not an absolute path", "from the root"),
    ("[build]\npath = [\"/srv/shop/current/bin\"]\n", "in the app's own tree", "node_modules/.bin/vite"),
    ("[build]\npath = [\"/opt/a:/opt/b\"]\n", "':' cannot be part of this path", "use letters"),
    ("[build]\npath = [\"/srv/shop/bin\"]\n", "is in the app's own tree", "a directory of this host"),
    ("[build]\nnpmrc = \"/srv/shop/shared/.npmrc\"\n", "in the app's own tree", "/etc/deployd/secrets"),
    ("[health]\nhttp = \"127.0.0.1\"\n", "not an http or https URL", "http://127.0.0.1/up"),
    ("[health]\nhttp = \"http://u:p@h/\"\n", "credentials in it", "host = "),
    ("[health]\nstatus = 200\n", "status goes with http", "add http"),
    ("[health]\nhttp = \"http://h/\"\nrun = [\"x\"]\n", "http or run, not both", "two [[health]]"),
    (
        "[health]\nhttp = \"http://h/\"\njson = { pointer = \"status\", value = \"ok\" }\n",
        "not a JSON pointer",
        "\"/status\"",
    ),
    ("[health]\nhttp = \"http://h/\"\njson = { pointer = \"/status\" }\n", "a pointer and a value", "json = {"),
    ("[health]\nhttp = \"http://h/\"\nstatus = 1000\n", "out of range", "from 100 to 599"),
    ("share = \"symlink\"\n", "share = \"symlink\" is not known", "hardlink"),
    ("[[step]]\nrun = [\"make\"]\nskip_if_unchanged = [\"x\"]\n", "not known what the step makes", "makes = "),
    (
        "[[step]]\nrun = [\"composer\"]\nskip_if_unchanged = [\"composer.lock\"]\n",
        "makes vendor, which is not carried",
        "carry = [\"vendor\"]",
    ),
    ("[releases]\nkeep = 1\n", "keep = 1 is out of range", "from 2 to 1000"),
    ("x = [\n", "not valid TOML", "deployd.toml(5)"),
];

/// `written` after the other keys of a good file.
fn spoiled(written: &str) -> String {
    let key = |line: &str| line.split(['=', '.']).next().unwrap_or_default().trim().to_owned();
    let first = key(written);
    let kept: String = BARE.lines().filter(|line| key(line) != first).map(|line| format!("{line}\n")).collect();
    format!("{kept}{written}")
}

#[test]
fn each_refusal_says_what_and_how_else() {
    for (written, wrong, remedy) in REFUSED {
        let told = Host::with(&spoiled(written)).told();
        assert!(told.contains(wrong), "{written}\n{told}");
        assert!(told.contains(remedy), "{written}\n{told}");
        assert!(told.contains("/etc/deployd/apps/shop.toml:"), "{written}\n{told}");
        assert_eq!(told.matches("error: ").count(), 1, "{written}\n{told}");
    }
}

#[test]
fn sources_are_checked() {
    let base = "root = \"/srv/shop\"\nuser = \"shop\"\n";
    for (written, wrong) in [
        ("", "there is no source"),
        ("[source]\n", "[source] names no source"),
        ("[source]\narchive = \"http://h/x\"\n", "anyone on the way"),
        ("[source]\ngit = \"a:b\"\ndirectory = \"/x\"\n", "not both"),
        ("[source]\ngit = \"ext::sh -c x\"\n", "the git URL"),
        ("[source]\ngit = \"http://h/x\"\n", "anyone on the way"),
        ("[source]\ngit = \"a:b\"\nref = \"--upload-pack=x\"\n", "would take for an option"),
        ("[source]\ngit = \"https://h/x\"\nssh_key = \"/k\"\n", "goes with an ssh URL only"),
        ("[source]\ndirectory = \"/srv/shop/x\"\n", "one in the other"),
        ("[source]\ndirectory = \"/srv/b\"\nref = \"x\"\n", "ref goes with git"),
        ("[source]\ngit = \"a:b\"\nsha256 = \"x\"\n", "sha256 goes with archive, not with git"),
        ("[source]\narchive = \"https://h/x\"\n", "needs its sha256 or a signature"),
        ("[source]\narchive = \"https://h/x\"\nsha256 = \"abc\"\n", "no SHA-256"),
        ("[source]\narchive = \"https://u:p\\u0040h/x\"\nsha256 = \"@\"\n", "credentials"),
        ("[source]\narchive = \"ftp://h/x\"\nsha256 = \"@\"\n", "neither https:// nor"),
        ("[source]\narchive = \"https://h/{x}\"\nsha256 = \"@\"\n", "another place than {ref}"),
        ("[source]\narchive = \"/x\"\nsigned_by = []\n", "names no key"),
        ("[source]\narchive = \"/x\"\nsigned_by = [\"ssh-ed25519 x\"]\n", "no public key"),
        ("[source]\narchive = \"/x\"\nsigned_by = [\"ssh-ed25519 #\\nevil\"]\n", "no public key"),
        ("[source]\narchive = \"/x\"\nsignature = \"/y\"\n", "without a key"),
        ("[source]\narchive = \"/tmp/shop.tar.gz\"\n", "a /tmp of its own"),
        ("[source]\narchive = \"/srv/b/{ref}.tgz\"\n", "there is no ref"),
        ("[source]\narchive = \"/srv/b/x.tgz\"\nref = \"v1\"\n", "ref has no place"),
        ("[source]\narchive = \"/srv/b/{ref}.tgz\"\nref = \"../x\"\n", "is a range"),
        ("[source]\narchive = \"/srv/b/x.tgz\"\nexclude = [\"../x\"]\n", "leads out"),
    ] {
        let told = Host::with(&format!("{base}{}", written.replace('@', &"0".repeat(64)))).told();
        assert!(told.contains(wrong), "{written}\n{told}");
        assert_eq!(told.matches("error: ").count(), 1, "{written}\n{told}");
    }
    let digest = "0".repeat(64);
    let written =
        "[source]\narchive = \"https://h:8443/a/shop-{ref}.tar.zst?x=1\"\nref = \"v1\"\nexclude = [\"docs/\"]\n";
    let s = Host::with(&format!("{base}{written}include_all = true\nsha256 = \"{digest}\"\n")).load().unwrap();
    assert_eq!(
        s.source,
        Source::Archive {
            at: "https://h:8443/a/shop-{ref}.tar.zst?x=1".into(),
            reference: Some("v1".into()),
            sha256: Some(digest),
            signed_by: vec![],
            signature: None,
            unpack: Unpack { strip: true, exclude: vec!["docs".into()] },
        }
    );
    let s = Host::with(&format!("{base}source.directory = \"/srv/build/shop/\"\n")).load().unwrap();
    assert_eq!(
        s.source,
        Source::Directory {
            path: "/srv/build/shop".into(),
            exclude: [".git", ".env", "storage", "node_modules"].map(String::from).into()
        }
    );
}

#[test]
fn no_secret_is_told() {
    for text in [
        "source.git = \"https://u:hunter2@h/x\"\n",
        "source.archive = \"https://u:hunter2@h/x\"\n",
        "source.git = \"a:b\"\n[environment]\nlower = \"hunter2\"\n",
        "source.git = \"a:b\"\n[environment]\nA = \"hunter2\\n\"\n",
        "source.git = \"a:b\"\n[environment]\nA = [\"hunter2\"]\n",
        "source.git = \"a:b\"\n[environment]\nA = hunter2\n",
        "source.git = \"a:b\"\n[health]\nhttp = \"http://u:hunter2@h/\"\n",
        "source.git = \"a:b\"\n[[step]]\nrun = [\"x\"]\nenvironment = { LD_PRELOAD = \"hunter2\" }\n",
        "source.git = \"a:b\"\n[[service]]\nkind = \"php-fpm\"\n[environment]\nA = \"$hunter2\"\n",
    ] {
        let error = Host::with(&format!("root = \"/srv/shop\"\nuser = \"shop\"\n{text}")).load().unwrap_err();
        assert!(!error.rendered.contains("hunter2"), "{text}\n{}", error.rendered);
        assert!(!error.summary.contains("hunter2"), "{text}\n{}", error.summary);
    }
}

#[test]
fn facts_that_are_missing_are_told() {
    let host = Host::with(&format!("{BARE}[[service]]\nkind = \"php-fpm\"\n"));
    let bare = HostFacts { fpm: Vec::new(), ..facts() };
    let error = load(&host.paths(), &"shop".parse().unwrap(), &bare).unwrap_err();
    assert!(error.rendered.contains("there is no php-fpm on this host"), "{}", error.rendered);
    let laravel = Host::with(FOUR);
    let s = load(&laravel.paths(), &"shop".parse().unwrap(), &bare).unwrap();
    assert!(s.services.is_empty());
    assert!(show(&s).contains("there is no php-fpm on this host"), "{}", show(&s));
}

/// Shown settings, loaded again, are the same settings.
fn round_trip(text: &str) {
    let first = Host::with(text).load().unwrap();
    let shown = show(&first);
    let second = Host::with(&shown).load().unwrap_or_else(|e| panic!("{shown}\n{e}"));
    let plain =
        |s: &Settings| Settings { inferred: Vec::new(), files: Vec::new(), origins: Default::default(), ..s.clone() };
    assert_eq!(plain(&first), plain(&second), "{shown}");
}

#[test]
fn what_is_shown_loads_to_the_same() {
    round_trip(FOUR);
    round_trip(BARE);
    round_trip(&format!(
        "{FOUR}[[service]]\nunit = \"x.service\"\nstrategy = \"reload\"\n[[step]]\nrun = [\"a\", \"it's \\\"x\\\"\"]\n"
    ));
}

#[test]
fn every_kind_is_shown_as_it_was_written() {
    let kinds = r#"
[[service]]
kind = "php-fpm"
[[service]]
kind = "octane"
server = "roadrunner"
ports = [8000, 8001, 8002]
workers = 4
max_requests = 1000
php = "8.2"
drain = "2min"
[[service]]
kind = "http"
run = ["node", "server.js", "a b"]
ports = [3000, 3001]
probe = "/up?x=1"
start = "10s"
sandbox = "strict"
[[service]]
kind = "http"
unit = "shop-web@.service"
ports = [3002, 3003]
[[service]]
kind = "horizon"
drain = "1h"
[[service]]
kind = "queue"
connection = "redis"
queues = ["high", "default"]
processes = 4
tries = 3
timeout = 60
sleep = 0
[[service]]
kind = "scheduler"
php = "/opt/php/bin/php"
[[service]]
unit = "a.service"
strategy = "signal"
signal = "SIGUSR2"
[[service]]
unit = "b.service"
strategy = "warm"
[[service]]
unit = "web@.service"
strategy = "rolling"
instances = ["1", "2", "3"]
parallel = 2
delay = "3s"
order = "start-first"
probe = "http://127.0.0.1:300{instance}/up"
on_failure = "pause"
[safety]
missing_jobs = "warn"
durability = "relaxed"
require = "zero-downtime"
[webhook]
refs = ["main", "release/*", "tag:v*"]
[fleet]
group = "web"
etcd = ["https://a:2379", "https://[fd00::1]:2379"]
slots = 2
lease = "10s"
user = "shop"
password_file = "/etc/deployd/secrets/etcd"
ca_file = "/etc/deployd/secrets/ca.pem"
cert_file = "/etc/deployd/secrets/etcd.pem"
key_file = "/etc/deployd/secrets/etcd.key"
[access]
deploy = ["ci", "%web", "ops@example.org"]
rollback = []
read_logs = ["%web"]
hold = ["ops@example.org"]
prune = ["%web"]
"#;
    let text = format!("{FOUR}{kinds}");
    round_trip(&text);
    let s = Host::with(&text).load().unwrap();
    let names: Vec<_> = s.services.iter().map(|service| service.name.as_str()).collect();
    let expected =
        ["php-fpm", "octane", "http", "shop-web@.service", "horizon", "queue", "scheduler", "a.service", "b.service"];
    assert_eq!(names, [&expected[..], &["web@.service"]].concat());
    let Some(SlotKind::Octane(octane)) = s.services[1].slots() else { panic!() };
    assert_eq!((octane.admin_ports.as_slice(), octane.php.as_str()), (&[6001, 6002, 6003][..], "php8.2"));
    assert_eq!(s.services[4].drain, Duration::from_secs(3600));
    assert_eq!(s.services[5].drain, Duration::from_secs(900));
}

#[test]
fn show_gives_reasons_and_no_secret() {
    let s = Host::with(&format!("{FOUR}[environment]\nDB_PASSWORD = \"hunter2\"\n")).load().unwrap();
    let shown = show(&s);
    assert!(!shown.contains("hunter2"));
    for line in [
        "run_as = \"shop\"  # the same as user",
        "ref = \"HEAD\"  # the repository's own default branch",
        "[[step]]  # preset laravel; when composer.json is in the release",
        "php = \"8.3\"  # the newest of 8.3, 8.2, /usr/sbin/php-fpm8.3",
        "keep = 5  # default",
        "user = \"www-data\"  # nginx's workers run as it",
        "DB_PASSWORD = \"(set, not shown)\"",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line}\n{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn no_file_makes_it_panic(
        keys in proptest::collection::vec("(root|user|source|shared|service|step|health|environment|releases|web|preset|x)", 0..6),
        values in proptest::collection::vec("(1|\"x\"|\\[\\]|\\[\"a\"\\]|\\{\\}|\\{a=1\\}|true|1.5|\\[\\{\\}\\]|\\[1\\]|\"/srv/x\")", 6),
    ) {
        let text: String = keys.iter().zip(&values).map(|(k, v)| format!("{k} = {v}\n")).collect();
        let host = Host::with(&text);
        if let Err(error) = host.load() {
            prop_assert!(error.rendered.contains("error: "));
            prop_assert!(!error.summary.is_empty() && !error.summary.contains('\n'));
        }
    }
}

#[test]
fn a_step_s_options() {
    let host = Host::with(
        "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"a:b\"\n[[step]]\nrun = \"a | b\"\nshell = true\non = \"failure\"\n\
         memory = \"1G\"\ntasks = 50\ncpu_weight = 100\nenvironment_file = \"/etc/x.env\"\n\
         credentials = { npm-token = \"/etc/npm\" }\n[[step]]\nrun = [\"php\", \"artisan\", \"cache:clear\"]\nafter = \"activate\"\n",
    );
    let s = host.load().unwrap();
    let step = &s.steps[0];
    assert_eq!(step.run, ["/bin/sh", "-ec", "a | b"]);
    assert_eq!((step.shell, step.on, step.limits.memory), (true, Some(On::Failure), Some(1 << 30)));
    assert_eq!((step.limits.tasks, step.limits.cpu_weight, step.limits.io_weight), (50, 100, 20));
    assert_eq!(step.credentials["npm-token"], Path::new("/etc/npm"));
    let shown = show(&s);
    host.write("etc/deployd/apps/shop.toml", &shown);
    assert_eq!(host.load().unwrap().steps, s.steps, "{shown}");
}

#[test]
fn what_a_build_and_a_source_are_handed_is_shown_as_it_was_written() {
    let text = "root = \"/srv/shop\"\nuser = \"shop\"\n[source]\ngit = \"https://h/x.git\"\ndepth = 1\nsubmodules = \"server\"\nlfs = false\n\
                token_credential = \"/etc/deployd/secrets/token\"\n[build]\npath = [\"/opt/node/bin\"]\n\
                composer_auth = \"/etc/deployd/secrets/auth.json\"\nnpmrc = \"/etc/deployd/secrets/npmrc\"\n";
    let host = Host::with(text);
    let s = host.load().unwrap();
    let Source::Git(git) = &s.source else { panic!("git") };
    assert_eq!((git.depth, git.submodules, git.whole_server, git.lfs_pointers), (Some(1), true, true, true));
    let narrow = Host::with(&text.replace("\"server\"", "true")).load().unwrap();
    assert!(matches!(narrow.source, Source::Git(git) if git.submodules && !git.whole_server));
    let told = Host::with(&text.replace("\"server\"", "\"all\"")).told();
    assert!(told.contains("submodules = \"server\""), "{told}");
    assert_eq!(git.credential, Some(GitCredential::Token("/etc/deployd/secrets/token".into())));
    assert_eq!(s.build.path, [Path::new("/opt/node/bin")]);
    let shown = show(&s);
    host.write("etc/deployd/apps/shop.toml", &shown);
    let again = host.load().unwrap();
    assert_eq!((&again.source, &again.build), (&s.source, &s.build), "{shown}");
    for (git, key, wrong) in [
        ("h:x.git", "token_credential", "goes with an https URL"),
        ("https://h/x.git", "ssh_key_credential", "goes with an ssh URL"),
        ("h:x.git", "ssh_key_credential", "in the app's own tree"),
    ] {
        let text = format!(
            "root = \"/srv/shop\"\nuser = \"shop\"\n[source]\ngit = \"{git}\"\n{key} = \"/srv/shop/shared/key\"\n"
        );
        let told = Host::with(&text).told();
        assert!(told.contains(wrong), "{told}");
    }
}

#[test]
fn gates_are_off_until_they_are_switched_on() {
    let four = "preset = \"laravel\"\nroot = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"a:b\"\n";
    let off = Host::with(four).load().unwrap();
    assert!(off.gates.tests.is_none() && !off.steps.iter().any(|step| step.name.ends_with("-audit")));
    let on = format!("{four}[gates]\ncomposer_audit = true\nnpm_audit = true\ntests = true\ntimeout = \"1h\"\n");
    let host = Host::with(&on);
    let s = host.load().unwrap();
    let names: Vec<_> = s.steps.iter().map(|step| step.name.as_str()).take(5).collect();
    assert_eq!(names, ["composer-install", "composer-audit", "npm-ci", "npm-audit", "npm-build"]);
    let tests = s.gates.tests.clone().unwrap();
    assert_eq!((tests.run.join(" ").as_str(), tests.network), ("php artisan test", false));
    assert_eq!(tests.timeout, Duration::from_secs(3600));
    let own = Host::with(&on.replace("tests = true", "tests = [\"vendor/bin/phpunit\"]")).load().unwrap();
    assert_eq!(own.gates.tests.unwrap().run, ["vendor/bin/phpunit"]);
    let plain = Host::with(&format!("{}[gates]\ntests = true\n", four.split_once('\n').unwrap().1));
    assert!(plain.told().contains("tests = [\"vendor/bin/phpunit\"]"), "{}", plain.told());
}
