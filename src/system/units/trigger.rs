//! Whether a timer has started this process's unit.
//!
//! PID 1 names the timer in the environment (`TRIGGER_UNIT` of systemd.exec(5)), but does so as long as the unit stays
//! loaded, and with the time of the first of its turns: who else starts the unit later is given the same. So the timer
//! is asked when it had its last turn: one that came after the unit's last end is what started it.

use std::sync::Arc;

use super::{UnitError, Units, answer::answer, link::Link, load};
use crate::model::UnitName;

impl Units {
    /// Whether this run of `unit`, of which this process is the main process, is a timer's.
    pub async fn started_by_timer(&self, unit: &UnitName) -> Result<bool, UnitError> {
        let trigger: Option<UnitName> = std::env::var("TRIGGER_UNIT").ok().and_then(|name| name.parse().ok());
        match trigger.filter(|trigger| trigger.as_str().ends_with(".timer")) {
            Some(timer) => self.ask(|link| turned_since(link, &timer, unit)).await,
            None => Ok(false),
        }
    }
}

/// Whether the timer had a turn since the unit last became inactive or failed. Both times are of the clock that begins
/// with the boot, 0: never.
async fn turned_since(link: Arc<Link>, timer: &UnitName, unit: &UnitName) -> Result<bool, UnitError> {
    let (timer_path, path) = (load(&link, timer).await?, load(&link, unit).await?);
    let read = async {
        let turned = link.timer(&timer_path).await?.last_trigger_usec_monotonic().await?;
        Ok(turned > link.unit(&path).await?.inactive_enter_timestamp_monotonic().await?)
    };
    answer(&format!("tell whether {timer} started {unit}"), read).await
}
