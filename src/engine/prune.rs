//! Prune: releases beyond `keep` that nothing uses are removed.

use std::collections::BTreeSet;

use super::{error::EngineError, stage::remove_tree, store::Store};
use crate::{
    config::Settings,
    model::{AppState, DeploymentId, ReleaseId, ReleaseState, events},
    observe::{Host, read_current},
    system::{
        journal::{self, Priority},
        tree::{Dir, EntryKind},
    },
};

/// What a release is called between leaving the record and being gone.
const TRASH: &str = ".trash-";

/// The releases to remove, oldest first: beyond `keep`, neither live nor run by a slot, nor the newest confirmed one
/// beside the live one, nor staged after everything that was live. Pure.
pub fn surplus(state: &AppState, current: Option<&ReleaseId>, keep: usize) -> Vec<ReleaseId> {
    let previous = state
        .releases
        .iter()
        .filter(|release| release.state == ReleaseState::Confirmed && Some(&release.id) != current)
        .max_by_key(|release| (release.live_at, release.seq));
    let slots = state.live.values().chain(state.fallback.values()).map(|slot| &slot.release);
    let kept: BTreeSet<&ReleaseId> =
        current.into_iter().chain(previous.map(|release| &release.id)).chain(slots).collect();
    let mut newest: Vec<_> = state.releases.iter().filter(|release| release.state != ReleaseState::Failed).collect();
    newest.sort_by_key(|release| std::cmp::Reverse(release.seq));
    let newest: BTreeSet<&ReleaseId> = newest.into_iter().take(keep).map(|release| &release.id).collect();
    let mut surplus: Vec<_> =
        state.releases.iter().filter(|one| !kept.contains(&one.id) && !newest.contains(&one.id)).collect();
    surplus.sort_by_key(|release| release.seq);
    surplus.into_iter().map(|release| release.id.clone()).collect()
}

/// Removes what is surplus, and what an interrupted removal left. Under the app's lock. What cannot be removed is told
/// and left for the next time.
pub async fn prune(
    host: &Host,
    settings: &Settings,
    store: &Store,
    state: &mut AppState,
    deployment: &DeploymentId,
) -> Result<(), EngineError> {
    let root = Dir::open(&settings.root)?;
    let releases = root.dir("releases")?;
    let current = read_current(&root)?;
    for id in surplus(state, current.as_ref(), settings.keep) {
        let name = id.to_string();
        if releases.kind(&name)? == EntryKind::Directory {
            releases.rename(&name, &format!("{TRASH}{name}"))?;
        }
        state.releases.retain(|release| release.id != id);
        store.save(state)?;
        let fields = [("DEPLOYD_APP", settings.app.as_str()), ("DEPLOYD_RELEASE", name.as_str())];
        journal::event(
            events::RELEASE_PRUNED,
            Priority::Info,
            &format!("{name} is pruned (keep = {})", settings.keep),
            &fields,
        );
    }
    for name in releases.names()? {
        if name.strip_prefix(TRASH).is_some_and(|id| id.parse::<ReleaseId>().is_ok())
            && let Err(error) = remove_tree(host, settings, deployment, &releases, &name).await
        {
            tracing::warn!("{}/{name} could not be removed: {error}; the next deployment tries again", releases.path);
        }
    }
    Ok(())
}
