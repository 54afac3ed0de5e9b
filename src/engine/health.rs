//! Health: what proves the site, before it is live where that can be asked, and after.

use super::{
    deployment::{Deployment, WORK_LIMIT},
    error::EngineError,
    site::Site,
    turn::verdict,
};
use crate::{
    config::{Check, Health},
    model::{Kind, events},
    plan::GoLive,
    system::journal::Priority,
    worker::order::{Answer, HttpProbe, Order},
};

/// What Laravel answers in maintenance mode.
const CLOSED: &str = "503";

impl Deployment<'_> {
    /// The checks that need no traffic: commands in the sealed release, as the user of its services.
    pub async fn prove_commands(&mut self, live: &GoLive) -> Result<(), EngineError> {
        for health in &live.health {
            let Some(order) = run_order(self.site(), health)? else { continue };
            let answer = self.ask_as_services(&order).await?;
            verdict(format!("the health check {}", health.name), answer)?;
        }
        Ok(())
    }

    /// The live site: its commands once more, then over HTTP, as often in a row as is asked for.
    pub async fn prove_site(&mut self, live: &GoLive) -> Result<(), EngineError> {
        self.prove_commands(live).await?;
        for round in 0..live.successes {
            if round > 0 {
                // The successes shall be that far apart: time itself is what is waited for.
                tokio::time::sleep(live.interval).await;
            }
            for health in &live.health {
                if let Some(order) = http_order(health) {
                    let answer = self.ask_tree(&order).await?;
                    self.judge(format!("the health check {}", health.name), answer).await?;
                }
            }
            if !live.health.iter().any(|health| http_order(health).is_some()) {
                break;
            }
        }
        Ok(())
    }

    /// A page's verdict on the release. In maintenance mode there is none; and a rollback may be what the site was put
    /// into it for.
    pub async fn judge(&self, what: String, answer: Answer) -> Result<(), EngineError> {
        let Err(error) = verdict(what, answer) else { return Ok(()) };
        let closed = matches!(&error, EngineError::Unhealthy { detail, .. } if detail.starts_with(CLOSED));
        if self.plan.kind != Kind::Rollback || !closed || !self.site().in_maintenance().await? {
            return Err(error);
        }
        let message = format!("{error}; the app is in maintenance mode, so that this is no verdict on the release");
        self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &message, &[]);
        Ok(())
    }

    /// Gives an order to a worker that runs as the user of the services and sees the release as they do.
    pub async fn ask_as_services(&mut self, order: &Order) -> Result<Answer, EngineError> {
        if self.prober.is_none() {
            self.prober = Some(self.site().prober("probe").await?);
        }
        match self.prober.as_mut() {
            Some(prober) => Ok(prober.ask(order, WORK_LIMIT).await?),
            None => Err(EngineError::Other("the worker is not there".into())),
        }
    }
}

/// The order for a command in a release; none for a check over HTTP.
pub fn run_order(site: Site<'_>, health: &Health) -> Result<Option<Order>, EngineError> {
    let Check::Run { run } = &health.check else { return Ok(None) };
    let (run, environment) = (site.command(run)?, site.environment());
    Ok(Some(Order::ProbeRun { run, release: site.dir(), environment, timeout: health.timeout }))
}

/// The order for a check over HTTP; none for a command.
pub fn http_order(health: &Health) -> Option<Order> {
    match &health.check {
        Check::Http { url, host, status, body, json } => Some(Order::ProbeHttp(HttpProbe {
            url: url.clone(),
            host: host.clone(),
            status: *status,
            body: body.clone(),
            json: json.clone(),
            timeout: health.timeout,
            beside: None,
        })),
        Check::Run { .. } => None,
    }
}
