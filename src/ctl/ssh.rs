//! The forced command of an ssh key: what its holder wrote is one of four things of one app, or refused. No shell sees it,
//! and polkit decides about whom sshd let in.

use std::{
    fs::File,
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use nix::unistd::mkstemp;
use rustix::fs::fstatvfs;

use super::{
    args::{Command, Start, StartOptions},
    error::CtlError,
};
use crate::model::{AppName, Kind, printable};

/// Where sshd puts what the client wrote.
pub const ORIGINAL: &str = "SSH_ORIGINAL_COMMAND";
/// The longest command, in bytes.
const LONGEST: usize = 1024;
/// The largest archive that is taken from standard input, in bytes (4 GiB).
const LARGEST: u64 = 4 << 30;
/// Where it is kept until deployd has its copy: on disk, unlike /tmp.
const SPOOL: &str = "/var/tmp";
/// What stays free there, in bytes.
const SPARE: u64 = 256 << 20;

/// What the key may be used for.
const ALLOWED: &str = "this key may: deploy, deploy --ref REF, rollback, status, \
                       upload (with an archive on standard input)";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked<'a> {
    Deploy(Option<&'a str>),
    Rollback,
    Status,
    Upload,
}

/// The command line that it stands for, and the archive that is removed when it is done with.
pub fn command(app: AppName, original: Option<&str>) -> Result<(Command, Option<Spooled>), CtlError> {
    let start =
        |kind, options| Command::Start(Start { app: app.clone(), kind, options, wait: true, tell_unchanged: false });
    let plain = StartOptions::default;
    match asked(original)? {
        Asked::Deploy(reference) => {
            Ok((start(Kind::Deploy, StartOptions { reference: reference.map(str::to_owned), ..plain() }), None))
        }
        Asked::Rollback => Ok((start(Kind::Rollback, plain()), None)),
        Asked::Status => Ok((Command::Status(Some(app)), None)),
        Asked::Upload => {
            if std::io::stdin().is_terminal() {
                return Err(CtlError::Usage(
                    "upload takes an archive on standard input, and that is a terminal".into(),
                ));
            }
            let spooled = Spooled::read(std::io::stdin().lock(), Path::new(SPOOL), LARGEST)?;
            let options = StartOptions { upload: Some(spooled.0.clone()), ..plain() };
            Ok((start(Kind::Deploy, options), Some(spooled)))
        }
    }
}

/// Words are split at blanks and taken as they are: there are no quotes, and none are needed.
fn asked(original: Option<&str>) -> Result<Asked<'_>, CtlError> {
    let refuse = |what: &str| Err(CtlError::Usage(format!("{what}\n\n{ALLOWED}")));
    let Some(line) = original.filter(|line| !line.trim().is_empty()) else {
        return refuse("no command was given, and there is no shell");
    };
    if line.len() > LONGEST {
        return refuse(&format!("the command is longer than {LONGEST} bytes"));
    }
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words.as_slice() {
        ["deploy"] => Ok(Asked::Deploy(None)),
        ["deploy", "--ref", reference] => Ok(Asked::Deploy(Some(reference))),
        ["deploy", one] if one.starts_with("--ref=") => Ok(Asked::Deploy(one.strip_prefix("--ref="))),
        ["rollback"] => Ok(Asked::Rollback),
        ["status"] => Ok(Asked::Status),
        ["upload"] => Ok(Asked::Upload),
        _ => {
            let shown: String = line.chars().take(64).collect();
            refuse(&format!("\"{}\" is not for this key", printable(&shown)))
        }
    }
}

/// An archive from standard input, in a file of its own, with a name, as deployd wants one; removed when dropped.
#[derive(Debug)]
pub struct Spooled(PathBuf);

impl Spooled {
    fn read(input: impl Read, dir: &Path, largest: u64) -> Result<Self, CtlError> {
        let (spooled, mut file) = Self::make(dir)?;
        let failed = |e: std::io::Error| CtlError::Local(format!("cannot keep the archive in {}: {e}", dir.display()));
        let free = fstatvfs(&file).map_err(|e| failed(e.into()))?;
        let most = largest.min(free.f_bavail.saturating_mul(free.f_frsize).saturating_sub(SPARE));
        let bytes = std::io::copy(&mut input.take(most + 1), &mut file).map_err(failed)?;
        file.flush().map_err(failed)?;
        match bytes {
            0 => Err(CtlError::Usage("upload takes an archive on standard input, and nothing came".into())),
            bytes if bytes > largest => {
                Err(CtlError::Usage(format!("the archive is larger than {} MiB", largest >> 20)))
            }
            bytes if bytes > most => {
                Err(CtlError::Local(format!("there is no room for the archive in {}: make some", dir.display())))
            }
            _ => Ok(spooled),
        }
    }

    fn make(dir: &Path) -> Result<(Self, File), CtlError> {
        let failed = |e: std::io::Error| CtlError::Local(format!("cannot make a file in {}: {e}", dir.display()));
        let (file, path) = mkstemp(&dir.join("deployctl-XXXXXX")).map_err(|e| failed(e.into()))?;
        Ok((Self(path), file.into()))
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // What cannot be removed is /var/tmp's to clear away.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_things_are_allowed_and_what_a_shell_would_make_of_others_is_refused() {
        for (line, means) in [
            ("deploy", Asked::Deploy(None)),
            (" deploy\t--ref  v1.2\n", Asked::Deploy(Some("v1.2"))),
            ("deploy --ref=release/1", Asked::Deploy(Some("release/1"))),
            // No word of it is anything but a ref, which deployd looks at.
            ("deploy --ref $(reboot)", Asked::Deploy(Some("$(reboot)"))),
            ("rollback", Asked::Rollback),
            ("status", Asked::Status),
            ("upload", Asked::Upload),
        ] {
            assert_eq!(asked(Some(line)).unwrap(), means, "{line}");
        }
        let long = format!("deploy --ref {}", "a".repeat(LONGEST));
        for line in [
            "deploy; reboot",
            "deploy --ref a b",
            "deploy --force",
            "deploy --ref a --force",
            "deploy other",
            "rollback 20260131T120000Z-1a2b3c4d",
            "status && sh",
            "logs -f",
            "deployctl deploy shop",
            "sh",
            "/bin/sh -i",
            "scp -t /tmp",
            "internal-sftp",
            "upload /etc/shadow",
            "'deploy'",
            "DEPLOY",
            "\u{1b}[2J",
            &long,
            "  ",
        ] {
            let Err(CtlError::Usage(said)) = asked(Some(line)) else { panic!("{line} is taken") };
            assert!(said.contains("this key may") && !said.contains('\u{1b}'), "{said}");
        }
        assert!(matches!(asked(None), Err(CtlError::Usage(said)) if said.contains("no shell")));
    }

    #[test]
    fn an_archive_is_bounded_kept_for_its_user_alone_and_removed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let there = || std::fs::read_dir(dir.path()).unwrap().count();
        let spooled = Spooled::read(&b"archive"[..], dir.path(), 7).unwrap();
        assert_eq!(std::fs::read(&spooled.0).unwrap(), b"archive");
        assert_eq!(std::fs::metadata(&spooled.0).unwrap().permissions().mode() & 0o777, 0o600);
        drop(spooled);
        for wrong in [&b"archives"[..], b""] {
            assert!(matches!(Spooled::read(wrong, dir.path(), 7), Err(CtlError::Usage(_))));
        }
        assert_eq!(there(), 0, "nothing is left");
        assert!(matches!(Spooled::read(&b"x"[..], Path::new("/nonexistent"), 7), Err(CtlError::Local(_))));
    }
}
