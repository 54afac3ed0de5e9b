//! The terminal. A reader that goes away (`| head`) ends the command quietly; text from outside is made printable by
//! those who hand it here.

use std::io::{ErrorKind, IsTerminal, Write};

use super::error::CtlError;
use crate::model::printable;

/// Where to write, and how.
#[derive(Debug)]
pub struct Out {
    json: bool,
    colour: bool,
}

impl Out {
    /// For this process's streams; colour only at a terminal and without `NO_COLOR`.
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { json, colour: !plain && std::io::stdout().is_terminal() }
    }

    /// JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line of data.
    pub fn line(&self, text: &str) -> Result<(), CtlError> {
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Bytes as they are.
    pub fn raw(&self, bytes: &[u8]) -> Result<(), CtlError> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => CtlError::Unread,
            _ => CtlError::Local(format!("cannot write the output: {error}")),
        })
    }

    /// A value as JSON.
    pub fn json(&self, value: &serde_json::Value) -> Result<(), CtlError> {
        self.line(&format!("{value:#}"))
    }

    /// Emphasised, at a terminal.
    pub fn bold(&self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// Something said about the output; lost when nobody reads it.
    pub fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// An error, its hint after a blank line; returns the exit status.
    pub fn complain(&self, error: &CtlError) -> u8 {
        if !matches!(error, CtlError::Unread) {
            let text = error.to_string();
            let lines: Vec<String> = text.lines().map(printable).collect();
            self.note(&format!("deployctl: {}", lines.join("\n")));
            if let Some(hint) = error.hint() {
                self.note(&format!("\n{hint}"));
            }
        }
        error.status()
    }
}

/// Rows as aligned columns, the last one ragged.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| c.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Seconds since 1970 as UTC; `-` for 0.
pub fn time(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(stamp) if seconds != 0 => {
            stamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
        }
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), ["a    bb", "ccc  d"]);
        assert_eq!((time(0).as_str(), time(1_767_225_600).as_str()), ("-", "2026-01-01 00:00:00 UTC"));
    }
}
