//! The object of an app: its state as properties, read when asked, and `Survey`. Nothing secret: everyone
//! may read it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use zbus::{Connection, Variant, fdo, interface, message::Header, names::InterfaceName, object_server::SignalEmitter};

use super::{
    APP, AppView, Backend, Caller, Error, app_path,
    in_time::{JUDGED, in_time},
};
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

    /// Emits one `PropertiesChanged` with what differs from what was last told, if anything does.
    pub async fn announce(
        connection: &Connection,
        name: &AppName,
        before: Option<&AppView>,
        now: &AppView,
    ) -> Result<(), Error> {
        let changed = now.changed_since(before);
        if changed.is_empty() {
            return Ok(());
        }
        let emitter = SignalEmitter::new(connection, app_path(name)?)?;
        let interface = InterfaceName::from_static_str_unchecked(APP);
        Ok(fdo::Properties::properties_changed(&emitter, interface, changed, Cow::Borrowed(&[])).await?)
    }

    /// While nobody can ask, nothing is read: what zbus announces then, to nobody, is left out.
    fn known(&self) -> fdo::Result<()> {
        if self.backend.is_known() { Ok(()) } else { Err(fdo::Error::Failed("the service begins".into())) }
    }

    fn view(&self) -> fdo::Result<AppView> {
        self.known()?;
        self.backend.app(&self.name).map_err(|e| fdo::Error::Failed(e.to_string()))
    }
}

impl AppView {
    /// The properties that differ from `before`; without it, all of them.
    fn changed_since(&self, before: Option<&Self>) -> HashMap<&'static str, Variant<'_>> {
        let slots: HashMap<String, String> = self.live_slots.iter().cloned().collect();
        let news = |differs: fn(&Self, &Self) -> bool| before.is_none_or(|before| differs(before, self));
        let all: [(&'static str, bool, Variant<'_>); 7] = [
            ("Current", news(|a, b| a.current != b.current), self.current.as_str().into()),
            ("LiveSince", news(|a, b| a.live_since != b.live_since), self.live_since.into()),
            ("Confirmed", news(|a, b| a.confirmed != b.confirmed), self.confirmed.into()),
            ("Running", news(|a, b| a.running != b.running), self.running.as_str().into()),
            ("Stuck", news(|a, b| a.stuck != b.stuck), self.stuck.as_str().into()),
            ("Held", news(|a, b| a.held != b.held), self.held.as_str().into()),
            ("LiveSlots", news(|a, b| a.live_slots != b.live_slots), slots.into()),
        ];
        all.into_iter().filter_map(|(name, is_news, value)| is_news.then_some((name, value))).collect()
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
    async fn root(&self) -> fdo::Result<String> {
        self.known()?;
        if let Some(root) = self.backend.root_seen(&self.name) {
            return Ok(root);
        }
        let (backend, name) = (Arc::clone(&self.backend), self.name.clone());
        Ok(in_time(JUDGED, move || backend.root(&name)).await.flatten().unwrap_or_default())
    }
    #[zbus(property)]
    fn current(&self) -> fdo::Result<String> {
        Ok(self.view()?.current)
    }
    #[zbus(property)]
    fn live_since(&self) -> fdo::Result<i64> {
        Ok(self.view()?.live_since)
    }
    #[zbus(property)]
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
    fn held(&self) -> fdo::Result<String> {
        Ok(self.view()?.held)
    }
    #[zbus(property)]
    fn live_slots(&self) -> fdo::Result<BTreeMap<String, String>> {
        Ok(self.view()?.live_slots.into_iter().collect())
    }
}
