//! php-fpm as an existing unit: what its reload and its restart do to requests. Slots of ours have neither. Pure.
//!
//! Where it comes from: php-src sapi/fpm/fpm/fpm_process_ctl.c, `fpm_pctl_action_next` and
//! `fpm_pctl_can_spawn_children`: a reload ends every worker of every pool and forks none until the last is gone.

use super::{
    Facts, FpmFacts,
    found::{Found, Words},
    ini, place,
};
use crate::{
    config::{ServiceKind, Settings, Strategy},
    model::Severity,
};

const GROUP: &str = "php-fpm";
const REMEDY: &str = "use slots: [[service]] kind = \"php-fpm\" instead of unit";

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    for (index, service) in settings.services.iter().enumerate() {
        let ServiceKind::Unit { unit, strategy } = &service.kind else { continue };
        let Some(fpm) = facts.fpm.get(&service.name) else { continue };
        let at = settings.place(&format!("service[{index}].unit"));
        let at = at.trim_end_matches(": ");
        match strategy {
            Strategy::Restart => {
                let words = Words {
                    thing: format!("strategy = \"restart\" of {unit}"),
                    place: at.into(),
                    happens: "requests in flight are cut off, and until it is up again new ones fail".into(),
                    remedy: REMEDY.into(),
                };
                found.add(GROUP, "fpm-restart", Severity::Breaks, words);
            }
            // php-fpm knows one signal for new code, USR2, and that is its reload.
            Strategy::Reload | Strategy::Signal { .. } => reload(fpm, unit.as_str(), at, found),
            Strategy::Warm => {
                if let Err(why) = warm(settings, facts, fpm) {
                    let words = Words {
                        thing: format!("strategy = \"warm\" of {unit}"),
                        place: at.into(),
                        happens: format!("the next request may be the old release's: {why}"),
                        remedy: REMEDY.into(),
                    };
                    found.add(GROUP, "warm-unproved", Severity::Breaks, words);
                }
            }
            Strategy::Rolling(_) => {}
        }
    }
}

fn reload(fpm: &FpmFacts, unit: &str, at: &str, found: &mut Found) {
    let main = fpm.main.as_deref().map_or_else(String::new, |main| main.display().to_string());
    let written = fpm.process_control_timeout.as_ref();
    if written.and_then(|entry| ini::seconds(&entry.value)).unwrap_or(0) == 0 {
        let words = Words {
            thing: "process_control_timeout = 0".into(),
            place: written.map_or(main.clone(), |entry| place(&entry.at)),
            happens: format!("a reload of {unit} cuts off every request in flight: 502"),
            remedy: format!("write `process_control_timeout = 30s` below [global] of {main}; better, {REMEDY}"),
        };
        found.add(GROUP, "fpm-process-control-timeout", Severity::Breaks, words);
        return;
    }
    let words = Words {
        thing: format!("strategy = \"reload\" of {unit}"),
        place: at.into(),
        happens: "during a reload every new request waits for the slowest old one".into(),
        remedy: REMEDY.into(),
    };
    found.add(GROUP, "fpm-reload-waits", Severity::Breaks, words);
}

/// Whether php-fpm needs no reload: nginx hands it the release's own path, and nothing was loaded before.
fn warm(settings: &Settings, facts: &Facts, fpm: &FpmFacts) -> Result<(), String> {
    if !super::mentions_app(settings, &facts.nginx) {
        return Err("no server of nginx with the app's root was found".into());
    }
    if let Some(unread) = facts.unread.first() {
        return Err(format!("{} was not looked at", unread.what));
    }
    let mut nginx = Found::default();
    super::nginx::check(settings, facts, &mut nginx);
    if let Some(finding) = nginx.sorted().into_iter().find(|finding| finding.severity == Severity::Breaks) {
        return Err(format!("{} at {}", finding.id, finding.place));
    }
    match ini::last(&fpm.ini, "opcache.preload").filter(|entry| !entry.value.is_empty()) {
        Some(preload) => Err(format!("opcache.preload at {}", place(&preload.at))),
        None => Ok(()),
    }
}
