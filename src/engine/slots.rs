//! Slots of a service: prepared, started, drained, stopped. What is true of each kind is in `runtime`; how a kind is
//! probed and pointed at is in `turn`.

use std::{collections::BTreeMap, time::Duration};

use super::{error::EngineError, slot_files};
use crate::{
    config::{Settings, SlotKind},
    model::{LiveSlot, ReleaseId, Slot, SlotUnit, UnitName},
    observe::Host,
    plan::Handover,
    runtime::slot,
    system::units::{Verb, Weight},
};

/// A slot of one of an app's services.
#[derive(Debug, Clone)]
pub struct ServiceSlot<'a> {
    /// Where it runs.
    pub host: &'a Host,
    /// Whose it is.
    pub settings: &'a Settings,
    /// The service, as settings and state name it.
    pub service: &'a str,
    /// What runs in it.
    pub kind: &'a SlotKind,
    /// The longest that its requests or jobs may take to end.
    pub drain: Duration,
    /// Its unit.
    pub name: SlotUnit,
}

impl<'a> ServiceSlot<'a> {
    /// A slot of the service that a handover moves.
    pub fn of(host: &'a Host, settings: &'a Settings, handover: &'a Handover, slot: Slot) -> Result<Self, EngineError> {
        let Handover { service, kind, drain, .. } = handover;
        Ok(Self { host, settings, service, kind, drain: *drain, name: slot::unit(kind, &settings.app, slot)? })
    }

    /// Its unit.
    pub fn unit(&self) -> &UnitName {
        self.name.unit()
    }

    /// Writes what the slot is started from: the link to its release, its configuration or environment, its record.
    pub fn prepare(&self, release: &ReleaseId, smaller: bool) -> Result<(), EngineError> {
        slot_files::write(self, release, smaller)
    }

    /// Has the slot start; does not wait. What starts beside a live slot yields the processors to it until traffic is
    /// pointed at it; what is to take the place of a bad one does not.
    pub async fn begin(&self, weight: Weight) -> Result<(), EngineError> {
        self.host.units.reset_failed(self.unit()).await?;
        self.host.units.enqueue(Verb::Start, self.unit()).await?;
        self.weigh(weight).await;
        Ok(())
    }

    /// Starts the slot, as [`Self::begin`] does, and returns when its unit says that it is ready.
    pub async fn start(&self, weight: Weight) -> Result<(), EngineError> {
        self.host.units.reset_failed(self.unit()).await?;
        // While it starts, which is when its unit is loaded.
        let (started, ()) = tokio::join!(self.host.units.start(self.unit()), self.weigh(weight));
        Ok(started?)
    }

    /// Has a slot that may have died run its release again, at full weight. Whether it had to be started.
    pub async fn revive(&self, release: &ReleaseId) -> Result<bool, EngineError> {
        let dead = !self.active().await?;
        if dead {
            self.prepare(release, false)?;
            self.start(Weight::Full).await?;
        } else {
            self.weigh(Weight::Full).await;
        }
        Ok(dead)
    }

    /// Gives the slot its weight. What is live gets its own once more when its release is confirmed.
    pub async fn weigh(&self, weight: Weight) {
        self.host.units.weigh(self.unit(), weight).await;
    }

    /// Stops the slot, which nobody is pointed at.
    pub async fn stop(&self) -> Result<(), EngineError> {
        Ok(self.host.units.stop(self.unit()).await?)
    }

    /// Whether the slot's unit is active.
    pub async fn active(&self) -> Result<bool, EngineError> {
        Ok(self.host.units.status(self.unit()).await?.active == "active")
    }

    /// Has the slot drained and stopped by a unit of its own; does not wait.
    pub async fn drain(&self) -> Result<(), EngineError> {
        Ok(self.host.units.enqueue(Verb::Start, &self.drain_unit()?).await?)
    }

    /// Has the slot drained and stopped, and returns when it is; an error when it could not be.
    pub async fn drained(&self) -> Result<(), EngineError> {
        Ok(self.host.units.start(&self.drain_unit()?).await?)
    }

    /// `deploy-drain@app-octane@shop:a.service`: its instance is the slot's unit.
    fn drain_unit(&self) -> Result<UnitName, EngineError> {
        Ok(format!("deploy-drain@{}.service", self.name).parse()?)
    }
}

/// A slot of an app's service by the service's name in the record. None: there is no such service with slots now.
pub fn slot_of<'a>(host: &'a Host, settings: &'a Settings, service: &str, slot: Slot) -> Option<ServiceSlot<'a>> {
    let found = settings.services.iter().find(|one| one.name == service)?;
    let kind = found.slots()?;
    let name = slot::unit(kind, &settings.app, slot).ok()?;
    Some(ServiceSlot { host, settings, service: &found.name, kind, drain: found.drain, name })
}

/// Every recorded slot, with what it is recorded as, in the order of the configuration.
pub fn recorded<'a>(
    host: &'a Host,
    settings: &'a Settings,
    slots: &'a BTreeMap<String, LiveSlot>,
) -> impl Iterator<Item = (ServiceSlot<'a>, &'a LiveSlot)> {
    settings.services.iter().filter_map(|service| {
        let kept = slots.get(&service.name)?;
        Some((slot_of(host, settings, &service.name, kept.slot)?, kept))
    })
}
