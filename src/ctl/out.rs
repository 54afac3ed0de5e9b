//! The terminal. A reader that goes away (`| head`) ends the command quietly; text from outside is made printable by
//! those who hand it here.

use std::io::{ErrorKind, IsTerminal, Write};

use super::{
    error::CtlError,
    fit::{cut, width},
    screen::Screen,
};
use crate::model::{printable, printable_json};

/// Where to write, and how.
#[derive(Debug)]
pub struct Out {
    json: bool,
    colour: bool,
    /// Columns of the terminal that the data goes to, if it does.
    columns: Option<usize>,
    /// The same of what is said about it.
    told: Option<usize>,
}

/// A terminal's columns where it does not say, and the fewest that are used.
const COLUMNS: usize = 80;

impl Out {
    /// For this process's streams; colour only at a terminal, without `NO_COLOR` and where `TERM` is not `dumb`.
    pub fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let columns = |size: Option<(terminal_size::Width, terminal_size::Height)>| {
            size.map_or(COLUMNS, |(columns, _)| usize::from(columns.0)).max(20)
        };
        Self {
            json,
            colour: !plain && !dumb && out.is_terminal(),
            columns: out.is_terminal().then(|| columns(terminal_size::terminal_size_of(&out))),
            told: (!dumb && err.is_terminal()).then(|| columns(terminal_size::terminal_size_of(&err))),
        }
    }

    /// Columns of the terminal that the data goes to; none: it goes elsewhere, and nothing is cut.
    pub fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// What is told while something goes on: at a terminal that can redraw a line, by such a one.
    pub fn screen(&self) -> Screen<std::io::Stderr> {
        Screen::new(std::io::stderr(), self.told)
    }

    /// A line as the terminal has room for it.
    pub fn fit(&self, line: &str) -> String {
        self.columns.map_or_else(|| line.to_owned(), |columns| cut(line, columns))
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
        self.line(&printable_json(value))
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
    let widest = |at: usize| rows.iter().filter_map(|r| r.get(at)).map(|c| width(c)).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let line = |row: &Vec<String>| {
        let pad = |(cell, wide): (&String, &usize)| format!("{cell}{}", " ".repeat(wide.saturating_sub(width(cell))));
        let cells = row.iter().zip(&widths).map(pad);
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

/// The same to the minute and without the zone, for a column whose head names it.
pub fn minute(seconds: i64) -> String {
    time(seconds).chars().take("2026-01-01 00:00".len()).collect()
}

/// Bytes, for people.
pub fn size(bytes: i64) -> String {
    if bytes < 1024 {
        return format!("{} B", bytes.max(0));
    }
    let mut rest = bytes as f64 / 1024.0;
    for unit in ["KiB", "MiB", "GiB"] {
        if rest < 1024.0 {
            return format!("{rest:.1} {unit}");
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} TiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".to_owned(), "bb".into()], vec!["ccc".into(), "d".into()]];
        assert_eq!(table(&rows), ["a    bb", "ccc  d"]);
        assert_eq!(table(&[vec!["日".to_owned(), "x".into()], vec!["abc".into(), "y".into()]]), ["日   x", "abc  y"]);
        assert_eq!((size(1), size(1536), size(3 << 30)), ("1 B".into(), "1.5 KiB".into(), "3.0 GiB".into()));
        assert_eq!((minute(0).as_str(), minute(1_767_225_600).as_str()), ("-", "2026-01-01 00:00"));
        assert_eq!((time(0).as_str(), time(1_767_225_600).as_str()), ("-", "2026-01-01 00:00:00 UTC"));
    }
}
