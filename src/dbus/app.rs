//! The object of an app: its state as properties, read when asked, and `Survey`. Nothing secret: everyone
//! may read it.

use std::{collections::BTreeMap, sync::Arc};

use zbus::{Connection, fdo, interface, message::Header};

use super::{AppView, Backend, Caller, Error, app_path};
use crate::model::AppName;

/// `org.deployd1.App`.
pub struct App {
    backend: Arc<dyn Backend>,
    name: AppName,
}

impl App {
    /// The object of one app.
    pub fn new(backend: Arc<dyn Backend>, name: AppName) -> Self {
        Self { backend, name }
    }

    /// Emits `PropertiesChanged` for what a deployment may have changed.
    pub async fn announce(connection: &Connection, name: &AppName) -> zbus::Result<()> {
        let path = app_path(name).map_err(|e| zbus::Error::Failure(e.to_string()))?;
        let object = connection.object_server().interface::<_, App>(path).await?;
        let (app, emitter) = (object.get().await, object.signal_emitter());
        app.current_changed(emitter).await?;
        app.live_since_changed(emitter).await?;
        app.running_changed(emitter).await?;
        app.stuck_changed(emitter).await?;
        app.live_slots_changed(emitter).await
    }

    fn view(&self) -> fdo::Result<AppView> {
        self.backend.app(&self.name).map_err(|e| fdo::Error::Failed(e.to_string()))
    }
}

#[interface(name = "org.deployd1.App", introspection_docs = false)]
impl App {
    #[zbus(out_args("changed"))]
    async fn survey(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<String>, Error> {
        let caller = Caller::of(connection, &header).await?;
        let ticket = self.backend.waiting().take(caller.uid)?;
        Arc::clone(&self.backend).survey(self.name.clone(), ticket).await
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.name.to_string()
    }
    #[zbus(property(emits_changed_signal = "false"))]
    fn root(&self) -> String {
        self.backend.root(&self.name).unwrap_or_default()
    }
    #[zbus(property)]
    fn current(&self) -> fdo::Result<String> {
        Ok(self.view()?.current)
    }
    #[zbus(property)]
    fn live_since(&self) -> fdo::Result<i64> {
        Ok(self.view()?.live_since)
    }
    #[zbus(property(emits_changed_signal = "false"))]
    fn confirmed(&self) -> fdo::Result<bool> {
        Ok(self.view()?.confirmed)
    }
    #[zbus(property)]
    fn running(&self) -> fdo::Result<String> {
        Ok(self.view()?.running)
    }
    #[zbus(property)]
    fn stuck(&self) -> fdo::Result<String> {
        Ok(self.view()?.stuck)
    }
    #[zbus(property)]
    fn live_slots(&self) -> fdo::Result<BTreeMap<String, String>> {
        Ok(self.view()?.live_slots.into_iter().collect())
    }
}
