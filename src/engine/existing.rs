//! Existing units, by their strategies: none of ours, moved as their owner says.

use std::time::Duration;

use super::{error::EngineError, progress::Progress};
use crate::{
    config::Strategy,
    model::{UnitName, events},
    observe::Host,
    system::{journal::Priority, process::Watch, units::UnitError},
};

/// Moves a unit to what `current` names.
pub async fn move_unit(
    host: &Host,
    progress: &Progress,
    unit: &UnitName,
    strategy: &Strategy,
    drain: Duration,
) -> Result<(), EngineError> {
    match strategy {
        Strategy::Restart => Ok(host.units.restart(unit).await?),
        Strategy::Reload => reload(host, progress, unit, drain).await,
        Strategy::Warm | Strategy::Signal { .. } | Strategy::Rolling(_) => {
            Err(EngineError::Other(format!("{unit}: strategy = \"{}\" is not built yet", strategy.as_str())))
        }
    }
}

/// Proved live, as far as that can be seen of a unit that is not ours.
pub async fn prove_unit(host: &Host, unit: &UnitName, strategy: &Strategy) -> Result<(), EngineError> {
    match strategy {
        Strategy::Reload | Strategy::Restart | Strategy::Warm | Strategy::Signal { .. } => {
            let status = host.units.status(unit).await?;
            if status.active == "active" {
                return Ok(());
            }
            Err(EngineError::Unhealthy { what: unit.to_string(), detail: format!("it is {}", status.active) })
        }
        // Each instance is proved as it is moved.
        Strategy::Rolling(_) => Ok(()),
    }
}

/// Reloaded, with every process of before but the main one watched until it is gone.
async fn reload(host: &Host, progress: &Progress, unit: &UnitName, drain: Duration) -> Result<(), EngineError> {
    let main = host.units.status(unit).await?.main_pid;
    let before: Vec<u32> = host.units.processes(unit).await?.into_iter().filter(|pid| *pid != main).collect();
    let call =
        |e: std::io::Error| UnitError::Call { what: format!("watch the processes of {unit}"), detail: e.to_string() };
    let watch = Watch::new(&before).map_err(call)?;
    host.units.reload(unit).await?;
    let left = watch.gone(drain).await;
    if left.is_empty() {
        let message = format!("{} old processes of {unit} are gone", before.len());
        progress.event(events::DRAINED, Priority::Info, &message, &[("DEPLOYD_UNIT", unit.as_str())]);
        return Ok(());
    }
    let message = format!("{} old processes of {unit} are still there after {drain:?}: {left:?}", left.len());
    progress.event(events::DRAIN_INCOMPLETE, Priority::Warning, &message, &[("DEPLOYD_UNIT", unit.as_str())]);
    Err(EngineError::NotGone { unit: unit.clone(), left: left.len(), limit: drain })
}

/// Going back, processes that are still busy are no failure: they serve the release that stays.
pub fn still_going(moved: Result<(), EngineError>) -> Result<(), EngineError> {
    match moved {
        Err(EngineError::NotGone { unit, left, .. }) => {
            tracing::warn!("{left} processes of {unit} are still busy with what they had");
            Ok(())
        }
        other => other,
    }
}
