//! The export: what a release is made of before its first step, shared with the release before.

use super::{
    deployment::{Deployment, unexpected},
    error::EngineError,
};
use crate::{
    config::Step,
    model::Phase,
    plan::Stage,
    worker::order::{Answer, Order},
};

/// What a release has of the one before.
#[derive(Debug, Default)]
pub struct Carried {
    dirs: Vec<String>,
    unchanged: Vec<String>,
}

impl Carried {
    /// Why a step need not run: what it depends on is as it was, and what it makes is there already.
    pub fn makes_needless(&self, step: &Step) -> Option<String> {
        let files = &step.skip_if_unchanged;
        let same = !files.is_empty() && files.iter().all(|file| self.unchanged.contains(file));
        let there = |path: &String| self.dirs.iter().any(|dir| path.strip_prefix(&**dir).is_some_and(is_rest));
        if same && !step.makes.is_empty() && step.makes.iter().all(there) {
            let (files, made) = (files.join(" and "), step.makes.join(" and "));
            return Some(format!("{files} as before, {made} carried"));
        }
        None
    }
}

fn is_rest(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
}

impl Deployment<'_> {
    /// Exports the source into the new release.
    pub(super) async fn export(&mut self, stage: &Stage, run_as: Option<u32>) -> Result<Carried, EngineError> {
        self.progress.phase(Phase::Staging, &format!("exporting {}", self.plan.revision));
        let compared = stage.steps.iter().flat_map(|step| &step.skip_if_unchanged);
        let export = Order::Export {
            source: stage.source.clone(),
            cache: self.host.paths.cache_dir(&self.settings.app),
            revision: self.plan.revision.clone(),
            release: self.release_dir(),
            run_as,
            writable: stage.build_writable.iter().chain(&stage.writable).cloned().collect(),
            previous: stage.previous.clone(),
            share: stage.share,
            own: stage.shared.iter().map(|shared| shared.path.clone()).collect(),
            carry: stage.carry.clone(),
            compare: compared.cloned().collect(),
        };
        let cancel = self.cancel.clone();
        let (files, shared, dirs, unchanged) = match cancel.guard(self.ask_tree(&export)).await? {
            Answer::Exported { files, shared, carried, unchanged, .. } => (files, shared, carried, unchanged),
            other => return Err(unexpected(&other)),
        };
        if let Some(previous) = &stage.previous {
            let with = previous.release.file_name().unwrap_or_default().display();
            tracing::info!("{shared} of {files} files are shared with {with}");
        }
        Ok(Carried { dirs, unchanged })
    }
}

impl Deployment<'_> {
    /// Keeps built assets of the release before reachable from the new one, when its steps have made its own.
    pub(super) async fn keep_assets(&mut self, stage: &Stage) -> Result<(), EngineError> {
        let (Some(previous), false) = (&stage.previous, stage.assets.dirs.is_empty()) else { return Ok(()) };
        let order = Order::Assets {
            release: self.release_dir(),
            cache: self.host.paths.cache_dir(&self.settings.app),
            previous: previous.clone(),
            dirs: stage.assets.dirs.clone(),
            keep: stage.assets.keep,
        };
        let cancel = self.cancel.clone();
        if let Answer::Done { entries: kept @ 1.. } = cancel.guard(self.ask_tree(&order)).await? {
            tracing::info!("{kept} assets of earlier releases are kept");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_needless_only_when_all_it_depends_on_and_makes_is_there() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let step = |files: &[&str], makes: &[&str]| Step {
            skip_if_unchanged: words(files),
            makes: words(makes),
            ..Step::new("composer", words(&["composer", "install"]))
        };
        let carried = Carried { dirs: words(&["vendor"]), unchanged: words(&["composer.lock"]) };
        let why = carried.makes_needless(&step(&["composer.lock"], &["vendor"]));
        assert_eq!(why.as_deref(), Some("composer.lock as before, vendor carried"));
        assert!(carried.makes_needless(&step(&["composer.lock"], &["vendor/composer"])).is_some());
        for (files, makes) in [
            (&[][..], &["vendor"][..]),
            (&["composer.lock"], &[]),
            (&["composer.lock", "package-lock.json"], &["vendor"]),
            (&["composer.lock"], &["vendor", "node_modules"]),
            (&["composer.lock"], &["vendors"]),
        ] {
            assert_eq!(carried.makes_needless(&step(files, makes)), None, "{files:?} {makes:?}");
        }
    }
}
