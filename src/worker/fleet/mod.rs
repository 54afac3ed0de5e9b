//! The process that holds a fleet's slot for a deployment: `deploy-engine fleet`, in a transient unit of its own, which
//! outlives the engine that began it. It alone speaks to the semaphore; it sees no app and has no right.
//!
//! It reads one [`FleetOrder`], says [`FleetSays`] line by line, and keeps the slot until a signal tells how it went.

mod etcd;
mod fleet_lock;
mod lines;
mod queue;
mod trust;

use std::{
    cell::RefCell,
    io::{self, Write},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};

use self::{
    etcd::{Etcd, Trouble},
    fleet_lock::FleetLock,
    queue::{Queue, Standing},
    trust::{credential, trust},
};
use crate::{
    model::printable,
    system::notify,
    worker::fleet_order::{self as order, FleetOrder, FleetSays, FleetWhat, PASSWORD, SemaphoreOrder},
};

/// The longest order, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// How long it is tried to give a slot back.
const LEAVE: Duration = Duration::from_secs(10);
/// Between two tries of what has to be told.
const AGAIN: Duration = Duration::from_secs(1);

/// What it is told by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Nothing was activated.
    GiveBack,
    /// The release is confirmed.
    Confirmed,
    /// This host went back from the release.
    WentBack,
    /// The host goes down, or somebody ends it.
    End,
}

struct Wishes {
    give_back: Signal,
    confirmed: Signal,
    went_back: Signal,
    end: Signal,
}

impl Wishes {
    fn listen() -> io::Result<Self> {
        let of = |signal: rustix::process::Signal| SignalKind::from_raw(signal.as_raw());
        Ok(Self {
            give_back: signal(of(order::GIVE_BACK))?,
            confirmed: signal(of(order::CONFIRMED))?,
            went_back: signal(of(order::WENT_BACK))?,
            end: signal(SignalKind::terminate())?,
        })
    }

    /// Of several that came at once the gravest.
    async fn next(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.went_back.recv() => Wish::WentBack,
            _ = self.confirmed.recv() => Wish::Confirmed,
            _ = self.give_back.recv() => Wish::GiveBack,
            _ = self.end.recv() => Wish::End,
        }
    }
}

/// Carries out the order on standard input. Gives the exit status: 0, or 1 when the slot was lost.
pub async fn serve() -> io::Result<u8> {
    let mut wishes = Wishes::listen()?;
    let mut line = Vec::new();
    BufReader::new(tokio::io::stdin()).take(MAX_LINE).read_until(b'\n', &mut line).await?;
    let order: FleetOrder = match serde_json::from_slice(&line) {
        Ok(order) => order,
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the order: {error}"))),
    };
    let tls = match trust() {
        // Whoever asks by http needs none.
        Err(why) if by_https(&order.semaphore) => return Ok(failed(why)),
        tls => tls,
    };
    match &order.semaphore {
        SemaphoreOrder::Etcd { endpoints, slots, lease, user } => {
            let login = match login(user.as_deref()) {
                Ok(login) => login,
                Err(why) => return Ok(failed(why)),
            };
            let etcd = Etcd::new(endpoints.clone(), login, tls);
            Ok(in_queue(&Queue::new(&etcd, &order, *slots, *lease), &order, &mut wishes).await)
        }
        SemaphoreOrder::FleetLock { url } => Ok(by_lock(&FleetLock { url, order: &order, tls }, &mut wishes).await),
    }
}

fn by_https(semaphore: &SemaphoreOrder) -> bool {
    match semaphore {
        SemaphoreOrder::Etcd { endpoints, .. } => endpoints.iter().any(|one| one.starts_with("https:")),
        SemaphoreOrder::FleetLock { url } => url.starts_with("https:"),
    }
}

fn login(user: Option<&str>) -> Result<Option<(String, String)>, String> {
    let Some(user) = user else { return Ok(None) };
    let bytes = credential(PASSWORD)?.ok_or("no password was handed over")?;
    let text = String::from_utf8(bytes).map_err(|_| "the file of password_file is no text")?;
    Ok(Some((user.to_owned(), text.trim_end_matches(['\n', '\r']).to_owned())))
}

async fn in_queue(queue: &Queue<'_>, order: &FleetOrder, wishes: &mut Wishes) -> u8 {
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
                () = ended(wishes) => {
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
        Ok(Standing::Slot) => {
            say(&FleetSays::Taken);
            notify::status("has a slot");
            tokio::select! {
                wish = wishes.next() => Some(wish),
                () = queue.keep() => None,
            }
        }
        Ok(Standing::Held(why)) => {
            say(&FleetSays::Held(why));
            Some(Wish::GiveBack)
        }
        Ok(Standing::Behind(..) | Standing::Lost) => Some(Wish::GiveBack),
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

/// Whatever else is wished meanwhile: only the end ends it.
async fn ended(wishes: &mut Wishes) {
    while wishes.next().await != Wish::End {}
}

fn lost_slot() -> u8 {
    notify::status("the slot is lost");
    tracing::error!(
        "the slot is lost, and another host may have it: this host did not reach etcd for its lease's time"
    );
    1
}

async fn by_lock(lock: &FleetLock<'_>, wishes: &mut Wishes) -> u8 {
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
            () = ended(wishes) => {
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
            () = sleep(fleet_lock::AGAIN) => {}
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
        sleep(fleet_lock::AGAIN).await;
    }
}

/// What is waited for, told when it changes.
#[derive(Default)]
struct Telling(RefCell<String>);

impl Telling {
    fn waits(&self, why: String) {
        if *self.0.borrow() == why {
            return;
        }
        notify::status(&why);
        tracing::info!("{}", printable(&why));
        say(&FleetSays::Waits(why.clone()));
        *self.0.borrow_mut() = why;
    }
}

fn failed(why: String) -> u8 {
    tracing::error!("{}", printable(&why));
    say(&FleetSays::Failed(why));
    0
}

/// To the engine that began it; when that is gone, to nobody.
fn say(what: &FleetSays) {
    let Ok(mut line) = serde_json::to_vec(what) else { return };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
