//! From settings to what a worker is told. Pure.

use crate::{
    config::{Settings, Source, Unpack},
    model::{Kind, Paths, Request, pattern::TAG},
    worker::order::{ArchiveOrder, GitOrder, SharedKind, SharedPath, SourceOrder},
};

/// The settings' source, with the request's reference if it names one.
pub fn source_order(settings: &Settings, request: &Request) -> SourceOrder {
    if request.upload {
        return uploaded(settings, request);
    }
    match &settings.source {
        Source::Upload { .. } => uploaded(settings, request),
        Source::Git(git) => SourceOrder::Git(GitOrder {
            url: git.url.clone(),
            reference: request.reference.clone().unwrap_or_else(|| git.reference.clone()),
            ssh_key: git.ssh_key.clone(),
            known_hosts: git.known_hosts.clone(),
            depth: git.depth,
            submodules: git.submodules,
            whole_server: git.whole_server,
            lfs_pointers: git.lfs_pointers,
        }),
        Source::Directory { path, exclude } => SourceOrder::Directory { path: path.clone(), exclude: exclude.clone() },
        Source::Archive { at, reference, sha256, signed_by, signature, unpack } => {
            let reference = request.reference.as_ref().or(reference.as_ref()).filter(|_| at.contains(REFERENCE));
            let filled = |text: &String| match reference {
                Some(reference) if text.starts_with("https://") => text.replace(REFERENCE, &percent(reference)),
                Some(reference) => text.replace(REFERENCE, reference),
                None => text.clone(),
            };
            let at = filled(at);
            SourceOrder::Archive(ArchiveOrder {
                name: at.clone(),
                at,
                reference: reference.cloned(),
                sha256: sha256.clone(),
                signed_by: signed_by.clone(),
                signature: signature.as_ref().map(filled),
                strip: unpack.strip,
                exclude: unpack.exclude.clone(),
            })
        }
    }
}

/// The archive that was handed over, in the place of what is configured.
fn uploaded(settings: &Settings, request: &Request) -> SourceOrder {
    let Unpack { strip, exclude } = settings.source.unpack();
    let at = Paths::default().upload_file(&request.app, &request.id).display().to_string();
    let name = "the archive that was handed over".to_owned();
    let (reference, sha256, signed_by, signature) = (None, None, Vec::new(), None);
    SourceOrder::Archive(ArchiveOrder { at, name, reference, sha256, signed_by, signature, strip, exclude })
}

/// A request that the source cannot serve: why, and the way out.
pub fn unfit(settings: &Settings, request: &Request) -> Option<(String, String)> {
    let app = &settings.app;
    let stages = matches!(request.kind, Kind::Deploy | Kind::Stage);
    match &settings.source {
        _ if !stages || request.upload => None,
        Source::Upload { .. } => Some((
            format!("{app} is made of archives that are handed over, and there is none"),
            format!("hand one over: `deployctl deploy {app} --upload FILE`"),
        )),
        Source::Archive { .. } if request.reference.as_ref().is_some_and(|one| one.starts_with(TAG)) => Some((
            format!("the archives of {app} are not looked for: which tag is the newest, nobody tells"),
            "name one: `--ref v1.2.3`".to_owned(),
        )),
        Source::Archive { at, .. } if at.contains(REFERENCE) => None,
        Source::Archive { .. } | Source::Directory { .. } if request.reference.is_some() => Some((
            format!("{}the source of {app} has no references", settings.place("source")),
            "leave --ref away, or write {ref} into the name of the archive".to_owned(),
        )),
        _ => None,
    }
}

/// What stands for the reference in an archive's name.
const REFERENCE: &str = "{ref}";

/// A reference as a part of a URL's path.
fn percent(reference: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    reference.bytes().map(one).collect()
}

/// The settings' shared paths, as a worker is told them.
pub fn shared_paths(settings: &Settings) -> Vec<SharedPath> {
    settings
        .shared
        .iter()
        .map(|shared| SharedPath {
            path: shared.path.clone(),
            from: shared.from.clone(),
            kind: if shared.directory { SharedKind::Directory } else { SharedKind::File },
            required: shared.required,
        })
        .collect()
}
