//! Why an order could not be carried out, and the remedy: one line each, safe to show.

use std::path::Path;

use super::order::Answer;
use crate::model::printable;

/// The longest reason or remedy, in characters: both become status lines.
const MAX_CHARS: usize = 600;

/// An order that could not be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    reason: String,
    remedy: Option<String>,
}

impl Refusal {
    /// With nothing to advise.
    pub fn new(reason: impl AsRef<str>) -> Self {
        Self { reason: line(reason.as_ref()), remedy: None }
    }

    /// With what to do about it.
    pub fn with(reason: impl AsRef<str>, remedy: impl AsRef<str>) -> Self {
        Self { remedy: Some(line(remedy.as_ref())), ..Self::new(reason) }
    }

    /// A system call that failed: `cannot VERB PATH: why`.
    pub fn io(verb: &str, path: impl AsRef<Path>, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let path = path.as_ref().display();
        let remedy = match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOSPC) => Some("free some space on that file system, or prune releases"),
            Some(rustix::io::Errno::DQUOT) => Some("raise the user's disk quota, or prune releases"),
            Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
                Some("give the app's user access to it; its owner and mode are what `ls -ld` shows")
            }
            Some(rustix::io::Errno::LOOP) => Some("replace the symbolic link in that path by what it points to"),
            Some(rustix::io::Errno::ROFS) => Some("the file system, or the unit's sandbox, is read-only there"),
            _ => None,
        };
        Self { remedy: remedy.map(line), ..Self::new(format!("cannot {verb} {path}: {error}")) }
    }

    /// The reason, for tests and logs.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The same, about something: `THING: why`.
    pub fn of(mut self, thing: &str) -> Self {
        self.reason = line(&format!("{thing}: {}", self.reason));
        self
    }

    /// The same with a remedy, when it has none.
    pub fn or_remedy(mut self, remedy: impl AsRef<str>) -> Self {
        self.remedy.get_or_insert_with(|| line(remedy.as_ref()));
        self
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Answer::Refused { reason: refusal.reason, remedy: refusal.remedy }
    }
}

fn line(text: &str) -> String {
    let text = printable(text);
    if text.chars().count() <= MAX_CHARS { text } else { text.chars().take(MAX_CHARS - 1).chain(['…']).collect() }
}
