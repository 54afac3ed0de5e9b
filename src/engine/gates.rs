//! The tests as a gate: run in a scratch copy of the source that never becomes a release, with what is needed to
//! develop it and nothing of what is live: no `.env`, no shared path, no environment of the site, no network, no socket
//! of this host's programs. Whatever a test wipes is the copy's.

use std::{collections::BTreeMap, path::Path};

use super::{
    deployment::{Deployment, WORK_LIMIT, unexpected},
    durable::drop_cached,
    error::EngineError,
    steps::{Place, run_in, surroundings},
};
use crate::{
    config::Step,
    model::{Phase, Share},
    plan::Stage,
    system::random,
    worker::{
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// The scratch copy, in the app's cache.
const SCRATCH: &str = "scratch";
/// What the tests of a PHP application need, beside what it needs itself.
const INSTALL: [&str; 5] = ["composer", "install", "--no-interaction", "--no-progress", "--prefer-dist"];
const MANIFEST: &str = "composer.json";

impl Deployment<'_> {
    /// Runs the tests, if they are a gate.
    pub async fn gate_tests(&mut self, stage: &Stage) -> Result<(), EngineError> {
        let Some(tests) = &stage.tests else { return Ok(()) };
        self.progress.step(Phase::Staging, "gates", "making a scratch copy for the tests");
        let dir = self.host.paths.cache_dir(&self.settings.app).join(SCRATCH);
        let copied = self.scratch(stage, &dir).await;
        let ran = match copied {
            Ok(()) => self.run_tests(stage, tests, &dir).await,
            Err(error) => Err(error),
        };
        if let Err(error) = self.clear().await {
            tracing::warn!("the scratch copy {} was not removed: {error}; the next deployment does", dir.display());
        }
        ran
    }

    async fn scratch(&self, stage: &Stage, dir: &Path) -> Result<(), EngineError> {
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let export = Order::Export {
            source: stage.source.clone(),
            cache: cache.clone(),
            revision: self.plan.revision.clone(),
            release: dir.to_owned(),
            run_as: None,
            writable: stage.build_writable.iter().chain(&stage.writable).cloned().collect(),
            previous: None,
            share: Share::default(),
            own: Vec::new(),
            carry: Vec::new(),
            compare: Vec::new(),
        };
        let hidden = self.host.hidden_from(self.settings);
        let reach = Reach { write: vec![cache], hidden, ..Reach::default() };
        let user = &self.settings.user;
        let mut worker = self.host.worker(self.settings, &self.plan.id, "scratch", user, reach).await?;
        worker.ask(&Order::Fresh { dir: dir.to_owned() }, WORK_LIMIT).await?;
        let answer = worker.ask(&export, WORK_LIMIT).await?;
        worker.finish().await?;
        if matches!(answer, Answer::Exported { .. }) { Ok(()) } else { Err(unexpected(&answer)) }
    }

    async fn run_tests(&self, stage: &Stage, tests: &Step, dir: &Path) -> Result<(), EngineError> {
        if stage.markers.iter().any(|marker| marker == MANIFEST) {
            let install = Step::new("tests-install", INSTALL.map(str::to_owned).into());
            self.progress.step(Phase::Staging, &install.name, "installing what the tests need");
            let place = self.place(&install, dir)?;
            run_in(self.site(), &install, place).await?;
        }
        self.progress.step(Phase::Staging, &tests.name, "running the tests");
        let place = self.place(tests, dir)?;
        run_in(self.site(), tests, place).await
    }

    /// The copy and the cache, and nothing of the site.
    fn place(&self, step: &Step, dir: &Path) -> Result<Place, EngineError> {
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let mut hidden = self.host.hidden_from(self.settings);
        hidden.push(self.settings.root.clone());
        let alone = !step.network;
        let key = random::digits(16).map_err(|error| EngineError::Other(format!("no random key: {error}")))?;
        let reach = Reach { write: vec![cache.clone()], hidden, network: step.network, alone, ..Reach::default() };
        let mut environment = BTreeMap::from([
            ("APP_ENV".to_owned(), "testing".to_owned()),
            // Not the site's. 32 characters are a key of the usual length.
            ("APP_KEY".to_owned(), key),
            ("DEPLOYD_APP".to_owned(), self.settings.app.to_string()),
        ]);
        surroundings(&mut environment, self.settings, Some(&cache), true);
        Ok(Place { dir: dir.to_owned(), reach, environment, synced_later: true, builds: true })
    }

    /// A worker of its own: the copy goes also when the deployment is being cancelled.
    async fn clear(&self) -> Result<(), EngineError> {
        let name = (&self.plan.id, "scratch-end");
        drop_cached(&self.host.unbound(), self.settings, name, &[SCRATCH], Reach::default()).await
    }
}
