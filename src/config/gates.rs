//! `[gates]`: what a release must pass before it is one. Off until it is switched on; what is run is the preset's. Pure.

use std::time::Duration;

use super::{
    AUDIT, Gates, Step, check,
    context::{Context, quoted_list},
    errors::Problem,
    preset::Preset,
    tree::{Node, Value},
    written::Reader,
};

/// For the tests, when no limit is written.
const TESTS: Duration = Duration::from_secs(15 * 60);

/// Reads the table. The audits become steps beside what installs; the tests are a gate of their own.
pub(super) fn gates(cx: &mut Context<'_>, top: &mut Reader<'_>, preset: &mut Preset) -> Gates {
    let mut gates = Gates { tests: None };
    let Some(table) = top.table("gates", &mut cx.problems) else { return gates };
    let mut reader = Reader::new(table, "[gates]");
    let audits = [
        ("composer_audit", "composer-install", "composer-audit", "composer.lock", &COMPOSER[..]),
        ("npm_audit", "npm-ci", "npm-audit", "package-lock.json", &NPM[..]),
    ];
    for (key, after, name, needs, run) in audits {
        let on = reader.flag(key, &mut cx.problems).is_some_and(|flag| flag.value);
        if on {
            let run = run.iter().map(|word| (*word).to_owned()).collect();
            let step = Step { needs: vec![needs.into()], ..Step::new(name, run) };
            let at = preset.steps.iter().position(|step| step.name == after).map_or(preset.steps.len(), |at| at + 1);
            preset.steps.insert(at, step);
        }
    }
    gates.tests = tests(cx, &mut reader, preset);
    if let (Some(step), Some(span)) =
        (&mut gates.tests, cx.span(&mut reader, "timeout", Duration::from_secs(1), Duration::from_secs(6 * 3600)))
    {
        step.timeout = span;
    }
    reader.finish(&mut cx.problems);
    gates
}

/// The packages that are installed, of whose advisories those that are critical refuse.
const COMPOSER: [&str; 2] = ["php", AUDIT];
/// The same of npm's, which judges itself.
const NPM: [&str; 4] = ["npm", "audit", "--omit=dev", "--audit-level=critical"];

/// `true`: the preset's command. A list: that one.
fn tests(cx: &mut Context<'_>, reader: &mut Reader<'_>, preset: &Preset) -> Option<Step> {
    let Node { value, place } = reader.node("tests")?;
    let run: Vec<String> = match value {
        Value::Bool(false) => return None,
        Value::Bool(true) if !preset.tests.is_empty() => preset.tests.clone(),
        Value::Bool(true) => {
            let problem = Problem::new("without a preset it is not known how the tests are run").at(place);
            cx.problems.push(problem.help("write tests = [\"vendor/bin/phpunit\"]"));
            return None;
        }
        _ => {
            let items = reader.texts("tests", &quoted_list(&["vendor/bin/phpunit".into()]), &mut cx.problems)?;
            let run: Vec<String> = items.into_iter().map(|at| at.value).collect();
            cx.take(check::command(&run), place)?;
            run
        }
    };
    Some(Step { timeout: TESTS, network: false, ..Step::new("tests", run) })
}
