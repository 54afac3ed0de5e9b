//! A slot of a FleetLock server: taken, kept, and given back when it is known how it went.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    fleet_lock::{AGAIN, FleetLock},
    says::{Telling, failed, say},
    wishes::{Wish, Wishes},
};
use crate::{
    system::notify,
    worker::fleet_order::{FleetSays, FleetWhat},
};

/// How long the server's answer is waited for when the process is to end.
const LAST: Duration = Duration::from_secs(10);

/// Carries out an order on a server. Gives the exit status.
pub async fn by_lock(lock: &FleetLock<'_>, wishes: &mut Wishes) -> u8 {
    let wish = match lock.order.what {
        FleetWhat::GiveBack => Wish::GiveBack,
        FleetWhat::Report => Wish::WentBack,
        FleetWhat::Take => match take_lock(lock, wishes).await {
            Ok(wish) => wish,
            Err(why) => return failed(why),
        },
    };
    match wish {
        Wish::End => {}
        // The protocol has no word for it; who keeps the slot keeps the others from the release.
        Wish::WentBack => tracing::warn!(
            "this host went back and keeps its slot of {}: the others wait until a release is confirmed here",
            lock.order.group
        ),
        // Nobody else ever gives it back.
        Wish::Confirmed | Wish::GiveBack => tokio::select! {
            () = given_back(lock) => {}
            // Who ends it waits for the answer too: a slot that nobody gives back is taken for ever.
            () = async { wishes.ended().await; sleep(LAST).await } => {
                tracing::error!("the slot of {} is not given back: {} was not reached", lock.order.group, lock.url);
            }
        },
    }
    0
}

/// Waits for a slot, and then for what becomes of the release. What was asked is always answered first: a slot that is
/// granted to nobody would stay taken.
async fn take_lock(lock: &FleetLock<'_>, wishes: &mut Wishes) -> Result<Wish, String> {
    let told = Telling::default();
    loop {
        match lock.take().await {
            Ok(()) => break,
            Err(refused) if !refused.later => return Err(refused.why),
            Err(refused) => told.waits(format!("waits for a slot of {}: {}", lock.order.group, refused.why)),
        }
        tokio::select! {
            wish = wishes.next() => return Ok(wish),
            () = sleep(AGAIN) => {}
        }
    }
    say(&FleetSays::Taken);
    notify::status("has a slot");
    Ok(wishes.next().await)
}

async fn given_back(lock: &FleetLock<'_>) {
    while let Err(refused) = lock.leave().await {
        if !refused.later {
            return tracing::error!("the slot of {} is not given back: {}", lock.order.group, refused.why);
        }
        notify::status(&format!("tries again to give the slot back: {}", refused.why));
        sleep(AGAIN).await;
    }
}
