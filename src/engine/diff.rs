//! What differs between two releases: chosen here by the record, compared by a worker of the app's user, by the
//! manifests and the mirror. Changes nothing.

use std::time::Duration;

use super::{
    deployment::unexpected,
    error::{EngineError, reply},
    store::Store,
};
use crate::{
    config::{Settings, Source},
    model::{AppState, DiffRequest, Difference, ReleaseId, ReleaseRecord, ReleaseState, Reply, printable},
    observe::{Host, read_current},
    system::tree::Dir,
    worker::{
        client::Worker,
        order::{Answer, Order, PreviousRelease},
        sandbox::Reach,
    },
};

/// For one answer.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest name that is passed on, in characters.
const LONGEST: usize = 4096;

/// Compares two releases of an app.
pub async fn diff(host: &Host, request: &DiffRequest) -> Reply<Difference> {
    reply(compared(host, request).await)
}

async fn compared(host: &Host, request: &DiffRequest) -> Result<Difference, EngineError> {
    let settings = host.settings(&request.diff).map_err(|error| EngineError::BadConfig(error.summary))?;
    let state = Store::look(&host.paths, &request.diff)?;
    let live = match settings.root.exists() {
        true => read_current(&Dir::open(&settings.root)?)?,
        false => None,
    };
    let (from, to) = choose(&state, live.as_ref(), request)?;
    let reach = Reach { hidden: host.hidden_from(&settings), quiet: true, ..Reach::default() };
    let mut worker = host.worker(&settings, &request.id, "diff", &settings.user, reach).await?;
    let of = |release: &ReleaseRecord| PreviousRelease {
        release: settings.root.join("releases").join(release.id.as_str()),
        manifest: release.manifest.clone(),
    };
    let cache = host.paths.cache_dir(&settings.app);
    let order = Order::Diff { cache, from: of(from), to: of(to) };
    let (added, removed, changed, names) = match worker.ask(&order, LIMIT).await? {
        Answer::Differs { added, removed, changed, names } => (added, removed, changed, names),
        other => return Err(unexpected(&other)),
    };
    let (log, more) = log(host, &settings, &mut worker, from, to).await;
    Ok(Difference {
        from: from.id.clone(),
        to: to.id.clone(),
        from_revision: from.revision.clone(),
        to_revision: to.revision.clone(),
        commits: matches!(settings.source, Source::Git(_)),
        added,
        removed,
        changed,
        names: names.into_iter().filter_map(named).collect(),
        log,
        more,
    })
}

/// The commits between, as far as the mirror has them.
async fn log(
    host: &Host,
    settings: &Settings,
    worker: &mut Worker,
    from: &ReleaseRecord,
    to: &ReleaseRecord,
) -> (Vec<(String, String)>, bool) {
    let Source::Git(git) = &settings.source else { return Default::default() };
    let cache = host.paths.cache_dir(&settings.app);
    let order = Order::Commits { url: git.url.clone(), cache, from: from.revision.clone(), to: to.revision.clone() };
    match worker.ask(&order, LIMIT).await {
        Ok(Answer::Commits { commits, more }) => {
            (commits.into_iter().map(|one| (printable(&one.id), printable(&one.subject))).collect(), more)
        }
        _ => Default::default(),
    }
}

/// A worker's word: one of three letters and something to print.
fn named((how, name): (char, String)) -> Option<(char, String)> {
    matches!(how, 'A' | 'D' | 'M').then(|| (how, printable(&name).chars().take(LONGEST).collect()))
}

/// The two releases, or why they cannot be told. Without names: what activating the staged one would bring, else what the
/// live one brought. With one: that and the live one, the older first.
fn choose<'a>(
    state: &'a AppState,
    live: Option<&ReleaseId>,
    request: &DiffRequest,
) -> Result<(&'a ReleaseRecord, &'a ReleaseRecord), EngineError> {
    let app = &request.diff;
    let find = |id: &ReleaseId| state.releases.iter().find(|release| release.id == *id);
    let known = |id: &ReleaseId| find(id).ok_or_else(|| EngineError::NoSuchRelease(app.clone(), id.clone()));
    let current = || {
        live.and_then(find)
            .ok_or_else(|| EngineError::Other(format!("nothing of app {app} is live: name two releases")))
    };
    match (&request.from, &request.to) {
        (Some(from), Some(to)) => Ok((known(from)?, known(to)?)),
        (Some(one), None) | (None, Some(one)) => {
            let (one, live) = (known(one)?, current()?);
            if one.id == live.id {
                return Err(EngineError::Other(format!("{} is live itself: name another one, or two", one.id)));
            }
            Ok(if one.seq < live.seq { (one, live) } else { (live, one) })
        }
        (None, None) => {
            let live = current()?;
            let staged = state.releases.iter().filter(|one| one.state == ReleaseState::Sealed && one.seq > live.seq);
            if let Some(staged) = staged.max_by_key(|one| one.seq) {
                return Ok((live, staged));
            }
            let older = || {
                let confirmed = |one: &&ReleaseRecord| one.seq < live.seq && one.state == ReleaseState::Confirmed;
                state.releases.iter().filter(confirmed).max_by_key(|one| one.seq)
            };
            let before = live.replaced.as_ref().and_then(find).or_else(older);
            before
                .map(|before| (before, live))
                .ok_or_else(|| EngineError::Other(format!("app {app} has no release before the live one")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, DeploymentId, MadeFrom};

    fn id(seq: u64) -> ReleaseId {
        format!("20260101T00000{seq}Z-a").parse().unwrap()
    }

    fn state(states: &[ReleaseState]) -> AppState {
        let record = |(at, state): (usize, &ReleaseState)| ReleaseRecord {
            id: id(at as u64 + 1),
            seq: at as u64 + 1,
            revision: String::new(),
            reference: String::new(),
            state: *state,
            manifest: String::new(),
            files: 0,
            bytes: 0,
            made_from: MadeFrom::default(),
            markers: Vec::new(),
            deployment: DeploymentId::from_bits(1),
            sealed_at: 0,
            live_at: None,
            replaced: None,
        };
        AppState { releases: states.iter().enumerate().map(record).collect(), ..AppState::default() }
    }

    fn chosen(state: &AppState, live: u64, from: Option<u64>, to: Option<u64>) -> Result<(u64, u64), String> {
        let (from, to) = (from.map(id), to.map(id));
        let request = DiffRequest {
            diff: "shop".parse().unwrap(),
            id: DeploymentId::from_bits(1),
            from,
            to,
            actor: Actor::Deployd,
        };
        choose(state, Some(&id(live)), &request).map(|(a, b)| (a.seq, b.seq)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_two_are_the_ones_that_one_wants_to_know_about() {
        use ReleaseState::{Confirmed, Failed, Sealed};
        let old = state(&[Confirmed, Confirmed, Failed, Confirmed]);
        assert_eq!(chosen(&old, 4, None, None), Ok((2, 4)));
        assert_eq!(chosen(&old, 2, Some(4), None), Ok((2, 4)), "the older first");
        assert_eq!(chosen(&old, 4, Some(4), Some(1)), Ok((4, 1)), "as they are named");
        assert!(chosen(&old, 4, Some(4), None).unwrap_err().contains("live itself"));
        assert!(chosen(&old, 1, None, None).unwrap_err().contains("before the live one"));
        assert!(chosen(&old, 4, Some(9), None).unwrap_err().contains("`deployctl releases shop`"));
        let staged = state(&[Confirmed, Confirmed, Sealed]);
        assert_eq!(chosen(&staged, 2, None, None), Ok((2, 3)));
    }
}
