//! Drain: an old slot finishes what it has, watched in the kernel, then stops. In a unit of its own, without the app's
//! lock, beside other drains. php-fpm's is here; the other kinds' have files of their own.
//!
//! php-fpm's graceful stop (SIGQUIT) lets requests that were accepted end, and closes the socket: what still waits in
//! the accept queue then would be refused. So the queue must be seen empty first; unknown is not empty.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use super::{drain_port, error::EngineError, jobs, slot_files};
use crate::{
    model::{SlotUnit, UnitName, events},
    observe::Host,
    runtime::slot::FPM,
    system::{
        journal::{self, Priority},
        notify,
        process::Seen,
        sockets::accept_queue,
        tree::Dir,
        units::Weight,
    },
};

/// Between two looks at an accept queue: the kernel tells nobody when one becomes empty.
const LOOK: Duration = Duration::from_millis(10);
/// The longest that a queue is watched. A queue that does not empty has a pool that accepts nothing.
const QUEUE_LIMIT: Duration = Duration::from_secs(300);
/// All processes that have nothing to do end at once, which is work too: so long it yields to what is live. What still
/// runs then is a visitor's request.
const ENDING: Duration = Duration::from_secs(1);

/// Stops php-fpm, which ends its last requests.
async fn end(host: &Host, unit: &UnitName) -> Result<(), EngineError> {
    host.units.weigh(unit, Weight::Yielding).await;
    let mut stop = pin!(host.units.stop(unit));
    match tokio::time::timeout(ENDING, &mut stop).await {
        Ok(stopped) => Ok(stopped?),
        Err(_) => {
            host.units.weigh(unit, Weight::Full).await;
            Ok(stop.await?)
        }
    }
}

/// Drains one slot and stops it. A slot that traffic is pointed at is refused.
pub async fn drain(host: &Host, slot: &SlotUnit) -> Result<(), EngineError> {
    let unit = slot.unit();
    let status = host.units.status(unit).await?;
    if status.has_ended() {
        return Ok(());
    }
    if slot.template() != FPM {
        let record = slot_files::record(host, slot)?.ok_or_else(|| {
            not_drained(slot, format!("what {unit} was started as is not recorded: it is not drained"))
        })?;
        return match record.port {
            Some(port) => drain_port::drain(host, slot, &record, port).await,
            None => jobs::drain(host, slot).await,
        };
    }
    refuse_live(host, slot)?;
    if status.is_starting() {
        return died(host, slot).await;
    }
    notify::status(&format!("{unit}: waiting for an empty accept queue"));
    if let Err(why) = await_empty(host, slot).await {
        let status = host.units.status(unit).await?;
        if status.is_starting() || status.has_ended() {
            return died(host, slot).await;
        }
        let message = format!("{unit} is not drained and keeps running: {why}");
        tell(events::DRAIN_INCOMPLETE, Priority::Error, &message, slot);
        return Err(not_drained(slot, message));
    }
    // In between nothing can have come: the link that nginx connects through names another socket.
    refuse_live(host, slot)?;
    notify::status(&format!("{unit}: its last requests end"));
    end(host, unit).await?;
    let ended = host.units.status(unit).await?;
    if ended.result == "success" {
        tell(events::DRAINED, Priority::Info, &format!("{unit} is drained and stopped"), slot);
    } else {
        let message = format!("{unit} was stopped before all its requests had ended: {}", ended.result);
        tell(events::DRAIN_INCOMPLETE, Priority::Warning, &message, slot);
    }
    Ok(())
}

/// A slot that dies by itself has nothing to drain: it is kept from being started again.
pub async fn died(host: &Host, slot: &SlotUnit) -> Result<(), EngineError> {
    host.units.stop(slot.unit()).await?;
    tell(events::DRAINED, Priority::Info, &format!("{} had died, and is stopped", slot.unit()), slot);
    Ok(())
}

/// Waits until nothing waits in the slot's accept queue, seen twice: a connection of just before the link was renamed
/// has arrived by the second look.
async fn await_empty(host: &Host, slot: &SlotUnit) -> Result<(), String> {
    let socket = host.paths.fpm_socket(slot.instance());
    let since = Instant::now();
    let mut seen_empty = 0;
    while seen_empty < 2 {
        match accept_queue(&socket) {
            Seen::Known(0) => seen_empty += 1,
            Seen::Known(waiting) if since.elapsed() > QUEUE_LIMIT => {
                return Err(format!("{waiting} connections still wait in its accept queue after {QUEUE_LIMIT:?}"));
            }
            Seen::Known(_) => seen_empty = 0,
            Seen::Unknown(why) => {
                return Err(format!("whether connections wait in its accept queue is unknown: {why}"));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn refuse_live(host: &Host, slot: &SlotUnit) -> Result<(), EngineError> {
    let run = Dir::open(&host.paths.app_run_dir(slot.app()))?;
    let own = host.paths.fpm_socket(slot.instance()).display().to_string();
    if run.read_link("fpm.sock").is_ok_and(|target| target == own) {
        return Err(live(slot));
    }
    Ok(())
}

/// A slot that cannot be seen to be idle runs on until a person ends it, or the next deployment tries again.
pub fn not_drained(slot: &SlotUnit, why: String) -> EngineError {
    let (app, unit) = (slot.app(), slot.unit());
    let remedy = format!(
        "when `deployctl status {app}` names another slot as live, `systemctl stop {unit}` ends it; the next deployment \
         tries again"
    );
    EngineError::NotDrained { why, remedy }
}

/// A slot that requests or jobs still go to.
pub fn live(slot: &SlotUnit) -> EngineError {
    let why = format!("{} is live: it is not drained", slot.unit());
    EngineError::NotDrained { why, remedy: format!("deploy, or go back: `deployctl rollback {}`", slot.app()) }
}

/// Tells of a slot.
pub fn tell(event: events::EventId, priority: Priority, message: &str, slot: &SlotUnit) {
    let fields = [("DEPLOYD_APP", slot.app().as_str()), ("DEPLOYD_UNIT", slot.unit().as_str())];
    journal::event(event, priority, message, &fields);
}
