//! Who listens on a slot's port: release identity by process. The kernel's sockets, the unit's control group and
//! `/proc/PID/cwd` say it together; that something answers there says nothing of whose it is.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{error::EngineError, slot_files, slots::ServiceSlot};
use crate::system::{
    ports,
    process::{self, Seen},
};

/// Between two looks: the kernel tells nobody when a socket begins to listen.
const LOOK: Duration = Duration::from_millis(10);

/// What was seen at a port.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// All who listen there are the unit's processes, and work here.
    Ours(Vec<PathBuf>),
    /// Not yet, and why.
    NotYet(String),
}

/// The port that a slot was last started with.
pub fn port(slot: &ServiceSlot<'_>) -> Result<u16, EngineError> {
    let record = slot_files::record(slot.host, &slot.name)?;
    record
        .and_then(|record| record.port)
        .ok_or_else(|| EngineError::Other(format!("the port of {} is not recorded: deploy again", slot.unit())))
}

/// Returns the slot's port when its processes listen there, and nobody else, and they work in `release`. The program
/// has `limit` to come so far.
pub async fn await_release(
    slot: &ServiceSlot<'_>,
    release: &Path,
    limit: Duration,
    what: &str,
) -> Result<u16, EngineError> {
    let port = port(slot)?;
    let since = Instant::now();
    loop {
        let unhealthy = |detail: String| EngineError::Unhealthy { what: what.into(), detail };
        match look(slot, port).await? {
            Look::Ours(dirs) => {
                return match dirs.iter().find(|dir| !dir.starts_with(release)) {
                    None => Ok(port),
                    Some(other) => {
                        let other = crate::model::printable(&other.display().to_string());
                        Err(unhealthy(format!("whoever listens on port {port} works in {other}, not in the release")))
                    }
                };
            }
            Look::NotYet(why) if since.elapsed() > limit => {
                return Err(unhealthy(format!("not ready after {limit:?}: {why}")));
            }
            Look::NotYet(_) => tokio::time::sleep(LOOK).await,
        }
        let status = slot.host.units.status(slot.unit()).await?;
        // One that systemd starts again and again has said enough.
        if !matches!(status.active.as_str(), "active" | "activating") || status.sub == "auto-restart" {
            let detail = format!("its program ended ({}): see `journalctl -u {}`", status.result, slot.unit());
            return Err(unhealthy(detail));
        }
    }
}

async fn look(slot: &ServiceSlot<'_>, port: u16) -> Result<Look, EngineError> {
    let found = match ports::port(port) {
        Seen::Known(found) => found,
        Seen::Unknown(why) => return Ok(Look::NotYet(why)),
    };
    if found.listeners.is_empty() {
        return Ok(Look::NotYet(format!("nobody listens on port {port} (it has to, on $PORT of 127.0.0.1)")));
    }
    let (mut held, mut dirs) = (Vec::new(), Vec::new());
    for pid in slot.host.units.processes(slot.unit()).await? {
        // A process that ends meanwhile holds nothing.
        let Seen::Known(sockets) = process::sockets(pid) else { continue };
        let listening: Vec<u32> = found.listeners.iter().filter(|inode| sockets.contains(inode)).copied().collect();
        if listening.is_empty() {
            continue;
        }
        held.extend(listening);
        match process::cwd(pid) {
            Seen::Known(dir) => dirs.push(dir),
            Seen::Unknown(why) => return Ok(Look::NotYet(why)),
        }
    }
    if found.listeners.iter().all(|inode| held.contains(inode)) {
        return Ok(Look::Ours(dirs));
    }
    Ok(Look::NotYet(format!("port {port} is another program's: `ss -tlnp sport = :{port}` names it")))
}
