//! The bake time: the site is watched for a while after a deployment has returned.

use std::time::{Duration, Instant};

use super::{
    error::EngineError,
    health::{http_order, run_order},
    site::Site,
};
use crate::{
    model::printable,
    worker::{
        client::Worker,
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Commands cost more than a page: they are run at every so many looks, and at each while something fails.
const COMMANDS: u32 = 5;
/// Failures in a row that end the bake time: one may be a restart of something the site needs.
const FAILURES: u32 = 3;
/// For one check: more than the longest that may be configured.
const LOOK_LIMIT: Duration = Duration::from_secs(11 * 60);

/// Watches the site for the bake time. `Ok(Err(why))` is a verdict: it does not work. In maintenance mode there is none.
pub async fn bake(site: Site<'_>) -> Result<Result<(), String>, EngineError> {
    let bake = site.settings.bake;
    let Some(mut watcher) = Watcher::start(site).await? else {
        // Nothing to ask meanwhile: only the old slots' time to be pointed back to.
        tokio::time::sleep(bake).await;
        return Ok(Ok(()));
    };
    let since = Instant::now();
    let (mut looks, mut failures) = (0u32, 0);
    let mut verdict = Ok(());
    while since.elapsed() < bake && failures < FAILURES {
        match watcher.look(failures > 0 || looks.is_multiple_of(COMMANDS)).await? {
            Ok(()) => (failures, verdict) = (0, Ok(())),
            Err(why) => (failures, verdict) = (failures + 1, Err(why)),
        }
        looks = looks.wrapping_add(1);
        // The bake time passes by itself; the site is looked at now and then.
        tokio::time::sleep(EVERY.min(bake.saturating_sub(since.elapsed()))).await;
    }
    watcher.finish().await?;
    if failures < FAILURES || site.in_maintenance().await? {
        return Ok(Ok(()));
    }
    Ok(verdict.map_err(|why| format!("the site failed {FAILURES} checks in a row while it baked: {why}")))
}

/// One look, for a verdict that is to be trusted under the app's lock.
pub async fn look_once(site: Site<'_>) -> Result<Result<(), String>, EngineError> {
    let Some(mut watcher) = Watcher::start(site).await? else { return Ok(Ok(())) };
    let seen = watcher.look(true).await?;
    watcher.finish().await?;
    if seen.is_err() && site.in_maintenance().await? { Ok(Ok(())) } else { Ok(seen) }
}

/// Checks by name, and the worker that makes them.
type Checks = (Worker, Vec<(String, Order)>);

/// What asks the site: over HTTP as the app's user, by commands as the user of its services.
struct Watcher {
    pages: Option<Checks>,
    commands: Option<Checks>,
}

impl Watcher {
    /// None when there is nothing to ask.
    async fn start(site: Site<'_>) -> Result<Option<Self>, EngineError> {
        let settings = site.settings;
        let (mut pages, mut commands) = (Vec::new(), Vec::new());
        for health in settings.health.iter().filter(|_| !settings.bake.is_zero()) {
            pages.extend(http_order(health).map(|order| (health.name.clone(), order)));
            commands.extend(run_order(site, health)?.map(|order| (health.name.clone(), order)));
        }
        if pages.is_empty() && commands.is_empty() {
            return Ok(None);
        }
        let mut watcher = Self { pages: None, commands: None };
        if !pages.is_empty() {
            let reach = Reach { hidden: site.host.hidden_from(settings), network: true, ..Reach::default() };
            let worker = site.host.worker(settings, site.deployment, "bake", &settings.user, reach).await?;
            watcher.pages = Some((worker, pages));
        }
        if !commands.is_empty() {
            watcher.commands = Some((site.prober("bake-probe").await?, commands));
        }
        Ok(Some(watcher))
    }

    async fn look(&mut self, commands: bool) -> Result<Result<(), String>, EngineError> {
        let commands = self.commands.as_mut().filter(|_| commands);
        for (worker, checks) in self.pages.as_mut().into_iter().chain(commands) {
            for (name, order) in checks {
                if let Answer::Probed { healthy: false, detail } = worker.ask(order, LOOK_LIMIT).await? {
                    return Ok(Err(format!("{name}: {}", printable(&detail))));
                }
            }
        }
        Ok(Ok(()))
    }

    async fn finish(self) -> Result<(), EngineError> {
        for (worker, _) in self.pages.into_iter().chain(self.commands) {
            worker.finish().await?;
        }
        Ok(())
    }
}
