//! A step as a value: what is run, where it stands, and what it may reach and take. Pure.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::Serialize;

/// Where the package installs what runs `artisan migrate` with a limit on locks.
pub const MIGRATE: &str = "/usr/share/deployd/probe/migrate.php";
/// Where it installs what runs `composer audit` and judges what that has found.
pub const AUDIT: &str = "/usr/share/deployd/probe/audit.php";

/// One command of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// For people, units and records: `composer-install`; letters, digits and `-`, unique in the app.
    pub name: String,
    /// Program and arguments; of a shell line `/bin/sh -ec` and the line.
    pub run: Vec<String>,
    /// It was written as a shell line, and asked for as one.
    pub shell: bool,
    /// Whose: the build user, or `run_as`.
    pub as_run_as: bool,
    /// Only if all of these are in the release.
    pub needs: Vec<String>,
    /// Not if all of these are as in the release before, and what it makes was carried from there.
    pub skip_if_unchanged: Vec<String>,
    /// Directories that it makes, at or below some that are carried.
    pub makes: Vec<String>,
    /// May write the shared paths.
    pub shared_rw: bool,
    /// After activate instead of before.
    pub after_activate: bool,
    /// Once for each release, however often that is made live.
    pub once: bool,
    /// Once the deployment has ended so; its end is no longer changed by it.
    pub on: Option<On>,
    /// May use the network.
    pub network: bool,
    /// Then it is ended.
    pub timeout: Duration,
    /// Added to its environment.
    pub environment: BTreeMap<String, String>,
    /// Read by PID 1 into its environment: what shall stand in no unit's properties.
    pub environment_file: Option<PathBuf>,
    /// Files that PID 1 hands over below `$CREDENTIALS_DIRECTORY`, by name.
    pub credentials: BTreeMap<String, PathBuf>,
    /// What it may take.
    pub limits: Limits,
}

impl Step {
    /// Of a step, when it writes none.
    pub const TIMEOUT: Duration = Duration::from_secs(600);

    /// A step with nothing but defaults.
    pub fn new(name: impl Into<String>, run: Vec<String>) -> Self {
        Self {
            name: name.into(),
            run,
            shell: false,
            as_run_as: false,
            needs: Vec::new(),
            skip_if_unchanged: Vec::new(),
            makes: Vec::new(),
            shared_rw: false,
            after_activate: false,
            once: false,
            on: None,
            network: true,
            timeout: Self::TIMEOUT,
            environment: BTreeMap::new(),
            environment_file: None,
            credentials: BTreeMap::new(),
            limits: Limits::default(),
        }
    }

    /// The words of its command; of a shell line those between its signs.
    pub fn words(&self) -> Vec<&str> {
        let signs = |c: char| c.is_whitespace() || ";&|()'\"`".contains(c);
        let split = self.run.iter().flat_map(|word| word.split(signs)).filter(|word| !word.is_empty());
        if self.shell { split.collect() } else { self.run.iter().map(String::as_str).collect() }
    }

    /// The artisan commands it runs.
    pub fn artisan(&self) -> Vec<&str> {
        let words = self.words();
        let pairs = words.windows(2).filter(|pair| pair[0].rsplit('/').next() == Some("artisan"));
        pairs.map(|pair| pair[1]).collect()
    }

    /// Whether it runs a Laravel app's migrations, as the preset's does or by `php artisan migrate`.
    pub fn migrates(&self) -> bool {
        self.words().contains(&MIGRATE) || self.artisan().contains(&"migrate")
    }
}

/// How a deployment must have ended for a step to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// The release is live and proved.
    Success,
    /// It was not made live, or went back.
    Failure,
}

/// What a step may take. Its share of processor and disk is what is left beside others: 100 is a service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Bytes of memory; beyond them it is ended. None: what the host has.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub tasks: u64,
    /// Of the processors.
    pub cpu_weight: u64,
    /// Of the disks.
    pub io_weight: u64,
}

impl Limits {
    /// Whether it is so light that it yields wholly to whatever serves.
    pub fn yields(self) -> bool {
        self.cpu_weight <= 50
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: None, tasks: 4096, cpu_weight: 20, io_weight: 20 }
    }
}
