//! Holds: who wants an app to take nothing new, or a release to stay, is written down. Without the app's lock, so that a
//! hold need not wait for a deployment that runs; that one goes on.

use super::{
    deployment::now,
    error::{EngineError, reply},
    store::Store,
};
use crate::{
    config,
    model::{AppName, AppState, Hold, HoldChange, HoldRequest, Holds, Paths, ReleaseId, Reply, events, printable},
    observe::holds,
    system::{
        journal::{self, Priority},
        tree::{Dir, Lock},
    },
};

/// Who writes the file.
const LOCK: &str = "holds.lock";

/// Holds an app or a release, or lets it go; tells what it changed.
pub async fn hold(paths: &Paths, request: &HoldRequest) -> Reply<HoldChange> {
    reply(change(paths, request).await)
}

/// As long as this is kept nobody changes what is held.
pub async fn still(paths: &Paths, app: &AppName) -> Result<Lock, EngineError> {
    Ok(Lock::take(&Dir::open(&paths.state_dir(app))?, LOCK, app.as_str()).await?)
}

async fn change(paths: &Paths, request: &HoldRequest) -> Result<HoldChange, EngineError> {
    let app = &request.hold;
    if !config::list(paths).is_ok_and(|apps| apps.contains(app)) {
        return Err(EngineError::NoSuchApp(app.clone()));
    }
    // Makes the directory of an app that was never deployed: it may be held before.
    let store = Store::open(paths, app)?;
    let dir = Dir::open(&paths.state_dir(app))?;
    let _written = still(paths, app).await?;
    // Only now: what a pruning took away before is not held any more.
    let state = store.load()?;
    let there = holds(paths, app)?;
    let (change, next) = changed(&there, &state, request)?;
    if next != there {
        let file = paths.holds_file(app);
        let wrong = |wrong| EngineError::Record { place: file.display().to_string(), wrong };
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        dir.write(name, &next.encode().map_err(wrong)?, 0o640)?;
    }
    if change != HoldChange::Unchanged {
        tell(request, change);
    }
    Ok(change)
}

/// What follows from a request. A hold of a release that is no more is forgotten. Pure.
fn changed(there: &Holds, state: &AppState, request: &HoldRequest) -> Result<(HoldChange, Holds), EngineError> {
    let known = |id: &ReleaseId| state.releases.iter().any(|release| release.id == *id);
    let mut next = there.clone();
    next.releases.retain(|id, _| known(id));
    let mut slot = match &request.release {
        None => next.app.take(),
        Some(id) => next.releases.remove(id),
    };
    let new = Hold { actor: request.actor.to_string(), since: now(), reason: printable(&request.reason) };
    let change = match (&slot, request.held) {
        // Who held it first stays the one to ask, until somebody gives another reason.
        (Some(old), true) if new.reason.is_empty() || new.reason == old.reason => HoldChange::Unchanged,
        (_, true) => {
            slot = Some(new);
            HoldChange::Held
        }
        (Some(_), false) => {
            slot = None;
            HoldChange::Unheld
        }
        (None, false) => HoldChange::Unchanged,
    };
    match (&request.release, slot) {
        (None, slot) => next.app = slot,
        (Some(id), Some(_)) if !known(id) => {
            return Err(EngineError::NoSuchRelease(request.hold.clone(), id.clone()));
        }
        (Some(id), Some(hold)) => drop(next.releases.insert(id.clone(), hold)),
        (Some(_), None) => {}
    }
    Ok((change, next))
}

fn tell(request: &HoldRequest, change: HoldChange) {
    let (app, actor) = (&request.hold, request.actor.to_string());
    let release = request.release.as_ref().map(ToString::to_string);
    let what = release.as_ref().map_or_else(|| app.to_string(), |id| format!("{id} of {app}"));
    let reason = printable(&request.reason);
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let (event, text) = match change {
        HoldChange::Held => (events::HELD, format!("{what} is held by {actor}{why}")),
        _ => (events::UNHELD, format!("{what} is not held any more, by {actor}{why}")),
    };
    let mut fields = vec![("DEPLOYD_APP", app.as_str()), ("DEPLOYD_ACTOR", actor.as_str())];
    fields.extend(release.as_deref().map(|id| ("DEPLOYD_RELEASE", id)));
    journal::event(event, Priority::Notice, &text, &fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, DeploymentId, Refused, Refusing};

    fn request(held: bool, reason: &str) -> HoldRequest {
        HoldRequest {
            hold: "shop".parse().unwrap(),
            id: DeploymentId::from_bits(1),
            release: None,
            held,
            reason: reason.into(),
            actor: Actor::Systemd,
        }
    }

    fn done(reply: Reply<HoldChange>) -> HoldChange {
        match reply {
            Reply::Done(change) => change,
            Reply::Refused(refused) => panic!("{refused:?}"),
        }
    }

    #[tokio::test]
    async fn an_app_is_held_once_and_let_go_once_and_what_is_damaged_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        let app = "shop".parse().unwrap();
        let refused = |reply| match reply {
            Reply::Refused(Refused { kind, why }) => (kind, why),
            Reply::Done(change) => panic!("{change:?}"),
        };
        let (kind, why) = refused(hold(&paths, &request(true, "")).await);
        assert!(kind == Refusing::NoSuchApp && why.contains("no app shop"), "{why}");
        std::fs::create_dir_all(dir.path().join("etc/deployd/apps")).unwrap();
        std::fs::write(dir.path().join("etc/deployd/apps/shop.toml"), "").unwrap();
        std::fs::create_dir_all(paths.state_dir(&app).parent().unwrap()).unwrap();
        assert_eq!(done(hold(&paths, &request(true, "the \u{1b}[2Jsale")).await), HoldChange::Held);
        let there = holds(&paths, &app).unwrap().app.unwrap();
        assert_eq!(there.to_string(), "held by systemd: the \\u{1b}[2Jsale");
        assert_eq!(done(hold(&paths, &request(true, "")).await), HoldChange::Unchanged, "the reason stays");
        assert_eq!(done(hold(&paths, &request(true, "other")).await), HoldChange::Held);
        assert_eq!(done(hold(&paths, &request(false, "")).await), HoldChange::Unheld);
        assert_eq!(done(hold(&paths, &request(false, "")).await), HoldChange::Unchanged);
        let gone = HoldRequest { release: Some("20260131T120000Z-1a2b3c4d".parse().unwrap()), ..request(true, "") };
        let (kind, why) = refused(hold(&paths, &gone).await);
        assert!(kind == Refusing::NoSuchRelease && why.contains("has no release"), "{why}");
        std::fs::write(paths.holds_file(&app), "{").unwrap();
        let (kind, why) = refused(hold(&paths, &request(false, "")).await);
        assert!(kind == Refusing::Failed && why.contains("damaged"), "{why}");
    }
}
