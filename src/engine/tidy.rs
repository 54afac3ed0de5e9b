//! Tidy: the app's mirrors lose what no release is made of any more, once a day, after a release is confirmed.

use super::deployment::{WORK_LIMIT, now};
use super::error::EngineError;
use crate::{
    config::{Settings, Source},
    model::{AppState, DeploymentId},
    observe::Host,
    system::tree::Dir,
    worker::{order::Order, sandbox::Reach},
};

/// Between two tidyings, in seconds: the work is the same after one deployment as after a day's, and live services are
/// beside it.
const EVERY: i64 = 24 * 60 * 60;
/// When that was last, in seconds since 1970. In /run/deployd/NAME: after a boot it is done again.
const STAMP: &str = "tidied";

/// Tidies the mirrors, if it is time. What cannot be done is told: the next release tries again.
pub async fn tidy(host: &Host, settings: &Settings, deployment: &DeploymentId, state: &AppState) {
    let Source::Git(git) = &settings.source else { return };
    let cache = host.paths.cache_dir(&settings.app);
    let kept = state.releases.iter().map(|release| release.revision.clone()).collect();
    let reach = Reach { write: vec![cache.clone()], idle: true, ..Reach::default() };
    let tidied = async {
        let run = Dir::open_or_make(&host.paths.app_run_dir(&settings.app), 0o755)?;
        if !is_due(&run, now())? {
            return Ok(());
        }
        let mut worker = host.unbound().worker(settings, deployment, "tidy", &settings.user, reach).await?;
        let answer = worker.ask(&Order::Tidy { url: git.url.clone(), cache, kept }, WORK_LIMIT).await;
        worker.finish().await?;
        answer?;
        Ok::<_, EngineError>(run.write_volatile(STAMP, now().to_string().as_bytes(), 0o644)?)
    };
    if let Err(error) = tidied.await {
        tracing::warn!("the mirror of {} is not tidied: {error}, ignoring", git.url);
    }
}

/// A stamp of the future is none: the clock was set back.
fn is_due(run: &Dir, now: i64) -> Result<bool, EngineError> {
    let stamp = run.read(STAMP, 32)?.and_then(|text| String::from_utf8(text).ok()?.trim().parse::<i64>().ok());
    Ok(stamp.is_none_or(|last| last > now || now - last >= EVERY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_day_whatever_the_stamp_says() {
        let tree = tempfile::tempdir().unwrap();
        let run = Dir::open(tree.path()).unwrap();
        assert!(is_due(&run, 5).unwrap(), "never");
        for (stamp, due) in [("1000000", false), ("913601", false), ("913600", true), ("1000001", true), ("x", true)] {
            run.write_volatile(STAMP, stamp.as_bytes(), 0o644).unwrap();
            assert_eq!(is_due(&run, 1_000_000).unwrap(), due, "{stamp}");
        }
    }
}
