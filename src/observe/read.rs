//! Reads the world once, before a deployment's first effect.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Depth, Host, Observed, ServiceObserved, check_facts, holds, instances,
    lacking::lacking,
    look::{LOOK_LIMIT, Seen, look, unexpected},
    pools::{PoolError, fpm_services, pool_text, pools},
    room,
};
use crate::{
    config::{ServiceKind, Settings, Strategy},
    model::{Actor, AppName, AppState, Kind, ReleaseId, Request},
    runtime::{
        dropins::{GENERATED, root_dropin},
        scheduler, slot,
    },
    system::{
        process,
        tree::{Dir, EntryKind, TreeError},
        units::UnitError,
    },
    worker::{
        client::{Worker, WorkerError},
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// Why the world could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A worker did not do it.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// PID 1 did not tell.
    #[error(transparent)]
    Unit(#[from] UnitError),
    /// The app's root could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The site's own pool cannot be used.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// `current` is something else than deployd makes it.
    #[error("{place} {wrong}")]
    Current {
        /// Where.
        place: String,
        /// What is wrong, and the remedy.
        wrong: String,
    },
    /// What is held cannot be read.
    #[error("{place}: {wrong}")]
    Holds {
        /// Where.
        place: String,
        /// What is wrong, and the remedy.
        wrong: String,
    },
    /// An adoption has begun and not ended: what is live is not settled.
    #[error("the adoption of {0} was interrupted: `deployctl adopt {0} --yes` goes on with it")]
    Adopting(AppName),
    /// The next release does not fit.
    #[error("{place} {wrong}")]
    Room {
        /// Where.
        place: String,
        /// What is short, and the remedy.
        wrong: String,
    },
}

/// Where the engine's units may always write (`ReadWritePaths=` of units/deploy@.service).
const ALWAYS_WRITABLE: [&str; 4] = ["/srv", "/home", "/var/www", "/opt"];

fn is_adopting(host: &Host, settings: &Settings) -> bool {
    host.paths.adoption_file(&settings.app).symlink_metadata().is_ok()
}

/// Reads everything a plan needs. Its only effects are in the app's cache: a source brought up to date. With `next`,
/// a directory of `releases/`, the worker that has looked may go on in it, and is given back for that.
pub async fn observe(
    host: &Host,
    settings: &Settings,
    request: &Request,
    state: &AppState,
    next: Option<&str>,
) -> Result<(Observed, Option<Worker>), ObserveError> {
    if request.actor != Actor::Deployd && is_adopting(host, settings) {
        return Err(ObserveError::Adopting(settings.app.clone()));
    }
    if matches!(request.kind, Kind::Deploy | Kind::Stage) {
        room::room(settings, state)?;
    }
    let (current, on_disk) = releases(settings)?;
    let held = match holds(&host.paths, &settings.app) {
        Ok(held) => held.app,
        // No damaged file keeps deployd from setting things right.
        Err(_) if request.actor == Actor::Deployd => None,
        Err(error) => return Err(error),
    };
    let slot_memory_mib = pools(host, settings)?;
    // What a worker looks at takes a while: only when the deployment depends on it.
    let depth = if settings.safety.zero_downtime && goes_live(request.kind) { Depth::Whole } else { Depth::Quick };
    let (seen, services, web_blocked, facts) = tokio::join!(
        look(host, settings, request, next),
        services(host, settings),
        web_blocked(host, settings, request),
        check_facts(host, settings, state, &request.id, depth)
    );
    let Seen { source, unreachable, shared, maintenance, worker } = seen?;
    let (lacking, missed) = match request.kind {
        Kind::Deploy | Kind::Stage => {
            let (found, missed) = lacking(host, settings, request, source.as_ref(), state);
            (unreachable.into_iter().chain(found).collect(), missed)
        }
        Kind::Activate | Kind::Rollback => (Vec::new(), None),
    };
    let observed = Observed {
        stamp: stamp(),
        state: state.clone(),
        held,
        current,
        on_disk,
        source,
        lacking,
        missed,
        shared,
        maintenance,
        settings_digest: settings_digest(host, settings),
        php: php_identity(host, settings),
        services: services?,
        web_blocked: web_blocked?,
        root_writable: root_writable(host, settings),
        slot_memory_mib,
        memory_available_mib: process::memory_available_mib().unwrap_or(u64::MAX),
        facts,
    };
    Ok((observed, worker.filter(|_| next.is_some())))
}

fn goes_live(kind: Kind) -> bool {
    matches!(kind, Kind::Deploy | Kind::Activate)
}

/// UTC now, as a release id has it.
fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// What `current` names and which releases have a directory. Only the root and `releases/` are opened, both root's.
fn releases(settings: &Settings) -> Result<(Option<ReleaseId>, Vec<ReleaseId>), ObserveError> {
    if !settings.root.exists() {
        return Ok((None, Vec::new()));
    }
    let root = Dir::open(&settings.root)?;
    let on_disk = match root.kind("releases")? {
        EntryKind::Directory => root.dir("releases")?.names()?.iter().filter_map(|name| name.parse().ok()).collect(),
        _ => Vec::new(),
    };
    Ok((read_current(&root)?, on_disk))
}

/// What `current` names. Anything that deployd would not have made is refused with the way out.
pub fn read_current(root: &Dir) -> Result<Option<ReleaseId>, ObserveError> {
    let wrong = |wrong: &str| ObserveError::Current { place: format!("{}/current", root.path), wrong: wrong.into() };
    match root.kind("current")? {
        EntryKind::Missing => Ok(None),
        EntryKind::Link => {
            let target = root.read_link("current")?;
            let id = target.strip_prefix("releases/").and_then(|name| name.trim_end_matches('/').parse().ok());
            id.map(Some).ok_or_else(|| {
                wrong(&format!(
                    "points to {}, which is no release of deployd's: point it to releases/ID, or move it away",
                    crate::model::printable(&target)
                ))
            })
        }
        _ => Err(wrong("is not a symbolic link: move it away, and deployd makes it")),
    }
}

/// What systemd says of each service's slots or unit.
async fn services(host: &Host, settings: &Settings) -> Result<BTreeMap<String, ServiceObserved>, UnitError> {
    let mut found = BTreeMap::new();
    for service in &settings.services {
        let observed = match &service.kind {
            ServiceKind::Slots(kind) => {
                let pattern = format!("{}@{}:*.service", slot::template(kind), settings.app);
                let mut loaded = host.units.active_states(&pattern).await?;
                let mut slots = BTreeMap::new();
                for slot in kind.slots() {
                    let unit = slot::unit(kind, &settings.app, slot).map_err(unnamed)?;
                    let active = loaded.remove(unit.unit().as_str());
                    slots.insert(slot, active.unwrap_or_else(|| "inactive".into()));
                }
                ServiceObserved::Slots(slots)
            }
            ServiceKind::Scheduler(_) => {
                let timer = scheduler::timer(&settings.app).parse().map_err(unnamed)?;
                let status = host.units.status(&timer).await?;
                ServiceObserved::Unit { load: status.load, active: status.active }
            }
            ServiceKind::Unit { unit, strategy: Strategy::Rolling(rolling) } => {
                ServiceObserved::Instances(instances(host, &settings.root, unit, rolling).await?)
            }
            ServiceKind::Unit { unit, .. } => {
                let status = host.units.status(unit).await?;
                ServiceObserved::Unit { load: status.load, active: status.active }
            }
        };
        found.insert(service.name.clone(), observed);
    }
    Ok(found)
}

fn unnamed(error: crate::model::BadName) -> UnitError {
    UnitError::Call { what: "name a unit".into(), detail: error.to_string() }
}

/// The first directory on the way to the root that nginx may not pass. Everyone may pass most; then nobody is asked.
async fn web_blocked(host: &Host, settings: &Settings, request: &Request) -> Result<Option<PathBuf>, ObserveError> {
    let Some(web) = settings.web_user.as_deref().filter(|_| !settings.services.is_empty()) else { return Ok(None) };
    let passable = |dir: &std::path::Path| std::fs::metadata(dir).is_ok_and(|meta| meta.mode() & 0o001 != 0);
    let existing: PathBuf = settings.root.ancestors().find(|dir| dir.exists()).map(PathBuf::from).unwrap_or_default();
    if existing.ancestors().all(passable) || web == settings.user {
        return Ok(None);
    }
    let mut worker = host.worker(settings, &request.id, "web", web, Reach::default()).await?;
    match worker.ask(&Order::Traverse { path: existing.clone() }, LOOK_LIMIT).await? {
        // Only a directory that we asked about: the answer is an app user's word.
        Answer::Traversed { blocked } => Ok(blocked.filter(|dir| existing.starts_with(dir))),
        other => Err(unexpected(&other)),
    }
}

/// Whether the engine's units may write the root, as systemd knows them.
fn root_writable(host: &Host, settings: &Settings) -> bool {
    let (file, text) = root_dropin(settings);
    let file = host.paths.host(Path::new(GENERATED)).join(file);
    ALWAYS_WRITABLE.iter().any(|dir| settings.root.starts_with(dir))
        || std::fs::read_to_string(file).is_ok_and(|there| there == text)
}

/// A digest of what a release and its services are made by: a change of it makes a new release.
fn settings_digest(host: &Host, settings: &Settings) -> String {
    let pools: Vec<_> =
        fpm_services(settings).filter_map(|(_, fpm)| pool_text(&host.paths, fpm).ok().flatten()).collect();
    let source = source_place(settings);
    let made_by = (
        (&settings.user, &settings.run_as, &settings.web_user, source, &settings.shared),
        (
            &settings.writable,
            &settings.services,
            &settings.steps,
            &settings.build.path,
            &settings.drop,
            &settings.environment,
            pools,
        ),
    );
    let json = serde_json::to_vec(&made_by).unwrap_or_default();
    hex::encode(Sha256::digest(&json))
}

/// Where the source is, without the reference: another branch alone makes no new release of the same commit.
fn source_place(settings: &Settings) -> String {
    match &settings.source {
        crate::config::Source::Git(git) => {
            let submodules = if git.submodules { " with submodules" } else { "" };
            let pointers = if git.lfs_pointers { " with LFS pointers" } else { "" };
            format!("{}{submodules}{pointers}", git.url)
        }
        crate::config::Source::Directory { path, exclude } => format!("{} without {exclude:?}", path.display()),
        crate::config::Source::Upload { unpack } => format!("uploads as {unpack:?}"),
        crate::config::Source::Archive { at, unpack, .. } => format!("{at} as {unpack:?}"),
    }
}

/// Which PHP serves: version, and the binary's size and time, since an update within a version is another PHP.
fn php_identity(host: &Host, settings: &Settings) -> String {
    let identities: Vec<_> = fpm_services(settings)
        .map(|(_, fpm)| match std::fs::metadata(host.paths.host(&fpm.binary)) {
            Ok(meta) => format!("{} of {}, {} bytes", fpm.version, when(meta.mtime()), meta.size()),
            Err(_) => format!("{} (not there)", fpm.version),
        })
        .collect();
    identities.join("; ")
}

fn when(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.strftime("%Y-%m-%d").to_string())
}
