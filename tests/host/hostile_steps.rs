//! Steps are someone else's code: what they may not reach is denied, and whatever they do, they end, it is said, and
//! what is live is as it was.

use std::time::Duration;

use crate::{
    common::{Live, eventually, installed},
    support::{
        deb,
        disk::Disk,
        host::Host,
        root::Root,
        shop::{Shop, Spec},
    },
};

const PAGE: &str = "<?php\n\nheader('Content-Type: text/plain');\n$r = include __DIR__.'/../release.php';\n\
                    echo \"start=$r\\nend=\", trim(file_get_contents(__DIR__.'/../RELEASE')), \"\\n\";\n";
pub const SERVICE: &str = "[[service]]\nkind = \"php-fpm\"\n";

/// What a step tries; what succeeds is a line of `reached`. A call by number is denied where it is not looked at: EPERM.
/// Its number is an argument of its own: perl's syscall takes the first in scalar context, where a list is its length,
/// another call's number.
const TRIES: &str = r#"
try() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name" >> reached; fi; }
port() { php -r 'exit(@stream_socket_client("tcp://127.0.0.1:80", $n, $e, 2) ? 0 : 1);'; }
setuid() { cp /bin/true own && chmod 4755 own; }
call() {
    perl -e 'my ($n, @with) = map { $_ eq "zeros" ? "\0" x 128 : /^-?[0-9]+$/ ? $_ + 0 : $_ } @ARGV;
             exit(syscall($n, @with) < 0 && $! == 1)' "$@"
}
: > reached
try other-env cat /srv/other/shared/.env
try other-release ls /srv/other
try shadow cat /etc/shadow
try state ls /var/lib/deployd/apps
try requests ls /run/deployd/requests
try secret cat /etc/deployd/secrets/token
try bus busctl --system list
try run systemd-run --wait true
try etc touch /etc/made-by-a-step
try root touch /srv/shop/made-by-a-step
try live touch /srv/shop/current/made-by-a-step
try shared touch /srv/shop/shared/made-by-a-step
try setuid setuid
try device mknod device c 1 3
try namespace unshare -U true
try mount mount -t tmpfs none .
try terminal sh -c ': < /dev/tty'
try push-back perl -e 'my $c = "x"; exit(!ioctl(STDIN, 0x5412, $c))'
try processes sh -c 'cat /proc/1/environ || kill -0 1'
try others sh -c 'test -n "$OTHERS" && kill -9 $OTHERS'
try trace call 101 0 0 0 0
try keys call 248 user of-a-step x 1 -4
try programs-of-the-kernel call 321 7 zeros 128
try faults call 323 1
try ring call 425 1 zeros
try network port
"#;

/// What of the kernel a step tries, which anybody may where nothing denies it; a ring where the host lets anybody.
const CALLS: [&str; 5] = ["trace", "keys", "programs-of-the-kernel", "faults", "ring"];

/// What any user is told: of units, of processes, of every object of deployd's.
const TOLD: &str = "for unit in $(systemctl list-units --all --plain --no-legend 'deploy*' 'app-*' | cut -d' ' -f1); do \
                    systemctl show \"$unit\"; done; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; \
                    for path in $(busctl tree --list org.deployd1); do busctl introspect --full --no-pager org.deployd1 \"$path\" || true; \
                    done";

/// The Node program with a page of PHP: a release that is made at once.
pub fn shop(host: &Host, more: &str) -> Shop {
    let shop = Shop::make(host, Spec::node("shop").more(&format!("{SERVICE}{more}")));
    shop.commit(host, "r1", &[("public/index.php", PAGE)]);
    shop
}

/// A step of one line of shell.
pub fn line(name: &str, more: &str, script: &str) -> String {
    format!("[[step]]\nname = \"{name}\"\nshell = true\n{more}run = '''{script}'''\n")
}

#[test]
fn a_step_reaches_nothing_that_is_not_its_own() {
    let host = installed();
    // Readable for everyone, so that it is the sandbox that denies.
    host.write("/srv/other/shared/.env", "APP_KEY=other\n");
    host.write(
        "/etc/deployd/apps/other.toml",
        "root = \"/srv/other\"\nuser = \"shop\"\nsource.git = \"/srv/git/x.git\"\n",
    );
    host.write("/etc/deployd/secrets/token", "geheim\n");
    host.write("/etc/deployd/secrets/shop.env", "FROM_FILE=also-geheim\n");
    host.sh("chmod 0600 /etc/deployd/secrets/*; chmod -R a+rX /srv/other");
    let secrets = "credentials = { token = \"/etc/deployd/secrets/token\" }\n\
                   environment_file = \"/etc/deployd/secrets/shop.env\"\n";
    let shows = "cp \"$CREDENTIALS_DIRECTORY/token\" token; echo \"$FROM_FILE\" > from-file; cat /proc/self/cgroup > group; \
         { nice; ionice -p $$; chrt -p $$; taskset -cp $$; } > share; printf '\\033]0;pwn\\007\\033[2Jwritten\\n'; sleep 2";
    let mains = || host.ok(&["systemctl", "show", "--property=Id,MainPID", "nginx", "dbus", "systemd-journald"]);
    let before = mains();
    let pids = before.lines().filter_map(|line| line.strip_prefix("MainPID=")).collect::<Vec<_>>().join(" ");
    let others = format!("environment = {{ OTHERS = \"1 {pids}\" }}\n");
    let more = [
        line("secrets", secrets, shows),
        line("offline", &format!("network = false\n{others}"), &format!("{TRIES}\nmv reached offline")),
        line("online", &others, &format!("{TRIES}\nmv reached online")),
    ];
    let shop = shop(&host, &more.concat());
    // The tries work where nothing denies them.
    host.run_as("shop", &["sh", "-c", "cat /srv/other/shared/.env && busctl --system list && unshare -U true"]).ok();
    let bare = format!("cd $(mktemp -d); {TRIES}\ncat reached");
    let reached = host.run_as("shop", &["sh", "-c", &bare]).ok();
    let rings = host.run(&["cat", "/proc/sys/kernel/io_uring_disabled"]).stdout;
    for call in CALLS.into_iter().filter(|call| *call != "ring" || matches!(rings.as_str(), "" | "0\n")) {
        assert!(reached.lines().any(|line| line == call), "{call} cannot be tried on this host: {reached}");
    }
    let told = std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.start(&host));
        let list = ["systemctl", "list-units", "--plain", "--no-legend", "deploy-step-shop-*-secrets.service"];
        let runs = || host.run(&list).stdout.contains("running");
        eventually("the step with the secrets runs", Duration::from_secs(30), runs);
        let told = host.run_as("nobody", &["sh", "-c", TOLD]).ok();
        let ended = deploying.join().expect("it is waited for");
        assert!(ended.status == 0, "{}", host.journal(60));
        told
    });
    for part in ["-secrets.service", "org.deployd1.App", "org.deployd1.Deployment", "deploy-engine"] {
        assert!(told.contains(part), "{part} is not in what everybody may ask: {told}");
    }
    assert!(!told.contains("geheim"), "a secret is in what everybody may ask");
    assert_eq!(host.run(&["grep", "-rl", "geheim", "/var/lib/deployd/apps", "/run/deployd"]).stdout, "");
    let read = |name: &str| host.read(&format!("/srv/shop/current/{name}"));
    assert_eq!((read("offline").as_str(), read("online").as_str()), ("", "network\n"));
    assert_eq!(mains(), before, "what others run was ended");
    assert_eq!((read("token").as_str(), read("from-file").as_str()), ("geheim\n", "also-geheim\n"));
    // What it weighs is nothing beside nginx and any service, not only beside its own app's.
    assert!(read("group").contains("/deploysteps.slice/deploysteps-shop.slice/deploy-step-"), "{}", read("group"));
    assert_eq!(host.ok(&["systemctl", "show", "-P", "CPUWeight", "deploysteps.slice"]), "idle\n");
    // The same where the host has no controllers.
    let share = read("share");
    assert!(share.starts_with("19\nidle\n") && share.contains("SCHED_IDLE"), "{share}");
    // And one processor is left to what serves, where there are several.
    let alone = host.ok(&["nproc"]) == "1\n";
    let list = share.lines().last().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
    assert!(alone || list.starts_with(|first: char| ('1'..='9').contains(&first)), "{share}");
    let journal = host.ok(&["journalctl", "--no-pager", "-o", "verbose"]);
    assert!(!journal.contains("geheim"), "a secret is in the journal");
    // What a step prints moves nobody's cursor, in a pipe and on a terminal.
    for logs in [["sh", "-c", "deployctl logs shop"], ["script", "-qec", "deployctl logs shop"]] {
        let said = host.run(&[&logs[..], &["/dev/null"]].concat()).stdout;
        assert!(said.contains("written") && !said.contains("\x1b]0;") && !said.contains("\x1b[2J"), "{said:?}");
    }
}

/// Deploys with one step more, which must fail for a reason; what is live is as it was.
#[track_caller]
fn fails(host: &Host, shop: &Shop, more: &str, reason: &str) {
    let end =
        "[[step]]\nname = \"told\"\non = \"failure\"\nshell = true\nrun = 'echo $DEPLOYD_OUTCOME > $HOME/ended'\n";
    let live = || Live { slots: Vec::new(), ..Live::of(host, shop) };
    let before = live();
    host.ok(&["rm", "-f", "/var/cache/deployd/shop/ended"]);
    shop.configure(host, &format!("{SERVICE}{more}{end}"));
    let said = shop.ctl(host, "deploy", &[]).expect_status(1);
    assert!(said.stderr.contains(reason), "it does not say {reason:?}: {said}");
    assert_eq!((live(), shop.release(host)), (before, "r1".to_owned()));
    assert_eq!(host.read("/var/cache/deployd/shop/ended"), "failed\n");
    assert_eq!(host.run(&["pgrep", "-f", "hostile"]).stdout, "", "nothing of it is left");
}

#[test]
fn a_step_ends_whatever_it_does() {
    let host = installed();
    // The release's file system is small and its own.
    host.sh("mkdir -p /srv/shop && mount -t tmpfs -o size=48M,mode=755 none /srv/shop");
    let shop = shop(&host, "");
    shop.deploy(&host);
    let used = || host.sh("df --output=used /srv/shop | tail -1").trim().parse::<u64>().unwrap();
    let before = used();
    let full = line("fill", "", "head -c 200000000 /dev/zero > hostile-file");
    fails(&host, &shop, &full, "the step fill failed with exit status");
    assert!(used() < before + 4096, "what it wrote is gone: {} of {before} KiB", used());
    let stuck = line("stuck", "timeout = \"2s\"\n", "trap '' TERM; : hostile; while :; do sleep 1; done");
    fails(&host, &shop, &stuck, "the step stuck did not end within 2s");
    // It is left behind when it is known to ignore being told.
    let ignores = "setsid sh -c 'trap \"\" TERM; : hostile > ready; while :; do sleep 1; done' & ";
    let daemon = format!(
        "[[step]]\nname = \"daemon\"\nshell = true\nrun = \"\"\"{ignores}while ! test -e ready; do sleep 0.1; done\"\"\"\n"
    );
    fails(&host, &shop, &daemon, "the step daemon left processes behind");

    let endless = "yes \"$(head -c 2000 /dev/zero | tr '\\0' y)\" | head -c 500000000; \
                   head -c 500000000 /dev/zero | tr '\\0' x";
    shop.configure(&host, &format!("{SERVICE}{}", line("talks", "", endless)));
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    // journald's own bound on all of the journal would take everybody else's lines for its.
    let about = "Suppressed [0-9]+ messages from .*deploy-step-shop-.*-talks";
    let suppressed = host.run(&["journalctl", "--no-pager", "-o", "cat", "-u", "systemd-journald", "--grep", about]);
    assert!(suppressed.stdout.contains("Suppressed"), "all of it went into the journal");
    let kept = host.sh("du -sk /run/log/journal /var/log/journal 2>/dev/null | awk '{ n += $1 } END { print n }'");
    assert!(kept.trim().parse::<u64>().unwrap() < 200_000, "the journal keeps {kept} KiB of it");
    // What took more than a second of the processor is told with what it took.
    let consumed =
        host.ok(&["journalctl", "--no-pager", "-o", "cat", "_PID=1", "--grep", "deploy-step-shop-.*Consumed"]);
    assert!(consumed.contains("-talks.service: Consumed"), "{consumed}");
}

/// A sync of a file that has none: the kernel refuses it, when it is asked.
const SYNC: &str = "perl -MIO::Handle -e 'open(my $f, \"<\", \"/proc/self/status\"); exit($f->sync ? 0 : 1)'";

/// What is synced after a step need not wait for the disk, nor make others wait; all else is synced when a step says so.
#[test]
fn only_what_is_synced_after_a_step_is_not_synced_by_it() {
    let host = installed();
    let step =
        |name: &str, more: &str| line(name, more, &format!("if {SYNC}; then echo answered; else echo asked; fi"));
    let more = [
        step("builds", ""),
        step("shares", "shared = \"rw\"\n"),
        step("weighs", "io_weight = 100\n"),
        step("follows", "after = \"activate\"\n"),
    ];
    let shop = shop(&host, &more.concat());
    shop.deploy(&host);
    let said = |step: &str| {
        let field = format!("DEPLOYD_STEP={step}");
        host.ok(&["journalctl", "--no-pager", "-o", "cat", &format!("SYSLOG_IDENTIFIER={step}"), &field])
    };
    assert_eq!(["builds", "shares", "weighs", "follows"].map(said), ["answered\n", "asked\n", "asked\n", "asked\n"]);
}

/// The cache, here on a disk of its own, outlives the deployment: whether that succeeds or fails, what its steps would
/// have synced is on the disk when it has ended.
#[test]
fn what_a_step_leaves_in_the_cache_outlives_a_power_cut() {
    let disk = Disk::small("ext4", 256);
    let host = Host::boot_on(&Root::chosen(), &[(&disk, "var/cache/deployd")]);
    host.install_deb(&deb::ensure());
    let keeps = |end: &str| {
        let script = format!("head -c 300000 /dev/zero | tr '\\0' x > $HOME/{end}; sync; test {end} = succeeds");
        format!("{SERVICE}{}", line("keeps", "", &script))
    };
    let shop = shop(&host, "");
    for (end, status) in [("succeeds", 0), ("fails", 1)] {
        shop.configure(&host, &keeps(end));
        shop.ctl(&host, "deploy", &["--force"]).expect_status(status);
        let after = disk.after_a_power_cut();
        let kept = after.dir().join("var-cache-deployd/shop").join(end);
        let size = std::fs::metadata(&kept).map_or(0, |meta| meta.len());
        assert_eq!(size, 300_000, "{}", kept.display());
    }
}

/// Nobody knows what of a build that was cut off is on the disk: composer and npm begin anew, what is a step's own stays.
#[test]
fn the_next_build_does_not_go_on_in_caches_that_were_cut_off() {
    let host = installed();
    let shop = shop(&host, "");
    let script = "mkdir -p composer/cache npm; touch composer/cache/half composer/own npm/half own; sleep 1000";
    shop.configure(&host, &format!("{SERVICE}{}", line("builds", "", &format!("cd $HOME; {script}"))));
    std::thread::scope(|scope| {
        let deploying = scope.spawn(|| shop.start(&host));
        let begun = || host.run(&["test", "-e", "/var/cache/deployd/shop/own"]).status == 0;
        eventually("the step has begun", Duration::from_secs(30), begun);
        host.ok(&["systemctl", "kill", "--signal=KILL", "--kill-who=main", "deploy@shop"]);
        assert_ne!(deploying.join().expect("it is waited for").status, 0);
    });
    shop.configure(&host, SERVICE);
    shop.deploy(&host);
    let left = host.sh("cd /var/cache/deployd/shop; find composer npm own | sort | tr '\\n' ' '");
    assert_eq!(left, "composer composer/own own ");
}
