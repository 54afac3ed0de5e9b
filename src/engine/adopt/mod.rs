//! `deployctl adopt`: takes over a tree that Capistrano, Deployer or Envoyer made, or a checkout, while its site runs.
//!
//! Each step is one rename that leads every old path to the same files, or makes something beside. What will be done is
//! recorded before the first of them, so that one that was interrupted is begun again and goes on. Services are left
//! alone: the first deployment moves them.

mod take;
mod value;

use std::path::Path;

use serde_json::Value;

use self::{
    take::Taking,
    value::{Adoption, Unfit, adoption, told},
};
use super::{
    by_root::{actor, apart},
    deployment::now,
    error::EngineError,
    init::Said,
    layout,
    store::Store,
};
use crate::{
    check::{Exposed, exposed},
    config::Settings,
    model::{AppName, AppState, DeploymentId, ReleaseId, events},
    observe::{Host, foreign_runs, nginx_config, read_current, recognise},
    system::{
        journal::{self, Priority},
        tree::Dir,
    },
};

/// The record of an adoption that is under way.
const RECORD: &str = "adopt.json";
/// Its largest size, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Shows what adopting a tree would do, and with `yes` does it.
pub async fn adopt(host: &Host, app: &AppName, yes: bool, id: &DeploymentId) -> Result<Said, EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    apart(host, app, &settings.root)?;
    let store = Store::open(&host.paths, app)?;
    let _lock = store.lock(&format!("adopt {id}")).await?;
    let state = store.load()?;
    let dir = Dir::open(&host.paths.state_dir(app))?;
    let begun = begun(&dir)?;
    if let (None, Some(live)) = (&begun, state.releases.last()) {
        let notes = vec![format!("{app} is deployd's already: {} is recorded; nothing was changed", live.id)];
        let mut said = Said { notes, ..Said::about(app, &settings.root) };
        let current = Dir::open(&settings.root).ok().and_then(|root| read_current(&root).ok()).flatten();
        said.fact("live", current.map(|live| live.to_string()));
        said.fact("made_by", Value::Null);
        said.fact("releases", Vec::<Value>::new());
        return Ok(said);
    }
    if let Some(begun) = &begun {
        goes_on(host, app, begun, &state)?;
    }
    if let Some(stuck) =
        state.stuck.or(state.running.map(|running| format!("{} {} is under way", running.kind, running.id)))
    {
        return Err(EngineError::Other(format!("{app} cannot be adopted now: {stuck}")));
    }
    let tree = recognise(host, &settings, id).await?;
    let refused = |Unfit(why): Unfit| EngineError::Other(why);
    let adopted = match begun {
        Some(begun) => begun,
        None => adoption(&settings, &tree, now()).map_err(refused)?,
    };
    let mut said = Said { data: format!("{}\n", told(&settings, &tree, &adopted)), ..Said::about(app, &settings.root) };
    let json = |error: serde_json::Error| EngineError::Other(error.to_string());
    said.fact("live", adopted.live.as_str());
    said.fact("made_by", serde_json::to_value(adopted.made_by).map_err(json)?);
    said.fact("releases", serde_json::to_value(&adopted.releases).map_err(json)?);
    if !adopted.made_by.has_releases() {
        said.notes.extend(closed(host, &settings)?);
    }
    if !yes {
        said.notes.push(format!("nothing was changed: `deployctl adopt {app} --yes` does it, while the site runs"));
        return Ok(said);
    }
    take::owners(&settings, &adopted)?;
    record(&dir, &adopted)?;
    layout::prepare_cache(&host.paths, &settings)?;
    let taking = Taking { host, settings: &settings, store: &store, adopted: &adopted, id };
    let sealed = taking.carry_out().await?;
    dir.unlink(RECORD)?;
    dir.sync()?;
    let message = format!(
        "{} was taken over from {}: {sealed} of {} releases, {} is live",
        settings.root.display(),
        adopted.made_by.name(),
        adopted.releases.len(),
        adopted.live
    );
    let actor = actor();
    let fields =
        [("DEPLOYD_APP", app.as_str()), ("DEPLOYD_RELEASE", adopted.live.as_str()), ("DEPLOYD_ACTOR", actor.as_str())];
    journal::event(events::ADOPTED, Priority::Notice, &message, &fields);
    said.fact("changed", true);
    said.notes.push(message);
    said.notes.extend(next(host, &settings, &adopted));
    Ok(said)
}

/// An adoption ends with `current` at what was live when it began: once something newer was deployed, it may not.
fn goes_on(host: &Host, app: &AppName, begun: &Adoption, state: &AppState) -> Result<(), EngineError> {
    let Some(newer) = newest_other(begun, state.releases.iter().map(|release| &release.id)) else { return Ok(()) };
    Err(EngineError::Other(format!(
        "{app} has {newer} since its adoption was interrupted, and going on would lead current back to {}: `rm {}` ends the \
         adoption, and what was deployed stays",
        begun.live,
        host.paths.adoption_file(app).display()
    )))
}

fn newest_other<'a>(begun: &Adoption, ids: impl DoubleEndedIterator<Item = &'a ReleaseId>) -> Option<&'a ReleaseId> {
    ids.rev().find(|id| !begun.releases.iter().any(|taken| taken.id == **id))
}

/// Refuses a checkout whose site would serve what is put into its root. Tells what of nginx could not be looked at.
fn closed(host: &Host, settings: &Settings) -> Result<Vec<String>, EngineError> {
    let (nginx, unread) = nginx_config(&host.paths);
    if let Some(found) = exposed(&nginx, &settings.root) {
        return Err(EngineError::Other(open(settings, &found)));
    }
    Ok(unread
        .iter()
        .map(|one| {
            format!("whether nginx serves {}/shared is not seen: {} {}", settings.root.display(), one.what, one.why)
        })
        .collect())
}

fn open(settings: &Settings, found: &Exposed) -> String {
    let (app, root) = (&settings.app, settings.root.display());
    let remedy = match &found.closing[..] {
        [] => format!("write a directory below {root} there"),
        closing => {
            let locations: Vec<_> = closing.iter().map(|path| format!("location ^~ {path} {{ deny all; }}")).collect();
            format!("write `{}` into that server, or a root below {root}", locations.join(" "))
        }
    };
    format!(
        "nginx serves {root} itself ({}:{}), and so would {root}/shared with what visitors have uploaded, and every release: \
         {remedy}, then `systemctl reload nginx` and `deployctl adopt {app}` again",
        found.at.file.display(),
        found.at.line
    )
}

/// What a person does next, and what is ended only when the new services are proved.
fn next(host: &Host, settings: &Settings, adopted: &Adoption) -> Vec<String> {
    let app = &settings.app;
    let mut notes = Vec::new();
    if !adopted.made_by.has_releases() {
        notes.push(format!(
            "nginx still serves {0} itself: `deployctl init {app} --apply` lets it serve {0}/current",
            settings.root.display()
        ));
    }
    notes.push(format!("next: `deployctl check {app}`, then `deployctl deploy {app}`"));
    let runs = foreign_runs(&host.paths, &settings.root);
    if !runs.is_empty() {
        notes.push(format!("once `deployctl status {app}` says confirmed, end what ran the app before:"));
    }
    notes.extend(runs.into_iter().map(|run| format!("  {} ({}): {}", run.what, run.place, run.end)));
    notes
}

fn begun(dir: &Dir) -> Result<Option<Adoption>, EngineError> {
    let Some(bytes) = dir.read(RECORD, LARGEST)? else { return Ok(None) };
    let wrong = |error: serde_json::Error| EngineError::Record {
        place: Path::new(&dir.path).join(RECORD).display().to_string(),
        wrong: error.to_string(),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

fn record(dir: &Dir, adopted: &Adoption) -> Result<(), EngineError> {
    let json = serde_json::to_vec(adopted).map_err(|error| EngineError::Other(error.to_string()))?;
    Ok(dir.write(RECORD, &json, 0o640)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::adopt::value::Taken, worker::order::Maker};

    #[test]
    fn an_adoption_does_not_go_on_over_what_was_deployed_since() {
        let id = |text: &str| text.parse::<ReleaseId>().unwrap();
        let (one, two) = (id("20260101T000000Z-1"), id("20260102T000000Z-2"));
        let taken = Taken { name: "1".into(), id: one.clone(), revision: String::new(), at: 0, bad: false };
        let begun = Adoption { made_by: Maker::Checkout, live: one.clone(), releases: vec![taken] };
        assert_eq!(newest_other(&begun, [&one].into_iter()), None);
        assert_eq!(newest_other(&begun, [&one, &two].into_iter()), Some(&two));
    }
}
