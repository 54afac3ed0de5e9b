//! One connection to PID 1 and what it signals: jobs that ended, reloads, units that changed. Decides nothing.
//!
//! Every waiter gets every event through a queue of its own that a task fills, because zbus stops reading the socket
//! when a stream's queue is full, and the answer a waiter is waiting for may be behind it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use futures_util::StreamExt;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
};
use zbus::{
    Connection, MatchRule, MessageStream, OwnedObjectPath, message,
    proxy::{CacheProperties, OwnerChangedStream},
};

use super::{
    UnitError, UnitStatus,
    answer::{answer, is_named, is_unanswered},
    proxy::{JobProxy, Listed, ManagerProxy, ServiceProxy, TimerProxy, UnitProxy},
};

const SYSTEMD: &str = "org.freedesktop.systemd1";

/// What PID 1 told.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// A job has ended.
    Removed { job: OwnedObjectPath, unit: String, result: String },
    /// PID 1 has read its units again or was executed again: signals may have been lost.
    Reloaded,
    /// The connection is gone.
    Lost,
}

type Listeners = Arc<Mutex<Vec<mpsc::UnboundedSender<Event>>>>;

/// A task that ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells that something about one unit has changed; changes that nobody awaited yet are one.
#[derive(Debug)]
pub(super) struct Changes {
    bell: Arc<Notify>,
    _task: Task,
}

impl Changes {
    pub(super) async fn next(&self) {
        self.bell.notified().await;
    }
}

/// A connection that is subscribed to PID 1's signals.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) manager: ManagerProxy<'static>,
    connection: Connection,
    listeners: Listeners,
    lost: Arc<AtomicBool>,
    _pump: Task,
}

impl Link {
    /// Connects and subscribes. After a restart of the bus PID 1 comes back to it a little later: that is awaited.
    pub(super) async fn open() -> Result<Self, UnitError> {
        let what = "answer on the system bus";
        let connection = answer(what, Connection::system()).await?;
        let manager =
            answer(what, ManagerProxy::builder(&connection).cache_properties(CacheProperties::No).build()).await?;
        let streams = async {
            tokio::try_join!(
                manager.receive_job_removed(),
                manager.receive_reloading(),
                manager.inner().receive_owner_changed()
            )
        };
        let (mut removed, mut reloading, mut owner) = answer(what, streams).await?;
        answer(what, subscribed(&manager, &mut owner)).await?;

        let listeners = Listeners::default();
        let lost = Arc::new(AtomicBool::new(false));
        let (to, gone, closing) = (listeners.clone(), lost.clone(), connection.clone());
        let pump = tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    () = closing.closed() => break,
                    signal = removed.next() => match signal {
                        Some(signal) => signal.args().ok().map(|args| Event::Removed {
                            job: args.job.clone(), unit: args.unit.clone(), result: args.result.clone()
                        }),
                        None => break,
                    },
                    signal = reloading.next() => match signal {
                        Some(signal) => signal.args().ok().filter(|args| !args.active).map(|_| Event::Reloaded),
                        None => break,
                    },
                    change = owner.next() => match change {
                        Some(new) => new.is_some().then_some(Event::Reloaded),
                        None => break,
                    },
                };
                if let Some(event) = event {
                    lock(&to).retain(|listener| listener.send(event.clone()).is_ok());
                }
            }
            gone.store(true, Ordering::Release);
            lock(&to).drain(..).for_each(|listener| drop(listener.send(Event::Lost)));
        });
        Ok(Self { manager, connection, listeners, lost, _pump: Task(pump) })
    }

    /// Whether the connection is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire) || self.connection.is_closed()
    }

    /// Returns when PID 1 is on the bus, after a call that it left without an answer, and subscribes again.
    pub(super) async fn back(&self) -> Result<(), UnitError> {
        let what = "come back to the system bus";
        let mut owner = answer(what, self.manager.inner().receive_owner_changed()).await?;
        answer(what, subscribed(&self.manager, &mut owner)).await
    }

    /// Every event from now on. When the connection is gone already, the queue ends at once.
    pub(super) fn listen(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut listeners = lock(&self.listeners);
        if !self.is_lost() {
            listeners.push(sender);
        }
        receiver
    }

    /// Subscribes again: PID 1 may have forgotten it. That the connection is gone by now is for [`Event::Lost`] to tell,
    /// that PID 1 is executed once more for [`Event::Reloaded`].
    pub(super) async fn renew(&self) -> Result<(), UnitError> {
        match answer("take a subscription", subscribe(&self.manager)).await {
            Err(UnitError::Unanswered { .. }) => Ok(()),
            Err(_) if self.is_lost() => Ok(()),
            other => other,
        }
    }

    /// Tells of every change of the unit at `path` from now on.
    pub(super) async fn changes(&self, path: &OwnedObjectPath) -> Result<Changes, UnitError> {
        let stream = async {
            // Anybody can send such a signal to us: it only says that it is time to read.
            let rule = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .sender(SYSTEMD)
                .interface("org.freedesktop.DBus.Properties")
                .member("PropertiesChanged")
                .path(path.clone())
                .build()?;
            MessageStream::for_match_rule(rule, &self.connection, None).await
        };
        let mut stream = answer("tell of a unit's changes", stream).await?;
        let bell = Arc::new(Notify::new());
        let ring = bell.clone();
        let task = tokio::spawn(async move {
            while stream.next().await.is_some() {
                ring.notify_one();
            }
        });
        Ok(Changes { bell, _task: Task(task) })
    }

    /// The units that PID 1 has loaded whose names match `pattern`.
    pub(super) async fn list(&self, pattern: &str) -> Result<Vec<Listed>, UnitError> {
        answer(&format!("list {pattern}"), self.manager.list_units_by_patterns(&[], &[pattern])).await
    }

    /// Whether a job is still queued or running.
    pub(super) async fn job_exists(&self, job: &OwnedObjectPath) -> Result<bool, UnitError> {
        let state = async {
            let job = JobProxy::builder(&self.connection).path(job).cache_properties(CacheProperties::No).build();
            match job.await?.state().await {
                Ok(_) => Ok(true),
                Err(error) if is_named(&error, "org.freedesktop.DBus.Error.UnknownObject") => Ok(false),
                Err(error) => Err(error),
            }
        };
        answer("tell of a job", state).await
    }

    /// The state of the unit at `path`.
    pub(super) async fn status(&self, path: &OwnedObjectPath) -> Result<UnitStatus, UnitError> {
        let read = async {
            let unit = self.unit(path).await?;
            let (load, active, sub) = tokio::try_join!(unit.load_state(), unit.active_state(), unit.sub_state())?;
            let none = UnitStatus { load, active, sub, result: String::new(), main_pid: 0, kind: String::new() };
            if !path.as_str().ends_with("_2eservice") {
                return Ok(none);
            }
            let service = self.service(path).await?;
            let (result, main_pid, kind) = tokio::try_join!(service.result(), service.main_pid(), service.type_())?;
            Ok(UnitStatus { result, main_pid, kind, ..none })
        };
        answer("tell a unit's state", read).await
    }

    /// `ExecMainCode` and `ExecMainStatus` of the service at `path`.
    pub(super) async fn main_exit(&self, path: &OwnedObjectPath) -> Result<(i32, i32), UnitError> {
        let read = async {
            let service = self.service(path).await?;
            tokio::try_join!(service.exec_main_code(), service.exec_main_status())
        };
        answer("tell a service's exit", read).await
    }

    /// `StatusText` of the service at `path`.
    pub(super) async fn status_text(&self, path: &OwnedObjectPath) -> Result<String, UnitError> {
        let read = async { self.service(path).await?.status_text().await };
        answer("tell what a service says", read).await
    }

    pub(super) async fn unit(&self, path: &OwnedObjectPath) -> zbus::Result<UnitProxy<'static>> {
        let builder = UnitProxy::builder(&self.connection).path(path.clone());
        builder.cache_properties(CacheProperties::No).build().await
    }

    pub(super) async fn timer(&self, path: &OwnedObjectPath) -> zbus::Result<TimerProxy<'static>> {
        let builder = TimerProxy::builder(&self.connection).path(path.clone());
        builder.cache_properties(CacheProperties::No).build().await
    }

    pub(super) async fn service(&self, path: &OwnedObjectPath) -> zbus::Result<ServiceProxy<'static>> {
        let builder = ServiceProxy::builder(&self.connection).path(path.clone());
        builder.cache_properties(CacheProperties::No).build().await
    }
}

fn lock(listeners: &Listeners) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<Event>>> {
    listeners.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn subscribe(manager: &ManagerProxy<'_>) -> zbus::Result<()> {
    match manager.subscribe().await {
        Err(error) if is_named(&error, "org.freedesktop.systemd1.AlreadySubscribed") => Ok(()),
        other => other,
    }
}

/// Subscribes, as soon as PID 1 is there to take it.
async fn subscribed(manager: &ManagerProxy<'_>, owner: &mut OwnerChangedStream<'_>) -> zbus::Result<()> {
    while let Err(error) = subscribe(manager).await {
        if !is_unanswered(&error) || owner.next().await.is_none() {
            return Err(error);
        }
    }
    Ok(())
}
