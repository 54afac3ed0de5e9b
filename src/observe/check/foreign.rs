//! What runs the app's code without deployd: lines of cron and supervisor that name its root, processes in its tree.
//! A user's own crontab is that user's: a worker looks at it.

use std::path::{Path, PathBuf};

use super::files::Files;
use crate::{
    check::{ForeignJob, ForeignProcess, Scheduler, parse_ini},
    config::{Origin, ServiceKind, Settings, Strategy},
    model::{Paths, names_path, printable},
    runtime::slot,
    system::process::{self, Seen},
};

const CRON: [&str; 3] = ["/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/root"];
const SUPERVISOR: [&str; 4] =
    ["/etc/supervisor/supervisord.conf", "/etc/supervisord.conf", "/etc/supervisor/conf.d/*", "/etc/supervisord.d/*"];

/// Lines of cron and programs of supervisor that name the app's root.
pub fn jobs(files: &mut Files<'_>, root: &Path) -> Vec<ForeignJob> {
    let mut found = Vec::new();
    for path in CRON.iter().flat_map(|pattern| files.matching(Path::new(pattern))).collect::<Vec<_>>() {
        for (index, line) in files.text(&path).unwrap_or_default().lines().enumerate() {
            if !line.trim_start().starts_with('#') && names_path(line, root) {
                let at = Origin { file: path.clone(), line: index + 1 };
                let what = line.trim().to_owned();
                found.push(ForeignJob { by: Scheduler::Cron, at, command: what.clone(), what });
            }
        }
    }
    for path in SUPERVISOR.iter().flat_map(|pattern| files.matching(Path::new(pattern))).collect::<Vec<_>>() {
        let entries = parse_ini(&path, &files.text(&path).unwrap_or_default());
        for entry in entries.iter().filter(|entry| matches!(entry.key.as_str(), "command" | "directory")) {
            let Some(what) = entry.section.strip_prefix("program:").map(str::to_owned) else { continue };
            let known = found.iter().any(|job: &ForeignJob| job.by == Scheduler::Supervisor && job.what == what);
            if names_path(&entry.value, root) && !known {
                let command = entries.iter().find(|one| one.section == entry.section && one.key == "command");
                let command = command.map_or_else(String::new, |one| one.value.clone());
                found.push(ForeignJob { by: Scheduler::Supervisor, at: entry.at.clone(), what, command });
            }
        }
    }
    found
}

/// Processes with their working directory in the tree, but for those of the app's services and of deployd.
pub fn processes(settings: &Settings) -> Vec<ForeignProcess> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<_> = pids
        .filter(|pid| matches!(process::cwd(*pid), Seen::Known(dir) if dir.starts_with(&settings.root)))
        .map(|pid| (pid, unit_of(pid)))
        .filter(|(_, unit)| !is_ours(settings, unit))
        .map(|(pid, unit)| ForeignProcess { pid, name: name(pid), unit })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn name(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    printable(String::from_utf8_lossy(&name).trim_end())
}

/// The unit that a process is in: the last part of its control group that is a service's or a scope's.
fn unit_of(pid: u32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let group = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    // Of what a user's own manager runs, the user's unit is the one that PID 1 knows: the first.
    group.split('/').find(is_unit).map(printable).unwrap_or_default()
}

/// Templates whose instances are slots of ours.
const SLOTS: [&str; 6] = ["app-fpm@", "app-octane@", "app-http@", "app-horizon@", "app-queue@", "app-schedule@"];
/// Units that work on deployments: the engine's, its workers and steps.
const ENGINE: [&str; 9] = [
    "deploy@",
    "deploy-stage@",
    "deploy-activate@",
    "deploy-rollback@",
    "deploy-run@",
    "deploy-settle@",
    "deploy-worker-",
    "deploy-step-",
    "deployd",
];

/// Whether a unit is one of the app's services, or works on deployments.
pub(super) fn is_ours(settings: &Settings, unit: &str) -> bool {
    let of_service = settings.services.iter().any(|service| match &service.kind {
        ServiceKind::Unit { unit: name, strategy: Strategy::Rolling(_) } => {
            name.as_str().strip_suffix(".service").is_some_and(|template| unit.starts_with(template))
        }
        ServiceKind::Unit { unit: name, .. } => name.as_str() == unit,
        // The site's own template: the package's are known below, also those of a service that is no more.
        ServiceKind::Slots(kind) => {
            let instance = unit.strip_prefix(slot::template(kind)).and_then(|rest| rest.strip_prefix('@'));
            instance.is_some_and(|instance| of_app(settings, instance))
        }
        ServiceKind::Scheduler(_) => false,
    });
    let slot = SLOTS.iter().find_map(|template| unit.strip_prefix(template));
    of_service
        || slot.is_some_and(|instance| of_app(settings, instance))
        || ENGINE.iter().any(|prefix| unit.starts_with(prefix))
}

/// `shop:a.service` and `shop.service` are of the app `shop`.
fn of_app(settings: &Settings, instance: &str) -> bool {
    let name = instance.strip_suffix(".service").unwrap_or(instance);
    name.split(':').next() == Some(settings.app.as_str())
}

/// A user's crontab, if there is one.
pub fn crontab(paths: &Paths, user: &str) -> Option<PathBuf> {
    // Debian's place, then Fedora's.
    let files = ["/var/spool/cron/crontabs", "/var/spool/cron"].map(|dir| Path::new(dir).join(user));
    files.into_iter().find(|file| std::fs::symlink_metadata(paths.host(file)).is_ok_and(|meta| meta.is_file()))
}
