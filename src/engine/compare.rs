//! Before a rollback: the release is compared with what was sealed. One that was changed since is not what was proved
//! live, and is refused unless it is named; what deployd does by itself goes back to it all the same, and says so.

use super::{
    deployment::{Deployment, unexpected},
    error::EngineError,
};
use crate::{
    config::ServiceKind,
    model::{Actor, Kind, ReleaseId, events, printable},
    system::journal::Priority,
    worker::order::{Answer, Order},
};

impl Deployment<'_> {
    /// Refuses to go back to a release that was changed since its seal, or tells it.
    pub async fn compare_with_seal(&mut self) -> Result<(), EngineError> {
        let plan = self.plan;
        let release = &plan.release;
        let record = self.state.releases.iter().find(|record| record.id == *release);
        let Some(manifest) = record.filter(|_| plan.kind == Kind::Rollback).map(|record| record.manifest.clone())
        else {
            return Ok(());
        };
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let except = self.settings.writable.clone();
        let order = Order::Compare { release: self.release_dir(), cache, manifest, except };
        let (changed, count, unknown) = match self.ask_tree(&order).await? {
            Answer::Compared { changed, count, unknown } => (changed, count, unknown),
            other => return Err(unexpected(&other)),
        };
        if let Some(why) = unknown {
            tracing::info!("whether {release} is as it was sealed is not known: {}", printable(&why));
        }
        if count == 0 {
            return Ok(());
        }
        let why = sentence(release, &changed, count);
        // A unit of the site's own may write there, and a release that served is never as it was sealed.
        let written = self.settings.services.iter().any(|one| matches!(one.kind, ServiceKind::Unit { .. }));
        if written || self.request.release.is_some() || self.request.actor == Actor::Deployd {
            self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &why, &[]);
            return Ok(());
        }
        let app = &plan.app;
        let remedy = format!(
            "deploy again what it was made of, or go back to it as it is by naming it: `deployctl rollback {app} {release}`"
        );
        Err(EngineError::Refused { why, remedy })
    }
}

/// A changed entry's name is shown up to here, in characters.
const SHOWN: usize = 120;

fn sentence(release: &ReleaseId, changed: &[String], count: u64) -> String {
    let named: Vec<String> = changed.iter().take(5).map(|path| printable(path).chars().take(SHOWN).collect()).collect();
    let more = if count > named.len() as u64 { ", …" } else { "" };
    let entries = if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") };
    format!("{release} is not as it was sealed: {entries} changed or gone ({}{more})", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_named_and_the_rest_counted() {
        let release = "20261121T112333Z-c2de4581".parse().unwrap();
        let changed = ["a", "b\u{1b}[2J"].map(str::to_owned);
        let one = sentence(&release, &changed[..1], 1);
        assert_eq!(one, "20261121T112333Z-c2de4581 is not as it was sealed: 1 entry changed or gone (a)");
        let many = sentence(&release, &changed, 7);
        assert!(many.contains("7 entries changed or gone (a, b") && many.ends_with(", …)"), "{many}");
        assert!(!many.contains('\u{1b}'), "{many}");
    }
}
