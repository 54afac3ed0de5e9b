//! How a deployment ended: told once to everyone who listens, and recorded.

use super::{deployment::now, progress::Progress, store::Store};
use crate::{
    model::{Actor, DeploymentRecord, Outcome, ReleaseId, Request, events, printable},
    plan::Plan,
    system::journal::Priority,
};

/// How a deployment ended.
#[derive(Debug)]
pub struct End {
    /// The outcome.
    pub outcome: Outcome,
    /// In one line: what happened, or why not, and then the remedy.
    pub message: String,
    /// What it was about, as far as it came.
    pub about: About,
}

/// What a deployment was about, as far as it was known when it ended.
#[derive(Debug, Default)]
pub struct About {
    /// What `current` named before.
    pub from: Option<ReleaseId>,
    /// The release.
    pub to: Option<ReleaseId>,
    /// Its revision.
    pub revision: Option<String>,
    /// Why there was something to do.
    pub reasons: Vec<String>,
}

impl About {
    /// Of a plan.
    pub fn plan(plan: &Plan) -> Self {
        Self {
            from: plan.from.clone(),
            to: Some(plan.release.clone()),
            revision: Some(plan.revision.clone()),
            reasons: plan.reasons.clone(),
        }
    }
}

impl End {
    /// An end before anything was known of a release.
    pub fn early(outcome: Outcome, message: impl Into<String>) -> Self {
        Self { outcome, message: message.into(), about: About::default() }
    }
}

/// A reason and its remedy in one line.
pub fn sentence(reason: &str, remedy: Option<&str>) -> String {
    match remedy {
        Some(remedy) => printable(&format!("{reason}; {remedy}")),
        None => printable(reason),
    }
}

/// Records the end and tells it: journal, status line, bus. Returns the record.
pub fn finish(
    request: &Request,
    store: Option<&Store>,
    progress: &Progress,
    started_at: i64,
    end: End,
) -> DeploymentRecord {
    let End { outcome, message, about } = end;
    if let Some(release) = &about.to {
        progress.about(release);
    }
    let record = DeploymentRecord {
        id: request.id.clone(),
        kind: request.kind,
        actor: request.actor.to_string(),
        outcome,
        message: message.clone(),
        from: about.from,
        to: about.to,
        revision: about.revision,
        reasons: about.reasons,
        started_at: if started_at == 0 { now() } else { started_at },
        live_ms: progress.live_ms(),
        wall_ms: progress.wall_ms(),
        timings: progress.timings(),
    };
    match store.map(|store| if says_nothing_new(store, request, &record) { Ok(()) } else { store.save_record(&record) })
    {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::error!("the record of deployment {} could not be written: {error}, ignoring", request.id);
            progress.unrecorded(&record);
        }
        None => progress.unrecorded(&record),
    }
    let (event, priority) = event_of(outcome);
    let status = request.exit_line(outcome, &message);
    progress.event(event, priority, &status, &[("DEPLOYD_OUTCOME", outcome.as_str())]);
    progress.done(&status);
    record
}

/// Whether a record would only push older ones out: a timer that finds nothing new, or the same obstacle once more. The
/// journal has it.
fn says_nothing_new(store: &Store, request: &Request, record: &DeploymentRecord) -> bool {
    match (&request.actor, record.outcome) {
        (Actor::Timer, Outcome::Unchanged) => true,
        (Actor::Timer, Outcome::Rejected) => {
            let newest = store.newest_record().ok().flatten();
            newest.is_some_and(|one| one.outcome == record.outcome && one.message == record.message)
        }
        _ => false,
    }
}

fn event_of(outcome: Outcome) -> (events::EventId, Priority) {
    match outcome {
        Outcome::Succeeded => (events::DEPLOYMENT_SUCCEEDED, Priority::Notice),
        Outcome::Unchanged => (events::DEPLOYMENT_UNCHANGED, Priority::Info),
        Outcome::Rejected => (events::DEPLOYMENT_REJECTED, Priority::Error),
        Outcome::Failed => (events::DEPLOYMENT_FAILED, Priority::Error),
        Outcome::RolledBack => (events::DEPLOYMENT_ROLLED_BACK, Priority::Error),
        Outcome::Cancelled => (events::DEPLOYMENT_CANCELLED, Priority::Warning),
        Outcome::Stuck => (events::DEPLOYMENT_STUCK, Priority::Error),
    }
}
