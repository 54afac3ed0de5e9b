//! What the check of the host says to a plan: warnings, or with `require = "zero-downtime"` a refusal.

use super::{decide::refusal, value::Refusal};
use crate::{
    check::{self, check},
    config::Settings,
    model::{Finding, Kind, Request, Severity},
    observe::Observed,
};

/// Findings that are named in a refusal; `deployctl check` names all.
const NAMED: usize = 5;
/// What the plan of a move says itself, with what it does about it.
const SAID_ELSEWHERE: &str = "memory-slots";

/// The warnings of a plan that goes live. A rollback is never refused: it is the way out.
pub(super) fn judge(settings: &Settings, observed: &Observed, request: &Request) -> Result<Vec<String>, Refusal> {
    if request.kind == Kind::Stage {
        return Ok(Vec::new());
    }
    let found = check(settings, &observed.facts);
    if settings.safety.zero_downtime && request.kind != Kind::Rollback {
        let refusing: Vec<&Finding> = found.iter().filter(|finding| check::refuses(finding)).collect();
        if let Some(first) = refusing.first() {
            let named: Vec<_> = refusing.iter().take(NAMED).map(|f| named(f)).collect();
            let more = if refusing.len() > NAMED { ", …" } else { "" };
            return Err(refusal(
                format!(
                    "{}require = \"zero-downtime\" is not met: {}{more}",
                    settings.place("safety.require"),
                    named.join(", ")
                ),
                format!("{}; `deployctl check {}` tells all", first.remedy, settings.app),
            ));
        }
    }
    let warns = |finding: &&Finding| finding.severity != Severity::Note && finding.id != SAID_ELSEWHERE;
    Ok(found.iter().filter(warns).map(Finding::sentence).collect())
}

fn named(finding: &Finding) -> String {
    match finding.place.as_str() {
        "" => finding.id.clone(),
        place => format!("{} ({place})", finding.id),
    }
}
