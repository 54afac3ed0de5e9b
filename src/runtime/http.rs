//! Any HTTP program in slots: the environment of one. Pure.
//!
//! - The program listens on `$PORT` of 127.0.0.1, is started in its release, and ends gracefully at TERM.
//! - It is told to end only when no connection of its port is left, so that one which does not know better than to die
//!   at TERM loses nothing either.

use std::collections::BTreeMap;

use crate::{config::Http, model::SlotUnit};

/// What a slot's processes need beside the app's own.
pub fn environment(http: &Http, unit: &SlotUnit) -> BTreeMap<String, String> {
    let mut out = BTreeMap::from([("HOST".to_owned(), "127.0.0.1".to_owned())]);
    out.extend(http.web.port(unit.slot()).map(|port| ("PORT".to_owned(), port.to_string())));
    out
}
