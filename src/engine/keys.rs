//! The application's key: another one than the live release's makes what that encrypted unreadable, sessions too. Known
//! here by a keyed digest only; the key itself stays in the worker.

use std::time::Duration;

use super::{
    deployment::{Deployment, unexpected},
    error::EngineError,
};
use crate::{
    model::{events, printable},
    observe::is_digest,
    plan::Stage,
    system::{journal::Priority, random},
    worker::order::{Answer, Order},
};

/// Where the package installs the probe.
const PROBE: &str = "/usr/share/deployd/probe/keys.php";
/// It loads a configuration.
const LIMIT: Duration = Duration::from_secs(60);
/// What tells a Laravel application.
const ARTISAN: &str = "artisan";

impl Deployment<'_> {
    /// The same for a release that is being made, once: before it migrates.
    pub async fn judge_key_once(&mut self, stage: &Stage) -> Result<(), EngineError> {
        match self.state.keys.releases.contains_key(&self.plan.release) {
            true => Ok(()),
            false => self.judge_key(&stage.markers).await,
        }
    }

    /// Refuses a release with another key than the live one's, unless the framework still decrypts with that.
    pub async fn judge_key(&mut self, markers: &[String]) -> Result<(), EngineError> {
        if !markers.iter().any(|marker| marker == ARTISAN) {
            return Ok(());
        }
        let (current, previous) = match self.keys().await {
            Ok(keys) => keys,
            Err(error) => {
                let message = format!("whether the application's key is another one is not known: {error}");
                self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &printable(&message), &[]);
                return Ok(());
            }
        };
        let live = self.plan.from.as_ref().and_then(|live| self.state.keys.releases.get(live));
        if live.is_some_and(|live| rotated(live, current.as_deref(), &previous)) {
            let why = "the application's key (APP_KEY) is another one than the live release's, and that is not among \
                       the previous keys: what it encrypted, sessions too, could not be read any more";
            if !self.request.allow.key_rotation {
                let remedy = format!(
                    "put the old key into APP_PREVIOUS_KEYS (from Laravel 11 on), or `deployctl {} {} \
                     --allow-key-rotation`",
                    self.plan.kind, self.plan.app
                );
                return Err(EngineError::Refused { why: why.into(), remedy });
            }
            self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, why, &[]);
        }
        let known: Vec<_> = self.state.releases.iter().map(|release| release.id.clone()).collect();
        self.state.keys.releases.retain(|id, _| known.contains(id));
        if let Some(current) = current {
            self.state.keys.releases.insert(self.plan.release.clone(), current);
        }
        Ok(())
    }

    /// The digests of the release's key and of those it still decrypts with.
    async fn keys(&mut self) -> Result<(Option<String>, Vec<String>), EngineError> {
        if self.state.keys.salt.is_empty() {
            self.state.keys.salt =
                random::digits(32).map_err(|error| EngineError::Other(format!("no random salt: {error}")))?;
        }
        let site = self.site();
        let order = Order::Keys {
            run: site.command(&["php", PROBE].map(str::to_owned))?,
            release: site.dir(),
            environment: site.environment(),
            salt: self.state.keys.salt.clone(),
            timeout: LIMIT,
        };
        let mut worker = self.inspector("keys").await?;
        let answer = worker.ask(&order, LIMIT * 2).await;
        worker.finish().await?;
        match answer? {
            Answer::Keys { current, previous } if current.iter().chain(&previous).all(|digest| is_digest(digest)) => {
                Ok((current, previous))
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// Whether what the live key encrypted can no longer be read.
fn rotated(live: &str, current: Option<&str>, previous: &[String]) -> bool {
    current != Some(live) && !previous.iter().any(|key| key == live)
}

#[cfg(test)]
mod tests {
    use super::rotated;

    #[test]
    fn a_key_may_change_when_the_old_one_is_still_read() {
        let previous = ["b".to_owned(), "a".to_owned()];
        assert!(!rotated("a", Some("a"), &[]) && !rotated("a", Some("c"), &previous));
        assert!(rotated("a", Some("c"), &[]) && rotated("a", None, &[]) && rotated("x", Some("c"), &previous));
    }
}
