//! Laravel Horizon in slots: the command and the environment of one. Pure.

use std::{collections::BTreeMap, path::Path};

use crate::config::Horizon;

/// `php artisan horizon`.
pub fn command(horizon: &Horizon) -> Vec<String> {
    [horizon.php.as_str(), "artisan", "horizon"].map(str::to_owned).into()
}

/// What a slot's processes need beside the app's own.
pub fn environment(release: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([("APP_BASE_PATH".to_owned(), release.display().to_string())])
}
