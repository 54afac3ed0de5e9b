//! A few threads that do one work together: the worker's part of a host that serves meanwhile.

use super::refusal::Refusal;

/// How many do it, this one among them.
const THREADS: usize = 2;

/// What each has found, this one's first. Where there can be no other thread, this one does it all: `work` takes what is
/// left until nothing is.
pub fn together<T: Send>(work: impl Fn() -> Result<T, Refusal> + Sync) -> Vec<Result<T, Refusal>> {
    std::thread::scope(|scope| {
        let helper = |_| std::thread::Builder::new().spawn_scoped(scope, &work);
        let helpers: Vec<_> = (1..THREADS).map_while(|number| helper(number).ok()).collect();
        let mut results = vec![work()];
        for helper in helpers {
            results.push(helper.join().unwrap_or_else(|_| Err(Refusal::new("a thread ended early"))));
        }
        results
    })
}
