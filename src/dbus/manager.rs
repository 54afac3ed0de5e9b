//! The manager's object: arguments parsed, the request frozen, permission asked, then handed to the [`Backend`].

use std::{collections::HashMap, sync::Arc};

use zbus::{Connection, OwnedFd, OwnedObjectPath, interface, message::Header, object_server::SignalEmitter};

use super::{
    Backend, Caller, Error, LogFilter, Options, Quota, Showing, Ticket,
    in_time::{JUDGED, in_time},
    options::Dict,
    polkit::{Action, Asking},
    upload,
};
use crate::model::{
    Actor, Allow, AppName, CheckRequest, DeploymentId, DiffRequest, HoldRequest, KeyRequest, Kind, MAX_REASON,
    PruneRequest, ReleaseId, Request,
};

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
        let Call { connection, header } = *call;
        let asking = Asking { backend: &self.backend, connection, header, caller: &caller };
        let judged = asking.judge(action, &request.app, Some(&request)).await?;
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
        asking.authorise(action, &request.app, judged, details).await?;
        Ok((request, ticket))
    }

    /// Who calls, as long as he has not too much going on and there is such an app.
    async fn enter(&self, call: &Call<'_>, app: &AppName) -> Result<(Caller, Ticket), Error> {
        let caller = call.caller().await?;
        let ticket = self.requests.take(caller.uid)?;
        if self.backend.apps()?.contains(app) { Ok((caller, ticket)) } else { Err(no_such_app(app)) }
    }

    /// The same of a request of another kind, which is not a deployment's: freezes it and asks whether its caller may,
    /// with the app and these details.
    async fn admit_other<R: Send>(
        &self,
        call: &Call<'_>,
        action: Action,
        app: &str,
        details: &[(&str, &str)],
        request: impl FnOnce(AppName, DeploymentId, Actor) -> R + Send,
    ) -> Result<(R, Ticket), Error> {
        let app = app_name(app)?;
        let (caller, ticket) = self.enter(call, &app).await?;
        let request = request(app.clone(), self.backend.new_id()?, caller.actor());
        let Call { connection, header } = *call;
        let asking = Asking { backend: &self.backend, connection, header, caller: &caller };
        let details = [("app", app.as_str())].iter().chain(details).copied().collect();
        asking.may(action, &app, details).await?;
        Ok((request, ticket))
    }

    /// With a reason it is held from now on, without not any more.
    async fn set_hold(
        &self,
        call: &Call<'_>,
        app: &str,
        release: Option<ReleaseId>,
        reason: Option<String>,
    ) -> Result<String, Error> {
        let (held, reason) = (reason.is_some(), reason.unwrap_or_default());
        let shown = release.as_ref().map(ToString::to_string).unwrap_or_default();
        let details = [("kind", if held { "hold" } else { "unhold" }), ("release", shown.as_str())];
        let request = |hold, id, actor| HoldRequest { hold, id, release, held, reason, actor };
        let (request, _ticket) = self.admit_other(call, Action::Hold, app, &details, request).await?;
        Ok(self.backend().hold_app(request).await?.as_str().to_owned())
    }

    /// An app's settings, which name users.
    async fn shown(&self, call: &Call<'_>, app: &str, how: Showing) -> Result<String, Error> {
        let (app, uid, backend) = (app_name(app)?, call.caller().await?.uid, self.backend());
        let late =
            Error::Failed(format!("the settings of app {app} were not read within {JUDGED:?}: see `getent passwd`"));
        in_time(JUDGED, move || backend.show(&app, uid, how)).await.unwrap_or(Err(late))
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
        let call = Call { connection, header: &header };
        let request = |check, id, actor| CheckRequest { check, id, actor };
        let (request, _ticket) = self.admit_other(&call, Action::Plan, app, &[("kind", "check")], request).await?;
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
        let call = Call { connection, header: &header };
        let details = [("kind", "key"), ("rotate", yes_or_no(rotate))];
        let action = if rotate { Action::RotateKey } else { Action::Key };
        let request = |key, id, actor| KeyRequest { key, id, rotate, actor };
        let (request, _ticket) = self.admit_other(&call, action, app, &details, request).await?;
        let key = self.backend().make_key(request).await?;
        Ok((key.public, key.change.as_str().to_owned()))
    }

    #[zbus(out_args("change"))]
    async fn hold(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<String, Error> {
        let mut options = Options::new(options, &["release (s)", "reason (s)"])?;
        let reason = options.text("reason")?.unwrap_or_default();
        if reason.len() > MAX_REASON {
            return Err(Error::InvalidArgs(format!("option \"reason\" is longer than {MAX_REASON} bytes")));
        }
        self.set_hold(&Call { connection, header: &header }, app, release(&mut options)?, Some(reason)).await
    }

    #[zbus(out_args("change"))]
    async fn unhold(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<String, Error> {
        let mut options = Options::new(options, &["release (s)"])?;
        self.set_hold(&Call { connection, header: &header }, app, release(&mut options)?, None).await
    }

    #[zbus(out_args("releases"))]
    async fn prune(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<Vec<Dict>, Error> {
        let mut options = Options::new(options, &["keep (u)", "dry-run (b)"])?;
        let (keep, dry_run) = (options.number("keep")?, options.flag("dry-run")?);
        let call = Call { connection, header: &header };
        let shown = keep.map(|keep| keep.to_string()).unwrap_or_default();
        let details = [("kind", "prune"), ("keep", shown.as_str())];
        let action = if dry_run { Action::Plan } else { Action::Prune };
        let request = |prune, id, actor| PruneRequest { prune, id, keep, dry_run, actor };
        let (request, _ticket) = self.admit_other(&call, action, app, &details, request).await?;
        self.backend().prune(request).await
    }

    #[zbus(out_args("difference"))]
    async fn diff(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
        options: Dict,
    ) -> Result<Dict, Error> {
        let mut options = Options::new(options, &["from (s)", "to (s)"])?;
        let mut one = |key: &str| options.text(key)?.map(|id| release_id(&id)).transpose();
        let (from, to) = (one("from")?, one("to")?);
        let call = Call { connection, header: &header };
        let request = |diff, id, actor| DiffRequest { diff, id, from, to, actor };
        let (request, _ticket) = self.admit_other(&call, Action::Plan, app, &[("kind", "diff")], request).await?;
        self.backend().diff(request).await
    }

    #[zbus(out_args("text"))]
    async fn show(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
    ) -> Result<String, Error> {
        self.shown(&Call { connection, header: &header }, app, Showing::Text).await
    }

    #[zbus(out_args("json"))]
    async fn show_json(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        app: &str,
    ) -> Result<String, Error> {
        self.shown(&Call { connection, header: &header }, app, Showing::Json).await
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
        let mut options = Options::new(options, &["deployment (s)", "services (b)", "follow (b)", "lines (u)"])?;
        let deployment = options.text("deployment")?.map(|id| deployment_id(&id)).transpose()?;
        let (follow, services) = (options.flag("follow")?, options.flag("services")?);
        let whole = deployment.is_some();
        let lines = options.number("lines")?.or((!whole).then_some(LINES)).map(|lines| lines.min(MOST));
        if !self.backend.apps()?.contains(&app) {
            return Err(no_such_app(&app));
        }
        let caller = Caller::of(connection, &header).await?;
        let ticket = self.logs.take(caller.uid)?;
        let shown = deployment.as_ref().map(DeploymentId::as_str).unwrap_or_default();
        let details = HashMap::from([("app", app.as_str()), ("deployment", shown)]);
        let asking = Asking { backend: &self.backend, connection, header: &header, caller: &caller };
        let action = if services { Action::ReadServiceLogs } else { Action::ReadLogs };
        asking.may(action, &app, details).await?;
        let filter = LogFilter { app, deployment, services, follow, lines };
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
