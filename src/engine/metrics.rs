//! What a monitoring reads: two Prometheus text files of each app, rewritten by rename when a deployment has ended and
//! when a release is confirmed. Nothing reads them back.

use std::fmt::Write;

use super::{error::EngineError, store::Store};
use crate::{
    config::Settings,
    model::{AppName, AppState, DeploymentRecord, Outcome, Paths, ReleaseId, ReleaseState},
    observe::{Host, read_current},
    system::tree::Dir,
};

/// Tells how a deployment ended, and what is live then.
pub fn ended(host: &Host, settings: &Settings, store: &Store, record: &DeploymentRecord) {
    written(&host.paths, &format!("{}-deployment.prom", settings.app), &deployment_text(&settings.app, record));
    if let Ok(state) = store.load() {
        live(host, settings, &state);
    }
}

/// Tells what is live.
pub fn live(host: &Host, settings: &Settings, state: &AppState) {
    let current = Dir::open(&settings.root).ok().and_then(|root| read_current(&root).ok().flatten());
    let text = release_text(&settings.app, state, current.as_ref());
    written(&host.paths, &format!("{}-release.prom", settings.app), &text);
}

/// Nothing depends on them: what cannot be written is said.
fn written(paths: &Paths, name: &str, text: &str) {
    let write = || {
        let dir = Dir::open_or_make(&paths.metrics_dir(), 0o755)?;
        Ok::<_, EngineError>(dir.write_volatile(name, text.as_bytes(), 0o644)?)
    };
    if let Err(error) = write() {
        tracing::warn!("the metrics {name} are not written: {error}, ignoring");
    }
}

/// One metric: its help, its kind, its lines of labels and values.
fn metric(out: &mut String, name: &str, help: &str, lines: &[(String, String)]) {
    let _ = writeln!(out, "# HELP deployd_{name} {help}\n# TYPE deployd_{name} gauge");
    for (labels, value) in lines {
        let _ = writeln!(out, "deployd_{name}{{{labels}}} {value}");
    }
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a deployment are few")]
fn deployment_text(app: &AppName, record: &DeploymentRecord) -> String {
    let of_app = || format!("app=\"{app}\"");
    let seconds = |ms: u64| (ms as f64 / 1000.0).to_string();
    let ended = record.started_at + i64::try_from(record.wall_ms / 1000).unwrap_or_default();
    let outcomes = Outcome::ALL.map(|outcome| {
        let labels = format!("app=\"{app}\",kind=\"{}\",outcome=\"{outcome}\"", record.kind);
        (labels, u8::from(outcome == record.outcome).to_string())
    });
    let mut out = String::new();
    metric(&mut out, "last_deployment_outcome", "How the last deployment ended: 1 at its outcome.", &outcomes);
    let help = "When the last deployment ended, in seconds since the epoch.";
    metric(&mut out, "last_deployment_end_timestamp_seconds", help, &[(of_app(), ended.to_string())]);
    let help = "How long the last deployment took.";
    metric(&mut out, "last_deployment_duration_seconds", help, &[(of_app(), seconds(record.wall_ms))]);
    if let Some(live) = record.live_ms {
        let help = "How long the last deployment took until its release was live.";
        metric(&mut out, "last_deployment_live_seconds", help, &[(of_app(), seconds(live))]);
    }
    out
}

fn release_text(app: &AppName, state: &AppState, current: Option<&ReleaseId>) -> String {
    let mut out = String::new();
    let live = current.and_then(|current| state.releases.iter().find(|release| release.id == *current));
    if let Some(live) = live {
        let labels = format!("app=\"{app}\",release=\"{}\"", live.id);
        let since = live.live_at.unwrap_or_default().to_string();
        let help = "Since when the live release has been live, in seconds since the epoch.";
        metric(&mut out, "release_live_timestamp_seconds", help, &[(labels.clone(), since)]);
        let proved = u8::from(live.state == ReleaseState::Confirmed).to_string();
        metric(&mut out, "release_confirmed", "Whether the live release is confirmed.", &[(labels, proved)]);
    }
    let stuck = u8::from(state.stuck.is_some()).to_string();
    let help = "Whether the app waits for a person, and refuses deployments.";
    metric(&mut out, "stuck", help, &[(format!("app=\"{app}\""), stuck)]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeploymentId, Kind};

    #[test]
    fn the_last_outcome_and_the_live_release_are_told_in_the_text_format() {
        let app: AppName = "shop".parse().unwrap();
        let record = DeploymentRecord {
            id: DeploymentId::from_bits(1),
            kind: Kind::Deploy,
            actor: "systemd".into(),
            outcome: Outcome::RolledBack,
            message: "a \"quoted\"\nline".into(),
            from: None,
            to: None,
            revision: None,
            reasons: Vec::new(),
            started_at: 1000,
            live_ms: Some(1500),
            wall_ms: 2250,
            timings: Vec::new(),
        };
        let text = deployment_text(&app, &record);
        for line in [
            "# TYPE deployd_last_deployment_outcome gauge",
            "deployd_last_deployment_outcome{app=\"shop\",kind=\"deploy\",outcome=\"rolled-back\"} 1",
            "deployd_last_deployment_outcome{app=\"shop\",kind=\"deploy\",outcome=\"succeeded\"} 0",
            "deployd_last_deployment_end_timestamp_seconds{app=\"shop\"} 1002",
            "deployd_last_deployment_duration_seconds{app=\"shop\"} 2.25",
            "deployd_last_deployment_live_seconds{app=\"shop\"} 1.5",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
        assert!(!text.contains("quoted"), "a sentence is no label");
        let nothing = release_text(&app, &AppState::default(), None);
        assert!(nothing.ends_with("deployd_stuck{app=\"shop\"} 0\n") && !nothing.contains("confirmed"), "{nothing}");
    }
}
