//! Signals to a unit's main process, by PID 1.

use super::{UnitError, Units, link::answer};
use crate::model::UnitName;

impl Units {
    /// Sends a signal to a unit's main process.
    pub async fn signal_main(&self, unit: &UnitName, signal: rustix::process::Signal) -> Result<(), UnitError> {
        let what = format!("signal the main process of {unit}");
        loop {
            let link = self.link().await?;
            match answer(&what, link.manager.kill_unit(unit.as_str(), "main", signal.as_raw())).await {
                Err(_) if link.is_lost() => {}
                done => return done,
            }
        }
    }
}
