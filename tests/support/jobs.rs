//! The jobs of the app under test: their own log, and what it says about who ran them.

use std::collections::{BTreeMap, BTreeSet};

use super::{host::Host, shop::Shop};

/// One line of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// `dispatch`, `start`, `end`.
    pub event: String,
    /// The job.
    pub number: u32,
    /// The release that dispatched it.
    pub dispatched_by: String,
    /// The release that wrote the line.
    pub by: String,
    /// The process that wrote the line.
    pub pid: u32,
    /// When, in seconds since 1970.
    pub at: f64,
}

/// The log, in order of time.
#[derive(Debug, Clone, Default)]
pub struct Log(pub Vec<Line>);

impl Log {
    /// As it is now.
    pub fn of(host: &Host, shop: &Shop) -> Self {
        let path = format!("{}/shared/storage/jobs.log", shop.root());
        let mut lines: Vec<Line> = host.run(&["cat", &path]).stdout.lines().filter_map(line).collect();
        lines.sort_by(|a, b| a.at.total_cmp(&b.at));
        Self(lines)
    }

    /// The lines of one event.
    pub fn of_event(&self, event: &str) -> impl Iterator<Item = &Line> {
        self.0.iter().filter(move |line| line.event == event)
    }

    /// How many lines of one event there are.
    pub fn count(&self, event: &str) -> usize {
        self.of_event(event).count()
    }

    /// Jobs that do not have exactly one start and one end, by the same process, in words.
    pub fn not_once(&self) -> Vec<String> {
        let numbers: BTreeSet<u32> = self.of_event("dispatch").map(|line| line.number).collect();
        let mut wrong = Vec::new();
        for number in numbers {
            let of =
                |event: &str| -> Vec<&Line> { self.of_event(event).filter(|line| line.number == number).collect() };
            let (starts, ends) = (of("start"), of("end"));
            match (&starts[..], &ends[..]) {
                ([start], [end]) if start.pid == end.pid => {}
                _ => wrong.push(format!("job {number}: {} starts, {} ends", starts.len(), ends.len())),
            }
        }
        wrong
    }

    /// Jobs that an older release ran than the one that dispatched them. Labels are `r1`, `r2`, ... in order.
    pub fn dispatched_by_a_newer(&self) -> Vec<&Line> {
        self.of_event("start").filter(|line| nth(&line.dispatched_by) > nth(&line.by)).collect()
    }

    /// Jobs that a release began after the next one was activated, with how much later in seconds.
    pub fn begun_late(&self, activated: &BTreeMap<String, f64>) -> Vec<(&Line, f64)> {
        let next = |label: &str| activated.get(&format!("r{}", nth(label) + 1)).copied();
        self.of_event("start")
            .filter_map(|line| Some((line, line.at - next(&line.by)?)))
            .filter(|(_, late)| *late > 0.0)
            .collect()
    }

    /// The longest time in which jobs waited, none ran, and none began, in seconds.
    pub fn longest_standstill(&self) -> f64 {
        let (mut waiting, mut running, mut since, mut longest) = (0_i32, 0_i32, None::<f64>, 0.0_f64);
        for line in &self.0 {
            match line.event.as_str() {
                "dispatch" => waiting += 1,
                "start" => (waiting, running) = (waiting - 1, running + 1),
                _ => running -= 1,
            }
            if let Some(since) = since {
                longest = longest.max(line.at - since);
            }
            // From its first moment: a further dispatch does not end it.
            since = (waiting > 0 && running == 0).then(|| since.unwrap_or(line.at));
        }
        longest
    }

    /// The longest time in which jobs waited and none began, in seconds: workers that are all busy take none either.
    /// From the first begun on: before it they sleep, as ever when there is nothing to do.
    pub fn longest_without_start(&self) -> f64 {
        let (mut waiting, mut since, mut longest) = (0_i32, f64::INFINITY, 0.0_f64);
        for line in &self.0 {
            match line.event.as_str() {
                "dispatch" => {
                    if waiting == 0 && since.is_finite() {
                        since = line.at;
                    }
                    waiting += 1;
                }
                "start" => {
                    longest = longest.max(line.at - since);
                    (waiting, since) = (waiting - 1, line.at);
                }
                _ => {}
            }
        }
        longest
    }
}

fn line(text: &str) -> Option<Line> {
    let mut words = text.split(' ');
    let mut next = || words.next().map(str::to_owned);
    let (event, number, dispatched_by, by, pid, at) = (next()?, next()?, next()?, next()?, next()?, next()?);
    Some(Line { event, number: number.parse().ok()?, dispatched_by, by, pid: pid.parse().ok()?, at: at.parse().ok()? })
}

fn nth(label: &str) -> u32 {
    label.trim_start_matches('r').parse().unwrap_or(0)
}

/// When each release, by its label, became what `current` names: in the order of the events `r1`, `r2`, ...
pub fn activations(host: &Host, event: &str) -> BTreeMap<String, f64> {
    let lines = host.ok(&["journalctl", "--no-pager", "-q", "-o", "short-unix", &format!("MESSAGE_ID={event}")]);
    let times = lines.lines().filter_map(|line| line.split(' ').next()?.parse::<f64>().ok());
    times.enumerate().map(|(at, time)| (format!("r{}", at + 1), time)).collect()
}
