//! Rolling: the instances of a site's own template brought to what `current` names, a few at a time, each proved before
//! the next. The same code goes forward, back, and on after an interruption: what is wanted is what `current` names.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::{deployment::WORK_LIMIT, error::EngineError, progress::Progress, turn::verdict};
use crate::{
    config::{Rolling, Settings},
    model::{DeploymentId, Phase, ReleaseId, UnitName},
    observe::{Host, InstanceObserved, instance_unit, instances, read_current},
    runtime::rolling::{Instance, Lot, next},
    system::tree::Dir,
    worker::{
        client::Worker,
        order::{HttpProbe, Order},
        sandbox::Reach,
    },
};

/// Between two probes of an instance that does not answer yet: nobody tells when a program begins to.
const LOOK: Duration = Duration::from_millis(50);

/// What a rolling update works with.
pub struct Roll<'a> {
    /// The host it runs on.
    pub host: &'a Host,
    /// The app's settings.
    pub settings: &'a Settings,
    /// What is told.
    pub progress: &'a Progress,
    /// The deployment.
    pub id: &'a DeploymentId,
    /// `web@.service`
    pub template: &'a UnitName,
    /// How.
    pub rolling: &'a Rolling,
}

impl Roll<'_> {
    /// Brings every instance to what `current` names.
    pub async fn run(&self) -> Result<(), EngineError> {
        let wanted = read_current(&Dir::open(&self.settings.root)?)?;
        let mut worker = self.worker().await?;
        let done = self.lots(wanted.as_ref(), worker.as_mut()).await;
        // Ended also after a failure: going back starts one of the same name.
        if let Some(worker) = worker {
            worker.finish().await?;
        }
        done
    }

    /// One lot after the other, until there is none.
    async fn lots(&self, wanted: Option<&ReleaseId>, mut worker: Option<&mut Worker>) -> Result<(), EngineError> {
        let mut moved = BTreeSet::new();
        let mut first = true;
        while let Some(lot) = next(self.rolling, &self.look(wanted, &moved).await?) {
            if let Lot::Stop(names) = &lot {
                self.all(names, Act::Stop).await?;
                names.iter().for_each(|name| _ = moved.remove(name));
                continue;
            }
            let (Lot::Restart(names) | Lot::Start(names) | Lot::Stop(names)) = &lot;
            if !first {
                // A person asked for that much time between one lot and the next.
                tokio::time::sleep(self.rolling.delay).await;
            }
            first = false;
            self.progress.waiting(Phase::CuttingOver, &format!("{}: moving {}", self.template, names.join(", ")));
            let act = if matches!(lot, Lot::Start(_)) { Act::Start } else { Act::Restart };
            self.all(names, act).await?;
            for name in names {
                self.prove(name, wanted, worker.as_deref_mut()).await?;
                moved.insert(name.clone());
            }
        }
        Ok(())
    }

    /// The instances as they are. Whether one that tells nothing of its release has been moved is known from having
    /// done it.
    async fn look(&self, wanted: Option<&ReleaseId>, moved: &BTreeSet<String>) -> Result<Vec<Instance>, EngineError> {
        let found = instances(self.host, &self.settings.root, self.template, self.rolling).await?;
        let instance = |(name, seen): (String, InstanceObserved)| Instance {
            active: !matches!(seen.active.as_str(), "inactive" | "failed"),
            wanted: match &seen.release {
                Some(release) => Some(release) == wanted,
                None => moved.contains(&name),
            },
            name,
        };
        Ok(found.into_iter().map(instance).collect())
    }

    /// A lot, side by side. All are awaited; the first failure is told.
    async fn all(&self, names: &[String], act: Act) -> Result<(), EngineError> {
        let units: Vec<UnitName> =
            names.iter().map(|name| instance_unit(self.template, name)).collect::<Result<_, _>>()?;
        let units = units.iter().map(|unit| async move {
            match act {
                Act::Start => self.host.units.start(unit).await,
                Act::Restart => self.host.units.restart(unit).await,
                Act::Stop => self.host.units.stop(unit).await,
            }
        });
        let ended = futures_util::future::join_all(units).await;
        Ok(ended.into_iter().collect::<Result<(), _>>()?)
    }

    /// Proved: it runs, from the wanted release as far as that shows, and answers.
    async fn prove(
        &self,
        name: &str,
        wanted: Option<&ReleaseId>,
        worker: Option<&mut Worker>,
    ) -> Result<(), EngineError> {
        let unit = instance_unit(self.template, name)?;
        if let (Some(probe), Some(worker)) = (&self.rolling.probe, worker) {
            self.ask(&unit, probe.replace("{instance}", name), worker).await?;
        }
        let one = Rolling { instances: vec![name.to_owned()], ..self.rolling.clone() };
        let found = instances(self.host, &self.settings.root, self.template, &one).await?;
        let unhealthy = |detail: String| EngineError::Unhealthy { what: unit.to_string(), detail };
        let Some((_, seen)) = found.into_iter().next() else { return Err(unhealthy("it is not there".into())) };
        if seen.active != "active" {
            return Err(unhealthy(format!("it is {}", seen.active)));
        }
        if let (Some(runs), Some(wanted)) = (&seen.release, wanted)
            && runs != wanted
        {
            return Err(unhealthy(format!("it runs {runs}: let it begin in {}/current", self.settings.root.display())));
        }
        Ok(())
    }

    /// Asks until it answers well, or does not run any more, or its time is over.
    async fn ask(&self, unit: &UnitName, url: String, worker: &mut Worker) -> Result<(), EngineError> {
        let until = Instant::now() + self.rolling.start;
        loop {
            let timeout = until.saturating_duration_since(Instant::now()).max(LOOK);
            let order = Order::ProbeHttp(HttpProbe {
                url: url.clone(),
                host: None,
                status: None,
                body: None,
                json: None,
                timeout,
                beside: None,
            });
            let answer = verdict(unit.to_string(), worker.ask(&order, WORK_LIMIT).await?);
            let Err(error @ EngineError::Unhealthy { .. }) = answer else { return answer.map(drop) };
            let runs = self.host.units.status(unit).await?.active == "active";
            if !runs || Instant::now() >= until {
                return Err(error);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks the instances, as the app's user; none when nothing is asked.
    async fn worker(&self) -> Result<Option<Worker>, EngineError> {
        if self.rolling.probe.is_none() {
            return Ok(None);
        }
        let reach = Reach { hidden: self.host.hidden_from(self.settings), network: true, ..Reach::default() };
        Ok(Some(self.host.worker(self.settings, self.id, "rolling", &self.settings.user, reach).await?))
    }
}

/// What is done to an instance.
#[derive(Debug, Clone, Copy)]
enum Act {
    Start,
    Restart,
    Stop,
}
