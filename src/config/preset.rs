//! Presets: what a framework's app needs, as settings that a person could have written. Pure.

use std::collections::BTreeMap;

use super::{Health, Shared, Step, errors::Problem, preset_laravel, suggest};

/// What a preset brings. Each part gives way to what is written.
#[derive(Debug, Default)]
pub(super) struct Preset {
    /// `laravel`.
    pub name: &'static str,
    pub shared: Vec<Shared>,
    pub writable: Vec<String>,
    pub build_writable: Vec<String>,
    pub drop: Vec<String>,
    /// Values may hold `{release}`.
    pub environment: BTreeMap<String, String>,
    pub steps: Vec<Step>,
    /// How the tests are run, if they are a gate.
    pub tests: Vec<String>,
    pub health: Vec<Health>,
    /// A php-fpm service is inferred when none is written.
    pub php_fpm: bool,
}

/// The names that may be written.
const NAMES: [&str; 1] = ["laravel"];

/// Finds a preset.
pub(super) fn find(name: &str) -> Result<Preset, Problem> {
    match name {
        "laravel" => Ok(preset_laravel::preset()),
        _ => {
            let title = format!("unknown preset {name:?}{}", suggest::clause(name, NAMES));
            let help = format!("write preset = {}, or leave it out and write the steps", suggest::one_of(&NAMES));
            Err(Problem::new(title).help(help))
        }
    }
}
