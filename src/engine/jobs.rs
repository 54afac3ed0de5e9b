//! Horizon and queue workers: paused before the switch, taken over from, resumed when it goes back.
//!
//! The old workers are paused before `current` moves, so that none of them takes a job that the new release dispatched;
//! the new ones take over when their turn comes.

use super::{error::EngineError, slots::ServiceSlot};
use crate::model::SlotUnit;
use crate::observe::Host;

/// Lets the live workers take no further job; what they have they finish. Before activate.
pub async fn pause(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    todo(slot)
}

/// Lets paused workers take jobs again: the deployment goes back.
pub async fn resume(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    todo(slot)
}

/// The new slot is there and fit, as far as that can be seen while it takes no jobs.
pub async fn probe(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    todo(slot)
}

/// The new slot takes jobs from now on: started, or resumed.
pub async fn take_over(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    todo(slot)
}

/// The new slot works, from the new release.
pub async fn prove(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    todo(slot)
}

/// The new slot takes no further job: the deployment goes back.
pub async fn hold(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    todo(slot)
}

/// An old slot finishes its jobs and ends. In the drain's own unit, without the app's lock.
pub async fn drain(host: &Host, slot: &SlotUnit) -> Result<(), EngineError> {
    Ok(host.units.stop(slot.unit()).await?)
}

fn todo(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    Err(EngineError::Other(format!("{}: kind = \"{}\" is not built yet", slot.name, slot.service)))
}
