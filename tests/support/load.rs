//! Load on a test host: open loop, a connection for each request, bounded in number and time. Every latency counts
//! from the moment a request was due, so a late generator makes its own figures worse, never better.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    os::fd::OwnedFd,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::requests::{self, Answer};

/// No load lasts longer.
const LONGEST: Duration = Duration::from_secs(1200);
/// How many of the worst waits are told.
const WORST_KEPT: usize = 5;

/// What load to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The site.
    pub domain: String,
    /// The fast page, whose waits are measured, and its requests in a second.
    pub fast: (String, u32),
    /// The slow page and its requests in a second.
    pub slow: (String, u32),
    /// Clients with a session, each asking once in two seconds; 0 for none.
    pub sessions: u32,
}

impl Plan {
    /// The load of the promise: 100 fast requests a second, 2 that take 3 s, and 20 clients with sessions.
    pub fn promise(domain: &str) -> Self {
        Self { domain: domain.into(), fast: ("/".into(), 100), slow: ("/work/3000".into(), 2), sessions: 20 }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Requests sent, of every sort.
    pub requests: u64,
    /// Those that got no whole answer of status 200.
    pub failed: u64,
    /// Those that got an answer of two releases.
    pub mixed: u64,
    /// Times that a session forgot its count.
    pub sessions_lost: u64,
    /// Of the fast page, from when it was due, in milliseconds: median, 99th percentile, worst.
    pub p50_ms: f64,
    /// See `p50_ms`.
    pub p99_ms: f64,
    /// See `p50_ms`.
    pub worst_ms: f64,
    /// How many whole answers each release gave.
    pub releases: BTreeMap<String, u64>,
    /// The first failures, in words, with seconds from the start.
    pub failures: Vec<String>,
    /// The worst waits, no two within half a second: seconds from the start, and milliseconds.
    pub worst: Vec<(f64, f64)>,
}

/// Load that is running.
pub struct Running {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Report>,
}

impl Running {
    /// Starts it in the network of a host.
    pub fn start(network: OwnedFd, plan: Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let answered = Arc::new(AtomicU64::new(0));
        let tally = Tally { answered: answered.clone(), ..Tally::default() };
        let thread = requests::spawn_within(network, move || drive(plan, stopped, tally));
        Self { stop, answered, thread }
    }

    /// How many requests have ended so far, well or not.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Sends no more, waits for the answers that are due, and sums up.
    pub fn stop(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic")
    }
}

#[derive(Default)]
struct Tally {
    report: Report,
    answered: Arc<AtomicU64>,
    fast: Vec<(Duration, Duration)>,
}

impl Tally {
    fn count(&mut self, path: &str, answer: &Answer, at: Duration) {
        self.report.count(path, answer, at);
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

type Shared = Rc<RefCell<Tally>>;

async fn drive(plan: Plan, stop: Arc<AtomicBool>, tally: Tally) -> Report {
    let (begun, tally) = (Instant::now(), Rc::new(RefCell::new(tally)));
    let lasting = move || !stop.load(Ordering::Relaxed) && begun.elapsed() < LONGEST;
    let lasting = Rc::new(lasting);
    let mut jobs = Vec::new();
    for (page, is_fast) in [(&plan.fast, true), (&plan.slow, false)] {
        let sender = send_evenly(plan.domain.clone(), page.clone(), is_fast, begun, tally.clone(), lasting.clone());
        jobs.push(tokio::task::spawn_local(sender));
    }
    for client in 0..plan.sessions {
        let first = begun + Duration::from_secs(2) * client / plan.sessions;
        let client = keep_session(plan.domain.clone(), first, begun, tally.clone(), lasting.clone());
        jobs.push(tokio::task::spawn_local(client));
    }
    for job in jobs {
        let _ = job.await;
    }
    sum_up(&mut tally.borrow_mut())
}

/// Sends one request at each due time, whether or not those before were answered; waits for all at the end.
async fn send_evenly(
    domain: String,
    (path, per_second): (String, u32),
    is_fast: bool,
    begun: Instant,
    tally: Shared,
    lasting: Rc<impl Fn() -> bool>,
) {
    let mut sent = Vec::new();
    for number in 0_u32.. {
        if per_second == 0 || !lasting() {
            break;
        }
        let due = begun + Duration::from_secs(1) * number / per_second;
        sleep_until(due).await;
        let (domain, path, tally) = (domain.clone(), path.clone(), tally.clone());
        sent.push(tokio::task::spawn_local(async move {
            let answer = requests::ask(&domain, &path, None).await;
            let mut tally = tally.borrow_mut();
            if is_fast {
                tally.fast.push((due - begun, due.elapsed()));
            }
            tally.count(&path, &answer, due - begun);
        }));
    }
    for request in sent {
        let _ = request.await;
    }
}

/// One client with a cookie: its count may only rise by one.
async fn keep_session(domain: String, first: Instant, begun: Instant, tally: Shared, lasting: Rc<impl Fn() -> bool>) {
    let (mut cookie, mut last, mut due) = (None::<String>, 0_u64, first);
    while lasting() {
        sleep_until(due).await;
        let answer = requests::ask(&domain, "/session", cookie.as_deref()).await;
        tally.borrow_mut().count("/session", &answer, due - begun);
        if answer.is_whole() {
            let count = answer.value("count").and_then(|count| count.parse().ok()).unwrap_or(0);
            if count <= last {
                let mut tally = tally.borrow_mut();
                tally.report.sessions_lost += 1;
                tally.report.note(due - begun, format!("a session counted {last}, then {count}"));
            }
            last = count;
            cookie = answer.cookie.or(cookie);
        }
        due += Duration::from_secs(2);
    }
}

impl Report {
    fn count(&mut self, path: &str, answer: &Answer, at: Duration) {
        self.requests += 1;
        if !answer.is_whole() {
            self.failed += 1;
            let said: String = answer.body.chars().take(120).collect();
            self.note(at, format!("{path}: status {}: {}", answer.status, said.replace(['\r', '\n'], " ")));
            return;
        }
        if answer.is_mixed() {
            self.mixed += 1;
            self.note(at, format!("{path}: mixed: {}", answer.body.replace('\n', " ")));
        }
        *self.releases.entry(answer.value("end").unwrap_or_default().to_owned()).or_default() += 1;
    }

    fn note(&mut self, at: Duration, what: String) {
        if self.failures.len() < 20 {
            self.failures.push(format!("{:.3} s: {what}", at.as_secs_f64()));
        }
    }
}

fn sum_up(tally: &mut Tally) -> Report {
    let mut waits: Vec<Duration> = tally.fast.iter().map(|(_, wait)| *wait).collect();
    waits.sort();
    let ms = |wait: Duration| wait.as_secs_f64() * 1000.0;
    let mut report = std::mem::take(&mut tally.report);
    report.p50_ms = ms(percentile(&waits, 50));
    report.p99_ms = ms(percentile(&waits, 99));
    report.worst_ms = ms(percentile(&waits, 100));
    tally.fast.sort_by_key(|(_, wait)| std::cmp::Reverse(*wait));
    for (at, wait) in &tally.fast {
        let at = at.as_secs_f64();
        if report.worst.iter().all(|(other, _)| (at - other).abs() > 0.5) {
            report.worst.push((at, ms(*wait)));
        }
        if report.worst.len() == WORST_KEPT {
            break;
        }
    }
    report
}

/// The smallest wait that `percent` of all do not exceed; `waits` is sorted.
pub fn percentile(waits: &[Duration], percent: usize) -> Duration {
    let rank = (waits.len() * percent).div_ceil(100).max(1);
    waits.get(rank - 1).copied().unwrap_or_default()
}
