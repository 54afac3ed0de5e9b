//! `kind = "octane"`, `"http"`, `"horizon"`, `"queue"` and `"scheduler"`. Pure.

use std::time::Duration;

use super::{
    Horizon, Http, Octane, OctaneServer, Program, Queue, Scheduler, Service, ServiceKind, SlotKind, Web, check,
    context::{Context, quoted},
    errors::{Place, Problem},
    steps, strategy,
    tree::{Node, Value},
    written::{At, Reader, wrong_type},
};

/// Octane's own distance from the port of a server to that of its RPC or admin interface.
const ADMIN_BELOW: u16 = 1999;
/// Octane's own default.
const MAX_REQUESTS: u32 = 500;
/// The longest that a start may take, when nothing is written.
const START: Duration = Duration::from_secs(60);

fn slots(name: &str, kind: SlotKind, drain: Duration) -> Service {
    Service { name: name.into(), kind: ServiceKind::Slots(kind), drain }
}

/// Laravel Octane.
pub(super) fn octane(cx: &mut Context<'_>, reader: &mut Reader<'_>, place: &Place, drain: Duration) -> Option<Service> {
    let word = cx.word(reader, "server", &["swoole", "roadrunner", "frankenphp"]);
    if word.is_none() && reader.key_place("server").is_none() {
        let problem = Problem::new("which server Octane runs is not said").at(place);
        cx.problems.push(problem.help("add server = \"swoole\", \"roadrunner\" or \"frankenphp\""));
    }
    let server = match word {
        Some("roadrunner") => OctaneServer::Roadrunner,
        Some("frankenphp") => OctaneServer::Frankenphp,
        _ => OctaneServer::Swoole,
    };
    let web = web(cx, reader, place, "octane");
    let admin_ports = admin_ports(cx, reader, place, server, &web.ports);
    let workers = match reader.node("workers") {
        Some(Node { value: Value::Text(text), .. }) if text == "auto" => None,
        _ => count(cx, reader, "workers", 1..=1024),
    };
    let task_workers = count(cx, reader, "task_workers", 1..=1024);
    if server != OctaneServer::Swoole {
        only_of(cx, reader, "task_workers", "Swoole");
    }
    let octane = Octane {
        server,
        web,
        admin_ports,
        workers,
        task_workers,
        max_requests: count(cx, reader, "max_requests", 0..=1_000_000_000).unwrap_or(MAX_REQUESTS),
        php: php(cx, reader),
        strict: strict(cx, reader),
    };
    Some(slots("octane", SlotKind::Octane(octane), drain))
}

/// Any HTTP program: the site's own template unit, or a command.
pub(super) fn http(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    unit: Option<&At<String>>,
    place: &Place,
    drain: Duration,
) -> Option<Service> {
    let run = steps::run(cx, reader);
    let program = match (unit, run) {
        (Some(at), None) => cx.take(strategy::unit_name(&at.value, true), &at.place).map(Program::Unit),
        (None, Some(run)) if !run.is_empty() => Some(Program::Run { run, strict: strict(cx, reader) }),
        (Some(at), Some(_)) => {
            let problem = Problem::new("a program has a unit of its own or a command for ours, not both");
            cx.problems.push(problem.at(&at.place).help("remove unit or run"));
            None
        }
        (None, _) => {
            let problem = Problem::new("what serves is not said").at(place);
            let help = "add run = [\"node\", \"server.js\"], which listens on $PORT, or unit = \"shop-web@.service\"";
            cx.problems.push(problem.help(help));
            None
        }
    };
    let name = match &program {
        Some(Program::Unit(unit)) => unit.as_str().to_owned(),
        _ => "http".to_owned(),
    };
    let web = web(cx, reader, place, &name);
    Some(slots(&name, SlotKind::Http(Http { program: program?, web }), drain))
}

/// Laravel Horizon.
pub(super) fn horizon(cx: &mut Context<'_>, reader: &mut Reader<'_>, drain: Duration) -> Option<Service> {
    let horizon = Horizon { php: php(cx, reader), strict: strict(cx, reader) };
    Some(slots("horizon", SlotKind::Horizon(horizon), drain))
}

/// `queue:work`.
pub(super) fn queue(cx: &mut Context<'_>, reader: &mut Reader<'_>, drain: Duration) -> Option<Service> {
    let connection = reader.text("connection", "redis", &mut cx.problems).map(|at| named(cx, at));
    let queues = reader.texts("queues", "[\"high\", \"default\"]", &mut cx.problems).unwrap_or_default();
    let queue = Queue {
        connection,
        queues: queues.into_iter().map(|at| named(cx, at)).collect(),
        processes: count(cx, reader, "processes", 1..=64).unwrap_or(1),
        tries: count(cx, reader, "tries", 0..=1000),
        timeout: count(cx, reader, "timeout", 0..=86400),
        memory: count(cx, reader, "memory", 16..=1_048_576),
        sleep: count(cx, reader, "sleep", 0..=3600),
        max_jobs: count(cx, reader, "max_jobs", 0..=1_000_000_000),
        max_time: count(cx, reader, "max_time", 0..=31_536_000),
        backoff: count(cx, reader, "backoff", 0..=86400),
        php: php(cx, reader),
        strict: strict(cx, reader),
    };
    Some(slots("queue", SlotKind::Queue(queue), drain))
}

/// Laravel's scheduler.
pub(super) fn scheduler(cx: &mut Context<'_>, reader: &mut Reader<'_>, drain: Duration) -> Option<Service> {
    let scheduler = Scheduler { php: php(cx, reader), strict: strict(cx, reader) };
    Some(Service { name: "scheduler".into(), kind: ServiceKind::Scheduler(scheduler), drain })
}

fn web(cx: &mut Context<'_>, reader: &mut Reader<'_>, place: &Place, service: &str) -> Web {
    let ports = match ports(cx, reader, "ports") {
        Some(ports) => ports,
        None => {
            if reader.key_place("ports").is_none() {
                let problem = Problem::new("the ports of the slots are not said").at(place);
                cx.problems.push(problem.help("add ports = [8000, 8001, 8002]: one for each slot, 2 to 4 of them"));
            }
            Vec::new()
        }
    };
    let probe = reader.text("probe", "/up", &mut cx.problems).map(|at| {
        cx.take(check::uri(&at.value), &at.place);
        at.value
    });
    let probe = probe.unwrap_or_else(|| {
        let key = format!("service.{service}.probe");
        cx.infer(key, quoted("/"), "default; asked of a new slot before it is live");
        "/".into()
    });
    let start = cx.span(reader, "start", Duration::from_secs(1), Duration::from_secs(3600)).unwrap_or(START);
    Web { ports, probe, start }
}

/// Two to four ports, each once. None when nothing usable is written; what is wrong is told.
fn ports(cx: &mut Context<'_>, reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<u16>> {
    let node = reader.node(key)?;
    let help = format!("write {key} = [8000, 8001]: 2 to 4 ports from 1024 to 65535, each once");
    let Value::List(items) = &node.value else { return wrong_type(node, &help, &mut cx.problems) };
    let number = |item: &Node| match item.value {
        Value::Integer(port) => u16::try_from(port).ok().filter(|port| *port >= 1024),
        _ => None,
    };
    let ports: Vec<u16> = items.iter().filter_map(number).collect();
    let once = ports.iter().enumerate().all(|(at, port)| !ports[..at].contains(port));
    if ports.len() == items.len() && (2..=4).contains(&ports.len()) && once {
        return Some(ports);
    }
    let problem = Problem::new(format!("{key} is not a list of 2 to 4 ports")).at(&node.place);
    cx.problems.push(problem.help(help));
    None
}

/// The ports of RoadRunner's RPC and FrankenPHP's admin interface; Swoole has none.
fn admin_ports(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    place: &Place,
    server: OctaneServer,
    main: &[u16],
) -> Vec<u16> {
    let written = ports(cx, reader, "admin_ports");
    if server == OctaneServer::Swoole {
        only_of(cx, reader, "admin_ports", "RoadRunner and FrankenPHP");
        return Vec::new();
    }
    let wrong = match &written {
        Some(ports) if ports.len() != main.len() => Some("admin_ports has another length than ports"),
        Some(ports) if ports.iter().any(|port| main.contains(port)) => Some("a port is in ports and in admin_ports"),
        Some(_) => None,
        None if main.iter().any(|port| port.checked_sub(ADMIN_BELOW).is_none_or(|p| p < 1024 || main.contains(&p))) => {
            Some("no admin_ports can be derived from these ports")
        }
        None => None,
    };
    if let Some(wrong) = wrong {
        let at = reader.key_place("admin_ports").unwrap_or(place);
        let problem = Problem::new(wrong).at(at);
        cx.problems.push(problem.help("write admin_ports = [6001, 6002]: one for each slot, and none of ports"));
        return Vec::new();
    }
    written.unwrap_or_else(|| {
        let derived: Vec<u16> = main.iter().map(|port| port.saturating_sub(ADMIN_BELOW)).collect();
        let text = format!("{derived:?}");
        cx.infer("service.octane.admin_ports", text, "Octane's own distance from the main port, 1999");
        derived
    })
}

/// A key that only another server of Octane's knows.
fn only_of(cx: &mut Context<'_>, reader: &Reader<'_>, key: &'static str, servers: &str) {
    if let Some(at) = reader.key_place(key) {
        let problem = Problem::new(format!("{key} is only of {servers}")).at(at);
        cx.problems.push(problem.help(format!("remove {key}, or write another server")));
    }
}

fn count(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    key: &'static str,
    bounds: std::ops::RangeInclusive<i64>,
) -> Option<u32> {
    reader.number(key, bounds, &mut cx.problems).and_then(|at| u32::try_from(at.value).ok())
}

/// The name of a queue or of a connection: a word that artisan takes for nothing else.
fn named(cx: &mut Context<'_>, at: At<String>) -> String {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_-.:/{}".contains(&b);
    if at.value.is_empty() || at.value.starts_with('-') || at.value.len() > 128 || !at.value.bytes().all(good) {
        let problem = Problem::new(format!("{:?} cannot be the name of a queue or connection", at.value));
        cx.problems.push(problem.at(&at.place).help("use letters, digits and `_-.:/{}`, each queue an item"));
    }
    at.value
}

/// The PHP command line.
fn php(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> String {
    let Some(at) = reader.text("php", "/usr/bin/php8.2", &mut cx.problems) else { return "php".into() };
    let version = !at.value.is_empty() && at.value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if version {
        return format!("php{}", at.value);
    }
    cx.take(check::absolute(&at.value), &at.place);
    at.value
}

fn strict(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> bool {
    cx.word(reader, "sandbox", &["default", "strict"]) == Some("strict")
}
