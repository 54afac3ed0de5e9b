//! A staged release on its way to be live: what staging left out, since it would have touched what is live, and what
//! may have changed since.

use super::{deployment::Deployment, error::EngineError};
use crate::plan::Staged;

impl Deployment<'_> {
    /// Judges the key against the release that is live now, and runs the steps that migrate.
    pub async fn complete(&mut self, staged: &Staged) -> Result<(), EngineError> {
        let cancel = self.cancel.clone();
        cancel.guard(self.judge_key(&staged.markers)).await?;
        for step in &staged.steps {
            self.migrate(step).await?;
        }
        Ok(())
    }
}
