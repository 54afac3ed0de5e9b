//! An app's configuration: fragments as written, merged by systemd's precedence, then resolved to [`Settings`].
//! Every error names file and line, with a caret. No effect on the world, and reads nothing but configuration files.

mod access;
mod build;
mod check;
mod context;
mod duration;
mod errors;
mod fleet;
mod fragments;
mod gates;
mod health;
mod merge;
mod notify;
mod origins;
mod pool_table;
mod preset;
mod preset_laravel;
mod resolve;
mod root_file;
mod service;
mod service_fpm;
mod service_kinds;
mod services;
mod settings;
mod shared;
mod show;
mod show_fleet;
mod show_service;
mod size;
mod source;
mod source_archive;
mod source_table;
mod step;
mod step_options;
mod step_refusals;
mod steps;
mod strategy;
mod suggest;
mod through_nginx;
mod tree;
mod webhook;
mod written;

pub use access::{Access, Right, Who};
pub use fleet::{Fleet, Semaphore};
pub use notify::{Address, Notify, Way};
pub use services::*;
pub use settings::*;
pub use show::show;
pub use source::{check_git_url, check_reference};
pub use step::{AUDIT, Limits, MIGRATE, On, Step};
pub use webhook::Webhook;

use crate::model::{AppName, Paths};
use errors::{Problem, Problems, SourceFile};
use tree::{Table, Value};

/// Reads, merges and resolves an app's configuration. Blocking, small.
///
/// `host.users` must hold those of [`mentioned_users`] that exist; a user that is not there is an error at its line.
pub fn load(paths: &Paths, app: &AppName, host: &HostFacts) -> Result<Settings, ConfigError> {
    let (table, files) = read(paths, app)?;
    let mut cx = context::Context { host, problems: Problems::default(), inferred: Vec::new() };
    let settings = resolve::resolve(app, &table, &files, &mut cx);
    pool_file_exists(paths, &settings, &mut cx.problems);
    match settings {
        Some(settings) if cx.problems.is_empty() => Ok(settings),
        _ => {
            if cx.problems.is_empty() {
                cx.problems.push(Problem::new(format!("the configuration of {app} is not complete")));
            }
            Err(cx.problems.into_error(&files))
        }
    }
}

/// The users that an app's configuration names, for the caller to look up before [`load`]. Empty when it cannot be
/// read; `load` then says why.
pub fn mentioned_users(paths: &Paths, app: &AppName) -> Vec<String> {
    let Ok((table, _)) = read(paths, app) else { return Vec::new() };
    let text = |table: &Table, key: &str| match table.get(key) {
        Some((_, tree::Node { value: Value::Text(text), .. })) => Some(text.clone()),
        _ => None,
    };
    let web = match table.get("web") {
        Some((_, tree::Node { value: Value::Table(web), .. })) => text(web, "user"),
        _ => None,
    };
    let mut users: Vec<_> = [text(&table, "user"), text(&table, "run_as"), web].into_iter().flatten().collect();
    users.sort();
    users.dedup();
    users
}

/// An app's root as it is written, if the files can be read at all, whatever else is wrong with them.
pub fn root_of(paths: &Paths, app: &AppName) -> Option<std::path::PathBuf> {
    let (table, _) = read(paths, app).ok()?;
    match table.get("root") {
        Some((_, tree::Node { value: Value::Text(text), .. })) => check::absolute(text).ok(),
        _ => None,
    }
}

/// The names of all configured apps, sorted. A file whose name is not a valid app name is left out, and so is one that
/// a link to /dev/null masks.
pub fn list(paths: &Paths) -> std::io::Result<Vec<AppName>> {
    fragments::list(paths)
}

/// Every place that an app's configuration is read from, and its drop-ins that are there: while none of them changes, it does
/// not either.
pub fn places(paths: &Paths, app: &AppName) -> Vec<std::path::PathBuf> {
    fragments::places(paths, app)
}

/// An environment value for one release: `{release}` is replaced by its directory.
pub fn in_release(value: &str, release: &std::path::Path) -> String {
    value.replace("{release}", &release.to_string_lossy())
}

/// The merged tree and the files it came from; whatever stops it from being read is all told at once.
fn read(paths: &Paths, app: &AppName) -> Result<(Table, Vec<SourceFile>), ConfigError> {
    let mut problems = Problems::default();
    let Some(files) = fragments::read(paths, app, &mut problems) else {
        let file = paths.config_dirs()[0].join(format!("{app}.toml"));
        problems.push(
            Problem::new(format!("there is no app {:?}", app.as_str()))
                .help(format!("describe it in {}; `deployctl list` lists those there are", file.display())),
        );
        return Err(problems.into_error(&[]));
    };
    let mut table = Table::new();
    for (index, file) in files.iter().enumerate() {
        merge::merge(&mut table, tree::parse(index, file, &mut problems));
    }
    if problems.is_empty() { Ok((table, files)) } else { Err(problems.into_error(&files)) }
}

/// A pool that is a file is part of the configuration: missing, it is told like any other error, with its line.
fn pool_file_exists(paths: &Paths, settings: &Option<Settings>, problems: &mut Problems) {
    let Some(settings) = settings else { return };
    for (index, service) in settings.services.iter().enumerate() {
        let Some(SlotKind::PhpFpm(PhpFpm { pool: Pool::File(file), .. })) = service.slots() else { continue };
        if !paths.host(file).is_file() {
            let place = settings.place(&format!("service[{index}].pool"));
            let place = place.trim_end_matches(": ");
            problems.push(
                Problem::new(format!("there is no pool file {}", file.display()))
                    .in_file(place)
                    .help("write the path of the site's pool, or [service.pool] with directives"),
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
