//! A virtual machine under software emulation: booted or resumed, told what to run, saved, and ended by SIGKILL.

use std::{
    io::{ErrorKind, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{disk::Disks, image::Image, monitor::Monitor};
use crate::support::command;

/// Longest that a script may take.
const PATIENCE: Duration = Duration::from_secs(300);
const KERNEL_LINE: &str = "console=ttyS0 systemd.unit=vm.target quiet loglevel=3 mitigations=off random.trust_cpu=on";

/// How a script ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: i32,
    /// Both of its outputs.
    pub said: String,
}

impl Ran {
    /// What it said, if its status is 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(self.status == 0, "status {}: {}", self.status, self.said);
        self.said
    }
}

/// A running machine.
pub struct Machine {
    qemu: Child,
    agent: UnixStream,
    read: Vec<u8>,
    monitor: Monitor,
}

impl Machine {
    /// Boots it; returns when it takes scripts.
    pub fn boot(image: &Image, disks: &Disks) -> Self {
        let mut machine = Self::start(image, disks, None);
        let until = Instant::now() + PATIENCE;
        while machine.line(until).unwrap_or_else(|| panic!("{} does not boot", image.root.display())) != "== ready" {}
        machine
    }

    /// Goes on where a machine was saved.
    pub fn resume(image: &Image, disks: &Disks, saved: &Path) -> Self {
        Self::start(image, disks, Some(saved))
    }

    fn start(image: &Image, disks: &Disks, saved: Option<&Path>) -> Self {
        let (agent, its) = UnixStream::pair().unwrap();
        let dir = disks.dir.clone();
        let path = dir.join("monitor");
        let listener = Monitor::listen(&path);
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]);
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "768", "-smp", "2", "-display", "none"]);
        qemu.arg("-kernel").arg(&image.kernel.image).arg("-initrd").arg(&image.kernel.initrd);
        qemu.args(["-append", KERNEL_LINE]);
        let root = format!("file={},format=raw,if=none,id=root,readonly=on", image.root.display());
        qemu.args(["-drive", &root, "-device", "virtio-blk-pci,drive=root"]);
        for arguments in disks.arguments() {
            qemu.args(["-blockdev", &arguments]);
        }
        qemu.args(["-device", "virtio-blk-pci,drive=app", "-device", "virtio-blk-pci,drive=state"]);
        qemu.arg("-serial").arg(format!("file:{}", dir.join("console").display()));
        qemu.args(["-chardev", "stdio,id=agent,signal=off", "-serial", "chardev:agent"]);
        qemu.args(["-chardev", &format!("socket,id=monitor,path={}", path.display())]);
        qemu.args(["-mon", "chardev=monitor,mode=control"]);
        if saved.is_some() {
            qemu.args(["-incoming", "defer"]);
        }
        let (read, write): (OwnedFd, OwnedFd) = (its.try_clone().unwrap().into(), its.into());
        qemu.stdin(read).stdout(write).stderr(Stdio::inherit());
        let mut qemu = qemu.spawn().unwrap_or_else(|e| panic!("qemu: {e}"));
        let mut monitor = Monitor::of(&listener, &mut qemu);
        // What is said to it before it is loaded would be lost.
        saved.into_iter().for_each(|saved| monitor.load(saved));
        Self { qemu, agent, read: Vec::new(), monitor }
    }

    /// Has it run a script; what it says comes by [`Machine::line`], at last `== STATUS`.
    pub fn begin(&mut self, script: &str) {
        let mut base64 = Command::new("base64");
        base64.arg("--wrap=0");
        let line = command::run(base64, script.as_bytes()).ok();
        self.agent.write_all(format!("{line}\n").as_bytes()).unwrap_or_else(|e| panic!("the machine is gone: {e}"));
    }

    /// The next line that it says, unless there is none until then.
    pub fn line(&mut self, until: Instant) -> Option<String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.agent.set_read_timeout(Some(left)).unwrap();
            let mut some = [0; 4096];
            match self.agent.read(&mut some) {
                Ok(0) => return None,
                Ok(count) => self.read.extend(&some[..count]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
                Err(error) => panic!("the machine is gone: {error}"),
            }
        }
    }

    /// Runs a script to its end.
    pub fn run(&mut self, script: &str) -> Ran {
        self.begin(script);
        let (until, mut said) = (Instant::now() + PATIENCE, String::new());
        loop {
            let line = self.line(until).unwrap_or_else(|| panic!("no end of {script}:\n{said}"));
            if let Some(status) = status(&line) {
                return Ran { status, said };
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// Saves what it is at this moment; it does not go on. What it wrote is in the images.
    pub fn save(mut self, to: &Path) {
        self.monitor.save(to);
        self.qemu.wait().unwrap();
    }

    /// Takes the power away. Gives what it had said until then.
    pub fn cut(mut self) -> Vec<String> {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
        let mut rest = Vec::new();
        while let Some(line) = self.line(Instant::now()) {
            rest.push(line);
        }
        rest
    }
}

/// The status with which a script ended, if this is the line that says it.
pub fn status(line: &str) -> Option<i32> {
    line.strip_prefix("== ")?.parse().ok()
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.qemu.kill().ok();
        self.qemu.wait().ok();
    }
}
