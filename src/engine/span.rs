//! Spans: what is told within one carries the app, the deployment and its release as fields of the journal.
//!
//! Each is whole and has no parent: a field that two spans have would reach the journal twice. Catalogued events bring
//! their own fields.

use tracing::{Span, error_span, field};

use crate::{
    model::{AppName, DeploymentId, ReleaseId},
    system::journal::FIELDS,
};

/// Of what is done for an app, and belongs to no deployment.
pub fn of_app(app: &AppName) -> Span {
    error_span!(target: FIELDS, parent: None, "app", DEPLOYD_APP = %app)
}

/// Of a request of which nothing but its name is known yet.
pub fn of_request(app: &AppName, id: &DeploymentId) -> Span {
    error_span!(target: FIELDS, parent: None, "request", DEPLOYD_APP = %app, DEPLOYD_DEPLOYMENT = %id)
}

/// Of one deployment; [`release_known`] adds its release.
pub fn of_deployment(app: &AppName, id: &DeploymentId, actor: &str) -> Span {
    error_span!(
        target: FIELDS,
        parent: None,
        "deployment",
        DEPLOYD_APP = %app,
        DEPLOYD_DEPLOYMENT = %id,
        DEPLOYD_ACTOR = actor,
        DEPLOYD_RELEASE = field::Empty
    )
}

/// Of what follows a deployment, or takes it back: its release is watched, and confirmed or not.
pub fn of_release(app: &AppName, id: &DeploymentId, release: &ReleaseId) -> Span {
    error_span!(
        target: FIELDS,
        parent: None,
        "release",
        DEPLOYD_APP = %app,
        DEPLOYD_DEPLOYMENT = %id,
        DEPLOYD_RELEASE = %release
    )
}

/// From now on the lines of this deployment carry its release. Once: a second one would stand beside the first.
pub fn release_known(release: &ReleaseId) {
    Span::current().record("DEPLOYD_RELEASE", field::display(release));
}

#[cfg(test)]
mod tests {
    use std::{
        fmt::Debug,
        sync::{Arc, Mutex},
    };

    use tracing::{
        Instrument, Subscriber,
        field::{Field, Visit},
        span::{Attributes, Id, Record},
    };
    use tracing_subscriber::{Layer, layer::Context, layer::SubscriberExt, registry::LookupSpan};

    use super::*;

    /// The fields of each line, as the journal's layer gathers them: of all spans that it is in.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<Vec<String>>>>);

    #[derive(Clone, Default)]
    struct Fields(Vec<String>);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.push(format!("{}={value:?}", field.name()));
        }
    }

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
        fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            context.span(id).unwrap().extensions_mut().insert(fields);
        }
        fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
            values.record(context.span(id).unwrap().extensions_mut().get_mut::<Fields>().unwrap());
        }
        fn on_event(&self, _event: &tracing::Event<'_>, context: Context<'_, S>) {
            let spans = context.lookup_current().into_iter().flat_map(|span| span.scope());
            let of = |span: tracing_subscriber::registry::SpanRef<'_, S>| {
                span.extensions().get::<Fields>().cloned().unwrap_or_default().0
            };
            self.0.lock().unwrap().push(spans.flat_map(of).collect());
        }
    }

    #[tokio::test]
    async fn a_line_has_each_field_once_however_deep_it_is_told() {
        let lines = Lines::default();
        let _set = tracing::subscriber::set_default(tracing_subscriber::registry().with(lines.clone()));
        let (app, id): (AppName, _) = ("shop".parse().unwrap(), DeploymentId::from_bits(1));
        let release: ReleaseId = "20260101T000000Z-r1".parse().unwrap();
        // As settling rolls back: its own lines, then a deployment's in the midst of it.
        let inner = async {
            tracing::info!("begins");
            release_known(&release);
            tokio::task::yield_now().await;
            tracing::info!("goes on");
        };
        let settling = async {
            tracing::info!("watches");
            inner.instrument(of_deployment(&app, &id, "settle")).await;
        };
        settling.instrument(of_release(&app, &id, &release)).instrument(of_request(&app, &id)).await;
        let (named, of_app) = (format!("DEPLOYD_DEPLOYMENT={id}"), "DEPLOYD_APP=shop".to_owned());
        let deployed = vec![of_app.clone(), named.clone(), "DEPLOYD_ACTOR=\"settle\"".to_owned()];
        let released = format!("DEPLOYD_RELEASE={release}");
        assert_eq!(
            *lines.0.lock().unwrap(),
            [vec![of_app, named, released.clone()], deployed.clone(), [deployed, vec![released]].concat(),]
        );
    }
}
