//! A pruning that somebody asked for: what goes and what stays, each with its reason.

use std::time::Duration;

use super::{
    error::EngineError,
    outcome::sentence,
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

/// Prunes an app's releases, or tells what would go.
pub async fn prune_now(host: &Host, request: &PruneRequest) -> Reply<Vec<Pruned>> {
    match pruned(host, request).await {
        Ok(pruned) => Reply::Done(pruned),
        Err(error) => Reply::Refused(sentence(&error.to_string(), error.remedy().as_deref())),
    }
}

async fn pruned(host: &Host, request: &PruneRequest) -> Result<Vec<Pruned>, EngineError> {
    let settings = host.settings(&request.prune).map_err(|error| EngineError::Other(error.summary))?;
    let how =
        How { keep: request.keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)), dry_run: request.dry_run };
    let store = Store::open(&host.paths, &request.prune)?;
    let lock = lock(&store, request).await?;
    let mut state = store.load()?;
    if state.running.is_some() {
        let app = &request.prune;
        let why = format!("a deployment of {app} was interrupted: `systemctl start deploy-settle@{app}` settles it");
        return Err(EngineError::Other(why));
    }
    if state.releases.is_empty() {
        return Ok(Vec::new());
    }
    let told = prune(host, &settings, &store, &mut state, how).await?;
    drop(lock);
    if told.iter().any(|one| one.pruned) && !request.dry_run {
        sweep(host, &settings, &request.id).await?;
    }
    Ok(told)
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
