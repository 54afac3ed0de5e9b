//! What configuration needs to know of the host; reads /etc, /usr and the user database only.

use std::path::Path;

use crate::{
    config::{self, HostFacts},
    model::{AppName, Paths},
};

/// A user's uid and primary gid.
pub fn user(name: &str) -> Option<(u32, u32)> {
    let found = nix::unistd::User::from_name(name).ok().flatten()?;
    Some((found.uid.as_raw(), found.gid.as_raw()))
}

/// The facts that an app's configuration needs: the host's, and the users that it names.
pub fn read_for(paths: &Paths, app: &AppName) -> HostFacts {
    let mut facts = read(paths);
    for name in config::mentioned_users(paths, app) {
        if let Some(found) = user(&name) {
            facts.users.insert(name, found);
        }
    }
    facts
}

/// Reads the facts. What cannot be read is as if it were not there; resolving names what is missing.
pub fn read(paths: &Paths) -> HostFacts {
    HostFacts { fpm: fpm_binaries(paths), web_user: web_user(paths), ..HostFacts::default() }
}

/// `php-fpm8.2` and the like in /usr/sbin (Debian), then plain `php-fpm` (Fedora); newest first.
fn fpm_binaries(paths: &Paths) -> Vec<(String, std::path::PathBuf)> {
    let dir = Path::new("/usr/sbin");
    let Ok(entries) = std::fs::read_dir(paths.host(dir)) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("php-fpm")?.to_owned();
            let good = version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            good.then(|| (version, dir.join(name)))
        })
        .collect();
    let number = |v: &str| v.split('.').filter_map(|n| n.parse::<u32>().ok()).collect::<Vec<_>>();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(number(version)));
    found
}

/// nginx's `user` directive, of its main file; without one the distribution's users, if they exist.
fn web_user(paths: &Paths) -> Option<String> {
    let text = std::fs::read_to_string(paths.host(Path::new("/etc/nginx/nginx.conf"))).ok()?;
    let written = text.lines().find_map(|line| {
        let mut words = line.trim().trim_end_matches(';').split_whitespace();
        (words.next() == Some("user")).then(|| words.next().map(str::to_owned)).flatten()
    });
    written.or_else(|| ["www-data", "nginx"].into_iter().find(|u| user(u).is_some()).map(str::to_owned))
}
