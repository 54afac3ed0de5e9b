//! Laravel's scheduler: a timer that runs `schedule:run` each minute in what is live then. Pure.

use crate::config::Scheduler;

/// `php artisan schedule:run`.
pub fn command(scheduler: &Scheduler) -> Vec<String> {
    [scheduler.php.as_str(), "artisan", "schedule:run"].map(str::to_owned).into()
}

/// The app's timer: `app-schedule@shop.timer`.
pub fn timer(app: &crate::model::AppName) -> String {
    format!("app-schedule@{app}.timer")
}
