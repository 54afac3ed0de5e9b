//! Spans: what is told within one carries the app, the deployment and its release as fields of the journal.
//!
//! Each is whole and has no parent: a field that two spans have would reach the journal twice. Catalogued events bring
//! their own fields.

use tracing::{Span, error_span, field};

use crate::model::{AppName, DeploymentId, ReleaseId};

/// Of what is done for an app, and belongs to no deployment.
pub fn of_app(app: &AppName) -> Span {
    error_span!(parent: None, "app", DEPLOYD_APP = %app)
}

/// Of one deployment; [`release_known`] adds its release.
pub fn of_deployment(app: &AppName, id: &DeploymentId, actor: &str) -> Span {
    error_span!(
        parent: None,
        "deployment",
        DEPLOYD_APP = %app,
        DEPLOYD_DEPLOYMENT = %id,
        DEPLOYD_ACTOR = actor,
        DEPLOYD_RELEASE = field::Empty
    )
}

/// Of what follows a deployment: its release is watched, and confirmed or not.
pub fn of_settling(app: &AppName, id: &DeploymentId, release: &ReleaseId) -> Span {
    error_span!(
        parent: None,
        "settling",
        DEPLOYD_APP = %app,
        DEPLOYD_DEPLOYMENT = %id,
        DEPLOYD_RELEASE = %release
    )
}

/// From now on the lines of this deployment carry its release. Once: a second one would stand beside the first.
pub fn release_known(release: &ReleaseId) {
    Span::current().record("DEPLOYD_RELEASE", field::display(release));
}
