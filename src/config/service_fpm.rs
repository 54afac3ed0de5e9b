//! `kind = "php-fpm"`: which PHP, and its pool. Pure.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    PhpFpm, Pool, Service, ServiceKind, SlotKind, check,
    context::{Context, quoted},
    errors::{Place, Problem},
    pool_table, suggest,
    tree::{Node, Value},
    written::{At, Reader, wrong_type},
};

/// What a PHP worker takes at its fullest, in MiB, when nobody has measured the app.
const WORKER_MIB: u64 = 48;

/// The service.
pub(super) fn php_fpm(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    place: &Place,
    drain: Duration,
) -> Option<Service> {
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
    Some(Service { name: "php-fpm".into(), kind: ServiceKind::Slots(SlotKind::PhpFpm(fpm)), drain })
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
