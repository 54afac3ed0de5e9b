//! `[service.pool]`: php-fpm pool directives as TOML. Names are php-fpm's own (php-src sapi/fpm/fpm/fpm_conf.c). Pure.

use std::collections::BTreeMap;

use super::{
    context::Context,
    errors::{Place, Problem},
    suggest,
    tree::{Node, Table, Value},
};

/// Directives that may be written.
const KNOWN: [&str; 26] = [
    "pm",
    "pm.max_children",
    "pm.start_servers",
    "pm.min_spare_servers",
    "pm.max_spare_servers",
    "pm.max_spawn_rate",
    "pm.process_idle_timeout",
    "pm.max_requests",
    "pm.status_path",
    "process.priority",
    "process.dumpable",
    "ping.path",
    "ping.response",
    "access.log",
    "access.format",
    "slowlog",
    "request_slowlog_timeout",
    "request_slowlog_trace_depth",
    "request_terminate_timeout",
    "request_terminate_timeout_track_finished",
    "rlimit_files",
    "rlimit_core",
    "chdir",
    "catch_workers_output",
    "decorate_workers_output",
    "clear_env",
];

/// Directives with a name in brackets.
const NAMED: [&str; 4] = ["php_value", "php_flag", "php_admin_value", "php_admin_flag"];
/// Too long for the list above.
const EXTENSIONS: &str = "security.limit_extensions";

/// A pool that does for most sites.
pub(super) fn defaults() -> BTreeMap<String, String> {
    let text = [
        ("pm", "dynamic"),
        ("pm.max_children", "10"),
        ("pm.start_servers", "2"),
        ("pm.min_spare_servers", "1"),
        ("pm.max_spare_servers", "3"),
        ("pm.max_requests", "0"),
        ("catch_workers_output", "yes"),
        ("decorate_workers_output", "no"),
        ("clear_env", "yes"),
        (EXTENSIONS, ".php"),
    ];
    text.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The written directives, flattened: `pm.max_children = 20` is a table to TOML and one name to php-fpm.
pub(super) fn directives(cx: &mut Context<'_>, table: &Table) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, (place, node)) in table {
        flatten(cx, key.clone(), place, node, &mut out);
    }
    out
}

fn flatten(cx: &mut Context<'_>, name: String, place: &Place, node: &Node, out: &mut BTreeMap<String, String>) {
    let value = match &node.value {
        Value::Table(inner) => {
            for (key, (place, node)) in inner {
                flatten(cx, join(&name, key), place, node, out);
            }
            return;
        }
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        other => {
            let problem = Problem::new(format!("{name} is {}", other.word())).at(&node.place);
            cx.problems.push(problem.help(format!("write {name:?} = \"...\"")));
            return;
        }
    };
    if value.contains(['\n', '\r', '\0']) {
        let problem = Problem::new(format!("the value of {name} has a NUL or a line break")).at(&node.place);
        cx.problems.push(problem.help("write it in one line"));
        return;
    }
    if value.is_empty() {
        let problem = Problem::new(format!("{name} is empty, which php-fpm does not take")).at(&node.place);
        cx.problems.push(problem.help("remove it"));
        return;
    }
    if let Some(name) = cx.take(known(&name), place) {
        out.insert(name, value);
    }
}

/// `pm` and `max_children` are `pm.max_children`; `php_admin_value` and `memory_limit` are
/// `php_admin_value[memory_limit]`, whose own points stay inside the brackets.
fn join(name: &str, key: &str) -> String {
    if NAMED.contains(&name) {
        format!("{name}[{key}]")
    } else if let Some(open) = name.strip_suffix(']') {
        format!("{open}.{key}]")
    } else {
        format!("{name}.{key}")
    }
}

fn known(name: &str) -> Result<String, Problem> {
    if let Some((directive, inner)) = name.strip_suffix(']').and_then(|n| n.split_once('[')) {
        let plain = !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if directive == "env" {
            return Err(Problem::new("env is set by [environment]").help("write it there: steps need it too"));
        }
        if NAMED.contains(&directive) && plain {
            return Ok(name.to_owned());
        }
    }
    let ours = ["user", "group", "prefix", "chroot", "include"];
    if name == "listen" || name.starts_with("listen.") || ours.contains(&name) || name.starts_with("env.") {
        let why = match name {
            "chroot" | "prefix" => "a slot cannot have it: paths in it would not be the release's",
            "include" => "a slot has no other files: write the directives here",
            _ if name.starts_with("env.") => "env is set by [environment]",
            _ => "deployd sets it for each slot",
        };
        return Err(Problem::new(format!("{name} may not be set here: {why}")).help("remove it"));
    }
    if name == EXTENSIONS || KNOWN.contains(&name) {
        return Ok(name.to_owned());
    }
    let words = KNOWN.into_iter().chain(NAMED).chain([EXTENSIONS]);
    let title = format!("unknown pool directive {name:?}{}", suggest::clause(name, words.clone()));
    let help = match suggest::nearest(name, words) {
        Some(near) => format!("write {near:?}"),
        None => "the directives are php-fpm's own; see the comments of /etc/php/*/fpm/pool.d/www.conf".into(),
    };
    Err(Problem::new(title).help(help))
}
