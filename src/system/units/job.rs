//! Jobs of PID 1: asked for, and awaited until their end was seen or can be told by the unit's state.

use std::sync::Arc;

use tokio::sync::mpsc;
use zbus::OwnedObjectPath;

use super::{
    UnitError, UnitStatus, Units,
    answer::answer,
    has_ended,
    link::{Event, Link},
};
use crate::model::UnitName;

/// A new job takes the place of one that contradicts it, as with `systemctl`.
pub(super) const REPLACE: &str = "replace";

/// How often a restart or a reload is done whose end is not seen.
const TRIES: usize = 5;

/// What a unit can be asked for: [`Verb`] and `ReloadUnit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Ask {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }

    /// Whether a unit's state shows that a job whose end was not seen did its work: a oneshot may be over by then. A
    /// restart and a reload leave nothing to tell by.
    pub(super) fn is_shown_by(self, status: &UnitStatus) -> bool {
        let UnitStatus { active, kind, result, .. } = status;
        match self {
            Self::Start => active == "active" || (kind == "oneshot" && active == "inactive" && result == "success"),
            Self::Stop => has_ended(active),
            Self::Restart | Self::Reload => false,
        }
    }
}

impl Units {
    /// A job, to its end. One that leaves nothing to tell by is done again when its end was not seen.
    pub(super) async fn job(&self, ask: Ask, unit: &UnitName) -> Result<(), UnitError> {
        let mut result = Box::pin(self.one_job(ask, unit)).await?;
        for _ in 1..TRIES {
            if result.is_some() || !matches!(ask, Ask::Restart | Ask::Reload) {
                break;
            }
            result = Box::pin(self.one_job(ask, unit)).await?;
        }
        if result.as_deref() == Some("done") {
            return Ok(());
        }
        let status = self.status(unit).await;
        if result.is_none() && status.as_ref().is_ok_and(|status| ask.is_shown_by(status)) {
            return Ok(());
        }
        Err(UnitError::Job { unit: unit.clone(), verb: ask.verb(), detail: describe(result.as_deref(), status) })
    }

    /// Subscribed first, then called, then awaited.
    async fn one_job(&self, ask: Ask, unit: &UnitName) -> Result<Option<String>, UnitError> {
        loop {
            let link = self.link().await?;
            let events = link.listen();
            match call(&link, ask, unit).await {
                Ok(job) => return self.job_result(link, events, &job).await,
                // It may have arrived or not; to ask twice for the same is harmless.
                Err(error) => self.again(&link, error).await?,
            }
        }
    }

    /// Awaits the end of a job: its result, or `None` when PID 1 no longer knows it and its end was not seen, as can
    /// be after the bus or PID 1 was restarted.
    pub(super) async fn job_result(
        &self,
        mut link: Arc<Link>,
        mut events: mpsc::UnboundedReceiver<Event>,
        job: &OwnedObjectPath,
    ) -> Result<Option<String>, UnitError> {
        loop {
            match events.recv().await {
                Some(Event::Removed { job: ended, result, .. }) if ended == *job => return Ok(Some(result)),
                Some(Event::Removed { .. }) => continue,
                Some(Event::Reloaded) => link.renew().await?,
                Some(Event::Lost) | None => {
                    link = self.link().await?;
                    events = link.listen();
                }
            }
            let exists = loop {
                match link.job_exists(job).await {
                    // The queue tells it next.
                    Err(_) if link.is_lost() => break true,
                    Err(error) => self.again(&link, error).await?,
                    Ok(exists) => break exists,
                }
            };
            if !exists {
                while let Ok(event) = events.try_recv() {
                    match event {
                        Event::Removed { job: ended, result, .. } if ended == *job => return Ok(Some(result)),
                        _ => {}
                    }
                }
                return Ok(None);
            }
        }
    }
}

/// Asks for a job and returns it.
pub(super) async fn call(link: &Link, ask: Ask, unit: &UnitName) -> Result<OwnedObjectPath, UnitError> {
    let (manager, name) = (&link.manager, unit.as_str());
    let call = async {
        match ask {
            Ask::Start => manager.start_unit(name, REPLACE).await,
            Ask::Stop => manager.stop_unit(name, REPLACE).await,
            Ask::Restart => manager.restart_unit(name, REPLACE).await,
            Ask::Reload => manager.reload_unit(name, REPLACE).await,
        }
    };
    answer(&format!("{} {unit}", ask.verb()), call).await
}

/// A job's result and what the unit says of itself.
pub(super) fn describe(result: Option<&str>, status: Result<UnitStatus, UnitError>) -> String {
    let job = match result {
        Some(result) => format!("the job's result is {result}"),
        None => "the end of its job was not seen, because the bus or systemd was restarted".into(),
    };
    match status {
        Ok(status) if status.load == "not-found" => format!("{job}, and systemd does not know the unit"),
        Ok(status) if status.result.is_empty() => format!("{job}, the unit is {}", status.active),
        Ok(status) => format!("{job}, the unit is {} with result {}", status.active, status.result),
        Err(error) => format!("{job}, and then {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unseen_end_is_judged_by_state_only_where_state_tells() {
        let shows = |ask: Ask, active: &str| ask.is_shown_by(&status(active, "success", "exec"));
        assert!(shows(Ask::Start, "active") && !shows(Ask::Start, "activating") && !shows(Ask::Start, "inactive"));
        assert!(shows(Ask::Stop, "failed") && !shows(Ask::Stop, "deactivating"));
        assert!(!shows(Ask::Restart, "active") && !shows(Ask::Reload, "active"));
        assert!(Ask::Start.is_shown_by(&status("inactive", "success", "oneshot")));
        assert!(!Ask::Start.is_shown_by(&status("failed", "exit-code", "oneshot")));
    }

    fn status(active: &str, result: &str, kind: &str) -> UnitStatus {
        let sub = active.to_owned();
        UnitStatus {
            load: "loaded".into(),
            active: active.into(),
            sub,
            result: result.into(),
            main_pid: 0,
            kind: kind.into(),
        }
    }

    #[test]
    fn a_failed_job_tells_the_units_result_too() {
        let text = describe(Some("failed"), Ok(status("failed", "exit-code", "exec")));
        assert_eq!(text, "the job's result is failed, the unit is failed with result exit-code");
    }
}
