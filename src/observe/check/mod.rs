//! Reads the facts that a check needs. Root's own files are read here; what lies in an app's tree, or belongs to its
//! users, a worker looks at ([`app`]). What cannot be read is told as that, and stops nothing.

mod app;
mod files;
mod foreign;
mod names;
mod nginx;
mod php;
mod ports;
mod tree;
mod units;

use std::{path::PathBuf, time::Instant};

use crate::{
    check::{Facts, Unread},
    config::{Settings, SlotKind},
    model::{AppState, DeploymentId},
    system::process,
};

pub(super) use self::{
    files::Files,
    foreign::{crontab, jobs as foreign_jobs},
    nginx::read as nginx_read,
};
use super::{Host, lacking::neighbour};

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What a deployment can look at without becoming slower: root's files, PID 1, the file system.
    Quick,
    /// Also the live release, by a worker.
    Whole,
}

/// The facts.
pub async fn facts(host: &Host, settings: &Settings, state: &AppState, id: &DeploymentId, depth: Depth) -> Facts {
    let since = Instant::now();
    let mut unread = Vec::new();
    let units = units::units(host, settings, state, &mut unread).await;
    let taken = ports::taken(host, settings, &mut unread).await;
    let told = since.elapsed();
    let mut facts = root_files(host, settings, unread);
    (facts.units, facts.taken) = (units, taken);
    facts.owned = tree::owned(settings, &mut facts.unread);
    facts.disk = tree::disk(settings, state);
    facts.memory_available_mib = process::memory_available_mib().ok();
    facts.slot_memory_mib = super::pools::pools(host, settings).unwrap_or_default();
    facts.processes = foreign::processes(settings);
    let (all, told) = (since.elapsed().as_micros(), told.as_micros());
    tracing::debug!("the host was looked at in {all} us, of which PID 1 took {told}");
    if depth == Depth::Whole {
        facts.neighbour = neighbour(&host.paths, settings);
        facts.strangers = names::strangers(settings, &mut facts.unread);
        facts.writers = units::writers(host, settings, &mut facts.unread).await;
        match app::app(host, settings, state, id).await {
            Ok(app) => facts.app = app,
            Err(error) => {
                facts.unread.push(Unread { what: "the live release".into(), why: error.to_string() });
            }
        }
    }
    facts
}

/// What stands in files that are root's alone.
fn root_files(host: &Host, settings: &Settings, unread: Vec<Unread>) -> Facts {
    let mut files = files::Files::new(&host.paths, unread);
    let nginx = nginx::read(&mut files);
    let fpm = php::read(&mut files, settings, &nginx);
    let jobs = foreign::jobs(&mut files, &settings.root);
    let slots = settings.services.iter().any(|service| matches!(service.slots(), Some(SlotKind::PhpFpm(_))));
    // nginx.conf has the path as it is in production.
    let link = slots.then(|| PathBuf::from("/").join(crate::model::Paths::default().fpm_link(&settings.app)));
    Facts { nginx, fpm, jobs, fpm_link: link, unread: files.unread, ..Facts::default() }
}
