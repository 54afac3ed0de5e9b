//! What most host tests begin with and compare.

use std::time::{Duration, Instant};

use crate::support::{
    deb,
    host::Host,
    root::Root,
    shop::{Shop, Spec},
};

/// A step that takes this many seconds, by a file that the test can see: `/srv/NAME/shared/storage/step-began`.
pub const SLOW_STEP: &str = "[[step]]\nname = \"slow\"\nshared = \"rw\"\n\
                             run = [\"sh\", \"-c\", \"touch storage/step-began; sleep 5\"]\n";

/// In a timer's drop-in: at once when it is started, and not again by itself.
pub const SOON: &str = "[Timer]\nOnCalendar=\nOnActiveSec=10ms\nRandomizedDelaySec=0\nAccuracySec=1us\n";

/// A host with the package installed.
pub fn installed() -> Host {
    let host = Host::boot(&Root::chosen());
    host.install_deb(&deb::ensure());
    host
}

/// The same, with no other test beside it.
pub fn installed_alone() -> Host {
    let host = Host::boot_alone(&Root::chosen());
    host.install_deb(&deb::ensure());
    host
}

/// A host with the Laravel app `shop`, described by its four lines and `more`; nothing is deployed yet.
pub fn with_shop(more: &str) -> (Host, Shop) {
    let host = installed();
    let shop = Shop::make(&host, Spec::new("shop").more(more));
    (host, shop)
}

/// The same with release r1 live.
pub fn with_live_shop(more: &str) -> (Host, Shop) {
    let (host, shop) = with_shop(more);
    shop.deploy(&host);
    assert_eq!(shop.release(&host), "r1");
    (host, shop)
}

/// Everything of an app that is live: what a deployment that fails must leave as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// `current`.
    pub current: String,
    /// The socket that nginx reaches.
    pub socket: String,
    /// Running slots with their main processes.
    pub slots: Vec<String>,
    /// Entries of `releases/`.
    pub releases: Vec<String>,
}

impl Live {
    /// As it is now.
    pub fn of(host: &Host, shop: &Shop) -> Self {
        let link = format!("/run/deployd/{}/fpm.sock", shop.name());
        let units = format!("app-fpm@{}:*.service", shop.name());
        let show = ["systemctl", "show", "--property=Id,MainPID,ActiveState", "--state=active", &units];
        let slots = host.run(&show).stdout.split("\n\n").map(|unit| unit.trim().replace('\n', " ")).collect();
        Self {
            current: shop.current(host),
            socket: host.run(&["readlink", "-f", &link]).stdout.trim().to_owned(),
            slots,
            releases: releases(host, shop),
        }
    }
}

/// The entries of `releases/`, in order.
pub fn releases(host: &Host, shop: &Shop) -> Vec<String> {
    let list = host.run(&["ls", "-1", &format!("{}/releases", shop.root())]);
    list.stdout.lines().map(str::to_owned).collect()
}

/// Waits until `wanted` holds; fails after `limit`. For what no command can be waited for.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut wanted: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !wanted() {
        assert!(Instant::now() < until, "{what}: not within {} s", limit.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until [`SLOW_STEP`] has begun.
#[track_caller]
pub fn slow_step_begun(host: &Host, shop: &Shop) {
    let file = format!("{}/shared/storage/step-began", shop.root());
    eventually("the slow step begins", Duration::from_secs(30), || host.run(&["test", "-e", &file]).status == 0);
}

/// Forgets that [`SLOW_STEP`] has ever run.
pub fn forget_slow_step(host: &Host, shop: &Shop) {
    host.ok(&["rm", "-f", &format!("{}/shared/storage/step-began", shop.root())]);
}
