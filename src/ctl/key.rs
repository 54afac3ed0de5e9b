//! An app's deploy key: the public half as data, what was done about it beside.

use std::collections::HashMap;

use zbus::Variant;

use super::{bus::Bus, error::CtlError, out::Out};
use crate::model::{AppName, KeyChange, printable};

/// Prints the public half.
pub async fn run(bus: &Bus, app: &AppName, rotate: bool, out: &Out) -> Result<u8, CtlError> {
    let mut options = HashMap::new();
    if rotate {
        options.insert("rotate", Variant::from(true));
    }
    let (public, change) = bus.manager.make_key(app.as_str(), &options).await?;
    let (public, change) = (printable(&public), printable(&change));
    if out.is_json() {
        out.json(&serde_json::json!({"app": app.as_str(), "public": public, "change": change}))?;
        return Ok(0);
    }
    out.line(&public)?;
    if change != KeyChange::Kept.as_str() {
        out.note(&format!(
            "{app}: a deploy key was {change}; register this half with the repository, for reading only"
        ));
    }
    Ok(0)
}
