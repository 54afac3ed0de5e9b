//! Deployments from the command line: started, watched live, and their outcome told in one line. Survives a restart of
//! deployd: the deployment does not depend on it, and the record tells how it ended.

use std::{
    fs::OpenOptions,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::Path,
    time::Duration,
};

use futures_util::StreamExt;
use zbus::{OwnedObjectPath, Variant, fdo};

use super::{
    args::Start,
    bus::{self, Bus, Properties, text},
    entry::Entry,
    error::CtlError,
    lists::value,
    logs::Log,
    out::Out,
};
use crate::{
    dbus,
    model::{AppName, DeploymentId, Kind, Outcome},
};

/// The longest that the last lines of the log may come after the outcome.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Starts a deployment and, unless told otherwise, waits for its outcome.
pub async fn run(bus: Bus, start: Start, out: &Out) -> Result<u8, CtlError> {
    let mut options = bus::options(&start.options);
    let app = start.app.as_str();
    let path = match start.kind {
        kind if start.options.upload.is_some() => {
            let file = archive(start.options.upload.as_deref().unwrap_or(Path::new("")))?;
            options.insert("stage", Variant::from(kind == Kind::Stage));
            bus.manager.upload(app, file.into(), &options).await?
        }
        Kind::Deploy => bus.manager.deploy(app, &options).await?,
        Kind::Stage => bus.manager.stage(app, &options).await?,
        Kind::Activate => bus.manager.activate(app, &options).await?,
        Kind::Rollback => bus.manager.rollback(app, &options).await?,
    };
    let id = id_of(&bus, &path).await?;
    if !start.wait {
        if out.is_json() {
            out.json(&serde_json::json!({"app": app, "id": id.as_str(), "kind": start.kind.as_str()}))?;
        } else {
            out.line(&format!("{app}: {} {id} was accepted", start.kind))?;
        }
        return Ok(0);
    }
    let ended = tokio::select! {
        ended = outcome(bus, &start.app, &id, path, !out.is_json(), out) => ended?,
        _ = tokio::signal::ctrl_c() => {
            out.note(&format!("\n{app}: deployment {id} goes on; `deployctl cancel {app}` cancels it"));
            return Ok(130);
        }
    };
    tell(&start.app, &ended, out)
}

/// Opens an archive to hand it over. Never waits for a writer.
fn archive(path: &Path) -> Result<OwnedFd, CtlError> {
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path);
    let file = file.map_err(|error| CtlError::Local(format!("cannot open {}: {error}", path.display())))?;
    let is_file = file.metadata().is_ok_and(|found| found.is_file());
    let hint = "pack it first: `tar -C DIRECTORY -c . | zstd > build.tar.zst`";
    if is_file {
        Ok(file.into())
    } else {
        Err(CtlError::Local(format!("{} is no regular file\n\n{hint}", path.display())))
    }
}

/// Cancels a deployment, and says how it ended.
pub async fn cancel(bus: &Bus, app: &AppName, id: Option<DeploymentId>, out: &Out) -> Result<u8, CtlError> {
    let id = match id {
        Some(id) => id,
        None => running(bus, app).await?,
    };
    let path = bus.manager.get_deployment(app.as_str(), id.as_str()).await?;
    bus.deployment(&path).await?.cancel().await?;
    let again = Bus::over(bus.connection.clone()).await?;
    let ended = outcome(again, app, &id, path, false, out).await?;
    let status = tell(app, &ended, out)?;
    // It was to be cancelled: that it was is a success.
    Ok(if text(&ended, "Outcome") == Outcome::Cancelled.as_str() { 0 } else { status.max(1) })
}

async fn running(bus: &Bus, app: &AppName) -> Result<DeploymentId, CtlError> {
    let path = bus.manager.get_app(app.as_str()).await?;
    let id = text(&bus.properties(&path, dbus::APP).await?, "Running");
    if id.is_empty() {
        return Err(CtlError::Local(format!("{app}: no deployment is running, nothing to cancel")));
    }
    id.parse().map_err(CtlError::Local)
}

async fn id_of(bus: &Bus, path: &OwnedObjectPath) -> Result<DeploymentId, CtlError> {
    text(&bus.properties(path, dbus::DEPLOYMENT).await?, "Id").parse().map_err(CtlError::Local)
}

/// Waits for the outcome; returns the deployment's properties then.
async fn outcome(
    mut bus: Bus,
    app: &AppName,
    id: &DeploymentId,
    mut path: OwnedObjectPath,
    live: bool,
    out: &Out,
) -> Result<Properties, CtlError> {
    let mut seen = 0;
    loop {
        let mut watch = Watch { bus: &bus, app, id, out, live, seen };
        match watch.until_ended(&path).await {
            Ok(Some(properties)) => return Ok(properties),
            // deployd went away (it was restarted, or killed): the deployment goes on in its own unit.
            Ok(None) => {}
            Err(error) if bus.connection.is_closed() => return Err(error),
            Err(error) => {
                let bus = fdo::DBusProxy::new(&bus.connection).await?;
                let name = zbus::names::BusName::from(watch.bus.owner.as_ref());
                if bus.name_has_owner(name).await? {
                    return Err(error);
                }
            }
        }
        seen = watch.seen;
        bus = Bus::over(bus.connection.clone()).await?;
        path = bus.manager.get_deployment(app.as_str(), id.as_str()).await?;
    }
}

/// One deployd's telling of a deployment.
struct Watch<'a> {
    bus: &'a Bus,
    app: &'a AppName,
    id: &'a DeploymentId,
    out: &'a Out,
    live: bool,
    /// Time of the last entry that was shown, so that none is shown twice after a reconnection.
    seen: i64,
}

impl Watch<'_> {
    /// `None`: deployd has gone.
    async fn until_ended(&mut self, path: &OwnedObjectPath) -> Result<Option<Properties>, CtlError> {
        let bus = self.bus;
        let mut removed = bus.manager.receive_deployment_removed_with_args(&[(1, self.id.as_str())]).await?;
        let mut changes = bus.properties_proxy(path).await?.receive_properties_changed().await?;
        let gone = bus.gone();
        tokio::pin!(gone);
        let mut log = if self.live { self.open().await } else { None };
        let mut held = Vec::new();
        // Subscribed first, read then: an end in between is not missed.
        let mut properties = bus.properties(path, dbus::DEPLOYMENT).await?;
        while text(&properties, "Outcome").is_empty() {
            tokio::select! {
                signal = removed.next() => {
                    if signal.is_none() { return Ok(None) }
                    properties = bus.properties(path, dbus::DEPLOYMENT).await?;
                }
                change = changes.next() => {
                    let Some(change) = change else { return Ok(None) };
                    if self.live && log.is_none() { self.phase(&change) }
                }
                line = next(&mut log, &mut held) => {
                    if self.line(line?) { log = None }
                }
                ended = &mut gone => return ended.map(|()| None),
            }
        }
        let rest = async {
            while log.is_some() {
                if self.line(next(&mut log, &mut held).await?) {
                    log = None;
                }
            }
            Ok::<_, CtlError>(())
        };
        // Nothing depends on the last lines: when they do not come, the outcome is told without them.
        let _ = tokio::time::timeout(LAST_LINES, rest).await;
        Ok(Some(properties))
    }

    async fn open(&self) -> Option<Log> {
        match Log::open(self.bus, self.app, Some(self.id), true, None).await {
            Ok(log) => Some(log),
            Err(error) => {
                self.out.note(&format!("(without live output: {})", crate::model::printable(&error.to_string())));
                None
            }
        }
    }

    /// Shows a line. `true`: there is nothing more to come.
    fn line(&mut self, line: Option<String>) -> bool {
        let Some(line) = line else { return true };
        let Some(entry) = Entry::parse(&line) else { return false };
        if entry.time < self.seen {
            return false;
        }
        self.seen = entry.time + 1;
        if let Some(shown) = entry.live() {
            self.out.note(&shown);
        }
        entry.is_end()
    }

    fn phase(&self, change: &fdo::PropertiesChanged) {
        let Ok(args) = change.args() else { return };
        let changed = |name: &str| args.changed_properties.get(name).and_then(|v| v.downcast_ref::<&str>().ok());
        if let Some(phase) = changed("Phase").filter(|p| *p != "done") {
            self.out.note(&format!("==> {}", crate::model::printable(phase)));
        }
        if let Some(step) = changed("Step").filter(|s| !s.is_empty()) {
            self.out.note(&format!("  {}", crate::model::printable(step)));
        }
    }
}

/// The log's next line; without a log never.
async fn next(log: &mut Option<Log>, held: &mut Vec<u8>) -> Result<Option<String>, CtlError> {
    match log {
        Some(log) => log.line(held).await,
        None => std::future::pending().await,
    }
}

/// The outcome in one line, its hint after a blank one; returns the exit status.
fn tell(app: &AppName, ended: &Properties, out: &Out) -> Result<u8, CtlError> {
    let outcome: Outcome = text(ended, "Outcome").parse().map_err(CtlError::Local)?;
    if out.is_json() {
        out.json(&summary(ended, outcome))?;
        return Ok(outcome.exit_status());
    }
    let line = sentence(app, ended, outcome);
    match (outcome.exit_status(), hint(app, ended, outcome)) {
        (0, _) => out.line(&out.bold(&line))?,
        (_, None) => out.note(&line),
        (_, Some(hint)) => out.note(&format!("{line}\n\n{hint}")),
    }
    Ok(outcome.exit_status())
}

fn sentence(app: &AppName, ended: &Properties, outcome: Outcome) -> String {
    let message = text(ended, "Message");
    match outcome {
        Outcome::Succeeded => format!("{app}: {message}"),
        Outcome::RolledBack => format!("{app}: rolled back: {message}"),
        outcome => format!("{app}: {outcome}: {message}"),
    }
}

fn hint(app: &AppName, ended: &Properties, outcome: Outcome) -> Option<String> {
    let id = text(ended, "Id");
    match outcome {
        Outcome::Failed | Outcome::RolledBack => {
            Some(format!("`deployctl logs {app} --deployment {id}` shows all of it"))
        }
        Outcome::Stuck => Some(format!("`deployctl status {app}` says how to go on")),
        _ => None,
    }
}

fn summary(ended: &Properties, outcome: Outcome) -> serde_json::Value {
    let names = [
        ("App", "app"),
        ("Id", "id"),
        ("Kind", "kind"),
        ("Actor", "actor"),
        ("Outcome", "outcome"),
        ("Message", "message"),
        ("Release", "release"),
        ("Previous", "previous"),
        ("LiveMs", "live_ms"),
        ("WallMs", "wall_ms"),
    ];
    let pairs = names.iter().filter_map(|(name, key)| Some(((*key).to_owned(), value(ended.get(*name)?))));
    let mut object: serde_json::Map<_, _> = pairs.collect();
    object.insert("changed".into(), (outcome == Outcome::Succeeded).into());
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::OwnedVariant;

    fn ended(pairs: &[(&str, &str)], live_ms: u64) -> Properties {
        let text = |v: &str| OwnedVariant::try_from(Variant::from(v.to_owned())).unwrap();
        let mut out: Properties = pairs.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect();
        out.insert("LiveMs".into(), OwnedVariant::from(live_ms));
        out
    }

    #[test]
    fn one_sentence_says_how_it_ended() {
        let app: AppName = "shop".parse().unwrap();
        let live = ended(&[("Message", "R2 is live (was R1), 412 ms: .env changed")], 412);
        assert_eq!(sentence(&app, &live, Outcome::Succeeded), "shop: R2 is live (was R1), 412 ms: .env changed");
        let bad = ended(&[("Message", "no .env"), ("Id", "7")], 0);
        assert_eq!(sentence(&app, &bad, Outcome::Rejected), "shop: rejected: no .env");
        assert!(hint(&app, &bad, Outcome::Failed).unwrap().contains("logs shop --deployment 7"));
        assert_eq!(summary(&live, Outcome::Succeeded)["changed"], true);
        assert_eq!(summary(&live, Outcome::Unchanged)["live_ms"], 412);
    }
}
