//! Stage and seal: make a release beside the live one. Touches nothing that is live.

use super::{
    deployment::{Deployment, WORK_LIMIT, now, unexpected},
    durable::synced,
    error::EngineError,
    layout::ids,
};
use crate::{
    config::Settings,
    model::{DeploymentId, ReleaseId, ReleaseRecord, ReleaseState, events},
    observe::{Host, is_digest},
    plan::Stage,
    system::{
        journal::Priority,
        tree::{Dir, EntryKind},
    },
    worker::{
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// What the seal recorded of a tree.
#[derive(Debug)]
pub struct Manifest {
    /// Its digest.
    pub digest: String,
    /// Number of entries.
    pub files: u64,
    /// Content, in bytes.
    pub bytes: u64,
}

impl Deployment<'_> {
    /// Makes the directory of a new release, at its final path: caches bake absolute paths. Root's directory gives it
    /// its name, the app's user its content.
    pub fn make_release(&mut self) -> Result<(), EngineError> {
        let ((uid, gid), releases, name) = (self.layout.user, &self.layout.releases, self.plan.release.as_str());
        let dir = match self.next.take() {
            // The worker's sandbox is open for that very directory, whatever its name.
            Some(next) => {
                releases.rename(&next.name, name)?;
                let dir = releases.dir(name)?;
                if dir.identity()? != next.identity {
                    self.tree = None;
                }
                dir
            }
            None => releases.make_dir(name, 0o755)?,
        };
        Ok(dir.set_owner(uid, gid, 0o755)?)
    }

    /// Exports the source into a new release, links shared paths, runs the steps.
    pub async fn stage(&mut self, stage: &Stage) -> Result<(), EngineError> {
        let (user, run_as) = (self.layout.user, self.layout.run_as);
        let other = (user.0 != run_as.0).then_some(run_as.0);
        let carried = self.export(stage, other).await?;
        let cancel = self.cancel.clone();
        cancel.guard(self.gate_tests(stage)).await?;
        if !stage.shared.is_empty() {
            let link = Order::Link {
                release: self.release_dir(),
                shared_root: self.settings.root.join("shared"),
                shared: stage.shared.clone(),
                run_as: other,
            };
            cancel.guard(self.ask_tree(&link)).await?;
        }
        for (name, why) in &stage.skipped {
            self.left_out(name, why);
        }
        for step in &stage.steps {
            if let Some(why) = carried.makes_needless(step) {
                self.left_out(&step.name, &why);
            } else if step.migrates() {
                cancel.guard(self.judge_key_once(stage)).await?;
                self.migrate(step).await?;
            } else {
                cancel.guard(self.step(step)).await?;
            }
        }
        cancel.guard(self.judge_key_once(stage)).await?;
        if !stage.drop.is_empty() {
            let drop = Order::Drop { release: self.release_dir(), paths: stage.drop.clone() };
            cancel.guard(self.ask_tree(&drop)).await?;
        }
        self.keep_assets(stage).await?;
        if !stage.writable.is_empty() {
            // Before a slot is started: PID 1 opens them for it, beside the seal.
            let confine = Order::Confine { release: self.release_dir(), paths: stage.writable.clone() };
            cancel.guard(self.ask_tree(&confine)).await?;
        }
        Ok(())
    }

    /// Tells that a step is not run.
    pub fn left_out(&self, step: &str, why: &str) {
        let message = format!("the step {step} is left out: {why}");
        self.progress.event(events::STEP_LEFT_OUT, Priority::Info, &message, &[("DEPLOYD_STEP", step)]);
    }

    /// Takes the manifest and brings everything to disk. After an error from the sync the release is not retried.
    pub async fn seal(&mut self, stage: &Stage) -> Result<Manifest, EngineError> {
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let order = Order::Seal { release: self.release_dir(), cache, except: stage.writable.clone() };
        // Most is written to disk while the worker reads it; what an error of either sync says is final.
        let early = synced(self.settings, self.layout.releases.again()?);
        let (early, sealed) = tokio::join!(early, self.ask_tree(&order));
        early?;
        let (digest, files, bytes) = match sealed? {
            Answer::Sealed { manifest, files, bytes } => (manifest, files, bytes),
            other => return Err(unexpected(&other)),
        };
        if !is_digest(&digest) {
            return Err(EngineError::Other("the manifest's digest is none".into()));
        }
        self.sync_written().await?;
        Ok(Manifest { digest, files, bytes })
    }

    /// Records a sealed release; from now on it is one.
    pub fn record_release(&mut self, stage: &Stage, manifest: Manifest) {
        self.state.seq = stage.seq;
        self.state.releases.push(ReleaseRecord {
            id: self.plan.release.clone(),
            seq: stage.seq,
            revision: self.plan.revision.clone(),
            reference: stage.reference.clone(),
            state: ReleaseState::Sealed,
            manifest: manifest.digest,
            files: manifest.files,
            bytes: manifest.bytes,
            made_from: stage.made_from.clone(),
            markers: stage.markers.clone(),
            deployment: self.plan.id.clone(),
            sealed_at: now(),
            live_at: None,
            replaced: None,
        });
    }
}

/// What a directory of `releases/` is called between being no release any more and being gone.
pub const TRASH: &str = ".trash-";

/// Makes a directory of `releases/` no release any more: it loses its name at once, and its content later. The name is
/// gone on the disk too when it returns: what forgets the release next may lie on another disk, and be there first.
pub fn discard(releases: &Dir, name: &str) -> Result<(), EngineError> {
    if releases.kind(name)? == EntryKind::Directory {
        let mut to = format!("{TRASH}{name}");
        // One that was called the same could not be removed yet: an id has seconds, and a deployment may fail within one.
        for number in 2_u32.. {
            if releases.kind(&to)? == EntryKind::Missing {
                break;
            }
            to = format!("{TRASH}{name}.{number}");
        }
        releases.rename(name, &to)?;
        releases.sync()?;
    }
    Ok(())
}

/// Whether it is the name of something discarded.
fn is_discarded(name: &str) -> bool {
    let is_release = |name: &str| name.parse::<ReleaseId>().is_ok();
    let numbered = |(id, number): (&str, &str)| is_release(id) && number.parse::<u32>().is_ok();
    name.strip_prefix(TRASH).is_some_and(|rest| is_release(rest) || rest.rsplit_once('.').is_some_and(numbered))
}

/// Empties what was discarded. What cannot be removed is told and left for the next time. The workers are not bound
/// to this unit: they also clean up after a deployment that is being cancelled.
pub async fn empty_trash(host: &Host, settings: &Settings, deployment: &DeploymentId, releases: &Dir) {
    let names = match releases.names() {
        Ok(names) => names,
        Err(error) => return tracing::warn!("what was discarded is not removed yet: {error}"),
    };
    for name in names {
        if is_discarded(&name)
            && let Err(error) = remove_tree(&host.unbound(), settings, deployment, releases, &name).await
        {
            tracing::warn!("{}/{name} could not be removed: {error}; the next deployment tries again", releases.path);
        }
    }
}

/// Removes a directory: emptied by the app's user, the name by root.
async fn remove_tree(
    host: &Host,
    settings: &Settings,
    deployment: &DeploymentId,
    releases: &Dir,
    name: &str,
) -> Result<(), EngineError> {
    let owner = releases.dir(name)?.owner()?.0;
    if owner == ids(&settings.user)?.0 {
        let dir = settings.root.join("releases").join(name);
        let reach = Reach { write: vec![dir.clone()], idle: true, ..Reach::default() };
        let mut worker = host.worker(settings, deployment, "remove", &settings.user, reach).await?;
        let emptied = worker.ask(&Order::Empty { dir }, WORK_LIMIT).await;
        worker.finish().await?;
        emptied?;
    }
    releases.remove_dir(name)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_like_something_discarded_is_discarded_too() {
        let dir = tempfile::tempdir().unwrap();
        let releases = Dir::open(dir.path()).unwrap();
        for name in ["20261121T112333Z-c2de4581", "20261121T112333Z-c2de4581.2"] {
            for _ in 0..3 {
                std::fs::create_dir(dir.path().join(name)).unwrap();
                discard(&releases, name).unwrap();
            }
            discard(&releases, name).unwrap();
        }
        let left = releases.names().unwrap();
        assert!(left.len() == 6 && left.iter().all(|name| is_discarded(name)), "{left:?}");
        for other in ["20261121T112333Z-c2de4581", ".trash-x", ".trash-20261121T112333Z-c2de4581.x", ".next-1"] {
            assert!(!is_discarded(other), "{other}");
        }
    }
}
