//! A host with a small app, and the program that ends the engine in the engine's place.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use super::look::{self, Look};
use crate::support::{
    command::Ended,
    deb,
    host::Host,
    lock::target_dir,
    root::Root,
    shop::{Shop, Spec},
};

const ENGINE: &str = "/usr/libexec/deployd/deploy-engine";
/// ptrace(2) is not among what the engine's units may call, and what it starts is not their main process.
const UNITS: [(&str, &str); 3] =
    [("deploy@", "run deploy"), ("deploy-rollback@", "run rollback"), ("deploy-settle@", "settle")];
const CRASH_AT: &str = "/usr/libexec/deployd/crash-at";
const MORE: &str = "shared = [\"storage/\"]\n\
    [[step]]\nname = \"build\"\nrun = [\"php\", \"-r\", \"copy('RELEASE', 'built'); exit((int) file_exists('bad-step'));\"]\n\
    [[service]]\nkind = \"php-fpm\"\n\
    [health]\nhttp = \"http://127.0.0.1/\"\nhost = \"shop.example.org\"\nsuccesses = 1\nbake = \"0s\"\n\
    [releases]\nkeep = 3\n";

/// The host and the app.
pub struct Rig {
    /// Booted, with the package.
    pub host: Host,
    /// `shop`: `r1` and `r2` are good releases, `bad-step` and `bad-health` are not.
    pub shop: Shop,
    /// The digest of a complete release, by label.
    complete: RefCell<BTreeMap<String, String>>,
    /// systemd's version.
    pub systemd: String,
    /// The number of the engine's call, in a deployment, that comes after `current` was moved.
    after_activate: Cell<u64>,
}

impl Rig {
    /// Boots the host, deploys `r1`.
    pub fn make(root: &Root) -> Self {
        let host = Host::boot(root);
        host.install_deb(&deb::ensure());
        let shop = Shop::make(&host, Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop").more(MORE) });
        shop.commit(&host, "r2", &[]);
        shop.commit(&host, "bad-step", &[("bad-step", "")]);
        shop.point(&host, "r1");
        host.ok(&["sh", "-euc", "rm -f /srv/build/shop/bad-step"]);
        shop.commit(&host, "bad-health", &[("bad-health", "")]);
        let version = host.ok(&["systemctl", "--version"]);
        let systemd = version.split(' ').nth(1).unwrap_or_default().to_owned();
        let rig = Self { host, shop, complete: RefCell::default(), systemd, after_activate: Cell::default() };
        for label in ["r2", "r1"] {
            rig.shop.point(&rig.host, label);
            rig.shop.deploy(&rig.host);
            rig.settle();
            let digest = look::digest(&rig.host, &format!("{}/current/", rig.shop.root()));
            rig.complete.borrow_mut().insert(label.into(), digest);
        }
        rig.wrap();
        rig.point("r2");
        rig.plan("/deploy@shop.service", 0, "count");
        rig.start("deploy@shop.service");
        rig.no_plan();
        rig.settle();
        let moved = rig
            .said()
            .iter()
            .find_map(|line| line.strip_suffix(" renameat current")?.strip_prefix("at ")?.parse().ok());
        rig.after_activate.set(moved.map_or(0, |at: u64| at + 1));
        assert!(rig.after_activate.get() > 1, "a deployment moves `current`");
        rig
    }

    /// Has the next deployment end right after `current` was moved.
    pub fn plan_after_activate(&self) {
        self.plan("/deploy@shop.service", self.after_activate.get(), "kill");
    }

    fn wrap(&self) {
        let program = target_dir().join("debug/examples/crash-at");
        let bytes =
            fs::read(&program).unwrap_or_else(|e| panic!("{}: {e}: build the example crash-at", program.display()));
        self.host.ok(&["mv", ENGINE, &format!("{ENGINE}.real")]);
        for path in [ENGINE, CRASH_AT] {
            self.host.write(path, &bytes);
            self.host.ok(&["chmod", "755", path]);
        }
        for (unit, arguments) in UNITS {
            let own = if unit == "deploy-settle@" { "OnFailure=\n[Service]\nRestart=no\n" } else { "[Service]\n" };
            // Below the engine its program is where it ought to be, so that PID 1 starts its workers from there: watched.
            let text = format!(
                "[Unit]\nStartLimitIntervalSec=0\n{own}SystemCallFilter=\nNotifyAccess=all\nExecStart=\n\
                 ExecStart={CRASH_AT} {arguments} %i\nBindReadOnlyPaths={ENGINE}.real:{ENGINE}\n"
            );
            self.host.write(&format!("/etc/systemd/system/{unit}.service.d/crash.conf"), text);
        }
        self.host.ok(&["systemctl", "daemon-reload"]);
        self.said();
    }

    /// Has the engine, or a worker, in the unit `unit` meet its end at call number `at`.
    pub fn plan(&self, unit: &str, at: u64, kind: &str) {
        self.host.write("/run/deployd-crash", format!("{unit} {at} {kind}\n"));
    }

    /// From now on nothing is ended.
    pub fn no_plan(&self) {
        self.host.ok(&["rm", "-f", "/run/deployd-crash"]);
    }

    /// What was done since the last time, in its own words.
    pub fn said(&self) -> Vec<String> {
        self.host.ok(&["journalctl", "--sync"]);
        let read =
            ["journalctl", "-q", "-o", "cat", "--no-pager", "--cursor-file=/run/crash-cursor", "--grep", "^crash-at: "];
        let said = self.host.run(&read).stdout;
        said.lines().map(|line| line.trim_start_matches("crash-at: ").to_owned()).collect()
    }

    /// Starts a unit; its end is not judged.
    pub fn start(&self, unit: &str) -> Ended {
        self.host.run(&["systemctl", "start", unit])
    }

    /// Returns when whatever was interrupted has been settled, by the units that do that on any host.
    pub fn settle(&self) {
        self.host.run(&["systemctl", "start", "--wait", "deploy-settle@shop.service"]);
    }

    /// What holds even while an end has not been cleaned up.
    pub fn now(&self) -> Look {
        look::at_any_moment(&self.host, &self.shop, &|label| self.of(label))
    }

    /// What holds once it has. An old worker may take a moment to be gone.
    pub fn settled(&self) -> Look {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let look = look::settled(&self.host, &self.shop, &|label| self.of(label));
            if look.wrong.is_empty() || Instant::now() > until {
                return look;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn of(&self, label: &str) -> String {
        self.complete.borrow().get(label).cloned().unwrap_or_default()
    }

    /// The label that `main` names, so that it is what a deployment brings.
    pub fn point(&self, label: &str) {
        self.shop.point(&self.host, label);
    }

    /// As on a host that never had the app: no release, no record, no slot.
    pub fn forget(&self) {
        let script = "systemctl stop 'deploy-settle@shop' 'deploy-drain@*' 'app-fpm@shop:*' 2>/dev/null || true
            rm -rf /srv/shop /var/lib/deployd/apps/shop /run/deployd/shop /run/deployd/slots/*shop*
            systemctl reset-failed";
        self.host.sh(script);
    }

    /// A killed engine with nobody to settle: what the suite then sees.
    pub fn without_recovery(&self) -> Vec<String> {
        self.host.ok(&["systemctl", "mask", "--runtime", "deploy-settle@shop.service"]);
        self.point("r1");
        self.plan_after_activate();
        self.start("deploy@shop.service");
        self.no_plan();
        let wrong = look::settled(&self.host, &self.shop, &|label| self.of(label)).wrong;
        self.host.ok(&["systemctl", "unmask", "--runtime", "deploy-settle@shop.service"]);
        self.settle();
        wrong
    }
}
