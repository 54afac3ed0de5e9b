//! A booted host: a fresh overlay of a root tree with its own systemd, ended and removed when it is dropped.
//! A path inside the host is only ever opened from inside, so a link there cannot lead to the machine.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    command::{self, Ended},
    cpu, deb,
    disk::Disk,
    lock::hosts_dir,
    root::Root,
};

/// Longest that a host may take to boot, or to power off.
const PATIENCE: Duration = Duration::from_secs(60);
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// For whoever installs a package where nobody answers.
const NO_QUESTIONS: &str = "DEBIAN_FRONTEND=noninteractive";
/// Where the packages are on a host once they are installed: deployd's, and the receiver's of webhooks.
pub const DEBS: [&str; 2] = ["/root/package.deb", "/root/package-webhook.deb"];

/// Where version 2's hierarchy is on a machine whose controllers are of version 1.
const UNIFIED: &str = "/sys/fs/cgroup/unified";
/// The hierarchies in which a host may have a control group of its own.
const TOPS: [&str; 3] = [UNIFIED, "/sys/fs/cgroup/systemd", cpu::CPU];

/// Hosts that measure times run alone; all others share.
static QUIET: RwLock<()> = RwLock::new(());

#[allow(dead_code, reason = "held, not read")]
enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
    /// That of another host of the same test.
    Others,
}

/// A host.
pub struct Host {
    name: String,
    base: PathBuf,
    nspawn: Child,
    leader: AtomicU32,
    hierarchy: Hierarchy,
    _turn: Turn,
}

/// The control groups that a host sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hierarchy {
    /// Version 2: on a machine whose controllers are of version 1, without controllers.
    Unified,
    /// Version 1, for its controller of the processors.
    Legacy,
}

impl Host {
    /// Boots a host; other tests may run beside it.
    pub fn boot(root: &Root) -> Self {
        let turn = Turn::Shared(QUIET.read().unwrap_or_else(|poisoned| poisoned.into_inner()));
        Self::boot_in(root, turn, &[], Hierarchy::Unified)
    }

    /// Boots a host of the same test, in the turn of this one, which is to be dropped after it.
    pub fn boot_beside(&self, root: &Root) -> Self {
        Self::boot_in(root, Turn::Others, &[], Hierarchy::Unified)
    }

    /// Boots a host with directories (`srv/shop`) that are on disks of their own.
    pub fn boot_on(root: &Root, disks: &[(&Disk, &str)]) -> Self {
        let turn = Turn::Shared(QUIET.read().unwrap_or_else(|poisoned| poisoned.into_inner()));
        Self::boot_in(root, turn, disks, Hierarchy::Unified)
    }

    /// Boots a host that no other host of this process runs beside: for what measures time.
    pub fn boot_alone(root: &Root) -> Self {
        let turn = Turn::Alone(QUIET.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
        Self::boot_in(root, turn, &[], Hierarchy::Unified)
    }

    /// The same, with a processor controller: weights work in it.
    pub fn boot_weighing(root: &Root) -> Self {
        let turn = Turn::Alone(QUIET.write().unwrap_or_else(|poisoned| poisoned.into_inner()));
        let hierarchy = if cpu::is_v1() { Hierarchy::Legacy } else { Hierarchy::Unified };
        let host = Self::boot_in(root, turn, &[], hierarchy);
        if hierarchy == Hierarchy::Legacy {
            cpu::open(&host);
        }
        host
    }

    fn boot_in(root: &Root, turn: Turn, disks: &[(&Disk, &str)], hierarchy: Hierarchy) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let name = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let base = hosts_dir().join("run").join(&name);
        for part in ["upper", "work", "merged"] {
            let dir = base.join(part);
            fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        }
        mount(root, &base);
        disks.iter().for_each(|(disk, path)| bind(disk, path, &base));
        let nspawn = start(&name, &base, hierarchy);
        let host = Self { name, base, nspawn, leader: AtomicU32::new(0), hierarchy, _turn: turn };
        host.wait_booted();
        host
    }

    /// The host's PID 1, as the machine numbers it.
    pub fn leader(&self) -> u32 {
        self.leader.load(Ordering::Relaxed)
    }

    /// The host's network namespace.
    pub fn network(&self) -> OwnedFd {
        let path = format!("/proc/{}/ns/net", self.leader());
        File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}")).into()
    }

    /// A command that will run in the host as root, with a clean environment.
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader().to_string(), "-a", "env", "-i", PATH, "HOME=/root", "LANG=C.UTF-8"]);
        command.args(argv);
        command
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, argv: &[&str]) -> Ended {
        command::run(self.command(argv), b"")
    }

    /// Runs a command that must succeed; its standard output.
    #[track_caller]
    pub fn ok(&self, argv: &[&str]) -> String {
        self.run(argv).ok()
    }

    /// Runs a shell script of the test's own that must succeed; its standard output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.ok(&["sh", "-euc", script])
    }

    /// Runs a command as another user of the host, with that user's groups.
    #[track_caller]
    pub fn run_as(&self, user: &str, argv: &[&str]) -> Ended {
        self.run(&[&["runuser", "-u", user, "--"], argv].concat())
    }

    /// Writes a file, making the directories on the way.
    #[track_caller]
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let script = r#"mkdir -p "$(dirname "$1")"; cat > "$1""#;
        command::run(self.command(&["sh", "-euc", script, "sh", path]), content.as_ref()).ok();
    }

    /// Reads a file.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        self.ok(&["cat", path])
    }

    /// Copies a directory of the machine into one of the host, made if need be and owned by root.
    #[track_caller]
    pub fn copy_in(&self, from: &Path, to: &str) {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(from).args(["--create", "--owner=0", "--group=0", "."]);
        let tree = tar.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("tar: {e}"));
        assert!(tree.status.success(), "tar of {}: {}", from.display(), String::from_utf8_lossy(&tree.stderr));
        self.ok(&["mkdir", "-p", to]);
        command::run(self.command(&["tar", "-C", to, "--extract", "--no-same-owner"]), &tree.stdout).ok();
    }

    /// Installs the packages as an administrator does; there is no network, their dependencies are in the root tree.
    #[track_caller]
    pub fn install_deb(&self, path: &Path) {
        let debs = self.bring_debs(path);
        self.ok(&[&["env", NO_QUESTIONS, "apt-get", "install", "-q", "-y"], &debs[..]].concat());
    }

    /// Installs packages anew that are installed already.
    #[track_caller]
    pub fn install_again(&self, path: &Path) {
        let debs = self.bring_debs(path);
        self.ok(&[&["env", NO_QUESTIONS, "dpkg", "-i"], &debs[..]].concat());
    }

    /// Copies deployd's package and the receiver's, where that lies beside it, to places that are always the same.
    #[track_caller]
    fn bring_debs(&self, path: &Path) -> Vec<&'static str> {
        let both = [Some(path.to_owned()), deb::webhook(path)].into_iter().flatten().zip(DEBS);
        both.map(|(from, to)| {
            self.write(to, fs::read(&from).unwrap_or_else(|e| panic!("{}: {e}", from.display())));
            to
        })
        .collect()
    }

    /// The last lines of the journal.
    pub fn journal(&self, lines: u32) -> String {
        self.run(&["journalctl", "--no-pager", "-o", "short-precise", "-n", &lines.to_string()]).said()
    }

    /// Messages of the journal whose field has this value, one for each line.
    #[track_caller]
    pub fn journal_of(&self, field: &str, value: &str) -> String {
        self.run(&["journalctl", "--no-pager", "-o", "cat", &format!("{field}={value}")]).said()
    }

    /// Powers the host off in order and boots it again from the same disk.
    pub fn reboot(&mut self) {
        self.reboot_by(&["systemctl", "poweroff"]);
    }

    /// The same, powered off by another command.
    pub fn reboot_by(&mut self, off: &[&str]) {
        self.run(off);
        let until = Instant::now() + PATIENCE;
        while self.nspawn.try_wait().expect("our child").is_none() {
            assert!(Instant::now() < until, "{} did not power off", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
        self.nspawn = start(&self.name, &self.base, self.hierarchy);
        self.leader.store(0, Ordering::Relaxed);
        self.wait_booted();
    }

    fn wait_booted(&self) {
        let until = Instant::now() + PATIENCE;
        while self.leader.load(Ordering::Relaxed) == 0 {
            self.leader.store(find_leader(self.nspawn.id()).unwrap_or(0), Ordering::Relaxed);
            self.wait_a_little(until);
        }
        self.run(&["ip", "link", "set", "lo", "up"]).ok();
        // Until PID 1 listens this fails at once; from then on it waits by itself.
        while !matches!(self.run(&["systemctl", "is-system-running", "--wait"]).stdout.trim(), "running" | "degraded") {
            self.wait_a_little(until);
        }
    }

    fn wait_a_little(&self, until: Instant) {
        let log = || fs::read_to_string(self.base.join("console")).unwrap_or_default();
        assert!(Instant::now() < until, "{} did not boot:\n{}", self.name, log());
        std::thread::sleep(Duration::from_millis(10));
    }

    fn end(&mut self) {
        // The death of its PID 1 ends every process of the host; nspawn then leaves by itself.
        if let Some(leader) = find_leader(self.nspawn.id()).and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
            let _ = rustix::process::kill_process(leader, rustix::process::Signal::KILL);
        } else {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
        remove_group(&self.name);
        remove(&self.base);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() && self.leader.load(Ordering::Relaxed) != 0 {
            eprintln!("--- the last of the journal of {}\n{}---", self.name, self.journal(80));
        }
        if std::env::var_os("DEPLOYD_TEST_KEEP").is_some() && std::thread::panicking() {
            eprintln!("kept until you kill it: nsenter -t {} -a", self.leader.load(Ordering::Relaxed));
            let _ = self.nspawn.wait();
        }
        self.end();
    }
}

fn mount(root: &Root, base: &Path) {
    let part = |name: &str| base.join(name).to_string_lossy().into_owned();
    let options = format!("lowerdir={},upperdir={},workdir={}", root.dir.display(), part("upper"), part("work"));
    command::local(&["mount", "-t", "overlay", "deployd-test", "-o", &options, &part("merged")]).ok();
}

/// A directory of the disk's own at `path`; nspawn takes it along, and what unmounts the tree takes it away.
fn bind(disk: &Disk, path: &str, base: &Path) {
    let (from, to) = (disk.dir().join(path.replace('/', "-")), base.join("merged").join(path));
    for dir in [&from, &to] {
        fs::create_dir_all(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    }
    command::local(&["mount", "--bind", &from.to_string_lossy(), &to.to_string_lossy()]).ok();
}

/// Moves the shell into a control group named by its first argument, below what the second names, then becomes the
/// command of the others.
const OWN_GROUP: &str = r#"name=$1 tops=$2; shift 2
for top in $tops; do
    if [ -w "$top/cgroup.procs" ]; then mkdir -p "$top/$name" && echo $$ > "$top/$name/cgroup.procs"; fi
done
exec "$@""#;

/// Starts nspawn in a session of its own, without standard input; its console goes to a file. It dies with the thread
/// that starts it, and its host with it, so that a test that is killed leaves nothing running.
fn start(name: &str, base: &Path, hierarchy: Hierarchy) -> Child {
    let console = File::create(base.join("console")).expect("the host's directory is ours");
    let mut nspawn = Command::new("setpriv");
    nspawn.args(["--pdeathsig", "KILL", "setsid"]);
    // In a control group of its own: hosts that share one see each other's processes as theirs.
    let tops = if hierarchy == Hierarchy::Unified { UNIFIED.to_owned() } else { TOPS.join(" ") };
    nspawn.args(["sh", "-euc", OWN_GROUP, "sh", name, &tops]);
    nspawn.args(["systemd-nspawn", "-q", "--boot", "--register=no", "--keep-unit", "--private-network", "-M", name]);
    nspawn.arg("-D").arg(base.join("merged")).stdin(Stdio::null());
    let unified = if hierarchy == Hierarchy::Unified { "1" } else { "0" };
    nspawn.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", unified);
    nspawn.stdout(console.try_clone().expect("a file")).stderr(console);
    nspawn.spawn().unwrap_or_else(|e| panic!("systemd-nspawn: {e}"))
}

/// The child of `nspawn` that has become PID 1 of the host: it executes systemd.
fn find_leader(nspawn: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        let name = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        name.ends_with("lib/systemd/systemd")
    })
}

/// The control group that a host had goes with it, from the leaves up; the kernel refuses while somebody is in one.
fn remove_group(name: &str) {
    let mut groups = TOPS.map(|top| Path::new(top).join(name)).to_vec();
    let mut at = 0;
    while let Some(dir) = groups.get(at).cloned() {
        let below = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        groups.extend(below.filter(|path| path.is_dir()));
        at += 1;
    }
    for group in groups.iter().rev() {
        let _ = fs::remove_dir(group);
    }
}

fn remove(base: &Path) {
    let merged = base.join("merged");
    command::local(&["umount", "--lazy", &merged.to_string_lossy()]);
    // The directory below an overlay may be held for a moment by the end of the host.
    let _ = fs::remove_dir_all(base);
}

/// Removes what test processes that were killed have left: directories named by a process that is no more.
fn sweep() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        for entry in fs::read_dir(hosts_dir().join("run")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix('t').and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid.to_owned());
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) && !in_use(&entry.path()) {
                remove(&entry.path());
            }
        }
    });
}

/// Whether a host still runs on this directory: nspawn names it among its arguments.
fn in_use(base: &Path) -> bool {
    let base = base.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok()).any(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("systemd-nspawn") && line.contains(&base)
    })
}
