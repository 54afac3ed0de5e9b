//! What a check needs to know of the host. A value; `observe` reads it. What could not be read is not as if it were
//! empty: it is named in [`Facts::unread`].

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{Directive, Entry};
use crate::{
    config::{Origin, Who},
    model::AppName,
};

/// What was read of the host.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Facts {
    /// The unit of each service by the service's name; of slots one that stands for all.
    pub units: BTreeMap<String, UnitFacts>,
    /// php-fpm's files, of each service that is php-fpm.
    pub fpm: BTreeMap<String, FpmFacts>,
    /// nginx's configuration, its includes in place.
    pub nginx: Vec<Directive>,
    /// The socket link that nginx is to connect through, when there are php-fpm slots.
    pub fpm_link: Option<PathBuf>,
    /// Ports of idle slots on which somebody listens.
    pub taken: Vec<TakenPort>,
    /// Lines that name the app's root, and run by themselves.
    pub jobs: Vec<ForeignJob>,
    /// Processes with their working directory in the tree, none of them of a service of the app or of deployd.
    pub processes: Vec<ForeignProcess>,
    /// Other services that could write into the app's releases.
    pub writers: Vec<String>,
    /// What must be root's, as it is.
    pub owned: Vec<Owned>,
    /// An app whose root overlaps this one's.
    pub neighbour: Option<Neighbour>,
    /// The file system that the root is on.
    pub disk: Option<DiskFacts>,
    /// What one slot of each php-fpm service takes at its fullest, in MiB; 0: not known.
    pub slot_memory_mib: BTreeMap<String, u64>,
    /// MemAvailable, in MiB.
    pub memory_available_mib: Option<u64>,
    /// What the live release says of itself, looked at as the app's user; none when it was not asked.
    pub app: Option<AppFacts>,
    /// Whom `[access]` names, and the host does not know.
    pub strangers: Vec<Who>,
    /// What should have been looked at and could not be.
    pub unread: Vec<Unread>,
}

/// Another app whose root is this one's, or in it, or has it in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// Which.
    pub app: AppName,
    /// Where it is described.
    pub file: PathBuf,
    /// Its root.
    pub root: PathBuf,
}

impl Neighbour {
    /// What to do about it.
    pub const REMEDY: &str = "give each app a root of its own, or remove the file that is not used any more";
}

/// A unit as PID 1 has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitFacts {
    /// Its name.
    pub unit: String,
    /// `KillSignal=`, a number.
    pub kill_signal: i32,
    /// `KillMode=`.
    pub kill_mode: String,
    /// `TimeoutStopSec=`; none: infinity.
    pub stop_timeout: Option<Duration>,
    /// `ExecStart=`, program and arguments of each.
    pub exec: Vec<Vec<String>>,
}

/// php-fpm's files, as the master of a service reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FpmFacts {
    /// Its main file; none for slots, whose file is deployd's.
    pub main: Option<PathBuf>,
    /// `process_control_timeout` in the main file, if it is written.
    pub process_control_timeout: Option<Entry>,
    /// php.ini and the files beside it, in the order in which they are read.
    pub ini: Vec<Entry>,
    /// Pools of this master that serve the app.
    pub pools: Vec<PoolFacts>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolFacts {
    /// Between the brackets.
    pub name: String,
    /// Its directives.
    pub entries: Vec<Entry>,
}

/// A slot's port that is somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenPort {
    /// The service.
    pub service: String,
    /// The slot.
    pub slot: String,
    /// Of 127.0.0.1.
    pub port: u16,
}

/// Something that runs by itself and names the app's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignJob {
    /// By which program.
    pub by: Scheduler,
    /// Where it stands.
    pub at: Origin,
    /// The program's name, or the line.
    pub what: String,
    /// What it runs.
    pub command: String,
}

/// Who runs a foreign job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Scheduler {
    /// cron.
    Cron,
    /// supervisord.
    Supervisor,
}

/// A process in the tree that nobody of ours started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignProcess {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// The unit or session it is in; empty: not known.
    pub unit: String,
}

/// A path that must be root's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owned {
    /// Which.
    pub path: PathBuf,
    /// Its owner.
    pub uid: u32,
    /// Permission bits; of a link 0.
    pub mode: u32,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskFacts {
    /// Bytes free for the app's user.
    pub free: u64,
    /// Inodes free; none: the file system does not count them.
    pub free_inodes: Option<u64>,
    /// What kind it is, as statfs(2) numbers them; 0: not known.
    pub kind: i64,
    /// The largest release that is recorded, in bytes and files; 0: none is.
    pub largest: (u64, u64),
}

/// What the live release says of itself. The words in it are an app user's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AppFacts {
    /// The live release's name.
    pub release: String,
    /// Laravel's configuration, of the keys that matter.
    pub config: BTreeMap<String, String>,
    /// Paths changed since the release was sealed, the first few, and how many there are.
    pub changed: (Vec<String>, u64),
    /// PHP files and their bytes.
    pub php: (u64, u64),
    /// Lines of the crontab of a user of the app that name the root: user, line and text.
    pub crontab: Vec<(String, usize, String)>,
}

/// Something that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// A file, or what was asked.
    pub what: String,
    /// Why not.
    pub why: String,
}
