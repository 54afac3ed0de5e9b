//! Who is connected: so many at once and no more. When there is no room, the one goes that has been at it longest
//! without having proved anything, so that slow strangers cannot keep out who is quick.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{oneshot, watch};

/// Connections at once.
pub const MOST: usize = 512;
/// Bytes of bodies that are held at once.
pub const MOST_BYTES: usize = 32 * 1024 * 1024;

/// The connections.
#[derive(Debug, Clone)]
pub struct Crowd {
    inner: Arc<Mutex<Inner>>,
    count: Arc<watch::Sender<usize>>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    bytes: usize,
    /// Who has proved nothing yet, the longest first, and how to end it.
    unproved: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// One connection's place, until it is dropped.
#[derive(Debug)]
pub struct Guest {
    crowd: Crowd,
    number: u64,
    bytes: Mutex<usize>,
}

impl Default for Crowd {
    fn default() -> Self {
        Self { inner: Arc::default(), count: Arc::new(watch::Sender::new(0)) }
    }
}

impl Crowd {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place, somebody else's if need be; waits only while everyone who is here has proved who it is. What is
    /// returned second tells when the place is taken away.
    pub async fn enter(&self) -> (Guest, oneshot::Receiver<()>) {
        while *self.count.borrow() >= MOST {
            let before = *self.count.borrow();
            self.shed();
            let _ = self.count.subscribe().wait_for(|count| *count < before).await;
        }
        let (end, ended) = oneshot::channel();
        let number = {
            let mut inner = self.inner();
            inner.next += 1;
            let number = inner.next;
            inner.unproved.push_back((number, end));
            number
        };
        self.count.send_modify(|count| *count += 1);
        (Guest { crowd: self.clone(), number, bytes: Mutex::new(0) }, ended)
    }

    /// Ends the connection that has been at it longest without having proved anything, if there is one.
    fn shed(&self) {
        let oldest = self.inner().unproved.pop_front();
        if let Some((_, end)) = oldest {
            // Who is gone already needs no end.
            let _ = end.send(());
        }
    }

    /// Waits until nobody has been here for so long.
    pub async fn empty_for(&self, span: Duration) {
        let mut count = self.count.subscribe();
        loop {
            // The sender is ours, so the channel cannot be closed.
            let _ = count.wait_for(|count| *count == 0).await;
            tokio::select! {
                () = tokio::time::sleep(span) => return,
                _ = count.wait_for(|count| *count > 0) => {}
            }
        }
    }
}

impl Guest {
    /// Its signature is good: nobody takes its place.
    pub fn proved(&self) {
        self.crowd.inner().unproved.retain(|(number, _)| *number != self.number);
    }

    /// So many more bytes are held for it, until it goes.
    pub fn holds(&self, more: usize) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += more;
        let full = {
            let mut inner = self.crowd.inner();
            inner.bytes += more;
            inner.bytes > MOST_BYTES
        };
        if full {
            self.crowd.shed();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.proved();
        self.crowd.inner().bytes -= *self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        self.crowd.count.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_came_first_and_proved_nothing_gives_way() {
        let crowd = Crowd::default();
        let (proved, mut proved_ends) = crowd.enter().await;
        proved.proved();
        let mut others = Vec::new();
        for _ in 1..MOST {
            others.push(crowd.enter().await);
        }
        let (first, ends) = others.remove(0);
        let going = tokio::spawn(async move {
            ends.await.unwrap();
            drop(first);
        });
        let (last, _) = tokio::time::timeout(Duration::from_secs(5), crowd.enter()).await.expect("there is room");
        going.await.unwrap();
        assert!(proved_ends.try_recv().is_err() && others[0].1.try_recv().is_err());

        // A body of everything that may be held ends the next of them.
        last.holds(MOST_BYTES + 1);
        assert!(others[0].1.try_recv().is_ok());
        drop((last, others, proved));
        let inner = crowd.inner();
        assert_eq!((inner.bytes, inner.unproved.len(), *crowd.count.borrow()), (0, 0, 0));
    }

    #[tokio::test]
    async fn it_is_empty_when_nobody_came_meanwhile() {
        let crowd = Crowd::default();
        crowd.empty_for(Duration::from_millis(10)).await;
        let (guest, _) = crowd.enter().await;
        let waited = tokio::time::timeout(Duration::from_millis(100), crowd.empty_for(Duration::from_millis(10))).await;
        assert!(waited.is_err(), "somebody is here");
        drop(guest);
        crowd.empty_for(Duration::from_millis(10)).await;
    }
}
