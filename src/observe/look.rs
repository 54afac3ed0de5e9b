//! What the app's user sees, before a deployment's first effect: the source, brought up to date, and the shared paths.

use std::{path::PathBuf, time::Duration};

use super::{Host, Lack, ObserveError, Resolved, lacking::others_decide, orders::unfit, shared_paths, source_order};
use crate::{
    config::Settings,
    model::{DeploymentId, Kind, Request},
    worker::{
        client::{Worker, WorkerError},
        order::{Answer, Order, SharedFound},
        sandbox::Reach,
    },
};

/// Fetching may take this long before the deployment gives up.
const FETCH_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Looking may take this long.
pub(super) const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// What the app's user sees, and the worker that saw it.
#[derive(Default)]
pub(super) struct Seen {
    pub source: Option<Resolved>,
    /// Why it was not found.
    pub unreachable: Option<Lack>,
    pub shared: Vec<SharedFound>,
    pub maintenance: bool,
    pub worker: Option<Worker>,
}

/// What the app's user sees: the source and the shared paths. A rollback needs neither.
pub(super) async fn look(
    host: &Host,
    settings: &Settings,
    request: &Request,
    next: Option<&str>,
) -> Result<Seen, ObserveError> {
    if request.kind == Kind::Rollback {
        return Ok(Seen::default());
    }
    if let Some((reason, remedy)) = unfit(settings, request) {
        return Err(WorkerError::Refused { reason, remedy: Some(remedy) }.into());
    }
    let source = source_order(settings, request);
    let cache = host.paths.cache_dir(&settings.app);
    let credentials = match request.kind == Kind::Activate || request.upload {
        true => Vec::new(),
        // With one that is not there the worker would not start: it is told by name with all else that is lacking.
        false => there(host, host.source_credentials(settings)),
    };
    let fetching = Reach {
        write: vec![cache.clone()],
        hidden: host.hidden_from(settings),
        network: source.is_remote(),
        ..Reach::default()
    };
    let user = &settings.user;
    let fetcher =
        |credentials| host.worker_with(&settings.app, &request.id, "fetch", user, fetching.clone(), credentials);
    // One that goes on in the release's tree, to the end of the deployment, has no secret of the source's: who fetches with
    // one fetches and leaves.
    let (mut worker, mut apart) = match next {
        Some(next) => {
            let reach = host.tree_reach(settings, Some(next));
            let worker = host.worker(settings, &request.id, "tree", user, reach).await?;
            (worker, if credentials.is_empty() { None } else { Some(fetcher(credentials).await?) })
        }
        None => (fetcher(credentials).await?, None),
    };
    let needs = settings.steps.iter().flat_map(|step| step.needs.iter().cloned());
    let markers: Vec<String> = needs.chain(settings.gates.tests.as_ref().map(|_| "composer.json".into())).collect();
    let (source, unreachable) = if request.kind == Kind::Activate {
        (None, None)
    } else {
        let fetches = apart.as_mut().unwrap_or(&mut worker);
        match fetches.ask(&Order::Resolve { source, cache, markers }, FETCH_LIMIT).await {
            Ok(Answer::Resolved { revision, markers, tag }) => {
                let (revision, tag) = (checked_revision(revision)?, tag.map(checked_tag).transpose()?);
                (Some(Resolved { revision, markers, tag }), None)
            }
            Ok(other) => return Err(unexpected(&other)),
            // Told with all else that is lacking.
            Err(WorkerError::Refused { reason, remedy }) => (None, Some(Lack { what: reason, remedy })),
            Err(error) => return Err(error.into()),
        }
    };
    drop(apart);
    let (shared, maintenance) = survey(&mut worker, settings).await?;
    Ok(Seen { source, unreachable, shared, maintenance, worker: Some(worker) })
}

fn there(host: &Host, mut files: Vec<(String, PathBuf)>) -> Vec<(String, PathBuf)> {
    files.retain(|(_, file)| host.paths.host(file).is_file() && others_decide(&host.paths, file).is_none());
    files
}

/// A revision goes into names and messages: only hexadecimal digits are taken from a worker.
fn checked_revision(revision: String) -> Result<String, ObserveError> {
    let good = matches!(revision.len(), 40 | 64) && revision.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if good {
        return Ok(revision);
    }
    Err(WorkerError::Refused {
        reason: format!("the revision {:?} is not an object id", crate::model::printable(&revision)),
        remedy: None,
    }
    .into())
}

/// So does a tag: only what the configuration could name itself is taken.
fn checked_tag(tag: String) -> Result<String, ObserveError> {
    match crate::config::check_reference(&tag) {
        Ok(()) if !tag.contains(':') => Ok(tag),
        _ => {
            let reason = format!("the tag {:?} has a name that is not taken", crate::model::printable(&tag));
            Err(WorkerError::Refused { reason, remedy: Some("give the release a plain one".into()) }.into())
        }
    }
}

/// The shared paths as they are now, in the settings' order: looked at by the app's user, who can write nothing then.
pub async fn look_at_shared(
    host: &Host,
    settings: &Settings,
    id: &DeploymentId,
) -> Result<Vec<SharedFound>, ObserveError> {
    let reach = Reach { hidden: host.hidden_from(settings), quiet: true, ..Reach::default() };
    let mut worker = host.worker(settings, id, "survey", &settings.user, reach).await?;
    Ok(survey(&mut worker, settings).await?.0)
}

/// Whether the app is in maintenance mode now, as its user sees it.
pub async fn in_maintenance(host: &Host, settings: &Settings, id: &DeploymentId) -> Result<bool, ObserveError> {
    let reach = Reach { hidden: host.hidden_from(settings), quiet: true, ..Reach::default() };
    let mut worker = host.worker(settings, id, "down", &settings.user, reach).await?;
    let maintenance = survey(&mut worker, settings).await?.1;
    // Ended before another one of its name is needed.
    worker.finish().await?;
    Ok(maintenance)
}

async fn survey(worker: &mut Worker, settings: &Settings) -> Result<(Vec<SharedFound>, bool), ObserveError> {
    let wanted = shared_paths(settings);
    let count = wanted.len();
    let order = Order::Survey { shared_root: settings.root.join("shared"), shared: wanted };
    match worker.ask(&order, LOOK_LIMIT).await? {
        Answer::Surveyed { mut shared, maintenance } if shared.len() == count => {
            // It goes into the record: nothing but a digest is taken.
            for found in &mut shared {
                found.digest = found.digest.take().filter(|digest| is_digest(digest));
            }
            Ok((shared, maintenance))
        }
        other => Err(unexpected(&other)),
    }
}

/// Whether it is a SHA-256 digest, as a worker gives one.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

pub(super) fn unexpected(answer: &Answer) -> ObserveError {
    WorkerError::unexpected(answer).into()
}
