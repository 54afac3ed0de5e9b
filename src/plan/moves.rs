//! How each service moves: which slot, started how.

use super::{
    decide::refusal,
    existing,
    value::{Handover, Move, Refusal, Start},
};
use crate::{
    config::{Service, ServiceKind, Settings, SlotKind},
    model::{LiveSlot, ReleaseId, Slot, UnitName},
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
            ServiceKind::Slots(kind) => Move::Handover(Box::new(handover(service, kind, observed, release, warnings)?)),
            ServiceKind::Scheduler(_) => Move::Scheduler { service: service.name.clone(), timer: timer(settings)? },
            ServiceKind::Unit { unit, strategy } => Move::Unit {
                service: service.name.clone(),
                unit: unit.clone(),
                strategy: existing::strategy(settings, service, strategy, observed, warnings)?,
                drain: service.drain,
            },
        });
    }
    Ok(moves)
}

fn timer(settings: &Settings) -> Result<UnitName, Refusal> {
    let name = format!("app-schedule@{}.timer", settings.app);
    name.parse().map_err(|error| refusal(format!("{error}"), "name the app otherwise"))
}

fn handover(
    service: &Service,
    kind: &SlotKind,
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
        let all = || kind.slots().into_iter();
        let is_live = |slot: Slot| live.is_some_and(|kept| kept.slot == slot);
        let kept = |slot: Slot| is_live(slot) || fallback.is_some_and(|kept| kept.slot == slot);
        let idle = |slot: &Slot| !kept(*slot) && matches!(state(*slot), "inactive" | "failed");
        let busy = |slot: &Slot| !kept(*slot);
        // With few slots, what is kept for a rollback gives way: it drains first.
        let given_up = |slot: &Slot| !is_live(*slot);
        match (all().find(idle), all().find(busy).or_else(|| all().find(given_up))) {
            (Some(slot), _) => (slot, Start::Idle { smaller: memory_is_short(observed, &service.name, warnings) }),
            (None, Some(slot)) => (slot, Start::Draining),
            (None, None) => {
                return Err(refusal(format!("no slot of {} is free", service.name), "see `deployctl status`"));
            }
        }
    };
    Ok(Handover { service: service.name.clone(), kind: kind.clone(), from, to, start, drain: service.drain })
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
