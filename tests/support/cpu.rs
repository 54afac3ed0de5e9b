//! A host with a processor controller, so that weights work as on a real one. Where the machine's controllers are of
//! version 1, a host has none of them by itself: this one boots with that version's hierarchies, and the processors'
//! one is its own below a control group of its own. Nothing of the machine outside that group changes.

use std::path::Path;

use super::host::Host;

/// Where version 1 has its controller of the processors; the control group of a host is below.
pub const CPU: &str = "/sys/fs/cgroup/cpu";

/// Whether the machine's processors are controlled by version 1.
pub fn is_v1() -> bool {
    Path::new(CPU).join("cpu.shares").exists()
}

/// Gives a host that was booted with version 1 what nspawn mounted read-only. systemd takes `cpu` and `cpuacct` for one,
/// as they are on every host of that version: without the one it makes no group in the other.
pub fn open(host: &Host) {
    host.sh(&format!(
        "umount {CPU} && mount -t cgroup -o cpu cgroup {CPU} && mount --bind {CPU} /sys/fs/cgroup/cpuacct
         systemctl daemon-reexec"
    ));
}
