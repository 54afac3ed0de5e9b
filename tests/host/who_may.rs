//! Who may do what: every method of the contract as every kind of user, on a host with the shipped rules, the example rules
//! and an app that has `[access]` and `[webhook]`. The table in org.deployd1(5) is made here.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    time::Duration,
};

use deployd::{dbus::deployment_path, model::events};
use zbus::{Connection, DBusError, OwnedObjectPath, Structure, Variant, connection};

use crate::{
    common::{eventually, installed},
    support::{
        fuzz,
        host::Host,
        inside::Inside,
        manual,
        shop::{Shop, Spec},
        table,
    },
};

const ARCHIVE: &str = "/srv/builds/shop.tar.gz";
const MORE: &str = "source.ref = \"main\"\nshared = [\"storage/\"]\n[webhook]\nrefs = [\"main\"]\n\
                    [access]\ndeploy = [\"listed\"]\nrollback = [\"%web\"]\nread_logs = [\"listed\", \"gone\"]\n";
/// Each with its heading: `listed` is in `[access]`, by name and by the group `web`.
const USERS: [(&str, &str); 7] = [
    ("root", "root"),
    ("admin", "admin"),
    ("member", "deployers"),
    ("listed", "listed"),
    ("shop", "shop"),
    ("nobody", "nobody"),
    ("deployd-webhook", "webhook"),
];

/// What is called with what.
#[derive(Clone, Copy)]
enum Takes {
    Nothing,
    App,
    Texts(&'static [&'static str]),
    /// The app, and options.
    Options(&'static [(&'static str, &'static str)]),
    OtherApp,
    Plan,
    Records,
    Archive,
    Id,
    Set,
}

/// One row: what it is called, the member, its object, and what it takes. A row that begins a deployment comes after all
/// others: some of those wait for the app's lock.
type Row = (&'static str, &'static str, &'static str, Takes);

const MANAGER: &str = "org.deployd1.Manager";
const SHOP: &str = "/org/deployd1/app/shop";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

const LOOKS: &[Row] = &[
    ("ListApps", "org.deployd1.Manager", "", Takes::Nothing),
    ("GetApp", MANAGER, "", Takes::App),
    ("GetDeployment", MANAGER, "", Takes::Id),
    ("ListDeployments", MANAGER, "", Takes::Records),
    ("ListReleases", MANAGER, "", Takes::App),
    ("Show", MANAGER, "", Takes::App),
    ("ShowJson", MANAGER, "", Takes::App),
    ("Survey", "org.deployd1.App", SHOP, Takes::Nothing),
    ("Properties.GetAll", PROPERTIES, SHOP, Takes::Texts(&["org.deployd1.App"])),
    ("Properties.Get", PROPERTIES, SHOP, Takes::Texts(&["org.deployd1.App", "Current"])),
    ("Properties.Set", PROPERTIES, SHOP, Takes::Set),
    ("Introspectable.Introspect", "org.freedesktop.DBus.Introspectable", SHOP, Takes::Nothing),
    ("ObjectManager.GetManagedObjects", "org.freedesktop.DBus.ObjectManager", "", Takes::Nothing),
    ("Peer.Ping", "org.freedesktop.DBus.Peer", "", Takes::Nothing),
    ("Peer.GetMachineId", "org.freedesktop.DBus.Peer", "", Takes::Nothing),
    ("Plan", MANAGER, "", Takes::Plan),
    ("Check", MANAGER, "", Takes::Options(&[])),
    ("Diff", MANAGER, "", Takes::Options(&[])),
    ("Prune, dry-run", MANAGER, "", Takes::Options(&[("dry-run", "")])),
    ("Prune", MANAGER, "", Takes::Options(&[])),
    ("Hold", MANAGER, "", Takes::Options(&[])),
    ("Unhold", MANAGER, "", Takes::Options(&[])),
    ("OpenLog", MANAGER, "", Takes::Options(&[])),
    ("OpenLog, services", MANAGER, "", Takes::Options(&[("services", "")])),
    ("MakeKey", MANAGER, "", Takes::Options(&[])),
    ("MakeKey, rotate", MANAGER, "", Takes::Options(&[("rotate", "")])),
    ("Cancel", "org.deployd1.Deployment", "the deployment", Takes::Nothing),
];

const STARTS: &[Row] = &[
    ("Deploy", MANAGER, "", Takes::Options(&[])),
    ("Deploy, force", MANAGER, "", Takes::Options(&[("force", "")])),
    ("Deploy, allow-destructive", MANAGER, "", Takes::Options(&[("allow-destructive", "")])),
    ("Deploy, ref of [webhook]", MANAGER, "", Takes::Options(&[("ref", "refs/heads/main")])),
    ("Deploy, another ref", MANAGER, "", Takes::Options(&[("ref", "r1")])),
    ("Deploy, another app", MANAGER, "", Takes::OtherApp),
    ("Stage", MANAGER, "", Takes::Options(&[])),
    ("Activate", MANAGER, "", Takes::Options(&[])),
    ("Activate, run-again", MANAGER, "", Takes::Options(&[("run-again", "")])),
    ("Rollback", MANAGER, "", Takes::Options(&[])),
    ("Upload", MANAGER, "", Takes::Archive),
];

fn member(row: &Row) -> &'static str {
    let name = row.0.split(',').next().unwrap_or_default();
    name.rsplit('.').next().unwrap_or_default()
}

fn options(given: &[(&'static str, &'static str)]) -> HashMap<String, Variant<'static>> {
    let value = |text: &'static str| if text.is_empty() { Variant::from(true) } else { Variant::from(text) };
    given.iter().map(|(key, text)| ((*key).to_owned(), value(text))).collect()
}

fn body(takes: Takes, id: &str) -> Option<Structure<'static>> {
    let texts = |texts: &[&str]| {
        let all = texts.iter().fold(Structure::builder(), |body, text| body.append_field((*text).to_owned().into()));
        Some(all.build().expect("arguments"))
    };
    let with = |app: &str, given| {
        Structure::builder().append_field(app.to_owned().into()).add_field(options(given)).build().expect("arguments")
    };
    match takes {
        Takes::Nothing => None,
        Takes::App => texts(&["shop"]),
        Takes::Texts(all) => texts(all),
        Takes::Id => texts(&["shop", id]),
        Takes::Options(given) => Some(with("shop", given)),
        Takes::OtherApp => Some(with("other", &[])),
        Takes::Plan => {
            let body = Structure::builder().append_field("shop".into()).append_field("deploy".into());
            Some(body.add_field(options(&[])).build().expect("arguments"))
        }
        Takes::Records => {
            Some(Structure::builder().append_field("shop".into()).append_field(1u32.into()).build().expect("arguments"))
        }
        Takes::Archive => {
            let file: OwnedFd = File::open(ARCHIVE).expect("everyone may read it").into();
            let body = Structure::builder().append_field("shop".into()).append_field(zbus::Fd::from(file).into());
            Some(body.add_field(options(&[])).build().expect("arguments"))
        }
        Takes::Set => {
            let body = Structure::builder().append_field("org.deployd1.App".into()).append_field("Current".into());
            Some(body.append_field(Variant::Variant(Box::new(Variant::from("x")))).build().expect("arguments"))
        }
    }
}

/// `yes`, `no`, or `asks`: an administrator must authenticate, and the call does not allow to ask for it.
async fn cell(bus: &Connection, row: &Row, id: &str) -> &'static str {
    let path = match row.2 {
        "" => "/org/deployd1".to_owned(),
        "the deployment" => deployment_path(&id.parse().expect("an id")).expect("a path").to_string(),
        path => path.to_owned(),
    };
    let (path, interface) = (OwnedObjectPath::try_from(path).expect("a path"), Some(row.1));
    let to = Some("org.deployd1");
    let answer = match body(row.3, id) {
        Some(body) => bus.call_method(to, &path, interface, member(row), &body).await,
        None => bus.call_method(to, &path, interface, member(row), &()).await,
    };
    let (name, text) = match answer {
        Ok(_) => return "yes",
        Err(zbus::Error::MethodError(name, text, _)) => (name.to_string(), text.unwrap_or_default()),
        Err(zbus::Error::FDO(error)) => (error.name().to_string(), error.to_string()),
        Err(error) => panic!("{}: {error}", row.0),
    };
    match name.rsplit('.').next().unwrap_or_default() {
        "InteractiveAuthorizationRequired" => "asks",
        "AccessDenied" | "PropertyReadOnly" | "UnknownProperty" => "no",
        // It was allowed, and there is nothing to cancel.
        "NotRunning" => "yes",
        _ => panic!("{}: {name}: {text}", row.0),
    }
}

/// A user's column of these rows.
fn column(host: &Host, user: &str, rows: &'static [Row], id: &str) -> Vec<&'static str> {
    let cells = Arc::new(Mutex::new(Vec::new()));
    let (seen, id) = (Arc::clone(&cells), id.to_owned());
    let calling = Inside::start(host, user, move |shared| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let address = "unix:path=/run/dbus/system_bus_socket";
            let bus = connection::Builder::address(address).build().await.expect("the host's bus is there");
            for row in rows {
                let cell = cell(&bus, row, &id).await;
                seen.lock().expect("no panic").push(cell);
            }
        });
        shared.mode.store(1, std::sync::atomic::Ordering::Relaxed);
    });
    eventually("every call is answered", Duration::from_secs(120), || calling.mode() == 1 || calling.has_ended());
    calling.end();
    cells.lock().expect("no panic").clone()
}

fn scene() -> (Host, Shop, String) {
    let host = installed();
    let spec = Spec { laravel: false, over: Some("app-small"), ..Spec::new("shop") }.more(MORE);
    let shop = Shop::make(&host, spec);
    host.sh("groupadd deployers; groupadd web; groupadd -f sudo
             useradd -G sudo admin; useradd -G deployers member; useradd -G web listed
             mkdir -p /srv/builds; tar -C /srv/build/shop -czf /srv/builds/shop.tar.gz .; chmod -R a+rX /srv/builds");
    host.write("/etc/polkit-1/rules.d/60-deployd.rules", include_str!("../../dbus/examples.rules"));
    host.write(
        "/etc/deployd/apps/other.toml",
        "root = \"/srv/other\"\nuser = \"shop\"\nsource.directory = \"/srv/builds\"\n",
    );
    host.ok(&["systemctl", "restart", "polkit"]);
    shop.deploy(&host);
    shop.commit(&host, "r2", &[]);
    shop.ctl(&host, "deploy", &[]).ok();
    host.ok(&["systemctl", "start", "--wait", "deploy-settle@shop"]);
    let records: serde_json::Value =
        serde_json::from_str(&shop.ctl(&host, "list-deployments", &["--json"]).ok()).expect("JSON");
    let id = records[0]["id"].as_str().expect("it has an id").to_owned();
    (host, shop, id)
}

/// How often the journal has an event about somebody's question.
fn told(host: &Host, event: &str) -> usize {
    host.ok(&["journalctl", "--sync"]);
    host.journal_of("MESSAGE_ID", event).lines().count()
}

#[test]
fn who_may_do_what_is_what_the_manual_shows() {
    let (host, _shop, id) = scene();
    let named: BTreeSet<&str> = LOOKS.iter().chain(STARTS).map(member).collect();
    let methods = fuzz::methods();
    let missing: Vec<_> =
        methods.iter().map(|method| method.name.as_str()).filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty(), "no row calls {missing:?}");
    let before = (told(&host, events::ACCESS_ALLOWED), told(&host, events::ACCESS_DENIED));
    let mut columns: Vec<Vec<&str>> = USERS.iter().map(|(user, _)| column(&host, user, LOOKS, &id)).collect();
    for (index, (user, _)) in USERS.iter().enumerate() {
        columns[index].extend(column(&host, user, STARTS, &id));
    }
    let rows: Vec<Vec<String>> = LOOKS
        .iter()
        .chain(STARTS)
        .enumerate()
        .map(|(at, row)| {
            let cells = columns.iter().map(|column| column[at].to_owned());
            [row.0.to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    let head = [&["method"][..], &USERS.map(|(_, heading)| heading)].concat();
    let seen = table::table(&head, &rows);
    println!("{seen}");
    // Polkit is asked about every row from Plan on, and each answer is in the journal.
    let first = LOOKS.iter().position(|row| row.0 == "Plan").expect("it is there");
    let count = |word: &dyn Fn(&str) -> bool| {
        columns.iter().flat_map(|column| &column[first..]).filter(|cell| word(cell)).count()
    };
    assert_eq!(told(&host, events::ACCESS_ALLOWED) - before.0, count(&|cell| cell == "yes"));
    assert_eq!(told(&host, events::ACCESS_DENIED) - before.1, count(&|cell| cell != "yes"));
    manual::hold("org.deployd1.5", "who may do what", &seen);
}
