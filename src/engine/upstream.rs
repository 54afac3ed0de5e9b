//! nginx's include of a service that it reaches by port: written by one rename, then nginx reloaded, and the reload
//! awaited and proved. `systemctl reload` may say that it is done while the master has kept its old workers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    error::EngineError,
    nginx_test::{self, Tested},
    slot_files::file_name,
};
use crate::{
    config::Settings,
    model::{AppName, UnitName},
    observe::Host,
    runtime::nginx::{self, Role},
    system::{
        process,
        tree::{Dir, EntryKind, Lock},
    },
};

/// The largest include, in bytes.
const MAX_INCLUDE: u64 = 64 * 1024;
/// The longest that nginx may take to start workers with a new configuration. It reads certificates meanwhile.
const RELOAD: Duration = Duration::from_secs(30);
/// Between two looks at nginx's processes: nobody tells when one changes its title.
const LOOK: Duration = Duration::from_millis(5);

/// The link that names the address of the program that served before deployd did: `octane-before`. It leads nowhere.
pub fn before_name(service: &str) -> String {
    format!("{service}-before")
}

/// The port of the program that served before deployd did, where `init --apply` has led nginx there. None when a slot of
/// the app has that port by now.
pub fn before(host: &Host, settings: &Settings, service: &str) -> Result<Option<u16>, EngineError> {
    let run = Dir::open_or_make(&host.paths.app_run_dir(&settings.app), 0o755)?;
    let name = before_name(service);
    if run.kind(&name)? != EntryKind::Link {
        return Ok(None);
    }
    let mut slots = settings.services.iter().filter_map(|one| one.slots()?.web()).flat_map(|web| &web.ports);
    let port = nginx::local_port(&run.read_link(&name)?);
    Ok(port.filter(|port| !slots.any(|slot| slot == port)))
}

/// Points the include at what served before deployd did, else at nothing.
pub fn unaim(host: &Host, settings: &Settings, service: &str) -> Result<(), EngineError> {
    let before = before(host, settings, service)?;
    aim(host, &settings.app, service, before.map(|port| ("what served before deployd", port)))
}

/// Makes the include if it is not there, so that a site which uses it passes nginx's test before the first deployment.
pub fn ensure(host: &Host, settings: &Settings, service: &str) -> Result<(), EngineError> {
    let file = host.paths.upstream(&settings.app, service);
    let run = Dir::open_or_make(&host.paths.app_run_dir(&settings.app), 0o755)?;
    match run.read(&file_name(&file), MAX_INCLUDE)? {
        Some(_) => Ok(()),
        None => unaim(host, settings, service),
    }
}

/// Points the include at a port, or at nothing. Takes effect when nginx reads it.
pub fn aim(host: &Host, app: &AppName, service: &str, to: Option<(&str, u16)>) -> Result<(), EngineError> {
    let file = host.paths.upstream(app, service);
    let run = Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?;
    Ok(run.write_volatile(&file_name(&file), nginx::upstream_text(app, service, to).as_bytes(), 0o644)?)
}

/// The port that the include points at.
pub fn aimed_at(host: &Host, app: &AppName, service: &str) -> Result<Option<u16>, EngineError> {
    let file = host.paths.upstream(app, service);
    let run = Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?;
    let text = run.read(&file_name(&file), MAX_INCLUDE)?.unwrap_or_default();
    Ok(nginx::upstream_port(&String::from_utf8_lossy(&text)))
}

/// Reloads nginx, and returns when every worker of before accepts nothing any more and new ones serve. An nginx that
/// does not run reads the include when it starts.
pub async fn reload(host: &Host, unit: &UnitName) -> Result<(), EngineError> {
    if host.units.status(unit).await?.active != "active" {
        tracing::warn!("{unit} is not running: it reads the new upstream when it starts");
        return Ok(());
    }
    // One at a time: workers that another app's reload has started would be taken for this one's.
    let _turn = Lock::take(&Dir::open_or_make(&host.paths.run_dir(), 0o755)?, "nginx.lock", "reload").await?;
    let before = workers(host, unit).await?;
    if let Err(error) = host.units.reload(unit).await {
        return Err(refused(host, unit, &error.to_string()).await);
    }
    let since = Instant::now();
    loop {
        let now = workers(host, unit).await?;
        let old = before.keys().filter(|pid| now.get(*pid) == Some(&Role::Worker)).count();
        let new = now.iter().filter(|(pid, role)| **role == Role::Worker && !before.contains_key(*pid)).count();
        if old == 0 && new > 0 {
            return Ok(());
        }
        if since.elapsed() > RELOAD {
            let what = format!("after {RELOAD:?} {old} workers of before still serve and {new} new ones do");
            return Err(refused(host, unit, &what).await);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// With nginx's own words, where it has some: systemd only says that a command failed.
async fn refused(host: &Host, unit: &UnitName, seen: &str) -> EngineError {
    let detail = match nginx_test::test(host, unit).await {
        Ok(Tested::Bad(why)) => why,
        _ => seen.to_owned(),
    };
    EngineError::NotReloaded { unit: unit.clone(), detail }
}

/// Before anything live is touched: nginx, if it runs, would take its configuration, and it reads our include.
pub async fn check(host: &Host, app: &AppName, service: &str, unit: &UnitName) -> Result<(), EngineError> {
    if host.units.status(unit).await?.active != "active" {
        return Ok(());
    }
    let file = host.paths.upstream(app, service);
    match nginx_test::test(host, unit).await? {
        Tested::Good(text) if !nginx_test::includes(&text, &file) => Err(EngineError::NotReloaded {
            unit: unit.clone(),
            detail: format!(
                "it does not read {}: put `include /etc/nginx/conf.d/*.conf;` into the http block of nginx.conf",
                file.display()
            ),
        }),
        Tested::Bad(detail) => Err(EngineError::NotReloaded { unit: unit.clone(), detail }),
        Tested::Good(_) | Tested::Unknown => Ok(()),
    }
}

/// nginx's workers, by what they say that they do.
pub async fn workers(host: &Host, unit: &UnitName) -> Result<BTreeMap<u32, Role>, EngineError> {
    let mut found = BTreeMap::new();
    for pid in host.units.processes(unit).await? {
        // One that has ended meanwhile has no title.
        let role = nginx::role(&process::title(pid).unwrap_or_default());
        if role != Role::Other {
            found.insert(pid, role);
        }
    }
    Ok(found)
}
