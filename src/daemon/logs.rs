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
const FIELDS: &str = "--output-fields=MESSAGE,PRIORITY,MESSAGE_ID,SYSLOG_IDENTIFIER,_PID,_SYSTEMD_UNIT,\
                      DEPLOYD_APP,DEPLOYD_DEPLOYMENT,DEPLOYD_RELEASE,DEPLOYD_ACTOR,DEPLOYD_PHASE,DEPLOYD_STEP,\
                      DEPLOYD_OUTCOME,DEPLOYD_UNIT,DEPLOYD_ACTION";

/// Opens a log: journal entries as JSON, one a line. `held` is dropped when journalctl has ended.
pub fn open(filter: &LogFilter, held: impl Send + 'static) -> Result<OwnedFd, Error> {
    let failed = |e: io::Error| Error::Failed(format!("the log of app {} cannot be opened: {e}", filter.app));
    let (reading, writing) = pipe().map_err(failed)?;
    let child = Command::new("/usr/bin/journalctl")
        .args(arguments(filter))
        .env_clear()
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(writing.try_clone().map_err(failed)?)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    tokio::spawn(async move {
        match until_unread(child, writing).await {
            Ok(status) => tracing::debug!("journalctl ended: {status}"),
            Err(error) => tracing::warn!("journalctl was not awaited: {error}"),
        }
        drop(held);
    });
    Ok(reading)
}

/// A pipe, closed on exec: the reading and the writing end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    io::pipe().map(|(reading, writing)| (reading.into(), writing.into()))
}

fn arguments(filter: &LogFilter) -> Vec<String> {
    let mut arguments: Vec<String> = vec!["--quiet".into(), "--no-pager".into(), "--output=json".into(), FIELDS.into()];
    arguments.push(format!("--lines={}", filter.lines));
    if filter.follow {
        arguments.push("--follow".into());
    }
    arguments.push(format!("DEPLOYD_APP={}", filter.app));
    if let Some(id) = &filter.deployment {
        arguments.push(format!("DEPLOYD_DEPLOYMENT={id}"));
    }
    arguments
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
        let all = arguments(&LogFilter { app, deployment, follow: true, lines: 7 });
        assert_eq!(all[4..], ["--lines=7", "--follow", "DEPLOYD_APP=my-shop", "DEPLOYD_DEPLOYMENT=00000000000000ff"]);
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
