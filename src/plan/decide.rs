//! From settings, observation and request to a decision.

use std::collections::BTreeMap;

use super::{
    judge::judge,
    moves::moves,
    once::once,
    staging::{differences, made_from, new_id, short, stage, steps},
    value::{Decision, GoLive, Plan, Refusal, Stage, Staged},
};
use crate::{
    config::{ServiceKind, Settings, Step, Strategy},
    model::{Actor, Kind, MadeFrom, MigrationRun, ReleaseId, ReleaseRecord, ReleaseState, Request},
    observe::{Lack, Observed, Resolved, ServiceObserved},
    worker::order::SharedKind,
};

/// What will be done, that there is nothing to do, or why it is refused.
pub fn plan(settings: &Settings, observed: &Observed, request: &Request) -> Result<Decision, Refusal> {
    refuse_what_cannot_work(settings, observed, request)?;
    match request.kind {
        Kind::Deploy | Kind::Stage => make(settings, observed, request),
        Kind::Activate => activate(settings, observed, request),
        Kind::Rollback => roll_back(settings, observed, request),
    }
}

pub(super) fn refusal(reason: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal { reason: reason.into(), remedy: Some(remedy.into()), lacking: Vec::new() }
}

/// What no kind of deployment can do anything about.
fn refuse_what_cannot_work(settings: &Settings, observed: &Observed, request: &Request) -> Result<(), Refusal> {
    if let Some(stuck) = &observed.state.stuck {
        return Err(refusal(
            format!("{} is stuck: {stuck}", settings.app),
            format!("put it right, then `systemctl start deploy-settle@{}`", settings.app),
        ));
    }
    for (index, service) in settings.services.iter().enumerate() {
        let Some(ServiceObserved::Unit { load, active }) = observed.services.get(&service.name) else { continue };
        let place = settings.place(&format!("service[{index}].unit"));
        let told =
            matches!(&service.kind, ServiceKind::Unit { strategy: Strategy::Reload | Strategy::Signal { .. }, .. });
        if load != "loaded" {
            let reason = format!("{place}the unit {} is {load}", service.name);
            return Err(refusal(reason, "name a unit that `systemctl status` knows"));
        }
        if told && active != "active" {
            let reason =
                format!("{place}the unit {} is {active} and cannot be told to take up the release", service.name);
            return Err(refusal(reason, format!("start it: `systemctl start {}`", service.name)));
        }
    }
    if let Some(blocked) = &observed.web_blocked {
        let web = settings.web_user.as_deref().unwrap_or("nginx's user");
        return Err(refusal(
            format!("{}nginx ({web}) may not pass {}", settings.place("root"), blocked.display()),
            format!("let it: `setfacl -m u:{web}:x {}`", blocked.display()),
        ));
    }
    if observed.maintenance && request.kind != Kind::Rollback && request.kind != Kind::Stage {
        return Err(refusal(
            format!("{} is in maintenance mode: no health check could tell whether the release works", settings.app),
            "end it with `php artisan up`, or stage only: `deployctl stage`",
        ));
    }
    if matches!(request.kind, Kind::Deploy | Kind::Stage) {
        // What only a build needs is no reason to refuse where nothing is built.
        let of_build = observed.lacking.iter().filter(|_| builds(settings, observed, request)).cloned();
        refuse_lacking(of_build.chain(missing_shared(settings, observed)).collect())?;
    }
    Ok(())
}

/// Somebody wants nothing new. What deployd does by itself to set things right is nothing new, nor is it to bring every
/// service to what is live.
fn refuse_held(settings: &Settings, observed: &Observed, request: &Request, target: &Target) -> Result<(), Refusal> {
    match &observed.held {
        Some(hold) if request.actor != Actor::Deployd && observed.current.as_ref() != Some(&target.release) => {
            Err(refusal(
                format!("{} is {hold}", settings.app),
                format!("when that is over, `deployctl unhold {}`", settings.app),
            ))
        }
        _ => Ok(()),
    }
}

/// Whether a release is to be made, as far as it is known.
fn builds(settings: &Settings, observed: &Observed, request: &Request) -> bool {
    let Some(resolved) = observed.source.as_ref() else { return true };
    let made_from = made_from(settings, observed);
    let live = record(observed, observed.current.as_ref());
    let same = live.is_some() && differences(live, observed.current.as_ref(), resolved, &made_from).is_empty();
    request.force || !(same || staged_of(observed, resolved, &made_from).is_some())
}

/// The newest staged release that was made of this.
fn staged_of<'a>(observed: &'a Observed, resolved: &Resolved, made_from: &MadeFrom) -> Option<&'a ReleaseRecord> {
    observed.state.releases.iter().rev().find(|release| {
        release.state == ReleaseState::Sealed
            && release.revision == resolved.revision
            && release.made_from == *made_from
            && observed.on_disk.contains(&release.id)
    })
}

/// All that is lacking, at once.
fn refuse_lacking(mut lacking: Vec<Lack>) -> Result<(), Refusal> {
    if lacking.len() < 2 {
        let refused = |one: Lack| Err(Refusal { reason: one.what, remedy: one.remedy, lacking: Vec::new() });
        return lacking.pop().map_or(Ok(()), refused);
    }
    let whats: Vec<_> = lacking.iter().map(|one| one.what.as_str()).collect();
    let mut remedies: Vec<_> = lacking.iter().filter_map(|one| one.remedy.as_deref()).collect();
    remedies.dedup();
    let reason = format!("{} things are lacking: {}", lacking.len(), whats.join("; "));
    let remedy = remedies.join("; ");
    Err(Refusal { reason, remedy: Some(remedy), lacking })
}

fn missing_shared(settings: &Settings, observed: &Observed) -> Vec<Lack> {
    let mut out = Vec::new();
    let mut lack = |what: String, remedy: String| out.push(Lack { what, remedy: Some(remedy) });
    for (wanted, found) in settings.shared.iter().zip(&observed.shared) {
        let at = settings.root.join("shared").join(&wanted.from);
        let remedy = format!(
            "put it there: `install -D -o {} -g {} -m 0640 {} {}`",
            settings.user,
            settings.user,
            wanted.path,
            at.display()
        );
        match found.kind {
            None if wanted.required => lack(format!("{} is missing", at.display()), remedy),
            Some(SharedKind::File) if wanted.directory => {
                lack(format!("{} is a file and should be a directory", at.display()), "move it away".into());
            }
            Some(SharedKind::Directory) if !wanted.directory => {
                lack(format!("{} is a directory and should be a file", at.display()), "move it away".into());
            }
            _ => {}
        }
    }
    out
}

/// Deploy and stage: a new release, a staged one, the live one once more, or nothing.
fn make(settings: &Settings, observed: &Observed, request: &Request) -> Result<Decision, Refusal> {
    let resolved = observed.source.as_ref().ok_or_else(|| refusal("the source was not looked at", "run it again"))?;
    let made_from = made_from(settings, observed);
    let live = record(observed, observed.current.as_ref());
    let mut reasons = differences(live, observed.current.as_ref(), resolved, &made_from);
    if request.force {
        reasons.push("asked for (--force)".into());
    }
    if reasons.is_empty()
        && let Some(live) = live
    {
        return converge(settings, observed, request, live);
    }
    if let (Some(staged), false) = (staged_of(observed, resolved, &made_from), request.force) {
        if request.kind == Kind::Stage {
            let message = format!("{} is staged already", staged.id);
            return Ok(Decision::Unchanged { release: staged.id.clone(), message });
        }
        reasons.push(format!("{} was staged", staged.id));
        return go(settings, observed, request, Target::of(staged), reasons, None);
    }
    if request.actor == Actor::Timer {
        refuse_what_failed(observed, resolved, &made_from)?;
    }
    let release = new_id(observed, &resolved.revision)?;
    let stage = stage(settings, observed, request, resolved, made_from);
    let Resolved { revision, markers, .. } = resolved.clone();
    go(settings, observed, request, Target { release, revision, markers, staged: false }, reasons, Some(stage))
}

/// A release that had to go back is not tried again by a timer: the site would change with each of its turns, for ever.
fn refuse_what_failed(observed: &Observed, resolved: &Resolved, made_from: &MadeFrom) -> Result<(), Refusal> {
    let failed = observed.state.failed.as_ref();
    let Some(failed) = failed.filter(|one| one.revision == resolved.revision && one.made_from == *made_from) else {
        return Ok(());
    };
    Err(refusal(
        format!(
            "nothing is new since {} ({}), which failed its checks: a timer does not try it again",
            failed.id,
            short(&failed.revision)
        ),
        "deploy another revision, or try it yourself: `deployctl deploy`",
    ))
}

/// The live release is what would be made. Either every service runs it, or it is cut over once more.
fn converge(
    settings: &Settings,
    observed: &Observed,
    request: &Request,
    live: &ReleaseRecord,
) -> Result<Decision, Refusal> {
    let idle = settings.services.iter().find(|service| !runs(observed, &service.name, &live.id));
    match idle {
        Some(service) if request.kind == Kind::Deploy => {
            let reasons = vec![format!("{} does not run the live release", service.name)];
            go(settings, observed, request, Target::of(live), reasons, None)
        }
        _ => Ok(Decision::Unchanged {
            release: live.id.clone(),
            message: format!("nothing is new: {} ({}) stays live", live.id, short(&live.revision)),
        }),
    }
}

/// Whether a service is known to run a release. Of a unit of someone else's only its activity is known.
fn runs(observed: &Observed, service: &str, release: &ReleaseId) -> bool {
    match observed.services.get(service) {
        Some(ServiceObserved::Slots(slots)) => observed.state.live.get(service).is_some_and(|live| {
            live.release == *release && slots.get(&live.slot).is_some_and(|active| active == "active")
        }),
        // An update that was paused goes on.
        Some(ServiceObserved::Instances(instances)) => {
            instances.iter().all(|(_, one)| one.release.as_ref().is_none_or(|runs| runs == release))
        }
        _ => true,
    }
}

/// The newest release that is staged and was never live.
fn staged(observed: &Observed) -> Option<&ReleaseRecord> {
    observed.state.releases.iter().rev().find(|release| release.state == ReleaseState::Sealed)
}

fn activate(settings: &Settings, observed: &Observed, request: &Request) -> Result<Decision, Refusal> {
    let chosen = match &request.release {
        Some(id) => known(observed, id)?,
        None => match (staged(observed), &observed.current) {
            (Some(staged), _) => staged,
            (None, Some(live)) => known(observed, live)?,
            (None, None) => return Err(refusal("no release is staged", "make one: `deployctl stage`")),
        },
    };
    if observed.current.as_ref() == Some(&chosen.id)
        && settings.services.iter().all(|s| runs(observed, &s.name, &chosen.id))
    {
        return Ok(Decision::Unchanged {
            release: chosen.id.clone(),
            message: format!("{} is live already", chosen.id),
        });
    }
    go(settings, observed, request, Target::of(chosen), vec!["asked for".into()], None)
}

/// Back is older, also after a rollback: a second one does not return to what the first one left. By default to a
/// confirmed release; one that was live and proved, but replaced before its bake time had passed, when there is no
/// other or when it is named: at night it is better than none.
fn roll_back(settings: &Settings, observed: &Observed, request: &Request) -> Result<Decision, Refusal> {
    let fit = |release: &ReleaseRecord| matches!(release.state, ReleaseState::Confirmed | ReleaseState::Unconfirmed);
    let others = || observed.state.releases.iter().filter(|one| Some(&one.id) != observed.current.as_ref());
    let list = || {
        let ids: Vec<_> = others().filter(|one| fit(one)).map(|one| format!("{} ({})", one.id, one.state)).collect();
        if ids.is_empty() { "there is none yet".to_owned() } else { format!("there are: {}", ids.join(", ")) }
    };
    let chosen = match &request.release {
        Some(id) if observed.current.as_ref() == Some(id) => {
            return Ok(Decision::Unchanged { release: id.clone(), message: format!("{id} is live already") });
        }
        Some(id) => {
            let release = known(observed, id)?;
            if !fit(release) {
                let reason =
                    format!("{id} is {}, and a rollback goes to releases that were proved live", release.state);
                return Err(refusal(reason, list()));
            }
            release
        }
        None => previous(observed, fit)
            .ok_or_else(|| refusal("there is no older release to roll back to", "see `deployctl releases`"))?,
    };
    let mut reasons = vec!["asked for".to_owned()];
    if chosen.state == ReleaseState::Unconfirmed {
        reasons.push(format!("{} was proved live, but replaced before its bake time had passed", chosen.id));
    }
    go(settings, observed, request, Target::of(chosen), reasons, None)
}

/// Where a rollback goes by default: along what each release replaced, to the first confirmed one, else the first that
/// is fit. Of a release that replaced nothing known, to an older one.
fn previous(observed: &Observed, fit: impl Fn(&ReleaseRecord) -> bool) -> Option<&ReleaseRecord> {
    let live = record(observed, observed.current.as_ref());
    let good = |one: &&ReleaseRecord| fit(one) && observed.on_disk.contains(&one.id);
    // Bounded by the number of releases: a record that leads in a circle ends too.
    let before = std::iter::successors(live, |one| record(observed, one.replaced.as_ref()));
    let chain: Vec<_> = before.skip(1).take(observed.state.releases.len()).filter(good).collect();
    let confirmed = chain.iter().find(|one| one.state == ReleaseState::Confirmed);
    confirmed.or(chain.first()).copied().or_else(|| {
        let older = live.map_or(u64::MAX, |live| live.seq);
        let others = observed.state.releases.iter().filter(|one| one.seq < older);
        others.filter(good).max_by_key(|one| (one.state == ReleaseState::Confirmed, one.seq))
    })
}

fn known<'a>(observed: &'a Observed, id: &ReleaseId) -> Result<&'a ReleaseRecord, Refusal> {
    match record(observed, Some(id)) {
        Some(release) if observed.on_disk.contains(id) => Ok(release),
        Some(_) => {
            Err(refusal(format!("the release {id} is recorded, but its directory is gone"), "see `deployctl releases`"))
        }
        None => Err(refusal(format!("there is no release {id}"), "see `deployctl releases`")),
    }
}

pub(super) fn record<'a>(observed: &'a Observed, id: Option<&ReleaseId>) -> Option<&'a ReleaseRecord> {
    let id = id?;
    observed.state.releases.iter().find(|release| release.id == *id)
}

/// The release a plan is about.
struct Target {
    release: ReleaseId,
    revision: String,
    markers: Vec<String>,
    /// It was staged and was never live.
    staged: bool,
}

impl Target {
    fn of(release: &ReleaseRecord) -> Self {
        let ReleaseRecord { id, revision, markers, state, .. } = release.clone();
        Self { release: id, revision, markers, staged: state == ReleaseState::Sealed }
    }
}

fn go(
    settings: &Settings,
    observed: &Observed,
    request: &Request,
    target: Target,
    reasons: Vec<String>,
    stage: Option<Stage>,
) -> Result<Decision, Refusal> {
    refuse_held(settings, observed, request, &target)?;
    let mut warnings = judge(settings, observed, request)?;
    if !observed.root_writable {
        warnings.push(format!(
            "{}{} is outside /srv, /home, /var/www and /opt, and systemd has not read this yet: `systemctl daemon-reload` \
             first, or no deployment can write there",
            settings.place("root"),
            settings.root.display()
        ));
    }
    let missed = observed.missed.iter().filter(|_| stage.is_some());
    warnings.extend(missed.map(|Lack { what, remedy }| format!("{what}: {}", remedy.as_deref().unwrap_or_default())));
    let migrated_since = migrated_since(observed, &target.release);
    let live = if request.kind == Kind::Stage {
        None
    } else {
        let mut skipped = BTreeMap::new();
        let mut once = |steps| once(observed, request, &target.release, steps, &mut skipped);
        let staged = match target.staged {
            true => {
                Some(Staged { steps: once(migrating(settings, &target.markers))?, markers: target.markers.clone() })
            }
            false => None,
        };
        let after = match request.kind {
            Kind::Rollback => Vec::new(),
            _ => once(steps(settings, &target.markers, true).0)?,
        };
        Some(GoLive {
            staged,
            moves: moves(settings, observed, &target.release, &mut warnings)?,
            steps: after,
            skipped,
            health: settings.health.clone(),
            successes: settings.successes,
            interval: settings.interval,
            bake: settings.bake,
        })
    };
    Ok(Decision::Go(Box::new(Plan {
        app: settings.app.clone(),
        id: request.id.clone(),
        kind: request.kind,
        reasons,
        warnings,
        from: observed.current.clone(),
        migrated_since,
        release: target.release,
        revision: target.revision,
        stage,
        live,
    })))
}

/// What staging a release has left.
fn migrating(settings: &Settings, markers: &[String]) -> Vec<Step> {
    steps(settings, markers, false).0.into_iter().filter(Step::migrates).collect()
}

/// The migrations that have run since a release was live last: a staged one is made long before its own run. Of one that
/// never was, and of records that do not tell when, those of later releases.
fn migrated_since(observed: &Observed, release: &ReleaseId) -> Vec<String> {
    let Some(release) = record(observed, Some(release)) else { return Vec::new() };
    let since = |run: &&MigrationRun| match release.live_at {
        Some(live_at) if run.at > 0 => run.at > live_at,
        _ => run.seq > release.seq,
    };
    observed.state.migrations.iter().filter(since).map(|run| run.name.clone()).collect()
}
