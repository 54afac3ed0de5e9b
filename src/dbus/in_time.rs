//! Work that may wait for somebody else for ever: who a user is, which a directory (LDAP) may be asked for. On a thread of
//! its own, for so long and no longer; the service goes on meanwhile, and may end.

use std::{thread, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

/// How long a name is waited for.
pub const NAMED: Duration = Duration::from_secs(2);
/// How long what an app's configuration says is waited for: it names users and groups.
pub const JUDGED: Duration = Duration::from_secs(10);

/// So many at once: what hangs keeps its thread, and threads are few.
static TURNS: Semaphore = Semaphore::const_new(16);

/// What the work gives; none: it did not within the limit, or not at all.
pub async fn in_time<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    in_turn(&TURNS, limit, work).await
}

async fn in_turn<T: Send + 'static>(
    turns: &'static Semaphore,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let done = async {
        let turn = turns.acquire().await.ok()?;
        let (sender, receiver) = oneshot::channel();
        let working = move || {
            let done = work();
            drop(turn);
            // Nobody may be waiting any more.
            let _ = sender.send(done);
        };
        // No thread of the runtime's: those keep the process from ending.
        thread::Builder::new().name("in time".into()).spawn(working).ok()?;
        receiver.await.ok()
    };
    timeout(limit, done).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SOON: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_hangs_is_left_and_keeps_nobody_but_its_own_turn() {
        let turns: &Semaphore = Box::leak(Box::new(Semaphore::new(2)));
        let (hangs, waits) = mpsc::channel::<()>();
        assert_eq!(in_turn(turns, SOON, move || waits.recv().is_ok()).await, None, "it would wait for ever");
        assert_eq!(in_turn(turns, LONG, || 7).await, Some(7), "another one is served");
        let (also, waits) = mpsc::channel::<()>();
        assert_eq!(in_turn(turns, SOON, move || waits.recv().is_ok()).await, None);
        assert_eq!(in_turn(turns, SOON, || 7).await, None, "no thread more");
        drop((hangs, also));
        assert_eq!(in_turn(turns, LONG, || 7).await, Some(7));
        assert_eq!(in_turn(turns, LONG, || -> u32 { panic!("it is lost") }).await, None);
    }
}
