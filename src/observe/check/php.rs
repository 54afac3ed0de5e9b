//! php-fpm's and PHP's files, as the masters of an app's services read them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::files::Files;
use crate::{
    check::{Directive, Entry, FpmFacts, PoolFacts, parse_ini},
    config::{PhpFpm, Pool, ServiceKind, Settings, SlotKind},
};

/// The files of each service that is php-fpm, by the service's name.
pub fn read(files: &mut Files<'_>, settings: &Settings, nginx: &[Directive]) -> BTreeMap<String, FpmFacts> {
    let mut found = BTreeMap::new();
    for service in &settings.services {
        let facts = match &service.kind {
            ServiceKind::Slots(SlotKind::PhpFpm(fpm)) => Some(slots(files, fpm)),
            ServiceKind::Slots(_) | ServiceKind::Scheduler(_) => None,
            ServiceKind::Unit { unit, .. } => {
                version(unit.as_str()).map(|version| master(files, version, settings, nginx))
            }
        };
        facts.map(|facts| found.insert(service.name.clone(), facts));
    }
    found
}

/// `8.2` of `php8.2-fpm.service`; empty of `php-fpm.service`; none of what is no php-fpm.
fn version(unit: &str) -> Option<&str> {
    let version = unit.strip_prefix("php")?.strip_suffix("fpm.service")?.trim_end_matches('-');
    version.bytes().all(|b| b.is_ascii_digit() || b == b'.').then_some(version)
}

fn slots(files: &mut Files<'_>, fpm: &PhpFpm) -> FpmFacts {
    let pools = match &fpm.pool {
        Pool::File(path) => pools_of(&entries(files, path)),
        Pool::Directives(_) => Vec::new(),
    };
    FpmFacts { ini: ini(files, &fpm.version), pools, ..FpmFacts::default() }
}

/// The main file, what it includes, and of its pools those that serve the app.
fn master(files: &mut Files<'_>, version: &str, settings: &Settings, nginx: &[Directive]) -> FpmFacts {
    // Debian's place, then Fedora's.
    let main = match version {
        "" => PathBuf::from("/etc/php-fpm.conf"),
        version => PathBuf::from(format!("/etc/php/{version}/fpm/php-fpm.conf")),
    };
    let mut all = Vec::new();
    for entry in entries(files, &main) {
        if entry.key == "include" {
            for path in files.matching(Path::new(&entry.value)) {
                all.extend(entries(files, &path));
            }
        } else {
            all.push(entry);
        }
    }
    let control = |e: &&Entry| e.key == "process_control_timeout" && e.section.eq_ignore_ascii_case("global");
    let process_control_timeout = all.iter().rfind(control).cloned();
    let pools = pools_of(&all).into_iter().filter(|pool| serves(pool, settings, nginx)).collect();
    FpmFacts { main: Some(main), process_control_timeout, ini: ini(files, version), pools }
}

fn entries(files: &mut Files<'_>, path: &Path) -> Vec<Entry> {
    files.text(path).map_or_else(Vec::new, |text| parse_ini(path, &text))
}

fn pools_of(entries: &[Entry]) -> Vec<PoolFacts> {
    let mut pools: Vec<PoolFacts> = Vec::new();
    for entry in entries.iter().filter(|e| !e.section.is_empty() && !e.section.eq_ignore_ascii_case("global")) {
        match pools.iter_mut().find(|pool| pool.name == entry.section) {
            Some(pool) => pool.entries.push(entry.clone()),
            None => pools.push(PoolFacts { name: entry.section.clone(), entries: vec![entry.clone()] }),
        }
    }
    pools
}

/// A pool serves the app when it runs as its user, or listens where nginx sends the app's requests.
fn serves(pool: &PoolFacts, settings: &Settings, nginx: &[Directive]) -> bool {
    let value = |key: &str| pool.entries.iter().rfind(|entry| entry.key == key).map(|entry| entry.value.as_str());
    if value("user") == Some(settings.run_as.as_str()) {
        return true;
    }
    crate::check::mentions_app(settings, nginx) && value("listen").is_some_and(|listen| passed(nginx, listen))
}

/// Whether any `fastcgi_pass` or upstream of nginx names this address.
fn passed(directives: &[Directive], listen: &str) -> bool {
    directives.iter().any(|directive| {
        let named = matches!(directive.name.as_str(), "fastcgi_pass" | "server")
            && directive.arg(0).trim_start_matches("unix:").trim_start_matches("127.0.0.1:") == listen;
        named || passed(directive.inner(), listen)
    })
}

/// php.ini and what is read after it.
fn ini(files: &mut Files<'_>, version: &str) -> Vec<Entry> {
    let (main, more) = match version {
        "" => (PathBuf::from("/etc/php.ini"), PathBuf::from("/etc/php.d/*.ini")),
        version => {
            let dir = PathBuf::from(format!("/etc/php/{version}/fpm"));
            (dir.join("php.ini"), dir.join("conf.d/*.ini"))
        }
    };
    let mut found = entries(files, &main);
    for path in files.matching(&more) {
        found.extend(entries(files, &path));
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn units_of_php_fpm_have_a_version() {
        assert_eq!(super::version("php8.2-fpm.service"), Some("8.2"));
        assert_eq!(super::version("php-fpm.service"), Some(""));
        assert_eq!(super::version("nginx.service"), None);
        assert_eq!(super::version("php-worker-fpm.service"), None);
    }
}
