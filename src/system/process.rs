//! Processes: watched by pidfd, read through /proc. Sends no signals: that is systemd's.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
    thread::{CpuSet, sched_getaffinity},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, timeout_at},
};

/// What can be said of a question to the kernel: an observer that cannot read answers unknown, never "nothing".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<T> {
    /// It was read.
    Known(T),
    /// It could not be, and why.
    Unknown(String),
}

/// Processes that are watched until they are gone; safe against reuse of their pids.
#[derive(Debug)]
pub struct Watch {
    processes: Vec<(u32, OwnedFd)>,
}

impl Watch {
    /// Opens a pidfd for each. A pid that is already gone is left out; one that cannot be opened is an error.
    pub fn new(pids: &[u32]) -> io::Result<Self> {
        let mut processes = Vec::with_capacity(pids.len());
        for &pid in pids {
            let fail = |error: io::Error| io::Error::new(error.kind(), format!("cannot watch process {pid}: {error}"));
            let valid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let valid = valid.ok_or_else(|| fail(io::Error::new(io::ErrorKind::InvalidInput, "not a process id")))?;
            match pidfd_open(valid, PidfdFlags::empty()) {
                Ok(fd) => processes.push((pid, fd)),
                Err(Errno::SRCH) => {}
                Err(error) => return Err(fail(error.into())),
            }
        }
        Ok(Self { processes })
    }
    /// Waits until all are gone, at most `limit`; returns the pids still there then.
    pub async fn gone(self, limit: Duration) -> Vec<u32> {
        let deadline = Instant::now() + limit;
        let mut left = Vec::new();
        for (pid, fd) in self.processes {
            // A pidfd becomes readable when its process has ended (pidfd_open(2)).
            match readiness(fd) {
                Ok(ready) => {
                    let ended = matches!(timeout_at(deadline, ready.readable()).await, Ok(Ok(_)));
                    if !ended && !is_readable(ready.get_ref()) {
                        left.push(pid);
                    }
                }
                Err(error) => {
                    tracing::debug!("cannot wait for process {pid}: {error}, taking it as still there");
                    left.push(pid);
                }
            }
        }
        left
    }
}

#[expect(deprecated, reason = "unsound for types whose as_raw_fd() can change; an OwnedFd's cannot")]
fn readiness(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Whether `fd` is readable now.
fn is_readable(fd: impl AsFd) -> bool {
    let mut polled = [PollFd::new(&fd, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready == 1)
}

/// A process's working directory (needs CAP_SYS_PTRACE for other users' processes). Of a directory that was removed
/// the kernel gives the old path and ` (deleted)`.
pub fn cwd(pid: u32) -> Seen<PathBuf> {
    let link = format!("/proc/{pid}/cwd");
    match std::fs::read_link(&link) {
        Ok(path) => Seen::Known(path),
        Err(error) => Seen::Unknown(format!("cannot read {link}: {error}")),
    }
}

/// The inodes of the sockets that a process has open (needs CAP_SYS_PTRACE for other users' processes).
pub fn sockets(pid: u32) -> Seen<Vec<u32>> {
    let dir = format!("/proc/{pid}/fd");
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => return Seen::Unknown(format!("cannot read {dir}: {error}")),
    };
    let target = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
    let inode = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    // One that is closed meanwhile is not there any more.
    Seen::Known(entries.flatten().filter_map(target).filter_map(inode).collect())
}

/// How long a process has been there, in whole seconds. None: it has ended.
pub fn age(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: u64 = uptime.split('.').next()?.parse().ok()?;
    let begun = started(&stat)? / USER_HZ;
    Some(Duration::from_secs(up.saturating_sub(begun)))
}

/// The kernel's tick towards programs, in a second (`USER_HZ`): the same on every machine that systemd runs on.
const USER_HZ: u64 = 100;

/// Field 22 of `/proc/PID/stat`, in clock ticks since the boot. The name before it, in parentheses, may be anything.
fn started(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// What a process calls itself: its arguments, or the title that it has put in their place. None: it has ended.
pub fn title(pid: u32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    Some(text.trim_end().to_owned())
}

/// MemAvailable of /proc/meminfo, in MiB.
pub fn memory_available_mib() -> io::Result<u64> {
    available(&std::fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemAvailable line in kB"))
}

fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib / 1024)
}

/// The processors that this process may run on but the first of them, as bits; none: there is only one.
pub fn processors_but_one() -> Option<Vec<u8>> {
    let mine = sched_getaffinity(None).ok()?;
    but_the_first((0..CpuSet::MAX_CPU).filter(|processor| mine.is_set(*processor)))
}

fn but_the_first(processors: impl Iterator<Item = usize>) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for processor in processors.skip(1) {
        let byte = processor / 8;
        bits.resize(bits.len().max(byte + 1), 0);
        if let Some(bits) = bits.get_mut(byte) {
            *bits |= 1 << (processor % 8);
        }
    }
    (!bits.is_empty()).then_some(bits)
}

/// What this host calls itself; empty when it does not say.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.map(|name| crate::model::printable(&name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Ends when its standard input is closed.
    fn cat() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    #[tokio::test]
    async fn tells_which_processes_are_left_at_the_deadline() {
        let (mut ends, mut stays) = (cat(), cat());
        let watch = Watch::new(&[ends.id(), stays.id()]).unwrap();
        drop(ends.stdin.take());
        assert_eq!(watch.gone(Duration::from_millis(200)).await, [stays.id()]);
        drop(stays.stdin.take());
        stays.wait().unwrap();
        ends.wait().unwrap();
    }

    #[tokio::test]
    async fn returns_as_soon_as_the_last_has_gone() {
        let mut child = cat();
        let watch = Watch::new(&[child.id()]).unwrap();
        let begun = Instant::now();
        let stdin = child.stdin.take();
        let close = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(stdin);
        };
        let (left, ()) = tokio::join!(watch.gone(Duration::from_secs(60)), close);
        assert!(left.is_empty());
        assert!(begun.elapsed() < Duration::from_secs(10));
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_zero_limit_still_sees_who_has_gone() {
        let (mut ends, mut stays) = (cat(), cat());
        let watch = Watch::new(&[ends.id(), stays.id()]).unwrap();
        drop(ends.stdin.take());
        ends.wait().unwrap();
        assert_eq!(watch.gone(Duration::ZERO).await, [stays.id()]);
        drop(stays.stdin.take());
        stays.wait().unwrap();
    }

    #[test]
    fn one_processor_is_left_where_there_are_several() {
        let left = |processors: &[usize]| but_the_first(processors.iter().copied());
        assert_eq!((left(&[]), left(&[0]), left(&[5])), (None, None, None));
        assert_eq!((left(&[0, 1]), left(&[1, 3])), (Some(vec![2]), Some(vec![8])));
        assert_eq!(left(&[0, 1, 2, 9, 17]), Some(vec![6, 2, 2]));
    }

    #[test]
    fn gone_pids_are_left_out_and_wrong_ones_refused() {
        let mut child = cat();
        let pid = child.id();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Watch::new(&[pid]).unwrap().processes.is_empty());
        assert!(Watch::new(&[0]).unwrap_err().to_string().contains("process 0"));
        assert!(Watch::new(&[u32::MAX]).is_err());
    }

    #[test]
    fn reads_a_working_directory_or_says_why_not() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(cwd(std::process::id()), Seen::Known(here));
        assert!(matches!(cwd(0), Seen::Unknown(why) if why.contains("/proc/0/cwd")));
    }

    #[test]
    fn tells_the_age_the_title_and_the_sockets_of_a_process() {
        assert_eq!(started("7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 9 9"), Some(4711));
        let me = std::process::id();
        assert!(age(me).is_some_and(|age| age < Duration::from_secs(3600)) && age(u32::MAX).is_none());
        assert!(title(me).is_some_and(|title| title.contains("deployd")) && title(u32::MAX).is_none());
        let before = match sockets(me) {
            Seen::Known(sockets) => sockets.len(),
            Seen::Unknown(why) => panic!("{why}"),
        };
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(matches!(sockets(me), Seen::Known(now) if now.len() > before));
        drop(socket);
        assert!(matches!(sockets(u32::MAX), Seen::Unknown(_)));
    }

    #[test]
    fn reads_available_memory() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2097152 kB\n"), Some(2048));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
        assert!(memory_available_mib().unwrap() > 0);
    }
}
