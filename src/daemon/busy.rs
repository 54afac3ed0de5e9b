//! What keeps the service from ending for idleness.

use std::sync::Arc;

use tokio::sync::watch;

/// A count of things going on.
#[derive(Debug, Clone)]
pub struct Busy(Arc<watch::Sender<usize>>);

/// One thing going on, until dropped.
#[derive(Debug)]
pub struct Held(Arc<watch::Sender<usize>>);

impl Default for Busy {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Busy {
    /// Counts one more.
    pub fn hold(&self) -> Held {
        self.0.send_modify(|count| *count += 1);
        Held(Arc::clone(&self.0))
    }
    /// Whether nothing is going on.
    pub fn is_none(&self) -> bool {
        *self.0.borrow() == 0
    }
    /// Waits until nothing is going on.
    pub async fn none(&self) {
        self.until(|count| count == 0).await;
    }
    /// Waits until something is going on.
    pub async fn any(&self) {
        self.until(|count| count > 0).await;
    }

    async fn until(&self, wanted: impl Fn(usize) -> bool) {
        // The sender is ours, so the channel cannot be closed.
        let _ = self.0.subscribe().wait_for(|count| wanted(*count)).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_the_last_one() {
        let busy = Busy::default();
        let (first, second) = (busy.hold(), busy.hold());
        drop(first);
        assert!(!busy.is_none());
        let waiting = tokio::spawn({
            let busy = busy.clone();
            async move { busy.none().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
        assert!(busy.is_none());
    }
}
