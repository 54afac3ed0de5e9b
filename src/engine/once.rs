//! Steps that are run once for a release: noted before they run and after they have, so that no later deployment runs one
//! again unasked, nor takes one for run that was cut off.

use super::{deployment::Deployment, error::EngineError};
use crate::{config::Step, model::StepRun};

impl Deployment<'_> {
    /// Notes that a step is begun; to be saved before it is.
    pub fn note_begun(&mut self, step: &Step) {
        if !step.once {
            return;
        }
        let release = &self.plan.release;
        let known: Vec<_> = self.state.releases.iter().map(|one| &one.id).chain([release]).collect();
        let other = |run: &StepRun| run.release != *release || run.step != step.name;
        self.state.once.retain(|run| known.contains(&&run.release) && other(run));
        self.state.once.push(StepRun {
            step: step.name.clone(),
            release: release.clone(),
            deployment: self.plan.id.clone(),
            ended: false,
        });
    }

    /// Notes how it ended: one that failed by itself may run again, and of one that was cut off nobody knows.
    pub fn note_ended(&mut self, step: &Step, ended: &Result<(), EngineError>) {
        let (release, runs) = (&self.plan.release, &mut self.state.once);
        let this = |run: &StepRun| run.release == *release && run.step == step.name;
        match ended {
            Ok(()) => runs.iter_mut().filter(|run| this(run)).for_each(|run| run.ended = true),
            Err(EngineError::Step { ended: true, .. }) => runs.retain(|run| !this(run)),
            Err(_) => {}
        }
    }
}
