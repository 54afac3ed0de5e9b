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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LiveSlot, MadeFrom, ReleaseRecord, Slot};

    fn state(releases: &[(u64, ReleaseState, Option<i64>)]) -> AppState {
        let record = |&(seq, state, live_at): &(u64, ReleaseState, Option<i64>)| ReleaseRecord {
            id: id(seq),
            seq,
            revision: String::new(),
            reference: String::new(),
            state,
            manifest: String::new(),
            files: 0,
            bytes: 0,
            made_from: MadeFrom::default(),
            deployment: DeploymentId::from_bits(seq),
            // The clock went backwards meanwhile: the order is the sequence number's.
            sealed_at: -i64::try_from(seq).unwrap(),
            live_at,
        };
        AppState { releases: releases.iter().map(record).collect(), ..AppState::default() }
    }

    fn id(seq: u64) -> ReleaseId {
        format!("20260101T00000{seq}Z-a").parse().unwrap()
    }

    #[test]
    fn the_live_the_previous_and_what_slots_run_are_kept() {
        use ReleaseState::{Confirmed, Failed, Sealed, Unconfirmed};
        let mut state = state(&[
            (1, Confirmed, Some(1)),
            (2, Confirmed, Some(9)),
            (3, Failed, Some(3)),
            (4, Confirmed, Some(4)),
            (5, Sealed, None),
            (6, Unconfirmed, Some(6)),
        ]);
        state.live.insert("php-fpm".into(), LiveSlot { slot: Slot::A, release: id(1) });
        // keep 2: releases 5 and 6; live: 1; the newest confirmed that was live: 2. Failed and superseded ones go.
        assert_eq!(surplus(&state, Some(&id(1)), 2), [id(3), id(4)]);
        state.fallback.insert("php-fpm".into(), LiveSlot { slot: Slot::B, release: id(4) });
        assert_eq!(surplus(&state, Some(&id(1)), 2), [id(3)]);
    }
}
