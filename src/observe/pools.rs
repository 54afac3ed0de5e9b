//! The pools of an app's php-fpm services: read, and tried before anything depends on them.

use std::{collections::BTreeMap, path::Path};

use super::Host;
use crate::{
    config::{PhpFpm, Pool, Settings, SlotKind},
    model::{Paths, Slot, SlotInstance},
    runtime::php_fpm::{self, ConfigTextError, SlotConfig},
    system::tree::{Dir, TreeError},
};

/// The largest pool file, in bytes.
const MAX_POOL: u64 = 256 * 1024;

/// Why a pool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// It could not be read.
    #[error("the pool {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: TreeError,
    },
    /// It is not as it must be.
    #[error("the pool {file} {wrong}")]
    Shape {
        /// The file.
        file: String,
        /// What is wrong, and the remedy.
        wrong: String,
    },
    /// No configuration can be made of it.
    #[error("{place}{source}")]
    Text {
        /// Where the service is configured.
        place: String,
        /// Why.
        source: ConfigTextError,
    },
}

/// The php-fpm services of an app.
pub fn fpm_services(settings: &Settings) -> impl Iterator<Item = (&crate::config::Service, &PhpFpm)> {
    settings.services.iter().filter_map(|service| match service.slots() {
        Some(SlotKind::PhpFpm(fpm)) => Some((service, fpm)),
        _ => None,
    })
}

/// The text of the site's own pool file, if it has one. Like all configuration it must be root's: who may write it
/// decides what the slots run.
pub fn pool_text(paths: &Paths, fpm: &PhpFpm) -> Result<Option<String>, PoolError> {
    let Pool::File(path) = &fpm.pool else { return Ok(None) };
    let file = path.display().to_string();
    let shape = |wrong: &str| PoolError::Shape { file: file.clone(), wrong: wrong.into() };
    let host = paths.host(path);
    let (dir, name) =
        host.parent().zip(host.file_name().and_then(|name| name.to_str())).ok_or_else(|| shape("is no file's path"))?;
    let read = |dir: &Path| {
        let dir = Dir::open(dir)?;
        Ok((dir.owner()?, dir.owner_of(name)?, dir.read(name, MAX_POOL)?))
    };
    let others_may_write = |(uid, _, mode): (u32, u32, u32)| uid != 0 || mode & 0o022 != 0;
    let (above, own, bytes) = read(dir).map_err(|source| PoolError::Read { file: file.clone(), source })?;
    if others_may_write(above) {
        return Err(shape("is in a directory that others than root may write: `chown root:root` and `chmod go-w` it"));
    }
    if own.is_some_and(others_may_write) {
        return Err(shape("may be written by others than root: `chown root:root` and `chmod go-w` it"));
    }
    let bytes = bytes.ok_or_else(|| shape("is not there"))?;
    String::from_utf8(bytes).map(Some).map_err(|_| shape("is not UTF-8"))
}

/// What one slot of each php-fpm service takes at its fullest, in MiB. Each pool is rendered once, so that one that
/// cannot be used is told before anything is touched.
pub fn pools(host: &Host, settings: &Settings) -> Result<BTreeMap<String, u64>, PoolError> {
    let mut memory = BTreeMap::new();
    let slot = SlotInstance { app: settings.app.clone(), slot: Slot::A };
    for (service, fpm) in fpm_services(settings) {
        let text = pool_text(&host.paths, fpm)?;
        let tried = SlotConfig {
            settings,
            fpm,
            drain: service.drain,
            slot: &slot,
            release: Path::new("/release"),
            pool_file: text.as_deref(),
            shrink: false,
        };
        php_fpm::config_text(&tried, &host.paths)
            .map_err(|source| PoolError::Text { place: settings.place("service"), source })?;
        memory.insert(service.name.clone(), text.as_deref().map_or(fpm.memory_mib, php_fpm::memory_mib));
    }
    Ok(memory)
}
