//! Records and releases as the bus tells them. Pure; nothing secret is in them.

use std::collections::HashMap;

use zbus::{OwnedVariant, Variant};

use crate::{
    dbus::{AppView, DeploymentView, Dict},
    model::{
        AppName, AppState, DeploymentRecord, Difference, Finding, Hold, Holds, Pruned, ReleaseId, ReleaseRecord,
        ReleaseState, printable,
    },
};

/// An app's state.
pub fn app(state: &AppState, hold: Option<&Hold>) -> AppView {
    let live = current(state);
    AppView {
        current: live.map(|r| r.id.to_string()).unwrap_or_default(),
        live_since: live.and_then(|r| r.live_at).unwrap_or_default(),
        confirmed: live.is_some_and(|r| r.state == ReleaseState::Confirmed),
        running: state.running.as_ref().map(|r| r.id.to_string()).unwrap_or_default(),
        held: hold.map(held).unwrap_or_default(),
        stuck: printable(state.stuck.as_deref().unwrap_or_default()),
        live_slots: state.live.iter().map(|(service, live)| (service.clone(), live.slot.to_string())).collect(),
    }
}

/// The live release: what the live slots run, and without slots the one that became live last.
fn current(state: &AppState) -> Option<&ReleaseRecord> {
    let of = |id: &ReleaseId| state.releases.iter().find(|r| r.id == *id);
    let was_live = |r: &&ReleaseRecord| {
        r.live_at.is_some() && matches!(r.state, ReleaseState::Confirmed | ReleaseState::Unconfirmed)
    };
    match state.live.values().next() {
        Some(slot) => of(&slot.release),
        None => state.releases.iter().filter(was_live).max_by_key(|r| (r.live_at, r.seq)),
    }
}

/// An ended deployment.
pub fn ended(app: &AppName, record: &DeploymentRecord) -> DeploymentView {
    let text = |id: &Option<ReleaseId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    DeploymentView {
        phase: "done".into(),
        status: printable(&record.message),
        fraction: 1.0,
        outcome: record.outcome.to_string(),
        message: printable(&record.message),
        release: text(&record.to),
        previous: text(&record.from),
        live_ms: record.live_ms.unwrap_or_default(),
        wall_ms: record.wall_ms,
        ..DeploymentView::new(app.clone(), record.id.clone(), record.kind.as_str(), &printable(&record.actor))
    }
}

/// One row of `ListDeployments`.
pub fn deployment(record: &DeploymentRecord) -> Dict {
    let mut row = Row::default();
    row.text("id", record.id.as_str());
    row.text("kind", record.kind.as_str());
    row.text("actor", &record.actor);
    row.text("outcome", record.outcome.as_str());
    row.text("message", &record.message);
    row.text("from", record.from.as_ref().map(ReleaseId::as_str).unwrap_or_default());
    row.text("to", record.to.as_ref().map(ReleaseId::as_str).unwrap_or_default());
    row.text("revision", record.revision.as_deref().unwrap_or_default());
    row.value("reasons", record.reasons.iter().map(|r| printable(r)).collect::<Vec<_>>().into());
    row.value("started_at", record.started_at.into());
    row.value("live_ms", record.live_ms.unwrap_or_default().into());
    row.value("wall_ms", record.wall_ms.into());
    row.0
}

/// The rows of `ListReleases`, newest first.
pub fn releases(state: &AppState, holds: &Holds) -> Vec<Dict> {
    let live = current(state).map(|r| &r.id);
    state.releases.iter().rev().map(|r| release(r, live == Some(&r.id), holds.releases.get(&r.id))).collect()
}

/// A hold, for people: `by user:anna since 2026-01-31 12:00:00 UTC: the sale is on`.
fn held(hold: &Hold) -> String {
    let since = jiff::Timestamp::from_second(hold.since).unwrap_or_default();
    let why = if hold.reason.is_empty() { String::new() } else { format!(": {}", hold.reason) };
    printable(&format!("by {} since {}{why}", hold.actor, since.strftime("%Y-%m-%d %H:%M:%S UTC")))
}

fn release(record: &ReleaseRecord, live: bool, hold: Option<&Hold>) -> Dict {
    let mut row = Row::default();
    row.text("id", record.id.as_str());
    row.value("seq", record.seq.into());
    row.text("state", &record.state.to_string());
    row.value("live", live.into());
    row.text("held", &hold.map(held).unwrap_or_default());
    row.text("revision", &record.revision);
    row.text("reference", &record.reference);
    row.text("deployment", record.deployment.as_str());
    row.value("files", record.files.into());
    row.value("bytes", record.bytes.into());
    row.value("sealed_at", record.sealed_at.into());
    row.value("live_at", record.live_at.unwrap_or_default().into());
    row.0
}

/// One row of `Prune`.
pub fn pruned(one: &Pruned) -> Dict {
    let mut row = Row::default();
    row.text("release", one.release.as_str());
    row.value("pruned", one.pruned.into());
    row.text("why", &one.why);
    row.value("bytes", one.bytes.into());
    row.0
}

/// The answer of `Diff`.
pub fn difference(found: &Difference) -> Dict {
    let mut row = Row::default();
    row.text("from", found.from.as_str());
    row.text("to", found.to.as_str());
    row.text("from_revision", &found.from_revision);
    row.text("to_revision", &found.to_revision);
    row.value("git", found.commits.into());
    row.value("added", found.added.into());
    row.value("removed", found.removed.into());
    row.value("changed", found.changed.into());
    let all = found.added.saturating_add(found.removed).saturating_add(found.changed);
    row.value("more_names", (all > found.names.len() as u64).into());
    let names: Vec<_> = found.names.iter().map(|(how, name)| printable(&format!("{how} {name}"))).collect();
    row.value("names", names.into());
    let commits: Vec<_> = found.log.iter().map(|(id, subject)| printable(&format!("{id} {subject}"))).collect();
    row.value("commits", commits.into());
    row.value("more_commits", found.more.into());
    row.0
}

/// One row of `Check`.
pub fn finding(finding: &Finding) -> Dict {
    let mut row = Row::default();
    row.text("id", &finding.id);
    row.text("severity", finding.severity.as_str());
    row.text("group", &finding.group);
    row.text("thing", &finding.thing);
    row.text("place", &finding.place);
    row.text("happens", &finding.happens);
    row.text("remedy", &finding.remedy);
    row.0
}

/// A row that is being made.
#[derive(Default)]
struct Row(HashMap<String, OwnedVariant>);

impl Row {
    fn text(&mut self, key: &str, text: &str) {
        self.value(key, printable(text).into());
    }
    fn value(&mut self, key: &str, value: Variant<'static>) {
        // Only a file descriptor could fail to be owned, and none is here.
        if let Ok(value) = OwnedVariant::try_from(value) {
            self.0.insert(key.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release_of(seq: u64, state: ReleaseState, live_at: Option<i64>) -> ReleaseRecord {
        ReleaseRecord {
            id: ReleaseId::new("20260131T120000Z", &format!("r{seq}"), 1).unwrap(),
            seq,
            revision: "abc".into(),
            reference: "main\u{1b}[2J".into(),
            state,
            manifest: String::new(),
            files: 1,
            bytes: 2,
            made_from: Default::default(),
            markers: Vec::new(),
            deployment: crate::model::DeploymentId::from_bits(seq),
            sealed_at: 10,
            live_at,
            replaced: None,
        }
    }

    #[test]
    fn without_slots_the_last_one_made_live_is_current_unless_it_failed() {
        let state = AppState {
            releases: vec![
                release_of(1, ReleaseState::Confirmed, Some(10)),
                release_of(2, ReleaseState::Failed, Some(20)),
                release_of(3, ReleaseState::Sealed, None),
            ],
            ..AppState::default()
        };
        let hold = Hold { actor: "user:anna".into(), since: 1_767_225_600, reason: "no\u{1b}".into() };
        let view = app(&state, Some(&hold));
        assert_eq!(view.held, "by user:anna since 2026-01-01 00:00:00 UTC: no\\u{1b}");
        assert_eq!((view.current.as_str(), view.confirmed), ("20260131T120000Z-r1", true));
        let rows = releases(&state, &Holds::default());
        assert_eq!(rows.len(), 3);
        let text = |row: &Dict, key: &str| String::try_from(row[key].try_clone().unwrap()).unwrap();
        assert_eq!(text(&rows[0], "id"), "20260131T120000Z-r3");
        assert_eq!(text(&rows[0], "reference"), "main\\u{1b}[2J");
        let live = |row: &Dict| bool::try_from(row["live"].try_clone().unwrap()).unwrap();
        assert_eq!(rows.iter().map(live).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_change_what_was_live_last() {
        let mut state = AppState::default();
        state.releases = vec![
            release_of(1, ReleaseState::Confirmed, Some(state.moment(4_000_000_000))),
            release_of(2, ReleaseState::Confirmed, None),
        ];
        // The clock is back in order, and both are made live within its one second.
        for seq in [2, 1] {
            let at = state.moment(1_700_000_000);
            state.releases[seq as usize - 1].live_at = Some(at);
            assert_eq!(app(&state, None).current, format!("20260131T120000Z-r{seq}"));
        }
    }
}
