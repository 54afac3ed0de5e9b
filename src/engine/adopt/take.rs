//! The steps of an adoption, each of which may be begun again.

use super::value::{Adoption, Taken, excluded, origin};
use crate::{
    config::Settings,
    engine::{
        activate::activate,
        deployment::{WORK_LIMIT, now, unexpected},
        error::EngineError,
        layout::{self, Layout},
        stage::{discard, empty_trash},
        store::Store,
    },
    model::{DeploymentId, MadeFrom, Paths, ReleaseRecord, ReleaseState},
    observe::{Host, is_digest, shared_paths},
    system::tree::{Dir, EntryKind},
    worker::{
        client::{Worker, WorkerError},
        order::{Answer, Order, SourceOrder},
        sandbox::Reach,
    },
};

pub(super) struct Taking<'a> {
    pub host: &'a Host,
    pub settings: &'a Settings,
    pub store: &'a Store,
    pub adopted: &'a Adoption,
    pub id: &'a DeploymentId,
}

impl Taking<'_> {
    /// The tree first, then the record of it, then `current`.
    /// Tells how many releases are known now.
    pub async fn carry_out(&self) -> Result<usize, EngineError> {
        if !self.adopted.made_by.has_releases() {
            self.move_shared().await?;
        }
        let layout = layout::prepare(&self.host.paths, self.settings)?;
        for taken in self.adopted.releases.iter().filter(|_| self.adopted.made_by.has_releases()) {
            rename(&layout, taken)?;
        }
        if !self.adopted.made_by.has_releases() {
            self.copy(&layout).await?;
        }
        let sealed = self.seal().await?;
        layout.releases.sync_file_system()?;
        let count = sealed.len();
        self.remember(sealed)?;
        activate(&layout, &self.adopted.live, self.id)?;
        Ok(count)
    }

    /// While the checkout is still its user's: afterwards its names are root's.
    async fn move_shared(&self) -> Result<(), EngineError> {
        let reach = Reach { write: vec![self.settings.root.clone()], ..self.reach() };
        let mut worker = self.worker("shared", reach).await?;
        let order = Order::MoveShared { root: self.settings.root.clone(), shared: shared_paths(self.settings) };
        let moved = worker.ask(&order, WORK_LIMIT).await;
        worker.finish().await?;
        match moved? {
            Answer::Linked { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn reach(&self) -> Reach {
        Reach { hidden: self.host.hidden_from(self.settings), ..Reach::default() }
    }

    async fn worker(&self, role: &'static str, reach: Reach) -> Result<Worker, EngineError> {
        Ok(self.host.worker(self.settings, self.id, role, &self.settings.user, reach).await?)
    }

    /// What the app's user may write: the releases' insides, what is shared, the cache.
    async fn in_releases(&self) -> Result<Worker, EngineError> {
        let root = &self.settings.root;
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let write = vec![root.join("releases"), root.join("shared"), cache];
        self.worker("adopt", Reach { write, ..self.reach() }).await
    }

    /// The first release of a checkout: its code, copied, with links to what is shared.
    async fn copy(&self, layout: &Layout) -> Result<(), EngineError> {
        let name = self.adopted.live.as_str();
        // What an interrupted one left is not known to be whole.
        discard(&layout.releases, name)?;
        empty_trash(self.host, self.settings, self.id, &layout.releases).await;
        let (uid, gid) = layout.user;
        layout.releases.make_dir(name, 0o755)?.set_owner(uid, gid, 0o755)?;
        let source = SourceOrder::Directory { path: self.settings.root.clone(), exclude: excluded(self.settings) };
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let mut worker = self.in_releases().await?;
        let resolve = Order::Resolve { source: source.clone(), cache: cache.clone(), markers: Vec::new() };
        let revision = match worker.ask(&resolve, WORK_LIMIT).await? {
            Answer::Resolved { revision, .. } => revision,
            other => return Err(unexpected(&other)),
        };
        let (release, run_as) = (Paths::release_dir(&self.settings.root, &self.adopted.live), self.run_as(layout));
        let shared = shared_paths(self.settings);
        let export = Order::Export {
            source,
            cache,
            revision,
            release: release.clone(),
            run_as,
            writable: self.settings.writable.clone(),
            previous: None,
            share: self.settings.share,
            own: shared.iter().map(|shared| shared.path.clone()).collect(),
            carry: Vec::new(),
            compare: Vec::new(),
        };
        done(worker.ask(&export, WORK_LIMIT).await)?;
        let shared_root = self.settings.root.join("shared");
        done(worker.ask(&Order::Link { release, shared_root, shared, run_as }, WORK_LIMIT).await)?;
        Ok(worker.finish().await?)
    }

    fn run_as(&self, layout: &Layout) -> Option<u32> {
        (layout.user.0 != layout.run_as.0).then_some(layout.run_as.0)
    }

    /// The manifest of each release. One of old that cannot be sealed is left where it is, unknown to deployd; the live
    /// one must be.
    async fn seal(&self) -> Result<Vec<(Taken, Answer)>, EngineError> {
        let mut worker = self.in_releases().await?;
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let run_as = layout::ids(&self.settings.run_as)?.0;
        let run_as = (layout::ids(&self.settings.user)?.0 != run_as).then_some(run_as);
        let mut sealed = Vec::new();
        for taken in &self.adopted.releases {
            let release = Paths::release_dir(&self.settings.root, &taken.id);
            let paths = self.settings.writable.clone();
            let writable = Order::MakeWritable { release: release.clone(), paths: paths.clone(), run_as };
            let seal = Order::Seal { release, cache: cache.clone(), except: paths };
            let answer = match worker.ask(&writable, WORK_LIMIT).await {
                Ok(_) => worker.ask(&seal, WORK_LIMIT).await,
                refused => refused,
            };
            match answer {
                Ok(answer) => sealed.push((taken.clone(), answer)),
                Err(WorkerError::Refused { reason, .. }) if taken.id != self.adopted.live => {
                    tracing::warn!("{} is left as it is, and no rollback goes to it: {reason}", taken.id);
                }
                Err(error) => return Err(error.into()),
            }
        }
        worker.finish().await?;
        Ok(sealed)
    }

    /// Recorded as confirmed: each was live, and its site was content with it, unless its maker went back from it.
    fn remember(&self, sealed: Vec<(Taken, Answer)>) -> Result<(), EngineError> {
        let mut state = self.store.load()?;
        state.releases.retain(|release| !self.adopted.releases.iter().any(|taken| taken.id == release.id));
        let mut replaced = None;
        for (taken, answer) in sealed {
            let Answer::Sealed { manifest, files, bytes } = answer else { return Err(unexpected(&answer)) };
            if !is_digest(&manifest) {
                return Err(EngineError::Other("the manifest's digest is none".into()));
            }
            let live = taken.id == self.adopted.live;
            state.seq += 1;
            state.releases.push(ReleaseRecord {
                id: taken.id.clone(),
                seq: state.seq,
                // What a file of the app's user says is no commit that deployd has fetched: nothing is compared with it.
                revision: String::new(),
                reference: origin(self.adopted, &taken),
                state: if taken.bad { ReleaseState::Failed } else { ReleaseState::Confirmed },
                manifest,
                files,
                bytes,
                made_from: MadeFrom::default(),
                markers: Vec::new(),
                deployment: self.id.clone(),
                sealed_at: now(),
                live_at: Some(if live { now() } else { taken.at }),
                replaced: replaced.replace(taken.id),
            });
        }
        self.store.save(&state)
    }
}

/// A release gets deployd's name for it, and keeps its old one as a link: what has its absolute path in a cache, or runs
/// in it, finds the same files at every moment.
fn rename(layout: &Layout, taken: &Taken) -> Result<(), EngineError> {
    is_users(&layout.releases, taken, layout.user.0)?;
    Ok(layout.releases.rename_leaving_link(&taken.name, taken.id.as_str())?)
}

/// Whether each release that is taken is the app's user's: looked at before anything is changed.
pub(super) fn owners(settings: &Settings, adopted: &Adoption) -> Result<(), EngineError> {
    if !adopted.made_by.has_releases() {
        return Ok(());
    }
    let releases = Dir::open(&settings.root)?.dir("releases")?;
    let user = layout::ids(&settings.user)?.0;
    adopted.releases.iter().try_for_each(|taken| is_users(&releases, taken, user))
}

fn is_users(releases: &Dir, taken: &Taken, user: u32) -> Result<(), EngineError> {
    // What was renamed already is a link here.
    if releases.kind(&taken.name)? != EntryKind::Directory {
        return Ok(());
    }
    match releases.owner_of(&taken.name)? {
        Some((owner, ..)) if owner != user => Err(EngineError::Other(format!(
            "{}/{} is uid {owner}'s and not the app's user's: `chown -R` it, then adopt again",
            releases.path, taken.name
        ))),
        _ => Ok(()),
    }
}

fn done(answer: Result<Answer, WorkerError>) -> Result<(), EngineError> {
    match answer? {
        Answer::Exported { .. } | Answer::Linked { .. } | Answer::Done { .. } => Ok(()),
        other => Err(unexpected(&other)),
    }
}
