//! A pruning that somebody asked for: what goes and what stays, each with its reason.

use std::time::Duration;

use super::{
    error::{EngineError, reply},
    prune::{How, prune, sweep},
    store::Store,
};
use crate::{
    model::{PruneRequest, Pruned, Reply},
    observe::Host,
    system::tree::Lock,
};

/// The longest that a deployment which has the app is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Prunes an app's releases, or tells what would go. What went is out of the way, and its content still to be removed by
/// [`swept`], which may take long: whoever asked need not wait for it.
pub async fn prune_now(host: &Host, request: &PruneRequest) -> Reply<Vec<Pruned>> {
    reply(pruned(host, request).await)
}

/// Removes the content of what went.
pub async fn swept(host: &Host, request: &PruneRequest, told: &Reply<Vec<Pruned>>) -> Result<(), EngineError> {
    let went = matches!(told, Reply::Done(all) if all.iter().any(|one| one.pruned));
    match (went && !request.dry_run).then(|| host.settings(&request.prune)) {
        Some(Ok(settings)) => sweep(host, &settings, &request.id).await,
        Some(Err(error)) => Err(EngineError::BadConfig(error.summary)),
        None => Ok(()),
    }
}

async fn pruned(host: &Host, request: &PruneRequest) -> Result<Vec<Pruned>, EngineError> {
    let settings = host.settings(&request.prune).map_err(|error| EngineError::BadConfig(error.summary))?;
    let how =
        How { keep: request.keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)), dry_run: request.dry_run };
    let store = Store::open(&host.paths, &request.prune)?;
    let _lock = lock(&store, request).await?;
    let mut state = store.load()?;
    if state.running.is_some() {
        let app = &request.prune;
        let why = format!("a deployment of {app} was interrupted: `systemctl start deploy-settle@{app}` settles it");
        return Err(EngineError::Other(why));
    }
    if state.releases.is_empty() {
        return Ok(Vec::new());
    }
    prune(host, &settings, &store, &mut state, how).await
}

/// The app's lock; who has it for longer is told.
async fn lock(store: &Store, request: &PruneRequest) -> Result<Lock, EngineError> {
    let holder = format!("prune of {}", request.actor);
    let other = match store.try_lock(&holder)? {
        Ok(lock) => return Ok(lock),
        Err(other) => other,
    };
    match tokio::time::timeout(PATIENCE, store.lock(&holder)).await {
        Ok(lock) => lock,
        Err(_) => Err(EngineError::Other(format!(
            "{} has {}: nothing was pruned; try it again when that has ended",
            other, request.prune
        ))),
    }
}
