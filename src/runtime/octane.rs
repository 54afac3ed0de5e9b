//! Laravel Octane in slots: the command, the environment and the stop of one. Pure.
//!
//! - The base path is resolved when a server starts: `octane:reload` starts workers of the *old* release again, so each
//!   slot is started from its release, and never reloaded.
//! - `octane:start` refuses to start when its state file names a server that runs; by default that file lies in the
//!   shared `storage/logs`. Where the configuration is cached, `start.php` gives each slot a file of its own; else
//!   `config/octane.php` must read `OCTANE_STATE_FILE`.
//! - `octane:stop`, and TERM to the artisan process, kill the server (Swoole at once, others after about 1 ms):
//!   `stop.php` signals the server process itself, and waits for it.
//! - Swoole kills what outlasts `max_wait_time` (3 s by default): connections are seen ended before it is told to stop.
//! - RoadRunner exits hard at a second TERM: it is told once.

use std::{collections::BTreeMap, path::Path};

use crate::{
    config::{Octane, OctaneServer},
    model::SlotUnit,
};

/// Where the package installs the scripts that start and stop a server.
pub const SCRIPTS: &str = "/usr/share/deployd/octane";

/// `octane:start` with its options. The ports are the slot's, from its environment, so that a restart by systemd after
/// a change of the configuration comes up where nginx still connects to.
pub fn command(octane: &Octane) -> Vec<String> {
    let mut command = vec![octane.php.clone(), format!("{SCRIPTS}/start.php"), "octane:start".into()];
    command.push(format!("--server={}", octane.server.as_str()));
    command.extend(["--host=127.0.0.1".into(), "--port=${PORT}".into()]);
    let workers = octane.workers.map_or_else(|| "auto".to_owned(), |workers| workers.to_string());
    command.push(format!("--workers={workers}"));
    command.push(format!("--max-requests={}", octane.max_requests));
    match octane.server {
        OctaneServer::Swoole => {
            if let Some(tasks) = octane.task_workers {
                command.push(format!("--task-workers={tasks}"));
            }
        }
        OctaneServer::Roadrunner => command.extend(["--rpc-host=127.0.0.1".into(), "--rpc-port=${ADMIN_PORT}".into()]),
        OctaneServer::Frankenphp => {
            command.extend(["--admin-host=127.0.0.1".into(), "--admin-port=${ADMIN_PORT}".into()]);
        }
    }
    command
}

/// What stops a server gracefully.
pub fn stop(octane: &Octane) -> Vec<String> {
    vec![octane.php.clone(), format!("{SCRIPTS}/stop.php")]
}

/// What a slot's processes need beside the app's own.
pub fn environment(octane: &Octane, unit: &SlotUnit, release: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([("APP_BASE_PATH".to_owned(), release.display().to_string())]);
    let runtime = runtime_dir(unit);
    out.insert("OCTANE_STATE_FILE".into(), format!("{runtime}/state.json"));
    // Caddy, which FrankenPHP is built on, saves there; a service's user may have no home that it can write.
    out.insert("XDG_CONFIG_HOME".into(), runtime.clone());
    out.insert("XDG_DATA_HOME".into(), runtime);
    let slots = octane.web.slots().zip(octane.admin_ports.iter().map(Some).chain(std::iter::repeat(None)));
    for ((slot, port), admin) in slots.filter(|((slot, _), _)| *slot == unit.slot()) {
        let _ = slot;
        out.insert("PORT".into(), port.to_string());
        out.extend(admin.map(|admin| ("ADMIN_PORT".to_owned(), admin.to_string())));
    }
    out
}

/// `RuntimeDirectory=` of an instance.
fn runtime_dir(unit: &SlotUnit) -> String {
    format!("/run/deployd-octane/{}", unit.instance())
}
