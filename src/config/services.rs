//! Services as needed: what each kind is, and how an existing unit moves. Every value parsed and valid ever after.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;

use crate::model::{Slot, UnitName};

/// A service: one systemd unit, or a set of slots, that runs the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// For people and records: the kind (`php-fpm`), or the unit's name. Unique in the app.
    pub name: String,
    /// What it is.
    pub kind: ServiceKind,
    /// The longest that draining may take.
    pub drain: Duration,
}

impl Service {
    /// What runs in its slots, if it has slots.
    pub fn slots(&self) -> Option<&SlotKind> {
        match &self.kind {
            ServiceKind::Slots(kind) => Some(kind),
            ServiceKind::Scheduler(_) | ServiceKind::Unit { .. } => None,
        }
    }
}

/// What a service is and how it moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// Laravel's scheduler: a timer of ours.
    Scheduler(Scheduler),
    /// An existing unit.
    Unit {
        /// Its name; with [`Strategy::Rolling`] a template's, `web@.service`.
        unit: UnitName,
        /// How it moves.
        strategy: Strategy,
    },
    /// Slots, by handover.
    #[serde(untagged)]
    Slots(SlotKind),
}

/// What runs in slots, and is handed over from one to the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotKind {
    /// php-fpm, behind a link to its socket.
    PhpFpm(PhpFpm),
    /// Laravel Octane, behind an upstream of nginx.
    Octane(Octane),
    /// Any HTTP program, behind an upstream of nginx.
    Http(Http),
    /// Laravel Horizon.
    Horizon(Horizon),
    /// `queue:work`.
    Queue(Queue),
}

impl SlotKind {
    /// The slots that it may use.
    pub fn slots(&self) -> Vec<Slot> {
        match self {
            Self::Octane(Octane { web, .. }) | Self::Http(Http { web, .. }) => {
                web.slots().map(|(slot, _)| slot).collect()
            }
            Self::PhpFpm(_) | Self::Horizon(_) | Self::Queue(_) => Slot::ALL.into(),
        }
    }

    /// Where nginx reaches it, if that is by port.
    pub fn web(&self) -> Option<&Web> {
        match self {
            Self::Octane(Octane { web, .. }) | Self::Http(Http { web, .. }) => Some(web),
            Self::PhpFpm(_) | Self::Horizon(_) | Self::Queue(_) => None,
        }
    }

    /// Whether it takes jobs by itself instead of requests that it is given: it is paused, not pointed away from.
    pub fn takes_jobs(&self) -> bool {
        matches!(self, Self::Horizon(_) | Self::Queue(_))
    }
}

/// php-fpm in slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhpFpm {
    /// As `8.2`; empty when the binary's name has none.
    pub version: String,
    /// `/usr/sbin/php-fpm8.2`.
    pub binary: PathBuf,
    /// Its pool.
    pub pool: Pool,
    /// What is asked of a new slot: `REQUEST_URI`.
    pub probe: String,
    /// `public`: the site's document root, relative to a release.
    pub public: String,
    /// No stricter than Debian's unit, or strict.
    pub strict: bool,
    /// The memory of one slot when it is at `pm.max_children`, in MiB, for the plan's warning; 0 means not known.
    pub memory_mib: u64,
}

/// A pool's directives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// The site's own file, used as it is but for `listen*`, `user` and `group`.
    File(PathBuf),
    /// From `[service.pool]` over a sane default.
    Directives(BTreeMap<String, String>),
}

/// What a service that nginx reaches by port listens on and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Web {
    /// One for each slot, of 127.0.0.1: 2 to 4.
    pub ports: Vec<u16>,
    /// What is asked of a new slot: path and query.
    pub probe: String,
    /// The longest that a start may take, until the probe has its answer.
    pub start: Duration,
}

impl Web {
    /// The slots there are, each with its port.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, u16)> {
        Slot::ALL.into_iter().zip(self.ports.iter().copied())
    }

    /// A slot's port; none when there are fewer slots.
    pub fn port(&self, slot: Slot) -> Option<u16> {
        self.slots().find(|(one, _)| *one == slot).map(|(_, port)| port)
    }
}

/// Laravel Octane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Octane {
    /// Which server.
    pub server: OctaneServer,
    /// Where nginx finds it.
    pub web: Web,
    /// RoadRunner's RPC and FrankenPHP's admin ports, one for each slot; empty for Swoole.
    pub admin_ports: Vec<u16>,
    /// `--workers`; none: as many as there are cores.
    pub workers: Option<u32>,
    /// `--task-workers` (Swoole).
    pub task_workers: Option<u32>,
    /// `--max-requests`.
    pub max_requests: u32,
    /// The PHP command line: a name that systemd looks up, or a path.
    pub php: String,
    /// No stricter than a plain unit, or strict.
    pub strict: bool,
}

/// An Octane server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OctaneServer {
    /// Swoole or Open Swoole.
    Swoole,
    /// RoadRunner.
    Roadrunner,
    /// FrankenPHP.
    Frankenphp,
}

impl OctaneServer {
    /// Its name, as `--server=` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Swoole => "swoole",
            Self::Roadrunner => "roadrunner",
            Self::Frankenphp => "frankenphp",
        }
    }
}

/// Any HTTP program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Http {
    /// How it is run.
    pub program: Program,
    /// Where nginx finds it.
    pub web: Web,
}

/// How an HTTP program is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// The site's own template unit: `shop-web@.service`.
    Unit(UnitName),
    /// A command in the package's template.
    Run {
        /// Program and arguments; never a shell string.
        run: Vec<String>,
        /// No stricter than a plain unit, or strict.
        strict: bool,
    },
}

/// Laravel Horizon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Horizon {
    /// The PHP command line: a name that systemd looks up, or a path.
    pub php: String,
    /// No stricter than a plain unit, or strict.
    pub strict: bool,
}

/// `queue:work`. What is none is left to artisan's own default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// The connection; none: the app's default.
    pub connection: Option<String>,
    /// `--queue`, strongest first; empty: the connection's default.
    pub queues: Vec<String>,
    /// Workers side by side.
    pub processes: u32,
    /// `--tries`.
    pub tries: Option<u32>,
    /// `--timeout`, in seconds.
    pub timeout: Option<u32>,
    /// `--memory`, in MB.
    pub memory: Option<u32>,
    /// `--sleep`, in seconds.
    pub sleep: Option<u32>,
    /// `--max-jobs`.
    pub max_jobs: Option<u32>,
    /// `--max-time`, in seconds.
    pub max_time: Option<u32>,
    /// `--backoff`, in seconds.
    pub backoff: Option<u32>,
    /// The PHP command line: a name that systemd looks up, or a path.
    pub php: String,
    /// No stricter than a plain unit, or strict.
    pub strict: bool,
}

/// Laravel's scheduler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Scheduler {
    /// The PHP command line: a name that systemd looks up, or a path.
    pub php: String,
    /// No stricter than a plain unit, or strict.
    pub strict: bool,
}

/// How an existing unit moves to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// `ReloadUnit`, then every process of before but the main one is watched until it is gone.
    Reload,
    /// `RestartUnit`.
    Restart,
    /// Nothing is done: the next request reads the new release. Only where that is proved.
    Warm,
    /// A signal to the main process, then every process of before but the main one is watched until it is gone.
    Signal {
        /// Without `SIG`: `USR2`.
        signal: String,
    },
    /// The instances of a template one after the other.
    Rolling(Rolling),
}

impl Strategy {
    /// Its name, as it is written.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Warm => "warm",
            Self::Signal { .. } => "signal",
            Self::Rolling(_) => "rolling",
        }
    }
}

/// The instances of a template, a few at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rolling {
    /// The instances' names, in order; empty: those that are active.
    pub instances: Vec<String>,
    /// How many at a time.
    pub parallel: u32,
    /// Between one lot and the next.
    pub delay: Duration,
    /// The new before the old, or the other way round.
    pub start_first: bool,
    /// What each must answer: a URL with `{instance}` in it.
    pub probe: Option<String>,
    /// The longest that one may take until it answers.
    pub start: Duration,
    /// What happens when an instance does not answer.
    pub on_failure: OnFailure,
}

/// What happens when an instance does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// Everything goes back.
    Rollback,
    /// The others stay as they are; a person decides.
    Pause,
}
