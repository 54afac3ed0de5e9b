//! Signals to a unit's main process, by PID 1.

use super::{UnitError, Units, answer::answer};
use crate::model::UnitName;

impl Units {
    /// Sends a signal to a unit's main process.
    pub async fn signal_main(&self, unit: &UnitName, signal: rustix::process::Signal) -> Result<(), UnitError> {
        let what = &format!("signal the main process of {unit}");
        self.ask(
            |link| async move { answer(what, link.manager.kill_unit(unit.as_str(), "main", signal.as_raw())).await },
        )
        .await
    }
}
