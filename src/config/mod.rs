//! An app's configuration: fragments as written, merged by systemd's precedence, then resolved to [`Settings`].
//! Every error names file and line, with a caret. No effect on the world, and reads nothing but configuration files.

mod settings;

pub use settings::*;

use crate::model::{AppName, Paths};

/// Reads, merges and resolves an app's configuration. Blocking, small.
pub fn load(paths: &Paths, app: &AppName, host: &HostFacts) -> Result<Settings, ConfigError> {
    let _ = (paths, app, host);
    todo!()
}

/// The names of all configured apps, sorted. A file whose name is not a valid app name is left out.
pub fn list(paths: &Paths) -> std::io::Result<Vec<AppName>> {
    let _ = paths;
    todo!()
}

/// Checks a git reference as a person gave it: branch, tag or commit; never an option, range or reflog expression.
pub fn check_reference(text: &str) -> Result<(), String> {
    let _ = text;
    todo!()
}

/// The users an app's configuration mentions.
pub fn mentioned_users(paths: &Paths, app: &AppName) -> Vec<String> {
    let _ = (paths, app);
    todo!()
}
