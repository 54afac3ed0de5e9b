//! What a worker and a step may reach: the properties of their transient units. Pure.

use std::{collections::BTreeMap, path::PathBuf};

use crate::system::units::Property::{self, Bool, Filter, Int, Number, Text, Texts, Word};

/// The paths and the network one unit may reach. Everything else is read-only, or not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// May be written; must exist.
    pub write: Vec<PathBuf>,
    /// May be written where they are there.
    pub open: Vec<PathBuf>,
    /// Not there at all: other apps' roots.
    pub hidden: Vec<PathBuf>,
    /// May use the network; without it there is a loopback of its own at most.
    pub network: bool,
    /// Not even the sockets of this host's programs, such as a database's.
    pub alone: bool,
    /// Everyone may ask for it: neither its start nor its end is worth a line of the journal.
    pub quiet: bool,
    /// Nobody waits for it: it takes what of the processors and the disk nothing else wants.
    pub idle: bool,
}

/// What a unit of an app's user may never reach: the bus, PID 1's private socket, deployd's own state.
const NEVER: [&str; 5] =
    ["-/run/dbus", "-/run/systemd/private", "-/run/user", "-/var/lib/deployd", "-/run/deployd/requests"];

/// The largest file that a worker may write, in bytes: a pack of a large repository is one.
pub const LARGEST_FILE: u64 = 32 << 30;
/// Credentials of a step that are put into its environment: Composer's `auth.json` and an `.npmrc`.
pub const STEP_SECRETS: [&str; 2] = ["composer-auth", "npmrc"];
/// `LOG_NOTICE` of syslog(3).
const LOG_NOTICE: i32 = 5;
/// `SCHED_IDLE` of sched(7): whatever serves goes before a step at once, and a step still has its small share.
const SCHED_IDLE: i32 = 5;
/// `SCHED_BATCH` of sched(7).
const SCHED_BATCH: i32 = 3;
/// `IOPRIO_CLASS_BE` of ioprio_set(2).
const BEST_EFFORT: i32 = 2;

/// `IOPRIO_CLASS_IDLE` of ioprio_set(2).
const IO_IDLE: i32 = 3;
/// The calls that bring files to the disk. Not msync(2), which also tells whether memory is mapped.
const SYNCS: [&str; 5] = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range"];

/// The system calls of what a service does, without those by which a kernel is most often taken over and that no build or
/// migration needs: Docker denies them in its containers too.
fn allowed() -> Vec<(bool, Vec<String>)> {
    let except = ["@keyring", "io_uring_enter", "io_uring_register", "io_uring_setup", "userfaultfd"];
    vec![(true, vec!["@system-service".into()]), (false, except.map(str::to_owned).into())]
}

/// For both: an app user's process without privileges, in read-only surroundings.
fn common(reach: &Reach) -> BTreeMap<&'static str, Property> {
    let text = |paths: &[PathBuf], prefix: &str| -> Vec<String> {
        paths.iter().map(|path| format!("{prefix}{}", path.display())).collect()
    };
    let families = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"].into_iter().skip(usize::from(reach.alone));
    let hidden = NEVER.map(str::to_owned).into_iter().chain(text(&reach.hidden, "-")).collect();
    BTreeMap::from([
        ("NoNewPrivileges", Bool(true)),
        ("CapabilityBoundingSet", Number(0)),
        ("ProtectSystem", Text("strict".into())),
        ("ProtectHome", Text("read-only".into())),
        ("ReadWritePaths", Texts([text(&reach.write, ""), text(&reach.open, "-")].concat())),
        ("InaccessiblePaths", Texts(hidden)),
        ("PrivateTmp", Bool(true)),
        ("PrivateDevices", Bool(true)),
        ("ProtectClock", Bool(true)),
        ("ProtectHostname", Bool(true)),
        ("ProtectKernelModules", Bool(true)),
        ("ProtectProc", Text("invisible".into())),
        ("RestrictRealtime", Bool(true)),
        ("LockPersonality", Bool(true)),
        ("SystemCallArchitectures", Texts(vec!["native".into()])),
        // Below the services' default of 100: neither a build nor an export may starve live traffic.
        ("CPUWeight", Number(20)),
        ("IOWeight", Number(20)),
        ("PrivateNetwork", Bool(!reach.network)),
        ("RestrictAddressFamilies", Filter(vec![(true, families.map(str::to_owned).collect())])),
    ])
}

/// A worker of ours.
pub fn worker(reach: &Reach) -> BTreeMap<&'static str, Property> {
    let mut properties = common(reach);
    // A little behind live traffic: an export of a large tree is work too.
    properties.extend([
        ("UMask", Word(0o022)),
        ("LimitCORE", Number(0)),
        ("Nice", Int(5)),
        // It reads what a repository or a site says: neither may make it eat the host.
        ("TasksMax", Number(512)),
        ("MemoryMaxScale", Word(u32::MAX / 2)),
        ("LimitFSIZE", Number(LARGEST_FILE)),
    ]);
    if reach.quiet {
        properties.insert("LogLevelMax", Int(LOG_NOTICE));
    }
    if reach.idle {
        properties.extend([
            ("Nice", Int(19)),
            ("CPUSchedulingPolicy", Int(SCHED_IDLE)),
            ("IOSchedulingClass", Int(IO_IDLE)),
        ]);
    }
    properties
}

/// What a step may take: a plain value, since the worker knows no configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory; none: the host's.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: u64,
    /// Of the processors; a service has 100.
    pub cpu_weight: u64,
    /// It yields wholly to whatever serves.
    pub yields: bool,
    /// Of the disks; a service has 100.
    pub io_weight: u64,
    /// All that it may write is synced after it: its own fsync(2) and the like are answered at once. Else what it syncs
    /// makes everyone wait who writes to that file system, as the journal has one order for all.
    pub synced_later: bool,
}

impl Bounds {
    /// Of the disks, what yields has this weight or less.
    const LIGHT_IO: u64 = 50;

    /// Its system calls. An answer of 0 is success.
    fn calls(self) -> Property {
        let unsynced = (self.synced_later && self.yields_disk()).then(|| {
            let answered = SYNCS.map(|call| format!("{call}:0"));
            (false, answered.into())
        });
        Filter(allowed().into_iter().chain(unsynced).collect())
    }

    fn yields_disk(self) -> bool {
        self.io_weight <= Self::LIGHT_IO
    }

    /// Its share as properties. A weight works where there are controllers; the policies and the nice level everywhere.
    fn share(self) -> [(&'static str, Property); 6] {
        let yields = self.yields;
        let (class, priority) = match (self.yields_disk(), yields) {
            (true, true) => (IO_IDLE, 7),
            (true, false) => (BEST_EFFORT, 7),
            (false, _) => (BEST_EFFORT, 4),
        };
        [
            ("CPUWeight", Number(self.cpu_weight)),
            ("IOWeight", Number(self.io_weight)),
            ("Nice", Int(if yields { 19 } else { 10 })),
            ("CPUSchedulingPolicy", Int(if yields { SCHED_IDLE } else { SCHED_BATCH })),
            ("IOSchedulingClass", Int(class)),
            ("IOSchedulingPriority", Int(priority)),
        ]
    }
}

/// A step: someone else's code, so it also yields to live traffic and is bounded.
pub fn step(reach: &Reach, bounds: Bounds) -> BTreeMap<&'static str, Property> {
    let mut properties = common(reach);
    properties.extend(bounds.share());
    if let Some(bytes) = bounds.memory {
        properties.extend([("MemoryMax", Number(bytes)), ("MemorySwapMax", Number(0))]);
    }
    properties.extend([
        ("UMask", Word(0o022)),
        ("TasksMax", Number(bounds.tasks)),
        ("KeyringMode", Text("private".into())),
        // Not for a worker: they take half of a worker's start, and who has no capability may write nothing there; of the
        // kernel's log it reads what the host lets everyone read.
        ("ProtectKernelTunables", Bool(true)),
        ("ProtectKernelLogs", Bool(true)),
        ("ProtectControlGroups", Bool(true)),
        // Not for a worker: the filter answers ENOSYS to openat2(2), by which a worker opens everything.
        ("RestrictSUIDSGID", Bool(true)),
        // In a user namespace of its own /proc/PID/root and ptrace of the user's other processes are closed to it.
        ("PrivateUsers", Bool(true)),
        ("RestrictNamespaces", Number(0)),
        ("SystemCallFilter", bounds.calls()),
        // EPERM, not a killed process.
        ("SystemCallErrorNumber", Int(1)),
        ("TimeoutStopUSec", Number(10_000_000)),
        ("LogRateLimitIntervalUSec", Number(1_000_000)),
        ("LogRateLimitBurst", Word(2000)),
    ]);
    properties
}

/// Who holds a fleet's slot: a user that is nobody else's, the network, and nothing to write. It reads what the network
/// says.
pub fn fleet() -> BTreeMap<&'static str, Property> {
    let mut properties = common(&Reach { network: true, ..Reach::default() });
    properties.extend([
        ("DynamicUser", Bool(true)),
        // It says what it waits for.
        ("NotifyAccess", Text("main".into())),
        ("ProtectHome", Text("yes".into())),
        ("ProtectKernelTunables", Bool(true)),
        ("ProtectKernelLogs", Bool(true)),
        ("ProtectControlGroups", Bool(true)),
        ("RestrictSUIDSGID", Bool(true)),
        ("RestrictNamespaces", Number(0)),
        ("MemoryDenyWriteExecute", Bool(true)),
        ("SystemCallFilter", Filter(allowed())),
        ("SystemCallErrorNumber", Int(1)),
        ("UMask", Word(0o077)),
        ("LimitCORE", Number(0)),
        ("TasksMax", Number(16)),
        ("MemoryMax", Number(64 << 20)),
        // Longer than it takes to give the slot back.
        ("TimeoutStopUSec", Number(20_000_000)),
    ]);
    properties
}

/// The host's mail program: nothing that would take its setuid or setgid bit from it, by which it reaches its queue.
pub fn mail(hidden: &[PathBuf]) -> BTreeMap<&'static str, Property> {
    let hidden = hidden.iter().map(|path| format!("-{}", path.display()));
    BTreeMap::from([
        ("ProtectSystem", Text("full".into())),
        ("ProtectHome", Text("read-only".into())),
        ("PrivateTmp", Bool(true)),
        ("InaccessiblePaths", Texts(NEVER.map(str::to_owned).into_iter().chain(hidden).collect())),
        ("TasksMax", Number(64)),
        ("CPUWeight", Number(20)),
        ("IOWeight", Number(20)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reaches_what_it_was_given_and_no_bus() {
        let reach = Reach {
            write: vec!["/srv/a/releases/x".into()],
            open: vec!["/srv/a/views".into()],
            hidden: vec!["/srv/b".into()],
            ..Reach::default()
        };
        let bounds =
            Bounds { memory: Some(1 << 30), tasks: 9, cpu_weight: 20, yields: true, io_weight: 20, synced_later: true };
        let got = step(&reach, bounds);
        assert_eq!((&got["MemoryMax"], &got["TasksMax"], &got["Nice"]), (&Number(1 << 30), &Number(9), &Int(19)));
        assert_eq!((&got["CPUSchedulingPolicy"], &got["IOSchedulingClass"]), (&Int(SCHED_IDLE), &Int(IO_IDLE)));
        let heavy = step(&reach, Bounds { memory: None, cpu_weight: 200, yields: false, ..bounds });
        assert_eq!((heavy.get("MemoryMax"), &heavy["CPUSchedulingPolicy"]), (None, &Int(SCHED_BATCH)));
        assert_eq!(heavy["IOSchedulingClass"], Int(BEST_EFFORT), "live requests may wait for its locks");
        let unsynced = |of: &BTreeMap<_, _>| format!("{:?}", of["SystemCallFilter"]).contains("fsync:0");
        let own = step(&reach, Bounds { synced_later: false, ..bounds });
        let weighs = step(&reach, Bounds { io_weight: 100, ..bounds });
        assert_eq!([&got, &own, &weighs].map(unsynced), [true, false, false]);
        assert_eq!(got["ReadWritePaths"], Texts(vec!["/srv/a/releases/x".into(), "-/srv/a/views".into()]));
        assert_eq!(got["PrivateNetwork"], Bool(true));
        let alone = step(&Reach { alone: true, ..reach.clone() }, bounds);
        let Filter(families) = &alone["RestrictAddressFamilies"] else { panic!("an allow-list") };
        let [(true, families)] = &families[..] else { panic!("one allow-list") };
        assert!(!families.contains(&"AF_UNIX".to_owned()) && families.len() == 3);
        let worker = worker(&reach);
        for bound in ["TasksMax", "MemoryMaxScale", "LimitFSIZE"] {
            assert!(worker.contains_key(bound), "{bound}");
        }
        assert!(!worker.contains_key("CPUSchedulingPolicy"));
        let removing = super::worker(&Reach { idle: true, ..reach });
        assert_eq!(
            (&removing["CPUSchedulingPolicy"], &removing["IOSchedulingClass"]),
            (&Int(SCHED_IDLE), &Int(IO_IDLE))
        );
        let Texts(hidden) = &got["InaccessiblePaths"] else { panic!("a list") };
        assert!(hidden.contains(&"-/srv/b".to_owned()) && hidden.contains(&"-/run/dbus".to_owned()));
    }
}
