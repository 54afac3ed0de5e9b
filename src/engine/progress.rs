//! What a running deployment tells: the unit's status line, the journal, the progress file, and its timings.
//! Nothing reads these back to decide.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::span;
use crate::{
    model::{AppName, DeploymentId, DeploymentRecord, Kind, Paths, Phase, ReleaseId, events, printable},
    system::{
        journal::{self, Priority},
        notify,
        tree::Dir,
    },
};

/// What `/run/deployd/NAME/progress.json` holds.
#[derive(Debug, Clone, Serialize)]
struct Shown {
    deployment: DeploymentId,
    kind: Kind,
    phase: Phase,
    step: Option<String>,
    fraction: Option<f64>,
    status: String,
}

/// Tells how a deployment goes on.
#[derive(Debug)]
pub struct Progress {
    app: AppName,
    id: DeploymentId,
    kind: Kind,
    actor: String,
    dir: Option<Dir>,
    started: Instant,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    release: Option<ReleaseId>,
    open: Option<(String, Instant)>,
    timings: Vec<(String, u64)>,
    live: Option<Duration>,
    owns: bool,
    /// What an earlier one took for each part, in milliseconds.
    earlier: Vec<(String, u64)>,
    fraction: Option<f64>,
}

impl Progress {
    /// For one deployment. Without its directory (which `open` makes) the progress file is left out.
    pub fn open(paths: &Paths, app: &AppName, id: &DeploymentId, kind: Kind, actor: String) -> Self {
        let dir = Dir::open_or_make(&paths.app_run_dir(app), 0o755)
            .inspect_err(|error| tracing::warn!("progress is not shown: {error}, ignoring"))
            .ok();
        let started = Instant::now();
        Self { app: app.clone(), id: id.clone(), kind, actor, dir, started, inner: RefCell::default() }
    }

    /// From now on events carry this release.
    pub fn about(&self, release: &ReleaseId) {
        if self.inner.borrow_mut().release.replace(release.clone()).is_none() {
            span::release_known(release);
        }
    }

    /// How far it is can be told from now on, by what an earlier one like it took for each part.
    pub fn expect(&self, timings: Vec<(String, u64)>) {
        self.inner.borrow_mut().earlier = timings;
    }

    /// A phase is entered.
    pub fn phase(&self, phase: Phase, status: &str) {
        self.enter(phase, None, status);
    }

    /// A step, or a part of a phase, is entered.
    pub fn step(&self, phase: Phase, step: &str, status: &str) {
        self.enter(phase, Some(step), status);
    }

    fn enter(&self, phase: Phase, step: Option<&str>, status: &str) {
        let name = step.map_or_else(|| phase.to_string(), |step| format!("{phase}/{step}"));
        self.close();
        {
            let mut inner = self.inner.borrow_mut();
            let now = far(&inner.earlier, &name);
            // Parts that run side by side may come in another order: it never goes back.
            inner.fraction = match (inner.fraction, now) {
                (Some(before), Some(now)) => Some(before.max(now)),
                (before, now) => now.or(before),
            };
            inner.open = Some((name, Instant::now()));
        }
        self.say(phase, step, status);
        let mut fields = vec![("DEPLOYD_PHASE", phase.as_str())];
        fields.extend(step.map(|step| ("DEPLOYD_STEP", step)));
        self.event(events::PHASE, Priority::Info, status, &fields);
    }

    /// The app's lock is held from now on: the progress file is this deployment's.
    pub fn own(&self) {
        self.inner.borrow_mut().owns = true;
    }

    /// Something that is waited for.
    pub fn waiting(&self, phase: Phase, status: &str) {
        self.say(phase, None, status);
        self.event(events::PHASE, Priority::Info, status, &[("DEPLOYD_PHASE", phase.as_str())]);
    }

    fn say(&self, phase: Phase, step: Option<&str>, status: &str) {
        let status = printable(status);
        notify::status(&status);
        let Some(dir) = self.dir.as_ref().filter(|_| self.inner.borrow().owns) else { return };
        let shown = Shown {
            deployment: self.id.clone(),
            kind: self.kind,
            phase,
            step: step.map(str::to_owned),
            fraction: self.inner.borrow().fraction,
            status,
        };
        let written = serde_json::to_vec(&shown)
            .map_err(|e| e.to_string())
            .and_then(|json| dir.write_volatile("progress.json", &json, 0o644).map_err(|e| e.to_string()));
        if let Err(error) = written {
            tracing::debug!("the progress file could not be written: {error}, ignoring");
        }
    }

    fn close(&self) {
        let mut inner = self.inner.borrow_mut();
        if let Some((name, since)) = inner.open.take() {
            inner.timings.push((name, millis(since.elapsed())));
        }
    }

    /// The new release is proved live, now.
    pub fn live(&self) {
        self.inner.borrow_mut().live = Some(self.started.elapsed());
    }

    /// Milliseconds from the start to [`Progress::live`], if it came to that.
    pub fn live_ms(&self) -> Option<u64> {
        self.inner.borrow().live.map(millis)
    }

    /// Milliseconds from the start.
    pub fn wall_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }

    /// Each part with its milliseconds, in order.
    pub fn timings(&self) -> Vec<(String, u64)> {
        self.close();
        self.inner.borrow().timings.clone()
    }

    /// The progress file goes: the deployment has ended and its record is there.
    pub fn done(&self, status: &str) {
        notify::status(&printable(status));
        if let Some(dir) = self.dir.as_ref().filter(|_| self.inner.borrow().owns)
            && let Err(error) = dir.unlink("progress.json")
        {
            tracing::debug!(%error, "no progress file to remove, ignoring");
        }
    }

    /// Leaves a record that could not be kept to whoever asked for the deployment.
    pub fn unrecorded(&self, record: &DeploymentRecord) {
        let Some(dir) = &self.dir else { return };
        let written = serde_json::to_vec(record)
            .map_err(|e| e.to_string())
            .and_then(|json| dir.write_volatile("unrecorded.json", &json, 0o644).map_err(|e| e.to_string()));
        if let Err(error) = written {
            tracing::warn!("what became of deployment {} is told in the journal only: {error}", self.id);
        }
    }

    /// One catalogued event, with this deployment's fields.
    pub fn event(&self, id: events::EventId, priority: Priority, message: &str, more: &[(&str, &str)]) {
        let release = self.inner.borrow().release.as_ref().map(ToString::to_string);
        let mut fields = vec![
            ("DEPLOYD_APP", self.app.as_str()),
            ("DEPLOYD_DEPLOYMENT", self.id.as_str()),
            ("DEPLOYD_ACTOR", self.actor.as_str()),
        ];
        fields.extend(release.as_deref().map(|release| ("DEPLOYD_RELEASE", release)));
        fields.extend_from_slice(more);
        journal::event(id, priority, &printable(message), &fields);
    }
}

/// What share of an earlier deployment's time had passed when it entered a part; none: it had no such part.
fn far(earlier: &[(String, u64)], name: &str) -> Option<f64> {
    let at = earlier.iter().position(|(part, _)| part == name)?;
    let sum = |parts: &[(String, u64)]| parts.iter().map(|(_, took)| *took).fold(0, u64::saturating_add);
    let (before, all) = (sum(earlier.get(..at)?), sum(earlier));
    // Milliseconds of hours are exact in it.
    (all > 0).then(|| before as f64 / all as f64)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_is_what_an_earlier_one_had_spent_by_then() {
        let earlier = [("planning", 10), ("staging/npm-ci", 60), ("sealing", 30)].map(|(n, ms)| (n.to_owned(), ms));
        assert_eq!(far(&earlier, "planning"), Some(0.0));
        assert_eq!(far(&earlier, "sealing"), Some(0.7));
        assert_eq!((far(&earlier, "starting"), far(&[], "planning")), (None, None));
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        std::fs::create_dir_all(paths.run_dir()).unwrap();
        let id = DeploymentId::from_bits(1);
        let progress = Progress::open(&paths, &"shop".parse().unwrap(), &id, Kind::Deploy, "systemd".into());
        progress.own();
        let shown = || {
            let text = std::fs::read(paths.progress_file(&"shop".parse().unwrap())).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()["fraction"].as_f64()
        };
        progress.phase(Phase::Planning, "x");
        assert_eq!(shown(), None, "nothing is known of it");
        progress.expect(earlier.into());
        progress.phase(Phase::Sealing, "x");
        assert_eq!(shown(), Some(0.7));
        progress.step(Phase::Staging, "npm-ci", "x");
        progress.phase(Phase::Verifying, "x");
        assert_eq!(shown(), Some(0.7), "it never goes back");
    }
}
