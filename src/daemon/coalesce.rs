//! Of many requests for one app the newest wins: one that waits already is joined, one of another ref that waits is given
//! up. Only what the same caller asked for, and only while it has looked at nothing yet.

use std::sync::Arc;

use zbus::OwnedObjectPath;

use super::{files, follow, host::Host};
use crate::{
    dbus::{Error, Ticket, deployment_path},
    model::{DeploymentId, Request, UnitName},
    system::units::Verb,
};

/// Joins the deployment that waits and will do the same, or starts one and gives up those that wait.
pub async fn start(host: &Arc<Host>, request: Request, ticket: Ticket) -> Result<OwnedObjectPath, Error> {
    let _turn = host.coalescing.lock().await;
    let mut older = Vec::new();
    for (id, unit) in host.asked_for(&request.app) {
        let Some(other) = files::request(&host.paths, &request.app, &id) else { continue };
        if other.actor != request.actor || other.kind != request.kind || has_begun(host, &other, &unit).await {
            continue;
        }
        if is_same(&other, &request) {
            return deployment_path(&id);
        }
        older.push((id, unit));
    }
    let newest = request.id.clone();
    let path = follow::start(host, request, ticket).await?;
    for (id, unit) in older {
        give_up(host, &id, &unit, &newest).await;
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

async fn give_up(host: &Host, id: &DeploymentId, unit: &UnitName, newest: &DeploymentId) {
    match host.units.enqueue(Verb::Stop, unit).await {
        Ok(()) => tracing::info!("deployment {id} has not begun and is given up: {newest} was asked for since"),
        Err(error) => tracing::warn!("deployment {id} was not given up: {error}, ignoring"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Kind};

    #[test]
    fn the_same_is_all_but_the_id() {
        let one = Request {
            app: "shop".parse().unwrap(),
            id: DeploymentId::from_bits(1),
            kind: Kind::Deploy,
            reference: Some("refs/heads/main".into()),
            release: None,
            force: false,
            allow: Default::default(),
            upload: false,
            actor: Actor::Bus { uid: 1, user: None },
        };
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
