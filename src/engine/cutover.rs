//! Cut over: idle slots started and proved beside the live ones, then each service pointed, in order, each proved live
//! before the next. On failure the same backwards.

use std::{cell::RefCell, collections::BTreeMap};

use super::{
    activate::{activate, restore},
    deployment::{Deployment, now},
    error::EngineError,
    progress::Progress,
    slots::{FpmSlot, verdict},
};
use crate::{
    config::{Settings, Strategy},
    model::{Kind, LiveSlot, Phase, ReleaseState, Slot, UnitName, events},
    observe::{Host, fpm_unit},
    plan::{GoLive, Handover, Move, Plan, Start},
    system::{
        journal::Priority,
        process::Watch,
        tree::{Dir, EntryKind},
        units::UnitError,
    },
};

/// What starting slots needs of a deployment: apart from it, so that a release is sealed meanwhile.
#[derive(Debug)]
pub struct Starter<'a> {
    host: &'a Host,
    settings: &'a Settings,
    plan: &'a Plan,
    progress: &'a Progress,
    /// The slots that were reached, by service: what is stopped if the deployment is given up.
    started: RefCell<BTreeMap<String, Slot>>,
}

impl<'a> Starter<'a> {
    /// Of a deployment.
    pub fn of(deployment: &Deployment<'a>) -> Self {
        Self {
            host: deployment.host,
            settings: deployment.settings,
            plan: deployment.plan,
            progress: deployment.progress,
            started: RefCell::default(),
        }
    }

    /// Starts every idle slot on the new release. They take no traffic yet.
    pub async fn start_slots(&self, live: &GoLive) -> Result<(), EngineError> {
        for handover in handovers(live) {
            let slot = FpmSlot::of(self.host, self.settings, handover, handover.to);
            let smaller = match handover.start {
                Start::Running => continue,
                Start::Idle { smaller } => smaller,
                Start::Draining => {
                    self.await_drain(handover).await?;
                    false
                }
            };
            self.started.borrow_mut().insert(handover.service.clone(), handover.to);
            slot.prepare(&self.plan.release, smaller)?;
            slot.start().await?;
        }
        Ok(())
    }

    /// The slots that were started, or whose start failed.
    pub fn started(&self) -> BTreeMap<String, Slot> {
        self.started.borrow().clone()
    }

    /// All slots are busy: waits for the one that drains.
    async fn await_drain(&self, handover: &Handover) -> Result<(), EngineError> {
        let unit = fpm_unit(self.settings, handover.to)?;
        self.progress.waiting(
            Phase::Starting,
            &format!("waiting for {unit}, which finishes its requests (at most {:?})", handover.drain),
        );
        let slot = FpmSlot::of(self.host, self.settings, handover, handover.to);
        slot.drained().await
    }
}

impl<'a> Deployment<'a> {
    fn slot_of<'b>(&self, handover: &'b Handover) -> FpmSlot<'b>
    where
        'a: 'b,
    {
        FpmSlot::of(self.host, self.settings, handover, handover.to)
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
            self.moved += 1;
            self.point(one).await?;
            self.prove(one).await?;
        }
        self.progress.phase(Phase::Verifying, "proving the site");
        for step in &live.steps {
            self.step(step).await?;
        }
        self.prove_site(live).await
    }

    async fn point(&self, one: &Move) -> Result<(), EngineError> {
        match one {
            Move::Handover(handover) => self.slot_of(handover).point(),
            Move::Unit { unit, strategy, drain, .. } => {
                move_unit(self.host, self.progress, unit, *strategy, *drain).await
            }
        }
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
        let mut fallback = BTreeMap::new();
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
                if self.plan.kind != Kind::Rollback && self.plan.from.as_ref() != Some(&self.plan.release) {
                    release.replaced.clone_from(&self.plan.from);
                }
                if release.state != ReleaseState::Confirmed {
                    release.state = ReleaseState::Unconfirmed;
                }
            }
        }
        self.state.settling = Some(self.plan.id.clone());
        self.state.running = None;
    }

    /// Goes back: the services that were moved, in reverse order, `current` before the units that read it. The old slots
    /// are still there. Everything is tried; what failed is told together.
    pub async fn go_back(&mut self, live: &GoLive) -> Result<(), EngineError> {
        let mut failed = Vec::new();
        let mut note = |done: Result<(), EngineError>| failed.extend(done.err().map(|error| error.to_string()));
        let moved = &live.moves[..self.moved.min(live.moves.len())];
        for one in moved.iter().rev() {
            if let Move::Handover(handover) = one {
                note(self.point_back(handover).await);
            }
        }
        note(restore(&self.layout, self.plan.from.as_ref(), &self.plan.id));
        for one in moved.iter().rev() {
            if let (Move::Unit { unit, strategy, drain, .. }, Some(_)) = (one, &self.plan.from) {
                note(still_going(move_unit(self.host, self.progress, unit, *strategy, *drain).await));
            }
        }
        note(self.drain_new(live).await);
        if failed.is_empty() { Ok(()) } else { Err(EngineError::Other(failed.join("; "))) }
    }

    /// The slot of before is kept running until the new release is confirmed; one that died is started again.
    async fn point_back(&self, handover: &Handover) -> Result<(), EngineError> {
        let Some(before) = &handover.from else {
            // Nothing was live: nothing may be pointed at.
            return unpoint(self.host, self.settings);
        };
        let slot = FpmSlot::of(self.host, self.settings, handover, before.slot);
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
        for handover in handovers(live).filter(|one| self.started.get(&one.service) == Some(&one.to)) {
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

/// An existing unit: restarted, or reloaded with every process of before watched until it is gone.
pub async fn move_unit(
    host: &Host,
    progress: &Progress,
    unit: &UnitName,
    strategy: Strategy,
    drain: std::time::Duration,
) -> Result<(), EngineError> {
    let units = &host.units;
    if strategy == Strategy::Restart {
        return Ok(units.restart(unit).await?);
    }
    let main = units.status(unit).await?.main_pid;
    let before: Vec<u32> = units.processes(unit).await?.into_iter().filter(|pid| *pid != main).collect();
    let call =
        |e: std::io::Error| UnitError::Call { what: format!("watch the processes of {unit}"), detail: e.to_string() };
    let watch = Watch::new(&before).map_err(call)?;
    units.reload(unit).await?;
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

/// Takes the link away that nginx connects through.
pub fn unpoint(host: &Host, settings: &Settings) -> Result<(), EngineError> {
    let run = Dir::open_or_make(&host.paths.app_run_dir(&settings.app), 0o755)?;
    if run.kind("fpm.sock")? == EntryKind::Link {
        run.unlink("fpm.sock")?;
    }
    Ok(())
}
