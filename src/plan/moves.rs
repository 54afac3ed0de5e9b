//! How each service moves: which slot, started how.

use super::{
    decide::refusal,
    value::{Handover, Move, Refusal, Start},
};
use crate::{
    config::{PhpFpm, Service, ServiceKind, Settings},
    model::{LiveSlot, ReleaseId, Slot},
    observe::{Observed, ServiceObserved},
};

/// The moves that bring every service to `release`, in the configured order.
pub(super) fn moves(
    settings: &Settings,
    observed: &Observed,
    release: &ReleaseId,
    warnings: &mut Vec<String>,
) -> Result<Vec<Move>, Refusal> {
    let mut moves = Vec::new();
    for service in &settings.services {
        moves.push(match &service.kind {
            ServiceKind::PhpFpm(fpm) => Move::Handover(Box::new(handover(service, fpm, observed, release, warnings)?)),
            ServiceKind::Unit { unit, strategy } => Move::Unit {
                service: service.name.clone(),
                unit: unit.clone(),
                strategy: *strategy,
                drain: service.drain,
            },
        });
    }
    Ok(moves)
}

fn handover(
    service: &Service,
    fpm: &PhpFpm,
    observed: &Observed,
    release: &ReleaseId,
    warnings: &mut Vec<String>,
) -> Result<Handover, Refusal> {
    let live = observed.state.live.get(&service.name);
    let fallback = observed.state.fallback.get(&service.name);
    let slots = match observed.services.get(&service.name) {
        Some(ServiceObserved::Slots(slots)) => slots,
        _ => return Err(refusal(format!("the slots of {} were not looked at", service.name), "run it again")),
    };
    let state = |slot: Slot| slots.get(&slot).map_or("inactive", String::as_str);
    let serves = |kept: &&LiveSlot| kept.release == *release && state(kept.slot) == "active";
    let from = live.cloned();
    let (to, start) = if let Some(kept) = fallback.filter(serves) {
        (kept.slot, Start::Running)
    } else {
        let kept = |slot: Slot| [live, fallback].into_iter().flatten().any(|kept| kept.slot == slot);
        let idle = |slot: &Slot| !kept(*slot) && matches!(state(*slot), "inactive" | "failed");
        let busy = |slot: &Slot| !kept(*slot);
        match (Slot::ALL.into_iter().find(idle), Slot::ALL.into_iter().find(busy)) {
            (Some(slot), _) => (slot, Start::Idle { smaller: memory_is_short(observed, &service.name, warnings) }),
            (None, Some(slot)) => (slot, Start::Draining),
            (None, None) => {
                return Err(refusal(format!("no slot of {} is free", service.name), "see `deployctl status`"));
            }
        }
    };
    Ok(Handover { service: service.name.clone(), fpm: fpm.clone(), from, to, start, drain: service.drain })
}

/// Whether a second slot of full size may not fit beside the live one; then it says so.
fn memory_is_short(observed: &Observed, service: &str, warnings: &mut Vec<String>) -> bool {
    let wanted = observed.slot_memory_mib.get(service).copied().unwrap_or(0);
    let available = observed.memory_available_mib;
    let short = wanted > available;
    if short {
        warnings.push(format!(
            "memory is short for two slots of {service}: one may take {wanted} MiB and {available} MiB are available; \
             the new one starts smaller"
        ));
    }
    short
}
