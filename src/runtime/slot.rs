//! What is true of slots of every kind: which unit, how many, and what a slot was last started as. Pure.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::{horizon, http, octane, queue};
use crate::{
    config::{Program, Settings, SlotKind, in_release},
    model::{AppName, BadName, ReleaseId, Slot, SlotUnit},
};

/// php-fpm's template; a drain knows it by name.
pub const FPM: &str = "app-fpm";

/// The name of a kind's template unit, without `@.service`.
pub fn template(kind: &SlotKind) -> &str {
    match kind {
        SlotKind::PhpFpm(_) => FPM,
        SlotKind::Octane(_) => "app-octane",
        SlotKind::Http(http) => match &http.program {
            Program::Unit(unit) => unit.as_str().trim_end_matches("@.service"),
            Program::Run { .. } => "app-http",
        },
        SlotKind::Horizon(_) => "app-horizon",
        SlotKind::Queue(_) => "app-queue",
    }
}

/// The unit of one slot of an app's service.
pub fn unit(kind: &SlotKind, app: &AppName, slot: Slot) -> Result<SlotUnit, BadName> {
    SlotUnit::new(template(kind), app, slot)
}

/// What nginx's include of a service is called, and its upstream: `octane`, `http`, or the site's own template.
/// None: nginx does not reach it by port.
pub fn upstream(kind: &SlotKind) -> Option<&str> {
    let name = template(kind);
    kind.web().map(|_| name.strip_prefix("app-").unwrap_or(name))
}

/// What a slot was last started as. Kept beside its release's link until its next start: a configuration that has
/// changed meanwhile says nothing of a process that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRecord {
    /// The service, as settings and state name it.
    pub service: String,
    /// The release that it runs.
    pub release: ReleaseId,
    /// Its port on 127.0.0.1, if nginx reaches it by port.
    pub port: Option<u16>,
    /// nginx's include that may point at it.
    pub upstream: Option<String>,
    /// nginx's unit.
    pub web_unit: String,
    /// The longest that its requests or jobs may take to end, in seconds.
    pub drain: u64,
}

/// What a slot is started as.
pub fn record(
    settings: &Settings,
    service: &str,
    kind: &SlotKind,
    slot: Slot,
    release: &ReleaseId,
    drain: Duration,
) -> SlotRecord {
    SlotRecord {
        service: service.into(),
        release: release.clone(),
        port: kind.web().and_then(|web| web.port(slot)),
        upstream: upstream(kind).map(str::to_owned),
        web_unit: settings.web_unit.to_string(),
        drain: drain.as_secs(),
    }
}

/// The environment of a slot's processes: the app's, then what its kind needs. php-fpm has it in its pool instead.
pub fn environment(
    settings: &Settings,
    kind: &SlotKind,
    unit: &SlotUnit,
    release: &Path,
) -> Option<BTreeMap<String, String>> {
    let own = match kind {
        SlotKind::PhpFpm(_) => return None,
        SlotKind::Octane(octane) => octane::environment(octane, unit, release),
        SlotKind::Http(http) => http::environment(http, unit),
        SlotKind::Horizon(_) => horizon::environment(release),
        SlotKind::Queue(_) => queue::environment(release),
    };
    let app = settings.environment.iter().map(|(name, value)| (name.clone(), in_release(value, release)));
    let mut all: BTreeMap<String, String> = app.collect();
    all.extend(own);
    let id = release.file_name().unwrap_or_default().to_string_lossy().into_owned();
    all.insert("DEPLOYD_APP".into(), settings.app.to_string());
    all.insert("DEPLOYD_RELEASE".into(), id);
    all.insert("DEPLOYD_SLOT".into(), unit.slot().to_string());
    Some(all)
}

/// An `EnvironmentFile=`: within double quotes a backslash takes the meaning from these four (systemd.exec(5)). Values
/// have no line breaks, settings see to that.
pub fn environment_text(environment: &BTreeMap<String, String>) -> String {
    let mut out = String::from("# Written by deployd before each start of the slot; changes are lost.\n");
    for (name, value) in environment {
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | '`' | '$') {
                out.push('\\');
            }
            out.push(c);
        }
        out.push_str("\"\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_files_give_back_what_was_meant() {
        let values = [("A", "plain"), ("B", "with \"quotes\" and $x `y` \\z"), ("C", "")];
        let environment = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let text = environment_text(&environment);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["A=\"plain\"", "B=\"with \\\"quotes\\\" and \\$x \\`y\\` \\\\z\"", "C=\"\""]);
    }
}
