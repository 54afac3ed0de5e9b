//! Existing units, by their strategies: none of ours, moved as their owner says.

use std::time::Duration;

use rustix::process::Signal;

use super::{error::EngineError, progress::Progress, rolling::Roll};
use crate::{
    config::{Settings, Strategy},
    model::{DeploymentId, UnitName, events},
    observe::Host,
    system::{journal::Priority, process::Watch, units::UnitError},
};

/// What moving an existing unit works with.
pub struct Mover<'a> {
    /// The host it runs on.
    pub host: &'a Host,
    /// The app's settings.
    pub settings: &'a Settings,
    /// What is told.
    pub progress: &'a Progress,
    /// The deployment.
    pub id: &'a DeploymentId,
}

impl Mover<'_> {
    /// Moves a unit to what `current` names.
    pub async fn move_unit(&self, unit: &UnitName, strategy: &Strategy, drain: Duration) -> Result<(), EngineError> {
        match strategy {
            Strategy::Restart => Ok(self.host.units.restart(unit).await?),
            Strategy::Reload => self.tell_and_watch(unit, drain, None).await,
            Strategy::Signal { signal } => self.tell_and_watch(unit, drain, Some(number(signal)?)).await,
            // The next request reads what `current` names; the plan has seen to it that this is so.
            Strategy::Warm => Ok(()),
            Strategy::Rolling(rolling) => {
                let Self { host, settings, progress, id } = *self;
                Roll { host, settings, progress, id, template: unit, rolling }.run().await
            }
        }
    }

    /// Proved live, as far as that can be seen of a unit that is not ours.
    pub async fn prove(&self, unit: &UnitName, strategy: &Strategy) -> Result<(), EngineError> {
        match strategy {
            Strategy::Reload | Strategy::Restart | Strategy::Warm | Strategy::Signal { .. } => {
                let status = self.host.units.status(unit).await?;
                if status.active == "active" {
                    return Ok(());
                }
                Err(EngineError::Unhealthy { what: unit.to_string(), detail: format!("it is {}", status.active) })
            }
            // Each instance is proved as it is moved.
            Strategy::Rolling(_) => Ok(()),
        }
    }

    /// Reloaded, or sent its signal, with every process of before but the main one watched until it is gone.
    async fn tell_and_watch(
        &self,
        unit: &UnitName,
        drain: Duration,
        signal: Option<Signal>,
    ) -> Result<(), EngineError> {
        let main = self.host.units.status(unit).await?.main_pid;
        let before: Vec<u32> = self.host.units.processes(unit).await?.into_iter().filter(|pid| *pid != main).collect();
        let call = |e: std::io::Error| UnitError::Call {
            what: format!("watch the processes of {unit}"),
            detail: e.to_string(),
        };
        let watch = Watch::new(&before).map_err(call)?;
        match signal {
            None => self.host.units.reload(unit).await?,
            Some(signal) => self.host.units.signal_main(unit, signal).await?,
        }
        let fields = [("DEPLOYD_UNIT", unit.as_str())];
        if before.is_empty() {
            let message = format!("{unit} has no process but its main one: only a health check can tell what it runs");
            self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &message, &fields);
            return Ok(());
        }
        let left = watch.gone(drain).await;
        if left.is_empty() {
            let message = format!("{} old processes of {unit} are gone", before.len());
            self.progress.event(events::DRAINED, Priority::Info, &message, &fields);
            return Ok(());
        }
        let message = format!("{} old processes of {unit} are still there after {drain:?}: {left:?}", left.len());
        self.progress.event(events::DRAIN_INCOMPLETE, Priority::Warning, &message, &fields);
        Err(EngineError::NotGone { unit: unit.clone(), left: left.len(), limit: drain })
    }
}

/// Those that configuration accepts.
fn number(signal: &str) -> Result<Signal, EngineError> {
    Ok(match signal {
        "HUP" => Signal::HUP,
        "USR1" => Signal::USR1,
        "USR2" => Signal::USR2,
        "WINCH" => Signal::WINCH,
        "QUIT" => Signal::QUIT,
        "INT" => Signal::INT,
        other => return Err(EngineError::Other(format!("SIG{other} is not sent to a service"))),
    })
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
