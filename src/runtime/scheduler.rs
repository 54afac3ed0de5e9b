//! Laravel's scheduler: a timer that runs `schedule:run` each minute in what is live then. Pure.
//!
//! - As with cron, runs may overlap: a task that takes two minutes must not make those of the next minute be missed. So
//!   `schedule.php` returns at once and leaves the run behind (`KillMode=process`); the same keeps the tasks that
//!   `runInBackground` has started.
//! - A run that began before a switch ends in its own release.

use crate::config::Scheduler;

/// What starts a run and returns.
const SCHEDULE: &str = "/usr/share/deployd/queue/schedule.php";

/// `schedule:run`, left behind.
pub fn command(scheduler: &Scheduler) -> Vec<String> {
    [scheduler.php.as_str(), SCHEDULE].map(str::to_owned).into()
}

/// The app's timer: `app-schedule@shop.timer`.
pub fn timer(app: &crate::model::AppName) -> String {
    format!("app-schedule@{app}.timer")
}

/// What the timer starts: `app-schedule@shop.service`.
pub fn service(app: &crate::model::AppName) -> String {
    format!("app-schedule@{app}.service")
}
