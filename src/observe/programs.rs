//! Which program a step's command is: the build's own directories first, then the host's.

use std::path::{Path, PathBuf};

use super::PATH;
use crate::config::{Settings, SlotKind};

/// `PATH` for the steps of an app.
pub fn search_path(settings: &Settings) -> String {
    let own = settings.build.path.iter().map(|dir| dir.display().to_string());
    own.chain([PATH.to_owned()]).collect::<Vec<_>>().join(":")
}

/// The file of a program that is named without a path. `php` is the PHP that serves, where there are several.
pub fn find_program(settings: &Settings, program: &str) -> Option<PathBuf> {
    let serving = php_cli(settings).filter(|_| program == "php");
    let path = search_path(settings);
    let find = |name: String| path.split(':').map(|dir| Path::new(dir).join(&name)).find(|path| path.is_file());
    serving.into_iter().chain([program.to_owned()]).find_map(find)
}

/// `php8.2` for an app that php-fpm 8.2 serves.
fn php_cli(settings: &Settings) -> Option<String> {
    settings.services.iter().find_map(|service| match service.slots() {
        Some(SlotKind::PhpFpm(fpm)) if !fpm.version.is_empty() => Some(format!("php{}", fpm.version)),
        _ => None,
    })
}
