//! Steps: each in its own sandboxed transient unit, with a time limit, its output in the journal.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{deployment::Deployment, durable::syncs, error::EngineError, site::Site};
use crate::{
    config::{Build, Limits, Settings, Step},
    model::{AppName, Phase},
    observe::search_path,
    system::{
        process,
        units::{Exit, Property, Transient, kept_words},
    },
    worker::sandbox::{self, Bounds, Reach, STEP_SECRETS},
};

/// The caches of composer and npm, in the app's.
pub const CACHES: [&str; 2] = ["composer/cache", "npm"];

impl Deployment<'_> {
    /// Runs one step to its end; of one that runs once for a release it is noted.
    pub async fn step(&mut self, step: &Step) -> Result<(), EngineError> {
        if !step.once {
            return self.run(step).await;
        }
        self.note_begun(step);
        self.save()?;
        let ended = self.run(step).await;
        self.note_ended(step, &ended);
        self.save()?;
        ended
    }

    /// The same, and nothing is noted.
    pub async fn run(&mut self, step: &Step) -> Result<(), EngineError> {
        let phase = if step.after_activate { Phase::Verifying } else { Phase::Staging };
        // By name only: arguments are for those who may read logs, and the status is for everyone.
        self.progress.step(phase, &step.name, &step.name);
        let sealed = step.after_activate || self.plan.stage.is_none();
        run_step(self.site(), step, &BTreeMap::new(), sealed).await
    }
}

/// Where a step is run, and what it may reach there.
#[derive(Debug)]
pub struct Place {
    /// Its working directory.
    pub dir: PathBuf,
    /// What it may reach.
    pub reach: Reach,
    /// Its environment, before its own.
    pub environment: BTreeMap<String, String>,
    /// All that it may write is synced after it, where anything is (see [`super::durable`]): it need not wait for the
    /// disk itself.
    pub synced_later: bool,
    /// It builds as the app's user: it finds the build's own programs and, with the network, gets the secrets of the
    /// package managers.
    pub builds: bool,
}

/// Runs a step in a release to its end. `more` is added to its environment. In a sealed one it writes what the services
/// may.
pub async fn run_step(
    site: Site<'_>,
    step: &Step,
    more: &BTreeMap<String, String>,
    sealed: bool,
) -> Result<(), EngineError> {
    let mut place = in_release(site, step, sealed);
    place.environment.extend(more.clone());
    run_in(site, step, place).await
}

/// Runs a step somewhere to its end.
pub async fn run_in(site: Site<'_>, step: &Step, place: Place) -> Result<(), EngineError> {
    let unit = format!("deploy-step-{}-{}-{}.service", site.settings.app, site.deployment, step.name);
    let running = site.host.units.run(transient(site, step, place, &unit)?).await?;
    let exit = site.host.units.wait(running).await?;
    match verdict(step, &exit) {
        None => Ok(()),
        Some(how) => {
            let ended = exit.result == "exit-code";
            Err(EngineError::Step { name: step.name.clone(), how, unit, ended })
        }
    }
}

/// The release, the cache, and the shared paths as the step may have them.
fn in_release(site: Site<'_>, step: &Step, sealed: bool) -> Place {
    let (settings, release) = (site.settings, site.dir());
    let own = settings.user == settings.run_as || !step.as_run_as;
    let cache = site.host.paths.cache_dir(&settings.app);
    let mut write = if sealed { Vec::new() } else { vec![release.clone()] };
    let open = if sealed { site.writable() } else { Vec::new() };
    if own {
        write.push(cache.clone());
    }
    if step.shared_rw {
        write.push(settings.root.join("shared"));
    }
    let hidden = site.host.hidden_from(settings);
    let reach = Reach { write, open, hidden, network: step.network, ..Reach::default() };
    let mut environment = site.environment();
    let builds = !sealed && !step.as_run_as;
    surroundings(&mut environment, settings, own.then_some(&cache), builds);
    // What is shared counts at once, and so does what a migration has done elsewhere.
    let synced_later = !sealed && !step.shared_rw && !step.migrates();
    Place { dir: release, reach, environment, synced_later, builds }
}

fn transient(site: Site<'_>, step: &Step, place: Place, unit: &str) -> Result<Transient, EngineError> {
    let settings = site.settings;
    let user = if step.as_run_as { &settings.run_as } else { &settings.user };
    let mut environment = place.environment;
    if step.migrates() {
        let seconds = settings.safety.lock_timeout.as_secs();
        environment.insert("DEPLOYD_LOCK_TIMEOUT".to_owned(), seconds.to_string());
    }
    environment.extend(step.environment.clone());
    let secrets = if place.builds && place.reach.network { secrets(&settings.build) } else { Vec::new() };
    let command = site.command_in(&place.dir, &step.run, place.builds)?;
    let exec = by_its_own_process(&site.host.program, command, !secrets.is_empty());
    // What the step names itself comes last, and counts.
    let credentials: BTreeMap<_, _> = secrets.into_iter().chain(step.credentials.clone()).collect();
    Ok(Transient {
        name: unit.into(),
        description: format!("Step {} of {}", step.name, settings.app),
        exec,
        user: user.clone(),
        working_directory: Some(place.dir.display().to_string()),
        environment,
        binds_to: site.host.own_unit.clone(),
        slice: Some(slice(step, &settings.app)),
        journal_fields: BTreeMap::from([
            ("DEPLOYD_APP".into(), settings.app.to_string()),
            ("DEPLOYD_DEPLOYMENT".into(), site.deployment.to_string()),
            ("DEPLOYD_RELEASE".into(), site.release.to_string()),
            ("DEPLOYD_STEP".into(), step.name.clone()),
        ]),
        identifier: step.name.clone(),
        stdio: None,
        credentials: credentials.into_iter().collect(),
        limit: Some(step.timeout),
        properties: properties(step, &place.reach, place.synced_later && syncs(settings)),
    })
}

/// A secret in a unit's environment is everyone's to read: the step's own process takes it into its own. So it does with
/// words that a unit's file would change.
fn by_its_own_process(program: &Path, command: Vec<String>, secrets: bool) -> Vec<String> {
    let ours = |more: &[&str], command: Vec<String>| {
        let before = [program.display().to_string(), "step".into()].into_iter();
        before.chain(more.iter().map(|word| (*word).to_owned())).chain(command).collect()
    };
    match kept_words(&command) {
        Some(kept) => ours(&["--kept", "--"], kept),
        None if secrets => ours(&["--"], command),
        None => command,
    }
}

/// Where it is accounted. What yields does so to every service of the host, not only to those of its own app.
fn slice(step: &Step, app: &AppName) -> String {
    if yields(step) { app.steps_slice() } else { app.slice() }
}

/// Not what migrates: live requests may wait for the locks that it holds.
fn yields(step: &Step) -> bool {
    step.limits.yields() && !step.migrates()
}

/// Its sandbox and its bounds.
fn properties(step: &Step, reach: &Reach, synced_later: bool) -> BTreeMap<&'static str, Property> {
    let Limits { memory, tasks, cpu_weight, io_weight } = step.limits;
    let yields = yields(step);
    let mut properties = sandbox::step(reach, Bounds { memory, tasks, cpu_weight, yields, io_weight, synced_later });
    // An idle processor takes over at once what waits on another; one that has a build waits for the next tick, and a
    // visitor with it.
    if yields && let Some(others) = process::processors_but_one() {
        properties.insert("CPUAffinity", Property::Bits(others));
    }
    if let Some(file) = &step.environment_file {
        properties.insert("EnvironmentFiles", Property::Files(vec![file.display().to_string()]));
    }
    properties
}

/// What the package managers are handed, by the names that [`STEP_SECRETS`] has for them.
fn secrets(build: &Build) -> Vec<(String, PathBuf)> {
    let files = [&build.composer_auth, &build.npmrc];
    let pairs = STEP_SECRETS.into_iter().zip(files);
    pairs.filter_map(|(name, file)| Some((name.to_owned(), file.clone()?))).collect()
}

/// What every command finds: where programs are, and a home. A user of services has no cache of ours: its private /tmp
/// serves.
pub fn surroundings(
    environment: &mut BTreeMap<String, String>,
    settings: &Settings,
    cache: Option<&PathBuf>,
    builds: bool,
) {
    let home = cache.map_or_else(|| "/tmp".to_owned(), |dir| dir.display().to_string());
    let below = |name: &str| format!("{home}/{name}");
    environment.extend([
        ("PATH".to_owned(), search_path(settings, builds)),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("COMPOSER_HOME".to_owned(), below("composer")),
        ("COMPOSER_CACHE_DIR".to_owned(), below(CACHES[0])),
        ("npm_config_cache".to_owned(), below(CACHES[1])),
        ("HOME".to_owned(), home),
    ]);
}

/// How a step failed, if it did. systemd's result counts: a main process that exited 0 and left a child that had to be
/// killed has result `timeout`.
fn verdict(step: &Step, exit: &Exit) -> Option<String> {
    match (exit.result.as_str(), exit.status) {
        ("success", _) => None,
        ("exit-code", 203) => Some(format!("could not be run: {} is not there or not executable", step.run.join(" "))),
        ("exit-code", 243) => Some("could not be run: a credential or the environment file cannot be read".into()),
        ("exit-code", 226) => Some("could not be run: its sandbox could not be set up".into()),
        ("exit-code", status) => Some(format!("failed with exit status {status}")),
        ("signal" | "core-dump", signal) => Some(format!("was ended by signal {signal}")),
        // Its main process ended well.
        ("timeout", 0) => {
            Some("left processes behind that did not end when they were told to; they were killed".into())
        }
        ("timeout", _) => Some(format!("did not end within {:?}", step.timeout)),
        ("oom-kill", _) => Some("was ended because memory was short".into()),
        (other, status) => Some(format!("failed ({other}, {status})")),
    }
}
