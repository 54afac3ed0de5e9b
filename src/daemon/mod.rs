//! The bus service: serves the interface, starts and stops deployment units, relays how far they are. Executes no
//! deployment, opens no path in an app's tree, and recovers nothing: a deployment lives in its own unit.

mod access;
mod busy;
mod coalesce;
mod files;
mod follow;
mod host;
mod judge;
mod lists;
mod logs;
mod remembered;
mod show;
mod uploads;
mod watch;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt;
use tokio::signal::unix::{SignalKind, signal};
use zbus::{Connection, fdo};

use crate::{
    config::HostFacts,
    dbus::{self, Manager},
    model::{AppName, Paths},
    system::{
        notify,
        units::{UnitError, Units},
    },
};
use busy::Busy;
use host::Host;

/// Why the service ended otherwise than for idleness or on request.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The bus did not do it.
    #[error("the system bus: {0}")]
    Bus(#[from] zbus::Error),
    /// PID 1 cannot be reached.
    #[error(transparent)]
    Units(#[from] UnitError),
    /// A signal cannot be awaited.
    #[error("cannot await signals: {0}")]
    Signal(#[from] std::io::Error),
    /// Somebody else is `org.deployd1`, or the bus is gone.
    #[error("the bus name org.deployd1 or the connection to the bus was lost")]
    Lost,
    /// An object could not be served.
    #[error("{0}")]
    Serve(#[from] dbus::Error),
}

/// With nothing to do for so long, the service ends; the bus starts it again when it is asked for.
const IDLE: Duration = Duration::from_secs(60);
/// The longest that the bus may take to let the name go.
const DRAIN: Duration = Duration::from_secs(5);
/// The longest that calls under way may hold up the end; what they started needs no service.
const CALLS: Duration = Duration::from_millis(500);

/// Serves until idle, told to stop, or the bus is lost. `facts` reads what an app's
/// configuration needs to know of the host.
pub async fn serve(paths: Paths, facts: fn(&Paths, &AppName) -> HostFacts) -> Result<(), DaemonError> {
    let connection = zbus::connection::Builder::system().build().await?;
    let busy = Busy::default();
    let host = Arc::new(Host::new(paths, facts, connection.clone(), Units::connect().await?, busy.clone()));
    // All objects first, then the name, then ready: a client that was waiting for the name finds everything there.
    let server = connection.object_server();
    server.at(dbus::PATH, fdo::ObjectManager).await?;
    server.at(dbus::PATH, Manager::new(host.clone())).await?;
    let watch = watch::begin(&host);
    host.serve_apps().await;
    host.adopt().await;
    let bus = fdo::DBusProxy::new(&connection).await?;
    let mut lost = bus.receive_name_lost().await?;
    let mut terminate = signal(SignalKind::terminate())?;
    host.has_name.store(true, Ordering::Relaxed);
    connection.request_name(dbus::NAME).await?;
    notify::ready();
    let watching = tokio::spawn(watch::run(host.clone(), watch));

    let ended = tokio::select! {
        () = connection.closed() => Err(DaemonError::Lost),
        _ = name_lost(&mut lost) => Err(DaemonError::Lost),
        () = idle(&connection, &busy) => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    watching.abort();
    if ended.is_ok() {
        leave(&connection, &bus, &busy).await;
    }
    ended
}

/// First STOPPING=1, then the name: the other way round the bus would find the unit still active, start nothing, and
/// the next client would wait for its timeout. What arrived before the name was gone is answered.
async fn leave(connection: &Connection, bus: &fdo::DBusProxy<'_>, busy: &Busy) {
    notify::stopping();
    let drained = async {
        connection.release_name(dbus::NAME).await?;
        // The bus keeps order: after this answer nothing that was sent to the name can arrive.
        bus.get_id().await?;
        tokio::task::yield_now().await;
        Ok::<_, zbus::Error>(())
    };
    match tokio::time::timeout(DRAIN, drained).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("the bus name was not released, ignoring: {error}"),
        Err(_) => tracing::warn!("the bus did not answer within {DRAIN:?}, leaving"),
    }
    if tokio::time::timeout(CALLS, busy.none()).await.is_err() {
        tracing::debug!("deployments run on in their own units");
    }
}

async fn name_lost(lost: &mut fdo::NameLostStream) {
    while let Some(signal) = lost.next().await {
        if signal.args().is_ok_and(|args| args.name == dbus::NAME) {
            return;
        }
    }
}

/// Returns when nothing has been going on for [`IDLE`].
async fn idle(connection: &Connection, busy: &Busy) {
    loop {
        busy.none().await;
        tokio::select! {
            () = tokio::time::sleep(IDLE) => if busy.is_none() { return },
            () = busy.any() => {}
            () = async { connection.monitor_activity().await; } => {}
        }
    }
}
