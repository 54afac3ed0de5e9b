//! The process that holds a slot (`deploy-fleet-NAME.service`): begun, listened to, signalled.

use std::{collections::BTreeMap, time::Duration};

use rustix::process::Signal;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
};

use super::{
    note::Begun,
    order::{About, credentials, order},
};
use crate::{
    config::{Fleet, Settings},
    engine::error::EngineError,
    model::{AppName, UnitName},
    observe::Host,
    runtime::dropins::slice_of,
    system::units::{Pipes, Property, Transient},
    worker::{
        fleet_order::{FleetOrder, FleetSays, FleetWhat},
        sandbox,
    },
};

/// The longest line that is taken from it, in bytes.
const MAX_LINE: u64 = 16 * 1024;
/// How long it may take to be told what to do.
const TOLD: Duration = Duration::from_secs(10);

/// Its unit.
pub fn unit_of(app: &AppName) -> Result<UnitName, EngineError> {
    let name = format!("deploy-fleet-{app}.service");
    name.parse().map_err(|error: crate::model::BadName| EngineError::Other(error.to_string()))
}

/// Starts the process with an order; what it says can be read from then on.
pub async fn begin(
    host: &Host,
    settings: &Settings,
    fleet: &Fleet,
    about: &About<'_>,
    what: FleetWhat,
) -> Result<BufReader<pipe::Receiver>, EngineError> {
    let unit = unit_of(&settings.app)?;
    // Of an earlier deployment: its place is this one's. PID 1 knows no unit of which nothing runs.
    let mut untold = None;
    if !host.units.status(&unit).await?.has_ended() {
        untold = Begun::read(host, &settings.app).filter(|begun| begun.went_back).map(|begun| begun.revision);
        host.units.stop(&unit).await?;
    }
    let About { release, revision, force } = *about;
    let begun = Begun { release: release.clone(), revision: revision.to_owned(), force, went_back: false };
    begun.write(host, &settings.app)?;
    let broken = |error: std::io::Error| EngineError::Other(format!("a pipe to {unit}: {error}"));
    let Pipes { mut orders, answers, its } = Pipes::make().map_err(broken)?;
    let mut line = serde_json::to_vec(&FleetOrder { untold, ..order(settings, fleet, about, what)? })
        .map_err(|error| EngineError::Other(error.to_string()))?;
    line.push(b'\n');
    let mut properties = sandbox::fleet();
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
        stdio: Some(its),
        credentials: credentials(fleet),
        properties,
        ..Transient::default()
    };
    host.units.run(transient).await?;
    let told = tokio::time::timeout(TOLD, orders.write_all(&line)).await;
    told.map_err(|_| std::io::ErrorKind::TimedOut.into()).and_then(|written| written).map_err(broken)?;
    Ok(BufReader::new(answers))
}

/// The next that it says; none: it has ended.
pub async fn next(said: &mut BufReader<pipe::Receiver>) -> Result<Option<FleetSays>, EngineError> {
    let mut line = Vec::new();
    let read = (&mut *said).take(MAX_LINE).read_until(b'\n', &mut line).await;
    read.map_err(|error| EngineError::Other(format!("the process that holds the fleet's slot: {error}")))?;
    if line.last() != Some(&b'\n') {
        return Ok(None);
    }
    let wrong = |error| EngineError::Other(format!("what the process says that holds the fleet's slot: {error}"));
    serde_json::from_slice(&line).map(Some).map_err(wrong)
}

/// Whether there was somebody to tell.
pub async fn tell(host: &Host, app: &AppName, signal: Signal) -> bool {
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

/// Who holds it: a user that PID 1 makes for as long as it runs, and another one for each app.
fn user_of(app: &AppName) -> String {
    let mut id = hex::encode(Sha256::digest(app.as_str()));
    id.truncate(16);
    format!("deployd-fl-{id}")
}
