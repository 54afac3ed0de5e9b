//! Being asked to stop: heeded before activate, and only there.

use std::future::Future;

use tokio::sync::watch;

use super::error::EngineError;

/// Whether this process was asked to stop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cancel(watch::Receiver<bool>);

impl Cancel {
    /// Becomes true at SIGTERM or SIGINT, and stays so.
    pub fn on_signal() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (sender, receiver) = watch::channel(false);
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            // Nobody listening any more is an end too.
            let _ = sender.send(true);
            // Kept, so that those who ask later still see it.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Whether it was asked for.
    pub fn asked(&self) -> bool {
        *self.0.borrow()
    }

    /// The work's result, or [`EngineError::Cancelled`] as soon as a stop is asked for.
    pub async fn guard<T, E>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, EngineError>
    where
        EngineError: From<E>,
    {
        let mut receiver = self.0.clone();
        tokio::select! {
            biased;
            Ok(_) = receiver.wait_for(|asked| *asked) => Err(EngineError::Cancelled),
            done = work => Ok(done?),
        }
    }
}
