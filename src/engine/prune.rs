//! Prune: releases beyond `keep` that nothing uses and nobody holds are removed.

use std::collections::BTreeSet;

use super::{
    error::EngineError,
    hold::still,
    stage::{discard, empty_trash},
    store::Store,
};
use crate::{
    config::{ServiceKind, Settings, Strategy},
    model::{AppState, DeploymentId, Holds, Paths, Pruned, ReleaseId, ReleaseState, events},
    observe::{Host, holds, instances, read_current},
    runtime::{scheduler, slot},
    system::{
        journal::{self, Priority},
        process::{Seen, cwd},
        tree::{Dir, EntryKind},
        uses::used_in,
    },
};

/// Why each release stays, or none: it is surplus. Oldest first. What is live, where a rollback goes, what is staged to be
/// activated, what a slot runs (recorded, or still `running`), what is held, and the newest `keep`. Pure.
pub fn judge(
    state: &AppState,
    current: Option<&ReleaseId>,
    running: &BTreeSet<ReleaseId>,
    held: &Holds,
    keep: usize,
) -> Vec<(ReleaseId, Option<String>)> {
    let live = state.releases.iter().find(|release| Some(&release.id) == current);
    let previous = state
        .releases
        .iter()
        .filter(|release| release.state == ReleaseState::Confirmed && Some(&release.id) != current)
        .max_by_key(|release| (release.live_at, release.seq));
    let before: Vec<_> =
        previous.map(|one| &one.id).into_iter().chain(live.and_then(|live| live.replaced.as_ref())).collect();
    let staged = state.releases.iter().filter(|release| release.state == ReleaseState::Sealed);
    // One that is older than what is live was overtaken.
    let staged = staged.max_by_key(|release| release.seq).filter(|one| live.is_none_or(|live| one.seq > live.seq));
    let slots: BTreeSet<_> =
        state.live.values().chain(state.fallback.values()).map(|slot| &slot.release).chain(running).collect();
    let mut newest: Vec<_> = state.releases.iter().filter(|release| release.state != ReleaseState::Failed).collect();
    newest.sort_by_key(|release| std::cmp::Reverse(release.seq));
    let newest: BTreeSet<&ReleaseId> = newest.into_iter().take(keep).map(|release| &release.id).collect();
    let why = |id: &ReleaseId| {
        if Some(id) == current {
            Some("live".to_owned())
        } else if before.contains(&id) {
            Some("a rollback goes there".to_owned())
        } else if staged.is_some_and(|staged| staged.id == *id) {
            Some("staged".to_owned())
        } else if let Some(hold) = held.releases.get(id) {
            Some(hold.to_string())
        } else if slots.contains(id) {
            Some("a service runs it".to_owned())
        } else if newest.contains(id) {
            Some(format!("within keep = {keep}"))
        } else {
            None
        }
    };
    let mut releases: Vec<_> = state.releases.iter().collect();
    releases.sort_by_key(|release| release.seq);
    releases.into_iter().map(|release| (release.id.clone(), why(&release.id))).collect()
}

/// How a pruning is done otherwise than by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// So many releases are kept; none: the configured number.
    pub keep: Option<usize>,
    /// Nothing is removed.
    pub dry_run: bool,
}

/// Takes what is surplus and unused out of the record and out of the way. Under the app's lock; its content is removed
/// by [`sweep`], without. Tells of each release what became of it, oldest first.
pub async fn prune(
    host: &Host,
    settings: &Settings,
    store: &Store,
    state: &mut AppState,
    how: How,
) -> Result<Vec<Pruned>, EngineError> {
    let root = Dir::open(&settings.root)?;
    let releases = root.dir("releases")?;
    let current = read_current(&root)?;
    let keep = how.keep.unwrap_or(settings.keep);
    let held = holds(&host.paths, &settings.app);
    let mut running = run_by_slots(host, settings).await?;
    running.extend(run_by_instances(host, settings).await?);
    let none = Holds::default();
    let judged = judge(state, current.as_ref(), &running, held.as_ref().unwrap_or(&none), keep);
    let bytes = |state: &AppState, id: &ReleaseId| {
        state.releases.iter().find(|release| release.id == *id).map_or(0, |release| release.bytes)
    };
    let used = match (held, judged.iter().any(|(_, why)| why.is_none())) {
        (Err(error), _) => Seen::Unknown(format!("it cannot be seen what is held: {error}")),
        (Ok(_), true) => match used_in(&settings.root.join("releases")) {
            Seen::Unknown(why) => Seen::Unknown(format!("it cannot be seen who uses what: {why}")),
            known => known,
        },
        (Ok(_), false) => Seen::Known(BTreeSet::new()),
    };
    if let Seen::Unknown(why) = &used {
        tracing::warn!("nothing is pruned: {why}");
    }
    let mut told = Vec::new();
    for (id, why) in judged {
        let (name, bytes) = (id.to_string(), bytes(state, &id));
        let kept = match (why, &used) {
            (Some(why), _) => Some(why),
            (None, Seen::Unknown(why)) => Some(why.clone()),
            (None, Seen::Known(used)) if used.contains(&name) => {
                tracing::info!("{name} is kept beyond keep = {keep}: a process uses it");
                Some("a process uses it".to_owned())
            }
            (None, Seen::Known(_)) if how.dry_run => None,
            (None, Seen::Known(_)) => {
                remove(&host.paths, settings, &releases, (store, &mut *state), (&id, keep)).await?
            }
        };
        let pruned = kept.is_none();
        if pruned && !how.dry_run {
            let fields = [("DEPLOYD_APP", settings.app.as_str()), ("DEPLOYD_RELEASE", name.as_str())];
            let message = format!("{name} is pruned (keep = {keep})");
            journal::event(events::RELEASE_PRUNED, Priority::Info, &message, &fields);
        }
        told.push(Pruned { release: id, pruned, why: kept.unwrap_or_else(|| format!("beyond keep = {keep}")), bytes });
    }
    Ok(told)
}

/// Takes a release out of the way and out of the record, unless somebody has come to hold it meanwhile: then, and where
/// it cannot be taken, why it stays.
async fn remove(
    paths: &Paths,
    settings: &Settings,
    releases: &Dir,
    (store, state): (&Store, &mut AppState),
    (id, keep): (&ReleaseId, usize),
) -> Result<Option<String>, EngineError> {
    let _still = still(paths, &settings.app).await?;
    match holds(paths, &settings.app) {
        Ok(held) if !held.releases.contains_key(id) => {}
        Ok(held) => return Ok(held.releases.get(id).map(ToString::to_string)),
        Err(error) => return Ok(Some(format!("it cannot be seen what is held: {error}"))),
    }
    // What nobody may rename, as one that was made immutable, keeps no other from going.
    if let Err(error) = discard(releases, id.as_str()) {
        tracing::warn!("{id} is kept beyond keep = {keep}: {error}");
        return Ok(Some(error.to_string()));
    }
    forget_names(releases, id.as_str());
    state.releases.retain(|release| release.id != *id);
    store.save(state)?;
    Ok(None)
}

/// Removes the links by which an adopted release kept the name that another tool had given it.
fn forget_names(releases: &Dir, id: &str) {
    for name in releases.names().unwrap_or_default() {
        let leads_there = releases.kind(&name).is_ok_and(|kind| kind == EntryKind::Link)
            && releases.read_link(&name).is_ok_and(|target| target == id);
        if leads_there && let Err(error) = releases.unlink(&name) {
            tracing::debug!("the old name {name} of {id} stays: {error}, ignoring");
        }
    }
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
        if status.has_ended() {
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
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Hold, LiveSlot, MadeFrom, ReleaseRecord, Slot};

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
        let none = Holds::default();
        let surplus =
            |state: &AppState, live: u64, running: &BTreeSet<ReleaseId>, held: &Holds, keep| -> Vec<ReleaseId> {
                let judged = judge(state, Some(&id(live)), running, held, keep);
                judged.into_iter().filter(|(_, why)| why.is_none()).map(|(id, _)| id).collect()
            };
        let nobody = BTreeSet::new();
        // keep 2: releases 5 and 6; live: 1; the newest confirmed that was live: 2. Failed and superseded ones go.
        assert_eq!(surplus(&state, 1, &nobody, &none, 2), [id(3), id(4)]);
        assert_eq!(surplus(&state, 1, &BTreeSet::from([id(3)]), &none, 2), [id(4)], "a slot still drains it");
        let hold = Hold { actor: "systemd".into(), since: 1, reason: String::new() };
        let held = Holds { app: None, releases: BTreeMap::from([(id(3), hold)]) };
        assert_eq!(surplus(&state, 1, &nobody, &held, 2), [id(4)], "somebody holds it");
        // Whatever is asked for: what is live, where a rollback goes, and what was staged since.
        assert_eq!(surplus(&state, 1, &nobody, &none, 0), [id(3), id(4), id(6)]);
        assert_eq!(surplus(&state, 6, &nobody, &none, 0), [id(3), id(4), id(5)], "5 was overtaken");
        state.fallback.insert("php-fpm".into(), LiveSlot { slot: Slot::B, release: id(4) });
        assert_eq!(surplus(&state, 1, &nobody, &none, 2), [id(3)]);
    }

    #[tokio::test]
    async fn a_hold_that_comes_while_it_is_pruned_keeps_the_release() {
        let tree = tempfile::tempdir().unwrap();
        let paths = Paths::below(tree.path());
        let settings = crate::config::tests::Host::with("root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\n");
        let settings = settings.load().unwrap();
        std::fs::create_dir_all(paths.state_dir(&settings.app).parent().unwrap()).unwrap();
        let mut state = state(&[(1, ReleaseState::Confirmed, None), (2, ReleaseState::Confirmed, None)]);
        let store = Store::open(&paths, &settings.app).unwrap();
        for one in [1, 2] {
            std::fs::create_dir_all(tree.path().join("releases").join(id(one).as_str())).unwrap();
        }
        let releases = Dir::open(&tree.path().canonicalize().unwrap().join("releases")).unwrap();
        let hold = Hold { actor: "systemd".into(), since: 1, reason: String::new() };
        let held = Holds { app: None, releases: BTreeMap::from([(id(1), hold)]) };
        std::fs::write(paths.holds_file(&settings.app), held.encode().unwrap()).unwrap();
        // Judged before that: both were to go.
        let why = remove(&paths, &settings, &releases, (&store, &mut state), (&id(1), 1)).await.unwrap();
        assert_eq!(why.as_deref(), Some("held by systemd"));
        assert_eq!(remove(&paths, &settings, &releases, (&store, &mut state), (&id(2), 1)).await.unwrap(), None);
        assert_eq!(state.releases.iter().map(|one| one.seq).collect::<Vec<_>>(), [1]);
        assert_eq!(releases.kind(id(1).as_str()).unwrap(), EntryKind::Directory);
        assert_eq!(releases.kind(id(2).as_str()).unwrap(), EntryKind::Missing);
        std::fs::write(paths.holds_file(&settings.app), "{").unwrap();
        let why = remove(&paths, &settings, &releases, (&store, &mut state), (&id(1), 1)).await.unwrap();
        assert!(why.unwrap().contains("cannot be seen what is held"));
    }
}
