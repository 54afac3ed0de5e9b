//! Health: what proves the site, before it is live where that can be asked, and after.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    deployment::{Deployment, WORK_LIMIT},
    error::EngineError,
    turn::verdict,
};
use crate::{
    config::{Check, Health},
    plan::GoLive,
    worker::{
        order::{Answer, HttpProbe, Order},
        sandbox::Reach,
    },
};

impl Deployment<'_> {
    /// The checks that need no traffic: commands in the release, as the user of its services.
    pub async fn prove_commands(&mut self, live: &GoLive) -> Result<(), EngineError> {
        for health in &live.health {
            if let Check::Run { run } = &health.check {
                self.ask_command(health, run).await?;
            }
        }
        Ok(())
    }

    /// The site over HTTP, as often in a row as is asked for.
    pub async fn prove_site(&mut self, live: &GoLive) -> Result<(), EngineError> {
        for round in 0..live.successes {
            if round > 0 {
                // The successes shall be that far apart: time itself is what is waited for.
                tokio::time::sleep(live.interval).await;
            }
            for health in &live.health {
                if let Some(order) = http_order(health) {
                    let answer = self.ask_tree(&order).await?;
                    verdict(format!("the health check {}", health.name), answer)?;
                }
            }
            if !live.health.iter().any(|health| http_order(health).is_some()) {
                break;
            }
        }
        Ok(())
    }

    async fn ask_command(&mut self, health: &Health, run: &[String]) -> Result<(), EngineError> {
        let release = self.release_dir();
        let order = run_order(health, self.command(run, &release)?, release.clone(), self.app_environment(&release));
        let answer = self.ask_as_services(&order).await?;
        verdict(format!("the health check {}", health.name), answer)?;
        Ok(())
    }

    /// Gives an order to a worker that runs as the user of the services, in the release.
    pub async fn ask_as_services(&mut self, order: &Order) -> Result<Answer, EngineError> {
        if self.settings.user == self.settings.run_as {
            return self.ask_tree(order).await;
        }
        let reach = Reach {
            write: vec![self.settings.root.join("shared")],
            hidden: self.host.hidden_from(self.settings),
            network: true,
        };
        let mut worker = self.host.worker(self.settings, &self.plan.id, "probe", &self.settings.run_as, reach).await?;
        let answer = worker.ask(order, WORK_LIMIT).await?;
        worker.finish().await?;
        Ok(answer)
    }
}

fn run_order(health: &Health, run: Vec<String>, release: PathBuf, environment: BTreeMap<String, String>) -> Order {
    Order::ProbeRun { run, release, environment, timeout: health.timeout }
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
        })),
        Check::Run { .. } => None,
    }
}
