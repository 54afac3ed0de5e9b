//! What the interface needs done: the daemon does it, tests fake it.

use std::{os::fd::OwnedFd, sync::Arc};

use futures_util::future::BoxFuture;
use zbus::OwnedObjectPath;

use super::{Action, Error, Quota, Ticket, options::Dict};
use crate::model::{
    Actor, AppName, CheckRequest, DeployKey, DeploymentId, DiffRequest, HoldChange, HoldRequest, KeyRequest,
    PruneRequest, Request,
};

/// A pending answer.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// What `App` objects show. Nothing secret: everyone may read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppView {
    /// The live release; empty: none.
    pub current: String,
    /// When it became live, seconds since 1970; 0: not known.
    pub live_since: i64,
    /// It passed its bake time.
    pub confirmed: bool,
    /// The running deployment's id; empty: none.
    pub running: String,
    /// Why nothing more is done and how to go on; empty: all is well.
    pub stuck: String,
    /// Who holds it, since when and why; empty: nobody.
    pub held: String,
    /// Slotted services and their live slot.
    pub live_slots: Vec<(String, String)>,
}

/// An authorisation that was asked for, for the journal.
#[derive(Debug)]
pub struct Access<'a> {
    /// Polkit's action.
    pub action: &'a str,
    /// Which app.
    pub app: &'a AppName,
    /// Who asked.
    pub actor: &'a Actor,
    /// Why not; `None`: it was allowed.
    pub refusal: Option<&'a str>,
}

/// What polkit will be asked, as far as the configuration has a say in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is about; of another ref, as if it were the configured one.
    pub action: Action,
    /// Of which app.
    pub app: AppName,
    /// Who asks: the user that the bus vouches for.
    pub uid: u32,
    /// The deployment that is asked for, where one is.
    pub request: Option<Request>,
}

/// What the configuration says of a question, which polkit's rules cannot read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Its ref is not the configured one, or that is not known.
    pub other_ref: bool,
    /// `[webhook]` lets it be deployed, and nothing more is asked than that.
    pub webhook: bool,
    /// `[access]` names the caller, for this and for all that is asked with it.
    pub listed: bool,
    /// Nothing of it is known: the configuration cannot be read, or has errors.
    pub unknown: bool,
}

impl Judgement {
    /// What is answered where polkit said no to what is not known.
    pub fn settle(&self, app: &AppName, decided: Result<(), Error>) -> Result<(), Error> {
        match decided {
            Err(Error::AccessDenied(why) | Error::InteractiveAuthorizationRequired(why)) if self.unknown => {
                Err(Error::Undecided(format!(
                    "{why}; what the configuration of app {app} says of it is not known: `deployctl check {app}` says why"
                )))
            }
            decided => decided,
        }
    }
}

/// Which log to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    /// Of which app.
    pub app: AppName,
    /// Only of this deployment.
    pub deployment: Option<DeploymentId>,
    /// With the lines of the app's services; of one deployment those of its time.
    pub services: bool,
    /// Go on with what comes.
    pub follow: bool,
    /// How many lines of the past; none: all of them.
    pub lines: Option<u32>,
}

/// In which form settings are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Showing {
    /// TOML with a comment on each value's origin.
    Text,
    /// JSON.
    Json,
}

/// What the interface needs done. What arrives here was parsed and, where it must be, authorised.
pub trait Backend: Send + Sync + 'static {
    /// Whether anybody can know of the service: it has asked for its name.
    fn is_known(&self) -> bool;
    /// The configured apps, sorted.
    fn apps(&self) -> Result<Vec<AppName>, Error>;
    /// `<root>`; none when the configuration has errors.
    fn root(&self, app: &AppName) -> Option<String>;
    /// The same, if it was read already and nothing has changed: nobody is waited for.
    fn root_seen(&self, app: &AppName) -> Option<String>;
    /// An app's state.
    fn app(&self, app: &AppName) -> Result<AppView, Error>;
    /// Makes an app's object if it is not there yet; an error when the app is not configured.
    fn app_object(self: Arc<Self>, app: AppName) -> Answer<'static, OwnedObjectPath>;
    /// A deployment's object, running or rebuilt from its record.
    fn deployment_object(self: Arc<Self>, app: AppName, id: DeploymentId) -> Answer<'static, OwnedObjectPath>;
    /// An id that nothing has yet.
    fn new_id(&self) -> Result<DeploymentId, Error>;
    /// Whether a request makes sense; before anyone is asked for permission, without effects.
    fn check(&self, request: &Request) -> Result<(), Error>;
    /// What the app's configuration says of a question.
    fn judge(self: Arc<Self>, question: Question) -> Answer<'static, Judgement>;
    /// How many calls of one user may wait at once, for polkit or for each other, on the objects of apps and deployments.
    fn waiting(&self) -> &Quota;
    /// Keeps the service from ending for idleness until it is dropped.
    fn hold(&self) -> Box<dyn Send + Sync>;
    /// Tells the journal of an authorisation.
    fn access(&self, access: &Access<'_>);
    /// Starts a deployment and returns its object at once, or as soon as the archive that was handed over has been taken
    /// over. The ticket is held until it has ended.
    fn start(
        self: Arc<Self>,
        request: Request,
        upload: Option<OwnedFd>,
        ticket: Ticket,
    ) -> Answer<'static, OwnedObjectPath>;
    /// Joins a deployment of the same caller's that will do the same and has not begun, or starts one in the place of
    /// those of other refs that have not.
    fn coalesce(self: Arc<Self>, request: Request, ticket: Ticket) -> Answer<'static, OwnedObjectPath>;
    /// Makes a plan, as JSON.
    fn plan(self: Arc<Self>, request: Request) -> Answer<'static, String>;
    /// The shared files that differ from what the live release was made from. The ticket is held meanwhile.
    fn survey(self: Arc<Self>, app: AppName, ticket: Ticket) -> Answer<'static, Vec<String>>;
    /// Looks at the host for an app; one row for each finding, the worst first.
    fn findings(self: Arc<Self>, request: CheckRequest) -> Answer<'static, Vec<Dict>>;
    /// Gives an app's deploy key, and makes it at first or anew.
    fn make_key(self: Arc<Self>, request: KeyRequest) -> Answer<'static, DeployKey>;
    /// Holds an app or a release, or lets it go.
    fn hold_app(self: Arc<Self>, request: HoldRequest) -> Answer<'static, HoldChange>;
    /// Prunes an app's releases, or tells what would go; one row for each release, the newest first.
    fn prune(self: Arc<Self>, request: PruneRequest) -> Answer<'static, Vec<Dict>>;
    /// What differs between two releases.
    fn diff(self: Arc<Self>, request: DiffRequest) -> Answer<'static, Dict>;
    /// Stops a running deployment.
    fn cancel(self: Arc<Self>, app: AppName, id: DeploymentId) -> Answer<'static, ()>;
    /// The settings of an app without its secrets; errors with their place, for root with the lines too.
    fn show(&self, app: &AppName, uid: u32, how: Showing) -> Result<String, Error>;
    /// The newest records first.
    fn deployments(&self, app: &AppName, limit: u32) -> Result<Vec<Dict>, Error>;
    /// The releases, newest first.
    fn releases(&self, app: &AppName) -> Result<Vec<Dict>, Error>;
    /// A log as the reading end of a pipe. The ticket is held until the writer has ended.
    fn open_log(self: Arc<Self>, filter: LogFilter, ticket: Ticket) -> Result<OwnedFd, Error>;
}
