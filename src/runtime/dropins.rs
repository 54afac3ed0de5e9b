//! What the generator tells systemd of an app: drop-ins of its slots and deployments. Pure; wants no unit.

use std::path::{Path, PathBuf};

use super::{
    slot_dropin,
    unit_text::{path_name, word},
};
use crate::{config::Settings, model::Paths};

/// Where systemd keeps what generators write with normal priority.
pub const GENERATED: &str = "/run/systemd/generator";
/// Every drop-in has this name.
pub const FILE: &str = "50-deployd.conf";
/// The slice of everything of an app: `deployd-my\x2dshop.slice`.
pub fn slice_of(app: &crate::model::AppName) -> String {
    app.slice()
}

/// Path below the generator's directory, and content. The same settings give the same, in the same order.
pub fn dropins(settings: &Settings, paths: &Paths) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    for service in &settings.services {
        out.extend(slot_dropin::of_service(settings, service, paths));
    }
    let root = root_line(settings);
    for kind in ["deploy", "deploy-stage", "deploy-activate", "deploy-rollback", "deploy-settle"] {
        let dir = format!("{kind}@{}.service.d", settings.app);
        let text = format!("{}[Service]\nSlice={}\n{root}", head(settings), slice_of(&settings.app));
        out.push((Path::new(&dir).join(FILE), text));
    }
    let name = format!("50-deployd-{}.conf", settings.app);
    out.push(root_dropin(settings));
    out.push((Path::new("deploy-prune@.service.d").join(&name), root_dropin(settings).1));
    out.push((
        Path::new("deployd-recover.service.d").join(name),
        format!("{}\n[Service]\n{root}", after_mounts(settings)),
    ));
    out
}

/// The drop-in by which deployments by request may write the app's root. Instances NAME:ID have none of their own: the
/// template's is for every app.
pub fn root_dropin(settings: &Settings) -> (PathBuf, String) {
    let name = format!("50-deployd-{}.conf", settings.app);
    let text = format!("{}[Service]\n{}", head(settings), root_line(settings));
    (Path::new("deploy-run@.service.d").join(name), text)
}

fn root_line(settings: &Settings) -> String {
    format!("ReadWritePaths=-{}\n", word(&settings.root.to_string_lossy()))
}

pub(super) fn head(settings: &Settings) -> String {
    let file = settings.files.first().map(|f| f.to_string_lossy()).unwrap_or_default();
    format!("# From {} by deployd-generator; changes are lost.\n", crate::model::printable(&file))
}

/// Recovery comes after the mounts below which the root lies, when there are such, and before nginx. Ordering only: with
/// RequiresMountsFor= one app's broken mount would keep every app from recovering.
fn after_mounts(settings: &Settings) -> String {
    let above = settings.root.ancestors().filter(|dir| *dir != Path::new("/"));
    let mut units: Vec<_> = above.map(|dir| format!("{}.mount", path_name(dir))).collect();
    units.reverse();
    let mut text = format!("{}[Unit]\nAfter={}\n", head(settings), units.join(" "));
    if settings.services.iter().any(|service| service.slots().is_some_and(|kind| kind.web().is_some())) {
        // It writes the upstreams that this one reads; the unit itself names the nginx of every distribution.
        text.push_str(&format!("Before={}\n", settings.web_unit));
    }
    text
}

/// `sandbox = "strict"`: what a site can do without. JITs (PHP's, Node's) need writable and executable memory.
pub(super) fn strict(settings: &Settings) -> Vec<String> {
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
use super::unit_text::argument;

#[cfg(test)]
#[path = "dropins_tests.rs"]
mod tests;
