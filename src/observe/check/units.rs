//! The units of an app's services, as PID 1 has them.

use std::collections::BTreeMap;

use super::{
    super::{Host, find_user},
    foreign::is_ours,
};
use crate::{
    check::{UnitFacts, Unread},
    config::{Service, ServiceKind, Settings, Strategy},
    model::{AppState, BadName, Slot, UnitName},
    runtime::slot,
};

/// Each service's unit, by the name of the first of slots or of a template's instances, since all are of one template. Of
/// slots the live one is asked: of one that does not run PID 1 reads the files anew for each of its properties, and
/// starts nothing meanwhile.
pub async fn units(
    host: &Host,
    settings: &Settings,
    state: &AppState,
    unread: &mut Vec<Unread>,
) -> BTreeMap<String, UnitFacts> {
    let mut found = BTreeMap::new();
    for service in &settings.services {
        let (first, asked) = match named(settings, service, state) {
            Ok(Some(both)) => both,
            Ok(None) => continue,
            Err(error) => {
                unread.push(Unread { what: service.name.clone(), why: error.to_string() });
                continue;
            }
        };
        let told = host.units.stop_settings(&asked).await.map(|stop| UnitFacts {
            unit: first.to_string(),
            kill_signal: stop.signal,
            kill_mode: stop.mode,
            stop_timeout: stop.timeout,
            exec: stop.exec,
        });
        match told {
            Ok(facts) => _ = found.insert(service.name.clone(), facts),
            Err(error) => unread.push(Unread { what: service.name.clone(), why: error.to_string() }),
        }
    }
    found
}

/// Other services that run as the user who owns the releases, and could write into them.
pub async fn writers(host: &Host, settings: &Settings, unread: &mut Vec<Unread>) -> Vec<String> {
    let listed = match host.units.active_states("*.service").await {
        Ok(listed) => listed,
        Err(error) => {
            unread.push(Unread { what: "the units of this host".into(), why: error.to_string() });
            return Vec::new();
        }
    };
    let uid = find_user(&settings.user).map(|(uid, _)| uid.to_string());
    let releases = settings.root.join("releases");
    let running = listed.into_iter().filter(|(_, active)| active != "inactive" && active != "failed");
    let mut found = Vec::new();
    for (name, _) in running.filter(|(name, _)| !is_ours(settings, name)) {
        let Ok(unit) = name.parse::<UnitName>() else { continue };
        match host.units.access(&unit).await {
            Ok(access) if access.user == settings.user || uid.as_ref() == Some(&access.user) => {
                if !access.closes(&releases) {
                    found.push(name);
                }
            }
            Ok(_) => {}
            // It may have ended meanwhile.
            Err(error) => tracing::debug!("{name} was not looked at: {error}, ignoring"),
        }
    }
    found
}

/// The unit that stands for a service, and the one that is asked. None: the service runs nothing that is stopped, or
/// nobody knows yet what.
fn named(settings: &Settings, service: &Service, state: &AppState) -> Result<Option<(UnitName, UnitName)>, BadName> {
    let only = |unit: UnitName| Some((unit.clone(), unit));
    match &service.kind {
        ServiceKind::Slots(kind) => {
            let live = state.live.get(&service.name).map_or(Slot::A, |live| live.slot);
            let unit = |slot| Ok(slot::unit(kind, &settings.app, slot)?.unit().clone());
            Ok(Some((unit(Slot::A)?, unit(live)?)))
        }
        ServiceKind::Scheduler(_) => Ok(None),
        ServiceKind::Unit { unit, strategy: Strategy::Rolling(rolling) } => {
            let Some(first) = rolling.instances.first() else { return Ok(None) };
            Ok(only(unit.as_str().replace("@.", &format!("@{first}.")).parse()?))
        }
        ServiceKind::Unit { unit, .. } => Ok(only(unit.clone())),
    }
}
