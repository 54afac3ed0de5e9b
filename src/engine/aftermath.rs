//! After a deployment has ended and was recorded: the steps that wait for its end. Nothing here changes how it ended.

use std::collections::BTreeMap;

use super::{cancel::Cancel, error::EngineError, site::Site, steps::run_step, store::Store};
use crate::{
    config::{On, Settings, Step},
    model::{DeploymentRecord, Kind, Outcome, ReleaseId},
    observe::{Host, read_current},
    system::tree::Dir,
};

/// What an end is to those who wait for it. None: nobody does.
pub fn ended(record: &DeploymentRecord) -> Option<On> {
    match record.outcome {
        Outcome::Succeeded => Some(On::Success),
        Outcome::Failed | Outcome::RolledBack | Outcome::Stuck => Some(On::Failure),
        // Nothing was begun, or it was a person's wish.
        Outcome::Unchanged | Outcome::Rejected | Outcome::Cancelled => None,
    }
}

/// Runs the steps that wait for this end, in the release that is live now, until they have ended or are cancelled.
pub async fn steps(host: &Host, settings: &Settings, store: &Store, cancel: &Cancel, record: &DeploymentRecord) {
    let Some(on) = ended(record).filter(|_| record.kind != Kind::Stage) else { return };
    let waiting: Vec<&Step> = settings.steps.iter().filter(|step| step.on == Some(on)).collect();
    if waiting.is_empty() {
        return;
    }
    let (live, markers) = match live(settings, store) {
        Ok(Some(live)) => live,
        Ok(None) => return tracing::warn!("the steps that wait for the end are left out: no release is live"),
        Err(error) => return tracing::warn!("the steps that wait for the end are left out: {error}"),
    };
    let more = BTreeMap::from([
        ("DEPLOYD_OUTCOME".to_owned(), record.outcome.as_str().to_owned()),
        ("DEPLOYD_KIND".to_owned(), record.kind.as_str().to_owned()),
    ]);
    let site = Site { host, settings, deployment: &record.id, release: &live };
    for step in waiting {
        if let Some(missing) = step.needs.iter().find(|need| !markers.contains(need)) {
            tracing::info!("the step {} is left out: the release has no {missing}", step.name);
            continue;
        }
        if let Err(error) = cancel.guard(run_step(site, step, &more, true)).await {
            tracing::warn!("{error}, ignoring: the deployment has ended");
        }
    }
}

/// The live release and which of the files that steps need it has.
fn live(settings: &Settings, store: &Store) -> Result<Option<(ReleaseId, Vec<String>)>, EngineError> {
    let Some(live) = read_current(&Dir::open(&settings.root)?)? else { return Ok(None) };
    let state = store.load()?;
    let markers = state.releases.iter().find(|release| release.id == live).map(|release| release.markers.clone());
    Ok(Some((live, markers.unwrap_or_default())))
}
