//! The manager's object: arguments parsed, the request frozen, permission asked, then handed to the [`Backend`].

use std::{collections::HashMap, sync::Arc};

use zbus::{Connection, OwnedFd, OwnedObjectPath, interface, message::Header, object_server::SignalEmitter};

use super::{
    Backend, Caller, Error, LogFilter, Options, Quota, Showing, Ticket,
    options::Dict,
    polkit::{self, Action},
    upload,
};
use crate::model::{Allow, AppName, CheckRequest, DeploymentId, KeyRequest, Kind, ReleaseId, Request};

/// Requests that one user may have pending or running at once.
const REQUESTS: usize = 32;
/// Logs that one user may have open at once.
const LOGS: usize = 16;
/// Files that one user may be handing over at once.
const UPLOADS: usize = 4;
/// Lines of a log's past, when no number is asked for; of one deployment it is all of them.
const LINES: u32 = 100;
/// The most lines that are given at once.
const MOST: u32 = 10_000;
/// The most records that are given at once.
const MOST_RECORDS: u32 = 200;

/// `org.deployd1.Manager`.
pub struct Manager {
    backend: Arc<dyn Backend>,
    requests: Quota,
    logs: Quota,
    uploads: Quota,
}

impl Manager {
    /// The manager over a backend.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            requests: Quota::new("requests pending", REQUESTS),
            logs: Quota::new("logs open", LOGS),
            uploads: Quota::new("uploads under way", UPLOADS),
        }
    }

    fn backend(&self) -> Arc<dyn Backend> {
        Arc::clone(&self.backend)
    }

    /// Freezes, checks and asks. What is returned is what was authorised.
    async fn admit(
        &self,
        call: &Call<'_>,
        action: Action,
        app: &str,
        wanted: Wanted,
    ) -> Result<(Request, Ticket), Error> {
        let app = app_name(app)?;
        let caller = call.caller().await?;
        let ticket = self.requests.take(caller.uid)?;
        let id = self.backend.new_id()?;
        let Wanted { kind, reference, release, force, allow, upload, coalesce: _ } = wanted;
        let request = Request { app, id, kind, reference, release, force, allow, upload, actor: caller.actor() };
        self.backend.check(&request)?;
        let judged = self.backend.judge(&request);
        let by_webhook = if judged.webhook { "allowed" } else { "no" };
        let action = if action == Action::Deploy && judged.other_ref { Action::DeployOtherRef } else { action };
        let details = HashMap::from([
            ("app", request.app.as_str()),
            ("kind", request.kind.as_str()),
            ("ref", request.reference.as_deref().unwrap_or_default()),
            ("release", request.release.as_ref().map(ReleaseId::as_str).unwrap_or_default()),
            ("force", yes_or_no(request.force)),
            ("allow-destructive", yes_or_no(request.allow.destructive)),
            ("allow-key-rotation", yes_or_no(request.allow.key_rotation)),
            ("run-again", yes_or_no(request.allow.run_again)),
            ("webhook", by_webhook),
        ]);
        let Call { connection, header } = *call;
        let app = &request.app;
        let decided = polkit::authorise(&self.backend, connection, header, &caller, action, app, &details).await;
        judged.settle(app, decided)?;
        Ok((request, ticket))
    }

    async fn start(
        &self,
        call: &Call<'_>,
        action: Action,
        app: &str,
        kind: Kind,
        options: Dict,
    ) -> Result<OwnedObjectPath, Error> {
        let wanted = Wanted::parse(kind, options)?;
        let coalesce = wanted.coalesce;
        let (request, ticket) = self.admit(call, action, app, wanted).await?;
        match coalesce {
            true => self.backend().coalesce(request, ticket).await,
            false => self.backend().start(request, None, ticket).await,
        }
    }
}

/// What is asked for.
struct Wanted {
    kind: Kind,
    reference: Option<String>,
    release: Option<ReleaseId>,
    force: bool,
    allow: Allow,
    upload: bool,
    /// With those that wait.
    coalesce: bool,
}

impl Wanted {
    fn plain(kind: Kind) -> Self {
        let (allow, [force, upload, coalesce]) = (Allow::default(), [false; 3]);
        Self { kind, reference: None, release: None, force, allow, upload, coalesce }
    }

    fn parse(kind: Kind, options: Dict) -> Result<Self, Error> {
        let none = Self::plain(kind);
        match kind {
            Kind::Deploy | Kind::Stage => {
                let known =
                    &["ref (s)", "force (b)", "coalesce (b)", "allow-destructive (b)", "allow-key-rotation (b)"];
                let mut options = Options::new(options, known)?;
                let (reference, force) = (options.text("ref")?, options.flag("force")?);
                let coalesce = options.flag("coalesce")?;
                Ok(Self { reference, force, coalesce, allow: allow(kind, &mut options)?, ..none })
            }
            Kind::Activate => {
                let known = &["release (s)", "allow-destructive (b)", "allow-key-rotation (b)", "run-again (b)"];
                let mut options = Options::new(options, known)?;
                let run_again = options.flag("run-again")?;
                let allow = Allow { run_again, ..allow(kind, &mut options)? };
                Ok(Self { release: release(&mut options)?, allow, ..none })
            }
            Kind::Rollback => {
                let mut options = Options::new(options, &["release (s)"])?;
                Ok(Self { release: release(&mut options)?, ..none })
            }
        }
    }

    /// Of an archive that was handed over.
    fn upload(options: Dict) -> Result<Self, Error> {
        let known = &["stage (b)", "force (b)", "allow-destructive (b)", "allow-key-rotation (b)"];
        let mut options = Options::new(options, known)?;
        let kind = if options.flag("stage")? { Kind::Stage } else { Kind::Deploy };
        let (force, allow) = (options.flag("force")?, allow(kind, &mut options)?);
        Ok(Self { force, allow, upload: true, ..Self::plain(kind) })
    }
}

fn release(options: &mut Options) -> Result<Option<ReleaseId>, Error> {
    options.text("release")?.map(|id| release_id(&id)).transpose()
}

fn allow(kind: Kind, options: &mut Options) -> Result<Allow, Error> {
    let destructive = options.flag("allow-destructive")?;
    if destructive && kind == Kind::Stage {
        let why = "nothing is migrated when a release is staged, but when it is activated: give \"allow-destructive\" to that";
        return Err(Error::InvalidArgs(why.into()));
    }
    Ok(Allow { destructive, key_rotation: options.flag("allow-key-rotation")?, run_again: false })
}

/// A method call.
struct Call<'a> {
    connection: &'a Connection,
    header: &'a Header<'a>,
}

impl Call<'_> {
    async fn caller(&self) -> Result<Caller, Error> {
        Caller::of(self.connection, self.header).await
    }
}

fn yes_or_no(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}
fn app_name(text: &str) -> Result<AppName, Error> {
    text.parse().map_err(|e: crate::model::BadName| Error::InvalidArgs(e.to_string()))
}
fn release_id(text: &str) -> Result<ReleaseId, Error> {
    text.parse().map_err(|e: crate::model::BadReleaseId| Error::InvalidArgs(e.to_string()))
}
fn deployment_id(text: &str) -> Result<DeploymentId, Error> {
    let given: String = text.chars().take(64).collect();
    text.parse().map_err(|rule| Error::InvalidArgs(format!("{given:?} is not valid: {rule}")))
}

#[interface(name = "org.deployd1.Manager", introspection_docs = false)]
impl Manager {
    #[zbus(out_args("apps"))]
    async fn list_apps(&self) -> Result<Vec<(String, OwnedObjectPath)>, Error> {
        let mut apps = Vec::new();
        for app in self.backend.apps()? {
            let name = app.to_string();
            apps.push((name, self.backend().app_object(app).await?));
        }
        Ok(apps)
    }

    #[zbus(out_args("path"))]
    async fn get_app(&self, app: &str) -> Result<OwnedObjectPath, Error> {
        self.backend().app_object(app_name(app)?).await
    }

    #[zbus(out_args("path"))]
    async fn get_deployment(&self, app: &str, id: &str) -> Result<OwnedObjectPath, Error> {
        self.backend().deployment_object(app_name(app)?, deployment_id(id)?).await
    }

    #[zbus(out_args("path"))]
    async fn deploy(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<OwnedObjectPath, Error> {
        let call = Call { connection, header: &header };
        self.start(&call, Action::Deploy, app, Kind::Deploy, options).await
    }

    #[zbus(out_args("path"))]
    async fn stage(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<OwnedObjectPath, Error> {
        let call = Call { connection, header: &header };
        self.start(&call, Action::Stage, app, Kind::Stage, options).await
    }

    #[zbus(out_args("path"))]
    async fn activate(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<OwnedObjectPath, Error> {
        let call = Call { connection, header: &header };
        self.start(&call, Action::Activate, app, Kind::Activate, options).await
    }

    #[zbus(out_args("path"))]
    async fn rollback(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<OwnedObjectPath, Error> {
        let call = Call { connection, header: &header };
        self.start(&call, Action::Rollback, app, Kind::Rollback, options).await
    }

    #[zbus(out_args("path"))]
    async fn upload(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        file: OwnedFd,
        options: Dict,
    ) -> Result<OwnedObjectPath, Error> {
        let call = Call { connection, header: &header };
        let wanted = Wanted::upload(options)?;
        let file = upload::regular(file.into())?;
        let _under_way = self.uploads.take(call.caller().await?.uid)?;
        let (request, ticket) = self.admit(&call, Action::Upload, app, wanted).await?;
        self.backend().start(request, Some(file), ticket).await
    }

    #[zbus(out_args("plan"))]
    async fn plan(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        kind: &str,
        options: Dict,
    ) -> Result<String, Error> {
        let shown: String = kind.chars().take(64).collect();
        let kind = kind.parse().map_err(|_| {
            Error::InvalidArgs(format!("the kind {shown:?} is not valid: write deploy, stage, activate or rollback"))
        })?;
        let call = Call { connection, header: &header };
        let (request, _ticket) = self.admit(&call, Action::Plan, app, Wanted::parse(kind, options)?).await?;
        self.backend().plan(request).await
    }

    #[zbus(out_args("findings"))]
    async fn check(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<Vec<Dict>, Error> {
        Options::new(options, &[])?;
        let app = app_name(app)?;
        let caller = Caller::of(connection, &header).await?;
        let _ticket = self.requests.take(caller.uid)?;
        if !self.backend.apps()?.contains(&app) {
            return Err(no_such_app(&app));
        }
        let request = CheckRequest { check: app, id: self.backend.new_id()?, actor: caller.actor() };
        let details = HashMap::from([("app", request.check.as_str()), ("kind", "check")]);
        let app = &request.check;
        polkit::authorise(&self.backend, connection, &header, &caller, Action::Plan, app, &details).await?;
        self.backend().findings(request).await
    }

    #[zbus(out_args("public", "change"))]
    async fn make_key(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<(String, String), Error> {
        let rotate = Options::new(options, &["rotate (b)"])?.flag("rotate")?;
        let app = app_name(app)?;
        let caller = Caller::of(connection, &header).await?;
        let _ticket = self.requests.take(caller.uid)?;
        if !self.backend.apps()?.contains(&app) {
            return Err(no_such_app(&app));
        }
        let request = KeyRequest { key: app, id: self.backend.new_id()?, rotate, actor: caller.actor() };
        let app = &request.key;
        let details = HashMap::from([("app", app.as_str()), ("kind", "key"), ("rotate", yes_or_no(rotate))]);
        let action = if rotate { Action::RotateKey } else { Action::Key };
        polkit::authorise(&self.backend, connection, &header, &caller, action, app, &details).await?;
        let key = self.backend().make_key(request).await?;
        Ok((key.public, key.change.as_str().to_owned()))
    }

    #[zbus(out_args("text"))]
    async fn show(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
    ) -> Result<String, Error> {
        let caller = Caller::of(connection, &header).await?;
        self.backend.show(&app_name(app)?, caller.uid, Showing::Text)
    }

    #[zbus(out_args("json"))]
    async fn show_json(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
    ) -> Result<String, Error> {
        let caller = Caller::of(connection, &header).await?;
        self.backend.show(&app_name(app)?, caller.uid, Showing::Json)
    }

    #[zbus(out_args("deployments"))]
    async fn list_deployments(&self, app: &str, limit: u32) -> Result<Vec<Dict>, Error> {
        let limit = if limit == 0 { MOST_RECORDS } else { limit.min(MOST_RECORDS) };
        self.backend.deployments(&app_name(app)?, limit)
    }

    #[zbus(out_args("releases"))]
    async fn list_releases(&self, app: &str) -> Result<Vec<Dict>, Error> {
        self.backend.releases(&app_name(app)?)
    }

    #[zbus(out_args("log"))]
    async fn open_log(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<OwnedFd, Error> {
        let app = app_name(app)?;
        let mut options = Options::new(options, &["deployment (s)", "follow (b)", "lines (u)"])?;
        let deployment = options.text("deployment")?.map(|id| deployment_id(&id)).transpose()?;
        let follow = options.flag("follow")?;
        let whole = deployment.is_some();
        let lines = options.number("lines")?.or((!whole).then_some(LINES)).map(|lines| lines.min(MOST));
        if !self.backend.apps()?.contains(&app) {
            return Err(no_such_app(&app));
        }
        let caller = Caller::of(connection, &header).await?;
        let ticket = self.logs.take(caller.uid)?;
        let shown = deployment.as_ref().map(DeploymentId::as_str).unwrap_or_default();
        let details = HashMap::from([("app", app.as_str()), ("deployment", shown)]);
        polkit::authorise(&self.backend, connection, &header, &caller, Action::ReadLogs, &app, &details).await?;
        let filter = LogFilter { app, deployment, follow, lines };
        Ok(self.backend().open_log(filter, ticket)?.into())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(signal)]
    pub async fn deployment_new(
        emitter: &SignalEmitter<'_>,
        app: &str,
        id: &str,
        path: zbus::ObjectPath<'_>,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub async fn deployment_removed(
        emitter: &SignalEmitter<'_>,
        app: &str,
        id: &str,
        path: zbus::ObjectPath<'_>,
        outcome: &str,
        message: &str,
    ) -> zbus::Result<()>;
}

/// The error for an app that is not configured.
pub fn no_such_app(app: &AppName) -> Error {
    Error::NoSuchApp(format!("there is no app {app}: write /etc/deployd/apps/{app}.toml"))
}
