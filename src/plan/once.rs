//! Steps that are run once for a release: what has run is left out, and what may have run is for a person to say. Pure.

use std::collections::BTreeMap;

use super::{decide::refusal, value::Refusal};
use crate::{
    config::Step,
    model::{AppName, DeploymentId, ReleaseId, Request},
    observe::Observed,
};

/// The steps that are still to be run for a release; the others go to `skipped`, with the reason.
pub(super) fn once(
    observed: &Observed,
    request: &Request,
    release: &ReleaseId,
    steps: Vec<Step>,
    skipped: &mut BTreeMap<String, String>,
) -> Result<Vec<Step>, Refusal> {
    let mut left = Vec::new();
    for step in steps {
        let runs = observed.state.once.iter().rev();
        let run = runs.filter(|_| step.once && !request.allow.run_again);
        match run.into_iter().find(|run| run.release == *release && run.step == step.name) {
            Some(run) if run.ended => {
                let again = again(&request.app, release);
                let why =
                    format!("it has run for {release} in the deployment {}, and runs once; {again}", run.deployment);
                skipped.insert(step.name, why);
            }
            // Of migrations the application itself tells which have run, where it was asked before.
            Some(run) if !(step.migrates() && told(observed, &run.deployment)) => {
                let why = format!(
                    "whether the step {} has run for {release} is unknown: the deployment {} was cut off meanwhile",
                    step.name, run.deployment
                );
                return Err(refusal(why, format!("look whether it has; {}", again(&request.app, release))));
            }
            _ => left.push(step),
        }
    }
    Ok(left)
}

/// Whether the migrations that a deployment was cut off in are known by their names.
fn told(observed: &Observed, deployment: &DeploymentId) -> bool {
    observed.state.migrating.as_ref().is_some_and(|begun| begun.deployment == *deployment && !begun.names.is_empty())
}

fn again(app: &AppName, release: &ReleaseId) -> String {
    format!("`deployctl activate {app} {release} --run-again` runs it once more")
}
