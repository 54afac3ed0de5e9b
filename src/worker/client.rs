//! The engine's side of a worker: starts it as a transient unit, hands it orders, reads its answers, strictly.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    task::JoinHandle,
};

use super::{
    order::{Answer, MAX_LINE, Order},
    sandbox::{self, Reach},
};
use crate::{
    model::{AppName, DeploymentId, UnitName, printable},
    system::units::{Pipes, Running, Transient, UnitError, Units},
};

/// Why a worker's order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its unit could not be started or ended.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// Its pipe broke: it ended in the middle of an order.
    #[error("the worker {unit} ended in the middle of its work: {detail} (see `journalctl -u {unit}`)")]
    Ended {
        /// Its unit.
        unit: UnitName,
        /// What was seen.
        detail: String,
    },
    /// It answered something that is no answer, or not one to the order.
    #[error("the worker {unit} gave an answer that is none: {detail}")]
    Answer {
        /// Its unit.
        unit: UnitName,
        /// What was wrong with it.
        detail: String,
    },
    /// It took longer than it may.
    #[error("the worker {unit} did not answer within {limit:?}")]
    Late {
        /// Its unit.
        unit: UnitName,
        /// The limit.
        limit: Duration,
    },
    /// It said why not.
    #[error("{reason}")]
    Refused {
        /// In one line.
        reason: String,
        /// The way out.
        remedy: Option<String>,
    },
}

impl WorkerError {
    /// An answer that belongs to another order.
    pub fn unexpected(answer: &Answer) -> Self {
        let text: String = format!("{answer:?}").chars().take(60).collect();
        Self::Refused { reason: format!("a worker gave the answer to another order: {text}"), remedy: None }
    }
}

/// What a worker is started as.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// Whose app.
    pub app: AppName,
    /// Which deployment.
    pub deployment: DeploymentId,
    /// What tells this worker from the deployment's others: `fetch`, `tree`, …
    pub role: &'static str,
    /// The user it runs as.
    pub user: String,
    /// The unit it dies with; none outside systemd.
    pub binds_to: Option<UnitName>,
    /// The app's slice.
    pub slice: String,
    /// The longest that it may live.
    pub limit: Duration,
    /// What it may reach.
    pub reach: Reach,
    /// Variables of its environment.
    pub environment: BTreeMap<String, String>,
    /// Files that PID 1 hands over, by name: what the user may not open itself.
    pub credentials: Vec<(String, PathBuf)>,
    /// The program: `deploy-engine` itself.
    pub program: PathBuf,
}

/// The longest sentence that is taken from a worker, in characters: it goes into records and onto the bus.
const MAX_SENTENCE: usize = 600;
/// How long a worker may take to leave after its last order.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// A running worker. One order at a time.
#[derive(Debug)]
pub struct Worker {
    unit: UnitName,
    units: Units,
    starting: Option<JoinHandle<Result<Running, UnitError>>>,
    orders: Option<pipe::Sender>,
    answers: BufReader<pipe::Receiver>,
}

impl Worker {
    /// Starts a worker; returns when PID 1 has begun with it. That it could not be started is told by the first order.
    pub async fn start(units: &Units, spec: WorkerSpec) -> Result<Self, WorkerError> {
        let name = format!("deploy-worker-{}-{}-{}.service", spec.app, spec.deployment, spec.role);
        let unit: UnitName = name.parse().map_err(|e: crate::model::BadName| pipe_trouble(&name, &e))?;
        let Pipes { orders, answers, its } = Pipes::make().map_err(|e| pipe_trouble(&name, &e))?;
        let transient = Transient {
            name,
            description: format!("Worker of {} ({})", spec.app, spec.role),
            exec: vec![spec.program.display().to_string(), "worker".into()],
            user: spec.user,
            environment: spec.environment,
            binds_to: spec.binds_to,
            slice: Some(spec.slice),
            journal_fields: BTreeMap::from([
                ("DEPLOYD_APP".into(), spec.app.to_string()),
                ("DEPLOYD_DEPLOYMENT".into(), spec.deployment.to_string()),
            ]),
            identifier: "deployd-worker".into(),
            stdio: Some(its),
            credentials: spec.credentials,
            limit: Some(spec.limit),
            properties: sandbox::worker(&spec.reach),
            ..Transient::default()
        };
        let begun = units.begin(transient).await?;
        let its_units = units.clone();
        let starting = tokio::spawn(async move { its_units.begun(begun).await });
        Ok(Self {
            unit,
            units: units.clone(),
            starting: Some(starting),
            orders: Some(orders),
            answers: BufReader::new(answers),
        })
    }

    /// Gives one order and awaits its answer; a refusal is an error.
    pub async fn ask(&mut self, order: &Order, limit: Duration) -> Result<Answer, WorkerError> {
        match tokio::time::timeout(limit, self.exchange(order)).await {
            Ok(Ok(Answer::Refused { reason, remedy })) => {
                Err(WorkerError::Refused { reason: sentence(&reason), remedy: remedy.map(|text| sentence(&text)) })
            }
            Ok(Ok(Answer::Probed { healthy, detail })) => Ok(Answer::Probed { healthy, detail: sentence(&detail) }),
            Ok(Err(ended @ WorkerError::Ended { .. })) => Err(self.why_not_started().await.unwrap_or(ended)),
            Ok(other) => other,
            Err(_) => Err(WorkerError::Late { unit: self.unit.clone(), limit }),
        }
    }

    /// One that does not answer may never have been a process.
    async fn why_not_started(&mut self) -> Option<WorkerError> {
        match self.starting.take()?.await {
            Ok(Ok(running)) => {
                self.starting = Some(tokio::spawn(std::future::ready(Ok(running))));
                None
            }
            Ok(Err(error)) => Some(error.into()),
            Err(_) => None,
        }
    }

    async fn exchange(&mut self, order: &Order) -> Result<Answer, WorkerError> {
        let unit = self.unit.clone();
        let ended = |detail: String| WorkerError::Ended { unit: unit.clone(), detail };
        let wrong = |detail: String| WorkerError::Answer { unit: unit.clone(), detail: printable(&detail) };
        let mut line = serde_json::to_vec(order).map_err(|e| wrong(e.to_string()))?;
        line.push(b'\n');
        let orders = self.orders.as_mut().ok_or_else(|| ended("it was already ended".into()))?;
        orders.write_all(&line).await.map_err(|e| ended(e.to_string()))?;
        let mut answer = Vec::new();
        let mut bounded = (&mut self.answers).take(MAX_LINE as u64);
        bounded.read_until(b'\n', &mut answer).await.map_err(|e| ended(e.to_string()))?;
        match answer.last() {
            None => Err(ended("no answer".into())),
            Some(b'\n') => serde_json::from_slice(&answer).map_err(|e| wrong(e.to_string())),
            Some(_) if answer.len() >= MAX_LINE => Err(wrong(format!("longer than {MAX_LINE} bytes"))),
            Some(_) => Err(ended("half an answer".into())),
        }
    }

    /// Ends the worker: its input is closed, it leaves by itself. Nothing waits for it unless it must be gone.
    pub async fn finish(mut self) -> Result<(), WorkerError> {
        self.orders = None;
        if let Some(starting) = self.starting.take() {
            let units = &self.units;
            let left = async move {
                match starting.await {
                    Ok(Ok(running)) => match units.wait(running).await {
                        // How it has left is of no use.
                        Ok(_) | Err(UnitError::Unseen(_)) => Ok(()),
                        Err(error) => Err(error),
                    },
                    Ok(Err(error)) => Err(error),
                    Err(_) => Ok(()),
                }
            };
            if tokio::time::timeout(LEAVE_LIMIT, left).await.is_err() {
                // One that was stopped by its own user would hold the app's lock for ever.
                self.units.stop(&self.unit).await?;
            }
        }
        Ok(())
    }
}

/// A worker's words, printable and bounded.
fn sentence(text: &str) -> String {
    printable(text).chars().take(MAX_SENTENCE).collect()
}

fn pipe_trouble(name: &str, error: &dyn std::fmt::Display) -> WorkerError {
    WorkerError::Unit(UnitError::Call { what: format!("start {name}"), detail: error.to_string() })
}
