//! What only the app's user may look at: the live release, Laravel's configuration, the users' crontabs. By a worker as
//! `run_as`, without network, with nothing writable; its answer is an app user's word.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{Host, ObserveError, read_current},
    foreign::crontab,
};
use crate::{
    check::AppFacts,
    config::{Settings, in_release},
    model::{AppState, DeploymentId, Paths, ReleaseId, printable},
    system::tree::Dir,
    worker::{
        client::{Worker, WorkerError},
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// A large release is walked in a second or two.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
/// Laravel's configuration is read in a tenth of a second.
const TELL_LIMIT: Duration = Duration::from_secs(20);
/// As installed; prints the configuration that matters here.
const PROBE: &str = "/usr/share/deployd/probe/config.php";
/// A seal is recorded in whole seconds, after the last change.
const SLACK: i64 = 2;
/// The longest word that is taken from a worker, in characters, and the most of a kind.
const LONGEST: usize = 200;
const MOST: usize = 20;

/// None: there is nothing to look at yet.
pub async fn app(
    host: &Host,
    settings: &Settings,
    state: &AppState,
    id: &DeploymentId,
) -> Result<Option<AppFacts>, ObserveError> {
    let live = if settings.root.exists() { read_current(&Dir::open(&settings.root)?)? } else { None };
    let mut users = vec![("check", settings.run_as.as_str()), ("check-user", settings.user.as_str())];
    users.dedup_by_key(|(_, user)| *user);
    let mut facts = None;
    for (role, user) in users {
        // Each user's worker is given that user's crontab only.
        let crontab = crontab(&host.paths, user);
        let live = live.as_ref().filter(|_| role == "check");
        if live.is_none() && crontab.is_none() {
            continue;
        }
        let reach = Reach { hidden: host.hidden_from(settings), ..Reach::default() };
        let credentials = crontab.iter().map(|file| (user.to_owned(), file.clone())).collect();
        let mut worker = host.worker_with(&settings.app, id, role, user, reach, credentials).await?;
        let facts = facts.get_or_insert_with(AppFacts::default);
        if let Some(live) = live {
            look(&mut worker, settings, state, live, facts).await?;
        }
        if crontab.is_some() {
            facts.crontab.extend(lines(&mut worker, settings, user).await?);
        }
        worker.finish().await?;
    }
    Ok(facts)
}

async fn lines(
    worker: &mut Worker,
    settings: &Settings,
    user: &str,
) -> Result<Vec<(String, usize, String)>, ObserveError> {
    let order = Order::Crontab { user: user.to_owned(), root: settings.root.clone() };
    match worker.ask(&order, LOOK_LIMIT).await? {
        Answer::Crontab { lines } => {
            Ok(lines.into_iter().take(MOST).map(|(line, text)| (user.to_owned(), line, word(&text))).collect())
        }
        other => Err(WorkerError::unexpected(&other).into()),
    }
}

async fn look(
    worker: &mut Worker,
    settings: &Settings,
    state: &AppState,
    live: &ReleaseId,
    facts: &mut AppFacts,
) -> Result<(), ObserveError> {
    let release = Paths::release_dir(&settings.root, live);
    facts.release = live.to_string();
    let sealed = state.releases.iter().find(|known| known.id == *live).map(|known| known.sealed_at);
    let order = Order::Inspect {
        release: release.clone(),
        // Of a release that is not recorded nothing can be said.
        since: sealed.map_or(i64::MAX, |at| at.saturating_add(SLACK)),
        except: settings.writable.clone(),
    };
    match worker.ask(&order, LOOK_LIMIT).await? {
        Answer::Inspected { changed, count, php_files, php_bytes } => {
            facts.changed = (changed.iter().take(MOST).map(|path| word(path)).collect(), count);
            facts.php = (php_files, php_bytes);
        }
        other => return Err(WorkerError::unexpected(&other).into()),
    }
    let environment = settings.environment.iter().map(|(name, value)| (name.clone(), in_release(value, &release)));
    // As each Octane slot has one of its own: whether the configuration reads it shows.
    let environment = environment.chain([("OCTANE_STATE_FILE".to_owned(), "/run/deployd/a-slots-own".to_owned())]);
    let shared = settings.root.join("shared").display().to_string();
    let order = Order::Tell {
        run: vec!["php".into(), PROBE.into(), shared],
        environment: environment.collect::<BTreeMap<_, _>>(),
        release,
        timeout: TELL_LIMIT,
    };
    match worker.ask(&order, TELL_LIMIT * 2).await {
        Ok(Answer::Told { config }) => {
            facts.config = config.into_iter().take(MOST).map(|(key, value)| (word(&key), word(&value))).collect();
        }
        Ok(other) => return Err(WorkerError::unexpected(&other).into()),
        // No PHP on the command line, or an app that is none of Laravel's: nothing is known of it.
        Err(WorkerError::Refused { reason, .. }) => tracing::debug!("the app's configuration is not known: {reason}"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn word(text: &str) -> String {
    printable(text).chars().take(LONGEST).collect()
}
