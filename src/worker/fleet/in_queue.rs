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
            () = report(queue, revision) => {}
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
                () = report(queue, &order.revision) => {}
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
        if wish == Wish::Confirmed
            && let Err(why) = until_told(|| queue.clear()).await
        {
            tracing::error!("{} is held back from the other hosts as before: {why}", printable(&order.revision));
        }
        if let Err(why) = until_told(|| queue.leave()).await {
            tracing::error!("the slot is not given back, and ends with its lease: {why}");
        }
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

/// Tells the other hosts that this one went back from a revision, and says whether they know.
async fn report(queue: &Queue<'_>, revision: &str) {
    let shown = printable(revision);
    match until_told(|| queue.report(revision)).await {
        Ok(()) => tracing::info!("the other hosts are told that this one went back from {shown}"),
        Err(why) => tracing::error!(
            "the other hosts are not told that this one went back from {shown}, and may go on to it: {why}"
        ),
    }
}

/// Tries until it is done; an error is a refusal.
async fn until_told(tell: impl AsyncFn() -> Result<(), Trouble>) -> Result<(), Trouble> {
    loop {
        match tell().await {
            Err(why @ Trouble::Unreachable(_)) => {
                notify::status(&format!("tries again: {why}"));
                sleep(AGAIN).await;
            }
            told => return told,
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

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Seek},
        sync::Arc,
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::worker::fleet::{etcd::Etcd, fleet_lock::tests::order};

    /// Reports to something that stands for etcd, and gives what this host says of it.
    async fn said(put: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mock = async {
            for answer in ["200 OK\r\n\r\n{\"ID\":\"7\"}", put] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.unwrap();
            }
        };
        let etcd = Etcd::new(vec![url], None, None);
        let order = order();
        let queue = Queue::new(&etcd, &order, 1, Duration::from_secs(60));
        let mut log: File = tempfile::tempfile().unwrap();
        let writer = Arc::new(log.try_clone().unwrap());
        let _listening = tracing::subscriber::set_default(tracing_subscriber::fmt().with_writer(writer).finish());
        tokio::join!(mock, report(&queue, "abc"));
        let mut text = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn the_others_are_told_or_it_is_said_that_they_are_not() {
        let told = said("200 OK\r\n\r\n{}").await;
        assert!(told.contains(" INFO ") && told.contains("are told that this one went back from abc"), "{told}");
        let refused = said("403 No\r\n\r\n{\"code\":7,\"message\":\"etcdserver: permission denied\"}").await;
        assert!(
            refused.contains("ERROR") && refused.contains("are not told") && refused.contains("denied"),
            "{refused}"
        );
        assert!(!refused.contains("are told"), "{refused}");
    }
}
