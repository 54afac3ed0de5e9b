//! What a Laravel app needs (8 and later). Pure.
//!
//! - Compiled views are per release: `VIEW_COMPILED_PATH` lies inside it, for steps and services alike, so that
//!   `view:cache`, which empties the directory first, cannot empty what the live release reads.
//! - Caches bake absolute paths; they are right because a release is built at its final path.
//! - Everything with `artisan` may use the network: a service provider's `boot` may ask the database or Redis.
//! - `storage:link` is artisan's own, not a link of ours, since `filesystems.links` may name others; `--force` because
//!   some repositories carry a link of a developer's machine.
//! - The migrations are `artisan migrate` in sessions with a limit on locks.
//! - Only the migrations may write shared paths, and they come last, when nothing else can fail any more.

use std::time::Duration;

use super::{Check, Health, MIGRATE, Shared, Step, preset::Preset};

/// Where the package installs the health probe.
const PROBE: &str = "/usr/share/deployd/probe/laravel.php";
/// Compiled views, inside a release.
const VIEWS: &str = "bootstrap/cache/views";

/// The preset.
pub(super) fn preset() -> Preset {
    let shared = |path: &str, directory, required| Shared { path: path.into(), from: path.into(), directory, required };
    Preset {
        name: "laravel",
        shared: vec![shared("storage", true, false), shared(".env", false, true)],
        writable: vec![VIEWS.into()],
        build_writable: vec!["bootstrap/cache".into()],
        drop: vec!["node_modules".into()],
        environment: [("VIEW_COMPILED_PATH".into(), format!("{{release}}/{VIEWS}"))].into(),
        steps: steps(),
        tests: words(&["php", "artisan", "test"]),
        health: vec![Health {
            name: "laravel".into(),
            check: Check::Run { run: words(&["php", PROBE]) },
            timeout: Duration::from_secs(30),
        }],
        php_fpm: true,
    }
}

fn steps() -> Vec<Step> {
    let npm = ["package.json", "package-lock.json"];
    let composer = [
        "composer",
        "install",
        "--no-dev",
        "--optimize-autoloader",
        "--no-interaction",
        "--no-progress",
        "--prefer-dist",
    ];
    let mut steps = vec![
        step("composer-install", &composer, &["composer.json"]),
        step("npm-ci", &["npm", "ci", "--include=dev", "--no-audit", "--no-fund"], &npm),
        step("npm-build", &["npm", "run", "build", "--if-present"], &npm),
        step("storage-link", &["php", "artisan", "storage:link", "--force"], &["artisan", "public"]),
    ];
    for cache in ["config", "route", "view", "event"] {
        let command = format!("{cache}:cache");
        let made = step(&format!("{cache}-cache"), &["php", "artisan", &command], &["artisan"]);
        steps.push(Step { as_run_as: true, ..made });
    }
    let migrate = step("migrate", &["php", MIGRATE, "--force"], &["artisan", "database/migrations"]);
    steps.push(Step { as_run_as: true, shared_rw: true, once: true, ..migrate });
    steps
}

fn step(name: &str, run: &[&str], needs: &[&str]) -> Step {
    Step { needs: words(needs), ..Step::new(name, words(run)) }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}
