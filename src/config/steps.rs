//! `[[step]]`: what builds a release. The preset's first, then the written; one that names a preset's step changes it,
//! and with `run = []` takes it out. Pure.

use std::{path::Path, time::Duration};

use super::{
    Migrations, Step, check,
    context::{Context, quoted_list},
    errors::{Place, Problem},
    preset::Preset,
    step_options::{self, options},
    step_refusals::refused,
    tree::{Node, Table, Value},
    written::{At, Reader},
};

/// The longest name, in bytes: it is part of a unit's name.
const MAX_NAME: usize = 48;

/// What the step makes that a lock file belongs to.
const LOCKS: [(&str, &str); 6] = [
    ("composer.lock", "vendor"),
    ("package-lock.json", "node_modules"),
    ("npm-shrinkwrap.json", "node_modules"),
    ("yarn.lock", "node_modules"),
    ("pnpm-lock.yaml", "node_modules"),
    ("bun.lock", "node_modules"),
];

/// Whether a path is one of these directories, or below one.
pub(super) fn is_in(path: &str, dirs: &[String]) -> bool {
    dirs.iter().any(|dir| path.strip_prefix(&**dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// All steps, in order.
pub(super) fn steps(
    cx: &mut Context<'_>,
    top: &mut Reader<'_>,
    preset: &Preset,
    root: Option<&Path>,
    migrations: Migrations,
) -> Vec<Step> {
    let mut out: Vec<(Step, bool)> = preset.steps.iter().cloned().map(|step| (step, true)).collect();
    for (table, place) in top.tables("step", &mut cx.problems).unwrap_or_default() {
        if let Some(at) = one(cx, table, place, &mut out)
            && let Some(problem) = out.get(at).and_then(|(step, _)| refused(step, root, migrations))
        {
            let run = table.get("run").map_or(place, |(_, node)| &node.place);
            cx.problems.push(problem.at(run));
        }
    }
    for (step, _) in out.iter().filter(|(_, preset)| *preset) {
        let why = format!("preset {}; when {} are in the release", preset.name, step.needs.join(" and "));
        let why = if step.needs.len() == 1 { why.replace(" are in", " is in") } else { why };
        cx.infer(format!("step.{}", step.name), quoted_list(&step.run), why);
    }
    out.into_iter().map(|(step, _)| step).collect()
}

/// One written step; where it stands now, if it does.
fn one(cx: &mut Context<'_>, table: &Table, place: &Place, out: &mut Vec<(Step, bool)>) -> Option<usize> {
    let mut reader = Reader::new(table, "[[step]]");
    let name = reader.text("name", "warm-cache", &mut cx.problems);
    let written = step_options::run(cx, &mut reader);
    let run = written.as_ref().map(|(run, _)| run);
    let base = name.as_ref().and_then(|name| out.iter().position(|(step, preset)| *preset && step.name == name.value));
    if let (Some(at), Some(run)) = (base, run)
        && run.is_empty()
    {
        out.remove(at);
        reader_rest(&mut reader);
        reader.finish(&mut cx.problems);
        return None;
    }
    let start = match (base.and_then(|at| out.get(at)), run) {
        (Some((step, _)), _) => step.clone(),
        (None, Some(run)) => Step::new(derived_name(run), run.clone()),
        (None, None) => {
            if !table.contains_key("run") {
                let problem = Problem::new("a step has nothing to run").at(place);
                cx.problems.push(problem.help("write run = [\"php\", \"artisan\", \"...\"]"));
            }
            return None;
        }
    };
    let mut step = filled(cx, &mut reader, start, run);
    step.shell = written.as_ref().map_or(step.shell, |(_, shell)| *shell);
    options(cx, &mut reader, &mut step);
    let step = match &name {
        Some(at) => named(cx, step, at),
        None => step,
    };
    reader.finish(&mut cx.problems);
    if let Some((at, slot)) = base.and_then(|at| Some((at, out.get_mut(at)?))) {
        *slot = (step, false);
        return Some(at);
    }
    add(cx, out, step, name.as_ref().map(|at| &at.place));
    out.len().checked_sub(1)
}

/// A written name is unique; a derived one is made so.
fn add(cx: &mut Context<'_>, out: &mut Vec<(Step, bool)>, mut step: Step, named_at: Option<&Place>) {
    let taken = |name: &str, out: &[(Step, bool)]| out.iter().any(|(other, _)| other.name == name);
    if taken(&step.name, out) {
        if let Some(place) = named_at {
            let problem = Problem::new(format!("there are two steps {:?}", step.name)).at(place);
            cx.problems.push(problem.help("give each its own name"));
            return;
        }
        let base: String = step.name.chars().take(MAX_NAME - 5).collect();
        step.name = (2..).map(|n| format!("{base}-{n}")).find(|name| !taken(name, out)).unwrap_or(base);
    }
    out.push((step, false));
}

/// A command; a text in its place is shown as the list it should be.
pub(super) fn run(cx: &mut Context<'_>, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    if let Some(Node { value: Value::Text(text), place }) = reader.node("run") {
        let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        let problem = Problem::new("a command is a list, not a text: no shell reads it").at(place);
        cx.problems.push(problem.help(format!("write run = {}", quoted_list(&words))));
        return None;
    }
    let items = reader.texts("run", "[\"php\", \"artisan\", \"...\"]", &mut cx.problems)?;
    let run: Vec<String> = items.iter().map(|at| at.value.clone()).collect();
    if let (false, Some(at)) = (run.is_empty(), items.first()) {
        cx.take(check::command(&run), &at.place)?;
    }
    Some(run)
}

fn reader_rest(reader: &mut Reader<'_>) {
    for key in [
        "as",
        "before",
        "after",
        "once",
        "on",
        "needs",
        "skip_if_unchanged",
        "makes",
        "shared",
        "network",
        "timeout",
        "environment",
        "environment_file",
        "credentials",
        "memory",
        "tasks",
        "cpu_weight",
        "io_weight",
    ] {
        let _ = reader.node(key);
    }
}

/// What is written, over what was there.
fn filled(cx: &mut Context<'_>, reader: &mut Reader<'_>, mut step: Step, run: Option<&Vec<String>>) -> Step {
    if let Some(run) = run {
        step.run.clone_from(run);
        if run.is_empty()
            && let Some(place) = reader.key_place("run")
        {
            cx.take(check::command(run), place);
        }
    }
    if let Some(who) = cx.word(reader, "as", &["user", "run_as"]) {
        step.as_run_as = who == "run_as";
    }
    let before = cx.word(reader, "before", &["activate"]);
    let after = cx.word(reader, "after", &["activate"]);
    if let (Some(_), Some(_), Some(place)) = (before, after, reader.key_place("after")) {
        cx.problems.push(Problem::new("a step runs before or after activate, not both").at(place).help("remove one"));
    }
    step.after_activate = after.is_some() || (step.after_activate && before.is_none());
    if let Some(needs) = cx.relatives(reader, "needs") {
        step.needs = needs;
    }
    skips(cx, reader, &mut step);
    if let Some(shared) = cx.word(reader, "shared", &["rw", "ro"]) {
        step.shared_rw = shared == "rw";
    }
    if let Some(network) = reader.flag("network", &mut cx.problems) {
        step.network = network.value;
    }
    if let Some(timeout) = cx.span(reader, "timeout", Duration::from_secs(1), Duration::from_secs(6 * 3600)) {
        step.timeout = timeout;
    }
    step.environment.extend(cx.environment(reader).into_iter().map(|(name, at)| (name, at.value)));
    step
}

/// When it is left out, and what it makes: what a known lock file locks needs no saying.
fn skips(cx: &mut Context<'_>, reader: &mut Reader<'_>, step: &mut Step) {
    let place = reader.key_place("skip_if_unchanged").cloned();
    if let Some(files) = cx.relatives(reader, "skip_if_unchanged") {
        step.skip_if_unchanged = files;
    }
    if let Some(makes) = cx.relatives(reader, "makes") {
        step.makes = makes;
    }
    if step.makes.is_empty() {
        let made = |file: &String| LOCKS.iter().find(|(lock, _)| file.rsplit('/').next() == Some(lock));
        let beside = |file: &String, dir: &str| match file.rsplit_once('/') {
            Some((parent, _)) => format!("{parent}/{dir}"),
            None => dir.to_owned(),
        };
        let found = step.skip_if_unchanged.iter().filter_map(|file| made(file).map(|(_, dir)| beside(file, dir)));
        step.makes = found.collect();
    }
    if let (Some(place), true) = (place, step.makes.is_empty() && !step.skip_if_unchanged.is_empty()) {
        let problem = Problem::new("it is not known what the step makes, so it could never be left out").at(&place);
        cx.problems.push(problem.help("write makes = [\"vendor\"] or the like: directories that are in carry"));
    }
}

fn named(cx: &mut Context<'_>, mut step: Step, at: &At<String>) -> Step {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let good =
        at.value.len() <= MAX_NAME && at.value.bytes().all(ok) && !at.value.starts_with('-') && !at.value.is_empty();
    if good {
        step.name.clone_from(&at.value);
    } else {
        let problem = Problem::new(format!("{:?} is not a step's name", at.value)).at(&at.place);
        cx.problems.push(problem.help("use letters, digits and -, at most 48, like \"warm-cache\""));
    }
    step
}

/// `php artisan app:warm` is `artisan-app-warm`.
fn derived_name(run: &[String]) -> String {
    let words = run.iter().skip(usize::from(run.len() > 1 && run.first().is_some_and(|p| p == "php")));
    let text: Vec<String> = words.map(|w| w.rsplit('/').next().unwrap_or_default().to_ascii_lowercase()).collect();
    let dashed: String = text.join("-").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = dashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    let cut: String = name.chars().take(32).collect();
    let cut = cut.trim_end_matches('-');
    if cut.is_empty() { "step".into() } else { cut.to_owned() }
}
