//! An archive that was handed over: given to the app's user, who alone opens and reads it.

use super::{error::EngineError, layout::ids};
use crate::{
    config::Settings,
    model::{Paths, Request},
    system::tree::Dir,
};

/// Lets the app's user read a request's archive, if it has one.
pub fn hand_over(paths: &Paths, settings: &Settings, request: &Request) -> Result<(), EngineError> {
    if !request.upload {
        return Ok(());
    }
    let (uid, gid) = ids(&settings.user)?;
    let file = paths.upload_file(&request.app, &request.id);
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if Dir::open(&paths.uploads_dir())?.give_file(name, uid, gid)? {
        return Ok(());
    }
    Err(EngineError::Other(format!("{} is not there any more: send the archive again", file.display())))
}
