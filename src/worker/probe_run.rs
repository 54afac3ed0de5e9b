//! Runs a command in a release and judges its exit status; nothing that it started outlives it.

use std::{
    collections::BTreeMap,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{order::Answer, refusal::Refusal};
use crate::model::printable;

/// Of what it says, in bytes: the end.
const KEPT: usize = 32 * 1024;
/// Read at once, in bytes.
const READ: usize = 4096;
/// The longest detail, in characters.
const MAX_DETAIL: usize = 300;
/// For what is still in its pipes when it has ended; a daemon that keeps them open is not waited for.
const REST: Duration = Duration::from_millis(200);

/// Carries out [`super::order::Order::ProbeRun`].
pub async fn run(
    command: &[String],
    release: &Path,
    environment: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<Answer, Refusal> {
    let ended = to_its_end(command, release, environment, timeout).await?;
    if ended.status.is_some_and(|status| status.success()) {
        let detail = format!("succeeded in {} ms", ended.took.as_millis());
        return Ok(Answer::Probed { healthy: true, detail });
    }
    Ok(Answer::Probed { healthy: false, detail: ended.complaint().await })
}

/// A command that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// None: it was killed at the limit.
    pub status: Option<ExitStatus>,
    took: Duration,
    out: Tail,
    errors: Tail,
}

impl Ended {
    /// The end of its standard output.
    pub async fn output(&mut self) -> String {
        self.out.text().await
    }

    /// How it failed and the last line of what it said, printable and bounded.
    pub async fn complaint(mut self) -> String {
        let verdict = match self.status.map(|status| (status.code(), status.signal())) {
            None => format!("killed after {} ms", self.took.as_millis()),
            Some((Some(code), _)) => format!("exit status {code}"),
            Some((None, signal)) => format!("killed by signal {}", signal.unwrap_or(0)),
        };
        let said = match last_line(&self.errors.text().await) {
            Some(line) => Some(line),
            None => last_line(&self.out.text().await),
        };
        let detail = said.map_or_else(|| verdict.clone(), |line| format!("{verdict}: {line}"));
        printable(&detail).chars().take(MAX_DETAIL).collect()
    }
}

/// Runs a command in a release, at most for `timeout`; nothing that it started outlives it.
pub(super) async fn to_its_end(
    command: &[String],
    release: &Path,
    environment: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<Ended, Refusal> {
    to_its_end_keeping(command, release, environment, timeout, KEPT).await
}

/// The same, with the last `kept` bytes of what it prints.
pub(super) async fn to_its_end_keeping(
    command: &[String],
    release: &Path,
    environment: &BTreeMap<String, String>,
    timeout: Duration,
    kept: usize,
) -> Result<Ended, Refusal> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Refusal::new("the probe has no command"));
    };
    let started = Instant::now();
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(release)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .envs(std::env::var_os("HOME").map(|home| ("HOME", home)))
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Refusal::with(format!("cannot run {program}: {error}"), "check the program's name and path")
        })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (out, errors) = (Tail::read(child.stdout.take(), kept), Tail::read(child.stderr.take(), KEPT));
    let status = tokio::time::timeout(timeout, child.wait()).await;
    if let Some(group) = group {
        // Also what it left behind; mostly there is nothing any more.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let (status, took) = match status {
        Err(_) => (None, timeout),
        Ok(Err(error)) => return Err(Refusal::new(format!("cannot wait for {program}: {error}"))),
        Ok(Ok(status)) => (Some(status), started.elapsed()),
    };
    Ok(Ended { status, took, out, errors })
}

fn last_line(text: &str) -> Option<String> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
}

/// The end of what a process says, read while it runs.
#[derive(Debug)]
struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Tail {
    fn read(from: Option<impl AsyncRead + Unpin + Send + 'static>, most: usize) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&kept);
        let reader = tokio::spawn(async move {
            let Some(mut from) = from else { return };
            let mut buffer = [0; READ];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(buffer.get(..n).unwrap_or_default());
                let excess = kept.len().saturating_sub(most);
                kept.drain(..excess);
            }
        });
        Self { kept, reader }
    }

    async fn text(&mut self) -> String {
        if !self.reader.is_finished() && tokio::time::timeout(REST, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(script: &str, timeout: Duration) -> (bool, String) {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        let environment = BTreeMap::from([("APP_ENV".to_owned(), "testing".to_owned())]);
        match run(&command, Path::new("/"), &environment, timeout).await.unwrap() {
            Answer::Probed { healthy, detail } => (healthy, detail),
            other => panic!("{other:?}"),
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn verdicts() {
        assert!(sh("test \"$APP_ENV\" = testing && test \"$PWD\" = /", LONG).await.0);
        assert_eq!(
            sh("echo out; echo one >&2; printf 'two\\033[2J\\n' >&2; exit 3", LONG).await,
            (false, "exit status 3: two\\u{1b}[2J".to_owned())
        );
        assert_eq!(sh("echo only out; exit 1", LONG).await, (false, "exit status 1: only out".to_owned()));
        assert_eq!(sh("kill -9 $$", LONG).await, (false, "killed by signal 9".to_owned()));
        assert!(run(&["/nonexistent/x".into()], Path::new("/"), &BTreeMap::new(), LONG).await.is_err());
        assert!(run(&[], Path::new("/"), &BTreeMap::new(), LONG).await.is_err());
    }

    #[tokio::test]
    async fn at_the_timeout_all_that_it_started_is_killed() {
        // The pipe's end comes when the last of them is gone: no pid is guessed at.
        let tree = tempfile::tempdir().unwrap();
        let pipe = tree.path().join("alive");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let reader = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&pipe).unwrap();
        let script = format!("exec 9>{}; (trap '' TERM; sleep 1000) & trap '' TERM; sleep 1000", pipe.display());
        let (healthy, detail) = sh(&script, Duration::from_millis(200)).await;
        assert!(!healthy && detail == "killed after 200 ms", "{detail}");
        reader.readable().await.unwrap();
        assert_eq!(reader.try_read(&mut [0; 8]).unwrap(), 0, "every writer is gone");
    }
}
