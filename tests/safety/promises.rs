//! The table of promises and of the cases that try to break them, `promises.toml`: who runs each, and what is not run.

use std::collections::BTreeMap;

use serde::Deserialize;

const TABLE: &str = include_str!("promises.toml");
/// The catalogue: how many rows each group of cases has, numbered from 01.
const GROUPS: [(&str, usize); 13] = [
    ("KC", 14),
    ("PW", 13),
    ("FD", 11),
    ("LC", 18),
    ("HK", 18),
    ("PA", 12),
    ("GI", 12),
    ("AR", 9),
    ("DB", 14),
    ("WH", 13),
    ("CF", 8),
    ("RL", 12),
    ("PR", 8),
];
const PROMISES: usize = 20;

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    promise: BTreeMap<String, Promise>,
    row: BTreeMap<String, Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promise {
    what: String,
    /// The rows that try to break it: one, or a whole group.
    #[serde(default)]
    rows: Vec<String>,
    #[serde(default)]
    tests: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    what: String,
    #[serde(default)]
    tests: Vec<String>,
    /// What of it nobody has tried yet.
    open: Option<String>,
    /// Why it cannot be tried here; beside tests: the rest of it.
    none: Option<String>,
    /// What of it is left to the long run, `make check-safety`.
    long: Option<String>,
}

impl Table {
    /// As it is kept.
    pub fn read() -> Self {
        toml::from_str(TABLE).unwrap_or_else(|e| panic!("promises.toml: {e}"))
    }

    /// How many rows are tried, in part, not yet, and cannot be here.
    pub fn counts(&self) -> String {
        let count = |wanted: fn(&Row) -> bool| self.row.values().filter(|row| wanted(row)).count();
        format!(
            "{} cases of {} promises: {} tried, {} of them in part by the long run and {} as far as can be here; \
             {} in part, {} not yet, {} cannot be tried here",
            self.row.len(),
            self.promise.len(),
            count(|row| !row.tests.is_empty() && row.open.is_none()),
            count(|row| row.open.is_none() && row.long.is_some()),
            count(|row| !row.tests.is_empty() && row.none.is_some()),
            count(|row| !row.tests.is_empty() && row.open.is_some()),
            count(|row| row.tests.is_empty() && row.open.is_some()),
            count(|row| row.tests.is_empty() && row.none.is_some()),
        )
    }

    /// Every test that is named, with who names it.
    pub fn tests(&self) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.row.iter().map(|(id, row)| (id, &row.tests));
        let promises = self.promise.iter().map(|(id, promise)| (id, &promise.tests));
        rows.chain(promises).flat_map(|(id, tests)| tests.iter().map(move |test| (id.as_str(), test.as_str())))
    }

    /// What is wrong with the table itself. Names cannot stand in it twice: it is TOML.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let rows = GROUPS.iter().flat_map(|(group, n)| (1..=*n).map(move |i| format!("{group}-{i:02}")));
        differences(rows.collect(), self.row.keys(), &mut wrong);
        differences((1..=PROMISES).map(|i| format!("P{i}")).collect(), self.promise.keys(), &mut wrong);
        for (id, row) in &self.row {
            let texts = [&row.open, &row.none, &row.long];
            let said = texts.into_iter().flatten().all(|text| text.len() > 8) && !row.what.is_empty();
            let ways = (!row.tests.is_empty(), row.open.is_some(), row.none.is_some());
            let one =
                matches!(ways, (true, true, false) | (true, false, _) | (false, true, false) | (false, false, true));
            if !said || !one || row.long.is_some() && row.tests.is_empty() {
                wrong.push(format!("{id} has neither tests nor one reason: {row:?}"));
            }
        }
        for (id, promise) in &self.promise {
            let known =
                |named: &String| self.row.keys().any(|row| row == named || row.starts_with(&format!("{named}-")));
            wrong.extend(promise.rows.iter().filter(|row| !known(row)).map(|row| format!("{id} names the row {row}")));
            if promise.what.is_empty() || promise.rows.is_empty() && promise.tests.is_empty() {
                wrong.push(format!("{id} has no rows"));
            }
        }
        wrong
    }
}

fn differences<'a>(wanted: Vec<String>, there: impl Iterator<Item = &'a String>, wrong: &mut Vec<String>) {
    let there: Vec<&String> = there.collect();
    wrong.extend(wanted.iter().filter(|id| !there.contains(id)).map(|id| format!("{id} is missing")));
    wrong.extend(there.iter().filter(|id| !wanted.contains(id)).map(|id| format!("{id} is not of the catalogue")));
}
