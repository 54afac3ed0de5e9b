//! A git that runs, and what it said when it failed.

use std::{
    io::Read,
    process::{Child, Command},
    thread::JoinHandle,
};

/// What of git's messages is kept, in bytes: the end.
const KEPT: usize = 16 * 1024;

/// A running git whose messages are read.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    messages: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    /// Starts it; its standard error must be a pipe.
    pub fn start(mut command: Command) -> Result<Self, Failed> {
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failed::from("git is not installed".to_owned()),
            _ => Failed::from(format!("cannot start git: {error}")),
        })?;
        let messages = child.stderr.take().map(|stderr| std::thread::spawn(move || last(stderr)));
        Ok(Self { child, messages })
    }

    /// Waits for its end.
    pub fn end(mut self) -> Result<(), Failed> {
        let status = self.child.wait().map_err(|error| Failed::from(error.to_string()))?;
        let messages = self.messages.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let all = String::from_utf8_lossy(&messages).into_owned();
        Err(Failed { said: said(&all, &status.to_string()), all })
    }

    /// Ends it now: what it had to give is not wanted any more.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What git said before it ended with an error.
#[derive(Debug, thiserror::Error)]
#[error("{said}")]
pub struct Failed {
    /// Its last words, in one line.
    pub said: String,
    /// All that was kept.
    pub all: String,
}

impl From<String> for Failed {
    fn from(said: String) -> Self {
        Self { all: said.clone(), said }
    }
}

fn last(mut from: impl Read) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return kept,
            Ok(n) => kept.extend_from_slice(buffer.get(..n).unwrap_or_default()),
        }
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
}

/// The last lines in one, up to git's own verdict: what follows that, and warnings, is advice.
fn said(messages: &str, status: &str) -> String {
    let noise = |line: &&str| {
        !line.trim().is_empty()
            && !line.starts_with("hint:")
            && !line.starts_with("warning:")
            && !line.starts_with("Please make sure you have the correct access rights")
            && !line.starts_with("and the repository exists")
    };
    let lines: Vec<&str> = messages.lines().filter(noise).collect();
    let verdict = lines.iter().rposition(|line| line.starts_with("fatal:") || line.starts_with("error:"));
    let until = verdict.map_or(lines.len(), |at| at + 1);
    let end: Vec<&str> = lines.iter().take(until).rev().take(4).rev().copied().collect();
    if end.is_empty() { format!("git ended with {status}") } else { end.join("; ") }
}
