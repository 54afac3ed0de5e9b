//! Horizon and queue workers: paused before the switch, taken over from, resumed when it goes back.
//!
//! The old workers are paused before `current` moves, so that none of them takes a job that the new release dispatched;
//! the new ones, started paused beside them, take over when their turn comes. Whether a slot takes jobs is its pause
//! file, which holds over a restart of its processes, and a signal that says to look; the processes say what they do
//! by `STATUS=` (work.php). Old ones stay paused, not ended, until the bake time has passed: one that was told to
//! end could not come back.

use std::{path::Path, time::Duration};

use rustix::process::Signal;

use super::{drain::live, error::EngineError, slot_files, slots::ServiceSlot};
use crate::{
    config::SlotKind,
    model::{Paths, SlotUnit, events, printable},
    observe::Host,
    system::{
        journal::{self, Priority},
        notify,
        process::{self, Seen, cwd},
        tree::{Dir, EntryKind, await_unlocked},
        units::{Weight, Word},
    },
};

/// What workers say of themselves.
const PAUSED: &str = "paused";
const WORKING: &str = "working";
/// They take none while the app is in maintenance mode, and will by themselves when it ends.
const MAINTENANCE: &str = "maintenance";
/// Of what a process calls itself, in characters.
const MAX_TITLE: usize = 120;
/// For workers to be paused: one that waits for a job in Redis (`block_for`) hears of it when it has waited.
const PAUSE_LIMIT: Duration = Duration::from_secs(30);
/// For workers to take jobs: Horizon starts its supervisors then.
const RESUME_LIMIT: Duration = Duration::from_secs(60);

/// Lets the live workers take no further job; what they have they finish. Before activate.
pub async fn pause(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    mark(slot)?;
    if slot.host.units.status(slot.unit()).await?.has_ended() {
        return Ok(());
    }
    tell(slot, Signal::USR2).await?;
    let word = tokio::select! {
        word = slot.host.units.await_word(slot.unit(), &[PAUSED], PAUSE_LIMIT) => word?,
        // One that hears nothing in its job takes no other one: what it looks at next is the pause file.
        looked = nobody_looks(slot) => return looked,
    };
    match word {
        Word::Said => Ok(()),
        // It begins again and again, or has ended: what begins looks at the pause file before it takes a job.
        Word::Not { active, .. } if !matches!(active.as_str(), "active" | "reloading") => Ok(()),
        Word::Not { said, .. } => Err(unheard(slot, "was not paused", PAUSE_LIMIT, &said)),
    }
}

/// Returns when none of a queue's workers is looking for a job. Never where they do not tell: Horizon's, and those that
/// were started before they did.
async fn nobody_looks(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    let run = Dir::open(&slot.host.paths.app_run_dir(slot.name.app()))?;
    if await_unlocked(&run, &slot_files::file_name(&slot.host.paths.slot_looking(&slot.name))).await? {
        return Ok(());
    }
    std::future::pending().await
}

/// Lets paused workers take jobs again: the deployment goes back. Those that have died are started again.
pub async fn resume(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    unmark(&slot.host.paths, &slot.name)?;
    if slot.host.units.status(slot.unit()).await?.has_ended() {
        slot.start(Weight::Full).await?;
    } else {
        slot.weigh(Weight::Full).await;
        tell(slot, Signal::CONT).await?;
    }
    match slot.host.units.await_word(slot.unit(), &[WORKING, MAINTENANCE], RESUME_LIMIT).await? {
        Word::Said => Ok(()),
        Word::Not { said, .. } => Err(unheard(slot, "takes no jobs", RESUME_LIMIT, &said)),
    }
}

/// The new slot is there and fit, as far as that can be seen while it takes no jobs.
pub async fn probe(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    works_in_release(slot).await?;
    let said = slot.host.units.said(slot.unit()).await?;
    if said == PAUSED { Ok(()) } else { Err(unheard(slot, "was not started paused", Duration::ZERO, &said)) }
}

/// The new slot takes jobs from now on.
pub async fn take_over(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    resume(slot).await
}

/// The new slot works, from the new release.
pub async fn prove(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    works_in_release(slot).await
}

/// The new slot takes no further job: the deployment goes back.
pub async fn hold(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    pause(slot).await
}

/// The old workers take jobs again: the deployment goes back. Those that cannot even be started are told and left to
/// systemd, which tries again: they were no better before, and nothing else may wait for them. Nor for one that is deaf
/// in its job: its pause file is gone, so that it goes on when it has ended.
pub async fn give_back(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    match resume(slot).await {
        Err(error @ EngineError::Unhealthy { .. }) if matches!(slot.kind, SlotKind::Queue(_)) => {
            tracing::warn!("{error}, ignoring: its workers take jobs when they can");
            Ok(())
        }
        Err(error) if !slot.active().await? => {
            tracing::warn!("{} does not run: {error}, ignoring", slot.unit());
            Ok(())
        }
        other => other,
    }
}

/// An old slot finishes its jobs and ends. In the drain's own unit, without the app's lock.
pub async fn drain(host: &Host, slot: &SlotUnit) -> Result<(), EngineError> {
    let unit = slot.unit();
    let run = Dir::open_or_make(&host.paths.app_run_dir(slot.app()), 0o755)?;
    if run.kind(&pause_file(&host.paths, slot))? != EntryKind::File {
        return Err(live(slot));
    }
    notify::status(&format!("{unit}: its last jobs end"));
    let limit = slot_files::record(host, slot)?.map(|record| Duration::from_secs(record.drain));
    let stop = host.units.stop(unit);
    tokio::pin!(stop);
    let stopped = match limit {
        Some(limit) => match tokio::time::timeout(limit, &mut stop).await {
            Ok(stopped) => stopped,
            // systemd kills what is left, a little later.
            Err(_) => {
                let left = what_is_left(host, slot).await;
                let message = format!("{unit} still has jobs after {limit:?} and is ended: {left}");
                said(events::DRAIN_INCOMPLETE, Priority::Warning, &message, slot);
                stop.await
            }
        },
        None => stop.await,
    };
    stopped?;
    let result = host.units.status(unit).await?.result;
    if result == "success" {
        said(events::DRAINED, Priority::Info, &format!("{unit} has finished its jobs and is stopped"), slot);
    } else {
        let message = format!("{unit} was ended before all its jobs were done: {result}");
        said(events::DRAIN_INCOMPLETE, Priority::Warning, &message, slot);
    }
    Ok(())
}

/// The slot takes no job from its next look on, nor when its processes start.
pub fn mark(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    let run = Dir::open_or_make(&slot.host.paths.app_run_dir(slot.name.app()), 0o755)?;
    Ok(run.write_volatile(&pause_file(&slot.host.paths, &slot.name), b"", 0o644)?)
}

/// The slot's processes take jobs when they start.
pub fn unmark(paths: &Paths, slot: &SlotUnit) -> Result<(), EngineError> {
    let run = Dir::open_or_make(&paths.app_run_dir(slot.app()), 0o755)?;
    let name = pause_file(paths, slot);
    if run.kind(&name)? != EntryKind::Missing {
        run.unlink(&name)?;
    }
    Ok(())
}

fn pause_file(paths: &Paths, slot: &SlotUnit) -> String {
    slot_files::file_name(&paths.slot_paused(slot))
}

/// Between two starts there is no main process, and the next one looks by itself.
async fn tell(slot: &ServiceSlot<'_>, signal: Signal) -> Result<(), EngineError> {
    match slot.host.units.signal_main(slot.unit(), signal).await {
        Err(error) if slot.host.units.status(slot.unit()).await?.active == "active" => Err(error.into()),
        _ => Ok(()),
    }
}

/// Release identity by process: the main one works in the slot's release, and none in another one.
async fn works_in_release(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    let host = slot.host;
    let record = slot_files::record(host, &slot.name)?;
    let release = record
        .ok_or_else(|| EngineError::Other(format!("the release of {} is not recorded: deploy again", slot.unit())))?;
    let release = Paths::release_dir(&slot.settings.root, &release.release);
    let status = host.units.status(slot.unit()).await?;
    let wrong = |detail: String| EngineError::Unhealthy { what: slot.unit().to_string(), detail };
    if status.active != "active" || status.main_pid == 0 {
        return Err(wrong(format!("it is {}", status.active)));
    }
    let releases = slot.settings.root.join("releases");
    for pid in host.units.processes(slot.unit()).await? {
        match cwd(pid) {
            Seen::Known(dir) if dir == release => {}
            Seen::Known(dir) if pid == status.main_pid || is_another(&dir, &release, &releases) => {
                return Err(wrong(format!("process {pid} works in {}, not in {}", dir.display(), release.display())));
            }
            Seen::Unknown(why) if pid == status.main_pid => return Err(wrong(why)),
            // What a job has started may be anywhere, and may have ended.
            _ => {}
        }
    }
    Ok(())
}

fn is_another(dir: &Path, release: &Path, releases: &Path) -> bool {
    dir.starts_with(releases) && !dir.starts_with(release)
}

fn unheard(slot: &ServiceSlot<'_>, what: &str, limit: Duration, said: &str) -> EngineError {
    let within = if limit.is_zero() { String::new() } else { format!(" within {limit:?}") };
    let said = if said.is_empty() { "nothing" } else { said };
    let detail = printable(&format!("it {what}{within}, and says {said:?}; see `journalctl -u {}`", slot.unit()));
    EngineError::Unhealthy { what: slot.unit().to_string(), detail }
}

/// Pids and ages, for people.
async fn what_is_left(host: &Host, slot: &SlotUnit) -> String {
    match host.units.processes(slot.unit()).await {
        Ok(pids) => {
            let one = |pid: u32| {
                let title: String = process::title(pid)?.chars().take(MAX_TITLE).collect();
                Some(format!("{pid} ({}, {} s old)", printable(&title), process::age(pid)?.as_secs()))
            };
            pids.into_iter().filter_map(one).collect::<Vec<_>>().join(", ")
        }
        Err(error) => format!("its processes are not known: {error}"),
    }
}

fn said(event: events::EventId, priority: Priority, message: &str, slot: &SlotUnit) {
    let fields = [("DEPLOYD_APP", slot.app().as_str()), ("DEPLOYD_UNIT", slot.unit().as_str())];
    journal::event(event, priority, message, &fields);
}
