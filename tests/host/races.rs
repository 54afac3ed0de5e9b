//! Races: while root deploys, goes back, settles and looks, the app's own user exchanges what is in its tree for links,
//! FIFOs and the files of others, as fast as the kernel lets it. Nothing outside may change, whatever the deployment
//! itself comes to; and when the user stops, the next one works.

use std::{
    ffi::CString,
    fs,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::Path,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, mknodat, open, renameat_with};

use crate::{
    common::installed,
    support::{
        host::Host,
        inside::{Inside, Shared, long},
        shop::{Shop, Spec},
    },
};

/// Exchanges that must have been made while an operation of root's was under way.
const ROUNDS: u64 = 10_000;

/// What is not the user's. It has the names that a deployment looks for, so that one that is led there finds them.
const CANARIES: &str = r#"
mkdir -p /srv/canary/shared /srv/canary/releases /srv/canary/storage /srv/canary/public /srv/canary/src /srv/open
for name in secret .env RELEASE public/index.php src/f1.php storage/kept; do echo canary > /srv/canary/$name; done
ln -s releases/none /srv/canary/current
cp -a /srv/canary /srv/.site; mkdir /srv/canary/site; mv /srv/.site /srv/canary/site/below
chmod 0600 /srv/canary/secret /srv/canary/.env
useradd other; echo open > /srv/open/file; chown -R other: /srv/open; chmod 0666 /srv/open/file
"#;

/// Everything about them, with the times of their last change; of the file that has links, what links do not change.
fn canaries(host: &Host) -> String {
    host.sh("find /srv/canary /etc/shadow /etc/passwd /etc/deployd -printf '%p %y %U:%G %m %n %s %T@ %C@ %l\\n' | sort
         find /srv/canary /etc/shadow /etc/passwd -type f -print0 | sort -z | xargs -0 sha256sum
         stat -c '%n %U:%G %a %s' /srv/open /srv/open/file; cat /srv/open/file")
}

/// What lies outside of everything that a deployment of these apps may write, and was changed since they began.
fn changed_elsewhere(host: &Host) -> String {
    host.sh("find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /tmp -o -path /var/log \
         -o -path /var/tmp -o -path /var/cache -o -path /var/lib -o -path /var/spool -o -path /srv/shop \
         -o -path /srv/open -o -path /home/deploy -o -path /srv/git -o -path /srv/build \\) -prune \
         -o -cnewer /srv/mark ! -path /srv -print")
}

/// Exchanges two entries of a directory; whether it could.
fn exchange(dir: &OwnedFd, one: &str, other: &str, shared: &Shared) -> bool {
    let done = renameat_with(dir, one, dir, other, RenameFlags::EXCHANGE).is_ok();
    shared.count.fetch_add(u64::from(done), Ordering::Relaxed);
    done
}

fn dir(path: &Path) -> Option<OwnedFd> {
    open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Takes each pair out of its place and back again.
fn pairs(dir: &OwnedFd, pairs: &[(&str, &str)], shared: &Shared) {
    for (one, other) in pairs {
        if exchange(dir, one, other, shared) {
            std::thread::yield_now();
            exchange(dir, one, other, shared);
        }
    }
}

fn fifo(path: &Path) {
    let path = CString::new(path.to_string_lossy().into_owned()).unwrap();
    // In a container it may be there from the round before.
    let _ = mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0);
}

/// The app's user on what is shared (mode 0 and 2) and on every release that is its own (1 and 2).
fn in_the_tree(shared: &Shared) {
    let root = Path::new("/srv/shop");
    let below = root.join("shared");
    symlink("/srv/canary/storage", below.join(".link")).unwrap();
    symlink("/srv/canary/.env", below.join(".link-to-file")).unwrap();
    fs::create_dir(below.join(".dir")).unwrap();
    fs::hard_link("/srv/open/file", below.join(".hard")).unwrap();
    fifo(&below.join(".fifo"));
    let below = dir(&below).unwrap();
    const SHARED: [(&str, &str); 6] = [
        ("storage", ".link"),
        ("settings.ini", ".fifo"),
        ("settings.ini", ".link-to-file"),
        ("settings.ini", ".hard"),
        ("settings.ini", ".dir"),
        ("storage", ".fifo"),
    ];
    const RELEASE: [(&str, &str); 6] = [
        ("public", ".link"),
        ("src", ".link"),
        ("storage", ".link"),
        ("RELEASE", ".fifo"),
        ("built", ".link"),
        ("src/f1.php", ".hard"),
    ];
    while !shared.stop.load(Ordering::Relaxed) {
        let mode = shared.mode.load(Ordering::Relaxed);
        if mode != 1 {
            pairs(&below, &SHARED, shared);
        }
        if mode == 0 {
            continue;
        }
        for entry in fs::read_dir(root.join("releases")).into_iter().flatten().flatten() {
            let _ = symlink("/srv/canary", entry.path().join(".link"));
            let _ = fs::hard_link("/srv/open/file", entry.path().join(".hard"));
            fifo(&entry.path().join(".fifo"));
            if let Some(release) = dir(&entry.path()) {
                pairs(&release, &RELEASE, shared);
            }
        }
    }
}

/// The owner of a home in which a root is, on the root itself and on a directory above it.
fn above_the_root(shared: &Shared) {
    let home = Path::new("/home/deploy");
    symlink("/srv/canary", home.join("site/.link")).unwrap();
    symlink("/srv/canary/site", home.join(".link")).unwrap();
    for own in [home.join("site/.own"), home.join(".own/below")] {
        for name in ["releases", "shared"] {
            fs::create_dir_all(own.join(name)).unwrap();
        }
    }
    let home_dir = dir(home).unwrap();
    while !shared.stop.load(Ordering::Relaxed) {
        pairs(&home_dir, &[("site", ".link"), ("site", ".own")], shared);
        if let Some(site) = dir(&home.join("site")) {
            pairs(&site, &[("below", ".link"), ("below", ".own")], shared);
        }
    }
}

/// What was done under the race.
#[derive(Debug, Default)]
struct Tally {
    operations: u32,
    succeeded: u32,
    refused: u32,
    rounds: u64,
}

/// Runs operations of root's until there were enough of them and of rounds in them.
fn under(host: &Host, racer: &Inside, operations: &[&[&str]], mut before: impl FnMut(u32)) -> Tally {
    let limit = Duration::from_secs(if long() { 300 } else { 20 });
    let began = Instant::now();
    let mut tally = Tally::default();
    while began.elapsed() < limit || tally.rounds < ROUNDS {
        assert!(began.elapsed() < limit + Duration::from_secs(60), "too few rounds: {tally:?}");
        before(tally.operations);
        racer.set_mode(u64::from(tally.operations % 3));
        let operation = operations[tally.operations as usize % operations.len()];
        let (seen, at) = (racer.count(), Instant::now());
        let ended = host.run(&[&["timeout", "60"], operation].concat());
        assert!(at.elapsed() < Duration::from_secs(55), "it hangs: {ended}");
        tally.rounds += racer.count() - seen;
        tally.operations += 1;
        *(if ended.status == 0 { &mut tally.succeeded } else { &mut tally.refused }) += 1;
    }
    tally
}

fn judge(host: &Host, name: &str, tally: &Tally, before: &str) {
    println!("races, {name}: {tally:?}");
    let after = canaries(host);
    let changed: Vec<_> = after.lines().filter(|line| !before.contains(line)).collect();
    assert!(after == before, "outside, this changed: {changed:#?}");
    assert_eq!(changed_elsewhere(host), "", "changed elsewhere");
    assert!(tally.succeeded > 0 && tally.refused > 0, "the race was never won, or never lost: {tally:?}");
    assert_eq!(host.run(&["journalctl", "-q", "--no-pager", "--grep", "panicked"]).stdout, "");
}

#[test]
fn what_the_user_exchanges_in_its_tree_leads_root_nowhere() {
    let host = installed();
    host.sh(CANARIES);
    let more = "shared = [\"storage/\", \"settings.ini\"]\n\
        [[step]]\nname = \"build\"\nrun = [\"php\", \"-r\", \"copy('RELEASE', 'built');\"]\ntimeout = \"10s\"\n\
        [[service]]\nkind = \"php-fpm\"\n[health]\nbake = \"0s\"\n[releases]\nkeep = 2\n";
    let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop").more(more) });
    host.sh("mkdir -p /srv/shop/shared; echo one > /srv/shop/shared/settings.ini; chown -R shop: /srv/shop/shared");
    shop.deploy(&host);
    shop.commit(&host, "r2", &[]);
    host.ok(&["touch", "/srv/mark"]);
    let before = canaries(&host);
    let racer = Inside::start(&host, "shop", in_the_tree);
    let operations: [&[&str]; 7] = [
        &["deployctl", "deploy", "shop", "--force"],
        &["systemctl", "start", "deploy@shop"],
        &["deployctl", "check", "shop"],
        &["deployctl", "deploy", "shop", "--force"],
        &["deployctl", "rollback", "shop"],
        &["systemctl", "start", "--wait", "deploy-settle@shop"],
        &["deployctl", "plan", "shop"],
    ];
    let tally = under(&host, &racer, &operations, |n| shop.point(&host, if n % 2 == 0 { "r2" } else { "r1" }));
    racer.end();
    judge(&host, "in the tree", &tally, &before);
    host.sh("cd /srv/shop/shared; rm -rf .link .link-to-file .dir .hard .fifo storage settings.ini; mkdir storage; \
             echo one > settings.ini; chown -R shop: .");
    shop.point(&host, "r2");
    shop.ctl(&host, "deploy", &["--force"]).ok();
    assert_eq!(shop.release(&host), "r2");
}

#[test]
fn what_the_owner_of_a_home_exchanges_above_a_root_leads_root_nowhere() {
    let host = installed();
    host.sh(CANARIES);
    host.sh("useradd --create-home deploy; chmod 0755 /home/deploy; install -d -o deploy -g deploy /home/deploy/site");
    let spec = Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") }.more("[releases]\nkeep = 2\n");
    let shop = Shop::make(&host, Spec { user: "deploy".into(), root: "/home/deploy/site/below".into(), ..spec });
    host.sh("install -d -o deploy -g deploy /home/deploy/site/below");
    shop.deploy(&host);
    shop.commit(&host, "r2", &[]);
    host.ok(&["touch", "/srv/mark"]);
    let before = canaries(&host);
    let racer = Inside::start(&host, "deploy", above_the_root);
    let operations: [&[&str]; 5] = [
        &["deployctl", "deploy", "shop", "--force"],
        &["deployctl", "check", "shop"],
        &["systemctl", "start", "deploy@shop"],
        &["deployctl", "rollback", "shop"],
        &["systemctl", "start", "--wait", "deploy-settle@shop"],
    ];
    // As at its first deployment, when which directory it is has not been recorded.
    let forget = || host.ok(&["rm", "-f", "/var/lib/deployd/apps/shop/root"]);
    let tally = under(&host, &racer, &operations, |n| {
        if n % 2 == 0 {
            forget();
        }
    });
    racer.end();
    judge(&host, "above the root", &tally, &before);
}
