//! Steps: each in its own sandboxed transient unit, with a time limit, its output in the journal.

use std::{collections::BTreeMap, path::Path};

use super::{deployment::Deployment, error::EngineError};
use crate::{
    config::{SlotKind, Step, in_release},
    model::Phase,
    observe::PATH,
    runtime::dropins::slice_of,
    system::units::{Exit, Transient},
    worker::sandbox::{self, Reach},
};

impl Deployment<'_> {
    /// Runs one step to its end.
    pub async fn step(&mut self, step: &Step) -> Result<(), EngineError> {
        let phase = if step.after_activate { Phase::Verifying } else { Phase::Staging };
        // By name only: arguments are for those who may read logs, and the status is for everyone.
        self.progress.step(phase, &step.name, &step.name);
        let unit = format!("deploy-step-{}-{}-{}.service", self.plan.app, self.plan.id, step.name);
        let running = self.host.units.run(self.transient(step, &unit)?).await?;
        let exit = self.host.units.wait(running).await?;
        match verdict(step, &exit) {
            None => Ok(()),
            Some(how) => Err(EngineError::Step { name: step.name.clone(), how, unit }),
        }
    }

    fn transient(&self, step: &Step, unit: &str) -> Result<Transient, EngineError> {
        let release = self.release_dir();
        let own = self.settings.user == self.settings.run_as || !step.as_run_as;
        let cache = self.host.paths.cache_dir(&self.settings.app);
        let mut write = vec![release.clone()];
        if own {
            write.push(cache.clone());
        }
        if step.shared_rw {
            write.push(self.settings.root.join("shared"));
        }
        let reach = Reach { write, hidden: self.host.hidden_from(self.settings), network: step.network };
        let user = if step.as_run_as { &self.settings.run_as } else { &self.settings.user };
        Ok(Transient {
            name: unit.into(),
            description: format!("Step {} of {}", step.name, self.plan.app),
            exec: self.command(&step.run, &release)?,
            user: user.clone(),
            working_directory: Some(release.display().to_string()),
            environment: self.environment(step, &release, own.then_some(&cache)),
            binds_to: self.host.own_unit.clone(),
            slice: Some(slice_of(&self.plan.app)),
            journal_fields: BTreeMap::from([
                ("DEPLOYD_APP".into(), self.plan.app.to_string()),
                ("DEPLOYD_DEPLOYMENT".into(), self.plan.id.to_string()),
                ("DEPLOYD_RELEASE".into(), self.plan.release.to_string()),
                ("DEPLOYD_STEP".into(), step.name.clone()),
            ]),
            identifier: step.name.clone(),
            stdio: None,
            limit: Some(step.timeout),
            properties: sandbox::step(&reach),
        })
    }

    /// The program as an absolute path: PID 1 takes no other. `php` is the PHP that serves.
    pub fn command(&self, run: &[String], release: &Path) -> Result<Vec<String>, EngineError> {
        let (program, arguments) =
            run.split_first().ok_or_else(|| EngineError::Other("a step without a command".into()))?;
        let found = if program.contains('/') {
            // Below the release only the step itself looks.
            Some(release.join(program))
        } else {
            let serving = self.php_cli().filter(|_| program == "php");
            serving
                .into_iter()
                .chain([program.clone()])
                .find_map(|name| PATH.split(':').map(|dir| Path::new(dir).join(&name)).find(|path| path.is_file()))
        };
        let path = found.ok_or_else(|| {
            EngineError::Other(format!(
                "the program {program} of a step is not in {PATH}: install it, or write its path"
            ))
        })?;
        Ok([path.display().to_string()].into_iter().chain(arguments.iter().cloned()).collect())
    }

    /// `php8.2` for an app that php-fpm 8.2 serves.
    fn php_cli(&self) -> Option<String> {
        self.settings.services.iter().find_map(|service| match service.slots() {
            Some(SlotKind::PhpFpm(fpm)) if !fpm.version.is_empty() => Some(format!("php{}", fpm.version)),
            _ => None,
        })
    }

    fn environment(&self, step: &Step, release: &Path, cache: Option<&std::path::PathBuf>) -> BTreeMap<String, String> {
        let mut environment = self.app_environment(release);
        // A user of services has no cache of ours: its private /tmp serves.
        let home = cache.map_or_else(|| "/tmp".to_owned(), |dir| dir.display().to_string());
        let below = |name: &str| format!("{home}/{name}");
        environment.extend([
            ("PATH".to_owned(), PATH.to_owned()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("COMPOSER_HOME".to_owned(), below("composer")),
            ("COMPOSER_CACHE_DIR".to_owned(), below("composer/cache")),
            ("npm_config_cache".to_owned(), below("npm")),
            ("HOME".to_owned(), home),
        ]);
        environment.extend(step.environment.clone());
        environment
    }

    /// What steps and probes of this app have in common: the settings' variables, and what they are run for.
    pub fn app_environment(&self, release: &Path) -> BTreeMap<String, String> {
        let settings = self.settings.environment.iter();
        let mut environment: BTreeMap<String, String> =
            settings.map(|(name, value)| (name.clone(), in_release(value, release))).collect();
        environment.extend([
            ("DEPLOYD_APP".to_owned(), self.plan.app.to_string()),
            ("DEPLOYD_DEPLOYMENT".to_owned(), self.plan.id.to_string()),
            ("DEPLOYD_RELEASE".to_owned(), self.plan.release.to_string()),
        ]);
        environment
    }
}

/// How a step failed, if it did. systemd's result counts: a main process that exited 0 and left a child that had to be
/// killed has result `timeout`.
fn verdict(step: &Step, exit: &Exit) -> Option<String> {
    match (exit.result.as_str(), exit.status) {
        ("success", _) => None,
        ("exit-code", 203) => Some(format!("could not be run: {} is not there or not executable", step.run.join(" "))),
        ("exit-code", 226) => Some("could not be run: its sandbox could not be set up".into()),
        ("exit-code", status) => Some(format!("failed with exit status {status}")),
        ("signal" | "core-dump", signal) => Some(format!("was ended by signal {signal}")),
        ("timeout", _) => Some(format!("did not end within {:?}", step.timeout)),
        ("oom-kill", _) => Some("was ended because memory was short".into()),
        (other, status) => Some(format!("failed ({other}, {status})")),
    }
}
