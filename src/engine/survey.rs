//! The survey: which shared files differ from what the live release was made from. Changes nothing, and opens none of
//! them itself.

use super::{error::EngineError, store::Store};
use crate::{
    model::{AppName, DeploymentId, Survey},
    observe::{Host, ObserveError, look_at_shared, read_current},
    plan::changed_shared,
    system::tree::Dir,
};

/// Looks at the shared files, and leaves what it found where `deployd` reads it.
pub async fn survey(host: &Host, app: &AppName, id: &DeploymentId) -> Result<(), EngineError> {
    let changed = changed(host, app, id).await?;
    let found = Survey { id: id.clone(), changed };
    let file = host.paths.survey_file(app);
    let json = serde_json::to_vec(&found)
        .map_err(|e| EngineError::Record { place: file.display().to_string(), wrong: e.to_string() })?;
    let group = crate::observe::find_user("deployd").map_or(0, |(_, gid)| gid);
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?.write_for(group, name, &json, 0o640)?)
}

/// The files that changed; none without a live release of deployd's making.
async fn changed(host: &Host, app: &AppName, id: &DeploymentId) -> Result<Vec<String>, EngineError> {
    let settings = host.settings(app).map_err(|error| EngineError::Other(error.summary))?;
    let state = Store::look(&host.paths, app)?;
    let current = read_current(&Dir::open(&settings.root).map_err(ObserveError::from)?)?;
    let Some(live) = state.releases.iter().find(|release| Some(&release.id) == current.as_ref()) else {
        return Ok(Vec::new());
    };
    let found = look_at_shared(host, &settings, id).await?;
    Ok(changed_shared(&settings, &found, &live.made_from))
}
