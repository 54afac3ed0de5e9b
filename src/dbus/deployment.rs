//! The object of a deployment: how far it is and how it ended, as properties, and `Cancel`.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use zbus::{Connection, Variant, fdo, interface, message::Header, names::InterfaceName, object_server::SignalEmitter};

use super::{Action, Backend, Caller, DEPLOYMENT, Error, deployment_path, polkit::Asking};
use crate::model::{AppName, DeploymentId};

/// What a deployment's object shows.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentView {
    /// Of which app.
    pub app: AppName,
    /// Its id.
    pub id: DeploymentId,
    /// `deploy`, `stage`, …
    pub kind: String,
    /// Who asked.
    pub actor: String,
    /// The systemd unit that it runs in, or ran in; empty: it was over before this service began.
    pub unit: String,
    /// `waiting`, `staging`, … `done`.
    pub phase: String,
    /// The step that runs; empty: none.
    pub step: String,
    /// One line, printable.
    pub status: String,
    /// 0 to 1; negative: not known.
    pub fraction: f64,
    /// `succeeded`, … ; empty while it runs.
    pub outcome: String,
    /// One line: what happened, and the remedy.
    pub message: String,
    /// The release it is about; empty: not known.
    pub release: String,
    /// What was live before; empty: nothing, or not known.
    pub previous: String,
    /// Milliseconds to the new release being proved live; 0: it never was.
    pub live_ms: u64,
    /// Milliseconds to the end; 0 while it runs.
    pub wall_ms: u64,
}

impl DeploymentView {
    /// A deployment that was only just asked for.
    pub fn new(app: AppName, id: DeploymentId, kind: &str, actor: &str) -> Self {
        let text = String::new;
        Self {
            app,
            id,
            kind: kind.into(),
            actor: actor.into(),
            unit: text(),
            phase: "waiting".into(),
            step: text(),
            status: text(),
            fraction: -1.0,
            outcome: text(),
            message: text(),
            release: text(),
            previous: text(),
            live_ms: 0,
            wall_ms: 0,
        }
    }

    /// The properties that differ from `before`.
    fn changed_since<'a>(&'a self, before: &Self) -> HashMap<&'static str, Variant<'a>> {
        let mut changed = HashMap::new();
        let texts: [(&'static str, &'a String, &String); 7] = [
            ("Phase", &self.phase, &before.phase),
            ("Step", &self.step, &before.step),
            ("Status", &self.status, &before.status),
            ("Outcome", &self.outcome, &before.outcome),
            ("Message", &self.message, &before.message),
            ("Release", &self.release, &before.release),
            ("Previous", &self.previous, &before.previous),
        ];
        for (name, now, then) in texts {
            if now != then {
                changed.insert(name, Variant::from(now.as_str()));
            }
        }
        if self.fraction.to_bits() != before.fraction.to_bits() {
            changed.insert("Fraction", Variant::from(self.fraction));
        }
        for (name, now, then) in [("LiveMs", self.live_ms, before.live_ms), ("WallMs", self.wall_ms, before.wall_ms)] {
            if now != then {
                changed.insert(name, Variant::from(now));
            }
        }
        changed
    }
}

/// A view that its object and its follower share. Never held over an await.
#[derive(Debug, Clone)]
pub struct SharedView(Arc<Mutex<DeploymentView>>);

impl SharedView {
    /// Shares a view.
    pub fn new(view: DeploymentView) -> Self {
        Self(Arc::new(Mutex::new(view)))
    }
    /// A copy of it.
    pub fn get(&self) -> DeploymentView {
        self.lock().clone()
    }
    fn lock(&self) -> MutexGuard<'_, DeploymentView> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes a view and emits one `PropertiesChanged` with what is new, if anything is.
pub async fn publish(
    connection: &Connection,
    view: &SharedView,
    change: impl FnOnce(&mut DeploymentView),
) -> Result<(), Error> {
    let (before, now) = {
        let mut held = view.lock();
        let before = held.clone();
        change(&mut held);
        (before, held.clone())
    };
    let changed = now.changed_since(&before);
    if changed.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(connection, deployment_path(&now.id)?)?;
    let interface = InterfaceName::from_static_str_unchecked(DEPLOYMENT);
    fdo::Properties::properties_changed(&emitter, interface, changed, Cow::Borrowed(&[])).await?;
    Ok(())
}

/// `org.deployd1.Deployment`.
pub struct Deployment {
    backend: Arc<dyn Backend>,
    view: SharedView,
}

impl Deployment {
    /// The object of one deployment.
    pub fn new(backend: Arc<dyn Backend>, view: SharedView) -> Self {
        Self { backend, view }
    }
}

#[interface(name = "org.deployd1.Deployment", introspection_docs = false)]
impl Deployment {
    /// Stops it: before activate it is cancelled, after it the engine finishes or goes back.
    async fn cancel(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), Error> {
        let view = self.view.get();
        let caller = Caller::of(connection, &header).await?;
        let _ticket = self.backend.waiting().take(caller.uid)?;
        let details = HashMap::from([("app", view.app.as_str()), ("deployment", view.id.as_str())]);
        let asking = Asking { backend: &self.backend, connection, header: &header, caller: &caller };
        asking.may(Action::Cancel, &view.app, details).await?;
        Arc::clone(&self.backend).cancel(view.app, view.id).await
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn app(&self) -> String {
        self.view.get().app.to_string()
    }
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> String {
        self.view.get().id.to_string()
    }
    #[zbus(property(emits_changed_signal = "const"))]
    fn kind(&self) -> String {
        self.view.get().kind
    }
    #[zbus(property(emits_changed_signal = "const"))]
    fn actor(&self) -> String {
        self.view.get().actor
    }
    #[zbus(property(emits_changed_signal = "const"))]
    fn unit(&self) -> String {
        self.view.get().unit
    }
    #[zbus(property)]
    fn phase(&self) -> String {
        self.view.get().phase
    }
    #[zbus(property)]
    fn step(&self) -> String {
        self.view.get().step
    }
    #[zbus(property)]
    fn status(&self) -> String {
        self.view.get().status
    }
    #[zbus(property)]
    fn fraction(&self) -> f64 {
        self.view.get().fraction
    }
    #[zbus(property)]
    fn outcome(&self) -> String {
        self.view.get().outcome
    }
    #[zbus(property)]
    fn message(&self) -> String {
        self.view.get().message
    }
    #[zbus(property)]
    fn release(&self) -> String {
        self.view.get().release
    }
    #[zbus(property)]
    fn previous(&self) -> String {
        self.view.get().previous
    }
    #[zbus(property)]
    fn live_ms(&self) -> u64 {
        self.view.get().live_ms
    }
    #[zbus(property)]
    fn wall_ms(&self) -> u64 {
        self.view.get().wall_ms
    }
}
