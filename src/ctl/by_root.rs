//! `init`, `adopt` and `disown`: done once for an app by who administers the host. They change what is root's, /etc and
//! nginx, for which no policy of the bus would be narrower than root: deployctl becomes the engine, with the caller's
//! own rights.

use std::{os::unix::process::CommandExt, process::Command};

use super::error::CtlError;

/// As installed.
const ENGINE: &str = "/usr/libexec/deployd/deploy-engine";

/// Becomes the engine; returns only when it cannot.
pub fn run(arguments: &[String]) -> Result<u8, CtlError> {
    let verb = arguments.first().map_or("", String::as_str);
    if !rustix::process::geteuid().is_root() {
        let what = "it reads and changes what is root's in /etc and in the app's tree";
        return Err(CtlError::Local(format!("{verb} is done as root, {what}: sudo deployctl {}", arguments.join(" "))));
    }
    let error = Command::new(ENGINE)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .exec();
    Err(CtlError::Local(format!("cannot run {ENGINE}: {error}; is deployd's package whole?")))
}
