//! Deployments from the command line: started, watched live, and their outcome told in one line.

use std::{
    fs::OpenOptions,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use zbus::{OwnedObjectPath, Variant};

use super::{
    args::Start,
    bus::{self, Bus, Properties, text},
    error::CtlError,
    lists::value,
    out::Out,
    watch::outcome,
};
use crate::{
    dbus,
    model::{AppName, DeploymentId, Kind, Outcome},
};

/// The exit status of "nothing was new", where it is asked for.
pub const UNCHANGED: u8 = 10;
/// Of who stops waiting by Ctrl-C, as a shell has it.
pub const INTERRUPTED: u8 = 130;

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
            return Ok(INTERRUPTED);
        }
    };
    let status = tell(&start.app, &ended, out)?;
    let unchanged = text(&ended, "Outcome") == Outcome::Unchanged.as_str();
    Ok(if unchanged && start.tell_unchanged { UNCHANGED } else { status })
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
