//! Of many requests for one app the newest wins: one that waits already is joined, one of another ref that waits is given
//! up. Only what the same caller asked for in the same way, and only while it has looked at nothing yet.

use std::{collections::HashMap, sync::Arc};

use zbus::OwnedObjectPath;

use super::{files, follow, host::Host};
use crate::{
    dbus::{Error, Ticket, deployment_path},
    model::{AppName, DeploymentId, Request, UnitName},
    system::units::Verb,
};

/// The deployments that were asked for so, and wait or run. What a service before this one was asked for is not among them,
/// and is not given up.
#[derive(Default)]
pub struct Asked(HashMap<AppName, Vec<DeploymentId>>);

impl Asked {
    /// Forgets what has ended.
    fn keep(&mut self, app: &AppName, there: &[(DeploymentId, UnitName)]) {
        if let Some(ids) = self.0.get_mut(app) {
            ids.retain(|id| there.iter().any(|(other, _)| other == id));
        }
    }

    fn add(&mut self, request: &Request) {
        self.0.entry(request.app.clone()).or_default().push(request.id.clone());
    }

    /// Whether a newer request stands for an older one: that was to be such a one itself, and asks for another ref and for
    /// nothing else that this one does not.
    fn is_outdated(&self, older: &Request, newer: &Request) -> bool {
        let asked_so = self.0.get(&older.app).is_some_and(|ids| ids.contains(&older.id));
        asked_so && is_same(&Request { reference: newer.reference.clone(), ..older.clone() }, newer)
    }
}

/// Joins the deployment that waits and will do the same, or starts one and gives up those that wait.
pub async fn start(host: &Arc<Host>, request: Request, ticket: Ticket) -> Result<OwnedObjectPath, Error> {
    let mut asked = host.coalescing.lock().await;
    let mut older = Vec::new();
    let there = host.asked_for(&request.app);
    asked.keep(&request.app, &there);
    for (id, unit) in there {
        let Some(other) = files::request(&host.paths, &request.app, &id) else { continue };
        if other.actor != request.actor || other.kind != request.kind || has_begun(host, &other, &unit).await {
            continue;
        }
        if is_same(&other, &request) {
            return deployment_path(&id);
        }
        if asked.is_outdated(&other, &request) {
            older.push((other, unit));
        }
    }
    let newest = request.clone();
    let path = follow::start(host, request, ticket).await?;
    asked.add(&newest);
    for (other, unit) in older {
        // The one that it waited for may have ended meanwhile.
        if !has_begun(host, &other, &unit).await {
            give_up(host, &other, &unit, &newest.id).await;
        }
    }
    Ok(path)
}

/// Whether both ask for the same, but for their ids.
fn is_same(one: &Request, other: &Request) -> bool {
    Request { id: other.id.clone(), ..one.clone() } == *other
}

/// Whether a deployment may have looked at its source, so that it would miss what was pushed since. It tells of itself in
/// the progress file before it looks, and has its record before that file goes: so they are read in this order.
async fn has_begun(host: &Host, request: &Request, unit: &UnitName) -> bool {
    let progress = files::progress(&host.paths, &request.app);
    if progress.map_or(true, |progress| progress.is_some_and(|progress| progress.deployment == request.id)) {
        return true;
    }
    if files::record(&host.paths, &request.app, &request.id).map_or(true, |record| record.is_some()) {
        return true;
    }
    // One that was only just asked for may not be known to systemd yet.
    let status = host.units.status(unit).await;
    status.map_or(true, |status| matches!(status.active.as_str(), "failed" | "deactivating"))
}

async fn give_up(host: &Host, Request { app, id, .. }: &Request, unit: &UnitName, newest: &DeploymentId) {
    match host.units.enqueue(Verb::Stop, unit).await {
        Ok(()) => {
            tracing::info!(
                DEPLOYD_APP = %app,
                DEPLOYD_DEPLOYMENT = %id,
                "deployment {id} has not begun and is given up: {newest} was asked for since"
            );
        }
        Err(error) => {
            tracing::warn!(
                DEPLOYD_APP = %app,
                DEPLOYD_DEPLOYMENT = %id,
                "deployment {id} was not given up: {error}, ignoring"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Allow, Kind};

    fn request() -> Request {
        Request {
            app: "shop".parse().unwrap(),
            id: DeploymentId::from_bits(1),
            kind: Kind::Deploy,
            reference: Some("refs/heads/main".into()),
            release: None,
            force: false,
            allow: Default::default(),
            upload: false,
            actor: Actor::Bus { uid: 1, user: None },
        }
    }

    #[test]
    fn only_what_was_to_be_given_up_for_a_newer_ref_is() {
        let (older, mut asked) = (request(), Asked::default());
        let newer = Request { id: DeploymentId::from_bits(2), reference: Some("refs/tags/v1".into()), ..request() };
        assert!(!asked.is_outdated(&older, &newer), "it was asked for by itself");
        asked.add(&older);
        assert!(asked.is_outdated(&older, &newer));
        let allow = Allow { destructive: true, ..Allow::default() };
        for other in [
            Request { force: true, ..older.clone() },
            Request { allow, ..older.clone() },
            Request { upload: true, ..older.clone() },
            Request { actor: Actor::Bus { uid: 2, user: None }, ..older.clone() },
        ] {
            assert!(!asked.is_outdated(&other, &newer), "{other:?}");
        }
        let unit: UnitName = "deploy-run@shop:0000000000000001.service".parse().unwrap();
        asked.keep(&older.app, &[(older.id.clone(), unit)]);
        assert!(asked.is_outdated(&older, &newer));
        asked.keep(&older.app, &[]);
        assert!(!asked.is_outdated(&older, &newer) && asked.0[&older.app].is_empty());
    }

    #[test]
    fn the_same_is_all_but_the_id() {
        let one = request();
        assert!(is_same(&one, &Request { id: DeploymentId::from_bits(2), ..one.clone() }));
        for other in [
            Request { reference: None, ..one.clone() },
            Request { force: true, ..one.clone() },
            Request { upload: true, ..one.clone() },
            Request { actor: Actor::Bus { uid: 2, user: None }, ..one.clone() },
        ] {
            assert!(!is_same(&one, &other), "{other:?}");
        }
    }
}
