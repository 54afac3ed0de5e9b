//! Which program a step's command is: of one that builds the build's own directories first, then the host's.

use std::path::{Path, PathBuf};

use super::PATH;
use crate::config::{Settings, SlotKind};

/// `PATH` for a command of an app. Only what builds as the app's user finds the build's own programs: who proves a release,
/// or runs as its services' user, shall find what they find.
pub fn search_path(settings: &Settings, builds: bool) -> String {
    let own = settings.build.path.iter().filter(|_| builds).map(|dir| dir.display().to_string());
    own.chain([PATH.to_owned()]).collect::<Vec<_>>().join(":")
}

/// The file of a program that is named without a path. `php` is the PHP that serves, where there are several.
pub fn find_program(settings: &Settings, program: &str, builds: bool) -> Option<PathBuf> {
    let serving = named_php(settings).filter(|_| program == "php");
    let path = search_path(settings, builds);
    let find = |name: String| path.split(':').map(|dir| Path::new(dir).join(&name)).find(|path| path.is_file());
    serving.into_iter().chain([program.to_owned()]).find_map(find)
}

/// `php8.2` for an app that php-fpm 8.2 serves.
pub(super) fn named_php(settings: &Settings) -> Option<String> {
    settings.services.iter().find_map(|service| match service.slots() {
        Some(SlotKind::PhpFpm(fpm)) if !fpm.version.is_empty() => Some(format!("php{}", fpm.version)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::Host;

    #[test]
    fn the_build_s_own_programs_are_the_build_s_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("shop-tool"), "").unwrap();
        let text = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\nbuild.path = [\"DIR\"]\n";
        let settings = Host::with(&text.replace("DIR", dir.path().to_str().unwrap())).load().unwrap();
        assert_eq!(find_program(&settings, "shop-tool", true), Some(dir.path().join("shop-tool")));
        assert_eq!(find_program(&settings, "shop-tool", false), None);
        assert_eq!(search_path(&settings, false), PATH);
    }
}
