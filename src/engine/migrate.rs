//! Migrations: looked at before they run, written down while they run, and the live release asked after they have run.
//!
//! Nothing undoes a migration. So what the live release may not survive is refused before, and what has run is recorded
//! whatever becomes of the deployment: a rollback lists it.

use super::{
    deployment::{Deployment, now, unexpected},
    error::EngineError,
};
use crate::{
    check::{Danger, Harm, harms},
    config::{Migrations, Step},
    model::{Migrating, Migration, MigrationRun, Phase, events, printable},
    plan::Plan,
    system::journal::Priority,
    worker::{
        client::Worker,
        order::{Answer, Order},
        sandbox::Reach,
    },
};

/// Where the package installs the probe.
const PROBE: &str = "/usr/share/deployd/probe/migrations.php";
/// For the probe. It boots the application and writes nothing.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(120);
/// Harms and migrations that are named in a sentence.
const NAMED: usize = 4;
/// Migrations that the record keeps.
const KEPT: usize = 1000;

impl Deployment<'_> {
    /// Runs a step that migrates, if the live release can be expected to survive it, and asks it afterwards whether it
    /// has. Once begun, it is not cut off by a cancellation: nobody would know how far it came.
    pub async fn migrate(&mut self, step: &Step) -> Result<(), EngineError> {
        let cancel = self.cancel.clone();
        let names = cancel.guard(self.judge_migrations()).await?;
        let before = if names.is_empty() { Vec::new() } else { cancel.guard(self.live_answers()).await? };
        if !names.is_empty() {
            // What a step before has kept of the database must outlive what is done to it now.
            self.sync_written().await?;
        }
        self.state.migrating = Some(Migrating { deployment: self.plan.id.clone(), names: names.clone() });
        self.note_begun(step);
        self.save()?;
        let ended = self.run(step).await;
        self.note_ended(step, &ended);
        self.note_migrations(&names, &ended).await?;
        ended?;
        if !names.is_empty() {
            self.still_answers(&names, before).await?;
        }
        if cancel.asked() { Err(EngineError::Cancelled) } else { Ok(()) }
    }

    /// The names of what is pending; refused if the live release may not survive it. Where nothing is live there is
    /// nobody to survive it.
    async fn judge_migrations(&mut self) -> Result<Vec<String>, EngineError> {
        let Some(live) = self.plan.from.clone() else { return Ok(Vec::new()) };
        let allowed = self.request.allow.destructive;
        let looks = self.settings.safety.migrations == Migrations::Safe;
        self.progress.step(Phase::Staging, "judge-migrations", "looking at the pending migrations");
        let (pending, unknown) = self.pending(looks).await?;
        let mut found = if looks { harms(&pending) } else { Vec::new() };
        if let (Some(why), true) = (&unknown, looks) {
            let statement = printable(why).chars().take(300).collect();
            found.push(Harm { file: "the pending migrations".into(), statement, danger: Danger::Unknown });
        }
        let names: Vec<String> = pending.iter().map(|migration| printable(&migration.name)).collect();
        self.judge_interrupted(&names, allowed)?;
        if let Some(first) = found.first() {
            let why = format!("the live release {live} may not survive the migrations: {}", listed(&found));
            if !allowed {
                return Err(EngineError::Refused { why, remedy: remedy(first, self.plan) });
            }
            self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &why, &[]);
        }
        Ok(names)
    }

    /// What a deployment had begun when it was killed, and is pending still, may have run in part.
    fn judge_interrupted(&mut self, pending: &[String], allowed: bool) -> Result<(), EngineError> {
        let Some(begun) = self.state.migrating.take() else { return Ok(()) };
        let (left, run): (Vec<String>, Vec<String>) = begun.names.iter().cloned().partition(|n| pending.contains(n));
        self.record_migrations(&run);
        if left.is_empty() || allowed {
            return Ok(());
        }
        let why = format!(
            "the deployment {} was cut off while it migrated: whether {} ran in part is not known",
            begun.deployment,
            named(&left)
        );
        // Kept: the next deployment is to refuse as well.
        self.state.migrating = Some(Migrating { names: left, ..begun });
        let remedy = format!(
            "look at the database and put it right, then `deployctl {} {} --allow-destructive`",
            self.plan.kind, self.plan.app
        );
        Err(EngineError::Refused { why, remedy })
    }

    /// Asks the release, as the user of its services and with what the step may reach. `looks`: for the statements too.
    async fn pending(&self, looks: bool) -> Result<(Vec<Migration>, Option<String>), EngineError> {
        let site = self.site();
        let mut run = vec!["php".to_owned(), PROBE.to_owned()];
        if !looks {
            run.push("names".into());
        }
        let order = Order::Migrations {
            run: site.command(&run)?,
            release: site.dir(),
            environment: site.environment(),
            timeout: LIMIT,
        };
        let mut worker = self.inspector("migrations").await?;
        let answer = worker.ask(&order, LIMIT * 2).await;
        worker.finish().await?;
        match answer? {
            Answer::Migrations { pending, unknown } => Ok((pending, unknown)),
            other => Err(unexpected(&other)),
        }
    }

    /// A worker that looks at the release before it is live: the user of its services, with what a step that migrates may
    /// reach. One that was made before is sealed.
    pub async fn inspector(&self, role: &'static str) -> Result<Worker, EngineError> {
        if self.plan.stage.is_none() {
            return self.site().prober(role).await;
        }
        let settings = self.settings;
        let hidden = self.host.hidden_from(settings);
        let write = vec![self.site().dir(), settings.root.join("shared")];
        let reach = Reach { write, hidden, network: true, ..Reach::default() };
        Ok(self.host.worker(settings, &self.plan.id, role, &settings.run_as, reach).await?)
    }

    /// Records what has run. Of a step that failed only what is not pending any more has, and of one that was killed it
    /// stays open.
    async fn note_migrations(&mut self, names: &[String], ended: &Result<(), EngineError>) -> Result<(), EngineError> {
        let mut run = names.to_vec();
        let mut open = None;
        if let Err(error) = ended
            && !names.is_empty()
        {
            let left: Option<Vec<String>> = match self.pending(false).await {
                Ok((pending, None)) => Some(pending.into_iter().map(|one| printable(&one.name)).collect()),
                _ => None,
            };
            run.retain(|name| left.as_ref().is_some_and(|left| !left.contains(name)));
            let by_itself = matches!(error, EngineError::Step { ended: true, .. });
            open = self.state.migrating.clone().filter(|_| !by_itself);
        }
        self.record_migrations(&run);
        self.state.migrating = open;
        self.save()
    }

    fn record_migrations(&mut self, names: &[String]) {
        let made = self.state.releases.iter().find(|release| release.id == self.plan.release);
        let seq = self.plan.stage.as_ref().map(|stage| stage.seq).or(made.map(|release| release.seq));
        let seq = seq.unwrap_or(self.state.seq);
        let (deployment, at) = (&self.plan.id, self.state.moment(now()));
        let run = names.iter().map(|name| MigrationRun { name: name.clone(), seq, deployment: deployment.clone(), at });
        self.state.migrations.extend(run);
        let surplus = self.state.migrations.len().saturating_sub(KEPT);
        self.state.migrations.drain(..surplus);
    }

    /// What answered before and does not any more was broken by the migrations.
    async fn still_answers(&mut self, names: &[String], before: Vec<(String, bool)>) -> Result<(), EngineError> {
        self.progress.step(Phase::Staging, "prove-live", "asking the live release after the migrations");
        let live = self.plan.from.as_ref().map_or_else(String::new, ToString::to_string);
        for ((what, healthy), (_, after)) in before.iter().zip(self.live_verdicts().await?) {
            match after {
                Err(error) if *healthy => {
                    let why = format!("the migrations broke the live release {live}: {error}");
                    let remedy = format!(
                        "{} have run and are not undone: put the database right, or deploy again to go on to the new \
                         release",
                        named(names)
                    );
                    return Err(EngineError::BrokenByMigrations { why: printable(&why), remedy });
                }
                Err(_) => {
                    let message = format!("{what} of the live release {live} failed before the migrations already");
                    self.progress.event(events::DEPLOYMENT_WARNED, Priority::Warning, &message, &[]);
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn live_answers(&mut self) -> Result<Vec<(String, bool)>, EngineError> {
        let verdicts = self.live_verdicts().await?;
        Ok(verdicts.into_iter().map(|(what, verdict)| (what, verdict.is_ok())).collect())
    }

    /// A sentence with what this deployment has migrated, which nothing undoes.
    pub fn with_migrations(&self, sentence: String) -> String {
        let run = self.state.migrations.iter().filter(|run| run.deployment == self.plan.id);
        let names: Vec<String> = run.map(|run| run.name.clone()).collect();
        match names.is_empty() || sentence.contains("are not undone") {
            true => sentence,
            false => format!("{sentence}; {} have run and are not undone", named(&names)),
        }
    }
}

fn listed(harms: &[Harm]) -> String {
    let mut out: Vec<String> = harms.iter().take(NAMED).map(ToString::to_string).collect();
    if harms.len() > NAMED {
        out.push(format!("and {} more", harms.len() - NAMED));
    }
    out.join(", ")
}

/// What going to a release does not undo, as a sentence; none when there is nothing.
pub fn not_undone(plan: &Plan) -> Option<String> {
    let since = &plan.migrated_since;
    (!since.is_empty()).then(|| format!("{} have run since {} and are not undone", named(since), plan.release))
}

/// `the migrations a, b`
fn named(names: &[String]) -> String {
    let mut out: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("and {} more", names.len().saturating_sub(NAMED));
    if names.len() > NAMED {
        out.push(&more);
    }
    format!("the migrations {}", out.join(", "))
}

fn remedy(harm: &Harm, plan: &Plan) -> String {
    format!(
        "{}; if it is meant: `deployctl {} {} --allow-destructive`, or migrations = \"any\" in [safety]",
        harm.danger.pattern(),
        plan.kind,
        plan.app
    )
}
