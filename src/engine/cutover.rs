//! Cut over: idle slots started and proved beside the live ones, then each service pointed, in order, each proved live
//! before the next. On failure the same backwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use super::{
    activate::{activate, restore},
    deployment::{Deployment, Started, now},
    error::EngineError,
    existing::{Mover, still_going},
    jobs,
    progress::Progress,
    slots::ServiceSlot,
    turn::{point, unpoint},
};
use crate::{
    config::{OnFailure, Rolling, Settings, Strategy},
    model::{Kind, LiveSlot, Phase, ReleaseState, UnitName, events},
    observe::Host,
    plan::{GoLive, Handover, Move, Plan, Start},
    system::{journal::Priority, units::Weight},
};

/// What starting slots needs of a deployment: apart from it, so that a release is sealed meanwhile.
#[derive(Debug)]
pub struct Starter<'a> {
    host: &'a Host,
    settings: &'a Settings,
    plan: &'a Plan,
    progress: &'a Progress,
    started: Started,
}

impl<'a> Starter<'a> {
    /// Of a deployment.
    pub fn of(deployment: &Deployment<'a>) -> Self {
        Self {
            host: deployment.host,
            settings: deployment.settings,
            plan: deployment.plan,
            progress: deployment.progress,
            started: deployment.started.clone(),
        }
    }

    /// Starts every idle slot on the new release. They take no traffic yet. Workers of queues are only
    /// prepared: they load the release at once, which is still being written.
    pub async fn start_slots(&self, live: &GoLive) -> Result<(), EngineError> {
        for handover in handovers(live) {
            let slot = ServiceSlot::of(self.host, self.settings, handover, handover.to)?;
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
            if handover.kind.takes_jobs() {
                jobs::mark(&slot)?;
            } else {
                slot.start(weight(self.plan.kind)).await?;
            }
        }
        Ok(())
    }

    /// All slots are busy: waits for the one that drains.
    async fn await_drain(&self, handover: &Handover) -> Result<(), EngineError> {
        let slot = ServiceSlot::of(self.host, self.settings, handover, handover.to)?;
        self.progress.waiting(
            Phase::Starting,
            &format!("waiting for {}, which finishes what it has (at most {:?})", slot.unit(), handover.drain),
        );
        slot.drained().await
    }
}

/// A new release starts behind the one that serves. Who goes back may have a reason not to wait for that one.
fn weight(kind: Kind) -> Weight {
    if kind == Kind::Rollback { Weight::Full } else { Weight::Yielding }
}

impl Deployment<'_> {
    /// Has the new workers start, paused; they boot while something else is done. They load the release at once, so it
    /// is sealed by now.
    pub async fn begin_workers(&self, live: &GoLive) -> Result<(), EngineError> {
        for slot in self.new_workers(live) {
            slot?.begin(weight(self.plan.kind)).await?;
        }
        Ok(())
    }

    /// Returns when the new workers have booted.
    pub async fn await_workers(&self, live: &GoLive) -> Result<(), EngineError> {
        for slot in self.new_workers(live) {
            let slot = slot?;
            self.host.units.start(slot.unit()).await?;
        }
        Ok(())
    }

    fn new_workers<'b>(&'b self, live: &'b GoLive) -> impl Iterator<Item = Result<ServiceSlot<'b>, EngineError>> {
        let workers = handovers(live).filter(|one| one.kind.takes_jobs() && one.start != Start::Running);
        workers.map(|handover| ServiceSlot::of(self.host, self.settings, handover, handover.to))
    }

    /// Probes every new slot while it is not live: it answers from the new release, and is warm.
    pub async fn probe_slots(&mut self, live: &GoLive) -> Result<(), EngineError> {
        for handover in handovers(live) {
            self.probe(handover).await?;
        }
        Ok(())
    }

    /// Activates, points every service, proves each. On failure everything that was moved is moved back.
    pub async fn go_live(&mut self, live: &GoLive) -> Result<(), EngineError> {
        self.pause_old(live).await?;
        // Before there is anything between `current` and who serves it.
        for handover in handovers(live) {
            self.new_slot(handover)?.weigh(Weight::Full).await;
        }
        self.progress.phase(Phase::Activating, &format!("activating {}", self.plan.release));
        activate(&self.layout, &self.plan.release, &self.plan.id)?;
        let release = self.plan.release.to_string();
        self.progress.event(events::RELEASE_ACTIVATED, Priority::Notice, &format!("{release} is active"), &[]);
        self.progress.phase(Phase::CuttingOver, "moving the services");
        for one in &live.moves {
            self.moved += 1;
            self.point_and_prove(one).await?;
        }
        self.progress.phase(Phase::Verifying, "proving the site");
        for step in &live.steps {
            self.step(step).await?;
        }
        self.prove_site(live).await
    }

    /// The live workers of queues take no further job from here on.
    async fn pause_old(&mut self, live: &GoLive) -> Result<(), EngineError> {
        for (handover, before) in handovers(live).filter_map(|one| Some((one, one.from.as_ref()?))) {
            if handover.kind.takes_jobs() {
                jobs::pause(&ServiceSlot::of(self.host, self.settings, handover, before.slot)?).await?;
                self.paused.insert(handover.service.clone(), Instant::now());
            }
        }
        Ok(())
    }

    /// One service's turn. It is told when it is proved, and the next begins after that.
    async fn point_and_prove(&mut self, one: &Move) -> Result<(), EngineError> {
        let release = &self.plan.release;
        let mut gap = None;
        let (unit, message) = match one {
            Move::Handover(handover) => {
                let slot = self.new_slot(handover)?;
                point(&slot).await?;
                gap = self.paused.remove(&handover.service).map(|since| since.elapsed().as_millis());
                let seen = if self.prove(handover).await? { ", seen through nginx" } else { "" };
                let stood = gap.map_or_else(String::new, |ms| format!("; for {ms} ms no job was taken"));
                let message = format!("{} of {release} is live in slot {}{seen}{stood}", handover.service, handover.to);
                (slot.unit().clone(), message)
            }
            Move::Scheduler { service, timer } => {
                self.host.units.start(timer).await?;
                (timer.clone(), format!("{service} runs {release} from its next run on"))
            }
            Move::Unit { unit, strategy, drain, .. } => {
                let moved = self.mover().move_unit(unit, strategy, *drain).await;
                moved.map_err(|error| paused(unit, strategy, error))?;
                self.mover().prove(unit, strategy).await?;
                (unit.clone(), format!("{unit} runs {release}"))
            }
        };
        let gap = gap.map(|ms| ms.to_string());
        let mut fields = vec![("DEPLOYD_UNIT", unit.as_str())];
        fields.extend(gap.as_deref().map(|ms| ("DEPLOYD_GAP_MS", ms)));
        self.progress.event(events::SERVICE_LIVE, Priority::Info, &message, &fields);
        Ok(())
    }

    fn mover(&self) -> Mover<'_> {
        Mover { host: self.host, settings: self.settings, progress: self.progress, id: &self.plan.id }
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
        let live_at = self.state.moment(now());
        for release in &mut self.state.releases {
            if release.id == self.plan.release {
                release.live_at = Some(live_at);
                if self.plan.kind != Kind::Rollback && self.plan.from.as_ref() != Some(&self.plan.release) {
                    release.replaced.clone_from(&self.plan.from);
                }
                if release.state != ReleaseState::Confirmed {
                    release.state = ReleaseState::Unconfirmed;
                }
            }
        }
        if self.plan.kind != Kind::Rollback {
            self.state.failed = None;
        }
        self.state.settling = Some(self.plan.id.clone());
        self.state.running = None;
    }

    /// Goes back: the services that were moved, in reverse order, `current` before the units that read it. The old slots
    /// are still there. Everything is tried; what failed is told together. Returns the services that went back, in the
    /// order in which they did.
    pub async fn go_back(&mut self, live: &GoLive) -> Result<Vec<String>, EngineError> {
        let mut failed = Vec::new();
        let mut note = |done: Result<(), EngineError>| failed.extend(done.err().map(|error| error.to_string()));
        let moved = &live.moves[..self.moved.min(live.moves.len())];
        let mut gone_back = Vec::new();
        // Traffic may still go to the new slot of a service that could not be pointed back: that slot is not drained.
        let mut held = BTreeSet::new();
        for one in moved.iter().rev() {
            if let Move::Handover(handover) = one {
                let back = self.point_back(handover).await;
                if back.is_ok() {
                    gone_back.push(handover.service.clone());
                } else {
                    held.insert(handover.service.as_str());
                }
                note(back);
            }
        }
        note(restore(&self.layout, self.plan.from.as_ref(), &self.plan.id));
        for one in moved.iter().rev() {
            if let (Move::Unit { unit, strategy, drain, .. }, Some(_)) = (one, &self.plan.from) {
                let back = still_going(self.mover().move_unit(unit, strategy, *drain).await);
                if let (Ok(()), Some(from)) = (&back, &self.plan.from) {
                    self.tell_back(unit, &format!("{unit} runs {from} again"));
                    gone_back.push(unit.to_string());
                }
                note(back);
            }
        }
        for one in moved {
            if let (Move::Scheduler { timer, .. }, None) = (one, &self.plan.from) {
                note(self.host.units.stop(timer).await.map_err(EngineError::from));
            }
        }
        note(self.resume_old(live).await);
        note(self.drain_new(live, moved, &held).await);
        if failed.is_empty() { Ok(gone_back) } else { Err(EngineError::Other(failed.join("; "))) }
    }

    /// The slot of before is kept running until the bake time has passed; one that died is started again.
    async fn point_back(&self, handover: &Handover) -> Result<(), EngineError> {
        if handover.kind.takes_jobs() {
            // The old ones go on once `current` is theirs again.
            return jobs::hold(&self.new_slot(handover)?).await;
        }
        let Some(before) = &handover.from else {
            return unpoint(self.host, self.settings, &handover.service).await;
        };
        let slot = ServiceSlot::of(self.host, self.settings, handover, before.slot)?;
        slot.revive(&before.release).await?;
        point(&slot).await?;
        self.tell_back(slot.unit(), &format!("{} is back in slot {}", handover.service, before.slot));
        Ok(())
    }

    fn tell_back(&self, unit: &UnitName, message: &str) {
        self.progress.event(events::SERVICE_BACK, Priority::Warning, message, &[("DEPLOYD_UNIT", unit.as_str())]);
    }

    /// The old workers of queues take jobs again.
    async fn resume_old(&self, live: &GoLive) -> Result<(), EngineError> {
        for (handover, before) in handovers(live).filter_map(|one| Some((one, one.from.as_ref()?))) {
            if handover.kind.takes_jobs() {
                let slot = ServiceSlot::of(self.host, self.settings, handover, before.slot)?;
                jobs::give_back(&slot).await?;
                if self.moved > 0 {
                    let message = format!("{} of slot {} takes jobs again", handover.service, before.slot);
                    self.tell_back(slot.unit(), &message);
                }
            }
        }
        Ok(())
    }

    /// The new slots have had traffic: they finish it before they stop.
    async fn drain_new(&self, live: &GoLive, moved: &[Move], held: &BTreeSet<&str>) -> Result<(), EngineError> {
        let ended =
            |handover: &&Handover| handover.start != Start::Running && !held.contains(handover.service.as_str());
        let asked = |handover: &Handover| {
            moved.iter().any(|one| matches!(one, Move::Handover(moved) if moved.service == handover.service))
        };
        for handover in handovers(live).filter(ended) {
            // Of a service that had no slot before, too: another program may have served until then.
            if handover.from.is_some() || asked(handover) {
                self.new_slot(handover)?.drain().await?;
            } else {
                self.new_slot(handover)?.stop().await?;
            }
        }
        Ok(())
    }

    /// Stops what was started and never had traffic.
    pub async fn stop_slots(&self, live: &GoLive) -> Result<(), EngineError> {
        let started = self.started.borrow().clone();
        for handover in handovers(live).filter(|one| started.get(&one.service) == Some(&one.to)) {
            self.new_slot(handover)?.stop().await?;
        }
        Ok(())
    }
}

/// A rolling update that shall pause leaves a person to decide; everything before it is on the new release, and
/// nothing comes after it.
fn paused(unit: &UnitName, strategy: &Strategy, error: EngineError) -> EngineError {
    match strategy {
        Strategy::Rolling(Rolling { on_failure: OnFailure::Pause, .. }) => {
            EngineError::Paused { unit: unit.clone(), why: error.to_string() }
        }
        _ => error,
    }
}

/// The handovers of a plan, in order.
pub fn handovers(live: &GoLive) -> impl Iterator<Item = &Handover> {
    live.moves.iter().filter_map(|one| match one {
        Move::Handover(handover) => Some(handover.as_ref()),
        Move::Scheduler { .. } | Move::Unit { .. } => None,
    })
}
