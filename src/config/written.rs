//! As written: a table read key by key. Every key that is asked for is known; what is left over at the end is not, and
//! is told with the nearest known one. Wrong types are told with what would be right. Pure.

use super::{
    errors::{Place, Problem, Problems},
    suggest,
    tree::{Node, Table, Value},
};

/// A value of the right type and where it is written.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub place: Place,
}

/// Keys of later versions: refused, but not as if they were typing errors.
const LATER: [&str; 1] = ["hold"];

/// A table that is being read.
pub(super) struct Reader<'t> {
    table: &'t Table,
    /// What the table is, for messages: `[source]`; empty for the whole file.
    name: &'static str,
    asked: Vec<&'static str>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(table: &'t Table, name: &'static str) -> Self {
        Self { table, name, asked: Vec::new() }
    }

    /// The node of a key, whatever its type.
    pub(super) fn node(&mut self, key: &'static str) -> Option<&'t Node> {
        self.asked.push(key);
        self.table.get(key).map(|(_, node)| node)
    }

    /// Where a key's name stands.
    pub(super) fn key_place(&self, key: &str) -> Option<&'t Place> {
        self.table.get(key).map(|(place, _)| place)
    }

    /// A text. `like` is an example for the message.
    pub(super) fn text(&mut self, key: &'static str, like: &str, problems: &mut Problems) -> Option<At<String>> {
        let node = self.node(key)?;
        text(node, &format!("{key} = {like:?}"), problems)
    }

    /// A whole number within bounds.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        bounds: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<At<i64>> {
        let node = self.node(key)?;
        match node.value {
            Value::Integer(value) if bounds.contains(&value) => Some(At { value, place: node.place.clone() }),
            Value::Integer(value) => {
                let title = format!("{key} = {value} is out of range");
                let help = format!("write a number from {} to {}", bounds.start(), bounds.end());
                problems.push(Problem::new(title).at(&node.place).help(help));
                None
            }
            _ => wrong_type(node, &format!("write a number: {key} = {}", bounds.start()), problems),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, problems: &mut Problems) -> Option<At<bool>> {
        let node = self.node(key)?;
        match node.value {
            Value::Bool(value) => Some(At { value, place: node.place.clone() }),
            _ => wrong_type(node, &format!("write {key} = true or {key} = false, without quotes"), problems),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &'static str, like: &str, problems: &mut Problems) -> Option<Vec<At<String>>> {
        let node = self.node(key)?;
        match &node.value {
            Value::List(items) => {
                Some(items.iter().filter_map(|i| text(i, &format!("{key} = {like}"), problems)).collect())
            }
            _ => wrong_type(node, &format!("write a list: {key} = {like}"), problems),
        }
    }

    /// A table.
    pub(super) fn table(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'t Table> {
        let node = self.node(key)?;
        as_table(node, &format!("write a table: [{key}]"), problems)
    }

    /// A list of tables.
    pub(super) fn tables(&mut self, key: &'static str, problems: &mut Problems) -> Option<Vec<(&'t Table, &'t Place)>> {
        let node = self.node(key)?;
        let help = format!("write it as a list of tables: [[{key}]]");
        match &node.value {
            Value::List(items) => {
                Some(items.iter().filter_map(|i| as_table(i, &help, problems).map(|t| (t, &i.place))).collect())
            }
            _ => wrong_type(node, &help, problems),
        }
    }

    /// Tells every key that was not asked for.
    pub(super) fn finish(self, problems: &mut Problems) {
        let place = if self.name.is_empty() { String::new() } else { format!(" in {}", self.name) };
        for (key, (at, _)) in self.table.iter().filter(|(key, _)| !self.asked.contains(&key.as_str())) {
            if LATER.contains(&key.as_str()) {
                let title = format!("{key:?}{place} comes in a later version");
                problems.push(Problem::new(title).at(at).help("remove it"));
                continue;
            }
            let known = self.asked.iter().copied();
            let title = format!("unknown key {key:?}{place}{}", suggest::clause(key, known.clone()));
            let help = match suggest::nearest(key, known) {
                Some(near) => format!("write `{near}`"),
                None => {
                    let mut keys: Vec<&str> = Vec::new();
                    self.asked.iter().for_each(|key| {
                        if !keys.contains(key) {
                            keys.push(key)
                        }
                    });
                    format!("the keys here are {}", keys.join(", "))
                }
            };
            problems.push(Problem::new(title).at(at).help(help).secret_if(self.name == "[environment]"));
        }
    }
}

/// A text, or a problem.
pub(super) fn text(node: &Node, like: &str, problems: &mut Problems) -> Option<At<String>> {
    match &node.value {
        Value::Text(value) => Some(At { value: value.clone(), place: node.place.clone() }),
        Value::Other(raw, _) => wrong_type(node, &format!("write it in quotes: \"{raw}\""), problems),
        _ => wrong_type(node, &format!("write a text: {like}"), problems),
    }
}

/// A table, or a problem.
pub(super) fn as_table<'t>(node: &'t Node, help: &str, problems: &mut Problems) -> Option<&'t Table> {
    match &node.value {
        Value::Table(table) => Some(table),
        _ => wrong_type(node, help, problems),
    }
}

/// Says that a value is of the wrong type.
pub(super) fn wrong_type<T>(node: &Node, help: &str, problems: &mut Problems) -> Option<T> {
    problems.push(Problem::new(format!("{} cannot stand here", node.value.word())).at(&node.place).help(help));
    None
}
