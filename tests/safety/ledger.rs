//! The ledger: one row a case, keyed by its point and the tree that it ran on.
#![allow(dead_code, reason = "each of the two suites takes a part of it")]

use std::{fs, path::PathBuf, process::ExitCode};

use serde::{Deserialize, Serialize};

use crate::support::{
    command,
    lock::{lock, target_dir},
};

/// One case and what was seen after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// 1 recorded steps, 2 system calls, 3 disk states, 4 random power cuts.
    pub tier: u8,
    /// What was going on.
    pub scenario: String,
    /// Where it was ended.
    pub point: String,
    /// How: `kill`, or the error that a call gave.
    pub kind: String,
    /// The file system below.
    pub fs: String,
    /// systemd's version.
    pub systemd: String,
    /// The release that was live afterwards: `old`, `new`, `none`.
    pub outcome: String,
    /// What was not as promised.
    pub violations: Vec<String>,
    /// A protection was taken out.
    pub negative_control: bool,
    /// Whether that was seen.
    pub caught: Option<bool>,
    /// The tree that it ran on.
    #[serde(default)]
    pub tree: String,
}

impl Row {
    /// A row of which nothing is known yet.
    pub fn new(tier: u8, scenario: &str, point: &str, kind: &str) -> Self {
        Self {
            tier,
            scenario: scenario.into(),
            point: point.into(),
            kind: kind.into(),
            fs: "overlay".into(),
            systemd: String::new(),
            outcome: String::new(),
            violations: Vec::new(),
            negative_control: false,
            caught: None,
            tree: String::new(),
        }
    }
}

/// The rows of this tree.
pub struct Ledger {
    path: PathBuf,
    tree: String,
    rows: Vec<Row>,
}

impl Ledger {
    /// Reads what earlier runs on the same tree have left.
    pub fn open() -> Self {
        let path = target_dir().join("safety/ledger.json");
        let tree = command::local(&["git", "rev-parse", "HEAD^{tree}"]).stdout.trim().to_owned();
        let mut ledger = Self { path, rows: Vec::new(), tree };
        ledger.read();
        ledger
    }

    /// Both suites may be at work.
    fn read(&mut self) {
        let text = fs::read(&self.path).unwrap_or_default();
        let rows: Vec<Row> = serde_json::from_slice(&text).unwrap_or_default();
        self.rows = rows.into_iter().filter(|row| row.tree == self.tree).collect();
    }

    /// Whether a case has its row.
    pub fn has(&self, scenario: &str, point: u64, kind: &str, fs: &str) -> bool {
        let number = |row: &Row| row.point.split(' ').next().and_then(|n| n.parse().ok());
        let same = |row: &&Row| row.scenario == scenario && row.kind == kind && row.fs == fs;
        self.rows.iter().filter(same).any(|row| number(row) == Some(point))
    }

    /// Whether a negative control has its row.
    pub fn has_control(&self, name: &str, fs: &str) -> bool {
        self.rows.iter().any(|row| row.negative_control && row.scenario == name && row.fs == fs)
    }

    /// Writes a row down.
    pub fn add(&mut self, row: Row) {
        self.add_all([row]);
    }

    /// Writes many rows down at once.
    pub fn add_all(&mut self, rows: impl IntoIterator<Item = Row>) {
        let _held = lock(&self.path.with_extension("lock"));
        self.read();
        let key = |row: &Row| (row.scenario.clone(), row.point.clone(), row.kind.clone(), row.fs.clone());
        for row in rows {
            self.rows.retain(|old| key(old) != key(&row));
            self.rows.push(Row { tree: self.tree.clone(), ..row });
        }
        let beside = self.path.with_extension("new");
        fs::write(&beside, serde_json::to_vec_pretty(&self.rows).unwrap()).unwrap();
        fs::rename(&beside, &self.path).unwrap();
    }

    /// Prints the totals; a violation or a control that was not caught is a failure.
    pub fn close(&mut self) -> ExitCode {
        self.read();
        let cases: Vec<_> = self.rows.iter().filter(|row| !row.negative_control).collect();
        let violated = cases.iter().filter(|row| !row.violations.is_empty()).count();
        let missed = self.rows.iter().filter(|row| row.negative_control && row.caught != Some(true)).count();
        let controls = self.rows.len() - cases.len();
        for outcome in ["old", "new", "none"] {
            let count = cases.iter().filter(|row| row.outcome == outcome).count();
            println!("safety: afterwards {outcome} was live: {count}");
        }
        println!("safety: {} of {controls} negative controls caught", controls - missed);
        println!("safety: {} cases, {violated} with a violation, in {}", cases.len(), self.path.display());
        if violated + missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
