//! Brings to the disk what a deployment has written: the release before it counts, and the cache, in which the next one
//! builds. What is left of a build that was cut off is not built on.

use super::{
    deployment::{Deployment, WORK_LIMIT},
    error::EngineError,
    steps::CACHES,
};
use crate::{
    config::{Durability, Settings},
    model::{DeploymentId, Phase, Running},
    observe::Host,
    system::tree::Dir,
    worker::{order::Order, sandbox::Reach},
};

impl Deployment<'_> {
    /// What steps have written into the cache, where that is another file system.
    pub async fn sync_cache(&self) -> Result<(), EngineError> {
        let cache = Dir::open(&self.host.paths.cache_dir(&self.settings.app))?;
        if cache.same_file_system(&self.layout.releases)? {
            return Ok(());
        }
        synced(self.settings, cache).await
    }

    /// What was written to the file system of the releases, which tells of an error since the deployment began, and to
    /// the cache: a step before activate may write to both, and its own syncs wait for this.
    pub async fn sync_written(&self) -> Result<(), EngineError> {
        synced(self.settings, self.layout.releases.again()?).await?;
        self.sync_cache().await
    }
}

/// Whether what is written is synced at all.
pub fn syncs(settings: &Settings) -> bool {
    settings.safety.durability == Durability::Full
}

/// Everything is on the disk when this returns, unless the settings say that it need not be: syncfs, in a thread, since on
/// a busy disk it takes its time, and the engine tells that it lives meanwhile.
pub async fn synced(settings: &Settings, dir: Dir) -> Result<(), EngineError> {
    if !syncs(settings) {
        return Ok(());
    }
    let synced = tokio::task::spawn_blocking(move || dir.sync_file_system()).await;
    synced.map_err(|e| EngineError::Other(format!("the sync ended early: {e}")))??;
    Ok(())
}

/// After a build that was cut off, its package managers begin with empty caches: if the power went, what they had synced
/// there may be whole in part. With relaxed durability steps sync for themselves, and nothing goes. What cannot be removed
/// is told.
pub async fn drop_half_written(host: &Host, settings: &Settings, running: &Running) {
    if !running.fresh || running.phase > Phase::Sealing || !syncs(settings) {
        return;
    }
    let (host, idle) = (host.unbound(), Reach { idle: true, ..Reach::default() });
    if let Err(error) = drop_cached(&host, settings, (&running.id, "caches"), &CACHES, idle).await {
        let cache = host.paths.cache_dir(&settings.app);
        tracing::warn!("{} in {} are not emptied: {error}, ignoring", CACHES.join(" and "), cache.display());
    }
}

/// Removes what is below the app's cache, by a worker as its user: `paths` are relative to it. `name`: of the worker,
/// which may reach nothing else but what `reach` has.
pub async fn drop_cached(
    host: &Host,
    settings: &Settings,
    (id, name): (&DeploymentId, &'static str),
    paths: &[&str],
    reach: Reach,
) -> Result<(), EngineError> {
    let cache = host.paths.cache_dir(&settings.app);
    let reach = Reach { write: vec![cache.clone()], ..reach };
    let mut worker = host.worker(settings, id, name, &settings.user, reach).await?;
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    let answer = worker.ask(&Order::Drop { release: cache, paths }, WORK_LIMIT).await;
    worker.finish().await?;
    Ok(answer.map(drop)?)
}
