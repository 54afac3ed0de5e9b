//! The classes of waiting jobs: before a release goes live, and before a rollback, it is asked whether it has their classes.

use std::time::Duration;

use super::{
    deployment::{Deployment, unexpected},
    error::EngineError,
};
use crate::{
    config::MissingJobs,
    model::{events, printable},
    system::journal::Priority,
    worker::order::{Answer, MissingJobs as Missing, Order},
};

/// Where the package installs the probe.
const PROBE: &str = "/usr/share/deployd/probe/jobs.php";
/// It bounds itself to less.
const LIMIT: Duration = Duration::from_secs(60);
/// Classes named in a sentence.
const NAMED: usize = 5;

impl Deployment<'_> {
    /// Refuses, or warns of, jobs whose class the release does not have: its workers would fail them one by one.
    pub async fn judge_jobs(&mut self) -> Result<(), EngineError> {
        let policy = self.settings.safety.missing_jobs;
        if policy == MissingJobs::Ignore {
            return Ok(());
        }
        let release = self.release_dir();
        let order = Order::Jobs {
            run: self.site().command(&["php", PROBE].map(str::to_owned))?,
            environment: self.site().environment(),
            release,
            timeout: LIMIT,
        };
        let (looked, complete, unknown, missing) = match self.ask_as_services(&order).await? {
            Answer::Jobs { looked, complete, unknown, missing } => (looked, complete, unknown, missing),
            other => return Err(unexpected(&other)),
        };
        let release = &self.plan.release;
        let verdict = if !missing.is_empty() {
            let why = format!("jobs wait whose class {release} does not have: {}", listed(&missing));
            Some(EngineError::MissingJobs(printable(&why)))
        } else {
            let why =
                unknown.map(|why| format!("whether {release} has the classes of the waiting jobs is not known: {why}"));
            why.map(|why| EngineError::UnknownJobs(printable(&why)))
        };
        match verdict.map(|error| (error.to_string(), error)) {
            Some((_, error)) if policy == MissingJobs::Refuse => return Err(error),
            Some((why, _)) => self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &why, &[]),
            None if !complete => {
                let message = format!("of the waiting jobs only {looked} were looked at: there are more");
                self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &message, &[]);
            }
            None => {}
        }
        Ok(())
    }
}

/// `App\Jobs\Send (3 pending, 1 delayed), ...`
fn listed(missing: &[Missing]) -> String {
    let one = |class: &Missing| {
        let states = [("pending", class.pending), ("delayed", class.delayed), ("reserved", class.reserved)];
        let counts: Vec<String> =
            states.iter().filter(|(_, count)| *count > 0).map(|(state, count)| format!("{count} {state}")).collect();
        format!("{} ({})", class.class, counts.join(", "))
    };
    let mut named: Vec<String> = missing.iter().take(NAMED).map(one).collect();
    if missing.len() > NAMED {
        named.push(format!("and {} more classes", missing.len() - NAMED));
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_classes_are_listed_with_counts() {
        let class = |class: &str, pending, delayed| Missing { class: class.into(), pending, delayed, reserved: 0 };
        assert_eq!(listed(&[class("A", 3, 1), class("B", 0, 2)]), "A (3 pending, 1 delayed), B (2 delayed)");
        let many: Vec<Missing> = (0..7).map(|n| class(&format!("C{n}"), 1, 0)).collect();
        assert!(listed(&many).ends_with("C4 (1 pending), and 2 more classes"));
    }
}
