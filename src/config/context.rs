//! What resolving has at hand: the host's facts, the problems and what was inferred so far, and readers of values that
//! several parts share. Pure.

use std::{collections::BTreeMap, time::Duration};

use super::{
    HostFacts, Inferred, check, duration,
    errors::{Place, Problem, Problems},
    suggest,
    tree::Value,
    written::{At, Reader, wrong_type},
};

/// What resolving needs at hand, and what it gathers.
pub(super) struct Context<'a> {
    pub host: &'a HostFacts,
    pub problems: Problems,
    pub inferred: Vec<Inferred>,
}

impl Context<'_> {
    /// Notes something that was not written.
    pub(super) fn infer(&mut self, key: impl Into<String>, value: impl Into<String>, why: impl Into<String>) {
        self.inferred.push(Inferred { key: key.into(), value: value.into(), why: why.into() });
    }

    /// The value, or its problem noted at its place.
    pub(super) fn take<T>(&mut self, result: Result<T, Problem>, place: &Place) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem.at(place))).ok()
    }

    /// A time span within bounds. A bare number is seconds.
    pub(super) fn span(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let node = reader.node(key)?;
        let parsed = match &node.value {
            Value::Text(text) => duration::parse(text),
            Value::Integer(seconds) => u64::try_from(*seconds)
                .map(Duration::from_secs)
                .map_err(|_| "a time span cannot be negative".to_owned()),
            _ => return wrong_type(node, &format!("write a time span: {key} = \"30s\""), &mut self.problems),
        };
        let bounds = format!(
            "write {key} = \"30s\" or the like, from {} to {}",
            duration::format(least),
            duration::format(most)
        );
        let checked = match parsed {
            Ok(span) if span >= least && span <= most => Ok(span),
            Ok(span) => Err(Problem::new(format!("{key} = {} is out of range", duration::format(span))).help(bounds)),
            Err(why) => Err(Problem::new(why).help(bounds)),
        };
        self.take(checked, &node.place)
    }

    /// One of several words.
    pub(super) fn word(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let first = words.first().copied().unwrap_or_default();
        let found = reader.text(key, first, &mut self.problems)?;
        let known = words.iter().find(|w| **w == found.value).copied();
        if known.is_none() {
            let near = suggest::clause(&found.value, words.iter().copied());
            let problem = Problem::new(format!("{key} = {:?} is not known{near}", found.value));
            self.problems.push(problem.at(&found.place).help(format!("write {key} = {}", suggest::one_of(words))));
        }
        known
    }

    /// A list of paths inside a release.
    pub(super) fn relatives(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<String>> {
        let written = reader.texts(key, "[\"public\"]", &mut self.problems)?;
        let checked = written.iter().filter_map(|at| self.take(check::relative(&at.value), &at.place));
        Some(checked.collect())
    }

    /// A table of environment variables. Problems never show a value.
    pub(super) fn environment(&mut self, reader: &mut Reader<'_>) -> BTreeMap<String, At<String>> {
        let Some(table) = reader.table("environment", &mut self.problems) else { return BTreeMap::new() };
        let mut out = BTreeMap::new();
        for (name, (key_place, node)) in table {
            let value = match &node.value {
                Value::Text(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Bool(yes) => yes.to_string(),
                other => {
                    let problem = Problem::new(format!("the value of {name} is {}", other.word()));
                    self.problems.push(problem.at(&node.place).help(format!("write {name} = \"...\"")).secret());
                    continue;
                }
            };
            match check::variable(name, &value) {
                Ok(()) => drop(out.insert(name.clone(), At { value, place: node.place.clone() })),
                Err(problem) => self.problems.push(problem.at(key_place).secret()),
            }
        }
        out
    }
}

/// A text as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A list of texts as TOML writes it.
pub(super) fn quoted_list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|t| quoted(t)).collect::<Vec<_>>().join(", "))
}
