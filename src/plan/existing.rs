//! How existing units move: what their strategy needs, and a refusal where it is not there.

use super::{decide::refusal, value::Refusal};
use crate::{
    check::check,
    config::{Rolling, Service, Settings, Strategy},
    observe::{InstanceObserved, Observed, ServiceObserved},
};

/// The finding that tells why `warm` would not be right.
const WARM: &str = "warm-unproved";

/// The strategy as it will be carried out.
pub(super) fn strategy(
    settings: &Settings,
    service: &Service,
    strategy: &Strategy,
    observed: &Observed,
    warnings: &mut Vec<String>,
) -> Result<Strategy, Refusal> {
    match strategy {
        Strategy::Rolling(rolling) => Ok(Strategy::Rolling(instances(settings, service, rolling, observed)?)),
        Strategy::Signal { signal } => {
            if settings.health.is_empty() {
                warnings.push(format!(
                    "no health check asks whether {} has taken SIG{signal}: only its processes are watched",
                    service.name
                ));
            }
            Ok(strategy.clone())
        }
        Strategy::Warm => {
            proved_warm(settings, service, observed)?;
            Ok(strategy.clone())
        }
        Strategy::Reload | Strategy::Restart => Ok(strategy.clone()),
    }
}

/// Doing nothing is right only where the check of the host has seen that the next request is the new release's.
fn proved_warm(settings: &Settings, service: &Service, observed: &Observed) -> Result<(), Refusal> {
    let place = place(settings, service);
    let reason = |why: &str| format!("{place}strategy = \"warm\" of {} is not proved to be right: {why}", service.name);
    if !observed.facts.fpm.contains_key(&service.name) {
        let remedy = "write strategy = \"reload\", \"signal\" or \"restart\"";
        return Err(refusal(reason("of other units than php-fpm's it cannot be seen what they keep"), remedy));
    }
    let findings = check(settings, &observed.facts);
    match findings.into_iter().find(|one| one.id == WARM && one.thing.contains(&service.name)) {
        Some(finding) => Err(refusal(reason(&finding.happens), finding.remedy)),
        None => Ok(()),
    }
}

/// A rolling update with its instances: those that are written, or those that run.
fn instances(
    settings: &Settings,
    service: &Service,
    rolling: &Rolling,
    observed: &Observed,
) -> Result<Rolling, Refusal> {
    let Some(ServiceObserved::Instances(found)) = observed.services.get(&service.name) else {
        return Err(refusal(format!("the instances of {} were not looked at", service.name), "run it again"));
    };
    let place = place(settings, service);
    if found.is_empty() {
        let reason = format!("{place}no instance of {} runs", service.name);
        return Err(refusal(reason, "name them: instances = [\"1\", \"2\"]"));
    }
    if let Some((name, one)) = found.iter().find(|(_, one)| one.load != "loaded") {
        let reason = format!("{place}the instance {name} of {} is {}", service.name, one.load);
        return Err(refusal(reason, "name a template that `systemctl cat` knows"));
    }
    let active = |one: &&(String, InstanceObserved)| one.1.active == "active";
    let all = found.iter().filter(active).count() == found.len();
    if all && !rolling.start_first && found.len() <= usize::try_from(rolling.parallel).unwrap_or(1) {
        let reason = format!("{place}parallel = {} stops every instance of {} at once", rolling.parallel, service.name);
        return Err(refusal(reason, "run more instances, or write strategy = \"restart\" for each"));
    }
    Ok(Rolling { instances: found.iter().map(|(name, _)| name.clone()).collect(), ..rolling.clone() })
}

/// `FILE:LINE: ` of the service.
fn place(settings: &Settings, service: &Service) -> String {
    let index = settings.services.iter().position(|one| one.name == service.name).unwrap_or_default();
    settings.place(&format!("service[{index}].unit"))
}
