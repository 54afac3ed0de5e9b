//! A service's turn: its new slot probed while it is not live, traffic or jobs given to it, proved live; or given back.
//! One `match` over the kinds for each of these; what a kind needs beyond a few lines has a file of its own.

use std::time::Duration;

use super::{
    deployment::{Deployment, unexpected},
    error::EngineError,
    jobs, listener,
    slot_files::BEFORE,
    slots::{ServiceSlot, slot_of},
    upstream,
};
use crate::{
    config::{Check, Http, Octane, Settings, SlotKind, Web},
    model::{Paths, ReleaseId, Slot},
    observe::Host,
    plan::Handover,
    runtime::slot,
    system::tree::{Dir, EntryKind},
    worker::order::{Answer, HttpProbe, Order},
};

/// For one probe of a php-fpm slot: a cold OPcache compiles the framework meanwhile.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// A slot that has not answered its probe by then is asked once more beside it.
const BESIDE: Duration = Duration::from_secs(5);

/// So many of a new php-fpm slot's processes are asked at most.
const MAX_WARM: usize = 256;

impl<'a> Deployment<'a> {
    /// The new slot of a handover.
    pub fn new_slot<'b>(&self, handover: &'b Handover) -> Result<ServiceSlot<'b>, EngineError>
    where
        'a: 'b,
    {
        ServiceSlot::of(self.host, self.settings, handover, handover.to)
    }

    /// Asks the new slot, which is not live: it answers, from the new release.
    pub async fn probe(&mut self, handover: &Handover) -> Result<(), EngineError> {
        let slot = self.new_slot(handover)?;
        let what = format!("{} of {} in slot {}, not yet live", handover.service, self.plan.release, handover.to);
        match slot.kind {
            SlotKind::PhpFpm(_) => self.ask_fpm(&slot, &what, false).await,
            SlotKind::Octane(Octane { web, .. }) | SlotKind::Http(Http { web, .. }) => {
                let service = slot::upstream(slot.kind).unwrap_or_default();
                upstream::check(self.host, &self.settings.app, service, &self.settings.web_unit).await?;
                self.ask_port(&slot, web, &what, Some(BESIDE)).await
            }
            SlotKind::Horizon(_) | SlotKind::Queue(_) => jobs::probe(&slot).await,
        }
    }

    /// Proved live: whoever is where traffic goes is the new slot, of the new release, and it answers well. Whether
    /// nginx itself has said that it is there.
    pub async fn prove(&mut self, handover: &Handover) -> Result<bool, EngineError> {
        let slot = self.new_slot(handover)?;
        let what = format!("{} of {}, live", handover.service, self.plan.release);
        match slot.kind {
            SlotKind::PhpFpm(_) => self.ask_fpm(&slot, &what, true).await?,
            SlotKind::Octane(Octane { web, .. }) | SlotKind::Http(Http { web, .. }) => {
                self.ask_port(&slot, web, &what, None).await?;
            }
            SlotKind::Horizon(_) | SlotKind::Queue(_) => jobs::prove(&slot).await?,
        }
        self.seen_through_nginx(&slot, &what).await
    }

    /// FastCGI to the slot's own socket, or `live`: through the link that nginx uses; then whoever answers there must
    /// be the slot's main process.
    async fn ask_fpm(&mut self, slot: &ServiceSlot<'_>, what: &str, live: bool) -> Result<(), EngineError> {
        let order = fpm_order(slot, &self.plan.release, live).await?;
        let answer = self.ask_tree(&order).await?;
        self.judge(what.into(), answer).await
    }

    /// HTTP to the slot's own port, where one of its processes listens that runs in the new release.
    async fn ask_port(
        &mut self,
        slot: &ServiceSlot<'_>,
        web: &Web,
        what: &str,
        beside: Option<Duration>,
    ) -> Result<(), EngineError> {
        let release = Paths::release_dir(&self.settings.root, &self.plan.release);
        let port = listener::await_release(slot, &release, web.start, what).await?;
        let answer = self.ask_tree(&port_order(self.settings, port, web, beside)).await?;
        self.judge(what.into(), answer).await
    }
}

/// Gives traffic, or jobs, to a slot. php-fpm: one rename of the link that nginx connects through, nothing waits. A
/// server behind a port: nginx's include, then nginx.
pub async fn point(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    if slot.kind.takes_jobs() {
        return jobs::take_over(slot).await;
    }
    aim(slot)?;
    if slot.kind.web().is_some() {
        upstream::reload(slot.host, &slot.settings.web_unit).await?;
    }
    Ok(())
}

/// Writes what nginx reads to find a slot, and no more: at boot, before nginx starts.
pub fn aim(slot: &ServiceSlot<'_>) -> Result<(), EngineError> {
    let (host, app) = (slot.host, &slot.settings.app);
    match slot.kind {
        SlotKind::PhpFpm(_) => {
            let socket = host.paths.fpm_socket(slot.name.instance());
            let run = Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?;
            Ok(run.swap_link("fpm.sock", &socket.display().to_string(), "new")?)
        }
        SlotKind::Octane(_) | SlotKind::Http(_) => {
            let port = listener::port(slot)?;
            let service = slot::upstream(slot.kind).unwrap_or_default();
            upstream::aim(host, app, service, Some((&slot.name.to_string(), port)))
        }
        // Nobody is pointed at a worker.
        SlotKind::Horizon(_) | SlotKind::Queue(_) => Ok(()),
    }
}

/// Nothing is live of a service: nothing may be pointed at.
pub async fn unpoint(host: &Host, settings: &Settings, service: &str) -> Result<(), EngineError> {
    unaim(host, settings, service)?;
    match slot_of(host, settings, service, Slot::A).and_then(|slot| slot.kind.web()) {
        Some(_) => upstream::reload(host, &settings.web_unit).await,
        None => Ok(()),
    }
}

/// Writes what nginx reads to find a slot for when none is live: what served before deployd, or nothing.
pub fn unaim(host: &Host, settings: &Settings, service: &str) -> Result<(), EngineError> {
    let Some(slot) = slot_of(host, settings, service, Slot::A) else { return Ok(()) };
    match slot.kind {
        SlotKind::PhpFpm(_) => {
            let run = Dir::open_or_make(&host.paths.app_run_dir(&settings.app), 0o755)?;
            // The pool that served before deployd still does, where `init --apply` has led nginx through the link.
            if run.kind(BEFORE)? == EntryKind::Link {
                return Ok(run.swap_link("fpm.sock", &run.read_link(BEFORE)?, "new")?);
            }
            if run.kind("fpm.sock")? == EntryKind::Link {
                run.unlink("fpm.sock")?;
            }
            Ok(())
        }
        SlotKind::Octane(_) | SlotKind::Http(_) => {
            upstream::unaim(host, settings, slot::upstream(slot.kind).unwrap_or_default())
        }
        SlotKind::Horizon(_) | SlotKind::Queue(_) => Ok(()),
    }
}

/// The host name that probes ask for: that of the site's health check, if it has one.
fn site_host(settings: &Settings) -> String {
    let host = settings.health.iter().find_map(|health| match &health.check {
        Check::Http { host, .. } => host.clone(),
        Check::Run { .. } => None,
    });
    host.unwrap_or_else(|| "localhost".into())
}

async fn fpm_order(slot: &ServiceSlot<'_>, release: &ReleaseId, live: bool) -> Result<Order, EngineError> {
    let SlotKind::PhpFpm(fpm) = slot.kind else {
        return Err(EngineError::Other(format!("{} is no php-fpm", slot.name)));
    };
    let paths = &slot.host.paths;
    let public = Paths::release_dir(&slot.settings.root, release).join(&fpm.public);
    let status = slot.host.units.status(slot.unit()).await?;
    // Live, it has had its first requests: one question is enough.
    let times = if live { 1 } else { slot.host.units.processes(slot.unit()).await?.len().saturating_sub(1) };
    let own = paths.fpm_socket(slot.name.instance());
    Ok(Order::ProbeFastcgi {
        socket: if live { paths.fpm_link(&slot.settings.app) } else { own },
        script: public.join("index.php"),
        document_root: public,
        uri: fpm.probe.clone(),
        host: site_host(slot.settings),
        listener: (status.main_pid != 0).then_some(status.main_pid),
        times: u32::try_from(times.clamp(1, MAX_WARM)).unwrap_or(1),
        timeout: PROBE_LIMIT,
    })
}

/// What a live slot is asked while another release is made: its page, once. None: it answers no requests.
pub async fn live_order(slot: &ServiceSlot<'_>, release: &ReleaseId) -> Result<Option<Order>, EngineError> {
    match slot.kind {
        SlotKind::PhpFpm(_) => fpm_order(slot, release, true).await.map(Some),
        SlotKind::Octane(Octane { web, .. }) | SlotKind::Http(Http { web, .. }) => {
            Ok(Some(port_order(slot.settings, listener::port(slot)?, web, None)))
        }
        SlotKind::Horizon(_) | SlotKind::Queue(_) => Ok(None),
    }
}

fn port_order(settings: &Settings, port: u16, web: &Web, beside: Option<Duration>) -> Order {
    Order::ProbeHttp(HttpProbe {
        url: format!("http://127.0.0.1:{port}{}", web.probe),
        host: Some(site_host(settings)),
        status: None,
        body: None,
        json: None,
        timeout: web.start,
        beside,
    })
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
