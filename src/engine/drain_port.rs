//! Drain of a slot behind a port: nginx's old workers and the connections of the port are watched until they have
//! ended; only then the server is told to stop. Servers differ in what they do to a request that runs when they are
//! told: Swoole kills it after 3 s, others at once.

use std::time::{Duration, Instant};

use super::{
    drain::{died, live, not_drained, tell},
    error::EngineError,
    slot_files, upstream,
};
use crate::{
    model::{SlotUnit, UnitName, events},
    observe::Host,
    runtime::{nginx::Role, slot::SlotRecord},
    system::{
        journal::Priority,
        notify,
        ports::{self, Port},
        process::{self, Seen, Watch},
    },
};

/// Between two looks at the port: the kernel tells nobody when the last connection closes.
const LOOK: Duration = Duration::from_millis(50);

/// Drains and stops a slot that listens on `port`. One that nginx is pointed at is refused.
pub async fn drain(host: &Host, slot: &SlotUnit, record: &SlotRecord, port: u16) -> Result<(), EngineError> {
    refuse_live(host, slot, record, port)?;
    if host.units.status(slot.unit()).await?.is_starting() {
        return died(host, slot).await;
    }
    let limit = Duration::from_secs(record.drain);
    let since = Instant::now();
    notify::status(&format!("{}: waiting for nginx's old workers and open connections", slot.unit()));
    let leaving = match record.web_unit.parse() {
        Ok(unit) => await_nginx(host, &unit, limit).await,
        Err(_) => 0,
    };
    let open = match await_closed(port, limit.saturating_sub(since.elapsed())).await {
        Ok(open) => open,
        Err(why) => {
            let message = format!("{} is not drained and keeps running: {why}", slot.unit());
            tell(events::DRAIN_INCOMPLETE, Priority::Error, &message, slot);
            return Err(not_drained(slot, message));
        }
    };
    // Pointed at again while it was waited for, or ended and started for another release: somebody has it.
    refuse_live(host, slot, record, port)?;
    if slot_files::record(host, slot)?.is_some_and(|now| now.release != record.release) {
        return Err(live(slot));
    }
    let account = if open > 0 { account(host, slot, open, limit).await? } else { String::new() };
    notify::status(&format!("{}: it ends", slot.unit()));
    host.units.stop(slot.unit()).await?;
    let ended = host.units.status(slot.unit()).await?;
    if open > 0 || ended.result != "success" {
        let message = format!("{} was stopped before all had ended: {}{account}", slot.unit(), ended.result);
        tell(events::DRAIN_INCOMPLETE, Priority::Warning, &message, slot);
    } else {
        let others = if leaving > 0 { format!("; {leaving} old workers of nginx serve others") } else { String::new() };
        let message = format!("{} is drained and stopped, no connection was left{others}", slot.unit());
        tell(events::DRAINED, Priority::Info, &message, slot);
    }
    Ok(())
}

fn refuse_live(host: &Host, slot: &SlotUnit, record: &SlotRecord, port: u16) -> Result<(), EngineError> {
    let Some(service) = &record.upstream else { return Ok(()) };
    if upstream::aimed_at(host, slot.app(), service)? == Some(port) {
        return Err(live(slot));
    }
    Ok(())
}

/// Waits for nginx's workers of before: one of them may still send a request to this slot that it has only begun to
/// read. Returns how many are left at the limit: they may be busy for other sites, and are not ours to end.
pub async fn await_nginx(host: &Host, unit: &UnitName, limit: Duration) -> usize {
    let leaving: Vec<u32> = match upstream::workers(host, unit).await {
        Ok(workers) => workers.into_iter().filter(|(_, role)| *role == Role::Leaving).map(|(pid, _)| pid).collect(),
        Err(error) => {
            tracing::warn!("the old workers of {unit} cannot be seen: {error}; its connections are watched");
            return 0;
        }
    };
    match Watch::new(&leaving) {
        Ok(watch) => watch.gone(limit).await.len(),
        Err(error) => {
            tracing::warn!("the old workers of {unit} cannot be watched: {error}; its connections are");
            leaving.len()
        }
    }
}

/// Waits until no connection of the port is open, seen twice. Returns how many are at the limit.
async fn await_closed(port: u16, limit: Duration) -> Result<u32, String> {
    let since = Instant::now();
    let mut seen_closed = 0;
    loop {
        match ports::port(port) {
            Seen::Known(Port { listeners, open, .. }) if listeners.is_empty() && open > 0 => {
                return Err(format!("nobody is seen to listen on port {port}: which connections are its is unknown"));
            }
            Seen::Known(Port { waiting: 0, open: 0, .. }) => seen_closed += 1,
            Seen::Known(Port { open, .. }) if since.elapsed() > limit => return Ok(open),
            Seen::Known(_) => seen_closed = 0,
            Seen::Unknown(why) => return Err(format!("whether connections are open on port {port} is unknown: {why}")),
        }
        if seen_closed >= 2 {
            return Ok(0);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What still ran at the limit: which processes, for how long.
async fn account(host: &Host, slot: &SlotUnit, open: u32, limit: Duration) -> Result<String, EngineError> {
    let processes = host.units.processes(slot.unit()).await?;
    let each: Vec<String> =
        processes.into_iter().filter_map(|pid| Some(format!("{pid} for {:?}", process::age(pid)?))).collect();
    Ok(format!("; {open} connections were open after {limit:?}, processes: {}", each.join(", ")))
}
