//! A step's own process, for a moment: takes the secrets of the package managers from its credentials into its environment
//! and becomes the step's program. Nothing of them ever stands in a unit's properties. And a command of which PID 1
//! would make another one stands there in other words.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

use super::sandbox::STEP_SECRETS;
use crate::system::{credentials, units::own_words};

/// The largest `auth.json`, in bytes: it must fit into an environment.
const LARGEST: u64 = 64 * 1024;
/// What systemd's own child exits with when a program cannot be executed (`EXIT_EXEC`, systemd.exec(5)).
const NOT_EXECUTED: u8 = 203;
/// The same for credentials (`EXIT_CREDENTIALS`).
const NO_CREDENTIAL: u8 = 243;

/// Becomes the program, of a command in its own words or, `is_kept`, in those that a unit's file keeps; the exit status
/// when it cannot.
pub fn step(command: &[String], is_kept: bool) -> u8 {
    let command = if is_kept { own_words(command) } else { command.to_vec() };
    let Some((program, arguments)) = command.split_first() else { return NOT_EXECUTED };
    let mut command = Command::new(program);
    command.args(arguments);
    match credentials::dir().map(|dir| secrets(&dir)).transpose() {
        Ok(secrets) => command.envs(secrets.unwrap_or_default()),
        Err(error) => {
            tracing::error!("a credential of the step cannot be read: {error}");
            return NO_CREDENTIAL;
        }
    };
    tracing::error!("{program} cannot be run: {}", command.exec());
    NOT_EXECUTED
}

/// The variables by which the package managers find what was handed over.
fn secrets(dir: &Path) -> io::Result<Vec<(&'static str, String)>> {
    let mut out = Vec::new();
    let [auth, npmrc] = STEP_SECRETS.map(|name| dir.join(name));
    if auth.exists() {
        let mut text = String::new();
        std::fs::File::open(&auth)?.take(LARGEST + 1).read_to_string(&mut text)?;
        let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
        if text.len() as u64 > LARGEST {
            return refused(format!("composer's auth.json is longer than {LARGEST} bytes"));
        }
        if text.contains('\0') {
            return refused("auth.json has a NUL in it".into());
        }
        out.push(("COMPOSER_AUTH", text.trim().to_owned()));
    }
    if npmrc.exists() {
        out.push(("NPM_CONFIG_USERCONFIG", npmrc.display().to_string()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_found_by_its_variable_and_nothing_else_is_set() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(secrets(dir.path()).unwrap(), []);
        std::fs::write(dir.path().join("composer-auth"), "{\"http-basic\": {}}\n").unwrap();
        std::fs::write(dir.path().join("npmrc"), "//registry.example.org/:_authToken=x\n").unwrap();
        std::fs::write(dir.path().join("other"), "x").unwrap();
        let npmrc = dir.path().join("npmrc").display().to_string();
        let wanted = [("COMPOSER_AUTH", "{\"http-basic\": {}}".to_owned()), ("NPM_CONFIG_USERCONFIG", npmrc)];
        assert_eq!(secrets(dir.path()).unwrap(), wanted);
        std::fs::write(dir.path().join("composer-auth"), "a\0b").unwrap();
        assert!(secrets(dir.path()).is_err());
    }

    #[test]
    fn what_cannot_be_run_exits_as_systemd_says_it() {
        assert_eq!(step(&[], false), NOT_EXECUTED);
        assert_eq!(step(&["/nonexistent/program".to_owned()], false), NOT_EXECUTED);
    }
}
