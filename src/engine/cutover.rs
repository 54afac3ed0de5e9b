//! Cut over: idle slots started and proved beside the live ones, then each service pointed, in order, each proved live
//! before the next. On failure the same backwards.

use super::{
    activate::{activate, restore},
    deployment::{Deployment, now},
    error::EngineError,
    progress::Progress,
    slots::{FpmSlot, verdict},
};
use crate::{
    config::{Settings, Strategy},
    model::{LiveSlot, Phase, ReleaseState, UnitName, events},
    observe::{Host, fpm_unit},
    plan::{GoLive, Handover, Move, Plan, Start},
    system::{journal::Priority, process::Watch, units::UnitError},
};

/// What starting slots needs of a deployment: apart from it, so that a release is sealed meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Starter<'a> {
    host: &'a Host,
    settings: &'a Settings,
    plan: &'a Plan,
    progress: &'a Progress,
}

impl<'a> Starter<'a> {
    /// Of a deployment.
    pub fn of(deployment: &Deployment<'a>) -> Self {
        Self {
            host: deployment.host,
            settings: deployment.settings,
            plan: deployment.plan,
            progress: deployment.progress,
        }
    }

    /// Starts every idle slot on the new release. They take no traffic yet.
    pub async fn start_slots(&self, live: &GoLive) -> Result<(), EngineError> {
        for handover in handovers(live) {
            let slot = FpmSlot {
                host: self.host,
                settings: self.settings,
                fpm: &handover.fpm,
                drain: handover.drain,
                slot: handover.to,
            };
            let smaller = match handover.start {
                Start::Running => continue,
                Start::Idle { smaller } => smaller,
                Start::Draining => {
                    self.await_drain(handover).await?;
                    false
                }
            };
            slot.prepare(&self.plan.release, smaller)?;
            slot.start().await?;
        }
        Ok(())
    }

    /// All slots are busy: waits for the one that drains.
    async fn await_drain(&self, handover: &Handover) -> Result<(), EngineError> {
        let unit = fpm_unit(self.settings, handover.to)?;
        self.progress.waiting(
            Phase::Starting,
            &format!("waiting for {unit}, which finishes its requests (at most {:?})", handover.drain),
        );
        let slot = FpmSlot {
            host: self.host,
            settings: self.settings,
            fpm: &handover.fpm,
            drain: handover.drain,
            slot: handover.to,
        };
        slot.drained().await
    }
}

impl<'a> Deployment<'a> {
    fn slot_of<'b>(&self, handover: &'b Handover) -> FpmSlot<'b>
    where
        'a: 'b,
    {
        FpmSlot {
            host: self.host,
            settings: self.settings,
            fpm: &handover.fpm,
            drain: handover.drain,
            slot: handover.to,
        }
    }

    /// Probes every new slot on its own socket: it answers from the new release, and its OPcache is warm.
    pub async fn probe_slots(&mut self, live: &GoLive) -> Result<(), EngineError> {
        for handover in handovers(live) {
            let slot = self.slot_of(handover);
            let order = slot.probe(&self.plan.release, false).await?;
            let answer = self.ask_tree(&order).await?;
            let what = format!("{} of {} in slot {}, not yet live", handover.service, self.plan.release, handover.to);
            verdict(what, answer)?;
        }
        Ok(())
    }

    /// Activates, points every service, proves each. On failure everything that was moved is moved back.
    pub async fn go_live(&mut self, live: &GoLive) -> Result<(), EngineError> {
        self.progress.phase(Phase::Activating, &format!("activating {}", self.plan.release));
        activate(&self.layout, &self.plan.release, &self.plan.id)?;
        let release = self.plan.release.to_string();
        self.progress.event(events::RELEASE_ACTIVATED, Priority::Notice, &format!("{release} is active"), &[]);
        self.progress.phase(Phase::CuttingOver, "moving the services");
        for one in &live.moves {
            self.point(one).await?;
            self.prove(one).await?;
        }
        self.progress.phase(Phase::Verifying, "proving the site");
        for step in &live.steps {
            self.step(step).await?;
        }
        self.prove_site(live).await
    }

    async fn point(&mut self, one: &Move) -> Result<(), EngineError> {
        match one {
            Move::Handover(handover) => self.slot_of(handover).point(),
            Move::Unit { unit, strategy, drain, .. } => self.move_unit(unit, *strategy, *drain).await,
        }
    }

    /// An existing unit: restarted, or reloaded with every process of before watched until it is gone.
    async fn move_unit(
        &self,
        unit: &UnitName,
        strategy: Strategy,
        drain: std::time::Duration,
    ) -> Result<(), EngineError> {
        let units = &self.host.units;
        if strategy == Strategy::Restart {
            return Ok(units.restart(unit).await?);
        }
        let main = units.status(unit).await?.main_pid;
        let before: Vec<u32> = units.processes(unit).await?.into_iter().filter(|pid| *pid != main).collect();
        let call = |e: std::io::Error| UnitError::Call {
            what: format!("watch the processes of {unit}"),
            detail: e.to_string(),
        };
        let watch = Watch::new(&before).map_err(call)?;
        units.reload(unit).await?;
        let left = watch.gone(drain).await;
        if left.is_empty() {
            let message = format!("{} old processes of {unit} are gone", before.len());
            self.progress.event(events::DRAINED, Priority::Info, &message, &[("DEPLOYD_UNIT", unit.as_str())]);
            return Ok(());
        }
        let message = format!("{} old processes of {unit} are still there after {drain:?}: {left:?}", left.len());
        self.progress.event(events::DRAIN_INCOMPLETE, Priority::Warning, &message, &[("DEPLOYD_UNIT", unit.as_str())]);
        Err(EngineError::NotGone { unit: unit.clone(), left: left.len(), limit: drain })
    }

    /// Proved live: whoever answers where nginx connects is the new slot's main process, and it answers well.
    async fn prove(&mut self, one: &Move) -> Result<(), EngineError> {
        match one {
            Move::Handover(handover) => {
                let order = self.slot_of(handover).probe(&self.plan.release, true).await?;
                let answer = self.ask_tree(&order).await?;
                verdict(format!("{} of {}, live", handover.service, self.plan.release), answer)?;
                Ok(())
            }
            Move::Unit { unit, .. } => {
                let status = self.host.units.status(unit).await?;
                if status.active == "active" {
                    return Ok(());
                }
                Err(EngineError::Unhealthy { what: unit.to_string(), detail: format!("it is {}", status.active) })
            }
        }
    }

    /// The new state, once the release is proved live.
    pub fn note_live(&mut self, live: &GoLive) {
        let mut fallback = std::collections::BTreeMap::new();
        for handover in handovers(live) {
            let to = LiveSlot { slot: handover.to, release: self.plan.release.clone() };
            if let Some(before) = self.state.live.insert(handover.service.clone(), to)
                && before.slot != handover.to
            {
                fallback.insert(handover.service.clone(), before);
            }
        }
        self.state.fallback = fallback;
        for release in &mut self.state.releases {
            if release.id == self.plan.release {
                release.live_at = Some(now());
                if release.state != ReleaseState::Confirmed {
                    release.state = ReleaseState::Unconfirmed;
                }
            }
        }
        self.state.settling = Some(self.plan.id.clone());
        self.state.running = None;
    }

    /// Goes back: the services in reverse order, then `current`, then the new slots are stopped. The old slots are
    /// still there; a service that was not moved is pointed at what it had, which changes nothing.
    pub async fn go_back(&mut self, live: &GoLive) -> Result<(), EngineError> {
        for one in live.moves.iter().rev() {
            if let Move::Handover(handover) = one {
                self.point_back(handover).await?;
            }
        }
        restore(&self.layout, self.plan.from.as_ref(), &self.plan.id)?;
        for one in live.moves.iter().rev() {
            if let (Move::Unit { unit, strategy, drain, .. }, Some(_)) = (one, &self.plan.from) {
                self.move_unit(unit, *strategy, *drain).await?;
            }
        }
        self.drain_new(live).await
    }

    /// The slot of before is kept running until the new release is confirmed; one that died is started again.
    async fn point_back(&self, handover: &Handover) -> Result<(), EngineError> {
        let Some(before) = &handover.from else { return Ok(()) };
        let slot = FpmSlot {
            host: self.host,
            settings: self.settings,
            fpm: &handover.fpm,
            drain: handover.drain,
            slot: before.slot,
        };
        if !slot.active().await? {
            slot.prepare(&before.release, false)?;
            slot.start().await?;
        }
        slot.point()
    }

    /// The new slots have had traffic: they finish it before they stop.
    async fn drain_new(&self, live: &GoLive) -> Result<(), EngineError> {
        for handover in handovers(live).filter(|handover| handover.start != Start::Running) {
            if handover.from.is_some() {
                self.slot_of(handover).drain().await?;
            } else {
                self.slot_of(handover).stop().await?;
            }
        }
        Ok(())
    }

    /// Stops what was started and never had traffic.
    pub async fn stop_slots(&self, live: &GoLive) -> Result<(), EngineError> {
        for handover in handovers(live).filter(|handover| handover.start != Start::Running) {
            self.slot_of(handover).stop().await?;
        }
        Ok(())
    }
}

/// The handovers of a plan, in order.
pub fn handovers(live: &GoLive) -> impl Iterator<Item = &Handover> {
    live.moves.iter().filter_map(|one| match one {
        Move::Handover(handover) => Some(handover.as_ref()),
        Move::Unit { .. } => None,
    })
}
