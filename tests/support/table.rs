//! Results: rows for `target/bench/results.json`, and a table for people.

use std::fs;

use serde::Serialize;
use serde_json::Value;

use super::{load::Report, lock::target_dir};

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was done: `switch-php-fpm`, `deploy-2000-files`, `rollback`.
    pub work: String,
    /// By whom: `deployd`, `script`, `script-timeout-30s`.
    pub who: String,
    /// What was measured.
    pub metric: String,
    /// How much.
    pub value: f64,
    /// Of what: `count`, `ms` or `MB`.
    pub unit: &'static str,
}

/// One figure, as it is written.
pub fn figure(work: &str, who: &str, metric: &str, value: f64, unit: &'static str) -> Figure {
    let value = (value * 1000.0).round() / 1000.0;
    Figure { work: work.into(), who: who.into(), metric: metric.into(), value, unit }
}

/// The figures of one row of the switch table.
pub fn figures(work: &str, who: &str, report: &Report) -> Vec<Figure> {
    let counts = [
        ("requests", report.requests),
        ("failed", report.failed),
        ("mixed", report.mixed),
        ("sessions_lost", report.sessions_lost),
    ];
    let times = [("p50_ms", report.p50_ms), ("p99_ms", report.p99_ms), ("worst_ms", report.worst_ms)];
    let counts = counts.map(|(metric, value)| figure(work, who, metric, value as f64, "count"));
    let times = times.map(|(metric, value)| figure(work, who, metric, value, "ms"));
    counts.into_iter().chain(times).collect()
}

/// Writes all figures to `target/bench/results.json`, where people and later runs find them. What was measured of other
/// works stays: a run may be of some of them.
pub fn save(figures: &[Figure]) {
    let dir = target_dir().join("bench");
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let path = dir.join("results.json");
    let before = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Vec<Value>>(&bytes).ok());
    let other = |row: &Value| figures.iter().all(|figure| row["work"] != figure.work.as_str());
    let rows: Vec<Value> = before.unwrap_or_default().into_iter().filter(other).collect();
    let now = figures.iter().map(|figure| serde_json::to_value(figure).expect("plain values"));
    let text = serde_json::to_string_pretty(&rows.into_iter().chain(now).collect::<Vec<_>>()).expect("plain values");
    fs::write(&path, text + "\n").unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    println!("written to {}", path.display());
}

/// The row of the switch table for people.
pub fn row(who: &str, report: &Report) -> Vec<String> {
    let ms = |value: f64| format!("{value:.0} ms");
    let counts = [report.requests, report.failed].map(|count| count.to_string());
    let times = [ms(report.p50_ms), ms(report.p99_ms), ms(report.worst_ms)];
    let last = [report.mixed, report.sessions_lost].map(|count| count.to_string());
    [who.to_owned()].into_iter().chain(counts).chain(times).chain(last).collect()
}

/// The head of the switch table.
pub const HEAD: [&str; 8] = ["who", "requests", "failed", "p50", "p99", "worst wait", "mixed", "sessions lost"];

/// A table with aligned columns, the first to the left.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in all {
        for (column, cell) in row.iter().enumerate() {
            let width = widths.get(column).copied().unwrap_or(0);
            text += &if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
        }
        text.push('\n');
    }
    text
}
