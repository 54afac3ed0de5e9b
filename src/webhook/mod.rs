//! The webhook: what a forge signed is verified over its raw bytes, read, used once, and asked of the bus. It knows no
//! engine and no configuration: which app may be deployed so, and which ref of it, `deployd` tells polkit.
//!
//! Architecture invariant: nothing is parsed before its signature is verified, but the headers that carry it.

mod answer;
mod ask;
mod connection;
mod crowd;
mod delivery;
pub mod event;
mod listen;
mod replay;
mod secrets;
pub mod signature;
#[cfg(test)]
mod tests;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use crate::system::notify;
use answer::{Receiver, Times};
use crowd::Crowd;

/// Why the receiver did not start, or ended otherwise than for idleness or on request.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The sockets are not there or of another kind.
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    /// The secrets are not there, or not safe.
    #[error(transparent)]
    Secrets(#[from] secrets::SecretsError),
    /// What was used already is not known.
    #[error("cannot read what was used already: {0}; look at /var/lib/deployd-webhook")]
    Replay(#[source] io::Error),
    /// The bus did not do it.
    #[error("the system bus: {0}")]
    Bus(#[from] zbus::Error),
    /// The connection to the bus was lost.
    #[error("the connection to the bus was lost")]
    Lost,
    /// A signal cannot be awaited, or no connection accepted.
    #[error("cannot go on: {0}")]
    Io(#[from] io::Error),
}

/// With nobody connected for so long the receiver ends; its socket starts it again.
const IDLE: Duration = Duration::from_secs(30);
/// The longest that deliveries under way may hold up the end.
const DRAIN: Duration = Duration::from_secs(10);
/// After an accept that failed, mostly for want of descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Receives until idle, told to stop, or the bus is lost.
pub async fn serve() -> Result<(), WebhookError> {
    let listeners = listen::take()?;
    let secrets = secrets::Secrets::handed_over()?;
    let replay = replay::Replay::open(state_directory()).map_err(WebhookError::Replay)?;
    let bus = zbus::connection::Builder::system().build().await?;
    let asker = ask::Asker::new(Arc::new(ask::SystemBus(bus.clone())));
    let crowd = Crowd::default();
    let receiver = Arc::new(Receiver { secrets, replay, asker, crowd: crowd.clone(), times: Times::default() });
    let mut terminate = signal(SignalKind::terminate())?;
    notify::ready();
    let ended = loop {
        tokio::select! {
            stream = listen::accept(&listeners) => match stream {
                Ok(stream) => connection::begin(stream, &receiver).await,
                Err(error) => {
                    tracing::warn!("a connection was not accepted: {error}");
                    tokio::time::sleep(BREATH).await;
                }
            },
            () = crowd.empty_for(IDLE) => break Ok(()),
            () = bus.closed() => break Err(WebhookError::Lost),
            _ = terminate.recv() => break Ok(()),
        }
    };
    notify::stopping();
    // Nothing new is accepted; it waits in the socket for the next start.
    let _ = tokio::time::timeout(DRAIN, crowd.empty_for(Duration::ZERO)).await;
    ended
}

/// `STATE_DIRECTORY`, which systemd makes.
fn state_directory() -> PathBuf {
    std::env::var_os("STATE_DIRECTORY").map_or_else(|| "/var/lib/deployd-webhook".into(), PathBuf::from)
}
