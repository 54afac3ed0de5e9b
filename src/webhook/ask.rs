//! Asks the bus for deployments. While one call for an app's ref is under way, those that come meanwhile wait and share
//! the next one: a burst of pushes is two calls, and the last begins after the last push.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use zbus::{Connection, DBusError, OwnedObjectPath, Variant};

use crate::{
    dbus::{MANAGER, NAME, PATH},
    model::{AppName, DeploymentId},
};

/// For one call: a forge waits for 10 s.
const LIMIT: Duration = Duration::from_secs(8);

/// Why there is no deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Polkit said no: the app's `[webhook]` does not name this ref.
    Denied,
    /// `deployd` would not have it: there is no such app, or the ref is none.
    Invalid(String),
    /// It could not be asked, has too much to do, or does not know whether it is allowed: the delivery may come again.
    Failed(String),
}

/// What was asked for, or why not.
pub type Asked = Result<DeploymentId, Refusal>;

/// Who is asked.
pub trait Bus: Send + Sync + 'static {
    /// Asks for a deployment of a ref, in its whole name.
    fn deploy(&self, app: AppName, reference: String) -> BoxFuture<'static, Asked>;
}

/// Those who wait for the next call, by app and ref.
type Waiting = HashMap<(AppName, String), Vec<oneshot::Sender<Asked>>>;

/// Asks for one app's ref once at a time.
#[derive(Clone)]
pub struct Asker {
    bus: Arc<dyn Bus>,
    /// A ref is among them while a call for it is under way.
    waiting: Arc<Mutex<Waiting>>,
}

impl Asker {
    /// Over a bus.
    pub fn new(bus: Arc<dyn Bus>) -> Self {
        Self { bus, waiting: Arc::default() }
    }

    /// Asks, alone or with others who ask for the same; the call begins after this one.
    pub async fn deploy(&self, app: &AppName, reference: &str) -> Asked {
        let (sender, answer) = oneshot::channel();
        let key = (app.clone(), reference.to_owned());
        match self.waiting().entry(key.clone()) {
            Entry::Occupied(mut waiting) => waiting.get_mut().push(sender),
            Entry::Vacant(none) => {
                none.insert(vec![sender]);
                tokio::spawn(self.clone().call_until_nobody_waits(key));
            }
        }
        answer.await.unwrap_or_else(|_| Err(Refusal::Failed("it was not asked for".into())))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call_until_nobody_waits(self, key: (AppName, String)) {
        while let Some(waiting) = self.next(&key) {
            let asked = self.bus.deploy(key.0.clone(), key.1.clone()).await;
            // Who has gone meanwhile needs no answer.
            waiting.into_iter().for_each(|sender| drop(sender.send(asked.clone())));
        }
    }

    /// Those who wait; with nobody the ref is let go.
    fn next(&self, key: &(AppName, String)) -> Option<Vec<oneshot::Sender<Asked>>> {
        let mut all = self.waiting();
        let waiting = all.get_mut(key).map(std::mem::take).filter(|waiting| !waiting.is_empty());
        if waiting.is_none() {
            all.remove(key);
        }
        waiting
    }
}

/// `org.deployd1` on the system bus. Polkit is not let ask anybody: there is nobody here.
pub struct SystemBus(pub Connection);

impl Bus for SystemBus {
    fn deploy(&self, app: AppName, reference: String) -> BoxFuture<'static, Asked> {
        let bus = self.0.clone();
        Box::pin(async move {
            let options = HashMap::from([("ref", Variant::from(reference)), ("coalesce", Variant::from(true))]);
            let body = (app.as_str(), options);
            let call = bus.call_method(Some(NAME), PATH, Some(MANAGER), "Deploy", &body);
            match tokio::time::timeout(LIMIT, call).await {
                Ok(Ok(reply)) => deployment(&reply.body().deserialize().map_err(failed)?),
                Ok(Err(error)) => Err(refusal(error)),
                Err(_) => Err(Refusal::Failed(format!("deployd did not answer within {LIMIT:?}"))),
            }
        })
    }
}

fn failed(error: zbus::Error) -> Refusal {
    Refusal::Failed(error.to_string())
}

/// The id at the end of a deployment's path, where a digit at the beginning is escaped: `_31a` is `1a`.
fn deployment(path: &OwnedObjectPath) -> Asked {
    let label = path.as_str().rsplit('/').next().unwrap_or_default();
    let id = label.strip_prefix("_3").unwrap_or(label);
    id.parse().map_err(|_| Refusal::Failed(format!("deployd answered with the object {}", path.as_str())))
}

fn refusal(error: zbus::Error) -> Refusal {
    let (name, text) = match error {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.unwrap_or_default()),
        zbus::Error::FDO(error) => (error.name().to_string(), error.to_string()),
        error => return failed(error),
    };
    match name.rsplit('.').next() {
        Some("AccessDenied" | "InteractiveAuthorizationRequired") => Refusal::Denied,
        Some("NoSuchApp" | "InvalidArgs" | "BadConfig") => Refusal::Invalid(text),
        _ => Refusal::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Undecided` is no "no", which would be answered as if nothing were to be done.
    #[test]
    fn a_delivery_is_ignored_only_when_polkit_said_no() {
        let call = zbus::Message::method_call("/org/deployd1", "Deploy").build(&()).unwrap();
        let asked = |error: crate::dbus::Error| {
            refusal(zbus::Error::MethodError(error.name().into(), Some("why".into()), call.clone()))
        };
        assert_eq!(asked(crate::dbus::Error::AccessDenied(String::new())), Refusal::Denied);
        let unasked = crate::dbus::unasked("org.deployd1.deploy", "it is gone");
        assert_eq!(asked(unasked), Refusal::Failed("why".into()));
        assert_eq!(asked(crate::dbus::Error::NoSuchApp(String::new())), Refusal::Invalid("why".into()));
    }

    #[test]
    fn the_id_is_read_from_the_path() {
        for id in ["0123456789abcdef", "a123456789abcdef", "9fffffffffffffff"] {
            let id: DeploymentId = id.parse().unwrap();
            assert_eq!(deployment(&crate::dbus::deployment_path(&id).unwrap()), Ok(id));
        }
        assert!(deployment(&OwnedObjectPath::try_from("/org/deployd1/app/shop").unwrap()).is_err());
    }
}
