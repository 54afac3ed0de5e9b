//! What runs an app's artisan by itself, before deployd does: programs of supervisor, lines of cron, units of systemd.

use std::path::Path;

use super::check::{Files, foreign_jobs};
use crate::{
    check::{Scheduler, parse_ini},
    model::{after_artisan, artisan_name, names_path, printable},
};

/// Units that an administrator wrote.
const UNITS: &str = "/etc/systemd/system/*.service";

/// Something that runs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// `supervisor program shop-worker`, `cron line`, `unit shop-worker.service`.
    pub what: String,
    /// `/etc/cron.d/shop:1`.
    pub place: String,
    /// `artisan NAME`, or none: the rest of the line may hold passwords, and goes no further.
    pub artisan: Option<String>,
    /// What of Laravel's it is; none: something else.
    pub runs: Option<Runs>,
    /// The command that ends it for good.
    pub end: String,
}

/// What of Laravel's is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// `horizon`.
    Horizon,
    /// `queue:work`, with the words after it.
    Queue(Vec<String>),
    /// `octane:start`, with the words after it.
    Octane(Vec<String>),
    /// `schedule:run` or `schedule:work`.
    Schedule,
}

/// What root's files say of a root.
pub(super) fn runs(files: &mut Files<'_>, root: &Path) -> Vec<Run> {
    let mut found: Vec<Run> = Vec::new();
    for job in foreign_jobs(files, root) {
        let place = format!("{}:{}", job.at.file.display(), job.at.line);
        let (what, end) = match job.by {
            Scheduler::Supervisor => (
                format!("supervisor program {}", job.what),
                format!("remove [program:{}] from {}, then `supervisorctl update`", job.what, job.at.file.display()),
            ),
            Scheduler::Cron => {
                ("cron line".to_owned(), format!("remove line {} of {}", job.at.line, job.at.file.display()))
            }
        };
        found.push(run(what, place, job.command, end));
    }
    for path in files.matching(Path::new(UNITS)) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if name.starts_with("app-") || name.starts_with("deploy") {
            continue;
        }
        let entries = parse_ini(&path, &files.text(&path).unwrap_or_default());
        let is_of = entries.iter().any(|entry| names_path(&entry.value, root));
        if let Some(start) = entries.iter().find(|entry| entry.key == "ExecStart" && is_of) {
            let place = format!("{}:{}", path.display(), start.at.line);
            let end = format!("`systemctl disable --now {name}`");
            found.push(run(format!("unit {name}"), place, start.value.clone(), end));
        }
    }
    found
}

/// A line of a user's own crontab.
pub(super) fn of_crontab(user: &str, line: usize, text: &str) -> Run {
    let end = format!("remove line {line} by `crontab -u {user} -e`");
    run("cron line".into(), format!("crontab of {user}, line {line}"), text.to_owned(), end)
}

fn run(what: String, place: String, command: String, end: String) -> Run {
    let runs = classify(&command);
    Run { what: printable(&what), place, artisan: artisan_name(&command), runs, end: printable(&end) }
}

/// By the word after `artisan`.
fn classify(command: &str) -> Option<Runs> {
    let mut words = after_artisan(command);
    let verb = words.next()?;
    let plain = |word: &&str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=.,:/".contains(&b));
    let rest = || words.clone().take_while(plain).map(str::to_owned).collect();
    match verb {
        "horizon" => Some(Runs::Horizon),
        "queue:work" | "queue:listen" => Some(Runs::Queue(rest())),
        "octane:start" => Some(Runs::Octane(rest())),
        "schedule:run" | "schedule:work" => Some(Runs::Schedule),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Paths;

    #[test]
    fn what_runs_artisan_is_known_by_the_word_after_it() {
        let of = |command: &str| classify(command);
        assert_eq!(of("php /srv/shop/artisan horizon"), Some(Runs::Horizon));
        let queue = of("php /srv/shop/current/artisan queue:work redis --queue=high,low --tries=3 >> /dev/null 2>&1");
        assert_eq!(queue, Some(Runs::Queue(vec!["redis".into(), "--queue=high,low".into(), "--tries=3".into()])));
        assert_eq!(of("* * * * * cd /srv/shop && php artisan schedule:run"), Some(Runs::Schedule));
        assert!(
            matches!(of("php artisan octane:start --server=swoole --port=8000"), Some(Runs::Octane(words)) if words.len() == 2)
        );
        assert_eq!((of("php artisan daily"), of("horizon"), of("php artisan")), (None, None, None));
    }

    #[test]
    fn programs_lines_and_units_are_found_with_what_ends_them() {
        let tree = tempfile::tempdir().unwrap();
        let paths = Paths::below(tree.path().canonicalize().unwrap());
        for (file, text) in [
            ("/etc/supervisor/conf.d/shop.conf", "[program:shop]\ncommand = php /srv/shop/artisan horizon\n"),
            ("/etc/cron.d/shop", "* * * * * shop cd /srv/shop && php artisan schedule:run\n"),
            (
                "/etc/systemd/system/shop-q.service",
                "[Service]\nWorkingDirectory=/srv/shop\nExecStart=php artisan queue:work\n",
            ),
            ("/etc/systemd/system/other.service", "[Service]\nExecStart=php /srv/shop2/artisan queue:work\n"),
        ] {
            let path = paths.host(Path::new(file));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut files = Files::new(&paths, Vec::new());
        let found = runs(&mut files, Path::new("/srv/shop"));
        let kinds: Vec<_> = found.iter().map(|run| run.runs.clone().unwrap()).collect();
        assert_eq!(kinds, [Runs::Schedule, Runs::Horizon, Runs::Queue(vec![])], "{found:?}");
        assert!(found[1].end.contains("[program:shop]") && found[2].end.contains("disable --now shop-q.service"));
    }
}
