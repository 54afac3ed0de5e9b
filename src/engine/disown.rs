//! `deployctl disown`: gives an app's tree back, as any other tool can use it. `current` and the site stay as they are;
//! deployd's services end, and only when nobody asks them any more.

use std::path::Path;

use super::{
    by_root::actor,
    deployment::WORK_LIMIT,
    drain::drain,
    drain_port::await_nginx,
    error::EngineError,
    init::{Said, tmpfiles_name},
    layout::ids,
    still_asked::still_asked,
    store::Store,
    takeover,
    turn::unaim,
    upstream,
};
use crate::{
    config::Settings,
    model::{AppName, AppState, DeploymentId, Paths, Share, SlotUnit, UnitName, events},
    observe::Host,
    runtime::{scheduler, slot},
    system::{
        journal::{self, Priority},
        tree::{Dir, EntryKind},
    },
    worker::{order::Order, sandbox::Reach},
};

/// Shows what giving a tree back would do, and with `yes` does it.
pub async fn disown(host: &Host, app: &AppName, yes: bool, id: &DeploymentId) -> Result<Said, EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let store = Store::open(&host.paths, app)?;
    let _lock = store.lock(&format!("disown {id}")).await?;
    let state = store.load()?;
    if let Some(running) = &state.running {
        let why =
            format!("{} {} was interrupted: `systemctl start deploy-settle@{app}` first", running.kind, running.id);
        return Err(EngineError::Other(why));
    }
    still_asked(host, &settings)?;
    free(host, app)?;
    // Kept open: whatever is put at its path meanwhile is not what is given.
    let root = takeover::taken(&settings.root, store.root()?.as_ref())?;
    let services = services(host, &settings).await?;
    let giving = Giving { host, settings: &settings, state: &state, id, root, services };
    let mut said = Said { data: format!("{}\n", giving.told()), ..Said::about(app, &settings.root) };
    said.fact("services", giving.services.clone());
    if !yes {
        said.notes.push(format!("nothing was changed: `deployctl disown {app} --yes` does it"));
        return Ok(said);
    }
    giving.carry_out().await?;
    said.fact("changed", true);
    let message = match giving.root {
        Some(_) => format!("{} was given back to {}", settings.root.display(), settings.user),
        None => format!("{app} is deployd's no more; {} was not, and is left as it is", settings.root.display()),
    };
    let actor = actor();
    let fields = [("DEPLOYD_APP", app.as_str()), ("DEPLOYD_ACTOR", actor.as_str())];
    journal::event(events::DISOWNED, Priority::Notice, &message, &fields);
    said.notes.push(message);
    if host.paths.deploy_key(app).exists() {
        said.notes.push(format!("its deploy key is still there: `rm {}`", host.paths.deploy_key(app).display()));
    }
    Ok(said)
}

/// The names that the configuration is renamed to: looked at before anything has ended.
fn free(host: &Host, app: &AppName) -> Result<(), EngineError> {
    for path in host.paths.config_dirs() {
        let Ok(dir) = Dir::open(&path) else { continue };
        for name in [format!("{app}.d"), format!("{app}.toml")] {
            let kept = format!("{name}.disowned");
            if dir.kind(&name)? != EntryKind::Missing && dir.kind(&kept)? != EntryKind::Missing {
                let kept = path.join(kept);
                return Err(EngineError::Other(format!(
                    "{} is there from before: move it away, then disown again",
                    kept.display()
                )));
            }
        }
    }
    Ok(())
}

/// What starts deployments by the clock.
fn clock(app: &AppName) -> String {
    format!("deploy@{app}.timer")
}

/// Units of the app's own that run.
async fn services(host: &Host, settings: &Settings) -> Result<Vec<String>, EngineError> {
    let mut found = Vec::new();
    let app = &settings.app;
    // Also those of a template of the site's own.
    let kinds = settings.services.iter().filter_map(|service| service.slots());
    let slots = kinds.map(|kind| format!("{}@{app}:*.service", slot::template(kind)));
    let others = [format!("app-*@{app}:*.service"), scheduler::timer(app), clock(app)];
    for pattern in others.into_iter().chain(slots) {
        let states = host.units.active_states(&pattern).await?;
        for (unit, active) in states {
            if active != "inactive" && !found.contains(&unit) {
                found.push(unit);
            }
        }
    }
    Ok(found)
}

/// The slot that a unit is, if requests went to it: it is drained. Workers end what they have when they are told to stop.
fn serving(settings: &Settings, unit: &str) -> Option<SlotUnit> {
    let slot: SlotUnit = unit.strip_suffix(".service")?.parse().ok()?;
    let mut kinds = settings.services.iter().filter_map(|service| service.slots());
    kinds.any(|kind| !kind.takes_jobs() && slot::template(kind) == slot.template()).then_some(slot)
}

struct Giving<'a> {
    host: &'a Host,
    settings: &'a Settings,
    state: &'a AppState,
    id: &'a DeploymentId,
    /// None: deployd never took it, or it is gone.
    root: Option<Dir>,
    services: Vec<String>,
}

impl Giving<'_> {
    fn told(&self) -> String {
        let Settings { app, root, user, .. } = self.settings;
        let mut lines = vec![format!("{app}: {} is given back to {user}", root.display())];
        for unit in &self.services {
            let what = match unit {
                unit if *unit == clock(app) => "it is disabled",
                unit if serving(self.settings, unit).is_some() => "nobody asks it",
                _ => "start what replaces it first",
            };
            lines.push(format!("  {unit} ends: {what}"));
        }
        lines.push(match self.root {
            Some(_) => format!(
                "  {}, releases/ and current become {user}'s; current stays, {} releases stay",
                root.display(),
                self.state.releases.len()
            ),
            None => {
                format!("  {} is left as it is: by its record deployd never took it, or it is gone", root.display())
            }
        });
        lines.push(format!("  /etc/deployd/apps/{app}.toml becomes {app}.toml.disowned, and its drop-ins go"));
        lines.push("  deployd's record and cache of it are removed".to_owned());
        lines.join("\n")
    }

    async fn carry_out(&self) -> Result<(), EngineError> {
        if self.services.iter().any(|unit| serving(self.settings, unit).is_some()) {
            // Whoever has led the site elsewhere may not have had nginx read it yet; what its old workers still read goes
            // where the site led before.
            upstream::reload(self.host, &self.settings.web_unit).await?;
            let limit = self.settings.services.iter().map(|service| service.drain).max().unwrap_or_default();
            await_nginx(self.host, &self.settings.web_unit, limit).await;
        }
        for service in &self.settings.services {
            unaim(self.host, self.settings, &service.name)?;
        }
        for unit in &self.services {
            self.end(unit).await?;
        }
        self.loosen().await?;
        self.give_tree()?;
        self.forget_cache().await?;
        self.forget_links()?;
        self.forget_record()?;
        // Last: as long as it is there, one that was interrupted can be begun again.
        self.forget_configuration().await
    }

    /// A slot that serves is drained, as nobody is sent there any more; anything else is stopped.
    async fn end(&self, unit: &str) -> Result<(), EngineError> {
        let name: UnitName = unit.parse()?;
        let status = self.host.units.status(&name).await?;
        let slot = match serving(self.settings, unit) {
            Some(slot) if status.active == "active" => slot,
            _ => return Ok(self.host.units.stop(&name).await?),
        };
        match drain(self.host, &slot).await {
            // A drain of its own may have ended it meanwhile.
            Err(_) if self.host.units.status(&name).await?.has_ended() => Ok(()),
            Err(EngineError::NotDrained { why, .. }) => {
                Err(EngineError::Other(format!("{why}; `systemctl stop {name}`, then disown again")))
            }
            other => other,
        }
    }

    /// Files that releases share are read-only.
    async fn loosen(&self) -> Result<(), EngineError> {
        if self.settings.share != Share::Hardlink || self.root.is_none() {
            return Ok(());
        }
        let reach = Reach { write: vec![self.settings.root.join("releases")], ..Reach::default() };
        let mut worker = self.host.worker(self.settings, self.id, "loosen", &self.settings.user, reach).await?;
        for release in &self.state.releases {
            let release = Paths::release_dir(&self.settings.root, &release.id);
            if let Err(error) = worker.ask(&Order::Loosen { release: release.clone() }, WORK_LIMIT).await {
                tracing::warn!("{} is still read-only: {error}", release.display());
            }
        }
        Ok(worker.finish().await?)
    }

    fn give_tree(&self) -> Result<(), EngineError> {
        let (uid, gid) = ids(&self.settings.user)?;
        let Some(root) = &self.root else { return Ok(()) };
        let (owner, _, mode) = root.owner()?;
        // What it was interrupted after: its user may have renamed anything in it since.
        if owner != 0 {
            return Ok(());
        }
        if root.kind("releases")? == EntryKind::Directory {
            let releases = root.dir("releases")?;
            for name in releases.names()?.iter().filter(|name| name.starts_with(".next-")) {
                releases.remove_dir(name)?;
            }
            let (_, _, mode) = releases.owner()?;
            releases.set_owner(uid, gid, mode)?;
        }
        Ok(root.set_owner(uid, gid, mode)?)
    }

    /// No unit of the app is made any more.
    async fn forget_configuration(&self) -> Result<(), EngineError> {
        let app = &self.settings.app;
        for name in [format!("{app}.d"), format!("{app}.toml")] {
            for dir in self.host.paths.config_dirs() {
                let Ok(dir) = Dir::open(&dir) else { continue };
                if dir.kind(&name)? != EntryKind::Missing {
                    dir.rename(&name, &format!("{name}.disowned"))?;
                    dir.sync()?;
                }
            }
        }
        Ok(self.host.units.daemon_reload().await?)
    }

    /// What the host does by itself for the app, and what a monitoring reads of it.
    fn forget_links(&self) -> Result<(), EngineError> {
        let (paths, app) = (&self.host.paths, &self.settings.app);
        let of_root = |path: &str| paths.host(Path::new(path));
        let timers = of_root("/etc/systemd/system/timers.target.wants");
        for (dir, name, kind) in [
            (of_root("/etc/tmpfiles.d"), tmpfiles_name(app), EntryKind::File),
            (timers, clock(app), EntryKind::Link),
            (paths.metrics_dir(), format!("{app}-deployment.prom"), EntryKind::File),
            (paths.metrics_dir(), format!("{app}-release.prom"), EntryKind::File),
        ] {
            if let Ok(dir) = Dir::open(&dir)
                && dir.kind(&name)? == kind
            {
                dir.unlink(&name)?;
            }
        }
        Ok(())
    }

    async fn forget_cache(&self) -> Result<(), EngineError> {
        let cache = self.host.paths.cache_dir(&self.settings.app);
        if !cache.exists() {
            return Ok(());
        }
        let reach = Reach { write: vec![cache.clone()], ..Reach::default() };
        let mut worker = self.host.worker(self.settings, self.id, "forget", &self.settings.user, reach).await?;
        let emptied = worker.ask(&Order::Empty { dir: cache.clone() }, WORK_LIMIT).await;
        worker.finish().await?;
        emptied?;
        Ok(Dir::open(cache.parent().unwrap_or(&cache))?.remove_dir(self.settings.app.as_str())?)
    }

    /// All of it root's own.
    fn forget_record(&self) -> Result<(), EngineError> {
        let (paths, app) = (&self.host.paths, &self.settings.app);
        if let Ok(slots) = Dir::open(&paths.slots_dir()) {
            let of_app = format!("@{app}:");
            for name in slots.names()?.iter().filter(|name| name.contains(&of_app)) {
                slots.unlink(name)?;
            }
        }
        for dir in [paths.app_run_dir(app), paths.state_dir(app)] {
            match std::fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(EngineError::Other(format!("cannot remove {}: {error}", dir.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
