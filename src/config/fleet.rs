//! `[fleet]`: the semaphore of which an app takes a slot before it activates, shared with the other hosts that run it.
//! Pure.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use super::{
    check,
    context::{Context, quoted},
    errors::{Place, Problem},
    root_file::root_file,
    written::Reader,
};
use crate::model::AppName;

/// The most endpoints.
const MOST: usize = 16;
/// How long a host that is dead keeps its slot, unless it is configured.
const LEASE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// What an app's hosts share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Which hosts wait for each other: those that name the same.
    pub group: String,
    /// Where the slots are.
    pub semaphore: Semaphore,
    /// The authority of its certificates, which alone is trusted then, instead of those that the host trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate that it is shown, and its key; files of root's.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// A semaphore that exists already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Semaphore {
    /// etcd, by its HTTP gateway (version 3).
    Etcd {
        /// Its members, asked in this order.
        endpoints: Vec<String>,
        /// How many hosts may activate at once.
        slots: u32,
        /// How long a host that says nothing keeps its slot.
        lease: Duration,
        /// User, and the file with the password, root's.
        login: Option<(String, PathBuf)>,
    },
    /// A server of the FleetLock protocol, which knows by itself how many slots a group has.
    FleetLock {
        /// Its address; `/v1/…` comes after it.
        url: String,
    },
}

/// Reads the table; none: the host waits for no other.
pub(super) fn fleet(cx: &mut Context<'_>, top: &mut Reader<'_>, app: &AppName, root: Option<&Path>) -> Option<Fleet> {
    let table = top.table("fleet", &mut cx.problems)?;
    let place = top.key_place("fleet")?;
    let mut reader = Reader::new(table, "[fleet]");
    let group = group(cx, &mut reader, app);
    let url = reader.text("fleet_lock", "https://airlock.example.org", &mut cx.problems);
    let semaphore = match url {
        Some(at) => {
            let only = ["etcd", "slots", "lease", "user", "password_file"];
            for key in only.into_iter().filter(|key| table.contains_key(*key)) {
                let problem = Problem::new(format!("{key} is etcd's, and fleet_lock is written too"));
                let place = reader.key_place(key).unwrap_or(place);
                cx.problems.push(problem.at(place).help("remove one of the two"));
                reader.node(key);
            }
            cx.take(endpoint(&at.value), &at.place).map(|()| Semaphore::FleetLock { url: trimmed(&at.value) })
        }
        None => etcd(cx, &mut reader, place, root),
    };
    let ca_file = root_file(cx, &mut reader, root, "ca_file", "/etc/deployd/secrets/etcd-ca.pem");
    let certificate = root_file(cx, &mut reader, root, "cert_file", "/etc/deployd/secrets/etcd.pem");
    let key = root_file(cx, &mut reader, root, "key_file", "/etc/deployd/secrets/etcd.key");
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if let (Some(at), false) = (reader.key_place(one), table.contains_key(other)) {
            cx.problems.push(Problem::new(format!("{one} needs {other}")).at(at).help("write both, or neither"));
        }
    }
    reader.finish(&mut cx.problems);
    Some(Fleet { group: group?, semaphore: semaphore?, ca_file, client: certificate.zip(key) })
}

fn group(cx: &mut Context<'_>, reader: &mut Reader<'_>, app: &AppName) -> Option<String> {
    let Some(at) = reader.text("group", "shop-web", &mut cx.problems) else {
        cx.infer("fleet.group", quoted(app.as_str()), "the app's name");
        return Some(app.to_string());
    };
    // What FleetLock takes, and a key of etcd's in one piece.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
    let good = (1..=64).contains(&at.value.len()) && at.value.bytes().all(plain);
    let problem = || {
        Problem::new(format!("{:?} is not a group's name", at.value)).help("use letters, digits, - and ., at most 64")
    };
    cx.take(good.then_some(()).ok_or_else(problem), &at.place).map(|()| at.value.clone())
}

fn etcd(cx: &mut Context<'_>, reader: &mut Reader<'_>, place: &Place, root: Option<&Path>) -> Option<Semaphore> {
    const LIKE: &str = "[\"https://etcd1.example.org:2379\"]";
    let written = reader.texts("etcd", LIKE, &mut cx.problems);
    let slots = reader.number("slots", 1..=1000, &mut cx.problems).map(|at| at.value);
    let lease = cx.span(reader, "lease", SECOND * 5, SECOND * 3600);
    let user = reader.text("user", "shop", &mut cx.problems);
    let password = root_file(cx, reader, root, "password_file", "/etc/deployd/secrets/etcd");
    for (one, other) in [("user", "password_file"), ("password_file", "user")] {
        if let (Some(at), None) = (reader.key_place(one), reader.key_place(other)) {
            cx.problems.push(Problem::new(format!("{one} needs {other}")).at(at).help("write both, or neither"));
        }
    }
    let Some(written) = written else {
        if reader.key_place("etcd").is_none() {
            let problem = Problem::new("it is not known where the fleet's slots are").at(place);
            cx.problems.push(problem.help(format!("write etcd = {LIKE}, or fleet_lock = \"https://...\"")));
        }
        return None;
    };
    if written.is_empty() || written.len() > MOST {
        let problem = Problem::new(format!("etcd has {} endpoints", written.len())).at(place);
        cx.problems.push(problem.help(format!("write 1 to {MOST}: etcd = {LIKE}")));
    }
    let all = written.len();
    let checked = written.into_iter().filter_map(|at| cx.take(endpoint(&at.value), &at.place).map(|()| at.value));
    let endpoints: Vec<_> = checked.map(|one| trimmed(&one)).collect();
    if let (Some(at), Some(open)) = (&user, endpoints.iter().find(|one| !is_private(one))) {
        let problem = Problem::new(format!("the password would go to {open:?} for everyone to read"));
        cx.problems.push(problem.at(&at.place).help("write https:// there, or no user"));
    }
    if endpoints.len() != all {
        return None;
    }
    Some(Semaphore::Etcd {
        endpoints,
        slots: slots.and_then(|slots| u32::try_from(slots).ok()).unwrap_or(1),
        lease: lease.unwrap_or(LEASE),
        login: user.map(|at| at.value).zip(password),
    })
}

/// The address of a server within the site: often http, since it is reached by addresses of its own network alone.
fn endpoint(text: &str) -> Result<(), Problem> {
    let bad = |why: &str| {
        Problem::new(format!("{text:?} {why}")).help("write it like \"https://etcd1.example.org:2379\", and no more")
    };
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.ok_or_else(|| bad("is neither http:// nor https://"))?;
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        let problem = Problem::new("the address has a user or a password in it, which would end in journals");
        return Err(problem.help("write user and password_file").secret());
    }
    let (host, _) = check::split_port(authority).ok_or_else(|| bad("has a port that is no number"))?;
    let plain = rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#\"\\".contains(&b));
    if plain && text.len() <= 512 && check::host_name(host) { Ok(()) } else { Err(bad("has no valid host")) }
}

/// Whether nobody on the way can read what is sent there.
fn is_private(url: &str) -> bool {
    let here = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    url.starts_with("https://")
        || here
            .iter()
            .any(|start| url.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
}

fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}
