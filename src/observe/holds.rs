//! What of an app is held. What cannot be read is not known, and is not taken for free.

use super::ObserveError;
use crate::{
    model::{AppName, Holds, Paths},
    system::tree::Dir,
};

/// The largest file of holds that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// An app's holds; one that was never deployed has none.
pub fn holds(paths: &Paths, app: &AppName) -> Result<Holds, ObserveError> {
    let dir = match Dir::open(&paths.state_dir(app)) {
        Ok(dir) => dir,
        Err(error) if error.is_missing() => return Ok(Holds::default()),
        Err(error) => return Err(error.into()),
    };
    let file = paths.holds_file(app);
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(bytes) = dir.read(name, MAX_BYTES)? else { return Ok(Holds::default()) };
    Holds::decode(&bytes).map_err(|wrong| ObserveError::Holds { place: file.display().to_string(), wrong })
}
