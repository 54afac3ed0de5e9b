//! `queue:work` in slots. Pure.
//!
//! - A worker looks at USR2 between its look whether it is paused and its pop only after that pop: it may take one more
//!   job. It cannot be started paused, and says nothing of what it does. So it is run by `work.php`, which says READY=1
//!   after the boot and STATUS=paused when no further job can begin (Laravel's `Queue\Worker::daemon`, 8 to 12).
//! - In a job that waits for something outside PHP it hears no signal, for as long as that takes. So it locks a file
//!   while it looks for a job: with the pause file there, who then gets the lock knows that no further job begins.
//! - systemd sends CONT after TERM, which would have a paused worker take a job: work.php takes it as such only while
//!   the slot's pause file is not there.
//! - A worker ends after its job at TERM; its own `--timeout` (60 s when none is written) kills a job before that.
//! - `--max-jobs`, `--max-time`, `--memory` and `queue:restart` end a worker: it is started again.

use std::{collections::BTreeMap, path::Path};

use crate::config::Queue;

/// What runs workers and Horizon's master.
pub const WORK: &str = "/usr/share/deployd/queue/work.php";
/// The variable with the slot's pause file.
pub const PAUSED: &str = "DEPLOYD_PAUSED";
/// The variable with the file that a worker locks while it looks for a job.
pub const LOOKING: &str = "DEPLOYD_LOOKING";

/// `queue:work` with its options, in as many processes as are configured.
pub fn command(queue: &Queue) -> Vec<String> {
    let processes = format!("--processes={}", queue.processes);
    let mut command: Vec<String> = [queue.php.as_str(), WORK, &processes, "queue:work"].map(str::to_owned).into();
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
