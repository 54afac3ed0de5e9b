//! Prune: releases beyond `keep` that nothing uses are removed.

use std::collections::BTreeSet;

use super::{
    error::EngineError,
    stage::{discard, empty_trash},
    store::Store,
};
use crate::{
    config::{ServiceKind, Settings, Strategy},
    model::{AppState, DeploymentId, ReleaseId, ReleaseState, events},
    observe::{Host, instances, read_current},
    runtime::{scheduler, slot},
    system::{
        journal::{self, Priority},
        process::{Seen, cwd},
        tree::Dir,
        uses::used_in,
    },
};

/// The releases to remove, oldest first: beyond `keep`, neither live nor run by a slot (recorded, or still `running`),
/// nor the newest confirmed one beside the live one. Pure.
pub fn surplus(
    state: &AppState,
    current: Option<&ReleaseId>,
    running: &BTreeSet<ReleaseId>,
    keep: usize,
) -> Vec<ReleaseId> {
    let previous = state
        .releases
        .iter()
        .filter(|release| release.state == ReleaseState::Confirmed && Some(&release.id) != current)
        .max_by_key(|release| (release.live_at, release.seq));
    let replaced =
        state.releases.iter().find(|release| Some(&release.id) == current).and_then(|live| live.replaced.as_ref());
    let slots = state.live.values().chain(state.fallback.values()).map(|slot| &slot.release);
    let kept: BTreeSet<&ReleaseId> = current
        .into_iter()
        .chain(previous.map(|release| &release.id))
        .chain(replaced)
        .chain(slots)
        .chain(running)
        .collect();
    let mut newest: Vec<_> = state.releases.iter().filter(|release| release.state != ReleaseState::Failed).collect();
    newest.sort_by_key(|release| std::cmp::Reverse(release.seq));
    let newest: BTreeSet<&ReleaseId> = newest.into_iter().take(keep).map(|release| &release.id).collect();
    let mut surplus: Vec<_> =
        state.releases.iter().filter(|one| !kept.contains(&one.id) && !newest.contains(&one.id)).collect();
    surplus.sort_by_key(|release| release.seq);
    surplus.into_iter().map(|release| release.id.clone()).collect()
}

/// Takes what is surplus and unused out of the record and out of the way. Under the app's lock; its content is removed
/// by [`sweep`], without.
pub async fn prune(host: &Host, settings: &Settings, store: &Store, state: &mut AppState) -> Result<(), EngineError> {
    let root = Dir::open(&settings.root)?;
    let releases = root.dir("releases")?;
    let current = read_current(&root)?;
    let mut running = run_by_slots(host, settings).await?;
    running.extend(run_by_instances(host, settings).await?);
    let surplus = surplus(state, current.as_ref(), &running, settings.keep);
    if surplus.is_empty() {
        return Ok(());
    }
    let used = match used_in(&settings.root.join("releases")) {
        Seen::Known(used) => used,
        Seen::Unknown(why) => {
            tracing::warn!("nothing is pruned, since it cannot be seen who uses what: {why}");
            return Ok(());
        }
    };
    for id in surplus {
        let name = id.to_string();
        if used.contains(&name) {
            tracing::info!("{name} is kept beyond keep = {}: a process uses it", settings.keep);
            continue;
        }
        // What nobody may rename, as one that was made immutable, keeps no other from going.
        if let Err(error) = discard(&releases, &name) {
            tracing::warn!("{name} is kept beyond keep = {}: {error}", settings.keep);
            continue;
        }
        state.releases.retain(|release| release.id != id);
        store.save(state)?;
        let fields = [("DEPLOYD_APP", settings.app.as_str()), ("DEPLOYD_RELEASE", name.as_str())];
        let message = format!("{name} is pruned (keep = {})", settings.keep);
        journal::event(events::RELEASE_PRUNED, Priority::Info, &message, &fields);
    }
    Ok(())
}

/// Removes what was pruned, and what an interrupted removal left: slowly, and without the app's lock, since the next
/// deployment need not wait for it.
pub async fn sweep(host: &Host, settings: &Settings, deployment: &DeploymentId) -> Result<(), EngineError> {
    let releases = Dir::open(&settings.root)?.dir("releases")?;
    empty_trash(host, settings, deployment, &releases).await;
    Ok(())
}

/// The releases that slots run, recorded or not: one that drains still serves what it has.
async fn run_by_slots(host: &Host, settings: &Settings) -> Result<BTreeSet<ReleaseId>, EngineError> {
    let mut running = run_by_schedule(host, settings).await;
    let slotted: Vec<_> = settings.services.iter().filter_map(|service| service.slots()).collect();
    if slotted.is_empty() {
        return Ok(running);
    }
    let links = Dir::open_or_make(&host.paths.slots_dir(), 0o755)?;
    for (kind, slot) in slotted.into_iter().flat_map(|kind| kind.slots().into_iter().map(move |slot| (kind, slot))) {
        let name = slot::unit(kind, &settings.app, slot)?;
        let status = host.units.status(name.unit()).await?;
        if matches!(status.active.as_str(), "inactive" | "failed") {
            continue;
        }
        // A site's own unit may have run before there was a link.
        let Ok(target) = links.read_link(&name.to_string()) else { continue };
        running.extend(target.rsplit('/').next().and_then(|id| id.parse::<ReleaseId>().ok()));
    }
    Ok(running)
}

/// The releases that instances of a site's own template run: an update that paused leaves two.
async fn run_by_instances(host: &Host, settings: &Settings) -> Result<BTreeSet<ReleaseId>, EngineError> {
    let mut running = BTreeSet::new();
    for service in &settings.services {
        if let ServiceKind::Unit { unit, strategy: Strategy::Rolling(rolling) } = &service.kind {
            let found = instances(host, &settings.root, unit, rolling).await?;
            running.extend(found.into_iter().filter_map(|(_, one)| one.release));
        }
    }
    Ok(running)
}

/// The releases that runs of the scheduler work in: they end there, however long that takes.
async fn run_by_schedule(host: &Host, settings: &Settings) -> BTreeSet<ReleaseId> {
    let scheduled = settings.services.iter().any(|service| matches!(service.kind, ServiceKind::Scheduler(_)));
    let unit = scheduler::service(&settings.app).parse();
    let (true, Ok(unit)) = (scheduled, unit) else { return BTreeSet::new() };
    // Without a control group nothing runs.
    let pids = host.units.processes(&unit).await.unwrap_or_default();
    let releases = settings.root.join("releases");
    let release = |pid: u32| match cwd(pid) {
        Seen::Known(dir) => dir.strip_prefix(&releases).ok()?.iter().next()?.to_str()?.parse().ok(),
        Seen::Unknown(_) => None,
    };
    pids.into_iter().filter_map(release).collect()
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
            markers: Vec::new(),
            deployment: DeploymentId::from_bits(seq),
            // The clock went backwards meanwhile: the order is the sequence number's.
            sealed_at: -i64::try_from(seq).unwrap(),
            live_at,
            replaced: None,
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
        assert_eq!(surplus(&state, Some(&id(1)), &BTreeSet::new(), 2), [id(3), id(4)]);
        assert_eq!(surplus(&state, Some(&id(1)), &BTreeSet::from([id(3)]), 2), [id(4)], "a slot still drains it");
        state.fallback.insert("php-fpm".into(), LiveSlot { slot: Slot::B, release: id(4) });
        assert_eq!(surplus(&state, Some(&id(1)), &BTreeSet::new(), 2), [id(3)]);
    }
}
