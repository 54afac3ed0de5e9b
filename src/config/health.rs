//! `[health]` and `[[health]]`: what proves the site, and how long it is watched. Pure.

use std::time::Duration;

use super::{
    Check, Health, check,
    context::{Context, quoted, quoted_list},
    duration,
    errors::{Place, Problem},
    preset::Preset,
    steps,
    tree::{Table, Value},
    written::{Reader, wrong_type},
};

/// For one try.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How the site is watched.
pub(super) struct Watch {
    pub successes: u32,
    pub interval: Duration,
    pub bake: Duration,
}

/// What the tables say of it; a later file's word counts.
#[derive(Default)]
struct Written {
    successes: Option<u32>,
    interval: Option<Duration>,
    bake: Option<Duration>,
}

/// All checks, the preset's first. One that names a preset's changes it, and with `run = []` takes it out.
pub(super) fn health(cx: &mut Context<'_>, top: &mut Reader<'_>, preset: &Preset) -> (Vec<Health>, Watch) {
    let mut out: Vec<(Health, bool)> = preset.health.iter().cloned().map(|h| (h, true)).collect();
    let mut written = Written::default();
    for (table, place) in top.tables("health", &mut cx.problems).unwrap_or_default() {
        one(cx, table, place, &mut written, &mut out);
    }
    for (health, _) in out.iter().filter(|(_, preset)| *preset) {
        if let Check::Run { run } = &health.check {
            let why = format!("preset {}: database, cache, queue and pending migrations", preset.name);
            cx.infer(format!("health.{}", health.name), quoted_list(run), why);
        }
    }
    let health: Vec<_> = out.into_iter().map(|(health, _)| health).collect();
    let watch = watch(cx, &written, !health.is_empty());
    (health, watch)
}

fn watch(cx: &mut Context<'_>, written: &Written, any: bool) -> Watch {
    let interval = written.interval.unwrap_or(Duration::from_millis(200));
    let bake = written.bake.unwrap_or(Duration::from_secs(if any { 20 } else { 0 }));
    let successes = written.successes.unwrap_or(3);
    if written.successes.is_none() && any {
        cx.infer("health.successes", successes.to_string(), "default; before a deployment returns");
    }
    if written.interval.is_none() && any {
        cx.infer("health.interval", quoted(&duration::format(interval)), "default; between two tries");
    }
    if written.bake.is_none() {
        let why = match any {
            true => "default; watched after a deployment has returned, a failure rolls back",
            false => "there is no health check to watch",
        };
        cx.infer("health.bake", quoted(&duration::format(bake)), why);
    }
    Watch { successes, interval, bake }
}

fn one(cx: &mut Context<'_>, table: &Table, place: &Place, written: &mut Written, out: &mut Vec<(Health, bool)>) {
    let mut reader = Reader::new(table, "[health]");
    if let Some(at) = reader.number("successes", 1..=1000, &mut cx.problems) {
        written.successes = u32::try_from(at.value).ok();
    }
    let ms = Duration::from_millis;
    written.interval = cx.span(&mut reader, "interval", ms(10), ms(600_000)).or(written.interval);
    written.bake = cx.span(&mut reader, "bake", ms(0), ms(24 * 3_600_000)).or(written.bake);
    let name = reader.text("name", "site", &mut cx.problems);
    let timeout = cx.span(&mut reader, "timeout", ms(100), ms(600_000));
    let base = name.as_ref().and_then(|name| out.iter().position(|(h, preset)| *preset && h.name == name.value));
    let run = steps::run(cx, &mut reader);
    if let (Some(at), Some(run)) = (base, &run)
        && run.is_empty()
    {
        out.remove(at);
        reader.finish(&mut cx.problems);
        return;
    }
    let http = http(cx, &mut reader, run.is_some());
    let found = match (run, http) {
        (Some(run), None) => {
            if run.is_empty()
                && let Some(at) = reader.key_place("run")
            {
                cx.take(check::command(&run), at);
            }
            Some(Check::Run { run })
        }
        (None, http) => http,
        (Some(_), Some(_)) => {
            cx.problems
                .push(Problem::new("a health check is http or run, not both").at(place).help("write two [[health]]"));
            None
        }
    };
    reader.finish(&mut cx.problems);
    let base_health = base.and_then(|at| out.get(at)).map(|(h, _)| h.clone());
    let Some(check) = found.or_else(|| base_health.as_ref().map(|h| h.check.clone())) else {
        if timeout.is_some() && !table.contains_key("http") && !table.contains_key("run") {
            cx.problems.push(
                Problem::new("this health check has neither http nor run")
                    .at(place)
                    .help("write http = \"http://127.0.0.1/up\""),
            );
        }
        return;
    };
    let name = name.map(|at| at.value).unwrap_or_else(|| derived_name(&check));
    let timeout = timeout.or(base_health.map(|h| h.timeout)).unwrap_or(TIMEOUT);
    let health = Health { name, check, timeout };
    match base.and_then(|at| out.get_mut(at)) {
        Some(slot) => *slot = (health, false),
        None => out.push((health, false)),
    }
}

fn derived_name(check: &Check) -> String {
    match check {
        Check::Http { url, .. } => url.split_once("://").map_or(url.as_str(), |(_, rest)| rest).to_owned(),
        Check::Run { run } => run.join(" "),
    }
}

fn http(cx: &mut Context<'_>, reader: &mut Reader<'_>, run: bool) -> Option<Check> {
    let url = reader.text("http", "http://127.0.0.1/up", &mut cx.problems);
    let host = reader.text("host", "shop.example.org", &mut cx.problems);
    let status = reader.number("status", 100..=599, &mut cx.problems);
    let body = reader.text("body", "ready", &mut cx.problems);
    let json = json(cx, reader);
    let Some(url) = url else {
        for key in ["host", "status", "body", "json"] {
            if let Some(place) = reader.key_place(key) {
                let help = if run { "remove it" } else { "add http = \"http://127.0.0.1/up\"" };
                cx.problems.push(Problem::new(format!("{key} goes with http")).at(place).help(help));
            }
        }
        return None;
    };
    cx.take(check::http_url(&url.value), &url.place);
    if let Some(host) = &host
        && !check::host_name(&host.value)
    {
        let problem = Problem::new(format!("{:?} is not a host's name", host.value)).at(&host.place);
        cx.problems.push(problem.help("write the site's name, like \"shop.example.org\""));
    }
    let status = status.and_then(|at| u16::try_from(at.value).ok());
    Some(Check::Http { url: url.value, host: host.map(|h| h.value), status, body: body.map(|b| b.value), json })
}

/// `{ pointer = "/status", value = "ok" }`; a number or true and false are compared as text.
fn json(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<(String, String)> {
    let table = reader.table("json", &mut cx.problems)?;
    let mut json = Reader::new(table, "json");
    let pointer = json.text("pointer", "/status", &mut cx.problems);
    let value = json.node("value").and_then(|node| match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => wrong_type(node, "write a text, a number, true or false", &mut cx.problems),
    });
    if (!table.contains_key("pointer") || !table.contains_key("value"))
        && let Some(place) = reader.key_place("json")
    {
        let problem = Problem::new("json needs a pointer and a value").at(place);
        cx.problems.push(problem.help("write json = { pointer = \"/status\", value = \"ok\" }"));
    }
    json.finish(&mut cx.problems);
    let (pointer, value) = (pointer?, value?);
    if !pointer.value.is_empty() && !pointer.value.starts_with('/') {
        let problem = Problem::new(format!("{:?} is not a JSON pointer", pointer.value)).at(&pointer.place);
        cx.problems.push(problem.help(format!("write \"/{}\"", pointer.value.replace('.', "/"))));
        return None;
    }
    Some((pointer.value, value))
}
