//! The connection to deployd: started by the bus when needed, then spoken to by its unique name only, so that signals
//! of others are not taken for its own.

use std::collections::HashMap;

use futures_util::StreamExt;
use zbus::{
    Connection, ObjectPath, OwnedVariant, Variant, fdo,
    names::{BusName, InterfaceName, OwnedUniqueName, WellKnownName},
    proxy::CacheProperties,
};

use super::{args::StartOptions, error::CtlError};
use crate::{
    dbus::{self, AppProxy, DeploymentProxy, ManagerProxy},
    model::Allow,
};

/// Properties by name.
pub type Properties = HashMap<String, OwnedVariant>;

/// deployd, as found at the connection's time.
pub struct Bus {
    pub connection: Connection,
    pub owner: OwnedUniqueName,
    pub manager: ManagerProxy<'static>,
}

impl Bus {
    /// Connects to the system bus and starts deployd when it does not run.
    pub async fn connect() -> Result<Self, CtlError> {
        Self::over(Connection::system().await.map_err(CtlError::Bus)?).await
    }

    /// Finds deployd on a connection.
    pub async fn over(connection: Connection) -> Result<Self, CtlError> {
        let bus = fdo::DBusProxy::new(&connection).await?;
        let name = WellKnownName::from_static_str_unchecked(dbus::NAME);
        bus.start_service_by_name(name.clone(), 0).await?;
        let owner = bus.get_name_owner(BusName::from(name)).await?;
        let manager = ManagerProxy::builder(&connection)
            .destination(owner.clone())
            .cache_properties(CacheProperties::No)
            .build()
            .await?;
        Ok(Self { connection, owner, manager })
    }

    /// All properties of an object.
    pub async fn properties(&self, path: &ObjectPath<'_>, interface: &'static str) -> Result<Properties, CtlError> {
        let proxy = self.properties_proxy(path).await?;
        Ok(proxy.get_all(InterfaceName::from_static_str_unchecked(interface)).await?)
    }

    /// All apps with their properties, by name: one call, however many there are.
    pub async fn apps(&self) -> Result<Vec<(String, Properties)>, CtlError> {
        let builder = fdo::ObjectManagerProxy::builder(&self.connection).destination(self.owner.clone());
        let manager = builder.path(dbus::PATH).cache_properties(CacheProperties::No).build().await?;
        let objects = manager.get_managed_objects().await?.into_values();
        let apps = objects.filter_map(|mut interfaces| {
            let (_, properties) = interfaces.extract_if(|interface, _| interface.as_str() == dbus::APP).next()?;
            Some((text(&properties, "Name"), properties))
        });
        let mut apps: Vec<_> = apps.collect();
        apps.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(apps)
    }

    /// For an object's property signals.
    pub async fn properties_proxy(&self, path: &ObjectPath<'_>) -> Result<fdo::PropertiesProxy<'static>, CtlError> {
        let builder = fdo::PropertiesProxy::builder(&self.connection);
        let builder = builder.destination(self.owner.clone()).path(path.to_owned());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// An app's object.
    pub async fn app(&self, path: &ObjectPath<'_>) -> Result<AppProxy<'static>, CtlError> {
        let builder = AppProxy::builder(&self.connection);
        let builder = builder.destination(self.owner.clone()).path(path.to_owned());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// A deployment's object.
    pub async fn deployment(&self, path: &ObjectPath<'_>) -> Result<DeploymentProxy<'static>, CtlError> {
        let builder = DeploymentProxy::builder(&self.connection);
        let builder = builder.destination(self.owner.clone()).path(path.to_owned());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// Ends when this deployd has gone from the bus.
    pub async fn gone(&self) -> Result<(), CtlError> {
        let bus = fdo::DBusProxy::new(&self.connection).await?;
        let mut changes = bus.receive_name_owner_changed_with_args(&[(0, self.owner.as_str())]).await?;
        if !bus.name_has_owner(BusName::from(self.owner.as_ref())).await? {
            return Ok(());
        }
        while let Some(change) = changes.next().await {
            if change.args().is_ok_and(|args| args.new_owner.is_none()) {
                break;
            }
        }
        Ok(())
    }
}

/// Options as the bus takes them.
pub fn options(options: &StartOptions) -> HashMap<&'static str, Variant<'_>> {
    let mut out = HashMap::new();
    if let Some(reference) = &options.reference {
        out.insert("ref", Variant::from(reference.as_str()));
    }
    if let Some(release) = &options.release {
        out.insert("release", Variant::from(release.as_str()));
    }
    if options.force {
        out.insert("force", Variant::from(true));
    }
    let Allow { destructive, key_rotation, run_again } = options.allow;
    let allowed = [("allow-destructive", destructive), ("allow-key-rotation", key_rotation), ("run-again", run_again)];
    for (name, allowed) in allowed {
        if allowed {
            out.insert(name, Variant::from(true));
        }
    }
    out
}

/// A text property; empty when it is not there or no text.
pub fn text(properties: &Properties, name: &str) -> String {
    let text = properties.get(name).and_then(|v| v.downcast_ref::<&str>().ok());
    crate::model::printable(text.unwrap_or_default())
}

/// A list of texts; empty when it is not there or something else.
pub fn texts(properties: &Properties, name: &str) -> Vec<String> {
    let list = properties.get(name).and_then(|v| v.try_clone().ok()).map(Vec::<String>::try_from);
    list.and_then(Result::ok).unwrap_or_default().iter().map(|text| crate::model::printable(text)).collect()
}

/// A fraction; none when it is not known.
pub fn fraction(properties: &Properties, name: &str) -> Option<f64> {
    let fraction = properties.get(name).and_then(|v| v.downcast_ref::<f64>().ok());
    fraction.filter(|one| (0.0..=1.0).contains(one))
}

/// A number of any width; 0 when it is not there.
pub fn number(properties: &Properties, name: &str) -> i64 {
    let Some(value) = properties.get(name) else { return 0 };
    if let Ok(number) = value.downcast_ref::<i64>() {
        return number;
    }
    value.downcast_ref::<u64>().map_or(0, |n| i64::try_from(n).unwrap_or(i64::MAX))
}

/// A truth value; false when it is not there.
pub fn flag(properties: &Properties, name: &str) -> bool {
    properties.get(name).and_then(|v| v.downcast_ref::<bool>().ok()).unwrap_or(false)
}
