//! `[[service]]`: php-fpm in slots, or an existing unit. Pure.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    PhpFpm, Pool, Service, ServiceKind, Strategy, check,
    context::{Context, quoted},
    errors::{Place, Problem},
    pool_table,
    preset::Preset,
    suggest,
    tree::{Node, Table, Value},
    written::{At, Reader, wrong_type},
};
use crate::model::UnitName;

/// Of a service, when it writes none.
const DRAIN: Duration = Duration::from_secs(30);
/// What a PHP worker takes at its fullest, in MiB, when nobody has measured the app.
const WORKER_MIB: u64 = 48;
/// Kinds that are planned.
const LATER_KINDS: [&str; 6] = ["octane", "horizon", "queue", "reverb", "nginx", "scheduler"];

/// Whether it is php-fpm in slots.
pub(super) fn is_php_fpm(service: &Service) -> bool {
    matches!(service.kind, ServiceKind::PhpFpm(_))
}

/// All services, in order. Without a written one, the preset's.
pub(super) fn services(cx: &mut Context<'_>, top: &mut Reader<'_>, preset: &Preset) -> Vec<Service> {
    let Some(tables) = top.tables("service", &mut cx.problems) else {
        return inferred(cx, preset).into_iter().collect();
    };
    let mut out: Vec<Service> = Vec::new();
    for (table, place) in tables {
        let Some(service) = service(cx, table, place) else { continue };
        if out.iter().any(|other| other.name == service.name) {
            let title = format!("there are two services {:?}", service.name);
            let help = "an app has one php-fpm service, and each unit once: remove one";
            cx.problems.push(Problem::new(title).at(place).help(help));
            continue;
        }
        out.push(service);
    }
    out
}

fn inferred(cx: &mut Context<'_>, preset: &Preset) -> Option<Service> {
    if !preset.php_fpm {
        return None;
    }
    if cx.host.fpm.is_empty() {
        cx.infer("service", "[]", format!("preset {}, but there is no php-fpm on this host", preset.name));
        return None;
    }
    let empty = Table::new();
    let nowhere = Place { file: usize::MAX, span: 0..0 };
    cx.infer(
        "service.php-fpm",
        "{ kind = \"php-fpm\" }",
        format!("preset {}, and php-fpm is on this host", preset.name),
    );
    php_fpm(cx, &mut Reader::new(&empty, "[[service]]"), &nowhere, DRAIN)
}

fn service(cx: &mut Context<'_>, table: &Table, place: &Place) -> Option<Service> {
    let mut reader = Reader::new(table, "[[service]]");
    let kind = reader.text("kind", "php-fpm", &mut cx.problems);
    let unit = reader.text("unit", "php8.2-fpm.service", &mut cx.problems);
    let drain = cx.span(&mut reader, "drain", Duration::from_secs(1), Duration::from_secs(3600));
    let drain = drain.unwrap_or(DRAIN);
    let service = match (kind, unit) {
        (Some(kind), None) if kind.value == "php-fpm" => php_fpm(cx, &mut reader, place, drain),
        (Some(kind), None) => {
            unknown_kind(cx, &kind);
            return None;
        }
        (None, Some(unit)) => existing(cx, &mut reader, &unit, drain),
        (Some(_), Some(unit)) => {
            let problem = Problem::new("a service has a kind of ours or an existing unit, not both");
            cx.problems.push(problem.at(&unit.place).help("remove kind or unit"));
            return None;
        }
        (None, None) => {
            let help = "write kind = \"php-fpm\", or unit = \"NAME.service\" with strategy = \"reload\"";
            if !table.contains_key("kind") && !table.contains_key("unit") {
                cx.problems.push(Problem::new("a service has neither kind nor unit").at(place).help(help));
            }
            return None;
        }
    };
    reader.finish(&mut cx.problems);
    service
}

fn unknown_kind(cx: &mut Context<'_>, kind: &At<String>) {
    let name = &kind.value;
    let problem = if LATER_KINDS.contains(&name.as_str()) {
        Problem::new(format!("kind = {name:?} comes in a later version"))
            .help("use unit = \"NAME.service\" with strategy = \"restart\" or \"reload\"")
    } else {
        Problem::new(format!("kind = {name:?} is not known{}", suggest::clause(name, ["php-fpm"])))
            .help("write kind = \"php-fpm\", or unit = \"NAME.service\" with strategy = \"reload\" or \"restart\"")
    };
    cx.problems.push(problem.at(&kind.place));
}

fn existing(cx: &mut Context<'_>, reader: &mut Reader<'_>, unit: &At<String>, drain: Duration) -> Option<Service> {
    let strategy = match reader.text("strategy", "reload", &mut cx.problems) {
        Some(at) => match at.value.as_str() {
            "reload" => Some(Strategy::Reload),
            "restart" => Some(Strategy::Restart),
            "signal" | "rolling" => {
                let problem = Problem::new(format!("strategy = {:?} comes in a later version", at.value));
                cx.problems.push(problem.at(&at.place).help("write strategy = \"reload\" or \"restart\""));
                None
            }
            other => {
                let near = suggest::clause(other, ["reload", "restart"]);
                let problem = Problem::new(format!("strategy = {other:?} is not known{near}"));
                cx.problems.push(problem.at(&at.place).help("write strategy = \"reload\" or \"restart\""));
                None
            }
        },
        None => {
            if reader.key_place("strategy").is_none() {
                let problem = Problem::new(format!("how {} moves to a new release is not said", unit.value));
                cx.problems.push(problem.at(&unit.place).help("add strategy = \"reload\" or strategy = \"restart\""));
            }
            None
        }
    };
    let name = cx.take(unit_name(&unit.value), &unit.place);
    let (unit, strategy) = (name?, strategy?);
    Some(Service { name: unit.as_str().to_owned(), kind: ServiceKind::Unit { unit, strategy }, drain })
}

fn unit_name(text: &str) -> Result<UnitName, Problem> {
    let unit: UnitName = text.parse().map_err(|e: crate::model::BadName| {
        Problem::new(e.to_string()).help("`systemctl list-units --type=service` lists the names")
    })?;
    if !text.ends_with(".service") {
        return Err(Problem::new(format!("{text} is not a service")).help("name the service that runs the app's code"));
    }
    if text.contains("@.") {
        return Err(
            Problem::new(format!("{text} is a template")).help("name an instance of it, like \"worker@1.service\"")
        );
    }
    let ours = ["deployd", "deploy@", "deploy-", "app-fpm@"];
    if ours.iter().any(|prefix| text.starts_with(prefix)) {
        let help = "for php-fpm in slots write kind = \"php-fpm\"";
        return Err(Problem::new(format!("{text} is deployd's own")).help(help));
    }
    Ok(unit)
}

fn php_fpm(cx: &mut Context<'_>, reader: &mut Reader<'_>, place: &Place, drain: Duration) -> Option<Service> {
    let php = reader.text("php", "8.2", &mut cx.problems);
    let (version, binary) = match binary(cx, php.as_ref(), place) {
        Some(found) => found,
        // Told already; the rest is read all the same, so that all that is wrong is told at once.
        None => (String::new(), PathBuf::from("/")),
    };
    let (pool, children) = pool(cx, reader);
    let probe = reader.text("probe", "/up", &mut cx.problems).map(|at| {
        cx.take(check::uri(&at.value), &at.place);
        at.value
    });
    let probe = probe.unwrap_or_else(|| {
        cx.infer("service.php-fpm.probe", quoted("/"), "default; asked of a new slot before it is live");
        "/".into()
    });
    let public = match reader.text("public", "public", &mut cx.problems) {
        Some(at) if at.value == "." => ".".into(),
        Some(at) => cx.take(check::relative(&at.value), &at.place).unwrap_or_default(),
        None => {
            cx.infer("service.php-fpm.public", quoted("public"), "default");
            "public".into()
        }
    };
    let strict = cx.word(reader, "sandbox", &["default", "strict"]) == Some("strict");
    let memory_mib = children.map_or(0, |n| n.saturating_mul(WORKER_MIB));
    let fpm = PhpFpm { version, binary, pool, probe, public, strict, memory_mib };
    Some(Service { name: "php-fpm".into(), kind: ServiceKind::PhpFpm(fpm), drain })
}

fn binary(cx: &mut Context<'_>, php: Option<&At<String>>, place: &Place) -> Option<(String, PathBuf)> {
    let installed: Vec<&str> =
        cx.host.fpm.iter().map(|(version, _)| version.as_str()).filter(|v| !v.is_empty()).collect();
    let Some(php) = php else {
        let Some((version, path)) = cx.host.fpm.first().cloned() else {
            let problem = Problem::new("there is no php-fpm on this host (/usr/sbin/php-fpm*)").at(place);
            cx.problems.push(problem.help("install it: `apt-get install php-fpm`, or `dnf install php-fpm`"));
            return None;
        };
        let why = match installed.len() {
            0 | 1 => format!("the php-fpm of this host, {}", path.display()),
            _ => format!("the newest of {}, {}", installed.join(", "), path.display()),
        };
        if !version.is_empty() {
            cx.infer("service.php-fpm.php", quoted(&version), why);
        }
        return Some((version, path));
    };
    if let Some(found) = cx.host.fpm.iter().find(|(version, _)| *version == php.value) {
        return Some(found.clone());
    }
    let help = if installed.is_empty() && !cx.host.fpm.is_empty() {
        "this host's php-fpm has no version in its name: leave php out".to_owned()
    } else if installed.is_empty() {
        format!("install it: `apt-get install php{}-fpm`", php.value)
    } else {
        format!("write php = {}, or install php{}-fpm", suggest::one_of(&installed), php.value)
    };
    let problem = Problem::new(format!("php-fpm {:?} is not on this host", php.value));
    cx.problems.push(problem.at(&php.place).help(help));
    None
}

/// The pool, and `pm.max_children` when it is known here.
fn pool(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> (Pool, Option<u64>) {
    let (pool, written): (BTreeMap<_, _>, bool) = match reader.node("pool") {
        Some(Node { value: Value::Text(text), place }) => {
            let path = cx.take(check::absolute(text), place).unwrap_or_default();
            return (Pool::File(path), None);
        }
        Some(Node { value: Value::Table(table), .. }) => (pool_table::directives(cx, table), true),
        Some(node) => {
            let help = "write pool = \"/etc/php/8.2/fpm/pool.d/shop.conf\", or a table [service.pool]";
            wrong_type::<()>(node, help, &mut cx.problems);
            return (Pool::Directives(BTreeMap::new()), None);
        }
        None => (BTreeMap::new(), false),
    };
    let mut all = pool_table::defaults();
    all.extend(pool);
    if !written {
        let text: Vec<_> = all.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
        cx.infer(
            "service.php-fpm.pool",
            format!("{{ {} }}", text.join(", ")),
            "default; or name the site's own pool file",
        );
    }
    let children = all.get("pm.max_children").and_then(|n| n.parse().ok());
    (Pool::Directives(all), children)
}
