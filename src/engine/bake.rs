//! The bake time: the site is watched for a while after a deployment has returned.

use std::time::{Duration, Instant};

use super::{error::EngineError, health::http_order};
use crate::{
    config::Settings,
    model::DeploymentId,
    observe::Host,
    worker::{
        client::Worker,
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Failures in a row that end the bake time: one may be a restart of something the site needs.
const FAILURES: u32 = 3;
/// For one look.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

/// Watches the site for the bake time. `Ok(Err(why))` is a verdict: it does not work.
pub async fn bake(host: &Host, settings: &Settings, id: &DeploymentId) -> Result<Result<(), String>, EngineError> {
    let Some((mut worker, orders)) = watcher(host, settings, id).await? else {
        // Nothing to ask meanwhile: only the old slots' time to be pointed back to.
        tokio::time::sleep(settings.bake).await;
        return Ok(Ok(()));
    };
    let since = Instant::now();
    let mut failures = 0;
    let mut verdict = Ok(());
    while since.elapsed() < settings.bake && failures < FAILURES {
        match ask_all(&mut worker, &orders).await? {
            Ok(()) => (failures, verdict) = (0, Ok(())),
            Err(why) => (failures, verdict) = (failures + 1, Err(why)),
        }
        // The bake time passes by itself; the site is looked at now and then.
        tokio::time::sleep(EVERY.min(settings.bake.saturating_sub(since.elapsed()))).await;
    }
    worker.finish().await?;
    if failures < FAILURES {
        return Ok(Ok(()));
    }
    Ok(verdict.map_err(|why| format!("the site failed {FAILURES} checks in a row while it baked: {why}")))
}

/// One look, for a verdict that is to be trusted under the app's lock.
pub async fn look_once(host: &Host, settings: &Settings, id: &DeploymentId) -> Result<Result<(), String>, EngineError> {
    let Some((mut worker, orders)) = watcher(host, settings, id).await? else { return Ok(Ok(())) };
    let seen = ask_all(&mut worker, &orders).await?;
    worker.finish().await?;
    Ok(seen)
}

/// A worker that can ask the site, and what it asks; none when there is nothing to ask.
async fn watcher(
    host: &Host,
    settings: &Settings,
    id: &DeploymentId,
) -> Result<Option<(Worker, Vec<Order>)>, EngineError> {
    let orders: Vec<Order> = settings.health.iter().filter_map(http_order).collect();
    if orders.is_empty() || settings.bake.is_zero() {
        return Ok(None);
    }
    let reach = Reach { write: Vec::new(), hidden: host.hidden_from(settings), network: true };
    let worker = host.worker(settings, id, "bake", &settings.user, reach).await?;
    Ok(Some((worker, orders)))
}

async fn ask_all(worker: &mut Worker, orders: &[Order]) -> Result<Result<(), String>, EngineError> {
    for order in orders {
        if let Answer::Probed { healthy: false, detail } = worker.ask(order, LOOK_LIMIT).await? {
            return Ok(Err(crate::model::printable(&detail)));
        }
    }
    Ok(Ok(()))
}
