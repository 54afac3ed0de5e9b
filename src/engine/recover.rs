//! Recovery: a deployment that was interrupted is taken back by its record, and after a boot the live slots run again.
//! What `current` names counts more than what was noted. Each part may be interrupted and begun again.

use tracing::Instrument;

use super::{
    activate::restore,
    durable::drop_half_written,
    error::EngineError,
    existing::{Mover, still_going},
    fleet, jobs,
    layout::{self, Layout},
    progress::Progress,
    slots::{recorded, slot_of},
    span,
    stage::{discard, empty_trash},
    store::Store,
    turn::{aim, point, unpoint},
    upstream,
};
use crate::{
    config::{self, ServiceKind, Settings},
    model::{AppName, AppState, Phase, Running, events},
    observe::{Host, read_current},
    runtime::{scheduler, slot},
    system::{
        journal::{self, Priority},
        tree::Dir,
        units::Verb,
    },
};

/// The app's state, with an interrupted deployment taken back first. Under the app's lock.
pub async fn before_deployment(host: &Host, settings: &Settings, store: &Store) -> Result<AppState, EngineError> {
    let mut state = store.load()?;
    if let Some(running) = state.running.clone() {
        let span = span::of_release(&settings.app, &running.id, &running.to);
        take_back(host, settings, &mut state, &running).instrument(span).await?;
        state.running = None;
        state.stuck = None;
        store.save(&state)?;
        fleet::give_back(host, &settings.app, Some(&running.to)).await;
    }
    Ok(state)
}

/// Takes an interrupted deployment back: services and `current` to what they had, then what it started and made.
async fn take_back(
    host: &Host,
    settings: &Settings,
    state: &mut AppState,
    running: &Running,
) -> Result<(), EngineError> {
    let layout = layout::prepare(&host.paths, settings)?;
    let names_it = read_current(&layout.root)?.as_ref() == Some(&running.to);
    let swapped = names_it && running.from.as_ref() != Some(&running.to);
    // It may have been interrupted while it went back: then `current` is right already, and services may not be.
    let was_live = running.phase >= Phase::Activating;
    hold_started(host, settings, state, running).await?;
    // Backwards, as a deployment goes back that fails by itself.
    let live: Vec<_> = recorded(host, settings, &state.live).filter(|(slot, _)| !slot.kind.takes_jobs()).collect();
    for (slot, kept) in live.into_iter().rev() {
        let dead = slot.revive(&kept.release).await?;
        // One that was started anew may be on another port.
        if was_live || dead {
            point(&slot).await?;
        } else {
            aim(&slot)?;
        }
    }
    for service in settings.services.iter().filter(|service| was_live && !state.live.contains_key(&service.name)) {
        unpoint(host, settings, &service.name).await?;
    }
    if swapped {
        restore(&layout, running.from.as_ref(), &running.id)?;
    }
    if was_live && running.from.is_some() {
        move_units(host, settings, running).await?;
    }
    if was_live && running.from.is_none() {
        stop_timer(host, settings).await?;
    }
    // The old workers once `current` is theirs again, and the new ones take no more jobs.
    for (slot, kept) in recorded(host, settings, &state.live).filter(|(slot, _)| slot.kind.takes_jobs()) {
        if !slot.active().await? {
            slot.prepare(&kept.release, false)?;
        }
        jobs::give_back(&slot).await?;
    }
    stop_started(host, settings, state, running, was_live).await?;
    drop_made(state, running, &layout)?;
    empty_trash(host, settings, &running.id, &layout.releases).await;
    drop_half_written(host, settings, running).await;
    layout::have_next(&layout, &running.id);
    let what = if was_live { "after activate: it was taken back" } else { "before activate: nothing live had changed" };
    let message = format!("{} {} had been interrupted {what}", running.kind, running.id);
    let fields = [("DEPLOYD_APP", settings.app.as_str()), ("DEPLOYD_DEPLOYMENT", running.id.as_str())];
    journal::event(events::RECOVERED, Priority::Warning, &message, &fields);
    Ok(())
}

/// Without a live release nothing is scheduled.
async fn stop_timer(host: &Host, settings: &Settings) -> Result<(), EngineError> {
    if settings.services.iter().any(|service| matches!(service.kind, ServiceKind::Scheduler(_))) {
        host.units.stop(&scheduler::timer(&settings.app).parse()?).await?;
    }
    Ok(())
}

/// Units that may run the release that is taken back are moved to what `current` names again.
async fn move_units(host: &Host, settings: &Settings, running: &Running) -> Result<(), EngineError> {
    let progress = Progress::open(&host.paths, &settings.app, &running.id, running.kind, running.actor.clone());
    let mover = Mover { host, settings, progress: &progress, id: &running.id };
    for service in settings.services.iter().rev() {
        if let ServiceKind::Unit { unit, strategy } = &service.kind {
            still_going(mover.move_unit(unit, strategy, service.drain).await)?;
        }
    }
    Ok(())
}

/// The workers that were to take over take no further job.
async fn hold_started(
    host: &Host,
    settings: &Settings,
    state: &AppState,
    running: &Running,
) -> Result<(), EngineError> {
    for (service, slot) in &running.slots {
        let live = state.live.get(service).is_some_and(|live| live.slot == *slot);
        if let Some(one) = slot_of(host, settings, service, *slot).filter(|one| !live && one.kind.takes_jobs()) {
            jobs::hold(&one).await?;
        }
    }
    Ok(())
}

/// Stops the slots that were started for it: those that run its release, and are not what is live or kept.
async fn stop_started(
    host: &Host,
    settings: &Settings,
    state: &AppState,
    running: &Running,
    was_live: bool,
) -> Result<(), EngineError> {
    let links = Dir::open_or_make(&host.paths.slots_dir(), 0o755)?;
    for (service, slot) in &running.slots {
        let of_service = [state.live.get(service), state.fallback.get(service)];
        let kept = of_service.into_iter().flatten().any(|kept| kept.slot == *slot);
        let Some(one) = slot_of(host, settings, service, *slot).filter(|_| !kept) else { continue };
        let link = links.read_link(&one.name.to_string()).unwrap_or_default();
        if link.ends_with(&format!("/{}", running.to)) {
            if was_live { one.drain().await? } else { one.stop().await? }
        }
    }
    Ok(())
}

/// What it made: a release that was live stays for people to look at, as failed; another one goes.
fn drop_made(state: &mut AppState, running: &Running, layout: &Layout) -> Result<(), EngineError> {
    if !running.fresh {
        return Ok(());
    }
    match state.releases.iter().find(|release| release.id == running.to) {
        Some(_) if running.phase >= Phase::Activating => {
            state.fail(&running.to);
            Ok(())
        }
        _ => {
            state.releases.retain(|release| release.id != running.to);
            discard(&layout.releases, running.to.as_str())
        }
    }
}

/// At boot: links and configuration of the live slots are made again, and the slots are enqueued; what was interrupted
/// or is to be confirmed is settled later, by its own unit. One app's trouble does not hold back the others.
pub async fn boot(host: &Host) -> Result<(), EngineError> {
    let apps = config::list(&host.paths)
        .map_err(|e| EngineError::Other(format!("the apps' configuration cannot be listed: {e}")))?;
    for app in apps {
        let brought_up = async {
            if let Err(error) = boot_app(host, &app).await {
                tracing::error!("{app} is not brought up: {error}");
            }
        };
        brought_up.instrument(span::of_app(&app)).await;
    }
    Ok(())
}

async fn boot_app(host: &Host, app: &AppName) -> Result<(), EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let store = Store::open(&host.paths, app)?;
    let Ok(_lock) = store.try_lock("boot")? else { return Ok(()) };
    let mut state = store.load()?;
    if let Some(running) = &state.running {
        let layout = layout::prepare(&host.paths, &settings)?;
        if read_current(&layout.root)?.as_ref() == Some(&running.to) {
            restore(&layout, running.from.as_ref(), &running.id)?;
        }
    }
    // After a boot only the live slots run.
    state.fallback.clear();
    store.save(&state)?;
    for (slot, kept) in recorded(host, &settings, &state.live) {
        if slot.active().await? {
            continue;
        }
        slot.prepare(&kept.release, false)?;
        aim(&slot)?;
        host.units.enqueue(Verb::Start, slot.unit()).await?;
    }
    let scheduled = settings.services.iter().any(|service| matches!(service.kind, ServiceKind::Scheduler(_)));
    if scheduled && read_current(&Dir::open(&settings.root)?)?.is_some() {
        host.units.enqueue(Verb::Start, &scheduler::timer(app).parse()?).await?;
    }
    // Where nothing is live yet, nginx finds its include all the same.
    for service in settings.services.iter().filter_map(|service| slot::upstream(service.slots()?)) {
        upstream::ensure(host, &settings, service)?;
    }
    if state.running.is_some() || state.settling.is_some() {
        super::run::settle_later(host, &settings).await?;
    }
    Ok(())
}
