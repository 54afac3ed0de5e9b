//! Artisan commands that a step may not run: those that take the live site down, or change what the live release uses
//! while another one is made. Pure.

use std::path::Path;

use super::{Migrations, Step, errors::Problem, root_file::outside};

/// Commands that are refused wherever they stand, and the way.
const NEVER: [(&str, &str, &str); 1] = [(
    "down",
    "takes the live site down",
    "remove it: requests are answered all the while; for planned work on the site run it by hand",
)];

/// Commands that are refused before activate, and the way.
const BEFORE_ACTIVATE: [(&str, &str, &str); 7] = [
    ("cache:clear", "empties the cache that the live release uses", AFTER),
    ("view:clear", "removes views that the live release may be reading", "remove it: a release compiles its own views"),
    ("optimize:clear", "empties the cache that the live release uses", "remove it: a new release has no caches yet"),
    (
        "queue:restart",
        "restarts workers on the old release",
        "write [[service]] kind = \"queue\": workers are handed over",
    ),
    ("horizon:terminate", "ends the live workers", "write [[service]] kind = \"horizon\": it is handed over"),
    ("octane:reload", "reloads the old release", "write [[service]] kind = \"octane\": it is handed over"),
    ("octane:stop", "ends the live server", "write [[service]] kind = \"octane\": it is handed over"),
];
const AFTER: &str = "write after = \"activate\", and the new release starts with an empty cache";

/// Commands that empty a database.
const WIPES: [&str; 5] = ["migrate:fresh", "migrate:refresh", "migrate:reset", "migrate:rollback", "db:wipe"];

/// What is wrong with a step, if anything is.
pub(super) fn refused(step: &Step, root: Option<&Path>, migrations: Migrations) -> Option<Problem> {
    for command in step.artisan() {
        let before = !step.after_activate && step.on.is_none();
        let listed = NEVER.iter().chain(BEFORE_ACTIVATE.iter().filter(|_| before));
        if let Some((command, does, way)) = listed.into_iter().find(|(refused, ..)| *refused == command) {
            let when = if *command == "down" { "in a step" } else { "before activate" };
            return Some(Problem::new(format!("`artisan {command}` {when} {does}")).help(*way));
        }
        if migrations != Migrations::Any && WIPES.contains(&command) {
            let title = format!("`artisan {command}` takes data away with each deployment");
            let help = "write a migration; for a site whose data may go, write migrations = \"any\" in [safety]";
            return Some(Problem::new(title).help(help));
        }
    }
    let files = step.credentials.values().chain(&step.environment_file);
    files.into_iter().find_map(|file| outside(file, root).err())
}
