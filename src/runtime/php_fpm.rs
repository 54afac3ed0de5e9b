//! php-fpm in slots: the configuration of one slot, as text. Pure; the engine writes it, readable for `run_as` only,
//! before the slot is started.
//!
//! - The master runs as `run_as`, not root: `user` and `group` mean nothing, and plain group ownership of the socket
//!   would fail, so others get in by ACL. Files that the pool names (`slowlog`, `access.log`) must be `run_as`'s to write.
//! - With `process_control_timeout` at its default of 0 even SIGQUIT kills requests in flight; it is the drain time.
//! - `error_log = syslog`: a path would have to be writable for `run_as`; the journal takes it.
//! - An environment value that begins with `$` would be taken for a variable's name (php-src fpm_env.c), one with `$pool`
//!   in it be changed, an empty one fail the file (fpm_conf.c): refused.
//! - php-fpm takes every address with a colon for HOST:PORT, even `/run/x:a/fpm.sock` (fpm_sockets.c:
//!   fpm_sockets_domain_from_address); a relative `listen` is judged before `prefix` is put in front of it.

use std::path::Path;

use super::pool::{self, Body, quote};
use crate::{
    config::{PhpFpm, Pool, Settings, in_release},
    model::{Paths, SlotInstance},
};

/// What a PHP worker takes at its fullest, in MiB, when nobody has measured the app.
const WORKER_MIB: u64 = 48;

/// Why a slot cannot have a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct ConfigTextError {
    /// In a clause.
    pub what: String,
    /// In a clause.
    pub remedy: String,
}

/// What one slot's configuration depends on.
#[derive(Debug, Clone, Copy)]
pub struct SlotConfig<'a> {
    /// The app's.
    pub settings: &'a Settings,
    /// The service's.
    pub fpm: &'a PhpFpm,
    /// The service's drain time.
    pub drain: std::time::Duration,
    /// Which.
    pub slot: &'a SlotInstance,
    /// The release's real path.
    pub release: &'a Path,
    /// The content of the pool file; needed when the pool is one.
    pub pool_file: Option<&'a str>,
    /// Start with few workers, since memory is short for two full slots.
    pub shrink: bool,
}

/// The text of the slot's configuration file.
pub fn config_text(config: &SlotConfig<'_>, paths: &Paths) -> Result<String, ConfigTextError> {
    let SlotConfig { settings, fpm, slot, shrink, .. } = *config;
    let body = match (&fpm.pool, config.pool_file) {
        (Pool::File(_), Some(text)) => pool::from_file(text, shrink)?,
        (Pool::Directives(directives), _) => pool::from_directives(settings.app.as_str(), directives, shrink)?,
        (Pool::File(path), None) => {
            let what = format!("the pool file {} was not read", path.display());
            return Err(ConfigTextError { what, remedy: "see that it exists".into() });
        }
    };
    let mut out = format!("; {slot}: written by deployd before each start, changes are lost\n");
    out.push_str("[global]\nerror_log = syslog\nsyslog.facility = daemon\n");
    out.push_str(&format!("syslog.ident = {}\n", quote("syslog.ident", &format!("php-fpm-{slot}"))?));
    out.push_str(&format!("daemonize = no\nprocess_control_timeout = {}s\n\n", config.drain.as_secs().max(1)));
    push_pool(&mut out, config, paths, &body)?;
    Ok(out)
}

fn push_pool(out: &mut String, config: &SlotConfig<'_>, paths: &Paths, body: &Body) -> Result<(), ConfigTextError> {
    let settings = config.settings;
    out.push_str(&format!("[{}]\n", body.name));
    for line in &body.lines {
        out.push_str(line);
        out.push('\n');
    }
    // After the site's own: the last word counts.
    let socket = paths.fpm_socket(config.slot);
    let dir = socket.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let name = socket.file_name().unwrap_or_default().to_string_lossy();
    out.push_str(&format!("prefix = {}\n", quote("prefix", &dir)?));
    out.push_str(&format!("listen = {}\n", quote("listen", &name)?));
    out.push_str("listen.mode = 0660\nlisten.backlog = 511\n");
    if let Some(users) = admitted(settings) {
        out.push_str(&format!("listen.acl_users = {}\n", quote("listen.acl_users", &users)?));
    }
    for (name, value) in &settings.environment {
        let value = in_release(value, config.release);
        if value.starts_with('$') || value.contains("$pool") {
            let what = format!("the value of {name} begins with `$` or has `$pool` in it, which php-fpm replaces");
            return Err(ConfigTextError { what, remedy: "put it into the app's own .env".into() });
        }
        out.push_str(&format!("env[{name}] = {}\n", quote(name, &value)?));
    }
    Ok(())
}

/// Who connects beside `run_as`: nginx, and the worker that probes as `user`.
fn admitted(settings: &Settings) -> Option<String> {
    let mut users: Vec<&str> = settings.web_user.iter().map(String::as_str).chain([settings.user.as_str()]).collect();
    users.retain(|user| *user != settings.run_as);
    users.dedup();
    (!users.is_empty()).then(|| users.join(","))
}

/// The memory of one slot at its fullest, in MiB, by its pool file; 0 when the file does not say.
pub fn memory_mib(pool_file: &str) -> u64 {
    pool::max_children(pool_file).map_or(0, |n| n.saturating_mul(WORKER_MIB))
}

#[cfg(test)]
#[path = "php_fpm_tests.rs"]
mod tests;
