//! A slot of the fleet's semaphore: taken before activate, given back when it is known how that went.
//!
//! Who holds it is a process of its own (`deploy-fleet-NAME.service`), because it outlives the engine: from activate
//! until settling has confirmed the release. It gets its order on its standard input, says on its standard output what
//! it waits for, and is told by signals what became of the release.

mod note;
mod order;
mod process;

use self::{
    note::Begun,
    order::About,
    process::{begin, next, tell, unit_of},
};
use super::{deployment::Deployment, error::EngineError};
use crate::{
    config::{Semaphore, Settings},
    model::{AppName, Kind, Phase, ReleaseId, printable},
    observe::Host,
    worker::fleet_order::{CONFIRMED, FleetSays, FleetWhat, GIVE_BACK, WENT_BACK},
};

/// The longest sentence, in characters: it goes into records and onto the bus.
const MAX_SENTENCE: usize = 400;

impl Deployment<'_> {
    /// Waits for a slot, if this app has a fleet and something new is to become live. A rollback waits for nobody.
    pub async fn take_slot(&mut self) -> Result<(), EngineError> {
        let settings = self.settings;
        let Some(fleet) = &settings.fleet else { return Ok(()) };
        if self.plan.live.is_none() || !matches!(self.plan.kind, Kind::Deploy | Kind::Activate) {
            return Ok(());
        }
        self.progress.phase(Phase::Waiting, &format!("takes a slot of the fleet {}", fleet.group));
        let about = About { release: &self.plan.release, revision: &self.plan.revision, force: self.request.force };
        self.takes_slot = true;
        let mut said = begin(self.host, self.settings, fleet, &about, FleetWhat::Take).await?;
        loop {
            match next(&mut said).await? {
                Some(FleetSays::Waits(why)) => self.progress.waiting(Phase::Waiting, &sentence(&why)),
                Some(FleetSays::Taken) => return Ok(()),
                Some(FleetSays::Held(why)) => return Err(held(&self.settings.app, &why)),
                Some(FleetSays::Failed(why)) => {
                    let app = &self.settings.app;
                    let place = self.settings.place("fleet");
                    return Err(EngineError::Other(format!(
                        "{place}no slot of the fleet {} can be had: {}; see `journalctl -u {}`",
                        fleet.group,
                        sentence(&why),
                        unit_of(app)?
                    )));
                }
                None => {
                    let unit = unit_of(&self.settings.app)?;
                    let why =
                        format!("the process that was to hold the fleet's slot has ended: `journalctl -u {unit}`");
                    return Err(EngineError::Other(why));
                }
            }
        }
    }
}

fn held(app: &AppName, why: &str) -> EngineError {
    EngineError::Refused {
        why: format!("the fleet holds it back: {}", sentence(why)),
        remedy: format!(
            "deploy another revision; or, when its cause was not the release, `deployctl deploy {app} --force` on one \
             host: once it is confirmed there, the others take it again"
        ),
    }
}

/// Nothing of it is live: the slot, if there is one, is for others. Of one release, or of whichever it is for.
pub async fn give_back(host: &Host, app: &AppName, release: Option<&ReleaseId>) {
    let Some(begun) = Begun::read(host, app) else { return };
    if release.is_none_or(|release| begun.release == *release) {
        tell(host, app, GIVE_BACK).await;
    }
}

/// The release is confirmed: the next host may go on.
pub async fn confirmed(host: &Host, settings: &Settings, release: &ReleaseId, revision: &str) {
    let begun = Begun::read(host, &settings.app).map(|begun| (begun.release == *release, begun.force));
    let has_slot = matches!(begun, Some((true, _)));
    let fleet = settings.fleet.as_ref();
    // What FleetLock knows of this host is there after a boot too, when nothing is noted any more.
    let may_have = begun.is_none() && fleet.is_some_and(|one| matches!(one.semaphore, Semaphore::FleetLock { .. }));
    if !has_slot && !may_have {
        return;
    }
    if let Some(fleet) = fleet {
        // Before anybody is let go on: whoever reads the journals of two hosts finds them one after the other.
        tracing::info!("{release} has proved itself: the next host of {} may go on", fleet.group);
    }
    if has_slot && tell(host, &settings.app, CONFIRMED).await {
        return;
    }
    let Some(fleet) = fleet else { return };
    let force = match (&fleet.semaphore, begun) {
        // A lease ends by itself; a mark that was overruled does not.
        (Semaphore::Etcd { .. }, Some((_, true))) => true,
        (Semaphore::Etcd { .. }, _) => return,
        (Semaphore::FleetLock { .. }, _) => false,
    };
    if let Err(error) = begin(host, settings, fleet, &About { release, revision, force }, FleetWhat::GiveBack).await {
        tracing::warn!("the slot of the fleet {} is not given back: {error}", fleet.group);
    }
}

/// This host went back from the release: the others are told before its slot is free.
pub async fn went_back(host: &Host, settings: &Settings, release: &ReleaseId, revision: &str) {
    let app = &settings.app;
    if let Some(begun) = Begun::read(host, app).filter(|begun| begun.release == *release) {
        if let Err(error) = (Begun { went_back: true, ..begun }).write(host, app) {
            tracing::warn!("{error}, ignoring");
        }
        if tell(host, app, WENT_BACK).await {
            return;
        }
    }
    let Some(fleet) = &settings.fleet else { return };
    if matches!(fleet.semaphore, Semaphore::FleetLock { .. }) {
        return;
    }
    if let Err(error) =
        begin(host, settings, fleet, &About { release, revision, force: false }, FleetWhat::Report).await
    {
        tracing::error!("the fleet {} is not told that this host went back from {release}: {error}", fleet.group);
    }
}

fn sentence(text: &str) -> String {
    printable(text).chars().take(MAX_SENTENCE).collect()
}
