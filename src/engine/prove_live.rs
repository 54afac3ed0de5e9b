//! The live release, asked while another one is made: by the site's health checks, and each of its live slots by the
//! page that it was proved with.

use super::{
    deployment::Deployment,
    error::EngineError,
    health::{http_order, run_order},
    site::Site,
    slots::recorded,
    turn::{live_order, verdict},
};
use crate::worker::order::{Answer, Order};

/// What was asked, and the answer as a verdict.
pub type Verdicts = Vec<(String, Result<(), EngineError>)>;

impl Deployment<'_> {
    /// Asks the live release everything that it can be asked. The same questions each time, in the same order.
    pub async fn live_verdicts(&mut self) -> Result<Verdicts, EngineError> {
        let mut out = Vec::new();
        for health in &self.settings.health {
            if let Some(order) = http_order(health) {
                let what = format!("the health check {}", health.name);
                let answer = self.ask_tree(&order).await?;
                out.push((what.clone(), verdict(what, answer).map(drop)));
            }
        }
        let (host, settings, live) = (self.host, self.settings, self.state.live.clone());
        for (slot, kept) in recorded(host, settings, &live) {
            let Some(order) = live_order(&slot, &kept.release).await? else { continue };
            let what = format!("{} of the live release", slot.unit());
            let answer = self.ask_tree(&order).await?;
            out.push((what.clone(), verdict(what, answer).map(drop)));
        }
        self.ask_commands(&mut out).await?;
        Ok(out)
    }

    /// The commands that prove a site, in the live release.
    async fn ask_commands(&self, out: &mut Verdicts) -> Result<(), EngineError> {
        let Some(live) = &self.plan.from else { return Ok(()) };
        let site = Site { host: self.host, settings: self.settings, deployment: &self.plan.id, release: live };
        let mut orders: Vec<(String, Order)> = Vec::new();
        for health in &self.settings.health {
            if let Some(order) = run_order(site, health)? {
                orders.push((format!("the health check {}", health.name), order));
            }
        }
        if orders.is_empty() {
            return Ok(());
        }
        let mut worker = site.prober("live").await?;
        for (what, order) in orders {
            let answer: Answer = worker.ask(&order, super::deployment::WORK_LIMIT).await?;
            out.push((what.clone(), verdict(what, answer).map(drop)));
        }
        Ok(worker.finish().await?)
    }
}
