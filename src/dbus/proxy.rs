//! The client's side of the interface. Methods that change something allow polkit to ask the user.

use std::collections::HashMap;

use zbus::{ObjectPath, OwnedFd, OwnedObjectPath, OwnedVariant, Variant, proxy};

/// `org.deployd1.Manager`.
#[proxy(interface = "org.deployd1.Manager", default_service = "org.deployd1", default_path = "/org/deployd1")]
pub trait Manager {
    fn list_apps(&self) -> zbus::Result<Vec<(String, OwnedObjectPath)>>;
    fn get_app(&self, app: &str) -> zbus::Result<OwnedObjectPath>;
    fn get_deployment(&self, app: &str, id: &str) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn deploy(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn stage(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn activate(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn rollback(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn upload(
        &self,
        app: &str,
        file: zbus::Fd<'_>,
        options: &HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<OwnedObjectPath>;
    #[zbus(allow_interactive_auth)]
    fn plan(&self, app: &str, kind: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn check(
        &self,
        app: &str,
        options: &HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;
    #[zbus(allow_interactive_auth)]
    fn make_key(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<(String, String)>;
    #[zbus(allow_interactive_auth)]
    fn hold(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn unhold(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<String>;
    #[zbus(allow_interactive_auth)]
    fn prune(
        &self,
        app: &str,
        options: &HashMap<&str, Variant<'_>>,
    ) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;
    #[zbus(allow_interactive_auth)]
    fn diff(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<HashMap<String, OwnedVariant>>;
    fn show(&self, app: &str) -> zbus::Result<String>;
    fn show_json(&self, app: &str) -> zbus::Result<String>;
    fn list_deployments(&self, app: &str, limit: u32) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;
    fn list_releases(&self, app: &str) -> zbus::Result<Vec<HashMap<String, OwnedVariant>>>;
    #[zbus(allow_interactive_auth)]
    fn open_log(&self, app: &str, options: &HashMap<&str, Variant<'_>>) -> zbus::Result<OwnedFd>;
    #[zbus(signal)]
    fn deployment_new(&self, app: &str, id: &str, path: ObjectPath<'_>) -> zbus::Result<()>;
    #[zbus(signal)]
    fn deployment_removed(
        &self,
        app: &str,
        id: &str,
        path: ObjectPath<'_>,
        outcome: &str,
        message: &str,
    ) -> zbus::Result<()>;
}

/// `org.deployd1.App`; its properties are read with `GetAll`.
#[proxy(interface = "org.deployd1.App", default_service = "org.deployd1", assume_defaults = false)]
pub trait App {
    fn survey(&self) -> zbus::Result<Vec<String>>;
}

/// `org.deployd1.Deployment`; its properties are read with `GetAll`.
#[proxy(interface = "org.deployd1.Deployment", default_service = "org.deployd1", assume_defaults = false)]
pub trait Deployment {
    #[zbus(allow_interactive_auth)]
    fn cancel(&self) -> zbus::Result<()>;
}
