//! Settle: after a deployment has returned, its release bakes, the old slots are drained, and it is confirmed, or it
//! is rolled back. Also what follows a deployment that was killed. May itself be ended at any moment: every decision
//! is made under the app's lock, from the record as it then is.

use std::time::{Duration, Instant};

use super::{
    cancel::Cancel, error::EngineError, health::http_order, prune::prune, recover, run::run, slots::recorded,
    store::Store,
};
use crate::{
    config::Settings,
    model::{Actor, AppName, AppState, DeploymentId, Kind, Outcome, ReleaseId, ReleaseState, Request, events},
    observe::{Host, read_current},
    system::{
        journal::{self, Priority},
        notify,
        tree::Dir,
    },
    worker::{
        client::Worker,
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// Between two looks while a release bakes.
const EVERY: Duration = Duration::from_secs(1);
/// Failures in a row that end the bake time: one may be a restart of something the site needs.
const FAILURES: u32 = 3;
/// For one look.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

/// Settles an app: recovers an interrupted deployment, or bakes and confirms the newest one.
pub async fn settle(host: &Host, app: &AppName, cancel: &Cancel) -> Result<(), EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let store = Store::open(&host.paths, app)?;
    let Some((id, release)) = pending(host, &settings, &store).await? else { return Ok(()) };
    notify::status(&format!("{release} bakes for {:?}", settings.bake));
    if let Err(why) = cancel.guard(bake(host, &settings, &id)).await? {
        return go_back(host, &settings, &store, &id, &why, cancel).await;
    }
    drain_old(host, &settings, &store, &id, cancel).await?;
    confirm(host, &settings, &store, &id, &release).await
}

/// The deployment that waits to be confirmed, and its release; an interrupted one is recovered at first.
async fn pending(
    host: &Host,
    settings: &Settings,
    store: &Store,
) -> Result<Option<(DeploymentId, ReleaseId)>, EngineError> {
    let _lock = store.lock("settle").await?;
    let mut state = recover::before_deployment(host, settings, store).await?;
    // Before the bake time too: deployments that follow each other closely confirm nothing and still fill the disk.
    if let Some(id) = state.settling.clone() {
        prune(host, settings, store, &mut state, &id).await?;
    }
    let current = read_current(&Dir::open(&settings.root)?)?;
    Ok(state.settling.zip(current))
}

/// Watches the site for the bake time. `Ok(Err(why))` is a verdict: it does not work.
async fn bake(host: &Host, settings: &Settings, id: &DeploymentId) -> Result<Result<(), String>, EngineError> {
    let orders: Vec<Order> = settings.health.iter().filter_map(http_order).collect();
    if orders.is_empty() || settings.bake.is_zero() {
        // Nothing to ask meanwhile: only the slots' time to be pointed back to.
        tokio::time::sleep(settings.bake).await;
        return Ok(Ok(()));
    }
    let reach = Reach { write: Vec::new(), hidden: host.hidden_from(settings), network: true };
    let mut worker = host.worker(settings, id, "bake", &settings.user, reach).await?;
    let since = Instant::now();
    let mut failures = 0;
    let mut verdict = Ok(());
    while since.elapsed() < settings.bake {
        match ask_all(&mut worker, &orders).await? {
            Ok(()) => failures = 0,
            Err(why) => {
                failures += 1;
                if failures == FAILURES {
                    verdict = Err(format!("the site failed {FAILURES} checks in a row while {why}"));
                    break;
                }
            }
        }
        // The bake time passes by itself; the site is looked at now and then.
        tokio::time::sleep(EVERY.min(settings.bake.saturating_sub(since.elapsed()))).await;
    }
    worker.finish().await?;
    Ok(verdict)
}

async fn ask_all(worker: &mut Worker, orders: &[Order]) -> Result<Result<(), String>, EngineError> {
    for order in orders {
        if let Answer::Probed { healthy: false, detail } = worker.ask(order, LOOK_LIMIT).await? {
            return Ok(Err(format!("it baked: {}", crate::model::printable(&detail))));
        }
    }
    Ok(Ok(()))
}

/// The bake failed: back to the release of before, as a deployment of its own.
async fn go_back(
    host: &Host,
    settings: &Settings,
    store: &Store,
    id: &DeploymentId,
    why: &str,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    {
        let _lock = store.lock("settle").await?;
        let mut state = store.load()?;
        if state.settling.as_ref() != Some(id) {
            return Ok(());
        }
        let current = read_current(&Dir::open(&settings.root)?)?;
        for release in state.releases.iter_mut().filter(|release| Some(&release.id) == current.as_ref()) {
            release.state = ReleaseState::Failed;
        }
        state.settling = None;
        store.save(&state)?;
    }
    tracing::error!("{}: rolling back: {why}", settings.app);
    let bits = u64::from_str_radix(id.as_str(), 16).unwrap_or_default();
    let request = Request {
        app: settings.app.clone(),
        // Another one, and every try to settle the same deployment gives the same.
        id: DeploymentId::from_bits(!bits),
        kind: Kind::Rollback,
        reference: None,
        release: None,
        force: false,
        actor: Actor::Deployd,
    };
    match run(host, &request, cancel).await {
        Outcome::Succeeded | Outcome::Unchanged => Ok(()),
        other => {
            Err(EngineError::Other(format!("{why}; the rollback {other}: see `deployctl status {}`", settings.app)))
        }
    }
}

/// Drains the slots of before, each in its own unit, and waits until they are gone. Without the app's lock.
async fn drain_old(
    host: &Host,
    settings: &Settings,
    store: &Store,
    id: &DeploymentId,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    let fallback = {
        let _lock = store.lock("settle").await?;
        let mut state = store.load()?;
        if state.settling.as_ref() != Some(id) {
            return Ok(());
        }
        // Enqueued before it is forgotten: a slot that nobody remembers would run for ever.
        for (slot, _) in recorded(host, settings, &state.fallback) {
            slot.drain().await?;
        }
        let fallback = std::mem::take(&mut state.fallback);
        store.save(&state)?;
        fallback
    };
    for (slot, kept) in recorded(host, settings, &fallback) {
        notify::status(&format!("slot {} drains", kept.slot));
        cancel.guard(slot.drained()).await?;
    }
    Ok(())
}

/// Nothing of the old release is left: the new one is confirmed, and what is surplus is pruned.
async fn confirm(
    host: &Host,
    settings: &Settings,
    store: &Store,
    id: &DeploymentId,
    release: &ReleaseId,
) -> Result<(), EngineError> {
    let _lock = store.lock("settle").await?;
    let mut state: AppState = store.load()?;
    if state.settling.as_ref() != Some(id) {
        return Ok(());
    }
    for one in state.releases.iter_mut().filter(|one| one.id == *release) {
        one.state = ReleaseState::Confirmed;
    }
    state.settling = None;
    store.save(&state)?;
    let name = release.to_string();
    let fields = [
        ("DEPLOYD_APP", settings.app.as_str()),
        ("DEPLOYD_DEPLOYMENT", id.as_str()),
        ("DEPLOYD_RELEASE", name.as_str()),
    ];
    journal::event(events::RELEASE_CONFIRMED, Priority::Notice, &format!("{name} is confirmed"), &fields);
    prune(host, settings, store, &mut state, id).await
}
