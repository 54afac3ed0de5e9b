//! PID 1 over D-Bus: units started, stopped, reloaded and awaited, transient units run.

use std::{collections::BTreeMap, os::fd::OwnedFd, time::Duration};

use crate::model::UnitName;

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

/// How a transient unit's main process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, …
    pub result: String,
    /// Exit status or signal number.
    pub status: i32,
}

/// A transient service. Properties beyond these go into `properties`.
#[derive(Debug, Default)]
pub struct Transient {
    /// Full name, unique: it carries the deployment's id.
    pub name: String,
    /// For `systemctl status`.
    pub description: String,
    /// argv, verbatim: no variable in it is expanded. The program's path is absolute.
    pub exec: Vec<String>,
    /// User name; with it the unit's `SetLoginEnvironment`-like variables are not set.
    pub user: String,
    /// Absolute.
    pub working_directory: Option<String>,
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// Killed with this unit (`BindsTo=` without `After=`).
    pub binds_to: Option<UnitName>,
    /// `deployd-shop.slice`.
    pub slice: Option<String>,
    /// `LogExtraFields=`: name to value.
    pub journal_fields: BTreeMap<String, String>,
    /// `SyslogIdentifier=`.
    pub identifier: String,
    /// Standard input and output as descriptors; without them null and the journal. Standard error: the journal.
    pub stdio: Option<(OwnedFd, OwnedFd)>,
    /// `RuntimeMaxSec=`; none: no limit.
    pub limit: Option<Duration>,
    /// Every other property: name to value.
    pub properties: BTreeMap<&'static str, Property>,
}

/// A value of a unit's property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// `b`
    Bool(bool),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `t`
    Number(u64),
    /// `i`
    Int(i32),
    /// `a(ss)`-less bind mounts: `a(ssbt)`, source and destination
    Binds(Vec<(String, String)>),
    /// `(bas)`: an allow-list (true) or deny-list of system calls, address families, …
    Filter(bool, Vec<String>),
}

/// A connection to PID 1.
#[derive(Debug, Clone)]
pub struct Units {}

/// A transient unit that was started.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub unit: UnitName,
}

impl Units {
    /// Connects to the system bus and subscribes to PID 1's signals.
    pub async fn connect() -> Result<Self, UnitError> {
        todo!()
    }
    /// Starts a unit and awaits its job. `Err(Job)` when the result is not `done`.
    pub async fn start(&self, unit: &UnitName) -> Result<(), UnitError> {
        let _ = unit;
        todo!()
    }
    /// Stops a unit and awaits its job.
    pub async fn stop(&self, unit: &UnitName) -> Result<(), UnitError> {
        let _ = unit;
        todo!()
    }
    /// Restarts a unit and awaits its job.
    pub async fn restart(&self, unit: &UnitName) -> Result<(), UnitError> {
        let _ = unit;
        todo!()
    }
    /// Reloads a unit and awaits its job.
    pub async fn reload(&self, unit: &UnitName) -> Result<(), UnitError> {
        let _ = unit;
        todo!()
    }
    /// Enqueues a start, a stop or a restart and does not wait for the job.
    pub async fn enqueue(&self, verb: Verb, unit: &UnitName) -> Result<(), UnitError> {
        let _ = (verb, unit);
        todo!()
    }
    /// `ResetFailedUnit`; a unit that is not loaded is no error.
    pub async fn reset_failed(&self, unit: &UnitName) -> Result<(), UnitError> {
        let _ = unit;
        todo!()
    }
    /// A unit's state; one that does not exist has load state `not-found`.
    pub async fn status(&self, unit: &UnitName) -> Result<UnitStatus, UnitError> {
        let _ = unit;
        todo!()
    }
    /// Returns when the unit is neither active, activating, deactivating nor reloading. By signal, not by polling.
    pub async fn wait_ended(&self, unit: &UnitName) -> Result<UnitStatus, UnitError> {
        let _ = unit;
        todo!()
    }
    /// The processes of a unit's control group, sorted.
    pub async fn processes(&self, unit: &UnitName) -> Result<Vec<u32>, UnitError> {
        let _ = unit;
        todo!()
    }
    /// Makes PID 1 read unit files and run generators again.
    pub async fn daemon_reload(&self) -> Result<(), UnitError> {
        todo!()
    }
    /// Starts a transient service; returns when its process runs (`Type=exec`).
    pub async fn run(&self, spec: Transient) -> Result<Running, UnitError> {
        let _ = spec;
        todo!()
    }
    /// Awaits the end of a transient service and all its processes, and lets PID 1 forget it.
    pub async fn wait(&self, running: Running) -> Result<Exit, UnitError> {
        let _ = running;
        todo!()
    }
    /// Stops a transient service and awaits its end.
    pub async fn end(&self, running: Running) -> Result<(), UnitError> {
        let _ = running;
        todo!()
    }
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
