//! php-fpm slots: started on a release, probed, pointed at. What is true of php-fpm itself is in `runtime`.

use std::time::Duration;

use super::{deployment::unexpected, error::EngineError};
use crate::{
    config::{Check, PhpFpm, ServiceKind, Settings},
    model::{LiveSlot, Paths, ReleaseId, Slot, SlotInstance, UnitName},
    observe::{Host, fpm_unit, pool_text},
    plan::Handover,
    runtime::php_fpm::{self, SlotConfig},
    system::{tree::Dir, units::Verb},
    worker::order::{Answer, Order},
};

/// For one probe of a slot: a cold OPcache compiles the framework meanwhile.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// So many of a new slot's processes are asked at most.
const MAX_WARM: usize = 256;

/// A slot of an app's php-fpm service.
#[derive(Debug, Clone)]
pub struct FpmSlot<'a> {
    /// Where it runs.
    pub host: &'a Host,
    /// Whose it is.
    pub settings: &'a Settings,
    /// What it runs as.
    pub fpm: &'a PhpFpm,
    /// The longest that its requests may take to end.
    pub drain: Duration,
    /// Which.
    pub slot: Slot,
}

impl<'a> FpmSlot<'a> {
    /// A slot of the service that a handover moves.
    pub fn of(host: &'a Host, settings: &'a Settings, handover: &'a Handover, slot: Slot) -> Self {
        Self { host, settings, fpm: &handover.fpm, drain: handover.drain, slot }
    }
}

impl FpmSlot<'_> {
    fn instance(&self) -> SlotInstance {
        SlotInstance { app: self.settings.app.clone(), slot: self.slot }
    }

    /// Writes what the slot is started from: the link to its release, and its configuration.
    pub fn prepare(&self, release: &ReleaseId, smaller: bool) -> Result<(), EngineError> {
        let paths = &self.host.paths;
        let instance = self.instance();
        let dir = Paths::release_dir(&self.settings.root, release);
        let slots = Dir::open_or_make(&paths.run_dir().join("slots"), 0o755)?;
        slots.swap_link(&instance.to_string(), &dir.display().to_string(), "new")?;
        let pool = self.pool_text()?;
        let config = SlotConfig {
            settings: self.settings,
            fpm: self.fpm,
            drain: self.drain,
            slot: &instance,
            release: &dir,
            pool_file: pool.as_deref(),
            shrink: smaller,
        };
        let text = php_fpm::config_text(&config, paths).map_err(|e| EngineError::Pool(e.to_string()))?;
        let run = Dir::open_or_make(&paths.app_run_dir(&self.settings.app), 0o755)?;
        let (_, gid) = super::layout::ids(&self.settings.run_as)?;
        run.write_for(gid, &format!("fpm-{}.conf", self.slot), text.as_bytes(), 0o640)?;
        Ok(())
    }

    /// The text of the site's own pool file, if it has one.
    fn pool_text(&self) -> Result<Option<String>, EngineError> {
        Ok(pool_text(&self.host.paths, self.fpm)?)
    }

    /// Starts the slot and returns when php-fpm says that it is ready.
    pub async fn start(&self) -> Result<(), EngineError> {
        let unit = fpm_unit(self.settings, self.slot)?;
        self.host.units.reset_failed(&unit).await?;
        Ok(self.host.units.start(&unit).await?)
    }

    /// Stops the slot, which nobody is pointed at.
    pub async fn stop(&self) -> Result<(), EngineError> {
        Ok(self.host.units.stop(&fpm_unit(self.settings, self.slot)?).await?)
    }

    /// Whether the slot's unit is active.
    pub async fn active(&self) -> Result<bool, EngineError> {
        Ok(self.host.units.status(&fpm_unit(self.settings, self.slot)?).await?.active == "active")
    }

    /// Has the slot drained and stopped by a unit of its own; does not wait.
    pub async fn drain(&self) -> Result<(), EngineError> {
        Ok(self.host.units.enqueue(Verb::Start, &self.drain_unit()?).await?)
    }

    /// Has the slot drained and stopped, and returns when it is; an error when it could not be.
    pub async fn drained(&self) -> Result<(), EngineError> {
        Ok(self.host.units.start(&self.drain_unit()?).await?)
    }

    fn drain_unit(&self) -> Result<UnitName, EngineError> {
        let name = format!("deploy-drain@{}.service", self.instance());
        name.parse().map_err(|e: crate::model::BadName| EngineError::Other(e.to_string()))
    }

    /// Points traffic at the slot: one rename of the link that nginx connects through. Nothing waits.
    pub fn point(&self) -> Result<(), EngineError> {
        let paths = &self.host.paths;
        let socket = paths.fpm_socket(&self.instance());
        let run = Dir::open_or_make(&paths.app_run_dir(&self.settings.app), 0o755)?;
        run.swap_link("fpm.sock", &socket.display().to_string(), "new")?;
        Ok(())
    }

    /// The order that asks this slot for a page of a release. `live`: through the link that nginx uses; then whoever
    /// answers there must be this slot's main process.
    pub async fn probe(&self, release: &ReleaseId, live: bool) -> Result<Order, EngineError> {
        let paths = &self.host.paths;
        let public = Paths::release_dir(&self.settings.root, release).join(&self.fpm.public);
        let unit = fpm_unit(self.settings, self.slot)?;
        let status = self.host.units.status(&unit).await?;
        // Live, it has had its first requests: one question is enough.
        let times = if live { 1 } else { self.host.units.processes(&unit).await?.len().saturating_sub(1) };
        let host = self.settings.health.iter().find_map(|health| match &health.check {
            Check::Http { host, .. } => host.clone(),
            Check::Run { .. } => None,
        });
        Ok(Order::ProbeFastcgi {
            socket: if live { paths.fpm_link(&self.settings.app) } else { paths.fpm_socket(&self.instance()) },
            script: public.join("index.php"),
            document_root: public,
            uri: self.fpm.probe.clone(),
            host: host.unwrap_or_else(|| "localhost".into()),
            listener: (status.main_pid != 0).then_some(status.main_pid),
            times: u32::try_from(times.clamp(1, MAX_WARM)).unwrap_or(1),
            timeout: PROBE_LIMIT,
        })
    }
}

/// The slots of an app's php-fpm service by its name in the record.
pub fn fpm_slot<'a>(host: &'a Host, settings: &'a Settings, service: &str, slot: Slot) -> Option<FpmSlot<'a>> {
    settings.services.iter().find(|one| one.name == service).and_then(|one| match &one.kind {
        ServiceKind::PhpFpm(fpm) => Some(FpmSlot { host, settings, fpm, drain: one.drain, slot }),
        ServiceKind::Unit { .. } => None,
    })
}

/// Every recorded slot of a kind, with its service.
pub fn recorded<'a>(
    host: &'a Host,
    settings: &'a Settings,
    slots: &'a std::collections::BTreeMap<String, LiveSlot>,
) -> impl Iterator<Item = (FpmSlot<'a>, &'a LiveSlot)> {
    slots.iter().filter_map(|(service, kept)| Some((fpm_slot(host, settings, service, kept.slot)?, kept)))
}

/// A probe's answer as a verdict.
pub fn verdict(what: impl Into<String>, answer: Answer) -> Result<String, EngineError> {
    match answer {
        Answer::Probed { healthy: true, detail } => Ok(detail),
        Answer::Probed { healthy: false, detail } => {
            Err(EngineError::Unhealthy { what: what.into(), detail: crate::model::printable(&detail) })
        }
        other => Err(unexpected(&other)),
    }
}
