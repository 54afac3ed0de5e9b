//! The instances of a site's own template: which there are, whether they run, and the release that each runs.

use std::path::Path;

use super::{Host, InstanceObserved};
use crate::{
    config::Rolling,
    model::{BadName, ReleaseId, UnitName},
    system::{
        process::{self, Seen},
        units::UnitError,
    },
};

/// `web@2.service` of `web@.service`.
pub fn instance_unit(template: &UnitName, instance: &str) -> Result<UnitName, BadName> {
    template.as_str().replacen("@.", &format!("@{instance}."), 1).parse()
}

/// The instances that are named, or, where none is, those that PID 1 knows and that run.
pub async fn instances(
    host: &Host,
    root: &Path,
    template: &UnitName,
    rolling: &Rolling,
) -> Result<Vec<(String, InstanceObserved)>, UnitError> {
    let names = if rolling.instances.is_empty() { running(host, template).await? } else { rolling.instances.clone() };
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let unit = instance_unit(template, &name)
            .map_err(|error| UnitError::Call { what: "name a unit".into(), detail: error.to_string() })?;
        let status = host.units.status(&unit).await?;
        let release = if status.main_pid == 0 { None } else { release_of(status.main_pid, root) };
        found.push((name, InstanceObserved { load: status.load, active: status.active, release }));
    }
    Ok(found)
}

async fn running(host: &Host, template: &UnitName) -> Result<Vec<String>, UnitError> {
    let (prefix, suffix) = template.as_str().split_once("@.").unwrap_or((template.as_str(), "service"));
    let states = host.units.active_states(&format!("{prefix}@*.{suffix}")).await?;
    let name = |unit: &str| {
        Some(unit.strip_prefix(prefix)?.strip_prefix('@')?.strip_suffix(suffix)?.strip_suffix('.')?.to_owned())
    };
    let runs = |active: &str| !matches!(active, "inactive" | "failed");
    Ok(states.iter().filter(|(_, active)| runs(active)).filter_map(|(unit, _)| name(unit)).collect())
}

/// The release of the app at `root` that a process works in. None: elsewhere, or it cannot be seen.
pub fn release_of(pid: u32, root: &Path) -> Option<ReleaseId> {
    let Seen::Known(cwd) = process::cwd(pid) else { return None };
    let below = cwd.strip_prefix(root.join("releases")).ok()?.to_str()?;
    below.split('/').next()?.parse().ok()
}
