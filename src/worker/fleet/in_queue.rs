//! A place in etcd's queue: taken, kept, and left when it is known how it went.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{
    etcd::Trouble,
    queue::{Queue, Turn},
    says::{Telling, failed, say},
    wishes::{Wish, Wishes},
};
use crate::{
    model::printable,
    system::notify,
    worker::fleet_order::{FleetOrder, FleetSays, FleetWhat},
};

/// How long it is tried to give a slot back.
const LEAVE: Duration = Duration::from_secs(10);
/// Between two tries of what has to be told.
const AGAIN: Duration = Duration::from_secs(1);

/// Carries out an order on a queue. Gives the exit status.
pub async fn in_queue(queue: &Queue<'_>, order: &FleetOrder, wishes: &mut Wishes) -> u8 {
    if let Some(revision) = &order.untold {
        // An earlier process could not tell it; nobody goes on before it is told.
        tokio::select! {
            () = until_told(|| queue.report(revision)) => {}
            _ = wishes.next() => {
                tracing::error!("nobody was told yet that this host went back from {}", printable(revision));
                return 0;
            }
        }
    }
    let wish = match order.what {
        FleetWhat::Report => Wish::WentBack,
        FleetWhat::GiveBack => Wish::Confirmed,
        FleetWhat::Take => match take_place(queue, wishes).await {
            Some(wish) => wish,
            None => return lost_slot(),
        },
    };
    match wish {
        // The place stays for the next process of this host, until its lease ends.
        Wish::End => return 0,
        Wish::WentBack => {
            notify::status("tells that this host went back");
            tokio::select! {
                () = until_told(|| queue.report(&order.revision)) => {
                    tracing::info!("the other hosts are told that this one went back");
                }
                // The place is kept meanwhile: nobody else goes on before it is told.
                () = kept_for_ever(queue) => {}
                () = wishes.ended() => {
                    tracing::error!("nobody was told yet that this host went back: etcd was not reached");
                    return 0;
                }
            }
        }
        Wish::Confirmed | Wish::GiveBack => {}
    }
    let leave = async {
        if wish == Wish::Confirmed {
            until_told(|| queue.clear()).await;
        }
        until_told(|| queue.leave()).await;
    };
    if timeout(LEAVE, leave).await.is_err() {
        tracing::warn!("the slot could not be given back: etcd was not reached; it ends with its lease");
    }
    0
}

/// Waits for a slot, and then for what becomes of the release; nothing: the slot was lost.
async fn take_place(queue: &Queue<'_>, wishes: &mut Wishes) -> Option<Wish> {
    let told = Telling::default();
    let tell = |why: String| told.waits(why);
    let taken = tokio::select! {
        wish = wishes.next() => return Some(wish),
        taken = queue.take(&tell) => taken,
    };
    match taken {
        Ok(Turn::Slot) => {
            say(&FleetSays::Taken);
            notify::status("has a slot");
            tokio::select! {
                wish = wishes.next() => Some(wish),
                () = queue.keep() => None,
            }
        }
        Ok(Turn::Held(why)) => {
            say(&FleetSays::Held(why));
            Some(Wish::GiveBack)
        }
        Err(why) => {
            failed(why.to_string());
            Some(Wish::GiveBack)
        }
    }
}

/// Tries until it is done, or refused.
async fn until_told(tell: impl AsyncFn() -> Result<(), Trouble>) {
    loop {
        match tell().await {
            Ok(()) => return,
            Err(why @ Trouble::Unreachable(_)) => {
                notify::status(&format!("tries again: {why}"));
                sleep(AGAIN).await;
            }
            Err(why) => return tracing::error!("{why}"),
        }
    }
}

async fn kept_for_ever(queue: &Queue<'_>) {
    queue.keep().await;
    // There is no place to keep any more; what is to be told is told all the same.
    std::future::pending().await
}

fn lost_slot() -> u8 {
    notify::status("the slot is lost");
    tracing::error!(
        "the slot is lost, and another host may have it: this host did not reach etcd for its lease's time"
    );
    1
}
