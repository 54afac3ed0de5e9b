//! Stands in the engine's place on a test host: runs it, counts its state-changing system calls over all its threads,
//! and at the one that was asked for ends it, or has the call fail. Without a plan for its unit it is not there.
//!
//! `/run/deployd-crash` holds one line: part of a unit's name, a number from 1 (0: count only), and what is to happen:
//! `kill` (before the call is made), `term` (SIGTERM, and the call is made), `EIO`, `ENOSPC`, `EINTR`, `EMFILE`, `ENOMEM`;
//! `EIO+`, `ENOSPC+`, `EDQUOT+` and `EROFS+` fail it and all that come after it, as far as files are concerned and the
//! disk would. With
//! `lose:CALL` or `lose:CALL:PATH` that call, or that call for that file, is never made, and says that it was. What was
//! done is said in the journal.

use std::{env, ffi::OsString, fs, os::unix::process::CommandExt, process::Command};

/// Where the engine is. In its place it is this program; then the engine was moved aside.
const ENGINE: &str = "/usr/libexec/deployd/deploy-engine";
const PLAN: &str = "/run/deployd-crash";

fn main() {
    let mut arguments = env::args_os();
    let own_name = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    if env::var_os("DEPLOYD_CRASH_CHILD").is_some() {
        // Stopped until it is watched.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP).ok();
        panic_of(Command::new(real()).arg0(own_name).args(arguments).env_remove("DEPLOYD_CRASH_CHILD").exec());
    }
    match plan() {
        Some(plan) => std::process::exit(watched::run(&own_name, &arguments, &plan)),
        None => panic_of(Command::new(real()).arg0(own_name).args(arguments).exec()),
    }
}

fn real() -> String {
    let in_its_place = env::current_exe().is_ok_and(|own| own == std::path::Path::new(ENGINE));
    if in_its_place { format!("{ENGINE}.real") } else { ENGINE.to_owned() }
}

/// To the journal itself: a worker's standard error is its answer's way.
fn say(text: &str) {
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else { return };
    socket.send_to(format!("MESSAGE=crash-at: {text}\n").as_bytes(), "/run/systemd/journal/socket").ok();
}

fn panic_of(error: std::io::Error) -> ! {
    say(&format!("{}: {error}", real()));
    std::process::exit(120)
}

/// What is to happen, and when.
struct Plan {
    at: u64,
    errno: Option<i32>,
    /// What comes after it fails too.
    on: bool,
    /// It is told to end, and not ended.
    told: bool,
    lose: Option<(String, Option<String>)>,
}

/// The plan, if there is one for the unit that this process is in.
fn plan() -> Option<Plan> {
    let text = fs::read_to_string(PLAN).ok()?;
    let mut words = text.split_whitespace();
    let (unit, at, what) = (words.next()?, words.next()?, words.next()?);
    if !fs::read_to_string("/proc/self/cgroup").ok()?.contains(unit) {
        return None;
    }
    let errno = match what.trim_end_matches('+') {
        "EIO" => Some(nix::libc::EIO),
        "ENOSPC" => Some(nix::libc::ENOSPC),
        "EINTR" => Some(nix::libc::EINTR),
        "EROFS" => Some(nix::libc::EROFS),
        "EDQUOT" => Some(nix::libc::EDQUOT),
        "EMFILE" => Some(nix::libc::EMFILE),
        "ENOMEM" => Some(nix::libc::ENOMEM),
        _ => None,
    };
    let lose = what.strip_prefix("lose:").map(|lost| match lost.split_once(':') {
        Some((call, path)) => (call.to_owned(), Some(path.to_owned())),
        None => (lost.to_owned(), None),
    });
    Some(Plan { at: at.parse().ok()?, errno, on: what.ends_with('+'), told: what == "term", lose })
}

#[cfg(target_arch = "x86_64")]
mod watched {
    //! ptrace(2): every thread stops at each system call, before and after it.

    use std::{
        collections::HashMap,
        env,
        ffi::{OsStr, OsString},
        fs,
        process::Command,
    };

    use nix::{
        libc,
        sys::{
            ptrace::{self, Options},
            signal::{Signal, kill},
            wait::{WaitPidFlag, WaitStatus, waitpid},
        },
        unistd::Pid,
    };

    use super::{Plan, say};

    /// State-changing by their nature.
    const CHANGES: [(i64, &str); 21] = [
        (libc::SYS_mkdirat, "mkdirat"),
        (libc::SYS_mkdir, "mkdir"),
        (libc::SYS_symlinkat, "symlinkat"),
        (libc::SYS_linkat, "linkat"),
        (libc::SYS_unlinkat, "unlinkat"),
        (libc::SYS_unlink, "unlink"),
        (libc::SYS_rmdir, "rmdir"),
        (libc::SYS_rename, "rename"),
        (libc::SYS_renameat, "renameat"),
        (libc::SYS_renameat2, "renameat2"),
        (libc::SYS_fchmod, "fchmod"),
        (libc::SYS_fchmodat, "fchmodat"),
        (libc::SYS_fchown, "fchown"),
        (libc::SYS_fchownat, "fchownat"),
        (libc::SYS_ftruncate, "ftruncate"),
        (libc::SYS_fsetxattr, "fsetxattr"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_fdatasync, "fdatasync"),
        (libc::SYS_syncfs, "syncfs"),
        (libc::SYS_copy_file_range, "copy_file_range"),
        (libc::SYS_sendfile, "sendfile"),
    ];

    /// Runs the engine to its end, and gives its exit status.
    pub fn run(name: &OsStr, arguments: &[OsString], plan: &Plan) -> i32 {
        match watch(name, arguments, plan) {
            Ok(status) => status,
            Err(error) => {
                say(&format!("{error}"));
                121
            }
        }
    }

    fn watch(_name: &OsStr, arguments: &[OsString], plan: &Plan) -> Result<i32, Box<dyn std::error::Error>> {
        let child = Command::new(env::current_exe()?).args(arguments).env("DEPLOYD_CRASH_CHILD", "1").spawn()?;
        let main = Pid::from_raw(i32::try_from(child.id())?);
        waitpid(main, Some(WaitPidFlag::WUNTRACED))?;
        ptrace::attach(main)?;
        waitpid(main, Some(WaitPidFlag::__WALL))?;
        let all = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(main, all)?;
        kill(main, Signal::SIGCONT)?;
        ptrace::syscall(main, None)?;
        let mut seen = Seen { plan, main, running: false, count: 0, inside: HashMap::new() };
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Exited(pid, status) if pid == main => {
                    say(&format!("{} points", seen.count));
                    return Ok(status);
                }
                WaitStatus::Signaled(pid, signal, _) if pid == main => return Ok(128 + signal as i32),
                // A thread that ends meanwhile is gone for every further call too.
                WaitStatus::PtraceSyscall(pid) if seen.stopped(pid).is_ok() => {
                    ptrace::syscall(pid, None).ok();
                }
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        seen.running = true;
                        // It stops once more, at the end of the call that began it.
                        seen.inside = HashMap::from([(pid, None)]);
                    }
                    ptrace::syscall(pid, None).ok();
                }
                WaitStatus::Stopped(pid, signal) => {
                    let ours = matches!(signal, Signal::SIGSTOP | Signal::SIGTRAP | Signal::SIGCONT);
                    ptrace::syscall(pid, (!ours).then_some(signal)).ok();
                }
                _ => {}
            }
        }
    }

    /// The name that a call makes, moves or removes.
    fn path(pid: Pid, registers: &libc::user_regs_struct) -> String {
        let at = match i64::from_ne_bytes(registers.orig_rax.to_ne_bytes()) {
            libc::SYS_renameat | libc::SYS_renameat2 => registers.r10,
            libc::SYS_symlinkat => registers.rdx,
            libc::SYS_openat | libc::SYS_openat2 | libc::SYS_mkdirat | libc::SYS_unlinkat => registers.rsi,
            _ => return String::new(),
        };
        let mut bytes = Vec::new();
        for word in 0..16 {
            let Ok(read) = ptrace::read(pid, (at + word * 8) as ptrace::AddressType) else { break };
            bytes.extend(read.to_ne_bytes());
            if bytes.contains(&0) {
                break;
            }
        }
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    }

    struct Seen<'a> {
        plan: &'a Plan,
        main: Pid,
        running: bool,
        count: u64,
        /// The threads that are inside a call, and what it shall answer instead of what it does.
        inside: HashMap<Pid, Option<i32>>,
    }

    impl Seen<'_> {
        fn stopped(&mut self, pid: Pid) -> nix::Result<()> {
            let mut registers = ptrace::getregs(pid)?;
            if let Some(answer) = self.inside.remove(&pid) {
                if let Some(errno) = answer {
                    registers.rax = u64::from_ne_bytes(i64::from(-errno).to_ne_bytes());
                    ptrace::setregs(pid, registers)?;
                }
                return Ok(());
            }
            self.inside.insert(pid, None);
            let Some(call) = self.changing(pid, &registers).filter(|_| self.running) else { return Ok(()) };
            if self.lost(pid, call, &registers) {
                say(&format!("lost {call}"));
                registers.orig_rax = u64::MAX;
                ptrace::setregs(pid, registers)?;
                self.inside.insert(pid, Some(0));
                return Ok(());
            }
            self.count += 1;
            let call = format!("{call} {}", path(pid, &registers)).trim_end().to_owned();
            if self.plan.at == 0 && self.plan.lose.is_none() {
                say(&format!("at {} {call}", self.count));
            }
            let later = self.plan.on && self.count > self.plan.at && self.plan.at > 0 && self.disk_refuses(&call);
            if self.count != self.plan.at && !later {
                return Ok(());
            }
            match self.plan.errno {
                None if self.plan.told => {
                    say(&format!("terminated before {} {call}", self.count));
                    kill(self.main, Signal::SIGTERM)?;
                }
                None => {
                    say(&format!("killed before {} {call}", self.count));
                    kill(self.main, Signal::SIGKILL)?;
                }
                Some(errno) => {
                    say(&format!("failed {} {call}", self.count));
                    registers.orig_rax = u64::MAX;
                    ptrace::setregs(pid, registers)?;
                    self.inside.insert(pid, Some(errno));
                }
            }
            Ok(())
        }

        /// Whether a disk that is dead, or only full, fails this call.
        fn disk_refuses(&self, call: &str) -> bool {
            let frees = ["unlink", "rmdir", "fchmod", "fchown", "rename"].iter().any(|name| call.starts_with(name));
            !call.starts_with("sendmsg") && (self.plan.errno != Some(libc::ENOSPC) || !frees)
        }

        /// Whether this call is one that is never to be made.
        fn lost(&self, pid: Pid, call: &str, registers: &libc::user_regs_struct) -> bool {
            let Some((lost, path)) = &self.plan.lose else { return false };
            let of = || fs::read_link(format!("/proc/{pid}/fd/{}", registers.rdi)).unwrap_or_default();
            lost == call && path.as_ref().is_none_or(|path| of() == std::path::Path::new(path))
        }

        /// The call's name, if it changes what outlives the process or tells another one to.
        fn changing(&self, pid: Pid, registers: &libc::user_regs_struct) -> Option<&'static str> {
            let number = i64::from_ne_bytes(registers.orig_rax.to_ne_bytes());
            if let Some((_, name)) = CHANGES.iter().find(|(change, _)| *change == number) {
                return Some(name);
            }
            let written =
                |flags: u64| flags & (libc::O_CREAT | libc::O_WRONLY | libc::O_RDWR | libc::O_TRUNC) as u64 != 0;
            match number {
                libc::SYS_openat => written(registers.rdx).then_some("openat"),
                libc::SYS_openat2 => {
                    let flags = ptrace::read(pid, registers.rdx as ptrace::AddressType).ok()?;
                    written(flags as u64).then_some("openat2")
                }
                // To files alone: a runtime wakes itself by writing too.
                libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev => {
                    let to = fs::read_link(format!("/proc/{pid}/fd/{}", registers.rdi)).ok()?;
                    let file = to.starts_with("/") && !to.starts_with("/dev") && !to.starts_with("/proc");
                    file.then_some("write")
                }
                // To a peer, which is the bus or a worker; with an address it is the journal's or PID 1's notice.
                libc::SYS_sendmsg => {
                    let address = ptrace::read(pid, registers.rsi as ptrace::AddressType).ok()?;
                    (address == 0).then_some("sendmsg")
                }
                _ => None,
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod watched {
    //! Registers are read by their names on one architecture only.

    use std::ffi::{OsStr, OsString};

    /// Not here.
    pub fn run(_: &OsStr, _: &[OsString], _: &super::Plan) -> i32 {
        super::say(&format!("not on this architecture"));
        122
    }
}
