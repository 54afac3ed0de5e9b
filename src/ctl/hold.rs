//! `deployctl hold` and `unhold`: of an app or of a release.

use std::collections::HashMap;

use serde_json::json;
use zbus::Variant;

use super::{args::Hold, bus::Bus, error::CtlError, out::Out};
use crate::model::{HoldChange, printable};

/// Holds it, or lets it go.
pub async fn run(bus: &Bus, wanted: &Hold, out: &Out) -> Result<u8, CtlError> {
    let Hold { app, release, reason } = wanted;
    let mut options = HashMap::new();
    if let Some(release) = release {
        options.insert("release", Variant::from(release.as_str()));
    }
    let change = match reason {
        Some(reason) => {
            options.insert("reason", Variant::from(reason.as_str()));
            bus.manager.hold(app.as_str(), &options).await?
        }
        None => bus.manager.unhold(app.as_str(), &options).await?,
    };
    let change = printable(&change);
    if out.is_json() {
        let changed = change != HoldChange::Unchanged.as_str();
        let release = release.as_ref().map(|id| id.as_str()).unwrap_or_default();
        out.json(&json!({"app": app.as_str(), "release": release, "change": change, "changed": changed}))?;
        return Ok(0);
    }
    let what = release.as_ref().map_or_else(|| app.to_string(), |id| format!("{app}: {id}"));
    let held = reason.is_some();
    out.line(&match (held, change == HoldChange::Unchanged.as_str()) {
        (true, false) => format!("{what} is held"),
        (true, true) => format!("{what} is held already"),
        (false, false) => format!("{what} is not held any more"),
        (false, true) => format!("{what} was not held"),
    })?;
    if held && release.is_none() {
        out.note(&format!("(a deployment that runs goes on; `deployctl unhold {app}` ends it)"));
    }
    Ok(0)
}
