//! The units that run the app: whether their stop lets requests and jobs end. Pure.

use std::time::Duration;

use super::{
    Facts, UnitFacts,
    found::{Found, Words},
};
use crate::{
    config::{Service, ServiceKind, Settings, Strategy},
    model::Severity,
};

const GROUP: &str = "units";
/// signal(7), as `KillSignal` of systemd gives them.
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;

/// What a unit runs, by its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Fpm,
    Octane,
    Horizon,
    Queue,
    Other,
}

impl Role {
    pub(super) fn of(unit: &UnitFacts) -> Self {
        let words = || unit.exec.iter().flatten();
        let has = |word: &str| words().any(|argument| argument == word);
        let program = |part: &str| {
            unit.exec
                .iter()
                .filter_map(|argv| argv.first())
                .any(|path| path.rsplit('/').next().unwrap_or_default().starts_with(part))
        };
        match () {
            () if program("php-fpm") => Role::Fpm,
            () if has("octane:start") => Role::Octane,
            () if has("horizon") => Role::Horizon,
            () if has("queue:work") => Role::Queue,
            () => Role::Other,
        }
    }
}

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    for unit in &facts.writers {
        let releases = settings.root.join("releases");
        let words = Words {
            thing: format!("User={}", settings.user),
            place: unit.clone(),
            happens: format!("it could write into {}, where nothing changes after the seal", releases.display()),
            remedy: format!(
                "`systemctl edit {unit}`: write `ReadOnlyPaths={}` below [Service], or let it run as another user",
                releases.display()
            ),
        };
        found.add(GROUP, "unit-writes", Severity::Warning, words);
    }
    for service in &settings.services {
        let Some(unit) = facts.units.get(&service.name) else { continue };
        stop(service, unit, found);
        if Role::of(unit) == Role::Horizon {
            fast_termination(facts, unit, found);
        }
    }
}

fn stop(service: &Service, unit: &UnitFacts, found: &mut Found) {
    let role = Role::of(unit);
    if role == Role::Other {
        return;
    }
    // A reload stops nothing; but the next upgrade of the package does.
    let reloads = matches!(
        &service.kind,
        ServiceKind::Unit { strategy: Strategy::Reload | Strategy::Signal { .. } | Strategy::Warm, .. }
    );
    let severity = if reloads { Severity::Warning } else { Severity::Breaks };
    let what = if matches!(role, Role::Fpm | Role::Octane) { "requests" } else { "jobs" };
    let mut tell = |id, thing: String, happens: String, line: String| {
        let remedy = format!("`systemctl edit {}`: write `{line}` below [Service]", unit.unit);
        found.add(GROUP, id, severity, Words { thing, place: unit.unit.clone(), happens, remedy });
    };
    // How slots of ours are stopped is their template's to say; what an edit may have taken from it is time.
    let slots = service.slots().is_some() && role != Role::Fpm;
    let (signal, name) = if role == Role::Fpm { (SIGQUIT, "SIGQUIT") } else { (SIGTERM, "SIGTERM") };
    if unit.kill_signal != signal && !slots {
        let happens = format!("a stop or a restart cuts off {what} under way");
        tell("unit-kill-signal", signal_name(unit.kill_signal), happens, format!("KillSignal={name}"));
    }
    if unit.kill_mode != "mixed" && role != Role::Octane && !slots {
        let happens =
            format!("a stop signals every process at once, not the main one: {what} under way may be cut off");
        tell("unit-kill-mode", format!("KillMode={}", unit.kill_mode), happens, "KillMode=mixed".into());
    }
    let needed = service.drain + Duration::from_secs(1);
    if let Some(timeout) = unit.stop_timeout.filter(|timeout| *timeout < needed) {
        let seconds = service.drain.as_secs();
        let happens = format!("{what} may take {seconds}s (drain), and are killed earlier");
        let thing = format!("TimeoutStopSec={}s", timeout.as_secs());
        tell("unit-stop-timeout", thing, happens, format!("TimeoutStopSec={}s", seconds + 30));
    }
}

fn signal_name(number: i32) -> String {
    match number {
        SIGTERM => "KillSignal=SIGTERM".into(),
        SIGQUIT => "KillSignal=SIGQUIT".into(),
        other => format!("KillSignal={other}"),
    }
}

/// With it Horizon's master leaves before its jobs have ended, and systemd kills what is left of its unit.
fn fast_termination(facts: &Facts, unit: &UnitFacts, found: &mut Found) {
    let Some(app) = &facts.app else { return };
    if app.config.get("horizon.fast_termination").is_some_and(|value| value == "1") {
        let words = Words {
            thing: "horizon.fast_termination = true".into(),
            place: "config/horizon.php".into(),
            happens: format!("the main process of {} ends before its jobs, which are then killed", unit.unit),
            remedy: "write `'fast_termination' => false` in config/horizon.php".into(),
        };
        found.add(GROUP, "horizon-fast-termination", Severity::Breaks, words);
    }
}
