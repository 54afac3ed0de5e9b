//! `alter table`: its actions one by one. Pure.

use super::{
    Danger, Made,
    classify::{Index, dropped_index, index, only_new_columns},
    sql::{Cursor, Token},
};
use crate::model::Driver;

/// The dangers of everything that is done to one table.
pub(super) fn table(mut cursor: Cursor<'_>, driver: Driver, made: &mut Made) -> Vec<Danger> {
    cursor.accept(&["if", "exists"]);
    cursor.accept(&["only"]);
    let Some(name) = cursor.name() else { return vec![Danger::Unknown] };
    if made.tables.contains(&name) {
        let mut rename = cursor;
        if rename.accept(&["rename", "to"])
            && let Some(to) = rename.name()
        {
            made.tables.insert(to);
        }
        return Vec::new();
    }
    cursor.parts().into_iter().filter_map(|action| one(&name, action, driver, made)).collect()
}

fn one(table: &str, mut action: Cursor<'_>, driver: Driver, made: &mut Made) -> Option<Danger> {
    if action.accept(&["add"]) {
        return add(table, action, driver, made);
    }
    if action.accept(&["drop"]) {
        return drop(table, action, made);
    }
    if action.accept(&["rename"]) {
        return rename(table, action, made);
    }
    if action.any(&["change", "modify"]) {
        action.accept(&["column"]);
        let column = action.name()?;
        return (!is_new(table, &column, made)).then_some(Danger::ChangeType);
    }
    if action.accept(&["alter"]) {
        return alter(table, action, made);
    }
    if action.any(&["comment", "auto_increment", "algorithm", "lock", "owner", "validate", "force"]) {
        return None;
    }
    let converts = action.any(&["engine", "convert", "character", "charset", "collate", "default", "row_format"]);
    Some(if converts { Danger::ChangeType } else { Danger::Unknown })
}

fn is_new(table: &str, column: &str, made: &Made) -> bool {
    made.columns.contains(&(table.to_owned(), column.to_owned()))
}

fn add(table: &str, mut rest: Cursor<'_>, driver: Driver, made: &mut Made) -> Option<Danger> {
    if rest.accept(&["constraint"]) {
        // A name may be left out.
        let mut unnamed = rest;
        if !unnamed.any(&["unique", "primary", "foreign", "check", "exclude"]) {
            rest.name();
        }
        return constraint(table, rest, driver, made);
    }
    let slow = rest.any(&["fulltext", "spatial"]);
    if rest.any(&["index", "key"]) || slow {
        return index(table, rest, Index { unique: false, slow, concurrently: false }, driver, made);
    }
    let mut word = rest;
    if word.any(&["unique", "primary", "foreign", "check", "exclude"]) {
        return constraint(table, rest, driver, made);
    }
    if rest.accept(&["partition"]) {
        return Some(Danger::Unknown);
    }
    rest.accept(&["column"]);
    rest.accept(&["if", "not", "exists"]);
    if rest.0.first() == Some(&Token::Sign('(')) {
        let inside = rest.parentheses()?;
        return inside.parts().into_iter().filter_map(|column| add_column(table, column, made)).next();
    }
    add_column(table, rest, made)
}

fn constraint(table: &str, mut rest: Cursor<'_>, driver: Driver, made: &Made) -> Option<Danger> {
    if rest.accept(&["unique"]) {
        return index(table, rest, Index { unique: true, slow: false, concurrently: false }, driver, made);
    }
    // What no old row and no old code has anything in cannot be wrong.
    let harmless = rest.accept(&["foreign", "key"]) && only_new_columns(table, rest, made);
    (!harmless).then_some(Danger::Constraint)
}

fn add_column(table: &str, mut column: Cursor<'_>, made: &mut Made) -> Option<Danger> {
    let Some(name) = column.name() else { return Some(Danger::Unknown) };
    made.columns.insert((table.to_owned(), name));
    let fills_itself = |token: &Token| {
        ["default", "auto_increment", "generated", "identity", "as"].iter().any(|word| token.is(word))
            || matches!(token, Token::Word(word) if word.ends_with("serial"))
    };
    (column.has(&["not", "null"]) && !column.0.iter().any(fills_itself)).then_some(Danger::NotNull)
}

fn drop(table: &str, mut rest: Cursor<'_>, made: &Made) -> Option<Danger> {
    if rest.any(&["index", "key"]) {
        rest.accept(&["if", "exists"]);
        return dropped_index(&rest.name()?);
    }
    if rest.accept(&["foreign", "key"]) || rest.accept(&["check"]) {
        return None;
    }
    if rest.accept(&["constraint"]) {
        rest.accept(&["if", "exists"]);
        let name = rest.name()?;
        let allows = ["_foreign", "_fkey", "_fk", "_check"].iter().any(|end| name.ends_with(end));
        return (!allows).then_some(Danger::DropKey);
    }
    if rest.accept(&["primary", "key"]) {
        return Some(Danger::DropKey);
    }
    if rest.accept(&["partition"]) {
        return Some(Danger::DropRows);
    }
    rest.accept(&["column"]);
    rest.accept(&["if", "exists"]);
    let new = rest.name().is_some_and(|column| is_new(table, &column, made));
    (!new).then_some(Danger::DropColumn)
}

fn rename(table: &str, mut rest: Cursor<'_>, made: &mut Made) -> Option<Danger> {
    if rest.any(&["index", "key", "constraint"]) {
        return None;
    }
    if rest.any(&["to", "as"]) {
        return Some(Danger::RenameTable);
    }
    rest.accept(&["column"]);
    let from = rest.name()?;
    rest.accept(&["to"]);
    let to = rest.name()?;
    if is_new(table, &from, made) {
        made.columns.insert((table.to_owned(), to));
        return None;
    }
    Some(Danger::RenameColumn)
}

/// PostgreSQL's, and MySQL's `alter column` and `alter index`.
fn alter(table: &str, mut rest: Cursor<'_>, made: &Made) -> Option<Danger> {
    if rest.any(&["index", "constraint"]) {
        return None;
    }
    rest.accept(&["column"]);
    let Some(column) = rest.name() else { return Some(Danger::Unknown) };
    if is_new(table, &column, made) {
        return None;
    }
    if rest.accept(&["type"]) || rest.accept(&["set", "data", "type"]) {
        return Some(Danger::ChangeType);
    }
    // Without its default a value must be given.
    if rest.accept(&["set", "not", "null"]) || rest.accept(&["drop", "default"]) {
        return Some(Danger::NotNull);
    }
    let eases = [&["set", "default"][..], &["drop", "not", "null"], &["drop", "identity"], &["drop", "expression"]];
    if eases.iter().any(|words| rest.accept(words)) || rest.accept(&["set", "statistics"]) {
        return None;
    }
    Some(Danger::Unknown)
}
