//! One deployment, from its request to its outcome. The unit does the work and outlives this service; here it is only
//! started, watched and told of.

use std::sync::Arc;

use zbus::{OwnedObjectPath, object_server::SignalEmitter};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    files::{self, Progress},
    host::{Entry, Host, unit, unit_of_kind},
    lists,
};
use crate::{
    dbus::{App, DeploymentView, Error, Manager, PATH, SharedView, Ticket, deployment_path, publish},
    model::{
        AppName, CheckRequest, DeployKey, DeploymentId, DiffRequest, Difference, Finding, HoldChange, HoldRequest,
        KeyRequest, PruneRequest, Pruned, Refused, Refusing, Reply, Request, UnitName, printable,
    },
    system::units::{UnitError, UnitStatus},
};

/// Writes the request, starts its unit, and follows it; returns the object's path at once.
pub async fn start(host: &Arc<Host>, request: Request, ticket: Ticket) -> Result<OwnedObjectPath, Error> {
    let unit = unit("deploy-run", &request.app, &request.id)?;
    let begun = match files::write_request(&host.paths, &request) {
        Ok(()) => follow(host, &request, unit, Begin::Start, Some(ticket)).await,
        Err(error) => Err(error),
    };
    if begun.is_err() {
        files::remove_request(&host.paths, &request.app, &request.id);
    }
    begun
}

/// Follows a request that an earlier service left, if its unit still runs; else the request is done with.
pub async fn adopt_request(host: &Arc<Host>, request: Request) -> Result<(), Error> {
    let run = unit("deploy-run", &request.app, &request.id)?;
    let status = host.units.status(&run).await.map_err(|e| Error::Failed(e.to_string()))?;
    if is_running(&status) {
        follow(host, &request, run, Begin::Adopt, None).await?;
    } else {
        files::remove_request(&host.paths, &request.app, &request.id);
    }
    Ok(())
}

/// Makes a plan in its own unit, and waits for it.
pub async fn plan(host: &Arc<Host>, request: &Request) -> Result<String, Error> {
    let plan: serde_json::Value =
        ask(host, "deploy-plan", (&request.app, &request.id), request, ("plan", "plan")).await?;
    Ok(plan.to_string())
}

/// Hands a request to the engine in a unit of its own, and waits for what it left. `made` and `left` are what is missed
/// without it. A refusal is an answer too: the unit's failure counts only when it left none.
async fn ask<T: DeserializeOwned>(
    host: &Arc<Host>,
    template: &str,
    (app, id): (&AppName, &DeploymentId),
    asked: &impl Serialize,
    (made, left): (&str, &str),
) -> Result<T, Error> {
    let _held = host.busy.hold();
    let unit = unit(template, app, id)?;
    files::write_asked(&host.paths, app, id, asked)?;
    let started = host.units.start(&unit).await;
    let answer = files::answer(&host.paths, app, id);
    files::remove_request(&host.paths, app, id);
    match (answer?, started) {
        (Some(answer), _) => Ok(answer),
        (None, Err(error)) => Err(Error::Failed(format!("no {made} was made: {}", printable(&error.to_string())))),
        (None, Ok(())) => Err(Error::Failed(format!("{unit} left no {left} (see `systemctl status {unit}`)"))),
    }
}

/// Has the app's user look at the shared files, in a unit of its own, and waits for what it found. One after the other:
/// each begins after it was asked for, and everybody may ask.
pub async fn survey(host: &Arc<Host>, app: &AppName) -> Result<Vec<String>, Error> {
    let _held = host.busy.hold();
    let _turn = host.surveying.lock().await;
    let id = files::random_id()?;
    let unit = unit("deploy-survey", app, &id)?;
    let failed = |why: String| Error::Failed(format!("the shared files of app {app} were not looked at: {why}"));
    host.units.start(&unit).await.map_err(|error| failed(printable(&error.to_string())))?;
    match files::survey(&host.paths, app)? {
        Some(survey) if survey.id == id => Ok(survey.changed.iter().map(|path| printable(path)).collect()),
        _ => Err(failed(format!("{unit} left no answer (see `journalctl -u {unit}`)"))),
    }
}

/// Has a check made; it changes nothing.
pub async fn check(host: &Arc<Host>, request: &CheckRequest) -> Result<Vec<Finding>, Error> {
    done(ask(host, "deploy-plan", (&request.check, &request.id), request, ("check", "answer")).await?)
}

/// Has an app's deploy key made, or only told.
pub async fn key(host: &Arc<Host>, request: &KeyRequest) -> Result<DeployKey, Error> {
    done(ask(host, "deploy-key", (&request.key, &request.id), request, ("key", "answer")).await?)
}

/// Has an app or a release held, or let go.
pub async fn hold(host: &Arc<Host>, request: &HoldRequest) -> Result<HoldChange, Error> {
    let reply = ask(host, "deploy-hold", (&request.hold, &request.id), request, ("note", "answer")).await?;
    announce(host, &request.hold).await;
    done(reply)
}

/// Has releases pruned.
pub async fn prune(host: &Arc<Host>, request: &PruneRequest) -> Result<Vec<Pruned>, Error> {
    done(ask(host, "deploy-prune", (&request.prune, &request.id), request, ("pruning", "answer")).await?)
}

/// Has two releases compared.
pub async fn diff(host: &Arc<Host>, request: &DiffRequest) -> Result<Difference, Error> {
    done(ask(host, "deploy-plan", (&request.diff, &request.id), request, ("comparison", "answer")).await?)
}

fn done<T>(reply: Reply<T>) -> Result<T, Error> {
    match reply {
        Reply::Done(answer) => Ok(answer),
        Reply::Refused(Refused { kind, why }) => {
            let why = printable(&why);
            Err(match kind {
                Refusing::NoSuchApp => Error::NoSuchApp(why),
                Refusing::NoSuchRelease => Error::NoSuchRelease(why),
                Refusing::BadConfig => Error::BadConfig(why),
                Refusing::Failed => Error::Failed(why),
            })
        }
    }
}

/// Relays what an app's progress file says; a deployment not seen before (started by systemd) gets its object.
pub async fn progress(host: &Arc<Host>, app: &AppName) {
    let progress = match files::progress(&host.paths, app) {
        Ok(Some(progress)) => progress,
        Ok(None) => return,
        Err(error) => return tracing::warn!(DEPLOYD_APP = %app, "{error}, ignoring"),
    };
    if let Err(error) = relay(host, app, progress).await {
        tracing::warn!(DEPLOYD_APP = %app, "progress of app {app} is not relayed: {error}");
    }
}

async fn relay(host: &Arc<Host>, app: &AppName, progress: Progress) -> Result<(), Error> {
    if host.entry(&progress.deployment).is_none() {
        adopt_progress(host, app, &progress).await?;
    }
    let Some(entry) = host.entry(&progress.deployment) else { return Ok(()) };
    if entry.unit.is_none() || entry.view.get().app != *app {
        return Ok(());
    }
    publish(&host.connection, &entry.view, |view| {
        view.phase = progress.phase.to_string();
        view.step = printable(&progress.step.unwrap_or_default());
        view.status = printable(&progress.status);
        view.fraction = progress.fraction.filter(|f| (0.0..=1.0).contains(f)).unwrap_or(-1.0);
    })
    .await
}

/// A deployment that this service did not start: by its request's unit, or by systemd's own.
async fn adopt_progress(host: &Arc<Host>, app: &AppName, progress: &Progress) -> Result<(), Error> {
    if let Some(request) = files::request(&host.paths, app, &progress.deployment) {
        return adopt_request(host, request).await;
    }
    let unit = unit_of_kind(progress.kind, app)?;
    let status = host.units.status(&unit).await.map_err(|e| Error::Failed(e.to_string()))?;
    if !is_running(&status) {
        return Ok(());
    }
    let id = progress.deployment.clone();
    let request = Request {
        app: app.clone(),
        id,
        kind: progress.kind,
        reference: None,
        release: None,
        force: false,
        allow: Default::default(),
        upload: false,
        actor: crate::model::Actor::Systemd,
    };
    follow(host, &request, unit, Begin::Adopt, None).await.map(drop)
}

fn is_running(status: &UnitStatus) -> bool {
    matches!(status.active.as_str(), "active" | "activating" | "deactivating" | "reloading")
}

/// Whether the unit is still to be started.
#[derive(Clone, Copy, PartialEq)]
enum Begin {
    Start,
    Adopt,
}

async fn follow(
    host: &Arc<Host>,
    request: &Request,
    unit: UnitName,
    begin: Begin,
    ticket: Option<Ticket>,
) -> Result<OwnedObjectPath, Error> {
    let (app, id) = (request.app.clone(), request.id.clone());
    let path = deployment_path(&id)?;
    let mut view = DeploymentView::new(app.clone(), id.clone(), request.kind.as_str(), &request.actor.to_string());
    view.unit = unit.to_string();
    let entry = Entry { view: SharedView::new(view), unit: Some(unit.clone()) };
    if !host.serve_deployment(entry).await? {
        return Ok(path);
    }
    let emitter = SignalEmitter::new(&host.connection, PATH)?;
    Manager::deployment_new(&emitter, app.as_str(), id.as_str(), path.as_ref()).await?;
    let task = {
        let host = Arc::clone(host);
        async move {
            let _held = (ticket, host.busy.hold());
            announce(&host, &app).await;
            let started = if begin == Begin::Start { host.units.start(&unit).await } else { Ok(()) };
            let ended = host.units.wait_ended(&unit).await;
            files::remove_request(&host.paths, &app, &id);
            if let Err(error) = finish(&host, &app, &id, &unit, started, ended).await {
                tracing::warn!(DEPLOYD_APP = %app, DEPLOYD_DEPLOYMENT = %id, "the end of deployment {id} of app {app} was not told: {error}");
            }
            host.retire(id).await;
            announce(&host, &app).await;
        }
    };
    tokio::spawn(task);
    Ok(path)
}

/// Tells how a deployment ended: by its record, or without one by what its unit says.
async fn finish(
    host: &Arc<Host>,
    app: &AppName,
    id: &DeploymentId,
    unit: &UnitName,
    started: Result<(), UnitError>,
    ended: Result<UnitStatus, UnitError>,
) -> Result<(), Error> {
    let Some(entry) = host.entry(id) else { return Ok(()) };
    let last = match files::record(&host.paths, app, id) {
        Ok(Some(record)) => lists::ended(app, &record),
        Ok(None) => unrecorded(entry.view.get(), &without_record(unit, started, ended)),
        Err(error) => unrecorded(entry.view.get(), &error.to_string()),
    };
    let last = DeploymentView { unit: unit.to_string(), ..last };
    publish(&host.connection, &entry.view, |view| *view = last.clone()).await?;
    let emitter = SignalEmitter::new(&host.connection, PATH)?;
    let path = deployment_path(id)?;
    Manager::deployment_removed(&emitter, app.as_str(), id.as_str(), path.as_ref(), &last.outcome, &last.message)
        .await?;
    Ok(())
}

fn unrecorded(mut view: DeploymentView, why: &str) -> DeploymentView {
    view.phase = "done".into();
    view.step = String::new();
    view.outcome = "failed".into();
    view.message = printable(why);
    view
}

fn without_record(unit: &UnitName, started: Result<(), UnitError>, ended: Result<UnitStatus, UnitError>) -> String {
    let said = match (started, ended) {
        (Err(error), _) | (Ok(()), Err(error)) => error.to_string(),
        (Ok(()), Ok(status)) => format!("the unit's result is {}", status.result),
    };
    let hint = format!("see `systemctl status {unit}`");
    if said.contains(&hint) {
        format!("no record was left: {said}")
    } else {
        format!("no record was left: {said} ({hint})")
    }
}

/// Tells of an app's state what is new since it was last told.
pub async fn announce(host: &Host, app: &AppName) {
    let Some((before, now)) = host.to_tell(app) else { return };
    if let Err(error) = App::announce(&host.connection, app, before.as_ref(), &now).await {
        tracing::debug!("the state of app {app} was not announced, ignoring: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::DBusError;

    #[test]
    fn a_refusal_of_the_engine_keeps_its_kind_on_the_bus() {
        for (kind, name) in [
            (Refusing::NoSuchApp, "org.deployd1.Error.NoSuchApp"),
            (Refusing::NoSuchRelease, "org.deployd1.Error.NoSuchRelease"),
            (Refusing::BadConfig, "org.deployd1.Error.BadConfig"),
            (Refusing::Failed, "org.deployd1.Error.Failed"),
        ] {
            let refused: Reply<()> = Reply::Refused(Refused { kind, why: "no\u{1b}".into() });
            let json = serde_json::to_vec(&refused).unwrap();
            let error = done::<()>(serde_json::from_slice(&json).unwrap()).unwrap_err();
            assert_eq!((error.name().as_str(), error.text()), (name, "no\\u{1b}"));
        }
    }
}
