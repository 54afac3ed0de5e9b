//! From settings to what a worker is told. Pure.

use crate::{
    config::{Settings, Source},
    model::Request,
    worker::order::{SharedKind, SharedPath, SourceOrder},
};

/// The settings' source, with the request's reference if it names one.
pub fn source_order(settings: &Settings, request: &Request) -> SourceOrder {
    match &settings.source {
        Source::Git { url, reference, ssh_key, known_hosts } => SourceOrder::Git {
            url: url.clone(),
            reference: request.reference.clone().unwrap_or_else(|| reference.clone()),
            ssh_key: ssh_key.clone(),
            known_hosts: known_hosts.clone(),
        },
        Source::Directory { path } => SourceOrder::Directory { path: path.clone() },
    }
}

/// The settings' shared paths, as a worker is told them.
pub fn shared_paths(settings: &Settings) -> Vec<SharedPath> {
    settings
        .shared
        .iter()
        .map(|shared| SharedPath {
            path: shared.path.clone(),
            kind: if shared.directory { SharedKind::Directory } else { SharedKind::File },
            required: shared.required,
        })
        .collect()
}
