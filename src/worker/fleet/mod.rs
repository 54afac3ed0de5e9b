//! The process that holds a fleet's slot for a deployment: `deploy-engine fleet`, in a transient unit of its own, which
//! outlives the engine that began it. It alone speaks to the semaphore; it sees no app and has no right.
//!
//! It reads one [`FleetOrder`], says [`FleetSays`](super::fleet_order::FleetSays) line by line, and keeps the slot until
//! a signal tells how it went.

mod by_lock;
mod etcd;
mod fleet_lock;
mod in_queue;
mod lines;
mod queue;
mod says;
mod trust;
mod wishes;

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use self::{
    by_lock::by_lock,
    etcd::Etcd,
    fleet_lock::FleetLock,
    in_queue::in_queue,
    queue::Queue,
    says::failed,
    trust::{credential, trust},
    wishes::Wishes,
};
use crate::worker::fleet_order::{FleetOrder, PASSWORD, SemaphoreOrder};

/// The longest order, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// Carries out the order on standard input. Gives the exit status: 0, or 1 when the slot was lost.
pub async fn serve() -> io::Result<u8> {
    let mut wishes = Wishes::listen()?;
    let mut line = Vec::new();
    BufReader::new(tokio::io::stdin()).take(MAX_LINE).read_until(b'\n', &mut line).await?;
    let order: FleetOrder = match serde_json::from_slice(&line) {
        Ok(order) => order,
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the order: {error}"))),
    };
    let tls = match by_https(&order.semaphore).then(trust).transpose() {
        Ok(tls) => tls,
        Err(why) => return Ok(failed(why)),
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
