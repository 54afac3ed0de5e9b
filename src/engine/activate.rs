//! Activate: point `current` at a release by one rename. The only commit point.

use super::{error::EngineError, layout::Layout};
use crate::{
    model::{DeploymentId, ReleaseId},
    observe::read_current,
};

/// Points `current` at a release; durable when it returns.
pub fn activate(layout: &Layout, release: &ReleaseId, deployment: &DeploymentId) -> Result<(), EngineError> {
    layout.root.swap_link("current", &format!("releases/{release}"), deployment.as_str())?;
    layout.root.sync()?;
    Ok(())
}

/// Points `current` back at what it named before; without such a release it goes.
pub fn restore(layout: &Layout, from: Option<&ReleaseId>, deployment: &DeploymentId) -> Result<(), EngineError> {
    match from {
        Some(release) => activate(layout, release, deployment),
        None => {
            if read_current(&layout.root)?.is_some() {
                layout.root.unlink("current")?;
                layout.root.sync()?;
            }
            Ok(())
        }
    }
}
