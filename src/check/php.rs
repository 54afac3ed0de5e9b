//! PHP's own settings, and the app's that depend on the process: OPcache, preload, open_basedir, sessions. Pure.

use std::path::Path;

use super::{
    Entry, Facts, FpmFacts,
    found::{Found, Words},
    ini, place,
};
use crate::{
    config::{Pool, Service, Settings, SlotKind},
    model::Severity,
};

const GROUP: &str = "php";
/// OPcache's default, in MiB (php-src ext/opcache/zend_accelerator_module.c).
const MEMORY_MIB: u64 = 128;
/// OPcache's default (the same).
const FILES: u64 = 10_000;

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    for service in &settings.services {
        let Some(fpm) = facts.fpm.get(&service.name) else { continue };
        let php = Php { settings, service, fpm };
        php.preload(found);
        php.open_basedir(found);
        php.opcache(facts, found);
    }
    session(settings, facts, found);
}

struct Php<'a> {
    settings: &'a Settings,
    service: &'a Service,
    fpm: &'a FpmFacts,
}

impl Php<'_> {
    /// What holds for a directive in the app's pool, and where it is written.
    fn value(&self, key: &str) -> Option<(String, String)> {
        let names = ["php_admin_value", "php_admin_flag", "php_value", "php_flag"].map(|name| format!("{name}[{key}]"));
        if let Some(SlotKind::PhpFpm(fpm)) = self.service.slots()
            && let Pool::Directives(directives) = &fpm.pool
            && let Some((name, value)) = names.iter().find_map(|name| directives.get_key_value(name))
        {
            let at = self.settings.place("service");
            return Some((value.clone(), format!("{} ({name})", at.trim_end_matches(": "))));
        }
        let mut of_pools = self.fpm.pools.iter().flat_map(|pool| &pool.entries);
        let entry: Option<&Entry> =
            of_pools.rfind(|entry| names.contains(&entry.key)).or_else(|| ini::last(&self.fpm.ini, key));
        entry.map(|entry| (entry.value.clone(), place(&entry.at)))
    }

    /// php-fpm itself, started once with it: a pool's own value has no effect, but is told all the same.
    fn preload(&self, found: &mut Found) {
        let Some((file, at)) = self.value("opcache.preload").filter(|(file, _)| !file.is_empty()) else { return };
        let words = Words {
            thing: format!("opcache.preload = {file}"),
            place: at,
            happens:
                "classes that were preloaded stay those of the release that php-fpm was started with, and mix with \
                      new files"
                    .into(),
            remedy: "remove opcache.preload".into(),
        };
        found.add(GROUP, "opcache-preload", Severity::Breaks, words);
    }

    fn open_basedir(&self, found: &mut Found) {
        let Some((list, at)) = self.value("open_basedir").filter(|(list, _)| !matches!(list.as_str(), "" | "none"))
        else {
            return;
        };
        let root = &self.settings.root;
        let covers = |dir: &Path| list.split(':').any(|entry| dir.starts_with(entry.trim_end_matches('/')));
        let Some(outside) = ["releases", "shared"].map(|dir| root.join(dir)).into_iter().find(|dir| !covers(dir))
        else {
            return;
        };
        let words = Words {
            thing: format!("open_basedir = {list}"),
            place: at,
            happens: format!("PHP may not open {}: a release is refused at its own path", outside.display()),
            remedy: format!("write `open_basedir = {}:/tmp`", root.display()),
        };
        found.add(GROUP, "php-open-basedir", Severity::Breaks, words);
    }

    fn opcache(&self, facts: &Facts, found: &mut Found) {
        if let Some((_, at)) = self.value("opcache.enable").filter(|(value, _)| !ini::is_on(value)) {
            let words = Words {
                thing: "opcache.enable = 0".into(),
                place: at,
                happens: "every request compiles all its files".into(),
                remedy: "write `opcache.enable = 1`".into(),
            };
            found.add(GROUP, "opcache-off", Severity::Note, words);
            return;
        }
        let Some((files, bytes)) = facts.app.as_ref().map(|app| app.php) else { return };
        let main = self.fpm.ini.first().map_or_else(|| "php.ini".into(), |e| e.at.file.display().to_string());
        let limit = |key: &str, default: u64| {
            let written = self.value(key).and_then(|(value, at)| Some((ini::number(&value)?, at)));
            written.unwrap_or_else(|| (default, format!("{main} (default)")))
        };
        let size = bytes.div_ceil(1024 * 1024);
        for (key, unit, (has, at), needs) in [
            ("opcache.memory_consumption", "MiB of PHP", limit("opcache.memory_consumption", MEMORY_MIB), size),
            ("opcache.max_accelerated_files", "PHP files", limit("opcache.max_accelerated_files", FILES), files),
        ] {
            if needs > has {
                let words = Words {
                    thing: format!("{key} = {has}"),
                    place: at,
                    happens: format!("the release has {needs} {unit}: OPcache fills and empties itself under load"),
                    remedy: format!("write `{key} = {}`", needs.saturating_mul(2).next_power_of_two()),
                };
                found.add(GROUP, "opcache-size", Severity::Warning, words);
            }
        }
    }
}

/// Drivers that keep sessions where the next release, or even the next request, does not find them.
fn session(settings: &Settings, facts: &Facts, found: &mut Found) {
    let Some(app) = &facts.app else { return };
    let driver = app.config.get("session.driver").map_or("", String::as_str);
    let store = app.config.get("session.store-driver").map_or(driver, String::as_str);
    let place = format!("{} (SESSION_DRIVER)", settings.root.join("shared/.env").display());
    let happens = match store {
        "array" | "null" => "sessions end with the request",
        "apc" | "apcu" | "octane" => "sessions are in the memory of one php-fpm, and end with it",
        "file" if app.config.get("session.files-shared").is_some_and(|shared| shared == "no") => {
            "session files are in the release, and end with it"
        }
        _ => return,
    };
    let words = Words {
        thing: format!("session driver {store}"),
        place,
        happens: happens.into(),
        remedy: "write `SESSION_DRIVER=redis`, `database` or `file` below shared storage".into(),
    };
    found.add(GROUP, "session-driver", Severity::Breaks, words);
}
