//! What a step may reach and take, as written: its limits, its secrets, its shell. Pure.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    On, Step, check,
    context::{Context, quoted_list},
    errors::Problem,
    size, steps,
    tree::{Node, Value},
    written::{Reader, wrong_type},
};

/// What runs a line that was asked to be a shell's: it ends at the first command that fails.
const SHELL: [&str; 2] = ["/bin/sh", "-ec"];
/// The least memory that a limit may leave, in bytes.
const LEAST_MEMORY: u64 = 16 << 20;

/// A command, and whether it is a shell's line. A text without `shell = true` is shown as the list it should be.
pub(super) fn run(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<(Vec<String>, bool)> {
    let shell = reader.flag("shell", &mut cx.problems).is_some_and(|flag| flag.value);
    let Some(Node { value, place }) = reader.node("run") else {
        if let (true, Some(place)) = (shell, reader.key_place("shell")) {
            let problem = Problem::new("shell = true goes with a line to run").at(place);
            cx.problems.push(problem.help("write run = \"command | command\""));
        }
        return None;
    };
    match (value, shell) {
        (Value::Text(text), true) if !text.trim().is_empty() && !text.contains('\0') => {
            Some((SHELL.map(str::to_owned).into_iter().chain([text.clone()]).collect(), true))
        }
        (_, true) => {
            let problem = Problem::new("a shell's line is one text").at(place);
            cx.problems.push(problem.help("write run = \"command | command\", or remove shell = true"));
            None
        }
        (Value::Text(text), false) => {
            let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
            let problem = Problem::new("a command is a list, not a text: no shell reads it").at(place);
            let help = format!("write run = {}; if a shell must read it, add shell = true", quoted_list(&words));
            cx.problems.push(problem.help(help));
            None
        }
        (_, false) => steps::run(cx, reader).map(|run| (run, false)),
    }
}

/// Reads the limits, the end that a step waits for, and its secrets.
pub(super) fn options(cx: &mut Context<'_>, reader: &mut Reader<'_>, step: &mut Step) {
    let on = cx.word(reader, "on", &["success", "failure"]);
    let placed = ["before", "after"].into_iter().find(|key| reader.key_place(key).is_some());
    if let (Some(_), Some(key), Some(place)) = (on, placed, reader.key_place("on")) {
        let title = format!("a step with `on` runs when the deployment has ended, not {key} activate");
        cx.problems.push(Problem::new(title).at(place).help(format!("remove on or {key}")));
    }
    match on {
        Some("failure") => step.on = Some(On::Failure),
        Some(_) => step.on = Some(On::Success),
        None => {}
    }
    once(cx, reader, step);
    limits(cx, reader, step);
    if let Some(at) = reader.text("environment_file", "/etc/deployd/secrets/shop.env", &mut cx.problems)
        && let Some(path) = cx.take(check::absolute(&at.value), &at.place)
    {
        step.environment_file = Some(path);
    }
    if let Some(credentials) = credentials(cx, reader) {
        step.credentials = credentials;
    }
}

/// Whether it runs once for a release: what migrates does, unless it is written otherwise.
fn once(cx: &mut Context<'_>, reader: &mut Reader<'_>, step: &mut Step) {
    let written = reader.flag("once", &mut cx.problems).map(|flag| flag.value);
    if let (Some(true), Some(_), Some(place)) = (written, step.on, reader.key_place("once")) {
        let problem = Problem::new("a step with `on` runs whenever a deployment has ended so").at(place);
        cx.problems.push(problem.help("remove once or on"));
    }
    step.once = written.unwrap_or(step.on.is_none() && (step.once || step.migrates()));
}

fn limits(cx: &mut Context<'_>, reader: &mut Reader<'_>, step: &mut Step) {
    if let Some(at) = reader.text("memory", "1G", &mut cx.problems) {
        match size::parse(&at.value) {
            Some(bytes) if bytes >= LEAST_MEMORY => step.limits.memory = Some(bytes),
            _ => {
                let problem = Problem::new(format!("memory = {:?} is not a size that a step could run in", at.value));
                cx.problems
                    .push(problem.at(&at.place).help("write one like memory = \"512M\" or \"2G\", at least 16M"));
            }
        }
    }
    let mut number = |key, bounds| {
        let at = reader.number(key, bounds, &mut cx.problems)?;
        u64::try_from(at.value).ok()
    };
    if let Some(tasks) = number("tasks", 1..=1_000_000) {
        step.limits.tasks = tasks;
    }
    if let Some(weight) = number("cpu_weight", 1..=10_000) {
        step.limits.cpu_weight = weight;
    }
    if let Some(weight) = number("io_weight", 1..=10_000) {
        step.limits.io_weight = weight;
    }
}

fn credentials(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<BTreeMap<String, PathBuf>> {
    let table = reader.table("credentials", &mut cx.problems)?;
    let mut out = BTreeMap::new();
    for (name, (key_place, node)) in table {
        let Value::Text(path) = &node.value else {
            return wrong_type(
                node,
                &format!("write a file's path: {name} = \"/etc/deployd/secrets/{name}\""),
                &mut cx.problems,
            );
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(plain) {
            let problem = Problem::new(format!("{name:?} is not a credential's name")).at(key_place);
            cx.problems.push(problem.help("use letters, digits and `_.-`, like \"npm-token\""));
            continue;
        }
        if let Some(path) = cx.take(check::absolute(path), &node.place) {
            out.insert(name.clone(), path);
        }
    }
    Some(out)
}
