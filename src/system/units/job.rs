//! Jobs of PID 1: asked for, and awaited until their end was seen or can be told by the unit's state.

use std::sync::Arc;

use tokio::sync::mpsc;
use zbus::OwnedObjectPath;

use super::{
    UnitError, UnitStatus, Units, has_ended,
    link::{Event, Link, answer},
};
use crate::model::UnitName;

/// A new job takes the place of one that contradicts it, as with `systemctl`.
pub(super) const REPLACE: &str = "replace";

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

    /// Whether a unit in state `active` shows that a job whose end was not seen did its work. A restart and a reload
    /// leave nothing to tell by.
    pub(super) fn is_shown_by(self, active: &str) -> bool {
        match self {
            Self::Start => active == "active",
            Self::Stop => has_ended(active),
            Self::Restart | Self::Reload => false,
        }
    }
}

impl Units {
    /// Subscribed first, then called, then awaited.
    pub(super) async fn job(&self, ask: Ask, unit: &UnitName) -> Result<(), UnitError> {
        let (link, events, job) = loop {
            let link = self.link().await?;
            let events = link.listen();
            match call(&link, ask, unit).await {
                // It may have arrived or not; to ask twice for the same is harmless.
                Err(_) if link.is_lost() => {}
                job => break (link, events, job?),
            }
        };
        let result = self.job_result(link, events, &job).await?;
        if result.as_deref() == Some("done") {
            return Ok(());
        }
        let status = self.status(unit).await;
        if result.is_none() && status.as_ref().is_ok_and(|status| ask.is_shown_by(&status.active)) {
            return Ok(());
        }
        Err(UnitError::Job { unit: unit.clone(), verb: ask.verb(), detail: describe(result.as_deref(), status) })
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
            let exists = match link.job_exists(job).await {
                // The queue tells it next.
                Err(_) if link.is_lost() => continue,
                exists => exists?,
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
        assert!(Ask::Start.is_shown_by("active") && !Ask::Start.is_shown_by("activating"));
        assert!(Ask::Stop.is_shown_by("failed") && !Ask::Stop.is_shown_by("deactivating"));
        assert!(!Ask::Restart.is_shown_by("active") && !Ask::Reload.is_shown_by("active"));
    }

    #[test]
    fn a_failed_job_tells_the_units_result_too() {
        let status = UnitStatus {
            load: "loaded".into(),
            active: "failed".into(),
            sub: "failed".into(),
            result: "exit-code".into(),
            main_pid: 0,
            kind: "exec".into(),
        };
        let text = describe(Some("failed"), Ok(status));
        assert_eq!(text, "the job's result is failed, the unit is failed with result exit-code");
    }
}
