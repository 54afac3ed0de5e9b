//! Findings as they are gathered: each once, every text printable and bounded.

use std::collections::BTreeMap;

use crate::model::{Finding, Severity, printable};

/// The most findings of one id: a list of a hundred processes helps nobody.
const MOST: usize = 12;
/// The longest text, in characters.
const LONGEST: usize = 300;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    all: Vec<Finding>,
    /// How many of an id were left out.
    left: BTreeMap<&'static str, usize>,
}

/// What a finding says.
pub(super) struct Words {
    pub thing: String,
    pub place: String,
    pub happens: String,
    pub remedy: String,
}

impl Found {
    /// Adds one, unless it is there already or its kind is there often enough.
    pub(super) fn add(&mut self, group: &'static str, id: &'static str, severity: Severity, words: Words) {
        let text = |text: String| printable(&text).chars().take(LONGEST).collect::<String>();
        let finding = Finding {
            id: id.to_owned(),
            severity,
            group: group.to_owned(),
            thing: text(words.thing),
            place: text(words.place),
            happens: text(words.happens),
            remedy: text(words.remedy),
        };
        if self.all.contains(&finding) {
            return;
        }
        match self.all.iter().filter(|other| other.id == id).count() {
            MOST.. => *self.left.entry(id).or_default() += 1,
            _ => self.all.push(finding),
        }
    }

    /// The worst first, groups together.
    pub(super) fn sorted(mut self) -> Vec<Finding> {
        for (id, left) in &self.left {
            if let Some(last) = self.all.iter_mut().rfind(|finding| finding.id == *id) {
                last.thing = format!("{} (and {left} more)", last.thing);
            }
        }
        let order: Vec<String> = self.all.iter().map(|finding| finding.group.clone()).collect();
        let group = |finding: &Finding| order.iter().position(|group| *group == finding.group);
        self.all.sort_by_key(|finding| (finding.severity, group(finding)));
        self.all
    }
}
