//! The drop-ins that the generator made: PID 1 is asked to make them again only when their content would differ.

use super::error::EngineError;
use crate::{
    config::Settings,
    observe::Host,
    runtime::dropins::{self, GENERATED},
};

/// Brings the units of an app up to its configuration.
pub async fn refresh(host: &Host, settings: &Settings) -> Result<(), EngineError> {
    if stale(host, settings).is_none() {
        return Ok(());
    }
    host.units.daemon_reload().await?;
    match stale(host, settings) {
        None => Ok(()),
        Some(file) => Err(EngineError::Other(format!(
            "systemd's generator did not write {GENERATED}/{file}: see `journalctl -b -t deployd-generator`"
        ))),
    }
}

/// The first drop-in that is not as the settings want it.
fn stale(host: &Host, settings: &Settings) -> Option<String> {
    let dir = host.paths.host(std::path::Path::new(GENERATED));
    dropins::dropins(settings, &host.paths)
        .into_iter()
        .find(|(file, content)| std::fs::read_to_string(dir.join(file)).ok().as_deref() != Some(content.as_str()))
        .map(|(file, _)| file.display().to_string())
}
