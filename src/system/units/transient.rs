//! Transient services: started, awaited, stopped, forgotten. Makes no unit of any other kind.

use std::sync::Arc;

use tokio::sync::mpsc;
use zbus::OwnedObjectPath;

use super::{
    Hold, Link, NO_SUCH_UNIT, Transient, UnitError, Units,
    answer::{ANSWER, answer, answer_within, call_error, is_named},
    job::{Ask, describe},
    link::Event,
};
use crate::model::UnitName;

/// How a transient unit's main process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, …
    pub result: String,
    /// Exit status or signal number.
    pub status: i32,
}

/// A transient unit that was started.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub unit: UnitName,
}

/// A transient unit whose start is under way.
#[derive(Debug)]
pub struct Begun {
    unit: UnitName,
    link: Arc<Link>,
    events: mpsc::UnboundedReceiver<Event>,
    /// None: it has ended.
    job: Option<OwnedObjectPath>,
}

/// More than are ever held.
const REFERENCES: usize = 1000;
/// `CLD_EXITED` (waitid(2)).
const EXITED: i32 = 1;
/// What PID 1's child exits with when it could not become the program (systemd.exec(5), "Process exit codes"):
/// `EXIT_CHDIR` to the last of them.
const NOT_EXECUTED: std::ops::RangeInclusive<i32> = 200..=245;

impl Units {
    /// Starts a transient service; returns when its process runs (`Type=exec`), or has ended already.
    pub async fn run(&self, spec: Transient) -> Result<Running, UnitError> {
        let begun = self.begin(spec).await?;
        self.begun(begun).await
    }

    /// Has PID 1 begin to start a transient service; [`Units::begun`] tells how that went. Never twice: when PID 1 gave
    /// no answer, the unit itself tells whether it was asked for. Our reference keeps it as long as the connection is
    /// the same; without that, only a service that first waits for what it is told on its standard input has surely not
    /// been there when it is not.
    pub async fn begin(&self, spec: Transient) -> Result<Begun, UnitError> {
        let unit = check(&spec)?;
        let waits = spec.stdio.is_some();
        let properties = spec.into_properties();
        let mut asked: Option<Arc<Link>> = None;
        loop {
            let link = self.link().await?;
            let events = link.listen();
            let begin = async {
                if asked.is_some()
                    && let Some(there) = link.list(unit.as_str()).await?.into_iter().next()
                {
                    return Ok(Some((there.7 != 0).then_some(there.9)));
                }
                if asked.as_ref().is_some_and(|before| !Arc::ptr_eq(before, &link)) && !waits {
                    return Ok(None);
                }
                let call = link.manager.start_transient_unit(unit.as_str(), "fail", &properties, &[]);
                answer(&format!("start {unit}"), call).await.map(|job| Some(Some(job)))
            };
            match begin.await {
                // The unit has the descriptors now: the other ends are to see it when the unit closes them.
                Ok(Some(job)) => return Ok(Begun { unit, link, events, job }),
                Ok(None) => return Err(UnitError::Unseen(unit)),
                Err(error) => self.again(&link, error).await?,
            }
            asked.get_or_insert(link);
        }
    }

    /// Returns when the process of what was begun runs, or has ended already.
    pub async fn begun(&self, begun: Begun) -> Result<Running, UnitError> {
        let Begun { unit, link, events, job } = begun;
        let result = match job {
            Some(job) => self.job_result(link, events, &job).await?,
            None => None,
        };
        if result.as_deref() == Some("done") {
            return Ok(Running { unit });
        }
        let path = &object(&unit)?;
        let status = self.ask(|link| async move { link.status(path).await }).await;
        let read = self.ask(|link| async move { link.main_exit(path).await }).await;
        let (code, exit) = read.unwrap_or_default();
        let alive = result.is_none() && status.as_ref().is_ok_and(|status| Ask::Start.is_shown_by(status));
        if alive || has_run(code, exit) {
            return Ok(Running { unit });
        }
        self.forget(&unit).await;
        Err(UnitError::Job { unit, verb: "start", detail: describe(result.as_deref(), status) + &reason(code, exit) })
    }

    /// Awaits the end of a transient service and all its processes, and lets PID 1 forget it.
    pub async fn wait(&self, running: Running) -> Result<Exit, UnitError> {
        let unit = running.unit;
        loop {
            let (status, link) = self.ended(&unit, Hold::Reference).await?;
            if status.load == "not-found" {
                return Err(UnitError::Unseen(unit));
            }
            match link.main_exit(&object(&unit)?).await {
                Ok((_, exit)) => {
                    self.forget(&unit).await;
                    return Ok(Exit { result: status.result, status: exit });
                }
                Err(error) => self.again(&link, error).await?,
            }
        }
    }

    /// Lets PID 1 forget the unit. That it has already is no error. A reference is taken anew whenever an answer on the
    /// unit did not come.
    async fn forget(&self, unit: &UnitName) {
        let what = &format!("forget {unit}");
        let unref = |link: Arc<Link>| async move { answer(what, link.manager.unref_unit(unit.as_str())).await };
        for _ in 0..REFERENCES {
            if let Err(error) = self.ask(unref).await {
                return tracing::debug!("{error}, ignoring");
            }
        }
    }
}

/// What PID 1 would take for something else: without a user a service is root's.
fn check(spec: &Transient) -> Result<UnitName, UnitError> {
    let refuse = |detail: String| UnitError::Call { what: format!("start {}", spec.name), detail };
    let unit: UnitName = spec.name.parse().map_err(|error: crate::model::BadName| refuse(error.to_string()))?;
    if spec.user.is_empty() {
        return Err(refuse("it has no user; name one".into()));
    }
    if !spec.exec.first().is_some_and(|program| program.starts_with('/')) {
        return Err(refuse("its program has no absolute path; give one".into()));
    }
    Ok(unit)
}

/// The unit's object. On a connection that did not start the unit it takes a reference too, so that the result stays.
pub(super) async fn hold(link: &Link, unit: &UnitName) -> Result<OwnedObjectPath, UnitError> {
    let what = format!("keep {unit}");
    match answer_within(ANSWER, &what, link.manager.ref_unit(unit.as_str())).await? {
        Err(error) if !is_named(&error, NO_SUCH_UNIT) => Err(call_error(&what, &error)),
        _ => object(unit),
    }
}

/// Whether the main process became the program and ended. Such a unit was started, though its job may have failed:
/// PID 1 can see the end of a short command before it sees that it was executed.
fn has_run(code: i32, status: i32) -> bool {
    code != 0 && !(code == EXITED && NOT_EXECUTED.contains(&status))
}

fn reason(code: i32, status: i32) -> String {
    match (code, status) {
        (EXITED, 200) => ": its working directory cannot be entered (200/CHDIR)".into(),
        (EXITED, 203) => ": its program cannot be executed (203/EXEC)".into(),
        (EXITED, 217) => ": its user does not exist (217/USER)".into(),
        (EXITED, 226) => ": its sandbox cannot be set up (226/NAMESPACE)".into(),
        (EXITED, 243) => ": a file that it is to get as a credential cannot be read (243/CREDENTIALS)".into(),
        (EXITED, status) if NOT_EXECUTED.contains(&status) => format!(": it could not be set up ({status})"),
        _ => String::new(),
    }
}

/// The path of a unit's object: what is not a letter or digit is `_` and two hexadecimal digits, and so is a leading
/// digit (`bus_label_escape`, systemd's src/basic/bus-label.c).
fn object(unit: &UnitName) -> Result<OwnedObjectPath, UnitError> {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in unit.as_str().bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && at > 0) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    OwnedObjectPath::try_from(path).map_err(|error| call_error(&format!("name {unit}"), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_paths_are_escaped_as_systemd_does() {
        let path = object(&"1app-fpm@my_shop:a.service".parse().unwrap()).unwrap();
        assert_eq!(path.as_str(), "/org/freedesktop/systemd1/unit/_31app_2dfpm_40my_5fshop_3aa_2eservice");
    }

    #[test]
    fn a_command_that_ended_has_run_but_one_that_could_not_be_executed_has_not() {
        assert!(has_run(1, 0) && has_run(1, 7) && has_run(2, 9));
        assert!(!has_run(0, 0) && !has_run(1, 203) && !has_run(1, 226));
    }

    #[test]
    fn root_is_never_the_default() {
        let spec = Transient { name: "x.service".into(), exec: vec!["/bin/true".into()], ..Transient::default() };
        assert!(check(&spec).unwrap_err().to_string().contains("no user"));
        assert!(check(&Transient { user: "app".into(), ..spec }).is_ok());
    }
}
