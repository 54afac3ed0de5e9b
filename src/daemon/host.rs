//! The service's state and what the interface asks of it. Holds cheap handles only; no lock is held over an await.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use zbus::{Connection, OwnedObjectPath};

use super::{access, busy::Busy, coalesce, files, follow, judge, lists, logs, remembered::Remembered, show, uploads};
use crate::{
    config::{self, HostFacts},
    dbus::{
        Access, Answer, App, AppView, Backend, Deployment, Dict, Error, JUDGED, Judgement, LogFilter, NAME, Question,
        Quota, SharedView, Showing, Ticket, app_path, deployment_path, in_time, no_such_app,
    },
    model::{
        AppName, CheckRequest, DeployKey, DeploymentId, DiffRequest, HoldChange, HoldRequest, Holds, KeyRequest, Kind,
        Paths, PruneRequest, Request, UnitName, events, printable,
    },
    system::{
        journal::{self, Priority},
        units::Units,
        units::Verb,
    },
};

/// Objects of ended deployments that are kept; the oldest goes first.
const KEPT: usize = 256;

/// What the unit of a deployment that was asked for over the bus begins with.
const RUN: &str = "deploy-run@";

/// Calls of one user that may wait at once.
const WAITING: usize = 16;

/// The service.
pub struct Host {
    pub(super) paths: Paths,
    facts: fn(&Paths, &AppName) -> HostFacts,
    pub(super) connection: Connection,
    pub(super) units: Units,
    pub(super) busy: Busy,
    waiting: Quota,
    pub(super) surveying: tokio::sync::Mutex<()>,
    pub(super) coalescing: tokio::sync::Mutex<coalesce::Asked>,
    known: Mutex<Known>,
    pub(super) has_name: AtomicBool,
    views: Remembered<AppView>,
    roots: Remembered<String>,
}

/// What has an object.
#[derive(Default)]
struct Known {
    apps: HashSet<AppName>,
    /// What was last told of each app.
    told: HashMap<AppName, AppView>,
    deployments: HashMap<DeploymentId, Entry>,
    ended: VecDeque<DeploymentId>,
}

/// A deployment that has an object.
#[derive(Clone)]
pub(super) struct Entry {
    pub view: SharedView,
    /// The unit it runs in; `None`: it has ended and was rebuilt from its record.
    pub unit: Option<UnitName>,
}

impl Host {
    /// A service with no object yet.
    pub fn new(
        paths: Paths,
        facts: fn(&Paths, &AppName) -> HostFacts,
        connection: Connection,
        units: Units,
        busy: Busy,
    ) -> Self {
        Self {
            paths,
            facts,
            connection,
            units,
            busy,
            waiting: Quota::new("calls waiting", WAITING),
            surveying: tokio::sync::Mutex::default(),
            coalescing: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            has_name: AtomicBool::new(false),
            views: Remembered::default(),
            roots: Remembered::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a deployment was, if it is known.
    fn span(&self, app: &AppName, id: &DeploymentId) -> Option<logs::Span> {
        if let Ok(Some(record)) = files::record(&self.paths, app, id) {
            return Some(logs::Span { since: record.started_at, ended: true });
        }
        let running = files::state(&self.paths, app).ok()?.running.filter(|running| running.id == *id)?;
        Some(logs::Span { since: running.started_at, ended: false })
    }

    /// What is held. What cannot be read is told by the deployment that it refuses.
    fn holds(&self, app: &AppName) -> Holds {
        files::holds(&self.paths, app).unwrap_or_else(|error| {
            tracing::warn!(DEPLOYD_APP = %app, "what of app {app} is held is not shown: {error}");
            Holds::default()
        })
    }

    fn must_exist(&self, app: &AppName) -> Result<(), Error> {
        if self.apps()?.contains(app) { Ok(()) } else { Err(no_such_app(app)) }
    }

    /// Serves the objects of all configured apps.
    pub async fn serve_apps(self: &Arc<Self>) {
        let apps = match self.apps() {
            Ok(apps) => apps,
            Err(error) => return tracing::warn!("no app is served: {error}"),
        };
        for app in apps {
            if let Err(error) = self.serve_app(&app).await {
                tracing::warn!(DEPLOYD_APP = %app, "app {app} is not served: {error}");
            }
        }
    }

    async fn serve_app(self: &Arc<Self>, app: &AppName) -> Result<OwnedObjectPath, Error> {
        let path = app_path(app)?;
        if self.known().apps.insert(app.clone()) {
            let object = App::new(self.clone(), app.clone());
            self.connection.object_server().at(path.as_ref(), object).await?;
        }
        Ok(path)
    }

    /// Serves apps that are new among the configured ones, and no more those that are gone.
    pub(super) async fn apps_may_have_changed(self: &Arc<Self>) {
        let Ok(apps) = self.apps() else { return };
        let gone: Vec<AppName> = self.known().apps.iter().filter(|app| !apps.contains(app)).cloned().collect();
        for app in gone {
            self.known().apps.remove(&app);
            self.views.forget(&app);
            self.roots.forget(&app);
            if let Ok(path) = app_path(&app)
                && let Err(error) = self.connection.object_server().remove::<App, _>(path.as_ref()).await
            {
                tracing::debug!("the object of app {app} was not removed, ignoring: {error}");
            }
        }
        self.serve_apps().await;
    }

    /// What was last told of an app that has an object, and what there is to tell now; it counts as told then.
    pub(super) fn to_tell(&self, app: &AppName) -> Option<(Option<AppView>, AppView)> {
        let now = self.app(app).ok()?;
        let mut known = self.known();
        let before = known.apps.contains(app).then(|| known.told.insert(app.clone(), now.clone()))?;
        Some((before, now))
    }

    /// Reads all apps' roots, so that whoever looks at all of them need not wait for that; until one is not there in time.
    pub(super) async fn read_roots_ahead(self: &Arc<Self>) {
        for app in self.apps().unwrap_or_default() {
            let host = Arc::clone(self);
            if in_time(JUDGED, move || host.root(&app)).await.is_none() {
                return;
            }
        }
    }

    /// Takes up what runs already: requests that an earlier service left, and what progress files tell of.
    pub async fn adopt(self: &Arc<Self>) {
        uploads::clean(&self.paths);
        for app in self.apps().unwrap_or_default() {
            for request in files::requests(&self.paths, &app) {
                if let Err(error) = follow::adopt_request(self, request).await {
                    tracing::warn!(DEPLOYD_APP = %app, "a request of app {app} is not followed: {error}");
                }
            }
            follow::progress(self, &app).await;
        }
    }

    /// Gives a deployment its object. `false`: it has one already.
    pub(super) async fn serve_deployment(self: &Arc<Self>, entry: Entry) -> Result<bool, Error> {
        let id = entry.view.get().id;
        let view = entry.view.clone();
        if self.known().deployments.contains_key(&id) {
            return Ok(false);
        }
        let ended = entry.unit.is_none();
        self.known().deployments.insert(id.clone(), entry);
        let object = Deployment::new(self.clone(), view);
        self.connection.object_server().at(deployment_path(&id)?.as_ref(), object).await?;
        if ended {
            self.retire(id).await;
        }
        Ok(true)
    }

    /// Counts a deployment as ended; the oldest ended objects beyond [`KEPT`] go.
    pub(super) async fn retire(&self, id: DeploymentId) {
        let surplus = {
            let mut known = self.known();
            if let Some(entry) = known.deployments.get_mut(&id) {
                entry.unit = None;
            }
            known.ended.push_back(id);
            let surplus = (known.ended.len() > KEPT).then(|| known.ended.pop_front()).flatten();
            if let Some(old) = &surplus {
                known.deployments.remove(old);
            }
            surplus
        };
        let Some(old) = surplus else { return };
        if let Ok(path) = deployment_path(&old)
            && let Err(error) = self.connection.object_server().remove::<Deployment, _>(path.as_ref()).await
        {
            tracing::debug!("object of deployment {old} was not removed, ignoring: {error}");
        }
    }

    /// A deployment that has an object.
    pub(super) fn entry(&self, id: &DeploymentId) -> Option<Entry> {
        self.known().deployments.get(id).cloned()
    }

    /// The deployments of an app that were asked for over the bus and have not ended, with their units.
    pub(super) fn asked_for(&self, app: &AppName) -> Vec<(DeploymentId, UnitName)> {
        let known = self.known();
        let of_app = known.deployments.iter().filter(|(_, entry)| entry.view.get().app == *app);
        let units = of_app.filter_map(|(id, entry)| Some((id.clone(), entry.unit.clone()?)));
        units.filter(|(_, unit)| unit.as_str().starts_with(RUN)).collect()
    }

    /// The newest deployment of an app that has not ended, by the objects.
    fn running(&self, app: &AppName) -> Option<DeploymentId> {
        let known = self.known();
        let views = known.deployments.values().filter(|e| e.unit.is_some()).map(|e| e.view.get());
        let mut of_app: Vec<_> = views.filter(|v| v.app == *app).collect();
        of_app.sort_by_key(|v| v.phase == "waiting");
        of_app.into_iter().next().map(|v| v.id)
    }
}

/// The unit of a deployment that was asked for over the bus.
pub(super) fn unit(template: &str, app: &AppName, id: &DeploymentId) -> Result<UnitName, Error> {
    format!("{template}@{app}:{id}.service").parse().map_err(|e| Error::Failed(format!("{e}")))
}

impl Backend for Host {
    fn is_known(&self) -> bool {
        self.has_name.load(Ordering::Relaxed)
    }

    fn apps(&self) -> Result<Vec<AppName>, Error> {
        config::list(&self.paths).map_err(|e| Error::Failed(format!("cannot list the apps: {e}")))
    }

    fn root(&self, app: &AppName) -> Option<String> {
        // What cannot be read is not remembered: that a user is not known yet is seen in none of the files.
        let read = || {
            let settings = config::load(&self.paths, app, &(self.facts)(&self.paths, app));
            settings.map(|settings| settings.root.display().to_string()).map_err(|e| Error::BadConfig(e.summary))
        };
        self.roots.get(app, config::places(&self.paths, app), read).ok()
    }

    fn root_seen(&self, app: &AppName) -> Option<String> {
        self.roots.seen(app, config::places(&self.paths, app))
    }

    fn app(&self, app: &AppName) -> Result<AppView, Error> {
        let read = || Ok(lists::app(&files::state(&self.paths, app)?, self.holds(app).app.as_ref()));
        let mut view = self.views.get(app, vec![self.paths.state_file(app), self.paths.holds_file(app)], read)?;
        if let Some(id) = self.running(app) {
            view.running = id.to_string();
        }
        Ok(view)
    }

    fn app_object(self: Arc<Self>, app: AppName) -> Answer<'static, OwnedObjectPath> {
        Box::pin(async move {
            self.must_exist(&app)?;
            self.serve_app(&app).await
        })
    }

    fn deployment_object(self: Arc<Self>, app: AppName, id: DeploymentId) -> Answer<'static, OwnedObjectPath> {
        Box::pin(async move {
            let none = || Error::NoSuchDeployment(format!("app {app} has no deployment {id}"));
            if let Some(entry) = self.entry(&id) {
                return if entry.view.get().app == app { deployment_path(&id) } else { Err(none()) };
            }
            let record = files::record(&self.paths, &app, &id)?.ok_or_else(none)?;
            let view = SharedView::new(lists::ended(&app, &record));
            self.serve_deployment(Entry { view, unit: None }).await?;
            deployment_path(&id)
        })
    }

    fn new_id(&self) -> Result<DeploymentId, Error> {
        files::random_id()
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        self.must_exist(&request.app)?;
        if let Some(reference) = &request.reference {
            config::check_reference(reference).map_err(|rule| {
                Error::InvalidArgs(format!("the ref \"{}\" is not valid: {}", printable(reference), printable(&rule)))
            })?;
        }
        let Some(release) = &request.release else { return Ok(()) };
        let state = files::state(&self.paths, &request.app)?;
        if state.releases.iter().any(|known| known.id == *release) {
            return Ok(());
        }
        let app = &request.app;
        Err(Error::NoSuchRelease(format!("app {app} has no release {release}; `deployctl releases {app}` lists them")))
    }

    /// The disk or a directory of users may keep it waiting.
    fn judge(self: Arc<Self>, question: Question) -> Answer<'static, Judgement> {
        Box::pin(async move {
            let judged = move |question: &Question| {
                let load = || config::load(&self.paths, &question.app, &(self.facts)(&self.paths, &question.app)).ok();
                judge::judge(question, load, &access::Nss)
            };
            Ok(judge::within(JUDGED, question, judged).await)
        })
    }

    fn waiting(&self) -> &Quota {
        &self.waiting
    }

    fn hold(&self) -> Box<dyn Send + Sync> {
        Box::new(self.busy.hold())
    }

    fn access(&self, access: &Access<'_>) {
        let actor = access.actor.to_string();
        let (id, priority, text) = match access.refusal {
            None => (events::ACCESS_ALLOWED, Priority::Info, format!("{actor} may {} {}", access.action, access.app)),
            Some(why) => (
                events::ACCESS_DENIED,
                Priority::Warning,
                format!("{actor} may not {} {}: {}", access.action, access.app, printable(why)),
            ),
        };
        let fields = [
            ("DEPLOYD_ACTION", access.action),
            ("DEPLOYD_APP", access.app.as_str()),
            ("DEPLOYD_ACTOR", actor.as_str()),
        ];
        journal::event(id, priority, &text, &fields);
    }

    fn start(
        self: Arc<Self>,
        request: Request,
        upload: Option<OwnedFd>,
        ticket: Ticket,
    ) -> Answer<'static, OwnedObjectPath> {
        Box::pin(async move {
            let _held = self.busy.hold();
            if let Some(file) = upload {
                uploads::take(&self.paths, &request, file).await?;
            }
            follow::start(&self, request, ticket).await
        })
    }

    fn coalesce(self: Arc<Self>, request: Request, ticket: Ticket) -> Answer<'static, OwnedObjectPath> {
        Box::pin(async move {
            let _held = self.busy.hold();
            coalesce::start(&self, request, ticket).await
        })
    }

    fn plan(self: Arc<Self>, request: Request) -> Answer<'static, String> {
        Box::pin(async move { follow::plan(&self, &request).await })
    }

    fn survey(self: Arc<Self>, app: AppName, ticket: Ticket) -> Answer<'static, Vec<String>> {
        Box::pin(async move {
            self.must_exist(&app)?;
            let _held = ticket;
            // What was never deployed was made from nothing.
            if lists::app(&files::state(&self.paths, &app)?, None).current.is_empty() {
                return Ok(Vec::new());
            }
            follow::survey(&self, &app).await
        })
    }

    fn findings(self: Arc<Self>, request: CheckRequest) -> Answer<'static, Vec<Dict>> {
        Box::pin(async move { Ok(follow::check(&self, &request).await?.iter().map(lists::finding).collect()) })
    }

    fn make_key(self: Arc<Self>, request: KeyRequest) -> Answer<'static, DeployKey> {
        Box::pin(async move { follow::key(&self, &request).await })
    }

    fn hold_app(self: Arc<Self>, request: HoldRequest) -> Answer<'static, HoldChange> {
        Box::pin(async move { follow::hold(&self, &request).await })
    }

    fn prune(self: Arc<Self>, request: PruneRequest) -> Answer<'static, Vec<Dict>> {
        Box::pin(async move { Ok(follow::prune(&self, &request).await?.iter().rev().map(lists::pruned).collect()) })
    }

    fn diff(self: Arc<Self>, request: DiffRequest) -> Answer<'static, Dict> {
        Box::pin(async move { Ok(lists::difference(&follow::diff(&self, &request).await?)) })
    }

    fn cancel(self: Arc<Self>, app: AppName, id: DeploymentId) -> Answer<'static, ()> {
        Box::pin(async move {
            let _held = self.busy.hold();
            let unit = self.entry(&id).and_then(|entry| entry.unit);
            let Some(unit) = unit else {
                return Err(Error::NotRunning(format!("deployment {id} of app {app} has ended already")));
            };
            if !unit.as_str().starts_with(RUN) {
                return Err(Error::Failed(format!(
                    "deployment {id} of app {app} was started by systemd: `systemctl stop {unit}` cancels it"
                )));
            }
            // Not awaited: after activate it goes back first, which may take longer than a call may.
            self.units
                .enqueue(Verb::Stop, &unit)
                .await
                .map_err(|e| Error::Failed(format!("deployment {id} was not cancelled: {e}")))
        })
    }

    fn show(&self, app: &AppName, uid: u32, how: Showing) -> Result<String, Error> {
        self.must_exist(app)?;
        // The rendered error quotes the file's lines, and those may hold secrets.
        let load = config::load(&self.paths, app, &(self.facts)(&self.paths, app));
        let settings = load.map_err(|e| Error::BadConfig(if uid == 0 { e.rendered } else { e.summary }))?;
        match how {
            Showing::Text => Ok(config::show(&show::hidden(settings))),
            Showing::Json => show::json(settings).map_err(|e| Error::Failed(format!("{NAME}: {e}"))),
        }
    }

    fn deployments(&self, app: &AppName, limit: u32) -> Result<Vec<Dict>, Error> {
        self.must_exist(app)?;
        Ok(files::records(&self.paths, app)?.iter().take(limit as usize).map(lists::deployment).collect())
    }

    fn releases(&self, app: &AppName) -> Result<Vec<Dict>, Error> {
        self.must_exist(app)?;
        Ok(lists::releases(&files::state(&self.paths, app)?, &self.holds(app)))
    }

    fn open_log(self: Arc<Self>, filter: LogFilter, ticket: Ticket) -> Result<OwnedFd, Error> {
        let span = filter.deployment.as_ref().filter(|_| filter.services).and_then(|id| self.span(&filter.app, id));
        logs::open(filter, span, (ticket, self.busy.hold()))
    }
}

/// The unit that systemd runs a deployment in, when it was not asked for over the bus.
pub(super) fn unit_of_kind(kind: Kind, app: &AppName) -> Result<UnitName, Error> {
    let template = match kind {
        Kind::Deploy => "deploy",
        Kind::Stage => "deploy-stage",
        Kind::Activate => "deploy-activate",
        Kind::Rollback => "deploy-rollback",
    };
    format!("{template}@{app}.service").parse().map_err(|e| Error::Failed(format!("{e}")))
}
