//! What the generator tells systemd of an app: drop-ins of its slots and deployments. Pure; wants no unit.

use std::path::{Path, PathBuf};

use super::unit_text::{argument, path_name, slice, word};
use crate::{
    config::{PhpFpm, Service, ServiceKind, Settings},
    model::{Paths, Slot, SlotInstance},
};

/// Every drop-in has this name.
pub const FILE: &str = "50-deployd.conf";
/// Given to php-fpm after its drain time, before systemd kills what is left, in seconds.
const STOP_MARGIN: u64 = 10;

/// The slice of everything of an app: `deployd-my\x2dshop.slice`.
pub fn slice_of(app: &crate::model::AppName) -> String {
    slice(app.as_str())
}

/// Path below the generator's directory, and content. The same settings give the same, in the same order.
pub fn dropins(settings: &Settings, paths: &Paths) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    for service in &settings.services {
        if let ServiceKind::PhpFpm(fpm) = &service.kind {
            for slot in Slot::ALL {
                let instance = SlotInstance { app: settings.app.clone(), slot };
                let dir = format!("app-fpm@{instance}.service.d");
                out.push((Path::new(&dir).join(FILE), slot_text(settings, service, fpm, &instance, paths)));
            }
        }
    }
    let root = format!("ReadWritePaths=-{}\n", word(&settings.root.to_string_lossy()));
    for kind in ["deploy", "deploy-stage", "deploy-activate", "deploy-rollback", "deploy-settle"] {
        let dir = format!("{kind}@{}.service.d", settings.app);
        let text = format!("{}[Service]\nSlice={}\n{root}", head(settings), slice_of(&settings.app));
        out.push((Path::new(&dir).join(FILE), text));
    }
    let name = format!("50-deployd-{}.conf", settings.app);
    // Instances NAME:ID have no drop-in of their own: the template's is for every app.
    let text = format!("{}[Service]\n{root}", head(settings));
    out.push((Path::new("deploy-run@.service.d").join(&name), text));
    out.push((
        Path::new("deployd-recover.service.d").join(name),
        format!("{}\n[Service]\n{root}", after_mounts(settings)),
    ));
    out
}

fn head(settings: &Settings) -> String {
    let file = settings.files.first().map(|f| f.to_string_lossy()).unwrap_or_default();
    format!("# From {} by deployd-generator; changes are lost.\n", crate::model::printable(&file))
}

/// Recovery comes after the mounts below which the root lies, when there are such. Ordering only: with
/// RequiresMountsFor= one app's broken mount would keep every app from recovering.
fn after_mounts(settings: &Settings) -> String {
    let above = settings.root.ancestors().filter(|dir| *dir != Path::new("/"));
    let mut units: Vec<_> = above.map(|dir| format!("{}.mount", path_name(dir))).collect();
    units.reverse();
    format!("{}[Unit]\nAfter={}\n", head(settings), units.join(" "))
}

fn slot_text(settings: &Settings, service: &Service, fpm: &PhpFpm, slot: &SlotInstance, paths: &Paths) -> String {
    let path = |path: &Path| word(&path.to_string_lossy());
    let config = paths.fpm_config(slot);
    let command =
        [&fpm.binary.to_string_lossy(), "--nodaemonize", "--fpm-config", &config.to_string_lossy()].map(argument);
    let mut lines = vec![
        format!("{}[Unit]", head(settings)),
        format!("RequiresMountsFor={}", path(&settings.root)),
        String::new(),
        "[Service]".into(),
        format!("User={}", word(&settings.run_as)),
        // Empty: that user's own group.
        "Group=".into(),
        format!("Slice={}", slice_of(&settings.app)),
        // Empty first: ExecStart= would otherwise be added to the template's.
        "ExecStart=".into(),
        format!("ExecStart={}", command.join(" ")),
        format!("TimeoutStopSec={}", service.drain.as_secs() + STOP_MARGIN),
        format!("ReadOnlyPaths=-{}", path(&settings.root.join("releases"))),
    ];
    for dir in &settings.writable {
        // Through the slot's link: systemd follows it when the unit starts, so this is its own release's only.
        lines.push(format!("ReadWritePaths=-{}", path(&paths.slot_link(slot).join(dir))));
    }
    if fpm.strict {
        lines.extend(strict(settings));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// `sandbox = "strict"`: what a PHP site can do without. PHP's JIT needs writable and executable memory.
fn strict(settings: &Settings) -> Vec<String> {
    let home = ["/home", "/root", "/run/user"].iter().any(|dir| settings.root.starts_with(dir));
    let mut lines: Vec<String> = [
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "DevicePolicy=closed",
        "ProtectProc=invisible",
        "ProcSubset=pid",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "KeyringMode=private",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallErrorNumber=EPERM",
        "UMask=0027",
    ]
    .map(str::to_owned)
    .into();
    lines.push(format!("ProtectHome={}", if home { "read-only" } else { "yes" }));
    lines.push(format!("ReadWritePaths=-{}", word(&settings.root.join("shared").to_string_lossy())));
    lines
}

#[cfg(test)]
#[path = "dropins_tests.rs"]
mod tests;
