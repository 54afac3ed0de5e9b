//! A Debian root tree, made once by mmdebstrap and never written again: hosts are overlays of it.

use std::{fs, path::PathBuf, process::Command};

use sha2::{Digest, Sha256};

use super::{
    command,
    lock::{hosts_dir, lock},
};

/// What every host has. The tree's name carries a digest of this list.
const PACKAGES: &[&str] = &[
    "acl",
    "ca-certificates",
    "composer",
    "dbus",
    "git",
    "git-lfs",
    "iproute2",
    "less",
    "libnss-systemd",
    "libphp-embed",
    "nginx-light",
    "nodejs",
    "openssh-client",
    "openssh-server",
    "php-cli",
    "php-fpm",
    "php-laravel-framework",
    "php-redis",
    "php-sqlite3",
    "polkitd",
    "procps",
    "redis-server",
    "strace",
    "systemd",
    "systemd-sysv",
];

/// What the machine must have for making and booting hosts: a program and the package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
];

/// A root tree.
#[derive(Debug, Clone)]
pub struct Root {
    /// Its directory; only to be read.
    pub dir: PathBuf,
}

impl Root {
    /// The tree of the suite that `DEPLOYD_TEST_SUITE` names (`bookworm`, `trixie`), or of bookworm: made if it is not
    /// there, about 70 s and 400 MB.
    pub fn chosen() -> Self {
        Self::with(&[])
    }

    /// A tree of that suite that has these packages too.
    pub fn with(more: &[&str]) -> Self {
        let suite = std::env::var("DEPLOYD_TEST_SUITE").unwrap_or_else(|_| "bookworm".into());
        let packages = [PACKAGES, more].concat();
        assert!(rustix::process::geteuid().is_root(), "booting a host needs root: run this as root or with sudo");
        install_needed();
        let name = format!("{suite}-{}", digest(&packages.join(" ")));
        let dir = hosts_dir().join(&name);
        let _held = lock(&hosts_dir().join(format!("{name}.lock")));
        if !dir.is_dir() {
            make(&suite, &packages, &dir);
        }
        Self { dir }
    }
}

/// Makes the tree beside its place, then renames it there.
fn make(suite: &str, packages: &[&str], dir: &PathBuf) {
    let part = dir.with_extension("part");
    if part.exists() {
        fs::remove_dir_all(&part).unwrap_or_else(|e| panic!("{}: {e}", part.display()));
    }
    eprintln!("making a Debian {suite} root, once: {} (about a minute)", dir.display());
    let started = std::time::Instant::now();
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--quiet", "--variant=minbase", &format!("--include={}", packages.join(",")), suite]).arg(&part);
    command::run(mmdebstrap, b"").ok();
    fs::rename(&part, dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    eprintln!("made it in {} s", started.elapsed().as_secs());
}

/// Installs by apt-get what this machine lacks, and says so.
fn install_needed() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let lacking: Vec<&str> = NEEDED.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if lacking.is_empty() {
        return;
    }
    let _held = lock(&hosts_dir().join("apt.lock"));
    eprintln!("installing {}", lacking.join(" "));
    command::local(&["apt-get", "update", "-q"]).ok();
    command::local(&[&["apt-get", "install", "-q", "-y", "--no-install-recommends"], &lacking[..]].concat()).ok();
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
