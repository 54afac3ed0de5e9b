//! One statement: what it does to code that does not know of it. Pure.

use super::{
    Danger, Made, alter,
    sql::{Cursor, Token},
};
use crate::model::Driver;

/// What changes no structure, or only adds.
const HARMLESS: [&str; 18] = [
    "insert",
    "update",
    "set",
    "use",
    "begin",
    "start",
    "commit",
    "rollback",
    "savepoint",
    "release",
    "analyze",
    "comment",
    "grant",
    "show",
    "explain",
    "describe",
    "vacuum",
    "optimize",
];
/// What can be made beside everything that is there.
const MAKES: [&str; 12] = [
    "view",
    "type",
    "extension",
    "schema",
    "sequence",
    "function",
    "procedure",
    "domain",
    "user",
    "role",
    "database",
    "collation",
];
/// What tells of the database's own structure.
const CATALOGS: [&str; 12] = [
    "information_schema",
    "sqlite_master",
    "sqlite_schema",
    "pg_class",
    "pg_namespace",
    "pg_attribute",
    "pg_catalog",
    "pg_tables",
    "pg_type",
    "pg_indexes",
    "pragma_table_info",
    "pragma_table_xinfo",
];

/// The dangers of one statement; none: it is safe.
pub(super) fn statement(mut cursor: Cursor<'_>, driver: Driver, made: &mut Made) -> Vec<Danger> {
    // A comment that MySQL runs.
    while let Some((Token::Sign('!'), rest)) = cursor.0.split_first() {
        cursor = Cursor(rest.split_first().filter(|(first, _)| **first == Token::Value).map_or(rest, |(_, rest)| rest));
    }
    if cursor.accept(&["select"]) {
        return select(cursor);
    }
    if cursor.accept(&["pragma"]) {
        let asks = cursor
            .name()
            .is_some_and(|name| ["table", "index", "foreign_key_list"].iter().any(|p| name.starts_with(p)));
        return if asks { vec![Danger::Unseen] } else { Vec::new() };
    }
    if cursor.any(&HARMLESS) {
        return Vec::new();
    }
    if cursor.accept(&["create"]) {
        return create(cursor, driver, made).into_iter().collect();
    }
    if cursor.accept(&["drop"]) {
        return drop(cursor, made).into_iter().collect();
    }
    if cursor.accept(&["alter", "table"]) {
        return alter::table(cursor, driver, made);
    }
    if cursor.accept(&["delete"]) || cursor.accept(&["truncate"]) || cursor.accept(&["replace"]) {
        let _ = cursor.any(&["from", "into"]) || cursor.accept(&["table"]);
        let of_new = cursor.name().is_some_and(|name| made.tables.contains(&name));
        return if of_new { Vec::new() } else { vec![Danger::DropRows] };
    }
    if cursor.accept(&["rename", "table"]) || cursor.has(&["rename", "to"]) {
        return vec![Danger::RenameTable];
    }
    vec![Danger::Unknown]
}

/// A question. One after the structure is answered with nothing while only pretending.
fn select(cursor: Cursor<'_>) -> Vec<Danger> {
    let catalog = |token: &Token| matches!(token, Token::Word(w) | Token::Name(w) if CATALOGS.contains(&w.as_str()));
    if cursor.0.iter().any(catalog) { vec![Danger::Unseen] } else { Vec::new() }
}

fn create(mut cursor: Cursor<'_>, driver: Driver, made: &mut Made) -> Option<Danger> {
    if cursor.accept(&["or", "replace"]) {
        return Some(Danger::Unknown);
    }
    while cursor.any(&["temporary", "temp", "global", "local", "unlogged", "materialized", "recursive"]) {}
    if cursor.accept(&["table"]) {
        let perhaps = cursor.accept(&["if", "not", "exists"]);
        if let (Some(name), false) = (cursor.name(), perhaps) {
            made.tables.insert(name);
        }
        return None;
    }
    let unique = cursor.accept(&["unique"]);
    let slow = cursor.any(&["fulltext", "spatial"]);
    if cursor.accept(&["index"]) {
        let concurrently = cursor.accept(&["concurrently"]);
        cursor.accept(&["if", "not", "exists"]);
        if !cursor.accept(&["on"]) {
            cursor.name();
            if cursor.accept(&["using"]) {
                cursor.name();
            }
            cursor.accept(&["on"]);
        }
        cursor.accept(&["only"]);
        let table = cursor.name()?;
        return index(&table, cursor, Index { unique, slow, concurrently }, driver, made);
    }
    if cursor.any(&MAKES) { None } else { Some(Danger::Unknown) }
}

/// How an index is made.
pub(super) struct Index {
    /// No two rows may be equal in it.
    pub unique: bool,
    /// One that MySQL builds while nobody can write: for full text, or spatial.
    pub slow: bool,
    /// PostgreSQL's way without a lock.
    pub concurrently: bool,
}

/// An index on a table; its columns are in the cursor's first parentheses.
pub(super) fn index(table: &str, cursor: Cursor<'_>, index: Index, driver: Driver, made: &Made) -> Option<Danger> {
    if made.tables.contains(table) {
        return None;
    }
    if index.unique && !only_new_columns(table, cursor, made) {
        return Some(Danger::Constraint);
    }
    let locks = match driver {
        Driver::Pgsql => !index.concurrently,
        Driver::Mysql => index.slow,
        // The whole file is locked for any write, and such files are small.
        Driver::Sqlite => false,
        Driver::Other => true,
    };
    locks.then_some(Danger::LockingIndex)
}

/// Whether all columns in the next parentheses were made by these migrations: old rows have nothing there.
pub(super) fn only_new_columns(table: &str, cursor: Cursor<'_>, made: &Made) -> bool {
    let Some(inside) = cursor.parentheses() else { return false };
    inside
        .parts()
        .into_iter()
        .all(|mut part| part.name().is_some_and(|column| made.columns.contains(&(table.to_owned(), column))))
}

fn drop(mut cursor: Cursor<'_>, made: &mut Made) -> Option<Danger> {
    if cursor.accept(&["index"]) {
        cursor.accept(&["concurrently"]);
        cursor.accept(&["if", "exists"]);
        return dropped_index(&cursor.name()?);
    }
    let temporary = cursor.any(&["temporary", "temp"]);
    if !cursor.accept(&["table"]) {
        return Some(Danger::DropTable);
    }
    cursor.accept(&["if", "exists"]);
    let names: Vec<String> = cursor.parts().into_iter().filter_map(|mut part| part.name()).collect();
    let gone = |name: &String| !made.tables.contains(name) && !temporary;
    // SQLite has no other way to change a column: a copy takes the table's place.
    let copied = |name: &String| made.tables.contains(&format!("__temp__{name}"));
    match names.iter().find(|name| gone(name)) {
        None if names.is_empty() => Some(Danger::DropTable),
        None => {
            made.tables.retain(|table| !names.contains(table));
            None
        }
        Some(name) if copied(name) => {
            // What follows fills the same table again.
            made.tables.insert(name.clone());
            Some(Danger::ChangeType)
        }
        Some(_) => Some(Danger::DropTable),
    }
}

/// An index is for speed, but a unique one is also what an upsert asks for. Laravel names them so.
pub(super) fn dropped_index(name: &str) -> Option<Danger> {
    (name.contains("unique") || name.contains("primary")).then_some(Danger::DropKey)
}
