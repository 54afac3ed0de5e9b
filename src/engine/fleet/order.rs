//! What the process that holds a slot is told, from an app's settings.

use std::path::PathBuf;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{
    config::{Fleet, Semaphore, Settings},
    engine::error::EngineError,
    model::{AppName, ReleaseId},
    system::process::host_name,
    worker::fleet_order::{AUTHORITY, CERTIFICATE, FleetOrder, FleetWhat, KEY, PASSWORD, SemaphoreOrder},
};

/// What a slot is for.
pub struct About<'a> {
    /// It is to become live.
    pub release: &'a ReleaseId,
    /// What it was made from.
    pub revision: &'a str,
    /// Though another host went back from it.
    pub force: bool,
}

/// The order to do so.
pub fn order(
    settings: &Settings,
    fleet: &Fleet,
    about: &About<'_>,
    what: FleetWhat,
) -> Result<FleetOrder, EngineError> {
    let semaphore = match &fleet.semaphore {
        Semaphore::Etcd { endpoints, slots, lease, login } => SemaphoreOrder::Etcd {
            endpoints: endpoints.clone(),
            slots: *slots,
            lease: *lease,
            user: login.as_ref().map(|(user, _)| user.clone()),
        },
        Semaphore::FleetLock { url } => SemaphoreOrder::FleetLock { url: url.clone() },
    };
    // A release that was adopted may have none.
    let revision = if about.revision.is_empty() { about.release.as_str() } else { about.revision };
    Ok(FleetOrder {
        app: settings.app.to_string(),
        host: host_name(),
        id: host_id(&settings.app)?,
        group: fleet.group.clone(),
        release: about.release.to_string(),
        revision: revision.to_owned(),
        force: about.force,
        untold: None,
        what,
        semaphore,
    })
}

/// This host's app among those of others, without the machine id, which is nobody else's to know (machine-id(5)).
fn host_id(app: &AppName) -> Result<String, EngineError> {
    let place = "/etc/machine-id";
    let wrong = |why: String| {
        EngineError::Other(format!("{place}: {why}; the fleet knows this host by it: systemd-machine-id-setup"))
    };
    let text = std::fs::read_to_string(place).map_err(|error| wrong(error.to_string()))?;
    let id = text.trim();
    if id.len() != 32 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong("it has no id".into()));
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(id.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    mac.update(format!("deployd fleet {app}").as_bytes());
    let mut id = hex::encode(mac.finalize().into_bytes());
    id.truncate(32);
    Ok(id)
}

/// The files of root's that it is handed.
pub fn credentials(fleet: &Fleet) -> Vec<(String, PathBuf)> {
    let password = match &fleet.semaphore {
        Semaphore::Etcd { login: Some((_, file)), .. } => Some((PASSWORD, file)),
        _ => None,
    };
    let client = fleet.client.iter().flat_map(|(certificate, key)| [(CERTIFICATE, certificate), (KEY, key)]);
    let authority = fleet.ca_file.as_ref().map(|file| (AUTHORITY, file));
    let all = password.into_iter().chain(authority).chain(client);
    all.map(|(name, file)| (name.to_owned(), file.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_knows_the_host_and_no_secret() {
        let text = "root = \"/srv/shop\"\nuser = \"shop\"\nsource.git = \"/g\"\n[fleet]\netcd = [\"https://a:1/\"]\n\
                    user = \"u\"\npassword_file = \"/etc/deployd/secrets/p\"\n";
        let settings = crate::config::tests::Host::with(text).load().unwrap();
        let fleet = settings.fleet.as_ref().unwrap();
        let release: ReleaseId = "20260101T000000Z-a".parse().unwrap();
        for (revision, expected) in [("abc", "abc"), ("", "20260101T000000Z-a")] {
            let about = About { release: &release, revision, force: false };
            let order = order(&settings, fleet, &about, FleetWhat::Take).unwrap();
            assert_eq!((order.revision.as_str(), order.group.as_str(), order.id.len()), (expected, "shop", 32));
            let SemaphoreOrder::Etcd { endpoints, slots: 1, user: Some(_), .. } = order.semaphore else { panic!() };
            assert_eq!(endpoints, ["https://a:1"]);
        }
        assert_eq!(credentials(fleet), [("password".to_owned(), "/etc/deployd/secrets/p".into())]);
    }
}
