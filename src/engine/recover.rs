//! Recovery: a deployment that was interrupted is taken back by its record, and after a boot the live slots run again.
//! What `current` names counts more than what was noted. Each part may be interrupted and begun again.

use super::{
    activate::restore,
    error::EngineError,
    layout::{self, Layout},
    slots::{fpm_slot, recorded},
    stage::remove_tree,
    store::Store,
};
use crate::{
    config::{self, Settings},
    model::{AppName, AppState, ReleaseState, Running, events},
    observe::{Host, fpm_unit, read_current},
    system::{
        journal::{self, Priority},
        units::Verb,
    },
};

/// The app's state, with an interrupted deployment settled first. Under the app's lock.
pub async fn before_deployment(host: &Host, settings: &Settings, store: &Store) -> Result<AppState, EngineError> {
    let mut state = store.load()?;
    if let Some(running) = state.running.clone() {
        take_back(host, settings, &mut state, &running).await?;
        state.running = None;
        store.save(&state)?;
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
    let layout = layout::prepare(settings)?;
    let swapped =
        read_current(&layout.root)?.as_ref() == Some(&running.to) && running.from.as_ref() != Some(&running.to);
    for (slot, kept) in recorded(host, settings, &state.live) {
        if !slot.active().await? {
            slot.prepare(&kept.release, false)?;
            slot.start().await?;
        }
        slot.point()?;
    }
    if swapped {
        restore(&layout, running.from.as_ref(), &running.id)?;
    }
    for (service, slot) in &running.slots {
        let kept = state.live.values().chain(state.fallback.values()).any(|kept| kept.slot == *slot);
        if let (false, Some(slot)) = (kept, fpm_slot(host, settings, service, *slot)) {
            if swapped && state.live.contains_key(service) { slot.drain().await? } else { slot.stop().await? }
        }
    }
    discard(host, settings, state, running, &layout).await?;
    let what = if swapped { "after activate: it was taken back" } else { "before activate: nothing live had changed" };
    let message = format!("{} {} had been interrupted {what}", running.kind, running.id);
    let fields = [("DEPLOYD_APP", settings.app.as_str()), ("DEPLOYD_DEPLOYMENT", running.id.as_str())];
    journal::event(events::RECOVERED, Priority::Warning, &message, &fields);
    Ok(())
}

/// What an interrupted deployment made: a release that was live stays for people to look at, as failed.
async fn discard(
    host: &Host,
    settings: &Settings,
    state: &mut AppState,
    running: &Running,
    layout: &Layout,
) -> Result<(), EngineError> {
    if !running.fresh {
        return Ok(());
    }
    match state.releases.iter_mut().find(|release| release.id == running.to) {
        Some(release) if running.phase >= crate::model::Phase::Activating => {
            release.state = ReleaseState::Failed;
            Ok(())
        }
        _ => {
            state.releases.retain(|release| release.id != running.to);
            remove_tree(host, settings, &running.id, &layout.releases, running.to.as_str()).await
        }
    }
}

/// At boot: links and configuration of the live slots are made again, and the slots are enqueued; what was interrupted
/// or is to be confirmed is settled later, by its own unit. One app's trouble does not hold back the others.
pub async fn boot(host: &Host) -> Result<(), EngineError> {
    let apps = config::list(&host.paths)
        .map_err(|e| EngineError::Other(format!("the apps' configuration cannot be listed: {e}")))?;
    for app in apps {
        if let Err(error) = boot_app(host, &app).await {
            tracing::error!("{app} is not brought up: {error}");
        }
    }
    Ok(())
}

async fn boot_app(host: &Host, app: &AppName) -> Result<(), EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let store = Store::open(&host.paths, app)?;
    let Ok(_lock) = store.try_lock("boot")? else { return Ok(()) };
    let mut state = store.load()?;
    if let Some(running) = &state.running {
        let layout = layout::prepare(&settings)?;
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
        slot.point()?;
        host.units.enqueue(Verb::Start, &fpm_unit(&settings, kept.slot)?).await?;
    }
    if state.running.is_some() || state.settling.is_some() {
        super::run::settle_later(host, &settings).await?;
    }
    Ok(())
}

/// For a person: an app that is stuck is taken up again. Services and `current` go to what the record says is live.
pub async fn recover_app(host: &Host, app: &AppName) -> Result<(), EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let store = Store::open(&host.paths, app)?;
    let _lock = store.lock("recover").await?;
    let mut state = before_deployment(host, &settings, &store).await?;
    let layout = layout::prepare(&settings)?;
    for (slot, kept) in recorded(host, &settings, &state.live) {
        if !slot.active().await? {
            slot.prepare(&kept.release, false)?;
            slot.start().await?;
        }
        slot.point()?;
        super::activate::activate(&layout, &kept.release, &crate::model::DeploymentId::from_bits(0))?;
    }
    state.stuck = None;
    store.save(&state)
}
