//! What runs the app's code without deployd's knowledge: cron, supervisor, processes of nobody. And what nobody could
//! look at. Pure.

use super::{
    Facts, ForeignJob, Scheduler,
    found::{Found, Words},
    place,
};
use crate::{
    config::Settings,
    model::{Severity, artisan_name},
};

const GROUP: &str = "foreign";

pub(super) fn check(settings: &Settings, facts: &Facts, found: &mut Found) {
    for job in &facts.jobs {
        add_job(job, found);
    }
    for (user, line, text) in facts.app.iter().flat_map(|app| &app.crontab) {
        cron(text, format!("crontab of {user}, line {line}"), found);
    }
    for process in &facts.processes {
        let unit = if process.unit.is_empty() { String::new() } else { format!(" in {}", process.unit) };
        let words = Words {
            thing: format!("process {} ({}){unit}", process.pid, process.name),
            place: settings.root.display().to_string(),
            happens: "it works in a release and no service of the app owns it: it stays with the old one".into(),
            remedy: "end it, or describe its unit as a [[service]]".into(),
        };
        found.add(GROUP, "foreign-process", Severity::Warning, words);
    }
    for unread in &facts.unread {
        let words = Words {
            thing: "not looked at".into(),
            place: unread.what.clone(),
            happens: unread.why.clone(),
            remedy: "what stands in it is not known; see that root alone may write it".into(),
        };
        found.add("unknown", NOT_READ, Severity::Warning, words);
    }
}

/// Of what could not be looked at: unknown is not good.
pub(super) const NOT_READ: &str = "not-read";

fn add_job(job: &ForeignJob, found: &mut Found) {
    if job.by == Scheduler::Cron {
        return cron(&job.what, place(&job.at), found);
    }
    let words = Words {
        thing: format!("supervisor program {}", job.what),
        place: place(&job.at),
        happens: "supervisord keeps it on the old release after a deployment, whose jobs it then runs".into(),
        remedy: format!("remove [program:{}] and describe a [[service]] of the app instead", job.what),
    };
    found.add(GROUP, "supervisor-program", Severity::Breaks, words);
}

/// The line itself may hold passwords, and whoever may plan sees what is found.
fn cron(line: &str, place: String, found: &mut Found) {
    let artisan = artisan_name(line).map_or_else(String::new, |name| format!(", {name}"));
    let words = Words {
        thing: format!("cron line{artisan}"),
        place,
        happens: "what it starts is not drained: it may run old code after the switch, and beside the new".into(),
        remedy: "remove the line, and let a timer or a [[service]] of the app run it".into(),
    };
    found.add(GROUP, "cron-line", Severity::Warning, words);
}
