//! Before a rollback: the release is compared with what was sealed. One that was changed since is not what was proved
//! live, and is refused unless it is named; what deployd does by itself goes back to it all the same, and says so.

use super::{
    deployment::{Deployment, unexpected},
    error::EngineError,
};
use crate::{
    config::ServiceKind,
    model::{Actor, AppName, Kind, ReleaseId, events, printable},
    system::journal::Priority,
    worker::{
        client::WorkerError,
        order::{Answer, Order},
    },
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
        let answer = self.ask_tree(&order).await;
        if matches!(&answer, Err(EngineError::Worker(error)) if !matches!(error, WorkerError::Refused { .. })) {
            self.close_tree().await;
        }
        let going = Going {
            app: &plan.app,
            release,
            // A unit of the site's own may write there, and a release that served is never as it was sealed.
            written: self.settings.services.iter().any(|one| matches!(one.kind, ServiceKind::Unit { .. })),
            all_the_same: self.request.release.is_some() || self.request.actor == Actor::Deployd,
        };
        if let Some(why) = going.judge(answer)? {
            self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &why, &[]);
        }
        Ok(())
    }

    /// Ends the worker in the tree, which does not answer as it should: the probes get another.
    async fn close_tree(&mut self) {
        if let Some(worker) = self.tree.take()
            && let Err(error) = worker.finish().await
        {
            tracing::warn!("the worker in the release's tree was not ended: {error}, going on");
        }
    }
}

/// To which release a rollback goes.
struct Going<'a> {
    app: &'a AppName,
    release: &'a ReleaseId,
    /// Services write in it.
    written: bool,
    /// It was named, or deployd goes back by itself: the site needs it, whatever can be seen of it.
    all_the_same: bool,
}

impl Going<'_> {
    /// What is to be told, or why it does not go there.
    fn judge(&self, answer: Result<Answer, EngineError>) -> Result<Option<String>, EngineError> {
        let Self { app, release, .. } = self;
        let compared = answer.and_then(|answer| match answer {
            Answer::Compared { changed, count, unknown } => Ok((changed, count, unknown)),
            other => Err(unexpected(&other)),
        });
        let (changed, count, unknown) = match compared {
            Err(error) if self.all_the_same => {
                let error = printable(&error.to_string());
                return Ok(Some(format!("whether {release} is as it was sealed cannot be seen: {error}")));
            }
            compared => compared?,
        };
        if let Some(why) = unknown {
            tracing::info!("whether {release} is as it was sealed is not known: {}", printable(&why));
        }
        if count == 0 {
            return Ok(None);
        }
        let why = sentence(release, &changed, count);
        if self.written || self.all_the_same {
            return Ok(Some(why));
        }
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
    fn what_cannot_be_compared_ends_no_rollback_that_deployd_needs_or_somebody_insists_on() {
        let (app, release) = ("shop".parse().unwrap(), "20261121T112333Z-c2de4581".parse().unwrap());
        let going = |all_the_same| Going { app: &app, release: &release, written: false, all_the_same };
        let changed =
            |count| Ok(Answer::Compared { changed: vec!["a".into(); count], count: count as u64, unknown: None });
        let broken = || Err(EngineError::Other("the worker ended in the middle".into()));
        for answer in [broken(), Ok(Answer::Probed { healthy: true, detail: String::new() })] {
            let told = going(true).judge(answer).unwrap().unwrap();
            assert!(told.contains("cannot be seen"), "{told}");
        }
        assert!(going(true).judge(broken()).unwrap().unwrap().contains("ended in the middle"));
        assert!(going(false).judge(broken()).is_err());
        assert!(going(true).judge(changed(1)).unwrap().unwrap().contains("1 entry"));
        assert!(matches!(going(false).judge(changed(1)), Err(EngineError::Refused { .. })));
        assert!(Going { written: true, ..going(false) }.judge(changed(1)).unwrap().is_some());
        assert!(going(false).judge(changed(0)).unwrap().is_none());
    }

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
