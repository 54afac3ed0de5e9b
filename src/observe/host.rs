//! The host an engine works on: its paths, PID 1, and how workers of an app are started here.

use std::{collections::BTreeMap, path::PathBuf};

use crate::{
    config::{self, Settings},
    model::{AppName, DeploymentId, Paths, UnitName},
    runtime::dropins::slice_of,
    system::units::Units,
    worker::{
        client::{Worker, WorkerError, WorkerSpec},
        sandbox::Reach,
    },
};

/// Where an engine works. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where everything is.
    pub paths: Paths,
    /// PID 1.
    pub units: Units,
    /// `deploy-engine` itself, which is also the worker.
    pub program: PathBuf,
    /// The unit this process runs in; none outside systemd.
    pub own_unit: Option<UnitName>,
}

impl Host {
    /// Reads an app's settings, with what they need to know of this host.
    pub fn settings(&self, app: &AppName) -> Result<Settings, config::ConfigError> {
        config::load(&self.paths, app, &super::facts_for(&self.paths, app))
    }

    /// The roots and caches of all other apps: what this app's workers and steps do not even see. An app whose
    /// configuration is broken otherwise is hidden all the same.
    pub fn hidden_from(&self, settings: &Settings) -> Vec<PathBuf> {
        let others = config::list(&self.paths).unwrap_or_default();
        let others: Vec<_> = others.iter().filter(|other| **other != settings.app).collect();
        let roots = others
            .iter()
            .filter_map(|other| config::root_of(&self.paths, other))
            .filter(|other| !settings.root.starts_with(other) && !other.starts_with(&settings.root));
        roots.chain(others.iter().map(|other| self.paths.cache_dir(other))).collect()
    }

    /// This host, for work that outlives the unit it is begun in: removing what a cancelled deployment made.
    pub fn unbound(&self) -> Self {
        Self { own_unit: None, ..self.clone() }
    }

    /// Starts a worker of an app as `user`.
    pub async fn worker(
        &self,
        settings: &Settings,
        deployment: &DeploymentId,
        role: &'static str,
        user: &str,
        reach: Reach,
    ) -> Result<Worker, WorkerError> {
        self.worker_with(settings, deployment, role, user, reach, Vec::new()).await
    }

    /// The same, with files that PID 1 hands over by name.
    pub async fn worker_with(
        &self,
        settings: &Settings,
        deployment: &DeploymentId,
        role: &'static str,
        user: &str,
        reach: Reach,
        credentials: Vec<(String, PathBuf)>,
    ) -> Result<Worker, WorkerError> {
        let home = self.paths.cache_dir(&settings.app);
        let environment = BTreeMap::from([
            ("HOME".to_owned(), home.display().to_string()),
            ("PATH".to_owned(), super::PATH.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        let spec = WorkerSpec {
            app: settings.app.clone(),
            deployment: deployment.clone(),
            role,
            user: user.to_owned(),
            binds_to: self.own_unit.clone(),
            slice: slice_of(&settings.app),
            reach,
            environment,
            credentials,
            program: self.program.clone(),
        };
        Worker::start(&self.units, spec).await
    }
}
