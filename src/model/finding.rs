//! What a check of the host found: a value for the engine that makes it, the bus that carries it and the terminal.

use serde::{Deserialize, Serialize};

/// One thing that would break the promise, or is worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Stable, for people and scripts: `nginx-document-root`.
    pub id: String,
    /// How bad.
    pub severity: Severity,
    /// What it belongs to: `nginx`, `php-fpm`, `units`, `octane`, `php`, `disk`, `tree`, `foreign`.
    pub group: String,
    /// What it is about: a directive, a unit, a process.
    pub thing: String,
    /// Where: `FILE:LINE`, or a unit; empty when there is no one place.
    pub place: String,
    /// What happens because of it, in one line.
    pub happens: String,
    /// What to write or do, in one line.
    pub remedy: String,
}

/// How bad a finding is. The worst is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A deployment loses requests, jobs or sessions, or goes live only in part.
    Breaks,
    /// It may, or it goes wrong for something beside the deployment.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Breaks => "breaks",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

impl Finding {
    /// In one line: the place, what happens, and the remedy.
    pub fn sentence(&self) -> String {
        let place = if self.place.is_empty() { String::new() } else { format!("{}: ", self.place) };
        format!("{place}{}: {}; {} [{}]", self.thing, self.happens, self.remedy, self.id)
    }
}
