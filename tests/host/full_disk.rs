//! File systems without room: what does not fit is refused before anything is fetched, and what turns out not to fit
//! ends with a reason. What is live goes on, and nothing is left behind.

use crate::{
    common::Live,
    hostile_steps::{SERVICE, line, shop},
    support::{command::Ended, deb, disk::Disk, host::Host, root::Root, shop::Shop},
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
    site.host.sh("mkdir /srv/shop/names; cd /srv/shop/names; seq 100000 | xargs touch 2>&1 | tail -n1");
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

    // The manifest: what it is written to was filled by a step, which may write there.
    let fill = "for n in 1 2 3; do head -c 60000000 /dev/zero >> /var/cache/deployd/shop/junk || true; sync; done";
    shop.configure(&site.host, &format!("{SERVICE}{}", line("fill", "", &format!("rm large; {fill}"))));
    site.host.run_as("shop", &["sh", "-c", fill]).ok();
    site.ends(1, &["No space left on device"]);

    // With room it goes on.
    site.host.ok(&["rm", "/var/cache/deployd/shop/junk"]);
    shop.configure(&site.host, SERVICE);
    shop.deploy(&site.host);
    assert_eq!(shop.release(&site.host), "r5");
}
