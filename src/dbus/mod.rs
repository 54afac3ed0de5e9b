//! The served interface `org.deployd1` and its client side. What is written in `dbus/org.deployd1.xml` is the contract;
//! `tests/bus.rs` holds the served objects to it. Authorises every call that needs it; does no work itself: that is the
//! [`Backend`]'s. Uses nothing but the model.

mod app;
mod backend;
mod caller;
mod deployment;
mod error;
mod in_time;
mod manager;
mod options;
mod path;
mod polkit;
mod proxy;
mod quota;
mod upload;

pub use app::App;
pub use backend::{Access, Answer, AppView, Backend, Judgement, LogFilter, Question, Showing};
pub use caller::Caller;
pub use deployment::{Deployment, DeploymentView, SharedView, publish};
pub use error::{Error, exit_status};
pub use in_time::{JUDGED, in_time};
pub use manager::{Manager, no_such_app};
pub use options::{Dict, Options};
pub use path::{app_path, deployment_path, escape};
pub use polkit::Action;
#[cfg(test)]
pub use polkit::unasked;
pub use proxy::{AppProxy, DeploymentProxy, ManagerProxy};
pub use quota::{Quota, Ticket};

/// The well-known bus name.
pub const NAME: &str = "org.deployd1";
/// The manager's object, and the object manager's.
pub const PATH: &str = "/org/deployd1";
/// The manager's interface.
pub const MANAGER: &str = "org.deployd1.Manager";
/// An app's interface.
pub const APP: &str = "org.deployd1.App";
/// A deployment's interface.
pub const DEPLOYMENT: &str = "org.deployd1.Deployment";

/// The longest text an argument or an option may have, in bytes.
pub const MAX_TEXT: usize = 1024;
