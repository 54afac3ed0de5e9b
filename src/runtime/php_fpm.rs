//! stub
use crate::{config::*, model::*};
/// c
pub fn config_text(
    _s: &Settings,
    _f: &PhpFpm,
    _i: &SlotInstance,
    _d: &std::path::Path,
    _p: &Paths,
    _t: Option<&str>,
    _m: bool,
) -> Result<String, String> {
    Ok(String::new())
}
