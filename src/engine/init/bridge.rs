//! What served before deployd did, reached the way that deployd's slots will be: by the link, or the upstream, that nginx
//! is led through. So nothing changes for a site at this moment, and the first deployment is a handover like any other.

use std::path::Path;

use super::target::Target;
use crate::{
    config::{Service, Settings},
    engine::{error::EngineError, slot_files::BEFORE, upstream},
    model::{AppName, AppState, Paths},
    observe::Host,
    runtime::slot,
    system::tree::{Dir, EntryKind},
};

/// Where what makes the links again at boot is written.
const TMPFILES: &str = "/etc/tmpfiles.d";

/// What [`bridge`] writes in [`TMPFILES`].
pub fn tmpfiles_name(app: &AppName) -> String {
    format!("deployd-{app}.conf")
}

/// Leads what nginx asks to what served before, now and after a boot, until a slot takes its place.
pub(super) fn bridge(host: &Host, settings: &Settings, target: &Target, state: &AppState) -> Result<(), EngineError> {
    let app = &settings.app;
    let run = Dir::open_or_make(&host.paths.app_run_dir(app), 0o755)?;
    let links = match target {
        Target::Fpm { before: listen } => {
            run.swap_link(BEFORE, listen, "new")?;
            if run.kind("fpm.sock")? == EntryKind::Missing {
                run.swap_link("fpm.sock", listen, "new")?;
            }
            vec![(BEFORE.to_owned(), listen.clone()), ("fpm.sock".to_owned(), listen.clone())]
        }
        Target::Port { service, before } => {
            let (name, address) = (upstream::before_name(service), format!("127.0.0.1:{before}"));
            run.swap_link(&name, &address, "new")?;
            let of_kind = |one: &&Service| one.slots().and_then(slot::upstream) == Some(service);
            let live = settings.services.iter().filter(of_kind).any(|one| state.live.contains_key(&one.name));
            if !live {
                upstream::unaim(host, settings, service)?;
            }
            vec![(name, address)]
        }
    };
    let dir = Paths::default().app_run_dir(app).display().to_string();
    let lines: String = links.iter().map(|(name, to)| format!("L {dir}/{name} - - - - {to}\n")).collect();
    let text = format!(
        "# Until a slot of {app} is up, nginx reaches what served before: written by `deployctl init {app} --apply`.\n\
         d {dir} 0755 root root -\n{lines}"
    );
    let tmpfiles = Dir::open_or_make(&host.paths.host(Path::new(TMPFILES)), 0o755)?;
    Ok(tmpfiles.write(&tmpfiles_name(app), text.as_bytes(), 0o644)?)
}
