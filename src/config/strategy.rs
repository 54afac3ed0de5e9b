//! An existing unit and the strategy by which it moves to a release. Pure.

use std::time::Duration;

use super::{
    OnFailure, Rolling, Service, ServiceKind, Strategy, check,
    context::Context,
    errors::{Place, Problem},
    suggest,
    written::{At, Reader},
};
use crate::model::UnitName;

/// The strategies there are.
const STRATEGIES: [&str; 5] = ["reload", "restart", "warm", "signal", "rolling"];
/// Signals by which programs are told to take up new code. TERM and KILL end them: that is a restart.
const SIGNALS: [&str; 6] = ["HUP", "USR1", "USR2", "WINCH", "QUIT", "INT"];

/// For one instance to answer.
const START: Duration = Duration::from_secs(30);

/// What our own units begin with.
const OURS: [&str; 9] = [
    "deployd",
    "deploy@",
    "deploy-",
    "app-fpm@",
    "app-octane@",
    "app-http@",
    "app-horizon@",
    "app-queue@",
    "app-schedule@",
];

/// A service that is an existing unit.
pub(super) fn existing(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    unit: &At<String>,
    drain: Duration,
) -> Option<Service> {
    let written = reader.text("strategy", "reload", &mut cx.problems);
    let strategy = match written.as_ref().map(|at| at.value.as_str()) {
        Some("reload") => Some(Strategy::Reload),
        Some("restart") => Some(Strategy::Restart),
        Some("warm") => Some(Strategy::Warm),
        Some("signal") => signal(cx, reader, unit),
        Some("rolling") => Some(Strategy::Rolling(rolling(cx, reader, &unit.place))),
        Some(_) | None => {
            not_said(cx, reader, unit, written.as_ref());
            None
        }
    };
    let template = matches!(strategy, Some(Strategy::Rolling(_)));
    let name = cx.take(unit_name(&unit.value, template), &unit.place);
    let (unit, strategy) = (name?, strategy?);
    Some(Service { name: unit.as_str().to_owned(), kind: ServiceKind::Unit { unit, strategy }, drain })
}

fn not_said(cx: &mut Context<'_>, reader: &Reader<'_>, unit: &At<String>, written: Option<&At<String>>) {
    if let Some(at) = written {
        let near = suggest::clause(&at.value, STRATEGIES);
        let problem = Problem::new(format!("strategy = {:?} is not known{near}", at.value));
        cx.problems.push(problem.at(&at.place).help(format!("write strategy = {}", suggest::one_of(&STRATEGIES))));
    } else if reader.key_place("strategy").is_none() {
        let problem = Problem::new(format!("how {} moves to a new release is not said", unit.value));
        cx.problems.push(problem.at(&unit.place).help("add strategy = \"reload\" or strategy = \"restart\""));
    }
}

fn signal(cx: &mut Context<'_>, reader: &mut Reader<'_>, unit: &At<String>) -> Option<Strategy> {
    let Some(at) = reader.text("signal", "USR2", &mut cx.problems) else {
        let problem = Problem::new(format!("which signal tells {} to take up new code is not said", unit.value));
        cx.problems.push(problem.at(&unit.place).help("add signal = \"USR2\", or what its manual names"));
        return None;
    };
    let signal = at.value.strip_prefix("SIG").unwrap_or(&at.value).to_owned();
    if SIGNALS.contains(&signal.as_str()) {
        return Some(Strategy::Signal { signal });
    }
    let problem = Problem::new(format!("signal = {:?} does not tell a program to take up new code", at.value));
    cx.problems.push(problem.at(&at.place).help(format!("write signal = {}", suggest::one_of(&SIGNALS))));
    None
}

fn rolling(cx: &mut Context<'_>, reader: &mut Reader<'_>, place: &Place) -> Rolling {
    let written = reader.texts("instances", "[\"1\", \"2\"]", &mut cx.problems).unwrap_or_default();
    let mut instances: Vec<String> = Vec::new();
    for at in written {
        cx.take(instance(&at.value, &instances), &at.place);
        instances.push(at.value);
    }
    let parallel = reader.number("parallel", 1..=64, &mut cx.problems).map_or(1, |at| at.value);
    let delay = cx.span(reader, "delay", Duration::ZERO, Duration::from_secs(3600)).unwrap_or_default();
    let start_first = cx.word(reader, "order", &["stop-first", "start-first"]) == Some("start-first");
    let start = cx.span(reader, "start", Duration::from_secs(1), Duration::from_secs(3600)).unwrap_or(START);
    let probe = reader.text("probe", "http://127.0.0.1:300{instance}/up", &mut cx.problems).map(|at| {
        // Judged as it will be asked: with an instance in it.
        cx.take(check::http_url(&at.value.replace("{instance}", "1")), &at.place);
        at.value
    });
    let pause = cx.word(reader, "on_failure", &["rollback", "pause"]) == Some("pause");
    let on_failure = if pause { OnFailure::Pause } else { OnFailure::Rollback };
    let parallel = u32::try_from(parallel).unwrap_or(1);
    cx.take(enough(&instances, parallel, start_first), place);
    Rolling { instances, parallel, delay, start_first, probe, start, on_failure }
}

/// That some instance serves at every moment. Where none is named it is known only when they are looked at.
fn enough(instances: &[String], parallel: u32, start_first: bool) -> Result<(), Problem> {
    let few = u32::try_from(instances.len()).unwrap_or(u32::MAX) <= parallel;
    match (instances.is_empty(), start_first) {
        (true, false) => Ok(()),
        (true, true) => {
            let problem =
                Problem::new("order = \"start-first\" starts an instance that does not run: which is not said");
            Err(problem.help("name one more than shall run: instances = [\"1\", \"2\", \"3\"]"))
        }
        (false, _) if few => {
            let count = instances.len();
            let problem = Problem::new(format!("parallel = {parallel} of {count} instances leaves none that serves"));
            Err(problem.help(format!("name more than {parallel}, or write a smaller parallel")))
        }
        (false, _) => Ok(()),
    }
}

/// Whether it may stop half-way: then everything before it stays on the new release, and nothing may wait behind it.
pub(super) fn may_pause(service: &Service) -> bool {
    let ServiceKind::Unit { strategy: Strategy::Rolling(rolling), .. } = &service.kind else { return false };
    rolling.on_failure == OnFailure::Pause
}

fn instance(text: &str, before: &[String]) -> Result<(), Problem> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b":-_.".contains(&b);
    if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
        let problem = Problem::new(format!("{text:?} cannot be the name of an instance"));
        return Err(problem.help("use letters, digits and `:-_.`, like instances = [\"1\", \"2\"]"));
    }
    if before.iter().any(|other| other == text) {
        return Err(Problem::new(format!("the instance {text:?} is named twice")).help("remove one"));
    }
    Ok(())
}

/// A unit of the site's own: a service, or where a template is wanted, one.
pub(super) fn unit_name(text: &str, template: bool) -> Result<UnitName, Problem> {
    let unit: UnitName = text.parse().map_err(|e: crate::model::BadName| {
        Problem::new(e.to_string()).help("`systemctl list-units --type=service` lists the names")
    })?;
    if !text.ends_with(".service") {
        return Err(Problem::new(format!("{text} is not a service")).help("name the service that runs the app's code"));
    }
    let is_template = text.contains("@.");
    if template && !is_template {
        let title = format!("{text} is no template");
        return Err(Problem::new(title).help("name the template of the instances, like \"web@.service\""));
    }
    if is_template && !template {
        return Err(
            Problem::new(format!("{text} is a template")).help("name an instance of it, like \"worker@1.service\"")
        );
    }
    if OURS.iter().any(|prefix| text.starts_with(prefix)) {
        let help = "for slots write kind = \"php-fpm\", \"octane\", \"http\", \"horizon\" or \"queue\"";
        return Err(Problem::new(format!("{text} is deployd's own")).help(help));
    }
    Ok(unit)
}
