//! The drop-in of one slot, for each kind: user, command, drain time, what it may write. Pure.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    dropins::{FILE, head, slice_of, strict},
    horizon, octane, queue, scheduler, slot,
    unit_text::{argument, word},
};
use crate::{
    config::{Program, Scheduler, Service, ServiceKind, Settings, SlotKind},
    model::{Paths, SlotUnit},
};

/// Given to php-fpm after its drain time, before systemd kills what is left, in seconds.
const FPM_MARGIN: u64 = 10;
/// Given to a server whose connections have ended, in seconds.
const SERVER_STOP: u64 = 30;
/// Given to workers after their longest job, in seconds.
const JOBS_MARGIN: u64 = 30;

/// The drop-ins of a service: of each slot, or of its timer's service.
pub(super) fn of_service(settings: &Settings, service: &Service, paths: &Paths) -> Vec<(PathBuf, String)> {
    let place = |unit: &str| Path::new(&format!("{unit}.d")).join(FILE);
    match &service.kind {
        ServiceKind::Slots(kind) => kind
            .slots()
            .into_iter()
            .filter_map(|slot| slot::unit(kind, &settings.app, slot).ok())
            .map(|unit| (place(unit.unit().as_str()), slot_text(settings, service, kind, &unit, paths)))
            .collect(),
        ServiceKind::Scheduler(scheduler) => {
            let unit = scheduler::service(&settings.app);
            vec![(place(&unit), schedule_text(settings, scheduler))]
        }
        ServiceKind::Unit { .. } => Vec::new(),
    }
}

fn slot_text(settings: &Settings, service: &Service, kind: &SlotKind, unit: &SlotUnit, paths: &Paths) -> String {
    let path = |path: &Path| word(&path.to_string_lossy());
    let mut lines = vec![format!("{}[Unit]", head(settings)), format!("RequiresMountsFor={}", path(&settings.root))];
    let own = matches!(kind, SlotKind::Http(http) if matches!(http.program, Program::Unit(_)));
    if own {
        // The order that our own templates have.
        lines.push("After=deployd-recover.service".into());
        lines.push(format!("Before=deployd-slots.target {}", settings.web_unit));
    }
    lines.extend([String::new(), "[Service]".into()]);
    if !own {
        lines.extend(identity(settings));
    }
    lines.extend(commands(kind, unit, paths));
    lines.push(format!("TimeoutStopSec={}", stop_time(kind, service.drain)));
    if !matches!(kind, SlotKind::PhpFpm(_)) {
        lines.push(format!("WorkingDirectory={}", path(&paths.slot_link(unit))));
        lines.push(format!("EnvironmentFile={}", path(&paths.slot_environment(unit))));
    }
    lines.push(format!("ReadOnlyPaths=-{}", path(&settings.root.join("releases"))));
    for dir in &settings.writable {
        // Through the slot's link: systemd follows it when the unit starts, so this is its own release's only.
        lines.push(format!("ReadWritePaths=-{}", path(&paths.slot_link(unit).join(dir))));
    }
    if is_strict(kind) {
        lines.extend(strict(settings));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn schedule_text(settings: &Settings, kind: &Scheduler) -> String {
    let mut lines = vec![
        format!("{}[Unit]", head(settings)),
        format!("RequiresMountsFor={}", word(&settings.root.to_string_lossy())),
        String::new(),
        "[Service]".into(),
    ];
    lines.extend(identity(settings));
    lines.extend(["ExecStart=".into(), exec("ExecStart", &scheduler::command(kind))]);
    // Through the link: systemd follows it when a run starts.
    let current = settings.root.join("current");
    lines.push(format!("WorkingDirectory={}", word(&current.to_string_lossy())));
    // `{release}` is for schedule.php to fill in.
    lines.extend(
        settings
            .environment
            .iter()
            .map(|(name, value)| format!("Environment={}", argument(&format!("{name}={value}")))),
    );
    lines.push(format!("ReadOnlyPaths=-{}", word(&settings.root.join("releases").to_string_lossy())));
    lines.extend(
        settings.writable.iter().map(|dir| format!("ReadWritePaths=-{}", word(&current.join(dir).to_string_lossy()))),
    );
    if kind.strict {
        lines.extend(strict(settings));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn identity(settings: &Settings) -> [String; 3] {
    [
        format!("User={}", word(&settings.run_as)),
        // Empty: that user's own group.
        "Group=".into(),
        format!("Slice={}", slice_of(&settings.app)),
    ]
}

/// What is run. Empty first: it would otherwise be added to the template's.
fn commands(kind: &SlotKind, unit: &SlotUnit, paths: &Paths) -> Vec<String> {
    let only = |name: &str, command: &[String]| vec![format!("{name}="), exec(name, command)];
    match kind {
        SlotKind::PhpFpm(fpm) => {
            let config = paths.fpm_config(unit.instance());
            let command = [&fpm.binary.to_string_lossy(), "--nodaemonize", "--fpm-config", &config.to_string_lossy()]
                .map(argument);
            vec!["ExecStart=".into(), format!("ExecStart={}", command.join(" "))]
        }
        SlotKind::Octane(octane) => {
            let mut lines = only("ExecStart", &octane::command(octane));
            lines.extend(only("ExecStop", &octane::stop(octane)));
            lines
        }
        SlotKind::Http(http) => match &http.program {
            Program::Unit(_) => Vec::new(),
            Program::Run { run, .. } => {
                let literal: Vec<String> = run.iter().map(|word| argument(word)).collect();
                vec!["ExecStart=".into(), format!("ExecStart={}", literal.join(" "))]
            }
        },
        SlotKind::Horizon(horizon) => only("ExecStart", &horizon::command(horizon)),
        SlotKind::Queue(queue) => only("ExecStart", &queue::command(queue)),
    }
}

/// A command of ours: what is a variable in it is meant as one.
fn exec(name: &str, command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|text| word(text)).collect();
    format!("{name}={}", words.join(" "))
}

/// How long a stop may take before systemd kills, in seconds. php-fpm and workers are told to stop while they still
/// have requests and jobs; servers behind a port when they have none any more.
fn stop_time(kind: &SlotKind, drain: Duration) -> u64 {
    match kind {
        SlotKind::PhpFpm(_) => drain.as_secs() + FPM_MARGIN,
        SlotKind::Octane(_) | SlotKind::Http(_) => SERVER_STOP,
        SlotKind::Horizon(_) | SlotKind::Queue(_) => drain.as_secs() + JOBS_MARGIN,
    }
}

fn is_strict(kind: &SlotKind) -> bool {
    match kind {
        SlotKind::PhpFpm(fpm) => fpm.strict,
        SlotKind::Octane(octane) => octane.strict,
        SlotKind::Http(http) => matches!(http.program, Program::Run { strict: true, .. }),
        SlotKind::Horizon(horizon) => horizon.strict,
        SlotKind::Queue(queue) => queue.strict,
    }
}
