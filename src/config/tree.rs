//! TOML as written: a tree in which every key and value knows its file and its bytes there, so that what is wrong with
//! a merged value can still be shown where it stands. Pure.
//!
//! It is not deserialized by serde: that would stop at a file's first error and lose the places when files are merged.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::{Place, Problem, Problems, SourceFile};

/// A value and where it is written.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub place: Place,
}

/// A TOML value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Node>),
    Table(Table),
    /// A float or a date, as written, and the word for it: no key takes one, but messages show it.
    Other(String, &'static str),
}

impl Value {
    /// The word for its type.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(_, word) => word,
        }
    }
}

/// A table: each key with where it is written and its value.
pub(super) type Table = BTreeMap<String, (Place, Node)>;

/// Parses one file; syntax errors are added to `problems`, and what could be read is returned all the same.
pub(super) fn parse(index: usize, file: &SourceFile, problems: &mut Problems) -> Table {
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    // A line that does not parse may be one with a secret.
    let secret = file.text.contains("environment");
    for error in errors {
        let place = Place { file: index, span: error.span().unwrap_or(0..0) };
        let problem = Problem::new(format!("not valid TOML: {}", error.message().replace('\n', ", "))).at(&place);
        let problem = problem.help("texts stand in \"quotes\", lists in [brackets]; see deployd.toml(5)");
        problems.push(if secret { problem.secret() } else { problem });
    }
    convert_table(index, table.get_ref())
}

fn convert_table(index: usize, table: &DeTable<'_>) -> Table {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let key: &Spanned<std::borrow::Cow<'_, str>> = key;
        let at = Place { file: index, span: key.span() };
        (key.get_ref().to_string(), (at, convert(index, value)))
    };
    table.iter().map(entry).collect()
}

fn convert(index: usize, value: &Spanned<DeValue<'_>>) -> Node {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other(number.as_str().to_owned(), "a number out of range"),
        },
        DeValue::Float(number) => Value::Other(number.as_str().to_owned(), "a number with a point"),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(date) => Value::Other(date.to_string(), "a date"),
        DeValue::Array(items) => Value::List(items.iter().map(|item| convert(index, item)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(index, table)),
    };
    Node { value: converted, place: Place { file: index, span: value.span() } }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile { path: "/x.toml".into(), text: text.into() }
    }

    #[test]
    fn every_key_and_value_knows_its_bytes() {
        let mut problems = Problems::default();
        let text = "a = \"x\"\n[b]\nc = [1, true]\n";
        let table = parse(0, &file(text), &mut problems);
        assert!(problems.is_empty());
        let (_, b) = &table["b"];
        let Value::Table(b) = &b.value else { panic!("{b:?}") };
        let (key, list) = &b["c"];
        assert_eq!(&text[key.span.clone()], "c");
        let Value::List(items) = &list.value else { panic!("{list:?}") };
        assert_eq!(&text[items[1].place.span.clone()], "true");
    }

    #[test]
    fn all_syntax_errors_are_told_and_none_shows_a_secret() {
        let mut problems = Problems::default();
        let file = file("a = \nb = [1\n[environment]\nDB_PASSWORD = \"hunter2\n");
        let _ = parse(0, &file, &mut problems);
        let error = problems.into_error(std::slice::from_ref(&file));
        assert!(error.rendered.contains("/x.toml:1"), "{}", error.rendered);
        assert!(!error.rendered.contains("hunter2"), "{}", error.rendered);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z\\[\\]{}=\"'.,#\\\\ \n0-9é]{0,80}") {
            let mut problems = Problems::default();
            let file = file(&text);
            let _ = parse(0, &file, &mut problems);
            let _ = problems.into_error(&[file]);
        }
    }
}
