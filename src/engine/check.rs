//! A check of the host on demand: without effects, without the app's lock.

use super::store::Store;
use crate::{
    check,
    model::{CheckAnswer, CheckRequest},
    observe::{Depth, Host, check_facts},
};

/// What of the host would break the promise for one app.
pub async fn check_host(host: &Host, request: &CheckRequest) -> CheckAnswer {
    let settings = match host.settings(&request.check) {
        Ok(settings) => settings,
        Err(error) => return CheckAnswer::Refused(error.summary),
    };
    let state = match Store::look(&host.paths, &request.check) {
        Ok(state) => state,
        Err(error) => return CheckAnswer::Refused(error.to_string()),
    };
    let facts = check_facts(host, &settings, &state, &request.id, Depth::Whole).await;
    CheckAnswer::Found(check::check(&settings, &facts))
}
