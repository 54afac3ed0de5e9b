//! A release in which an app's commands are run, steps and probes: their program, their environment, and what of a
//! sealed release they may write.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::error::EngineError;
use crate::{
    config::{Settings, in_release},
    model::{DeploymentId, Paths, ReleaseId},
    observe::{Host, find_program, in_maintenance, search_path},
    worker::{client::Worker, sandbox::Reach},
};

/// A release in which commands are run, and on whose behalf.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The host.
    pub host: &'a Host,
    /// The app's settings.
    pub settings: &'a Settings,
    /// The deployment.
    pub deployment: &'a DeploymentId,
    /// The release.
    pub release: &'a ReleaseId,
}

impl Site<'_> {
    /// Where the release is.
    pub fn dir(&self) -> PathBuf {
        Paths::release_dir(&self.settings.root, self.release)
    }

    /// What services write in a release, and therefore its steps and probes too after the seal.
    pub fn writable(&self) -> Vec<PathBuf> {
        let dir = self.dir();
        self.settings.writable.iter().map(|path| dir.join(path)).collect()
    }

    /// The program as an absolute path: PID 1 takes no other. `php` is the PHP that serves.
    pub fn command(&self, run: &[String]) -> Result<Vec<String>, EngineError> {
        self.command_in(&self.dir(), run, false)
    }

    /// The same, where a relative program is in `dir`, and what builds finds the build's own programs.
    pub fn command_in(&self, dir: &Path, run: &[String], builds: bool) -> Result<Vec<String>, EngineError> {
        let (program, arguments) =
            run.split_first().ok_or_else(|| EngineError::Other("a step without a command".into()))?;
        let found = if program.contains('/') {
            // Below the release only the step itself looks.
            Some(dir.join(program))
        } else {
            find_program(self.settings, program, builds)
        };
        let path = found.ok_or_else(|| {
            EngineError::Other(format!(
                "the program {program} of a step is not in {}: install it, or write its path",
                search_path(self.settings, builds)
            ))
        })?;
        Ok([path.display().to_string()].into_iter().chain(arguments.iter().cloned()).collect())
    }

    /// What steps and probes of this app have in common: the settings' variables, and what they are run for.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let dir = self.dir();
        let settings = self.settings.environment.iter();
        let mut environment: BTreeMap<String, String> =
            settings.map(|(name, value)| (name.clone(), in_release(value, &dir))).collect();
        environment.extend([
            ("DEPLOYD_APP".to_owned(), self.settings.app.to_string()),
            ("DEPLOYD_DEPLOYMENT".to_owned(), self.deployment.to_string()),
            ("DEPLOYD_RELEASE".to_owned(), self.release.to_string()),
        ]);
        environment
    }

    /// Whether the app is in maintenance mode now.
    pub async fn in_maintenance(&self) -> Result<bool, EngineError> {
        Ok(in_maintenance(self.host, self.settings, self.deployment).await?)
    }

    /// A worker for commands that prove the sealed release: the user of its services, who can write what they can.
    pub async fn prober(&self, role: &'static str) -> Result<Worker, EngineError> {
        let settings = self.settings;
        let mut write = vec![settings.root.join("shared")];
        if settings.user == settings.run_as {
            write.push(self.host.paths.cache_dir(&settings.app));
        }
        let hidden = self.host.hidden_from(settings);
        let reach = Reach { write, open: self.writable(), hidden, network: true, ..Reach::default() };
        Ok(self.host.worker(settings, self.deployment, role, &settings.run_as, reach).await?)
    }
}
