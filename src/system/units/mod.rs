//! PID 1 over D-Bus: units started, stopped, reloaded and awaited, transient units run. By signal, never by polling;
//! answers have a time limit, jobs end by the unit's own timeouts.

mod access;
mod answer;
mod job;
mod kill;
mod link;
mod proxy;
mod said;
mod spec;
mod stdio;
mod stop;
mod transient;
mod trigger;
mod weight;
mod words;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc};
use zbus::OwnedObjectPath;

pub use self::{
    access::Access,
    said::Word,
    spec::{Property, Transient},
    stdio::Pipes,
    stop::Stop,
    transient::{Exit, Running},
    weight::Weight,
    words::{kept_words, own_words},
};
use self::{
    answer::{ANSWER, answer, answer_within, call_error, is_named},
    job::Ask,
    link::{Event, Link},
};
use crate::model::UnitName;

/// PID 1 reads every unit file and runs every generator before it answers `Reload`.
const RELOAD: Duration = Duration::from_secs(90);
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// What went wrong with a unit.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The bus or PID 1 did not do it.
    #[error("systemd did not {what}: {detail}")]
    Call {
        /// The verb and the unit.
        what: String,
        /// The peer's words.
        detail: String,
    },
    /// PID 1 or the bus went away before the answer, and did not come back: whether it was done is not known.
    #[error("systemd gave no answer when it was to {what}: {detail}")]
    Unanswered {
        /// The verb and the unit.
        what: String,
        /// What was seen instead.
        detail: String,
    },
    /// What became of a transient unit was not seen, and PID 1 no longer knows it.
    #[error("the bus was restarted, and {0} has ended unseen, if it was started: its result is not known")]
    Unseen(UnitName),
    /// No answer in time; the unit's state is unknown.
    #[error("systemd did not answer within {0:?} on {1}")]
    Timeout(Duration, String),
    /// The job ended with another result than `done`.
    #[error("{unit} did not {verb}: {detail} (see `systemctl status {unit}`)")]
    Job {
        /// Which.
        unit: UnitName,
        /// `start`, `stop`, …
        verb: &'static str,
        /// The job's result and what the unit says of itself.
        detail: String,
    },
}

/// A unit's state, as PID 1 tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitStatus {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`.
    pub active: String,
    /// `running`, `exited`, …
    pub sub: String,
    /// `success`, `exit-code`, `timeout`, … (services).
    pub result: String,
    /// 0: none (services).
    pub main_pid: u32,
    /// `Type=` (services).
    pub kind: String,
}

impl UnitStatus {
    /// Nothing of it runs, and nothing of it is about to.
    pub fn has_ended(&self) -> bool {
        has_ended(&self.active)
    }

    /// It is being started, or waits for it after it has died: of what it had before nothing is there any more.
    pub fn is_starting(&self) -> bool {
        self.active == "activating"
    }
}

/// A connection to PID 1, made anew when the bus was restarted. Clones share it.
#[derive(Debug, Clone)]
pub struct Units {
    current: Arc<Mutex<Arc<Link>>>,
}

/// What [`Units::enqueue`] can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `StartUnit`
    Start,
    /// `StopUnit`
    Stop,
    /// `RestartUnit`
    Restart,
}

/// Whether PID 1 is asked to keep a unit while its end is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Nothing,
    Reference,
}

/// Neither running nor on its way to it or from it. (`maintenance` and `refreshing` are neither an end.)
fn has_ended(active: &str) -> bool {
    matches!(active, "inactive" | "failed")
}

impl Units {
    /// Connects to the system bus and subscribes to PID 1's signals.
    pub async fn connect() -> Result<Self, UnitError> {
        Ok(Self { current: Arc::new(Mutex::new(Arc::new(Link::open().await?))) })
    }
    /// Starts a unit and awaits its job. `Err(Job)` when the result is not `done`.
    pub async fn start(&self, unit: &UnitName) -> Result<(), UnitError> {
        self.job(Ask::Start, unit).await
    }
    /// Stops a unit and awaits its job.
    pub async fn stop(&self, unit: &UnitName) -> Result<(), UnitError> {
        self.job(Ask::Stop, unit).await
    }
    /// Restarts a unit and awaits its job.
    pub async fn restart(&self, unit: &UnitName) -> Result<(), UnitError> {
        self.job(Ask::Restart, unit).await
    }
    /// Reloads a unit and awaits its job.
    pub async fn reload(&self, unit: &UnitName) -> Result<(), UnitError> {
        self.job(Ask::Reload, unit).await
    }
    /// Enqueues a start, a stop or a restart and does not wait for the job.
    pub async fn enqueue(&self, verb: Verb, unit: &UnitName) -> Result<(), UnitError> {
        let ask = match verb {
            Verb::Start => Ask::Start,
            Verb::Stop => Ask::Stop,
            Verb::Restart => Ask::Restart,
        };
        self.ask(|link| async move { job::call(&link, ask, unit).await.map(drop) }).await
    }
    /// `ResetFailedUnit`; a unit that is not loaded is no error.
    pub async fn reset_failed(&self, unit: &UnitName) -> Result<(), UnitError> {
        let what = &format!("reset {unit}");
        self.ask(|link| async move {
            match answer_within(ANSWER, what, link.manager.reset_failed_unit(unit.as_str())).await? {
                Err(error) if !is_named(&error, NO_SUCH_UNIT) => Err(call_error(what, &error)),
                _ => Ok(()),
            }
        })
        .await
    }
    /// A unit's state; one that does not exist has load state `not-found`.
    pub async fn status(&self, unit: &UnitName) -> Result<UnitStatus, UnitError> {
        self.ask(|link| async move { link.status(&load(&link, unit).await?).await }).await
    }
    /// The active state of every unit that PID 1 has loaded and whose name matches `pattern` (as glob(7)): who is not
    /// among them is inactive. In one call and without loading any: PID 1 reads a unit that is not active from disk
    /// anew for each of its properties, and starts nothing meanwhile.
    pub async fn active_states(&self, pattern: &str) -> Result<BTreeMap<String, String>, UnitError> {
        let listed = self.ask(|link| async move { link.list(pattern).await }).await?;
        Ok(listed.into_iter().map(|unit| (unit.0, unit.3)).collect())
    }
    /// Returns when the unit is neither active, activating, deactivating nor reloading. By signal, not by polling.
    pub async fn wait_ended(&self, unit: &UnitName) -> Result<UnitStatus, UnitError> {
        self.ended(unit, Hold::Nothing).await.map(|(status, _)| status)
    }
    /// The processes of a unit's control group, sorted.
    pub async fn processes(&self, unit: &UnitName) -> Result<Vec<u32>, UnitError> {
        let what = &format!("tell the processes of {unit}");
        let read = |link: Arc<Link>| async move { answer(what, link.manager.get_unit_processes(unit.as_str())).await };
        let listed = self.ask(read).await?;
        let mut pids: Vec<u32> = listed.into_iter().map(|(_, pid, _)| pid).collect();
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }
    /// Makes PID 1 read unit files and run generators again.
    pub async fn daemon_reload(&self) -> Result<(), UnitError> {
        let what = "reload its units";
        self.ask(|link| async move {
            answer_within(RELOAD, what, link.manager.reload()).await?.map_err(|error| call_error(what, &error))
        })
        .await
    }

    /// Asks until there is an answer: PID 1 may be executed again meanwhile, or the bus restarted. For what may be
    /// done twice.
    async fn ask<T, F>(&self, call: impl Fn(Arc<Link>) -> F) -> Result<T, UnitError>
    where
        F: Future<Output = Result<T, UnitError>>,
    {
        loop {
            let link = self.link().await?;
            match Box::pin(call(link.clone())).await {
                Err(error) => self.again(&link, error).await?,
                answered => return answered,
            }
        }
    }

    /// Returns when what failed so can be asked for again: on a new connection, or by a PID 1 that is back on this one.
    /// The error, when it is an answer.
    async fn again(&self, link: &Link, error: UnitError) -> Result<(), UnitError> {
        let unanswered = matches!(error, UnitError::Unanswered { .. });
        if link.is_lost() || (unanswered && (Box::pin(link.back()).await.is_ok() || link.is_lost())) {
            return Ok(());
        }
        Err(error)
    }

    /// The connection, or a new one when it is gone.
    async fn link(&self) -> Result<Arc<Link>, UnitError> {
        let mut current = self.current.lock().await;
        if current.is_lost() {
            // Boxed: what every call may do would otherwise be part of every future that calls.
            *current = Arc::new(Box::pin(Link::open()).await?);
        }
        Ok(current.clone())
    }

    /// Awaits the end of `unit`. With its state comes the connection that saw it.
    async fn ended(&self, unit: &UnitName, hold: Hold) -> Result<(UnitStatus, Arc<Link>), UnitError> {
        loop {
            let link = self.link().await?;
            let mut events = link.listen();
            let begin = async {
                let path = match hold {
                    Hold::Nothing => load(&link, unit).await?,
                    Hold::Reference => transient::hold(&link, unit).await?,
                };
                let changes = link.changes(&path).await?;
                Ok((path, changes))
            };
            let (path, changes) = match begin.await {
                Ok(begun) => begun,
                Err(error) => {
                    self.again(&link, error).await?;
                    continue;
                }
            };
            loop {
                let status = match link.status(&path).await {
                    Ok(status) => status,
                    Err(error) => {
                        self.again(&link, error).await?;
                        break;
                    }
                };
                if has_ended(&status.active) {
                    return Ok((status, link));
                }
                tokio::select! {
                    () = changes.next() => {}
                    event = next_for(&mut events, unit) => match event {
                        Some(Event::Removed { .. }) => {}
                        Some(Event::Reloaded) => link.renew().await?,
                        Some(Event::Lost) | None => break,
                    },
                }
            }
        }
    }
}

/// The next event that may concern `unit`.
async fn next_for(events: &mut mpsc::UnboundedReceiver<Event>, unit: &UnitName) -> Option<Event> {
    loop {
        match events.recv().await {
            Some(Event::Removed { unit: of, .. }) if of != unit.as_str() => {}
            event => return event,
        }
    }
}

async fn load(link: &Link, unit: &UnitName) -> Result<OwnedObjectPath, UnitError> {
    answer(&format!("load {unit}"), link.manager.load_unit(unit.as_str())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers await several units side by side with `tokio::spawn`.
    #[test]
    fn futures_can_be_spawned() {
        fn spawnable<T: Send>(_: impl FnOnce(&'static Units) -> T) {}
        spawnable(|units| async { units.start(&"a.service".parse().unwrap()).await });
        spawnable(|units| async { units.wait_ended(&"a.service".parse().unwrap()).await });
        spawnable(|units| async { units.wait(units.run(Transient::default()).await?).await });
    }
}
