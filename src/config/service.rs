//! `[[service]]`: one of our kinds, or an existing unit. Each kind has a function of its own. Pure.

use std::time::Duration;

use super::{
    Service, ServiceKind, SlotKind,
    context::Context,
    errors::{Place, Problem},
    preset::Preset,
    service_fpm::php_fpm,
    service_kinds, strategy, suggest,
    tree::Table,
    written::{At, Reader},
};

/// Of a service, when it writes none.
const DRAIN: Duration = Duration::from_secs(30);
/// Of Horizon and queue workers: a job of an hour is lost more easily than a minute is waited for.
const DRAIN_JOBS: Duration = Duration::from_secs(15 * 60);
/// The longest that may be waited for what an old slot still does.
const DRAIN_MOST: Duration = Duration::from_secs(24 * 3600);
/// Kinds that there are.
const KINDS: [&str; 6] = ["php-fpm", "octane", "http", "horizon", "queue", "scheduler"];
/// Kinds that are planned.
const LATER_KINDS: [&str; 2] = ["reverb", "nginx"];

/// Whether it is php-fpm in slots.
pub(super) fn is_php_fpm(service: &Service) -> bool {
    matches!(service.kind, ServiceKind::Slots(SlotKind::PhpFpm(_)))
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
            cx.problems.push(Problem::new(title).at(place).help(instead_of_two(&service)));
            continue;
        }
        if let Some(before) = out.iter().find(|other| strategy::may_pause(other)) {
            let problem = Problem::new(format!("{} may pause, and {} comes after it", before.name, service.name));
            let help = format!("move {} to the end, or write on_failure = \"rollback\" there", before.name);
            cx.problems.push(problem.at(place).help(help));
        }
        out.push(service);
    }
    out
}

/// An app has one service of each kind, and each unit once. What people write instead who need two.
fn instead_of_two(service: &Service) -> &'static str {
    match service.slots() {
        Some(SlotKind::Queue(_)) => {
            "remove one, and write its queues into the other, strongest first: queues = [\"high\", \"default\"]; \
             workers that shall share nothing are a unit of the site's own: unit = \"shop-mail.service\" with \
             strategy = \"restart\""
        }
        Some(SlotKind::Octane(_) | SlotKind::Http(_)) => {
            "remove one, or run it by a template of the site's own, as often as it is another one: kind = \"http\", \
             unit = \"shop-api@.service\", with ports of its own"
        }
        _ => "an app has one service of each kind, and each unit once: remove one",
    }
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
    // A run of the scheduler ends when it ends: nothing waits for it.
    let drains = kind.as_ref().is_none_or(|kind| kind.value != "scheduler");
    let drain = drains.then(|| cx.span(&mut reader, "drain", Duration::from_secs(1), DRAIN_MOST)).flatten();
    let service = match (kind, unit) {
        (Some(kind), unit) if kind.value == "http" => {
            service_kinds::http(cx, &mut reader, unit.as_ref(), place, drain.unwrap_or(DRAIN))
        }
        (Some(kind), None) => of_kind(cx, &mut reader, &kind, place, drain)?,
        (None, Some(unit)) => strategy::existing(cx, &mut reader, &unit, drain.unwrap_or(DRAIN)),
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

/// A kind of ours; the outer none: there is no such kind, and its keys are not judged.
fn of_kind(
    cx: &mut Context<'_>,
    reader: &mut Reader<'_>,
    kind: &At<String>,
    place: &Place,
    drain: Option<Duration>,
) -> Option<Option<Service>> {
    let jobs = drain.unwrap_or(DRAIN_JOBS);
    let drain = drain.unwrap_or(DRAIN);
    Some(match kind.value.as_str() {
        "php-fpm" => php_fpm(cx, reader, place, drain),
        "octane" => service_kinds::octane(cx, reader, place, drain),
        "horizon" => service_kinds::horizon(cx, reader, jobs),
        "queue" => service_kinds::queue(cx, reader, jobs),
        "scheduler" => service_kinds::scheduler(cx, reader, jobs),
        _ => {
            unknown_kind(cx, kind);
            return None;
        }
    })
}

fn unknown_kind(cx: &mut Context<'_>, kind: &At<String>) {
    let name = &kind.value;
    let problem = if LATER_KINDS.contains(&name.as_str()) {
        Problem::new(format!("kind = {name:?} comes in a later version"))
            .help("use unit = \"NAME.service\" with strategy = \"restart\" or \"reload\"")
    } else {
        Problem::new(format!("kind = {name:?} is not known{}", suggest::clause(name, KINDS)))
            .help(format!("write kind = {}, or unit = \"NAME.service\" with a strategy", suggest::one_of(&KINDS)))
    };
    cx.problems.push(problem.at(&kind.place));
}
