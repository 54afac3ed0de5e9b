//! The served interface on a private bus, with a backend and a polkit of our own. No systemd, nothing of the host.

// Helpers of tests may end a test; clippy's own exception knows only functions marked as tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use deployd::{
    dbus::{
        self, Access, Action, Answer, App, AppView, Backend, Deployment, DeploymentView, Dict, Error, Judgement,
        LogFilter, Manager, ManagerProxy, Question, Quota, SharedView, Showing, Ticket, app_path, deployment_path,
        no_such_app, publish,
    },
    model::{
        AppName, CheckRequest, DeployKey, DeploymentId, DiffRequest, HoldChange, HoldRequest, KeyChange, KeyRequest,
        Kind, PruneRequest, Request,
    },
};
use futures_util::StreamExt;
use zbus::{Connection, DBusError, OwnedObjectPath, OwnedVariant, Variant, connection, fdo};

/// A bus daemon that ends with the test.
struct Bus {
    daemon: Child,
    address: String,
    _dir: tempfile::TempDir,
}

impl Bus {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/>\
             <allow own=\"*\"/></policy></busconfig>",
            dir.path().join("socket").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--config-file={}", config.display()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon is needed: apt-get install dbus");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { daemon, address: address.trim().to_owned(), _dir: dir }
    }

    async fn connect(&self) -> Connection {
        connection::Builder::address(self.address.as_str()).build().await.unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// What polkit was asked: action, details, flags.
type Asked = Arc<Mutex<Vec<(String, HashMap<String, String>, u32)>>>;

/// Says yes for the app `shop`, asks for authentication for `my-shop`, says no otherwise.
struct FakePolkit(Asked);

#[zbus::interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl FakePolkit {
    #[allow(clippy::type_complexity)] // The signature is polkit's.
    fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        details: HashMap<String, String>,
        flags: u32,
        _cancellation: String,
    ) -> ((bool, bool, HashMap<String, String>),) {
        assert_eq!(subject.0, "system-bus-name");
        assert!(subject.1["name"].downcast_ref::<&str>().unwrap().starts_with(':'));
        let app = details.get("app").cloned().unwrap_or_default();
        self.0.lock().unwrap().push((action, details, flags));
        ((app == "shop", app == "my-shop", HashMap::new()),)
    }
}

/// Remembers what it was told; executes nothing.
struct FakeBackend {
    connection: Connection,
    told: Mutex<Vec<String>>,
    started: Mutex<Vec<Request>>,
    waiting: Quota,
    known: AtomicBool,
    /// How often an app's state was asked for.
    read: AtomicUsize,
}

impl FakeBackend {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl Backend for FakeBackend {
    fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }
    fn apps(&self) -> Result<Vec<AppName>, Error> {
        Ok(["my-shop", "other", "shop"].map(|a| a.parse().unwrap()).into())
    }
    fn root_seen(&self, _app: &AppName) -> Option<String> {
        None
    }

    fn root(&self, _app: &AppName) -> Option<String> {
        Some("/srv/shop".into())
    }
    fn app(&self, _app: &AppName) -> Result<AppView, Error> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let live_slots = vec![("php-fpm".to_owned(), "b".to_owned())];
        Ok(AppView { current: "R".into(), live_slots, ..AppView::default() })
    }
    fn app_object(self: Arc<Self>, app: AppName) -> Answer<'static, OwnedObjectPath> {
        Box::pin(async move {
            if !self.apps()?.contains(&app) {
                return Err(no_such_app(&app));
            }
            let path = app_path(&app)?;
            self.connection.object_server().at(path.as_ref(), App::new(self.clone(), app)).await?;
            Ok(path)
        })
    }
    fn deployment_object(self: Arc<Self>, app: AppName, id: DeploymentId) -> Answer<'static, OwnedObjectPath> {
        Box::pin(async move { Err(Error::NoSuchDeployment(format!("{app} {id}"))) })
    }
    fn new_id(&self) -> Result<DeploymentId, Error> {
        Ok(DeploymentId::from_bits(self.started.lock().unwrap().len() as u64 + 1))
    }
    fn check(&self, request: &Request) -> Result<(), Error> {
        if !self.apps()?.contains(&request.app) {
            return Err(no_such_app(&request.app));
        }
        Ok(())
    }
    fn waiting(&self) -> &Quota {
        &self.waiting
    }
    /// Whoever cancels a deployment or deploys `refs/heads/main` is listed.
    fn judge(self: Arc<Self>, question: Question) -> Answer<'static, Judgement> {
        let reference = question.request.and_then(|request| request.reference);
        let main = reference.as_deref() == Some("refs/heads/main");
        let other_ref = reference.as_deref() == Some("v1.2");
        let listed = main || question.action == Action::Cancel;
        Box::pin(async move { Ok(Judgement { other_ref, webhook: main, listed, unknown: false }) })
    }
    fn hold(&self) -> Box<dyn Send + Sync> {
        Box::new(())
    }
    fn access(&self, access: &Access<'_>) {
        let verdict = if access.refusal.is_some() { "denied" } else { "allowed" };
        self.told.lock().unwrap().push(format!("{verdict} {} {}", access.action, access.app));
    }
    fn start(
        self: Arc<Self>,
        request: Request,
        upload: Option<OwnedFd>,
        _ticket: Ticket,
    ) -> Answer<'static, OwnedObjectPath> {
        Box::pin(async move {
            assert_eq!(request.upload, upload.is_some());
            let path = deployment_path(&request.id)?;
            let view = DeploymentView::new(request.app.clone(), request.id.clone(), request.kind.as_str(), "user:x");
            let view = SharedView::new(view);
            let object = Deployment::new(self.clone(), view.clone());
            self.connection.object_server().at(path.as_ref(), object).await?;
            self.started.lock().unwrap().push(request);
            tokio::spawn(async move {
                publish(&self.connection, &view, |v| v.phase = "staging".into()).await.unwrap();
            });
            Ok(path)
        })
    }
    fn coalesce(self: Arc<Self>, request: Request, ticket: Ticket) -> Answer<'static, OwnedObjectPath> {
        self.told.lock().unwrap().push(format!("coalesce {}", request.app));
        self.start(request, None, ticket)
    }
    fn plan(self: Arc<Self>, request: Request) -> Answer<'static, String> {
        Box::pin(async move { Ok(format!("{{\"decision\":\"go\",\"kind\":\"{}\"}}", request.kind)) })
    }
    fn survey(self: Arc<Self>, app: AppName, _ticket: Ticket) -> Answer<'static, Vec<String>> {
        Box::pin(async move { Ok(vec![format!(".env of {app}")]) })
    }
    fn findings(self: Arc<Self>, request: CheckRequest) -> Answer<'static, Vec<Dict>> {
        Box::pin(async move {
            let text = |text: String| OwnedVariant::try_from(Variant::from(text)).unwrap();
            let id = text("nginx-document-root".into());
            Ok(vec![Dict::from([("id".to_owned(), id), ("app".to_owned(), text(request.check.to_string()))])])
        })
    }
    fn make_key(self: Arc<Self>, request: KeyRequest) -> Answer<'static, DeployKey> {
        Box::pin(async move {
            let change = if request.rotate { KeyChange::Replaced } else { KeyChange::Kept };
            Ok(DeployKey { public: format!("ssh-ed25519 AAAA {}", request.key), change })
        })
    }
    fn hold_app(self: Arc<Self>, request: HoldRequest) -> Answer<'static, HoldChange> {
        Box::pin(async move {
            self.told.lock().unwrap().push(format!("{} {} {}", request.held, request.hold, request.reason));
            Ok(if request.held { HoldChange::Held } else { HoldChange::Unheld })
        })
    }
    fn prune(self: Arc<Self>, request: PruneRequest) -> Answer<'static, Vec<Dict>> {
        self.told.lock().unwrap().push(format!("prune {} {:?} {}", request.prune, request.keep, request.dry_run));
        Box::pin(async move { Ok(vec![Dict::new()]) })
    }
    fn diff(self: Arc<Self>, request: DiffRequest) -> Answer<'static, Dict> {
        self.told.lock().unwrap().push(format!("diff {} {:?}", request.diff, request.from.map(|id| id.to_string())));
        Box::pin(async move { Ok(Dict::new()) })
    }
    fn cancel(self: Arc<Self>, app: AppName, id: DeploymentId) -> Answer<'static, ()> {
        Box::pin(async move {
            self.told.lock().unwrap().push(format!("cancel {app} {id}"));
            Ok(())
        })
    }
    fn show(&self, app: &AppName, _uid: u32, _how: Showing) -> Result<String, Error> {
        Ok(format!("# {app}\n"))
    }
    fn deployments(&self, _app: &AppName, limit: u32) -> Result<Vec<Dict>, Error> {
        Ok((0..limit).map(|_| Dict::new()).collect())
    }
    fn releases(&self, _app: &AppName) -> Result<Vec<Dict>, Error> {
        Ok(vec![])
    }
    fn open_log(self: Arc<Self>, filter: LogFilter, _ticket: Ticket) -> Result<OwnedFd, Error> {
        let (reading, mut writing) = std::io::pipe().unwrap();
        writing.write_all(format!("{} {:?}\n", filter.app, filter.lines).as_bytes()).unwrap();
        Ok(reading.into())
    }
}

/// A served bus and a client on it.
struct Scene {
    asked: Asked,
    backend: Arc<FakeBackend>,
    client: Connection,
    _polkit: Connection,
    _bus: Bus,
}

impl Scene {
    async fn new() -> Self {
        let bus = Bus::start();
        let asked = Asked::default();
        let polkit = bus.connect().await;
        let path = "/org/freedesktop/PolicyKit1/Authority";
        polkit.object_server().at(path, FakePolkit(asked.clone())).await.unwrap();
        polkit.request_name("org.freedesktop.PolicyKit1").await.unwrap();
        let connection = bus.connect().await;
        let backend = Arc::new(FakeBackend {
            connection: connection.clone(),
            told: Mutex::default(),
            started: Mutex::default(),
            waiting: Quota::new("calls waiting", 2),
            known: AtomicBool::new(true),
            read: AtomicUsize::new(0),
        });
        connection.object_server().at(dbus::PATH, fdo::ObjectManager).await.unwrap();
        connection.object_server().at(dbus::PATH, Manager::new(backend.clone())).await.unwrap();
        connection.request_name(dbus::NAME).await.unwrap();
        let client = bus.connect().await;
        Self { asked, backend, client, _polkit: polkit, _bus: bus }
    }

    async fn manager(&self) -> ManagerProxy<'static> {
        ManagerProxy::new(&self.client).await.unwrap()
    }

    async fn introspect(&self, path: &str) -> String {
        let proxy = fdo::IntrospectableProxy::builder(&self.client).destination(dbus::NAME).path(path.to_owned());
        proxy.build().await.unwrap().introspect().await.unwrap()
    }
}

fn options(pairs: &[(&'static str, Variant<'static>)]) -> HashMap<&'static str, Variant<'static>> {
    pairs.iter().map(|(key, value)| (*key, value.try_clone().unwrap())).collect()
}

/// An error reply's name and text.
fn refusal<T: std::fmt::Debug>(result: zbus::Result<T>) -> (String, String) {
    match result {
        Err(zbus::Error::MethodError(name, text, _)) => (name.to_string(), text.unwrap_or_default()),
        Err(zbus::Error::FDO(error)) => (error.name().to_string(), error.description().unwrap_or_default().to_owned()),
        other => panic!("an error reply was expected, not {other:?}"),
    }
}

/// Every element of the interfaces of ours with its attributes, as sorted lines; the order of arguments counts.
fn normalised(xml: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut stack: Vec<(String, usize)> = Vec::new();
    let mut text = xml.to_owned();
    while let Some(start) = text.find("<!--") {
        let end = text[start..].find("-->").unwrap() + start + 3;
        text.replace_range(start..end, "");
    }
    for tag in text.split('<').skip(1).map(|t| t.split('>').next().unwrap().trim()) {
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if tag.starts_with('/') {
            stack.pop();
            continue;
        }
        let closed = tag.ends_with('/');
        let tag = tag.trim_end_matches('/');
        let (name, rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        let quoted: Vec<&str> = rest.split('"').collect();
        let mut attributes: Vec<String> = quoted
            .chunks_exact(2)
            .map(|pair| format!("{}={}", pair[0].trim().trim_end_matches('=').trim(), pair[1]))
            .collect();
        attributes.sort();
        let nth = stack.last_mut().map_or(0, |(_, count)| {
            *count += 1;
            *count
        });
        let at = if name == "arg" { format!("#{nth}") } else { String::new() };
        let own = format!("{name}{at}[{}]", attributes.join(" "));
        let path: Vec<&str> = stack.iter().map(|(s, _)| s.as_str()).chain([own.as_str()]).collect();
        let path = path.join("/");
        if let Some(from) = path.find("interface[name=org.deployd1.") {
            lines.push(path[from..].to_owned());
        }
        if !closed {
            stack.push((own, 0));
        }
    }
    lines.sort();
    lines
}

#[tokio::test]
async fn what_is_served_is_the_contract() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    let app = manager.get_app("my-shop").await.unwrap();
    assert_eq!(app.as_str(), "/org/deployd1/app/my_2dshop");
    let deployment = manager.deploy("shop", &options(&[])).await.unwrap();
    let mut served = Vec::new();
    for path in [dbus::PATH, app.as_str(), deployment.as_str()] {
        let xml = scene.introspect(path).await;
        // Children are part of the parent's answer by name only.
        served.extend(normalised(&xml));
    }
    served.sort();
    let contract = normalised(include_str!("../dbus/org.deployd1.xml"));
    assert!(contract.len() > 50, "the contract was not read: {contract:?}");
    let missing: Vec<_> = contract.iter().filter(|line| !served.contains(line)).collect();
    let extra: Vec<_> = served.iter().filter(|line| !contract.contains(line)).collect();
    assert!(missing.is_empty() && extra.is_empty(), "not served: {missing:#?}\nnot in the contract: {extra:#?}");
}

#[tokio::test]
async fn bad_arguments_are_refused_by_name_before_anyone_is_asked() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    const INVALID: &str = "org.freedesktop.DBus.Error.InvalidArgs";
    let (name, text) = refusal(manager.deploy("shop", &options(&[("reff", "main".into())])).await);
    assert_eq!(
        (name.as_str(), text.as_str()),
        (
            INVALID,
            "unknown option \"reff\"; known are: ref (s), force (b), coalesce (b), allow-destructive (b), \
             allow-key-rotation (b)"
        )
    );
    let (name, text) = refusal(manager.deploy("shop", &options(&[("force", "yes".into())])).await);
    assert_eq!((name.as_str(), text.as_str()), (INVALID, "option \"force\" has the type s; it is: force (b)"));
    let upload = async |options| {
        manager.upload("shop", OwnedFd::from(std::fs::File::open(file!()).unwrap()).into(), options).await
    };
    for refused in [
        refusal(manager.stage("shop", &options(&[("allow-destructive", true.into())])).await),
        refusal(manager.plan("shop", "stage", &options(&[("allow-destructive", true.into())])).await),
        refusal(upload(&options(&[("stage", true.into()), ("allow-destructive", true.into())])).await),
    ] {
        assert!(
            refused.0 == INVALID && refused.1.contains("nothing is migrated when a release is staged"),
            "{refused:?}"
        );
    }
    for bad in ["../x", "", "Shop", "shop/", "a--b", &"a".repeat(33), "shop\n"] {
        let (name, text) = refusal(manager.deploy(bad, &options(&[])).await);
        assert_eq!(name, INVALID, "{bad:?}");
        assert!(text.contains("the app name") && text.contains("my-shop"), "{text}");
    }
    let (name, _) = refusal(manager.rollback("shop", &options(&[("release", "../../etc".into())])).await);
    assert_eq!(name, INVALID);
    let (name, text) = refusal(manager.plan("shop", "destroy", &options(&[])).await);
    assert!(name == INVALID && text.contains("rollback"), "{text}");
    let (name, _) = refusal(manager.get_deployment("shop", "1").await);
    assert_eq!(name, INVALID);
    let (name, text) = refusal(manager.deploy("nothing", &options(&[])).await);
    assert_eq!(name, "org.deployd1.Error.NoSuchApp");
    assert!(text.contains("/etc/deployd/apps/nothing.toml"), "{text}");
    let (name, _) = refusal(manager.get_deployment("shop", "00000000000000ff").await);
    assert_eq!(name, "org.deployd1.Error.NoSuchDeployment");
    assert!(scene.asked.lock().unwrap().is_empty() && scene.backend.told().is_empty());
}

#[tokio::test]
async fn what_is_authorised_is_what_is_started() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    manager.deploy("shop", &options(&[("ref", "v1.2".into()), ("force", true.into())])).await.unwrap();
    let started = scene.backend.started.lock().unwrap().clone();
    assert_eq!((started.len(), started[0].kind, started[0].force), (1, Kind::Deploy, true));
    assert_eq!(started[0].allow, Default::default());
    let asked = scene.asked.lock().unwrap().clone();
    let (action, details, flags) = &asked[0];
    assert_eq!((action.as_str(), *flags), ("org.deployd1.deploy-other-ref", 1), "the proxy lets polkit ask the user");
    for (key, value) in [
        ("app", "shop"),
        ("ref", "v1.2"),
        ("kind", "deploy"),
        ("release", ""),
        ("force", "yes"),
        ("allow-destructive", "no"),
        ("run-again", "no"),
        ("webhook", "no"),
        ("access", "no"),
    ] {
        assert_eq!(details[key], value, "{key}");
    }
    assert_eq!(scene.backend.told(), ["allowed org.deployd1.deploy-other-ref shop"]);
}

/// What a rule cannot read is told by deployd: whether the app lets a webhook have this ref deployed.
#[tokio::test]
async fn polkit_is_told_what_a_webhook_may_have_deployed() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    manager.deploy("shop", &options(&[("ref", "refs/heads/main".into()), ("coalesce", true.into())])).await.unwrap();
    let details = scene.asked.lock().unwrap()[0].1.clone();
    assert_eq!((details["webhook"].as_str(), details["access"].as_str()), ("allowed", "listed"));
    assert_eq!(scene.backend.told(), ["allowed org.deployd1.deploy shop", "coalesce shop"]);
}

/// DB-10: an archive is a regular file that is open for reading; anything else is refused at once, and nobody is asked.
#[tokio::test]
async fn an_upload_is_asked_about_as_one_and_only_a_file_is_taken() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    let (reading, _writing) = std::io::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let deleted = tempfile::tempfile().unwrap();
    for (file, why) in [
        (OwnedFd::from(reading), "no regular file"),
        (socket.into(), "no regular file"),
        (std::fs::File::open("/").unwrap().into(), "no regular file"),
        (deleted.into(), "was deleted"),
    ] {
        let (name, text) = refusal(manager.upload("shop", file.into(), &options(&[])).await);
        assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
        assert!(text.contains(why), "{text}");
    }
    let mut archive = tempfile::NamedTempFile::new().unwrap();
    archive.write_all(b"archive").unwrap();
    let open = || zbus::Fd::from(OwnedFd::from(archive.reopen().unwrap()));
    let (name, _) = refusal(manager.upload("shop", open(), &options(&[("ref", "main".into())])).await);
    assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
    assert!(scene.asked.lock().unwrap().is_empty());
    let (name, _) = refusal(manager.upload("other", open(), &options(&[])).await);
    assert_eq!(name, "org.freedesktop.DBus.Error.AccessDenied");
    assert!(scene.backend.started.lock().unwrap().is_empty());
    manager.upload("shop", open(), &options(&[("stage", true.into())])).await.unwrap();
    let started = scene.backend.started.lock().unwrap().clone();
    assert_eq!((started.len(), started[0].kind, started[0].upload), (1, Kind::Stage, true));
    let asked = scene.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|(action, ..)| action == "org.deployd1.upload"), "{asked:?}");
}

#[tokio::test]
async fn a_check_is_asked_about_as_a_plan_is() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    let found = manager.check("shop", &options(&[])).await.unwrap();
    assert_eq!(found[0]["id"].downcast_ref::<&str>().unwrap(), "nginx-document-root");
    assert_eq!(found[0]["app"].downcast_ref::<&str>().unwrap(), "shop");
    let (action, details, _) = scene.asked.lock().unwrap()[0].clone();
    assert_eq!((action.as_str(), details["kind"].as_str()), ("org.deployd1.plan", "check"));
    assert_eq!(refusal(manager.check("nothing", &options(&[])).await).0, "org.deployd1.Error.NoSuchApp");
    let (_, text) = refusal(manager.check("shop", &options(&[("deep", true.into())])).await);
    assert_eq!(text, "unknown option \"deep\"; known are: there are none");
}

#[tokio::test]
async fn a_deploy_key_is_seen_by_one_action_and_replaced_by_another() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    let key = manager.make_key("shop", &options(&[])).await.unwrap();
    assert_eq!(key, ("ssh-ed25519 AAAA shop".to_owned(), "kept".to_owned()));
    assert_eq!(manager.make_key("shop", &options(&[("rotate", true.into())])).await.unwrap().1, "replaced");
    let asked = scene.asked.lock().unwrap().clone();
    let told: Vec<_> = asked.iter().map(|(action, details, _)| (action.as_str(), details["rotate"].as_str())).collect();
    assert_eq!(told, [("org.deployd1.key", "no"), ("org.deployd1.rotate-key", "yes")]);
    assert_eq!(refusal(manager.make_key("other", &options(&[])).await).0, "org.freedesktop.DBus.Error.AccessDenied");
    assert_eq!(refusal(manager.make_key("nothing", &options(&[])).await).0, "org.deployd1.Error.NoSuchApp");
}

/// Each is its own risk and has its own action; what only looks is asked about as a plan is.
#[tokio::test]
async fn a_hold_and_a_pruning_have_actions_of_their_own() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    let release = "20260131T120000Z-1a2b3c4d";
    assert_eq!(manager.hold("shop", &options(&[("reason", "sale".into())])).await.unwrap(), "held");
    assert_eq!(manager.unhold("shop", &options(&[("release", release.into())])).await.unwrap(), "unheld");
    manager.prune("shop", &options(&[("keep", 2u32.into())])).await.unwrap();
    manager.prune("shop", &options(&[("dry-run", true.into())])).await.unwrap();
    manager.diff("shop", &options(&[("from", release.into())])).await.unwrap();
    let asked = scene.asked.lock().unwrap().clone();
    let told: Vec<_> = asked.iter().map(|(action, details, _)| (action.as_str(), details["kind"].as_str())).collect();
    let [hold, prune, plan] = ["org.deployd1.hold", "org.deployd1.prune", "org.deployd1.plan"];
    assert_eq!(told, [(hold, "hold"), (hold, "unhold"), (prune, "prune"), (plan, "prune"), (plan, "diff")]);
    assert_eq!((asked[1].1["release"].as_str(), asked[2].1["keep"].as_str()), (release, "2"));
    let denied = "org.freedesktop.DBus.Error.AccessDenied";
    let before = scene.backend.told().len();
    assert_eq!(refusal(manager.hold("other", &options(&[])).await).0, denied);
    assert_eq!(refusal(manager.unhold("other", &options(&[])).await).0, denied);
    assert_eq!(refusal(manager.prune("other", &options(&[])).await).0, denied);
    assert_eq!(refusal(manager.prune("other", &options(&[("dry-run", true.into())])).await).0, denied);
    assert_eq!(refusal(manager.diff("other", &options(&[])).await).0, denied);
    assert!(scene.backend.told()[before..].iter().all(|told| told.starts_with("denied ")));
    assert_eq!(refusal(manager.hold("nothing", &options(&[])).await).0, "org.deployd1.Error.NoSuchApp");
    for (name, _) in [
        refusal(manager.hold("shop", &options(&[("reason", "x".repeat(301).into())])).await),
        refusal(manager.hold("shop", &options(&[("release", "../x".into())])).await),
        refusal(manager.prune("shop", &options(&[("keep", (-1i32).into())])).await),
        refusal(manager.diff("shop", &options(&[("of", "x".into())])).await),
    ] {
        assert_eq!(name, "org.freedesktop.DBus.Error.InvalidArgs");
    }
}

#[tokio::test]
async fn a_no_reaches_the_caller_by_its_name_and_starts_nothing() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    let none = options(&[]);
    let denied = "org.freedesktop.DBus.Error.AccessDenied";
    assert_eq!(refusal(manager.deploy("other", &none).await).0, denied);
    assert_eq!(refusal(manager.stage("other", &none).await).0, denied);
    assert_eq!(refusal(manager.activate("other", &none).await).0, denied);
    assert_eq!(refusal(manager.rollback("other", &none).await).0, denied);
    assert_eq!(refusal(manager.plan("other", "deploy", &none).await).0, denied);
    assert_eq!(refusal(manager.check("other", &none).await).0, denied);
    assert_eq!(refusal(manager.open_log("other", &none).await).0, denied);
    // Without the flag nobody may be asked, and the caller hears that asking would help.
    let body = ("my-shop", HashMap::<&str, Variant<'_>>::new());
    let call = scene.client.call_method(Some(dbus::NAME), dbus::PATH, Some(dbus::MANAGER), "Deploy", &body).await;
    let (name, _) = refusal(call);
    assert_eq!(name, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired");
    assert_eq!(scene.asked.lock().unwrap().last().unwrap().2, 0);
    assert!(scene.backend.started.lock().unwrap().is_empty());
    let actions = ["deploy", "stage", "activate", "rollback", "plan", "plan", "read-logs"];
    let mut expected: Vec<_> = actions.iter().map(|a| format!("denied org.deployd1.{a} other")).collect();
    expected.push("denied org.deployd1.deploy my-shop".into());
    assert_eq!(scene.backend.told(), expected);
}

#[tokio::test]
async fn no_polkit_means_no() {
    let scene = Scene::new().await;
    scene._polkit.release_name("org.freedesktop.PolicyKit1").await.unwrap();
    let (name, text) = refusal(scene.manager().await.deploy("shop", &options(&[])).await);
    assert_eq!(name, "org.deployd1.Error.Undecided");
    assert!(text.contains("could not be asked"), "{text}");
    assert!(scene.backend.started.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_deployment_tells_its_changes_and_is_cancelled_by_leave_only() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    let path = deployment_path(&DeploymentId::from_bits(1)).unwrap();
    let properties =
        fdo::PropertiesProxy::builder(&scene.client).destination(dbus::NAME).path(path.clone()).build().await.unwrap();
    let mut changes = properties.receive_properties_changed().await.unwrap();
    assert_eq!(manager.deploy("shop", &options(&[])).await.unwrap(), path);
    let change = changes.next().await.unwrap();
    let changed = &change.args().unwrap().changed_properties;
    assert_eq!(changed.len(), 1);
    assert_eq!(changed["Phase"].downcast_ref::<&str>().unwrap(), "staging");
    let proxy = dbus::DeploymentProxy::builder(&scene.client).path(path.clone()).build().await.unwrap();
    proxy.cancel().await.unwrap();
    assert_eq!(scene.asked.lock().unwrap()[1].1["access"], "listed");
    let told = scene.backend.told();
    assert_eq!(told[1..], ["allowed org.deployd1.cancel shop", "cancel shop 0000000000000001"]);
}

#[tokio::test]
async fn apps_are_listed_with_their_state() {
    let scene = Scene::new().await;
    let apps = scene.manager().await.list_apps().await.unwrap();
    let paths: Vec<_> = apps.iter().map(|(name, path)| format!("{name} {path}")).collect();
    assert_eq!(paths[0], "my-shop /org/deployd1/app/my_2dshop");
    let objects = fdo::ObjectManagerProxy::builder(&scene.client).destination(dbus::NAME).path(dbus::PATH);
    let managed = objects.build().await.unwrap().get_managed_objects().await.unwrap();
    let shop = &managed[&app_path(&"shop".parse().unwrap()).unwrap()];
    let properties = shop.iter().find(|(name, _)| name.as_str() == dbus::APP).unwrap().1;
    assert_eq!(properties["Current"].downcast_ref::<&str>().unwrap(), "R");
    let path = scene.manager().await.get_app("shop").await.unwrap();
    let proxy = dbus::AppProxy::builder(&scene.client).path(path).build().await.unwrap();
    assert_eq!(proxy.survey().await.unwrap(), [".env of shop"]);
    assert!(scene.asked.lock().unwrap().is_empty(), "everyone may know");
}

/// A host of 200 apps has each of them read when somebody asks, not for every start of the service.
#[tokio::test]
async fn nothing_is_read_of_an_app_before_somebody_can_ask() {
    let scene = Scene::new().await;
    let (backend, manager) = (&scene.backend, scene.manager().await);
    let objects = fdo::ObjectManagerProxy::builder(&scene.client).destination(dbus::NAME).path(dbus::PATH);
    let objects = objects.build().await.unwrap();
    backend.known.store(false, Ordering::Relaxed);
    manager.get_app("shop").await.unwrap();
    assert_eq!(backend.read.load(Ordering::Relaxed), 0);
    backend.known.store(true, Ordering::Relaxed);
    let mut added = objects.receive_interfaces_added().await.unwrap();
    manager.get_app("my-shop").await.unwrap();
    assert_ne!(backend.read.load(Ordering::Relaxed), 0);
    let signal = added.next().await.unwrap();
    let told = signal.args().unwrap();
    assert_eq!(told.interfaces_and_properties[dbus::APP].len(), 9, "all of it is told");
    let managed = objects.get_managed_objects().await.unwrap();
    let shop = &managed[&app_path(&"shop".parse().unwrap()).unwrap()];
    assert!(shop.values().any(|properties| properties.len() == 9), "also of what came before");
}

#[tokio::test]
async fn records_are_given_up_to_a_limit() {
    let scene = Scene::new().await;
    let manager = scene.manager().await;
    for (asked, given) in [(0, 200), (3, 3), (u32::MAX, 200)] {
        assert_eq!(manager.list_deployments("shop", asked).await.unwrap().len(), given, "{asked}");
    }
}

/// `Cancel` waits for polkit, which may wait for a person: nobody may pile such calls up.
#[tokio::test]
async fn cancellations_that_wait_are_limited() {
    let scene = Scene::new().await;
    let path = scene.manager().await.deploy("shop", &options(&[])).await.unwrap();
    let cancel = || async {
        let path = path.clone();
        let proxy = dbus::DeploymentProxy::builder(&scene.client).path(path).build().await.unwrap();
        proxy.cancel().await
    };
    let held = [scene.backend.waiting.take(own_uid()).unwrap(), scene.backend.waiting.take(own_uid()).unwrap()];
    assert_eq!(refusal(cancel().await).0, "org.freedesktop.DBus.Error.LimitsExceeded");
    assert_eq!(scene.asked.lock().unwrap().len(), 1, "polkit was asked about the deployment alone");
    drop(held);
    cancel().await.unwrap();
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test]
async fn a_log_arrives_as_a_descriptor() {
    let scene = Scene::new().await;
    let log = scene.manager().await.open_log("shop", &options(&[("lines", 7u32.into())])).await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(OwnedFd::from(log)), &mut text).unwrap();
    assert_eq!(text, "shop Some(7)\n");
}
