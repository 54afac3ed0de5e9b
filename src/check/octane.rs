//! Octane as an existing unit: what keeps the old release serving, and what two servers would fight over. Pure.

use std::collections::BTreeMap;

use super::{
    Facts, TakenPort, UnitFacts,
    found::{Found, Words},
    units::Role,
};
use crate::{
    config::{ServiceKind, Settings, SlotKind, Strategy},
    model::Severity,
};

const GROUP: &str = "octane";
/// Octane's own (laravel/octane src/Commands/StartCommand.php).
const PORT: &str = "8000";

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    let mut ports: BTreeMap<String, &str> = BTreeMap::new();
    let mut servers = 0;
    for service in &settings.services {
        let Some(unit) = facts.units.get(&service.name).filter(|unit| Role::of(unit) == Role::Octane) else { continue };
        let ServiceKind::Unit { strategy, .. } = &service.kind else { continue };
        servers += 1;
        moves(unit, strategy, found);
        if let Some(other) = ports.insert(port(unit), &unit.unit) {
            let words = Words {
                thing: format!("port {}", port(unit)),
                place: unit.unit.clone(),
                happens: format!("{other} listens there too: one of them does not start"),
                remedy: format!("give one of them another `--port=`: `systemctl edit --full {}`", unit.unit),
            };
            found.add(GROUP, "octane-port", Severity::Breaks, words);
        }
    }
    let slots = settings.services.iter().any(|service| matches!(service.slots(), Some(SlotKind::Octane(_))));
    if servers > 1 || slots {
        state_file(facts, slots, found);
    }
    taken(facts, found);
}

/// A port that a slot will need, and somebody else has: FrankenPHP, Node and all others refuse to start.
fn taken(facts: &Facts, found: &mut Found) {
    for TakenPort { service, slot, port } in &facts.taken {
        let words = Words {
            thing: format!("port {port}"),
            place: format!("slot {slot} of {service}"),
            happens: "somebody else listens there, and the slot cannot start".into(),
            remedy: format!("end it (`ss -ltnp 'sport = :{port}'` names it), or write other ports"),
        };
        found.add(GROUP, "slot-port", Severity::Breaks, words);
    }
}

fn moves(unit: &UnitFacts, strategy: &Strategy, found: &mut Found) {
    let (id, happens) = match strategy {
        Strategy::Reload | Strategy::Signal { .. } | Strategy::Warm => {
            ("octane-reload", "the server fixed its release when it was started: its workers restart on the old one")
        }
        Strategy::Restart => ("octane-restart", "until it is up again every request fails or waits"),
        Strategy::Rolling(_) => return,
    };
    let words = Words {
        thing: format!("strategy = \"{}\" of an Octane server", strategy.as_str()),
        place: unit.unit.clone(),
        happens: happens.into(),
        remedy: "use slots: [[service]] kind = \"octane\" instead of unit".into(),
    };
    found.add(GROUP, id, Severity::Breaks, words);
}

/// `--port=8001`, `--port 8001`, or Octane's default.
fn port(unit: &UnitFacts) -> String {
    let words: Vec<&String> = unit.exec.iter().flatten().collect();
    let joined = words.iter().find_map(|word| word.strip_prefix("--port="));
    let apart = words.windows(2).find_map(|pair| match pair {
        [name, value] if *name == "--port" => Some(value.as_str()),
        _ => None,
    });
    joined.or(apart).unwrap_or(PORT).to_owned()
}

/// The file by which `artisan octane:*` knows its server: one for all in shared storage makes them signal each other's.
/// A slot gives its server another one by OCTANE_STATE_FILE, which a cached configuration is told in another way.
fn state_file(facts: &Facts, slots: bool, found: &mut Found) {
    let Some(app) = &facts.app else { return };
    let says = |key: &str, value: &str| app.config.get(key).is_some_and(|found| found == value);
    let Some(file) = app.config.get("octane.state_file") else { return };
    if says("octane.state_file-shared", "yes") && !(slots && says("config.cached", "yes")) {
        let words = Words {
            thing: "octane.state_file".into(),
            place: file.clone(),
            happens: "old and new server write the same file: each is then taken for the other".into(),
            remedy:
                "write `'state_file' => env('OCTANE_STATE_FILE', storage_path('logs/octane-server-state.json'))` in \
                     config/octane.php, and give each server another"
                    .into(),
        };
        found.add(GROUP, "octane-state-file", Severity::Breaks, words);
    }
}
