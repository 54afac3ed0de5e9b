//! The real servers that Octane starts, FrankenPHP and RoadRunner, built from their Go modules once for each version.
//! Where this machine cannot build one, the reason is given, and a stand-in is what is tested.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::{
    command,
    lock::{crate_dir, lock, target_dir},
    root::Root,
};

/// Caddy without what the tests need not: databases of certificates, watching files, brotli.
const TAGS: &str = "nowatcher,nobadger,nomysql,nopgx,nobrotli";

/// A server that Octane can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// FrankenPHP in Caddy.
    FrankenPhp,
    /// RoadRunner's pool and relay.
    RoadRunner,
}

impl Server {
    /// What Octane calls its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::FrankenPhp => "frankenphp",
            Self::RoadRunner => "rr",
        }
    }

    fn source(self) -> PathBuf {
        crate_dir().join("tests/runtimes").join(match self {
            Self::FrankenPhp => "frankenphp",
            Self::RoadRunner => "roadrunner",
        })
    }

    /// The program, built if it is not there yet (about five minutes for both), or why it cannot be had.
    pub fn ensure(self, root: &Root) -> Result<PathBuf, String> {
        let go = said(&["go", "version"]).ok_or("this machine has no Go")?;
        let php = match self {
            Self::RoadRunner => String::new(),
            Self::FrankenPhp => embedded_php(root)?,
        };
        let dir = target_dir().join("runtimes").join(key(&self.source(), &format!("{go}{php}")));
        let program = dir.join(self.program());
        let _held = lock(&target_dir().join("runtimes.lock"));
        if !program.is_file() {
            build(self, &program)?;
        }
        Ok(program)
    }
}

/// The version of PHP to embed: the machine's headers and the host's library must be of the same one.
fn embedded_php(root: &Root) -> Result<String, String> {
    command::local(&[&crate_dir().join("packaging/deps").to_string_lossy(), "runtimes"]).ok();
    let version = said(&["php-config", "--version"]).ok_or("this machine has no php-config")?;
    let minor = version.trim().rsplit_once('.').map_or("", |(minor, _)| minor);
    let library = root.dir.join(format!("usr/lib/libphp{minor}.so"));
    library.is_file().then(|| version.clone()).ok_or(format!("the host has another PHP than this machine's {minor}"))
}

fn build(server: Server, program: &Path) -> Result<(), String> {
    eprintln!("building {} from its Go modules, once", server.program());
    let mut go = Command::new("go");
    // From the module proxy or not at all: never from somebody's repository.
    go.current_dir(server.source()).env("GOFLAGS", "-buildvcs=false -mod=readonly").env("GOVCS", "*:off");
    go.args(["build", "-tags", TAGS, "-o"]).arg(program).arg(".");
    match server {
        Server::RoadRunner => go.env("CGO_ENABLED", "0"),
        Server::FrankenPhp => {
            go.env("CGO_ENABLED", "1").env("CGO_CFLAGS", said(&["php-config", "--includes"]).unwrap_or_default().trim())
        }
    };
    let ended = command::run(go, b"");
    let last = ended.said().lines().last().unwrap_or_default().to_owned();
    (ended.status == 0).then_some(()).ok_or(format!("go build failed: {last}"))
}

/// What a program of the machine's says; nothing when it is not there.
fn said(argv: &[&str]) -> Option<String> {
    let output = Command::new(argv[0]).args(&argv[1..]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn key(source: &Path, built_by: &str) -> String {
    let mut digest = Sha256::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = source.join(file);
        digest.update(fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
    }
    digest.update(built_by);
    digest.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}
