//! Settle: after a deployment has returned, its release bakes, the old slots are drained, and it is confirmed, or it
//! is rolled back. Also what follows a deployment that was killed. May itself be ended at any moment: every decision
//! is made under the app's lock, from the record as it then is.

use std::collections::BTreeMap;

use tracing::Instrument;

use super::{
    bake::{bake, look_once},
    cancel::Cancel,
    error::{EngineError, tell_lines},
    fleet, metrics,
    prune::{How, prune, sweep},
    recover,
    run::run,
    site::Site,
    slots::{recorded, slot_of},
    span,
    store::Store,
    tidy::tidy,
};
use crate::{
    config::Settings,
    model::{
        Actor, AppName, AppState, DeploymentId, Kind, LiveSlot, Outcome, ReleaseId, ReleaseState, Request, Slot, events,
    },
    observe::{Host, read_current},
    system::{
        journal::{self, Priority},
        notify,
        tree::{Dir, Lock},
        units::Weight,
    },
};

/// Settles an app: takes an interrupted deployment back, bakes and confirms the newest one.
pub async fn settle(host: &Host, app: &AppName, cancel: &Cancel) -> Result<(), EngineError> {
    let settings = match host.settings(app) {
        Ok(settings) => settings,
        Err(error) => {
            // Nothing can be settled until it is mended; the next deployment then does it.
            tell_lines(&error.to_string());
            return Ok(());
        }
    };
    let store = Store::open(&host.paths, app)?;
    let settling = Settling { host, settings: &settings, store: &store, cancel };
    loop {
        match settling.once().await {
            // What was settled is not what is live any more: begin again with what is.
            Ok(Passed::Overtaken) => {}
            // Ended for a newer deployment, which has its own settling.
            Ok(Passed::Done) | Err(EngineError::Cancelled) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// How far one pass came.
enum Passed {
    Done,
    Overtaken,
}

/// A deployment that waits to be confirmed, and its release.
struct Pending {
    id: DeploymentId,
    release: ReleaseId,
    state: ReleaseState,
}

struct Settling<'a> {
    host: &'a Host,
    settings: &'a Settings,
    store: &'a Store,
    cancel: &'a Cancel,
}

impl Settling<'_> {
    async fn once(&self) -> Result<Passed, EngineError> {
        let Some(pending) = self.begin().await? else { return Ok(Passed::Done) };
        let span = span::of_release(&self.settings.app, &pending.id, &pending.release);
        self.settle(&pending).instrument(span).await
    }

    async fn settle(&self, pending: &Pending) -> Result<Passed, EngineError> {
        // One that was confirmed before proves nothing new; and after a rollback nothing is rolled back once more.
        if pending.state != ReleaseState::Confirmed {
            notify::status(&format!("{} bakes for {:?}", pending.release, self.settings.bake));
            if let Err(why) = self.cancel.guard(bake(self.site(pending))).await? {
                return self.failed(pending, &why).await;
            }
        }
        self.drain_old(pending).await
    }

    /// The release that bakes, for its checks.
    fn site<'b>(&'b self, pending: &'b Pending) -> Site<'b> {
        Site { host: self.host, settings: self.settings, deployment: &pending.id, release: &pending.release }
    }

    /// The app's lock and state, after anything interrupted was taken back.
    async fn locked(&self) -> Result<(Lock, AppState), EngineError> {
        let lock = self.cancel.guard(self.store.lock("settle")).await?;
        let state = recover::before_deployment(self.host, self.settings, self.store).await?;
        Ok((lock, state))
    }

    /// Whether the deployment is still the one to be confirmed, and its release still the live one.
    fn holds(&self, state: &AppState, pending: &Pending) -> Result<bool, EngineError> {
        let current = read_current(&Dir::open(&self.settings.root)?)?;
        Ok(state.settling.as_ref() == Some(&pending.id) && current.as_ref() == Some(&pending.release))
    }

    async fn begin(&self) -> Result<Option<Pending>, EngineError> {
        let (lock, mut state) = self.locked().await?;
        let Some(id) = state.settling.clone() else {
            // Of a deployment that was ended in its midst.
            fleet::give_back(self.host, &self.settings.app, None).await;
            drop(lock);
            // A deployment that failed may have left what it could not remove.
            let nanoseconds = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
            let bits = nanoseconds.first_chunk().copied().map_or(0, u64::from_le_bytes);
            self.sweep_if_deployed(&DeploymentId::from_bits(bits)).await?;
            return Ok(None);
        };
        // Before the bake time too: deployments that follow each other closely confirm nothing and still fill the disk.
        prune(self.host, self.settings, self.store, &mut state, How::default()).await?;
        let current = read_current(&Dir::open(&self.settings.root)?)?;
        let found = current.and_then(|current| state.releases.iter().find(|release| release.id == current));
        let pending = match found {
            Some(release) => Some(Pending { id: id.clone(), release: release.id.clone(), state: release.state }),
            None => {
                // Nothing that deployd made is live: there is nothing to confirm.
                state.settling = None;
                self.store.save(&state)?;
                fleet::give_back(self.host, &self.settings.app, None).await;
                None
            }
        };
        drop(lock);
        sweep(self.host, self.settings, &id).await?;
        Ok(pending)
    }

    /// Removes what has no name any more; an app that was never deployed has nothing.
    async fn sweep_if_deployed(&self, id: &DeploymentId) -> Result<(), EngineError> {
        if !self.settings.root.join("releases").exists() {
            return Ok(());
        }
        sweep(self.host, self.settings, id).await
    }

    /// The bake failed: back to an older release, as a deployment of its own. Asked once more under the lock, since
    /// what failed may have been another deployment in between.
    async fn failed(&self, pending: &Pending, why: &str) -> Result<Passed, EngineError> {
        {
            let (_lock, mut state) = self.locked().await?;
            if !self.holds(&state, pending)? || look_once(self.site(pending)).await?.is_ok() {
                return Ok(Passed::Overtaken);
            }
            state.fail(&pending.release);
            self.store.save(&state)?;
        }
        tracing::error!("{}: rolling back: {why}", self.settings.app);
        let bits = u64::from_str_radix(pending.id.as_str(), 16).unwrap_or_default();
        let request = Request {
            app: self.settings.app.clone(),
            // Another one, and every try to settle the same deployment gives the same.
            id: DeploymentId::from_bits(!bits),
            kind: Kind::Rollback,
            reference: None,
            release: None,
            force: false,
            allow: Default::default(),
            upload: false,
            actor: Actor::Deployd,
        };
        match run(self.host, &request, self.cancel).await {
            // Its own settling follows, with the drain and the confirmation.
            Outcome::Succeeded | Outcome::Unchanged => Ok(Passed::Done),
            Outcome::Rejected => self.nowhere_to_go(pending, why).await,
            other => {
                let app = &self.settings.app;
                Err(EngineError::Other(format!("{why}; the rollback {other}: see `deployctl status {app}`")))
            }
        }
    }

    /// There is no older release: it stays, and is told to be failed; the next deployment makes a new one.
    async fn nowhere_to_go(&self, pending: &Pending, why: &str) -> Result<Passed, EngineError> {
        let (_lock, mut state) = self.locked().await?;
        if state.settling.as_ref() == Some(&pending.id) {
            state.settling = None;
            self.store.save(&state)?;
        }
        if let Some(bad) = state.releases.iter().find(|release| release.id == pending.release) {
            fleet::went_back(self.host, self.settings, &bad.id, &bad.revision).await;
        }
        let release = &pending.release;
        let message =
            format!("{why}; there is no older release to go back to, so {release} stays live: deploy one that works");
        self.tell(events::DEPLOYMENT_STUCK, Priority::Error, &message, pending);
        Err(EngineError::Told(message))
    }

    /// Drains the slots of before, each in its own unit, without the app's lock; when they are gone, confirms.
    async fn drain_old(&self, pending: &Pending) -> Result<Passed, EngineError> {
        let fallback = {
            let (_lock, mut state) = self.locked().await?;
            if !self.holds(&state, pending)? {
                return Ok(Passed::Overtaken);
            }
            // Enqueued before it is forgotten: a slot that nobody remembers would run for ever.
            for (slot, _) in recorded(self.host, self.settings, &state.fallback) {
                slot.drain().await?;
            }
            self.drain_strays(&state).await?;
            let fallback = std::mem::take(&mut state.fallback);
            self.store.save(&state)?;
            fallback
        };
        for (slot, kept) in recorded(self.host, self.settings, &fallback) {
            notify::status(&format!("slot {} drains", kept.slot));
            if let Err(error) = self.cancel.guard(slot.drained()).await {
                if !matches!(error, EngineError::Cancelled) {
                    self.keep(&fallback).await?;
                }
                return Err(error);
            }
        }
        self.confirm(pending).await
    }

    /// Has the slots drained that run and are neither live nor kept: who was to end them was itself ended, or somebody
    /// has started one. Under the app's lock none is being started. Nobody waits for them.
    async fn drain_strays(&self, state: &AppState) -> Result<(), EngineError> {
        for service in self.settings.services.iter().map(|service| service.name.as_str()) {
            let kept = [&state.live, &state.fallback].map(|slots| slots.get(service).map(|kept| kept.slot));
            for slot in Slot::ALL.into_iter().filter(|slot| !kept.contains(&Some(*slot))) {
                if let Some(stray) = slot_of(self.host, self.settings, service, slot)
                    && !self.host.units.status(stray.unit()).await?.has_ended()
                {
                    stray.drain().await?;
                }
            }
        }
        Ok(())
    }

    /// A slot that could not be drained runs on: it is remembered, so that the next try drains it.
    async fn keep(&self, fallback: &BTreeMap<String, LiveSlot>) -> Result<(), EngineError> {
        let (_lock, mut state) = self.locked().await?;
        for (service, kept) in fallback {
            let live = state.live.get(service).is_some_and(|live| live.slot == kept.slot);
            if !live && !state.fallback.contains_key(service) {
                state.fallback.insert(service.clone(), kept.clone());
            }
        }
        self.store.save(&state)
    }

    /// Nothing of the old release is left: the new one is confirmed, and what is surplus is pruned.
    async fn confirm(&self, pending: &Pending) -> Result<Passed, EngineError> {
        let (lock, mut state) = self.locked().await?;
        if !self.holds(&state, pending)? {
            return Ok(Passed::Overtaken);
        }
        for release in state.releases.iter_mut().filter(|release| release.id == pending.release) {
            release.state = ReleaseState::Confirmed;
        }
        state.settling = None;
        for (slot, _) in recorded(self.host, self.settings, &state.live) {
            slot.weigh(Weight::Full).await;
        }
        // Before it is noted that there is nothing to settle: a slot without a lease ends by this alone.
        self.free_slot(pending, &state).await;
        self.store.save(&state)?;
        let message = format!("{} is confirmed", pending.release);
        self.tell(events::RELEASE_CONFIRMED, Priority::Notice, &message, pending);
        prune(self.host, self.settings, self.store, &mut state, How::default()).await?;
        metrics::live(self.host, self.settings, &state);
        drop(lock);
        sweep(self.host, self.settings, &pending.id).await?;
        let tidied = async {
            tidy(self.host, self.settings, &pending.id, &state).await;
            Ok::<_, EngineError>(())
        };
        if self.cancel.guard(tidied).await.is_err() {
            // The next release waits to be watched; the mirror can wait.
            tracing::debug!("the mirror of {} is left as it is", self.settings.app);
        }
        Ok(Passed::Done)
    }

    /// The next host of the fleet may go on, unless this one went back.
    async fn free_slot(&self, pending: &Pending, state: &AppState) {
        let went_back = self.store.record(&pending.id).ok().flatten().is_some_and(|one| one.kind == Kind::Rollback);
        let release = state.releases.iter().find(|release| release.id == pending.release);
        match release {
            Some(release) if !went_back => {
                fleet::confirmed(self.host, self.settings, &release.id, &release.revision).await;
            }
            // Who tells the others that this host went back goes on doing so.
            _ => fleet::give_back(self.host, &self.settings.app, None).await,
        }
    }

    fn tell(&self, event: events::EventId, priority: Priority, message: &str, pending: &Pending) {
        let release = pending.release.to_string();
        let fields = [
            ("DEPLOYD_APP", self.settings.app.as_str()),
            ("DEPLOYD_DEPLOYMENT", pending.id.as_str()),
            ("DEPLOYD_RELEASE", release.as_str()),
        ];
        journal::event(event, priority, message, &fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without optimisation each function below keeps copies of what it awaits on the stack: with futures of 190 KiB a
    /// rollback by itself overflowed it.
    #[test]
    fn what_settles_and_rolls_back_is_small() {
        fn size<T>(_: impl FnOnce(&'static Host, &'static AppName, &'static Cancel) -> T) -> usize {
            size_of::<T>()
        }
        let size = size(settle);
        assert!(size < 100 * 1024, "{size} bytes: box what is large and rarely awaited");
    }
}
