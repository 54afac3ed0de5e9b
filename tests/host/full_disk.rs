//! File systems without room: what does not fit is refused before anything is fetched, and what turns out not to fit
//! ends with a reason. What is live goes on, and nothing is left behind.

use crate::{
    common::Live,
    hostile_steps::{SERVICE, line, shop},
    support::{
        command::{self, Ended},
        deb,
        disk::Disk,
        host::Host,
        root::Root,
        shop::Shop,
    },
};

/// Where the app is, and where its mirror is.
const ROOT: &str = "srv/shop";
const CACHE: &str = "var/cache/deployd";

struct Site {
    host: Host,
    shop: Shop,
    root: Disk,
    cache: Disk,
}

impl Site {
    /// Release r1 is live.
    fn make() -> Self {
        let (root, cache) = (Disk::small("ext4", 96), Disk::small("ext4", 48));
        let host = Host::boot_on(&Root::chosen(), &[(&root, ROOT), (&cache, CACHE)]);
        host.install_deb(&deb::ensure());
        let shop = shop(&host, "");
        shop.deploy(&host);
        Self { host, shop, root, cache }
    }

    /// Leaves so many MiB of the root's disk.
    fn leave(&self, mib: u64) {
        let script = "rm -f /srv/shop/ballast; free=$(df --output=avail -B1M /srv/shop | tail -n1); \
                      test \"$1\" -gt \"$free\" || fallocate -l \"$((free - $1))M\" /srv/shop/ballast";
        self.host.ok(&["sh", "-euc", script, "sh", &mib.to_string()]);
    }

    /// Commits a file that no compression makes less, or one of zeros.
    fn commit_large(&self, label: &str, source: &str, mib: u64) {
        self.host.sh(&format!("head -c {mib}M {source} > /srv/build/shop/large"));
        self.shop.commit(&self.host, label, &[]);
    }

    fn is_fetched(&self, label: &str) -> bool {
        let commit =
            self.host.ok(&["git", "--git-dir=/srv/git/shop.git", "-c", "safe.directory=*", "rev-parse", label]);
        let mirror = ["git", "--git-dir=/var/cache/deployd/shop/git", "-c", "safe.directory=*"];
        self.host.run(&[&mirror[..], &["cat-file", "-e", commit.trim()]].concat()).status == 0
    }

    /// A deployment that ends so, for this reason; everything is as it was.
    #[track_caller]
    fn ends(&self, status: i32, reasons: &[&str]) {
        self.host.ok(&["sync"]);
        let live = || Live { slots: Vec::new(), ..Live::of(&self.host, &self.shop) };
        let used = || [self.root.used() >> 20, self.cache.used() >> 20];
        let before = (live(), used());
        let said: Ended = self.shop.ctl(&self.host, "deploy", &[]).expect_status(status);
        for reason in reasons {
            assert!(said.stderr.contains(reason), "it does not say {reason:?}: {said}");
        }
        self.host.ok(&["sync"]);
        assert_eq!(live(), before.0);
        assert_eq!(self.shop.release(&self.host), "r1");
        let (after, before) = (used(), before.1);
        assert!(after[0] <= before[0] + 1 && after[1] <= before[1] + 1, "left behind: {before:?} MiB, {after:?} now");
    }
}

#[test]
fn a_full_disk_refuses_or_ends_a_deployment_and_leaves_nothing() {
    let site = Site::make();
    let shop = &site.shop;

    // Judged by the last release, before anything is fetched.
    site.leave(5);
    shop.commit(&site.host, "r2", &[]);
    site.ends(3, &["MiB free, and the next release may take", "keep fewer releases"]);
    assert!(!site.is_fetched("r2"), "it was fetched before it was judged");
    // The same of inodes, of which a disk may have too few while it has room.
    site.leave(60);
    site.host.sh("mkdir /srv/shop/names; cd /srv/shop/names; seq 30000 | xargs touch 2>&1 | tail -n1");
    site.ends(3, &["inodes free, and the next release may take", "keep fewer releases"]);
    assert!(!site.is_fetched("r2"), "it was fetched before it was judged");
    site.host.ok(&["rm", "-r", "/srv/shop/names"]);

    // The mirror's disk.
    site.leave(60);
    site.commit_large("r3", "/dev/urandom", 50);
    site.ends(3, &["No space left on device", "make room where /var/cache/deployd/shop/git is"]);
    shop.point(&site.host, "r2");
    site.host.sh("runuser -u shop -- git --git-dir=/srv/git/shop.git tag -d r3");

    // The export: the release is larger than the last one.
    site.leave(20);
    site.commit_large("r4", "/dev/zero", 40);
    site.ends(1, &["large", "No space left on device"]);
    assert!(site.is_fetched("r4"));

    // A step.
    site.leave(60);
    site.host.sh("mkdir /srv/build/shop/many; cd /srv/build/shop/many; seq -f 'a-file-with-a-name-of-some-length-%g' 4000 | xargs touch");
    shop.commit(&site.host, "r5", &[]);
    shop.configure(
        &site.host,
        &format!("{SERVICE}{}", line("fill", "", "rm large; head -c 200000000 /dev/zero > junk")),
    );
    site.ends(1, &["the step fill failed with exit status"]);

    // The same of inodes.
    let names = "rm large; mkdir names; cd names; seq 30000 | xargs touch 2> /dev/null";
    shop.configure(&site.host, &format!("{SERVICE}{}", line("names", "", names)));
    site.ends(1, &["the step names failed with exit status"]);

    // The manifest: what it is written to was filled by a step, which may write there.
    let fill = "for n in 1 2 3; do head -c 60000000 /dev/zero >> /var/cache/deployd/shop/junk || true; sync; done";
    shop.configure(&site.host, &format!("{SERVICE}{}", line("fill", "", &format!("rm large; {fill}"))));
    site.host.run_as("shop", &["sh", "-c", fill]).ok();
    site.ends(1, &["No space left on device"]);

    // With room it goes on.
    site.host.ok(&["rm", "/var/cache/deployd/shop/junk"]);
    let small = line("small", "", "rm -f large");
    shop.configure(&site.host, &format!("{SERVICE}{small}[health]\nbake = \"0s\"\n[releases]\nkeep = 2\n"));
    shop.deploy(&site.host);
    assert_eq!(shop.release(&site.host), "r5");
    what_nobody_may_remove_hinders_no_other_prune(&site);
}

/// Of the releases beyond `keep` root has made one immutable, and has put a directory of its own into another.
fn what_nobody_may_remove_hinders_no_other_prune(site: &Site) {
    let (host, shop) = (&site.host, &site.shop);
    let all =
        || host.sh("ls -1A /srv/shop/releases | grep -v '^.next-'").lines().map(str::to_owned).collect::<Vec<_>>();
    let settled = || drop(host.ok(&["systemctl", "start", "--wait", "deploy-settle@shop"]));
    let another = |label: &str| {
        shop.point(host, label);
        shop.ctl(host, "deploy", &["--force"]).ok();
        settled();
    };
    shop.point(host, "r2");
    site.host.ok(&["rm", "-f", "/srv/shop/ballast"]);
    settled();
    another("r1");
    let kept = all();
    assert_eq!(kept.len(), 2, "{kept:?}");
    let disk = site.root.dir().join(ROOT.replace('/', "-"));
    let immutable = disk.join("releases").join(&kept[0]).to_string_lossy().into_owned();
    command::local(&["chattr", "+i", &immutable]).ok();
    host.sh(&format!("install -d -m 700 /srv/shop/releases/{0}/mine; touch /srv/shop/releases/{0}/mine/x", kept[1]));
    for label in ["r2", "r1", "r2"] {
        another(label);
    }
    let left = all();
    assert!(left.contains(&kept[0]) && left.contains(&format!(".trash-{}", kept[1])), "{left:?} of {kept:?}");
    assert_eq!(left.len(), 4, "the other one is gone: {left:?}");
    let said = host.journal(2000);
    for told in [format!("{} is kept beyond keep = 2", kept[0]), format!(".trash-{} could not be removed", kept[1])] {
        assert!(said.contains(&told), "{told}: {said}");
    }
    command::local(&["chattr", "-i", &immutable]).ok();
    host.sh(&format!("rm -r '/srv/shop/releases/.trash-{}/mine'", kept[1]));
    another("r1");
    assert_eq!(all().len(), 2, "{:?}", all());
}
