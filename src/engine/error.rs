//! Why a deployment could not go on, and the way out.

use std::time::Duration;

use crate::{
    model::{AppName, Refused, Refusing, ReleaseId, Reply, UnitName, printable},
    observe::ObserveError,
    system::{tree::TreeError, units::UnitError},
    worker::client::WorkerError,
};

/// Why a deployment could not go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Observation failed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A unit did not do what it was asked.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// A directory of root's could not be worked on.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A worker did not do it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The record cannot be read or written.
    #[error("{place}: {wrong}")]
    Record {
        /// The file.
        place: String,
        /// What is wrong.
        wrong: String,
    },
    /// What an event of the journal has told already: nobody tells it again.
    #[error("{0}")]
    Told(String),
    /// A step ended badly.
    #[error("the step {name} {how}")]
    Step {
        /// Its name.
        name: String,
        /// `failed with exit status 3`, `did not end within 10min`.
        how: String,
        /// Its unit, for its output.
        unit: String,
        /// By itself: nothing cut it off.
        ended: bool,
    },
    /// It would do harm that nobody allowed: to the live release, or to what it has encrypted.
    #[error("{why}")]
    Refused {
        /// Which, and why.
        why: String,
        /// The safe pattern, and how to go on all the same.
        remedy: String,
    },
    /// The live release did not survive them.
    #[error("{why}")]
    BrokenByMigrations {
        /// What does not answer any more.
        why: String,
        /// What has run, and how to go on.
        remedy: String,
    },
    /// A probe or a health check said no.
    #[error("{what}: {detail}")]
    Unhealthy {
        /// Which, of what.
        what: String,
        /// What was answered.
        detail: String,
    },
    /// The site's own pool cannot be used.
    #[error(transparent)]
    PoolFile(#[from] crate::observe::PoolError),
    /// The slot's configuration cannot be made.
    #[error("{0}")]
    Pool(String),
    /// Old processes or slots were still there at the limit.
    #[error("{unit} still has {left} old processes after {limit:?}")]
    NotGone {
        /// Which.
        unit: UnitName,
        /// How many.
        left: usize,
        /// The drain limit.
        limit: Duration,
    },
    /// A rolling update stopped where it was, as it was asked to.
    #[error("{unit} is paused: {why}")]
    Paused {
        /// The template.
        unit: UnitName,
        /// What failed.
        why: String,
    },
    /// nginx, or what stands for it, did not take its new configuration.
    #[error("{unit} did not take its new configuration: {detail}")]
    NotReloaded {
        /// Which.
        unit: UnitName,
        /// What was seen, or its own words.
        detail: String,
    },
    /// Jobs wait that the release to come cannot run.
    #[error("{0}")]
    MissingJobs(String),
    /// Whether such jobs wait is not known.
    #[error("{0}")]
    UnknownJobs(String),
    /// A slot could not be drained, and runs on.
    #[error("{why}")]
    NotDrained {
        /// Which, and why.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// It was asked to stop before activate.
    #[error("cancelled before activate; nothing live was changed")]
    Cancelled,
    /// A unit cannot be named so.
    #[error(transparent)]
    Name(#[from] crate::model::BadName),
    /// There is no such app.
    #[error("there is no app {0}: write /etc/deployd/apps/{0}.toml")]
    NoSuchApp(AppName),
    /// The app has no such release.
    #[error("app {0} has no release {1}; `deployctl releases {0}` lists them")]
    NoSuchRelease(AppName, ReleaseId),
    /// The app's configuration has errors.
    #[error("{0}")]
    BadConfig(String),
    /// Something else that this place can put in a sentence.
    #[error("{0}")]
    Other(String),
}

/// What is left for whoever asked.
pub fn reply<T>(answer: Result<T, EngineError>) -> Reply<T> {
    answer.map_or_else(|error| Reply::Refused(error.refused()), Reply::Done)
}

impl EngineError {
    fn refused(&self) -> Refused {
        let kind = match self {
            Self::NoSuchApp(_) => Refusing::NoSuchApp,
            Self::NoSuchRelease(..) => Refusing::NoSuchRelease,
            Self::BadConfig(_) => Refusing::BadConfig,
            _ => Refusing::Failed,
        };
        let remedy = self.remedy().map_or_else(String::new, |remedy| format!("; {remedy}"));
        Refused { kind, why: printable(&format!("{self}{remedy}")) }
    }

    /// The way out, when there is one to name.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Worker(WorkerError::Refused { remedy, .. })
            | Self::Observe(ObserveError::Worker(WorkerError::Refused { remedy, .. })) => remedy.clone(),
            Self::NotReloaded { unit, .. } => {
                Some(format!("see `nginx -t` and `journalctl -u {unit}`, then deploy again"))
            }
            Self::MissingJobs(_) => Some(
                "let them end, keep the class until they have, or write missing_jobs = \"warn\" in [safety]".into(),
            ),
            Self::Refused { remedy, .. } | Self::BrokenByMigrations { remedy, .. } => Some(remedy.clone()),
            Self::UnknownJobs(_) => Some(
                "put that right (the release has to boot, and to reach its queue), or write missing_jobs = \"warn\" in \
                 [safety]"
                    .into(),
            ),
            Self::NotGone { unit, .. } => Some(format!(
                "write a longer drain for {unit}, or see what its processes do: `systemctl status {unit}`"
            )),
            Self::NotDrained { remedy, .. } => Some(remedy.clone()),
            Self::Step { unit, .. } => Some(format!("its output: `journalctl -u {unit}`")),
            _ => None,
        }
    }
}

/// Tells a report of several lines in as many: a reader of the journal shows each as it is.
pub fn tell_lines(report: &str) {
    report.lines().for_each(|line| tracing::error!("{line}"));
}
