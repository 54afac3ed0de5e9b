//! `deployctl init NAME --apply`: nginx's site asks deployd's socket link, or its upstream, and `current`. Taken back by
//! itself when nginx does not take it, or when the site answers otherwise than before.

use serde_json::Value;

use super::{
    Init, Said,
    bridge::bridge,
    change::{Change, LARGEST, not_proved},
    edit::difference,
    look, not_looked_at,
    proof::Looker,
    tell, toml, undo,
};
use crate::{
    config::{ServiceKind, Settings, SlotKind},
    engine::{error::EngineError, store::Store},
    model::{AppName, DeploymentId, events},
    observe::{Found, Host, read_current, site_page},
    system::tree::Dir,
};

/// What would be changed, as a diff; none when nothing would.
pub fn preview(host: &Host, app: &AppName, found: &Found) -> Result<Option<String>, EngineError> {
    let change = Change::of(host, app, found)?;
    Ok(change.map(|change| difference(&change.file, &change.before, &change.after)))
}

/// Changes the site, and proves that it answers as before.
pub async fn apply(host: &Host, app: &AppName, asked: &Init, id: &DeploymentId) -> Result<Said, EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let store = Store::open(&host.paths, app)?;
    let _lock = store.lock(&format!("init {id}")).await?;
    let state = store.load()?;
    if let Some(running) = &state.running {
        let why =
            format!("{} {} was interrupted: `systemctl start deploy-settle@{app}` first", running.kind, running.id);
        return Err(EngineError::Other(why));
    }
    let taken_back = undo::interrupted(host, app).await?;
    // As it is now, and stays while the lock is held.
    let found = &look(host, &Init { name: Some(app.clone()), ..asked.clone() }, id).await?.found;
    let mut said = Said::about(app, &found.root);
    said.fact("changed", taken_back.is_some());
    said.notes.extend(taken_back);
    said.notes.extend(not_looked_at(found));
    let Some(site) = &found.site else {
        return Err(EngineError::Other(format!(
            "nginx has no site of {app}: write one, as /usr/share/doc/deployd/examples has it"
        )));
    };
    let live = Dir::open(&settings.root).ok().and_then(|root| read_current(&root).ok()).flatten();
    if live.is_none() {
        return Err(EngineError::Other(format!(
            "{}/current is no release of deployd's yet: `deployctl adopt {app}` or `deployctl deploy {app}` first",
            settings.root.display()
        )));
    }
    said.fact("configuration", Value::Null);
    said.fact("nginx", Value::Null);
    match Change::of(host, app, found)? {
        None => said.notes.push(format!("nginx: {} is as it should be", site.at.file.display())),
        Some(change) => {
            if site_page(Some(site), "/").is_none() {
                return Err(not_proved(app, site, "answers on no port without TLS"));
            }
            if let Some(target) = &change.target {
                bridge(host, &settings, target, &state)?;
            }
            let mut looker = Looker::start(host, &settings, site, id).await?;
            change.carry_out(host, &settings, site, &mut looker).await?;
            looker.end().await?;
            let diff = difference(&change.file, &change.before, &change.after);
            said.fact("changed", true);
            said.fact("nginx", diff.as_str());
            said.data = format!("{diff}\n");
            let backup = change.backup.display();
            tell(events::SITE_CHANGED, app, &format!("{} asks deployd's slots of {app}", change.file.display()));
            said.notes.push(format!("nginx has taken it and the site answers as before; the old file is {backup}"));
        }
    }
    match describe_slots(host, app, &settings, found)? {
        Described::AsItIs => {}
        Described::ByHand(note) => said.notes.push(note),
        Described::Written(text) => {
            said.fact("changed", true);
            said.fact("configuration", text);
            said.notes.push(format!(
                "/etc/deployd/apps/{app}.toml: PHP is served by deployd's own slots now, with the pool's settings"
            ));
        }
    }
    said.notes.push(format!("next: `deployctl check {app}`, then `deployctl deploy {app}`"));
    Ok(said)
}

/// What became of the configuration.
enum Described {
    AsItIs,
    /// What a person has to write.
    ByHand(String),
    /// Its new text.
    Written(String),
}

/// Has the configuration name deployd's slots in the place of the pool's reload, as `init` has written it.
fn describe_slots(host: &Host, app: &AppName, settings: &Settings, found: &Found) -> Result<Described, EngineError> {
    if settings.services.iter().any(|one| matches!(&one.kind, ServiceKind::Slots(SlotKind::PhpFpm(_)))) {
        return Ok(Described::AsItIs);
    }
    let Some(pool) = &found.pool else { return Ok(Described::AsItIs) };
    let old = toml::reload(&pool.unit()).replace("NAME", app.as_str());
    let new = toml::slots(&pool.version, Some(&pool.file.display().to_string()));
    let [dir, ..] = host.paths.config_dirs();
    let (dir, name) = (Dir::open(&dir)?, format!("{app}.toml"));
    let text = String::from_utf8_lossy(&dir.read(&name, LARGEST)?.unwrap_or_default()).into_owned();
    if !text.contains(&old) {
        return Ok(Described::ByHand(format!(
            "/etc/deployd/apps/{app}.toml is not as init wrote it: in the place of {} write\n{new}",
            pool.unit()
        )));
    }
    let text = text.replace(&old, &new);
    dir.write(&name, text.as_bytes(), 0o644)?;
    Ok(Described::Written(text))
}
