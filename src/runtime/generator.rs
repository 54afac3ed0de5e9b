//! The systemd generator: drop-ins of every app, from configuration alone. It runs before /var is mounted and before
//! there is a bus: it reads only /etc, /run and /usr/lib, writes only below the directory that systemd gives it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use super::dropins::dropins;
use crate::{
    config::{self, HostFacts},
    model::{AppName, Paths, printable},
};

/// Writes all apps' drop-ins below `out_dir`. An app that cannot be read is left out, with a line in the kernel's log
/// (there is no other yet); it never keeps another app from its own. `users` looks a user up: uid and primary gid.
pub fn generate(paths: &Paths, out_dir: &Path, facts: &HostFacts, users: &dyn Fn(&str) -> Option<(u32, u32)>) {
    let apps = match config::list(paths) {
        Ok(apps) => apps,
        Err(error) => return say(paths, &format!("cannot list the apps: {error}")),
    };
    for app in apps {
        if let Err(why) = one(paths, out_dir, facts, users, &app) {
            say(paths, &format!("{app} is left out: {why}"));
        }
    }
}

fn one(
    paths: &Paths,
    out_dir: &Path,
    facts: &HostFacts,
    users: &dyn Fn(&str) -> Option<(u32, u32)>,
    app: &AppName,
) -> Result<(), String> {
    let mut facts = facts.clone();
    for user in config::mentioned_users(paths, app) {
        if let Some(ids) = users(&user) {
            facts.users.insert(user, ids);
        }
    }
    let settings = config::load(paths, app, &facts).map_err(|error| error.summary)?;
    for (path, text) in dropins(&settings, paths) {
        write(&out_dir.join(&path), &text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(path, text)
}

/// One line to /dev/kmsg, as systemd's own generators do; without it to standard error. A failure is ignored: there is
/// nowhere left to tell it.
fn say(paths: &Paths, message: &str) {
    let line = format!("<4>deployd-generator: {}\n", printable(message));
    let kmsg = OpenOptions::new().write(true).open(paths.host(Path::new("/dev/kmsg")));
    let _ = match kmsg {
        Ok(mut log) => log.write_all(line.as_bytes()),
        Err(_) => io::stderr().write_all(line.as_bytes()),
    };
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
