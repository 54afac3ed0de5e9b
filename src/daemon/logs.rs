//! Logs as a descriptor: callers may not read the journal, so `journalctl` runs here, filtered by field, into a pipe.

use std::{
    io,
    os::fd::OwnedFd,
    process::{ExitStatus, Stdio},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, Command},
};

use crate::dbus::{Error, LogFilter};

/// The fields that are given, beside those that journalctl always gives.
const FIELDS: &str = "--output-fields=MESSAGE,PRIORITY,MESSAGE_ID,SYSLOG_IDENTIFIER,_PID,_UID,_SYSTEMD_UNIT,\
                      DEPLOYD_APP,DEPLOYD_DEPLOYMENT,DEPLOYD_RELEASE,DEPLOYD_ACTOR,DEPLOYD_PHASE,DEPLOYD_STEP,\
                      DEPLOYD_OUTCOME,DEPLOYD_UNIT,DEPLOYD_ACTION,DEPLOYD_GAP_MS";

/// When a deployment was: since when, in seconds since 1970, and whether it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// It began.
    pub since: i64,
    /// It has ended, so that its last word has been said, or soon will be.
    pub ended: bool,
}

/// Opens a log: journal entries as JSON, one a line. `held` is dropped when journalctl has ended.
pub fn open(filter: LogFilter, span: Option<Span>, held: impl Send + 'static) -> Result<OwnedFd, Error> {
    let app = filter.app.clone();
    let failed = |e: io::Error| Error::Failed(format!("the log of app {app} cannot be opened: {e}"));
    let (reading, writing) = pipe().map_err(failed)?;
    let out = writing.try_clone().map_err(failed)?;
    tokio::spawn(async move {
        let ended = async {
            let time = Time::of(&filter, span).await;
            let child = journalctl(&arguments(&filter, time, machine_id().as_deref()), out.into())?;
            until_unread(child, writing).await
        };
        match ended.await {
            Ok(status) => tracing::debug!("journalctl ended: {status}"),
            Err(error) => {
                tracing::warn!(DEPLOYD_APP = %filter.app, "the log of app {} ended early: {error}", filter.app)
            }
        }
        drop(held);
    });
    Ok(reading)
}

fn journalctl(arguments: &[String], out: Stdio) -> io::Result<Child> {
    Command::new("/usr/bin/journalctl")
        .args(arguments)
        .env_clear()
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(out)
        .kill_on_drop(true)
        .spawn()
}

/// Of which time services are asked, which name no deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Time {
    since: Option<i64>,
    until: Option<i64>,
}

impl Time {
    /// From a deployment's beginning to the last that was said of it.
    async fn of(filter: &LogFilter, span: Option<Span>) -> Self {
        let Some(span) = span.filter(|_| filter.services && filter.deployment.is_some()) else {
            return Self::default();
        };
        let until = if span.ended && !filter.follow { last(filter).await } else { None };
        Self { since: Some(span.since), until }
    }
}

/// When the last was said of a deployment; none: it cannot be told.
async fn last(filter: &LogFilter) -> Option<i64> {
    let own = LogFilter { services: false, follow: false, lines: Some(1), ..filter.clone() };
    let child = journalctl(&arguments(&own, Time::default(), machine_id().as_deref()), Stdio::piped()).ok()?;
    let output = child.wait_with_output().await.ok()?;
    let entry: serde_json::Value = serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').next()?).ok()?;
    let microseconds: i64 = entry.get("__REALTIME_TIMESTAMP")?.as_str()?.parse().ok()?;
    Some(microseconds / 1_000_000 + 1)
}

/// A pipe, closed on exec: the reading and the writing end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    io::pipe().map(|(reading, writing)| (reading.into(), writing.into()))
}

/// This machine's id: 32 hexadecimal digits.
fn machine_id() -> Option<String> {
    let text = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = text.trim();
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| id.to_owned())
}

fn arguments(filter: &LogFilter, time: Time, machine: Option<&str>) -> Vec<String> {
    // Without --merge, --follow reads the boot id below /proc/sys, which the service's sandbox has not; with it, the
    // machine's own id leaves out what other machines sent here.
    let mut arguments: Vec<String> =
        ["--quiet", "--no-pager", "--output=json", FIELDS, "--merge"].map(str::to_owned).into();
    // Not --lines=all: when nothing is there yet, journalctl 252 takes the first entry that comes for one it has shown.
    arguments.push(filter.lines.map_or("--no-tail".into(), |lines| format!("--lines={lines}")));
    if filter.follow {
        arguments.push("--follow".into());
    }
    arguments.extend(time.since.map(|since| format!("--since=@{since}")));
    arguments.extend(time.until.map(|until| format!("--until=@{until}")));
    let machine = machine.map(|machine| format!("_MACHINE_ID={machine}"));
    // Without one that it has begun nothing is known of when a deployment was.
    let services = filter.services && (filter.deployment.is_none() || time.since.is_some());
    let services = services.then(|| [machine.clone().unwrap_or_default(), slice(filter)]);
    let named: Vec<String> = machine
        .into_iter()
        .chain([format!("DEPLOYD_APP={}", filter.app)])
        .chain(filter.deployment.iter().map(|id| format!("DEPLOYD_DEPLOYMENT={id}")))
        .collect();
    for (at, speaker) in speakers(filter).into_iter().enumerate() {
        if at > 0 {
            arguments.push("+".into());
        }
        arguments.extend(named.iter().cloned().chain([speaker]));
    }
    if let Some(services) = services {
        arguments.push("+".into());
        arguments.extend(services.into_iter().filter(|one| !one.is_empty()));
    }
    arguments
}

/// What runs in the app's own slice: its services, and what deployd does for it.
fn slice(filter: &LogFilter) -> String {
    format!("_SYSTEMD_SLICE={}", filter.app.slice())
}

/// Who may speak of an app, by fields that only journald writes: any local user can send the others. Root, which is
/// the engine and PID 1; the bus service; and for the output of steps and workers, what runs in the app's own slices.
fn speakers(filter: &LogFilter) -> [String; 4] {
    let [own, steps] = [filter.app.slice(), filter.app.steps_slice()].map(|slice| format!("_SYSTEMD_SLICE={slice}"));
    ["_UID=0".into(), "_SYSTEMD_UNIT=deployd.service".into(), own, steps]
}

/// Awaits the child. When nobody reads any more the child would only notice at its next line: it is ended then.
async fn until_unread(mut child: Child, writing: OwnedFd) -> io::Result<ExitStatus> {
    // The kernel tells the writing end of a pipe without readers by POLLERR.
    #[allow(deprecated)] // Deprecated for types that do not keep their descriptor open; an OwnedFd does.
    let pipe = AsyncFd::with_interest(writing, Interest::ERROR)?;
    let unread = async { pipe.ready(Interest::ERROR).await.map(drop) };
    tokio::select! {
        status = child.wait() => return status,
        _ = unread => {}
    }
    child.kill().await?;
    child.wait().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_the_filter_and_nothing_else() {
        let app: crate::model::AppName = "my-shop".parse().unwrap();
        let deployment = Some(crate::model::DeploymentId::from_bits(255));
        let filter = LogFilter { app, deployment, services: false, follow: true, lines: Some(7) };
        let none = Time::default();
        let all = arguments(&filter, none, Some("0a"));
        assert_eq!(all[5..7], ["--lines=7", "--follow"]);
        let named = ["_MACHINE_ID=0a", "DEPLOYD_APP=my-shop", "DEPLOYD_DEPLOYMENT=00000000000000ff"];
        // Journald's own fields, those with the underscore, say who may have written the others.
        let slices = ["_SYSTEMD_SLICE=deployd-my\\x2dshop.slice", "_SYSTEMD_SLICE=deploysteps-my\\x2dshop.slice"];
        let speakers = ["_UID=0", "_SYSTEMD_UNIT=deployd.service", slices[0], slices[1]];
        for (group, speaker) in all[7..].split(|word| word == "+").zip(speakers) {
            assert_eq!(group, [&named[..], &[speaker]].concat());
        }
        assert_eq!(all[7..].split(|word| word == "+").count(), 4);
        assert_eq!(arguments(&LogFilter { lines: None, ..filter.clone() }, none, None)[5], "--no-tail");
        let services = LogFilter { services: true, ..filter };
        assert_eq!(arguments(&services, none, Some("0a")), all, "nobody knows when it was");
        let time = Time { since: Some(5), until: Some(9) };
        let merged = arguments(&services, time, Some("0a"));
        assert_eq!(merged[7..9], ["--since=@5", "--until=@9"]);
        assert_eq!(merged[merged.len() - 3..], ["+", "_MACHINE_ID=0a", slices[0]]);
    }

    #[tokio::test]
    async fn a_child_that_says_nothing_is_ended_when_its_reader_goes() {
        let (reading, writing) = pipe().unwrap();
        let child = Command::new("sleep").arg("1000").stdout(writing.try_clone().unwrap()).spawn().unwrap();
        let waiting = tokio::spawn(until_unread(child, writing));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(reading);
        let status = tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.unwrap().unwrap().unwrap();
        assert!(!status.success());
    }
}
