//! A switch seen as a visitor sees it: one request to the site, in which nginx is asked whether it goes to the new slot.
//!
//! deployd's snippets answer that by a header, and by nothing when they are not asked. A site that does without them
//! says nothing; then the chain is what proves: nginx is at the link or the include, and these are at the new slot.

use super::{
    deployment::{Deployment, unexpected},
    error::EngineError,
    health::http_order,
    listener,
    slots::ServiceSlot,
};
use crate::{
    config::SlotKind,
    runtime::{nginx, slot},
    worker::order::{Answer, Order},
};

impl Deployment<'_> {
    /// Whether nginx said that it sends requests to this slot; an error when it said that it does not.
    pub(super) async fn seen_through_nginx(&mut self, slot: &ServiceSlot<'_>, what: &str) -> Result<bool, EngineError> {
        // That nobody else can have asked with.
        let (app, word) = (&self.settings.app, &self.request.id);
        let (header, ask) = match slot.kind {
            SlotKind::PhpFpm(_) => (nginx::RELEASE_HEADER, format!("{app} {} {word}", self.plan.release)),
            SlotKind::Octane(_) | SlotKind::Http(_) => {
                let name = nginx::upstream_name(app, slot::upstream(slot.kind).unwrap_or_default());
                (nginx::UPSTREAM_HEADER, format!("{name} 127.0.0.1:{} {word}", listener::port(slot)?))
            }
            SlotKind::Horizon(_) | SlotKind::Queue(_) => return Ok(false),
        };
        for health in self.settings.local_checks() {
            let Some(Order::ProbeHttp(page)) = http_order(health) else { continue };
            let order = Order::AskNginx { page, header: header.into(), ask: ask.clone() };
            match self.ask_tree(&order).await? {
                Answer::Sent { there: Some(true) } => return Ok(true),
                Answer::Sent { there: Some(false) } => {
                    let detail = format!("nginx sends the request of the health check {} somewhere else", health.name);
                    return Err(EngineError::Unhealthy { what: what.into(), detail });
                }
                Answer::Sent { there: None } => {}
                other => return Err(unexpected(&other)),
            }
        }
        Ok(false)
    }
}
