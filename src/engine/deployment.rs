//! One running deployment: what all its parts need, and its write-ahead journal.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use super::{
    cancel::Cancel,
    error::EngineError,
    layout::{Layout, Next},
    progress::Progress,
    site::Site,
    store::Store,
};
use crate::{
    config::Settings,
    model::{AppState, Phase, Request, Running, Slot},
    observe::Host,
    plan::{Move, Plan, Start},
    worker::{
        client::{Worker, WorkerError},
        order::{Answer, Order},
    },
};

/// Work in the tree may take this long in all before it is given up.
pub const WORK_LIMIT: Duration = Duration::from_secs(60 * 60);

/// The slots that were reached for a deployment, by service: what is stopped if it is given up, at whatever moment.
pub type Started = Rc<RefCell<BTreeMap<String, Slot>>>;

/// One running deployment.
#[derive(Debug)]
pub struct Deployment<'a> {
    /// The host it runs on.
    pub host: &'a Host,
    /// The app's settings, as they were at its start.
    pub settings: &'a Settings,
    /// What was asked.
    pub request: &'a Request,
    /// What was decided.
    pub plan: &'a Plan,
    /// The record.
    pub store: &'a Store,
    /// What it tells.
    pub progress: &'a Progress,
    /// Whether it shall stop.
    pub cancel: &'a Cancel,
    /// The app's directories.
    pub layout: Layout,
    /// The app's state; saved with [`Deployment::save`].
    pub state: AppState,
    /// The directory that the worker in `tree` may write, which the release takes.
    pub next: Option<Next>,
    /// The worker in the release's tree, once it is needed.
    pub tree: Option<Worker>,
    /// The worker that runs proving commands, once it is needed.
    pub prober: Option<Worker>,
    /// The slots that were started for it.
    pub started: Started,
    /// Whether a slot of the fleet was asked for.
    pub takes_slot: bool,
    /// How many of the plan's services were begun to be moved.
    pub moved: usize,
    /// Since when no worker takes jobs, by service.
    pub paused: std::collections::BTreeMap<String, std::time::Instant>,
    /// Seconds since 1970.
    pub started_at: i64,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl<'a> Deployment<'a> {
    /// The plan's release, for commands in it.
    pub fn site(&self) -> Site<'a> {
        let plan = self.plan;
        Site { host: self.host, settings: self.settings, deployment: &plan.id, release: &plan.release }
    }

    /// `<root>/releases/ID` of the plan's release.
    pub fn release_dir(&self) -> std::path::PathBuf {
        self.site().dir()
    }

    /// Writes the state; durable when it returns.
    pub fn save(&self) -> Result<(), EngineError> {
        self.store.save(&self.state)
    }

    /// Notes how far it is, durably: before the effects of that phase.
    pub fn journal(&mut self, phase: Phase) -> Result<(), EngineError> {
        let slots = self.plan.live.iter().flat_map(|live| &live.moves).filter_map(|one| match one {
            Move::Handover(handover) => Some((handover.service.clone(), handover.to)),
            Move::Scheduler { .. } | Move::Unit { .. } => None,
        });
        self.state.running = Some(Running {
            id: self.plan.id.clone(),
            kind: self.plan.kind,
            actor: self.request.actor.to_string(),
            phase,
            from: self.plan.from.clone(),
            to: self.plan.release.clone(),
            fresh: self.plan.stage.is_some(),
            slots: slots.collect(),
            started_at: self.started_at,
        });
        self.save()
    }

    /// A slot that is given up for this deployment is no longer what a rollback may point at: noted durably before it
    /// drains, so that nobody takes the new release in it for the old one.
    pub fn forget_taken(&mut self) -> Result<(), EngineError> {
        let before = self.state.fallback.len();
        for one in self.plan.live.iter().flat_map(|live| &live.moves) {
            if let Move::Handover(handover) = one
                && handover.start != Start::Running
            {
                self.state.fallback.retain(|service, kept| *service != handover.service || kept.slot != handover.to);
            }
        }
        if self.state.fallback.len() == before { Ok(()) } else { self.save() }
    }

    /// Gives an order to the worker in the release's tree, starting it at first.
    pub async fn ask_tree(&mut self, order: &Order) -> Result<Answer, EngineError> {
        self.open_tree().await?;
        match self.tree.as_mut() {
            Some(worker) => Ok(worker.ask(order, WORK_LIMIT).await?),
            None => Err(EngineError::Other("the worker is not there".into())),
        }
    }

    /// Starts the worker in the release's tree, if it is not there yet.
    pub async fn open_tree(&mut self) -> Result<(), EngineError> {
        if self.tree.is_none() {
            let release = self.plan.stage.is_some().then(|| self.plan.release.as_str());
            let reach = self.host.tree_reach(self.settings, release);
            let worker = self.host.worker(self.settings, &self.plan.id, "release", &self.settings.user, reach).await?;
            self.tree = Some(worker);
        }
        Ok(())
    }
}

/// An answer that belongs to another order.
pub fn unexpected(answer: &Answer) -> EngineError {
    WorkerError::unexpected(answer).into()
}
