//! The host an engine works on: its paths, PID 1, and how workers of an app are started here.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use crate::{
    config::{self, GitCredential, Settings, Source},
    model::{AppName, DeploymentId, Paths, Share, UnitName},
    runtime::dropins::slice_of,
    system::units::Units,
    worker::{
        client::{Worker, WorkerError, WorkerSpec},
        order::{DEPLOY_KEY, SSH_KEY, TOKEN},
        sandbox::Reach,
    },
};

/// A worker dies with the engine's unit; this is for one that lost it, longer than the longest bake time.
const BOUND_LIMIT: Duration = Duration::from_secs(25 * 60 * 60);
/// One that no unit takes with it ends by itself, or here.
const UNBOUND_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// Every app, and its root as far as it can be told.
type AppRoots = Vec<(AppName, Option<PathBuf>)>;

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
    /// The apps and their roots, read once: a deployment hides from all its steps what it hid from the first.
    apps: Arc<OnceLock<AppRoots>>,
}

impl Host {
    /// The host that `program` runs on.
    pub fn new(paths: Paths, units: Units, program: PathBuf, own_unit: Option<UnitName>) -> Self {
        Self { paths, units, program, own_unit, apps: Arc::default() }
    }

    /// Reads an app's settings, with what they need to know of this host.
    pub fn settings(&self, app: &AppName) -> Result<Settings, config::ConfigError> {
        config::load(&self.paths, app, &super::facts_for(&self.paths, app))
    }

    /// The roots and caches of all other apps: what this app's workers and steps do not even see. An app whose
    /// configuration is broken otherwise is hidden all the same.
    pub fn hidden_from(&self, settings: &Settings) -> Vec<PathBuf> {
        let others = || self.apps().iter().filter(|(other, _)| *other != settings.app);
        let roots = others()
            .filter_map(|(_, root)| root.clone())
            .filter(|other| !settings.root.starts_with(other) && !other.starts_with(&settings.root));
        roots.chain(others().map(|(other, _)| self.paths.cache_dir(other))).collect()
    }

    fn apps(&self) -> &AppRoots {
        self.apps.get_or_init(|| {
            let apps = config::list(&self.paths).unwrap_or_default();
            let with_root = |app| {
                let root = config::root_of(&self.paths, &app);
                (app, root)
            };
            apps.into_iter().map(with_root).collect()
        })
    }

    /// The secrets by which an app's source is reached, for whoever fetches it: what the settings name, or the app's own
    /// deploy key.
    pub fn source_credentials(&self, settings: &Settings) -> Vec<(String, PathBuf)> {
        let Source::Git(git) = &settings.source else { return Vec::new() };
        let own = || Some(self.paths.deploy_key(&settings.app)).filter(|key| git.is_ssh() && key.exists());
        let handed = match &git.credential {
            Some(GitCredential::Token(file)) => Some((TOKEN, file.clone())),
            Some(GitCredential::SshKey(file)) => Some((SSH_KEY, file.clone())),
            None if git.ssh_key.is_some() => None,
            None => own().map(|file| (DEPLOY_KEY, file)),
        };
        handed.into_iter().map(|(name, file)| (name.to_owned(), file)).collect()
    }

    /// This host, for work that outlives the unit it is begun in: removing what a cancelled deployment made.
    pub fn unbound(&self) -> Self {
        Self { own_unit: None, ..self.clone() }
    }

    /// What a worker may reach that makes a release: that directory of `releases/`, what is shared, the cache, and the
    /// network, since probes go to the site.
    pub fn tree_reach(&self, settings: &Settings, release: Option<&str>) -> Reach {
        let releases = settings.root.join("releases");
        let release = release.map(|name| match settings.share {
            // A link is only made within one mount: the releases' directory, in which the user makes nothing.
            Share::Hardlink => releases,
            _ => releases.join(name),
        });
        let always = [settings.root.join("shared"), self.paths.cache_dir(&settings.app)];
        let write = always.into_iter().chain(release).collect();
        Reach { write, hidden: self.hidden_from(settings), network: true, ..Reach::default() }
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
        self.worker_with(&settings.app, deployment, role, user, reach, Vec::new()).await
    }

    /// The same, with files that PID 1 hands over by name. The app need not have a configuration yet.
    pub async fn worker_with(
        &self,
        app: &AppName,
        deployment: &DeploymentId,
        role: &'static str,
        user: &str,
        reach: Reach,
        credentials: Vec<(String, PathBuf)>,
    ) -> Result<Worker, WorkerError> {
        let home = self.paths.cache_dir(app);
        let environment = BTreeMap::from([
            ("HOME".to_owned(), home.display().to_string()),
            ("PATH".to_owned(), super::PATH.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        let spec = WorkerSpec {
            app: app.clone(),
            deployment: deployment.clone(),
            role,
            user: user.to_owned(),
            binds_to: self.own_unit.clone(),
            slice: slice_of(app),
            limit: if self.own_unit.is_some() { BOUND_LIMIT } else { UNBOUND_LIMIT },
            reach,
            environment,
            credentials,
            program: self.program.clone(),
        };
        Worker::start(&self.units, spec).await
    }
}
