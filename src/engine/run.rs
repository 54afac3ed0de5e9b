//! The whole transaction, in its order: lock, recover, observe, plan, stage, seal, start, activate, cut over, verify,
//! record.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use tracing::Instrument;

use super::{
    aftermath,
    cancel::Cancel,
    cutover::{Starter, handovers},
    deployment::{Deployment, now},
    error::{EngineError, tell_lines},
    fleet, generated,
    layout::{self, Next},
    metrics,
    migrate::not_undone,
    notify::notify,
    outcome::{About, End, finish, sentence},
    progress::Progress,
    recover,
    slots::recorded,
    span,
    stage::{discard, empty_trash},
    store::Store,
    twice::ended_before,
    uploads,
};
use crate::{
    config::{self, Settings, SlotKind},
    model::{
        AppState, DeploymentRecord, Kind, LiveSlot, Outcome, Phase, ReleaseRecord, ReleaseState, Request, UnitName,
        events,
    },
    observe::{Host, Observed, observe},
    plan::{Decision, GoLive, Handover, Plan, Stage, plan},
    system::{
        journal::Priority,
        notify::{extend_timeout, status},
        tree::Lock,
        units::Verb,
    },
    worker::client::Worker,
};

/// Carries out one request to its end.
pub async fn run(host: &Host, request: &Request, cancel: &Cancel) -> Outcome {
    let span = span::of_deployment(&request.app, &request.id, &request.actor.to_string());
    to_its_end(host, request, cancel).instrument(span).await
}

async fn to_its_end(host: &Host, request: &Request, cancel: &Cancel) -> Outcome {
    let started_at = now();
    let progress = Progress::open(&host.paths, &request.app, &request.id, request.kind, request.actor.to_string());
    let settings = host.settings(&request.app);
    // An app that nobody has described gets no record.
    let known = settings.is_ok() || config::list(&host.paths).is_ok_and(|apps| apps.contains(&request.app));
    let store = known.then(|| Store::open(&host.paths, &request.app));
    if let Some(why) = ended_before(&host.paths, request, store.as_ref().and_then(|store| store.as_ref().ok())) {
        progress.event(events::DEPLOYMENT_REJECTED, Priority::Error, &why, &[]);
        status(&why);
        return Outcome::Rejected;
    }
    let (settings, store) = match (settings, store) {
        (Ok(settings), Some(Ok(store))) => (settings, store),
        (Err(error), store) => {
            tell_lines(&error.to_string());
            let store = store.and_then(Result::ok);
            let end = End::early(Outcome::Rejected, error.summary);
            return finish(request, store.as_ref(), &progress, started_at, end).outcome;
        }
        (Ok(_), store) => {
            let why = store.and_then(Result::err).map_or_else(String::new, |error| error.to_string());
            return finish(request, None, &progress, started_at, End::early(Outcome::Failed, why)).outcome;
        }
    };
    let attempt =
        Attempt { host, request, settings: &settings, store: &store, progress: &progress, cancel, started_at };
    let more_time = tokio::spawn(ask_for_time());
    let (end, lock) = attempt.carry_out().await;
    let record = finish(request, Some(&store), &progress, started_at, end);
    if lock.is_some() {
        aftermath::steps(host, &settings, &store, cancel, &record).await;
    }
    metrics::ended(host, &settings, &store, &record);
    // Held until the record is written: who waits for it finds everything settled.
    drop(lock);
    if let Err(error) = cancel.guard(notify(host, &settings, &store, &record)).await {
        tracing::warn!("not everyone was told: {error}");
    }
    more_time.abort();
    record.outcome
}

/// Says once a minute that this process goes on: the unit's timeouts bound silence, not work.
async fn ask_for_time() {
    let mut minute = tokio::time::interval(Duration::from_secs(60));
    loop {
        minute.tick().await;
        extend_timeout(Duration::from_secs(10 * 60));
    }
}

/// What a request would do, without effects beyond the app's cache.
pub async fn preview(host: &Host, request: &Request) -> Result<Decision, crate::plan::Refusal> {
    let refused = |reason: String, remedy: Option<String>| crate::plan::Refusal { reason, remedy, lacking: Vec::new() };
    let settings = host.settings(&request.app).map_err(|error| refused(error.summary, None))?;
    let look = async {
        let state = Store::look(&host.paths, &request.app)?;
        layout::prepare_cache(&host.paths, &settings)?;
        Ok::<_, EngineError>(observe(host, &settings, request, &state, None).await?.0)
    };
    let observed: Observed = look.await.map_err(|error| refused(error.to_string(), error.remedy()))?;
    plan(&settings, &observed, request)
}

/// What was seen, and the worker that saw it, with the directory that it may write.
struct Seen {
    observed: Observed,
    next: Option<Next>,
    tree: Option<Worker>,
}

struct Attempt<'a> {
    host: &'a Host,
    request: &'a Request,
    settings: &'a Settings,
    store: &'a Store,
    progress: &'a Progress,
    cancel: &'a Cancel,
    started_at: i64,
}

impl Attempt<'_> {
    async fn carry_out(&self) -> (End, Option<Lock>) {
        let lock = match self.lock().await {
            Ok(lock) => lock,
            Err(error) => return (self.ended_early(&error), None),
        };
        self.progress.own();
        self.progress.phase(Phase::Planning, "looking at the source and the site");
        let end = match self.decide().await {
            Ok((Ok(Decision::Go(plan)), seen)) => self.execute(&plan, seen).await,
            Ok((Ok(Decision::Unchanged { release, message }), seen)) => {
                let about = About { from: seen.observed.current, to: Some(release), ..About::default() };
                End { outcome: Outcome::Unchanged, message, about }
            }
            Ok((Err(refusal), _)) => {
                End::early(Outcome::Rejected, sentence(&refusal.reason, refusal.remedy.as_deref()))
            }
            Err(error) => self.ended_early(&error),
        };
        (end, Some(lock))
    }

    fn ended_early(&self, error: &EngineError) -> End {
        let outcome = match error {
            EngineError::Cancelled => Outcome::Cancelled,
            // The source or the site said no before anything was touched.
            EngineError::Observe(_) => Outcome::Rejected,
            _ => Outcome::Failed,
        };
        End::early(outcome, sentence(&error.to_string(), error.remedy().as_deref()))
    }

    async fn lock(&self) -> Result<Lock, EngineError> {
        let holder = format!("{} {} of {}", self.request.kind, self.request.id, self.request.actor);
        match self.store.try_lock(&holder)? {
            Ok(lock) => Ok(lock),
            Err(other) => {
                self.progress.waiting(Phase::Waiting, &format!("waiting for {other}, which has {}", self.request.app));
                self.cancel.guard(self.store.lock(&holder)).await
            }
        }
    }

    async fn decide(&self) -> Result<(Result<Decision, crate::plan::Refusal>, Seen), EngineError> {
        let state = match self.store.load()? {
            // Nothing is tried by itself: the plan refuses, and names the way on.
            stuck if stuck.stuck.is_some() => stuck,
            _ => recover::before_deployment(self.host, self.settings, self.store).await?,
        };
        layout::prepare_cache(&self.host.paths, self.settings)?;
        uploads::hand_over(&self.host.paths, self.settings, self.request)?;
        let next = layout::next(self.settings).filter(|_| self.request.kind != Kind::Activate);
        let seen =
            observe(self.host, self.settings, self.request, &state, next.as_ref().map(|next| next.name.as_str()));
        let (observed, tree) = self.cancel.guard(seen).await?;
        Ok((plan(self.settings, &observed, self.request), Seen { observed, next, tree }))
    }

    async fn execute(&self, plan: &Plan, seen: Seen) -> End {
        let Seen { observed, next, tree } = seen;
        let about = About::plan(plan);
        self.progress.about(&plan.release);
        self.progress.expect(earlier(self.store, &observed.state, plan));
        let message = format!("{} of {}: {}", plan.kind, plan.release, plan.reasons.join(", "));
        self.progress.event(events::DEPLOYMENT_STARTED, Priority::Info, &message, &[]);
        for warning in plan.warnings.iter().chain(&not_undone(plan)) {
            self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, warning, &[]);
        }
        // First of all: it may also be what makes a new app's root writable here.
        let ready = generated::refresh(self.host, self.settings).await;
        let layout = match ready.and_then(|()| layout::prepare(&self.host.paths, self.settings)) {
            Ok(layout) => layout,
            Err(error) if !observed.root_writable => {
                let message = format!("{error}; systemd has only now read where it is: start the deployment again");
                return End { about, ..End::early(Outcome::Failed, message) };
            }
            Err(error) => return End { about, ..self.ended_early(&error) },
        };
        let mut deployment = Deployment {
            host: self.host,
            settings: self.settings,
            request: self.request,
            plan,
            store: self.store,
            progress: self.progress,
            cancel: self.cancel,
            layout,
            state: observed.state,
            next,
            tree,
            prober: None,
            started: Rc::default(),
            takes_slot: false,
            moved: 0,
            paused: BTreeMap::new(),
            started_at: self.started_at,
        };
        let end = deployment.transact().await;
        layout::have_next(&deployment.layout, &plan.id);
        // The workers leave when their input is closed; nothing depends on when.
        drop((deployment.tree.take(), deployment.prober.take()));
        End { about, ..end }
    }
}

impl Deployment<'_> {
    async fn transact(&mut self) -> End {
        let plan = self.plan;
        if let Err(error) = self.before_activate(plan).await {
            let end = self.abandon(plan, &error).await;
            if self.takes_slot {
                fleet::give_back(self.host, &plan.app, Some(&plan.release)).await;
            }
            return end;
        }
        let Some(live) = &plan.live else {
            self.state.running = None;
            return match self.save() {
                Ok(()) => End::early(Outcome::Succeeded, format!("{} is staged", plan.release)),
                Err(error) => End::early(Outcome::Failed, error.to_string()),
            };
        };
        // The commit: from here on a request to stop is not heeded any more; it ends here or goes back.
        let before = self.state.clone();
        match self.commit(live).await {
            Ok(()) => self.succeed(plan, &before.fallback).await,
            Err(EngineError::Paused { unit, why }) => {
                let end = self.pause(live, &unit, &why);
                fleet::went_back(self.host, self.settings, &plan.release, &plan.revision).await;
                end
            }
            Err(error) => {
                // What has run stays run.
                let once = std::mem::take(&mut self.state.once);
                self.state = AppState { once, ..before };
                self.roll_back(live, &error).await
            }
        }
    }

    /// Everything that touches nothing live.
    async fn before_activate(&mut self, plan: &Plan) -> Result<(), EngineError> {
        self.journal(Phase::Staging)?;
        let cancel = self.cancel.clone();
        if let Some(stage) = &plan.stage {
            self.make_release()?;
            if !starts_early(plan, stage) {
                self.stage(stage).await?;
            }
            // Before the slots: what it does is waited for longest.
            cancel.guard(self.open_tree()).await?;
        }
        if let Some(live) = &plan.live {
            live.skipped.iter().for_each(|(name, why)| self.left_out(name, why));
        }
        if let Some(staged) = plan.live.as_ref().and_then(|live| live.staged.as_ref()) {
            self.complete(staged).await?;
        }
        cancel.guard(self.seal_and_start(plan)).await?;
        if let Some(live) = &plan.live {
            self.progress.phase(Phase::Starting, "proving the new slots beside the live ones");
            let prove = async {
                self.begin_workers(live).await?;
                self.prove_commands(live).await?;
                self.judge_jobs().await?;
                self.await_workers(live).await?;
                self.probe_slots(live).await
            };
            cancel.guard(prove).await?;
        }
        cancel.guard(self.take_slot()).await?;
        if cancel.asked() {
            return Err(EngineError::Cancelled);
        }
        if plan.live.is_some() { self.journal(Phase::Activating) } else { Ok(()) }
    }

    /// The seal and the start of the idle slots, side by side: the tree is complete by then. Where nothing is built and
    /// every slot is php-fpm's, which reads nothing before its probe, beside the export too.
    async fn seal_and_start(&mut self, plan: &Plan) -> Result<(), EngineError> {
        self.forget_taken()?;
        let starting = Starter::of(self);
        let start = async {
            match &plan.live {
                Some(live) => starting.start_slots(live).await,
                None => Ok(()),
            }
        };
        let seal = async {
            match &plan.stage {
                Some(stage) => {
                    if starts_early(plan, stage) {
                        self.stage(stage).await?;
                    }
                    self.progress.phase(Phase::Sealing, "taking the manifest, writing everything to disk");
                    let manifest = self.seal(stage).await?;
                    self.record_release(stage, manifest);
                    Ok(())
                }
                // There is time to have it ready for the probes, and to look at the release.
                None if plan.live.is_some() => {
                    self.open_tree().await?;
                    self.compare_with_seal().await
                }
                None => Ok(()),
            }
        };
        let (sealed, started): (Result<(), EngineError>, Result<(), EngineError>) = tokio::join!(seal, start);
        sealed?;
        started
    }

    async fn commit(&mut self, live: &GoLive) -> Result<(), EngineError> {
        self.go_live(live).await?;
        self.progress.live();
        self.note_live(live);
        self.save()
    }

    async fn succeed(&mut self, plan: &Plan, before: &BTreeMap<String, LiveSlot>) -> End {
        // A slot that was kept for the rollback of an earlier deployment is not needed any more.
        for (slot, kept) in recorded(self.host, self.settings, before) {
            let of_service = [self.state.live.get(slot.service), self.state.fallback.get(slot.service)];
            let used = of_service.into_iter().flatten().any(|other| other.slot == kept.slot);
            if !used && let Err(error) = slot.drain().await {
                tracing::warn!("the slot {} is not drained yet: {error}, ignoring", kept.slot);
            }
        }
        if let (Kind::Rollback, Some(left)) = (plan.kind, self.left()) {
            fleet::went_back(self.host, self.settings, &left.id, &left.revision).await;
        }
        if let Err(error) = settle_later(self.host, self.settings).await {
            tracing::warn!("{} is not confirmed by itself: {error}, ignoring", plan.release);
        }
        let was = plan.from.as_ref().map_or_else(String::new, |from| format!(" (was {from})"));
        let (why, took) = (plan.reasons.join(", "), self.progress.live_ms().unwrap_or(0));
        let since = not_undone(plan).map_or_else(String::new, |since| format!("; {since}"));
        End::early(Outcome::Succeeded, format!("{} is live{was}, {took} ms: {why}{since}", plan.release))
    }

    /// The release that a rollback has left.
    fn left(&self) -> Option<&ReleaseRecord> {
        self.state.releases.iter().find(|release| Some(&release.id) == self.plan.from.as_ref())
    }

    /// A rolling update that was asked to stop where it failed: nothing goes back and nothing is confirmed by itself.
    /// The release is live as far as it came, so that a rollback and another deployment both know what to do.
    fn pause(&mut self, live: &GoLive, unit: &UnitName, why: &str) -> End {
        self.note_live(live);
        self.state.settling = None;
        let (app, release) = (&self.plan.app, &self.plan.release);
        let message = format!(
            "{why}; {unit} is paused, and some of its instances run {release}: put it right and start the deployment \
             again, or go back: `deployctl rollback {app}`"
        );
        match self.save() {
            Ok(()) => End::early(Outcome::Stuck, message),
            Err(error) => End::early(Outcome::Stuck, format!("{message}; it could not be recorded: {error}")),
        }
    }

    /// A failure before activate: what was started is stopped, what was made is removed.
    async fn abandon(&mut self, plan: &Plan, error: &EngineError) -> End {
        let outcome = match error {
            EngineError::Cancelled => Outcome::Cancelled,
            EngineError::MissingJobs(_) | EngineError::UnknownJobs(_) | EngineError::Refused { .. } => {
                Outcome::Rejected
            }
            _ => Outcome::Failed,
        };
        let message = self.with_migrations(sentence(&error.to_string(), error.remedy().as_deref()));
        (self.tree, self.prober) = (None, None);
        if let Some(live) = &plan.live
            && let Err(error) = self.stop_slots(live).await
        {
            tracing::warn!("a new slot was not stopped: {error}, ignoring");
        }
        if plan.stage.is_some() {
            self.state.releases.retain(|release| release.id != plan.release);
            if let Err(error) = discard(&self.layout.releases, plan.release.as_str()) {
                tracing::warn!("{} was not removed: {error}; the next deployment tries again", plan.release);
                return End::early(outcome, message);
            }
            empty_trash(self.host, self.settings, &plan.id, &self.layout.releases).await;
            // The next deployment builds in what this one has left there.
            if let Err(error) = self.sync_cache().await {
                tracing::warn!("what the steps wrote into the cache may not outlive a power cut: {error}, ignoring");
            }
        }
        self.state.running = None;
        if let Err(error) = self.save() {
            tracing::error!("the end could not be recorded: {error}; the next deployment recovers");
        }
        End::early(outcome, message)
    }

    /// A failure after activate: everything goes back, or says that it is stuck.
    async fn roll_back(&mut self, live: &GoLive, cause: &EngineError) -> End {
        let reason = self.with_migrations(sentence(&cause.to_string(), cause.remedy().as_deref()));
        self.progress.phase(Phase::RollingBack, &format!("going back: {reason}"));
        let back = self.go_back(live).await;
        // A release that was confirmed once does not become bad by what has happened to its surroundings.
        let of_plan = self.state.releases.iter().find(|release| release.id == self.plan.release);
        let bad = of_plan.is_some_and(|release| release.state != ReleaseState::Confirmed);
        if bad {
            self.state.fail(&self.plan.release);
        }
        let was = match &self.plan.from {
            Some(from) => format!("{from} is live as before"),
            None => "nothing is live, as before".to_owned(),
        };
        let end = match back {
            Ok(services) => {
                self.state.running = None;
                let back = match services.as_slice() {
                    [] | [_] => String::new(),
                    several => format!(", {} went back in this order", several.join(", ")),
                };
                End::early(Outcome::RolledBack, format!("{reason}; {was}{back}"))
            }
            Err(error) => {
                // What was under way stays in the record: settling takes it up again, when a person asks for it.
                let stuck = format!("{reason}; going back failed too: {error}");
                self.state.stuck = Some(stuck.clone());
                let remedy = format!("put it right, then `systemctl start deploy-settle@{}`", self.plan.app);
                End::early(Outcome::Stuck, format!("{stuck}; {remedy}"))
            }
        };
        if let Err(error) = self.save() {
            tracing::error!("the end could not be recorded: {error}; the next deployment recovers");
        }
        if bad && self.plan.kind != Kind::Rollback {
            fleet::went_back(self.host, self.settings, &self.plan.release, &self.plan.revision).await;
        } else if self.takes_slot {
            fleet::give_back(self.host, &self.plan.app, Some(&self.plan.release)).await;
        }
        end
    }
}

/// What the last deployment of this kind took for each part, as far as the releases remember it. Only told: without it
/// nobody knows how far this one is.
fn earlier(store: &Store, state: &AppState, plan: &Plan) -> Vec<(String, u64)> {
    if plan.stage.is_none() {
        return Vec::new();
    }
    let made = state.releases.iter().rev().take(3).map(|release| &release.deployment);
    let alike = |record: &DeploymentRecord| record.kind == plan.kind && record.outcome == Outcome::Succeeded;
    let last = made.filter_map(|id| store.record(id).ok().flatten()).find(alike);
    last.map(|record| record.timings).unwrap_or_default()
}

/// Whether slots are started while the release is still written: not where a step may take its time or fail, nor where
/// a slot's sandbox needs directories of the release; and only php-fpm reads nothing of it before it is asked.
fn starts_early(plan: &Plan, stage: &Stage) -> bool {
    let reads_late = |handover: &Handover| matches!(handover.kind, SlotKind::PhpFpm(_));
    stage.steps.is_empty()
        && stage.tests.is_none()
        && stage.writable.is_empty()
        && plan.live.iter().flat_map(handovers).all(reads_late)
}

/// Has the app settled: baked, the old slots drained, confirmed. Under the app's lock, so that no running settling is
/// ended in the middle of a decision, for which it too needs the lock.
pub async fn settle_later(host: &Host, settings: &Settings) -> Result<(), EngineError> {
    let name = format!("deploy-settle@{}.service", settings.app);
    let unit = name.parse().map_err(|e: crate::model::BadName| EngineError::Other(e.to_string()))?;
    // Its limit of starts is for a settling that fails again and again: many deployments are no such thing.
    host.units.reset_failed(&unit).await?;
    Ok(host.units.enqueue(Verb::Restart, &unit).await?)
}
