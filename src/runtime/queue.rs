//! `queue:work` in slots: the command and the environment of one. Pure.

use std::{collections::BTreeMap, path::Path};

use crate::config::Queue;

/// `php artisan queue:work` with its options.
pub fn command(queue: &Queue) -> Vec<String> {
    let mut command: Vec<String> = [queue.php.as_str(), "artisan", "queue:work"].map(str::to_owned).into();
    command.extend(queue.connection.clone());
    if !queue.queues.is_empty() {
        command.push(format!("--queue={}", queue.queues.join(",")));
    }
    let options = [
        ("tries", queue.tries),
        ("timeout", queue.timeout),
        ("memory", queue.memory),
        ("sleep", queue.sleep),
        ("max-jobs", queue.max_jobs),
        ("max-time", queue.max_time),
        ("backoff", queue.backoff),
    ];
    command.extend(options.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))));
    command
}

/// What a slot's processes need beside the app's own.
pub fn environment(release: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([("APP_BASE_PATH".to_owned(), release.display().to_string())])
}
