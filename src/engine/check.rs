//! A check of the host on demand: without effects, without the app's lock.

use super::{
    error::{EngineError, reply},
    store::Store,
};
use crate::{
    check,
    model::{CheckRequest, Finding, Reply},
    observe::{Depth, Host, check_facts},
};

/// What of the host would break the promise for one app, the worst first.
pub async fn check_host(host: &Host, request: &CheckRequest) -> Reply<Vec<Finding>> {
    reply(checked(host, request).await)
}

async fn checked(host: &Host, request: &CheckRequest) -> Result<Vec<Finding>, EngineError> {
    let settings = host.settings(&request.check).map_err(|error| EngineError::BadConfig(error.summary))?;
    let state = Store::look(&host.paths, &request.check)?;
    let facts = check_facts(host, &settings, &state, &request.id, Depth::Whole).await;
    Ok(check::check(&settings, &facts))
}
