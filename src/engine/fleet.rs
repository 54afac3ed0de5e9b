//! A slot of the fleet's semaphore: taken before activate, given back when it is known how that went.
//!
//! Who holds it is a process of its own (`deploy-fleet-NAME.service`), because it outlives the engine: from activate
//! until settling has confirmed the release. It gets its order on its standard input, says on its standard output what
//! it waits for, and is told by signals what became of the release.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use hmac::{Hmac, KeyInit, Mac};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
};

use super::{deployment::Deployment, error::EngineError};
use crate::{
    config::{Fleet, Semaphore, Settings},
    model::{AppName, Kind, Phase, ReleaseId, UnitName, printable},
    observe::Host,
    runtime::dropins::slice_of,
    system::{
        process::host_name,
        tree::Dir,
        units::{Property, Transient},
    },
    worker::{
        fleet_order::{
            AUTHORITY, CERTIFICATE, CONFIRMED, FleetOrder, FleetSays, FleetWhat, GIVE_BACK, KEY, PASSWORD,
            SemaphoreOrder, WENT_BACK,
        },
        sandbox,
    },
};

/// The longest line that is taken from it, in bytes.
const MAX_LINE: u64 = 16 * 1024;
/// The longest sentence, in characters: it goes into records and onto the bus.
const MAX_SENTENCE: usize = 400;
/// How long a process may take to be told what to do.
const TOLD: Duration = Duration::from_secs(10);

impl Deployment<'_> {
    /// Waits for a slot, if this app has a fleet and something new is to become live. A rollback waits for nobody.
    pub async fn take_slot(&mut self) -> Result<(), EngineError> {
        let settings = self.settings;
        let Some(fleet) = &settings.fleet else { return Ok(()) };
        if self.plan.live.is_none() || !matches!(self.plan.kind, Kind::Deploy | Kind::Activate) {
            return Ok(());
        }
        self.progress.phase(Phase::Waiting, &format!("takes a slot of the fleet {}", fleet.group));
        let about = About { release: &self.plan.release, revision: &self.plan.revision, force: self.request.force };
        self.takes_slot = true;
        let mut said = begin(self.host, self.settings, fleet, &about, FleetWhat::Take).await?;
        loop {
            match next(&mut said).await? {
                Some(FleetSays::Waits(why)) => self.progress.waiting(Phase::Waiting, &sentence(&why)),
                Some(FleetSays::Taken) => return Ok(()),
                Some(FleetSays::Held(why)) => return Err(held(&self.settings.app, &why)),
                Some(FleetSays::Failed(why)) => {
                    let app = &self.settings.app;
                    let place = self.settings.place("fleet");
                    return Err(EngineError::Other(format!(
                        "{place}no slot of the fleet {} can be had: {}; see `journalctl -u {}`",
                        fleet.group,
                        sentence(&why),
                        unit_of(app)?
                    )));
                }
                None => {
                    let unit = unit_of(&self.settings.app)?;
                    let why =
                        format!("the process that was to hold the fleet's slot has ended: `journalctl -u {unit}`");
                    return Err(EngineError::Other(why));
                }
            }
        }
    }
}

fn held(app: &AppName, why: &str) -> EngineError {
    EngineError::Refused {
        why: format!("the fleet holds it back: {}", sentence(why)),
        remedy: format!(
            "deploy another revision; or, when its cause was not the release, `deployctl deploy {app} --force` on one \
             host: once it is confirmed there, the others take it again"
        ),
    }
}

/// Nothing of it is live: the slot, if there is one, is for others. Of one release, or of whichever it is for.
pub async fn give_back(host: &Host, app: &AppName, release: Option<&ReleaseId>) {
    tell(host, app, release, GIVE_BACK).await;
}

/// The release is confirmed: the next host may go on.
pub async fn confirmed(host: &Host, settings: &Settings, release: &ReleaseId, revision: &str) {
    let begun = begun(host, &settings.app);
    if tell(host, &settings.app, Some(release), CONFIRMED).await {
        return;
    }
    let Some(fleet) = &settings.fleet else { return };
    let of_it = begun.as_ref().map(|begun| (begun.release == *release, begun.force));
    let force = match (&fleet.semaphore, of_it) {
        // A lease ends by itself; a mark that was overruled does not.
        (Semaphore::Etcd { .. }, Some((true, true))) => true,
        // What FleetLock knows of this host is there after a boot too, when nothing is noted any more.
        (Semaphore::FleetLock { .. }, None | Some((true, _))) => false,
        _ => return,
    };
    if let Err(error) = begin(host, settings, fleet, &About { release, revision, force }, FleetWhat::GiveBack).await {
        tracing::warn!("the slot of the fleet {} is not given back: {error}", fleet.group);
    }
}

/// This host went back from the release: the others are told before its slot is free.
pub async fn went_back(host: &Host, settings: &Settings, release: &ReleaseId, revision: &str) {
    let app = &settings.app;
    if let Some(begun) = begun(host, app).filter(|begun| begun.release == *release)
        && let Err(error) = note(host, app, &Begun { went_back: true, ..begun })
    {
        tracing::warn!("{error}, ignoring");
    }
    if tell(host, app, Some(release), WENT_BACK).await {
        return;
    }
    let Some(fleet) = &settings.fleet else { return };
    if matches!(fleet.semaphore, Semaphore::FleetLock { .. }) {
        return;
    }
    if let Err(error) =
        begin(host, settings, fleet, &About { release, revision, force: false }, FleetWhat::Report).await
    {
        tracing::error!("the fleet {} is not told that this host went back from {release}: {error}", fleet.group);
    }
}

/// What a slot is for.
struct About<'a> {
    release: &'a ReleaseId,
    revision: &'a str,
    force: bool,
}

/// What the process was begun for, noted where it goes when the host is started again, as the process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Begun {
    release: ReleaseId,
    revision: String,
    force: bool,
    /// It was told that this host went back.
    went_back: bool,
}

/// Its name below `/run/deployd/NAME`.
const NOTE: &str = "fleet.json";

fn begun(host: &Host, app: &AppName) -> Option<Begun> {
    let dir = Dir::open(&host.paths.app_run_dir(app)).ok()?;
    serde_json::from_slice(&dir.read(NOTE, MAX_LINE).ok()??).ok()
}

fn note(host: &Host, app: &AppName, begun: &Begun) -> Result<(), EngineError> {
    let json = serde_json::to_vec(begun).map_err(|error| EngineError::Other(error.to_string()))?;
    Ok(Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?.write_volatile(NOTE, &json, 0o600)?)
}

fn unit_of(app: &AppName) -> Result<UnitName, EngineError> {
    let name = format!("deploy-fleet-{app}.service");
    name.parse().map_err(|error: crate::model::BadName| EngineError::Other(error.to_string()))
}

/// Whether there was somebody to tell, whose slot is for this release.
async fn tell(host: &Host, app: &AppName, release: Option<&ReleaseId>, signal: Signal) -> bool {
    let Some(begun) = begun(host, app) else { return false };
    if release.is_some_and(|release| begun.release != *release) {
        return false;
    }
    let told = async {
        let unit = unit_of(app)?;
        if host.units.status(&unit).await?.active != "active" {
            return Ok(false);
        }
        host.units.signal_main(&unit, signal).await?;
        Ok::<_, EngineError>(true)
    };
    told.await.unwrap_or_else(|error| {
        tracing::warn!("{error}, ignoring");
        false
    })
}

/// Starts the process with an order; what it says can be read from then on.
async fn begin(
    host: &Host,
    settings: &Settings,
    fleet: &Fleet,
    about: &About<'_>,
    what: FleetWhat,
) -> Result<BufReader<pipe::Receiver>, EngineError> {
    let unit = unit_of(&settings.app)?;
    // Of an earlier deployment: its place is this one's. PID 1 knows no unit of which nothing runs.
    let mut untold = None;
    if !matches!(host.units.status(&unit).await?.active.as_str(), "inactive" | "failed") {
        untold = begun(host, &settings.app).filter(|begun| begun.went_back).map(|begun| begun.revision);
        host.units.stop(&unit).await?;
    }
    let About { release, revision, force } = *about;
    let begun = Begun { release: release.clone(), revision: revision.to_owned(), force, went_back: false };
    note(host, &settings.app, &begun)?;
    let broken = |error: std::io::Error| EngineError::Other(format!("a pipe to {unit}: {error}"));
    let (mut orders, input) =
        pipe::pipe().and_then(|(orders, input)| Ok((orders, input.into_blocking_fd()?))).map_err(broken)?;
    let (output, said) =
        pipe::pipe().and_then(|(output, said)| Ok((output.into_blocking_fd()?, said))).map_err(broken)?;
    let mut line = serde_json::to_vec(&FleetOrder { untold, ..order(settings, fleet, about, what)? })
        .map_err(|error| EngineError::Other(error.to_string()))?;
    line.push(b'\n');
    let mut properties = sandbox::fleet();
    properties.insert("LoadCredential", Property::Pairs(credentials(fleet)));
    // When the host goes down, the deployment ends first.
    let after =
        [host.own_unit.as_ref().map(ToString::to_string), Some(format!("deploy-settle@{}.service", settings.app))];
    properties.insert("Before", Property::Texts(after.into_iter().flatten().collect()));
    let transient = Transient {
        name: unit.to_string(),
        description: format!("Slot of {} in the fleet {}", settings.app, fleet.group),
        exec: vec![host.program.display().to_string(), "fleet".into()],
        user: user_of(&settings.app),
        slice: Some(slice_of(&settings.app)),
        journal_fields: BTreeMap::from([("DEPLOYD_APP".into(), settings.app.to_string())]),
        identifier: "deployd-fleet".into(),
        stdio: Some((input, output)),
        properties,
        ..Transient::default()
    };
    host.units.run(transient).await?;
    let told = tokio::time::timeout(TOLD, orders.write_all(&line)).await;
    told.map_err(|_| std::io::ErrorKind::TimedOut.into()).and_then(|written| written).map_err(broken)?;
    Ok(BufReader::new(said))
}

/// Who holds it: a user that PID 1 makes for as long as it runs, and another one for each app.
fn user_of(app: &AppName) -> String {
    let digest = Sha256::digest(app.as_str());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("deployd-fl-{hex}")
}

fn order(settings: &Settings, fleet: &Fleet, about: &About<'_>, what: FleetWhat) -> Result<FleetOrder, EngineError> {
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
    Ok(mac.finalize().into_bytes().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn credentials(fleet: &Fleet) -> Vec<(String, String)> {
    let password = match &fleet.semaphore {
        Semaphore::Etcd { login: Some((_, file)), .. } => Some((PASSWORD, file)),
        _ => None,
    };
    let client = fleet.client.iter().flat_map(|(certificate, key)| [(CERTIFICATE, certificate), (KEY, key)]);
    let authority = fleet.ca_file.as_ref().map(|file| (AUTHORITY, file));
    let pair = |(name, file): (&str, &PathBuf)| (name.to_owned(), file.display().to_string());
    password.into_iter().chain(authority).chain(client).map(pair).collect()
}

/// The next that it says; none: it has ended.
async fn next(said: &mut BufReader<pipe::Receiver>) -> Result<Option<FleetSays>, EngineError> {
    let mut line = Vec::new();
    let read = (&mut *said).take(MAX_LINE).read_until(b'\n', &mut line).await;
    read.map_err(|error| EngineError::Other(format!("the process that holds the fleet's slot: {error}")))?;
    if line.last() != Some(&b'\n') {
        return Ok(None);
    }
    let wrong = |error| EngineError::Other(format!("what the process says that holds the fleet's slot: {error}"));
    serde_json::from_slice(&line).map(Some).map_err(wrong)
}

fn sentence(text: &str) -> String {
    printable(text).chars().take(MAX_SENTENCE).collect()
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
        assert_eq!(credentials(fleet), [("password".to_owned(), "/etc/deployd/secrets/p".to_owned())]);
    }
}
