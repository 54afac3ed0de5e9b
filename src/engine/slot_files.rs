//! The files that a slot is started from, all root's, below /run: the link to its release, its configuration or
//! environment, and the record of what it was started as.

use super::{error::EngineError, jobs, layout, slots::ServiceSlot, upstream};
use crate::{
    config::{PhpFpm, SlotKind},
    model::{Paths, ReleaseId, SlotUnit},
    observe::{Host, pool_text},
    runtime::{
        php_fpm::{self, SlotConfig},
        queue,
        slot::{self, SlotRecord},
    },
    system::tree::Dir,
};

/// The link to the pool that served before deployd, beside the one that nginx connects through.
pub const BEFORE: &str = "fpm-before.sock";
/// The largest record of a slot, in bytes.
const MAX_RECORD: u64 = 64 * 1024;

/// Writes all of a slot's files. The record comes first: it says where the slot will listen.
pub fn write(one: &ServiceSlot<'_>, release: &ReleaseId, smaller: bool) -> Result<(), EngineError> {
    let paths = &one.host.paths;
    let dir = Paths::release_dir(&one.settings.root, release);
    let run = Dir::open_or_make(&paths.app_run_dir(&one.settings.app), 0o755)?;
    let record = slot::record(one.settings, one.service, one.kind, one.name.slot(), release, one.drain);
    let json = serde_json::to_vec(&record).map_err(|e| EngineError::Other(e.to_string()))?;
    run.write_volatile(&file_name(&paths.slot_record(&one.name)), &json, 0o644)?;
    let slots = Dir::open_or_make(&paths.slots_dir(), 0o755)?;
    slots.swap_link(&one.name.to_string(), &dir.display().to_string(), "new")?;
    if let SlotKind::PhpFpm(fpm) = one.kind {
        let text = pool_config(one, fpm, &dir, smaller)?;
        let (_, gid) = layout::ids(&one.settings.run_as)?;
        run.write_for(gid, &file_name(&paths.fpm_config(one.name.instance())), text.as_bytes(), 0o640)?;
    }
    if one.kind.takes_jobs() {
        jobs::unmark(paths, &one.name)?;
    }
    if let SlotKind::Queue(_) = one.kind {
        let (_, gid) = layout::ids(&one.settings.run_as)?;
        run.write_for(gid, &file_name(&paths.slot_looking(&one.name)), b"", 0o640)?;
    }
    if let Some(mut environment) = slot::environment(one.settings, one.kind, &one.name, &dir) {
        if one.kind.takes_jobs() {
            environment.insert(queue::PAUSED.into(), paths.slot_paused(&one.name).display().to_string());
        }
        if let SlotKind::Queue(_) = one.kind {
            environment.insert(queue::LOOKING.into(), paths.slot_looking(&one.name).display().to_string());
        }
        let text = slot::environment_text(&environment);
        run.write_volatile(&file_name(&paths.slot_environment(&one.name)), text.as_bytes(), 0o600)?;
    }
    if let Some(service) = slot::upstream(one.kind) {
        upstream::ensure(one.host, one.settings, service)?;
    }
    Ok(())
}

/// What a slot was last started as; none when that is not known.
pub fn record(host: &Host, name: &SlotUnit) -> Result<Option<SlotRecord>, EngineError> {
    let file = host.paths.slot_record(name);
    let place = || file.display().to_string();
    let wrong = |wrong: String| EngineError::Record { place: place(), wrong };
    let run = Dir::open_or_make(&host.paths.app_run_dir(name.app()), 0o755)?;
    let Some(bytes) = run.read(&file_name(&file), MAX_RECORD)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| wrong(e.to_string()))
}

fn pool_config(
    one: &ServiceSlot<'_>,
    fpm: &PhpFpm,
    release: &std::path::Path,
    smaller: bool,
) -> Result<String, EngineError> {
    let pool = pool_text(&one.host.paths, fpm)?;
    let config = SlotConfig {
        settings: one.settings,
        fpm,
        drain: one.drain,
        slot: one.name.instance(),
        release,
        pool_file: pool.as_deref(),
        shrink: smaller,
    };
    php_fpm::config_text(&config, &one.host.paths).map_err(|e| EngineError::Pool(e.to_string()))
}

/// The last component of one of our own paths.
pub fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
