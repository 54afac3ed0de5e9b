//! The units of an app's services, as PID 1 has them.

use std::collections::BTreeMap;

use super::super::{Host, fpm_unit};
use crate::{
    check::{UnitFacts, Unread},
    config::{ServiceKind, Settings},
    model::Slot,
};

/// Each service's unit; of slots the first, since all are of one template.
pub async fn units(host: &Host, settings: &Settings, unread: &mut Vec<Unread>) -> BTreeMap<String, UnitFacts> {
    let mut found = BTreeMap::new();
    for service in &settings.services {
        let unit = match &service.kind {
            ServiceKind::PhpFpm(_) => fpm_unit(settings, Slot::A),
            ServiceKind::Unit { unit, .. } => Ok(unit.clone()),
        };
        let told = match unit {
            Ok(unit) => host.units.stop_settings(&unit).await.map(|stop| UnitFacts {
                unit: unit.to_string(),
                kill_signal: stop.signal,
                kill_mode: stop.mode,
                stop_timeout: stop.timeout,
                exec: stop.exec,
            }),
            Err(error) => Err(error),
        };
        match told {
            Ok(facts) => _ = found.insert(service.name.clone(), facts),
            Err(error) => unread.push(Unread { what: service.name.clone(), why: error.to_string() }),
        }
    }
    found
}
