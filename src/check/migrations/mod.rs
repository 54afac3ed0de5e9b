//! Which pending migrations the live release's code may not survive: statements in, dangers out. Pure.
//!
//! Between the migrations and the end of the cut-over, the old code answers requests on the new schema. So what adds is
//! safe, and what takes away, renames, retypes, demands more or locks for long is not. What is not understood is a
//! danger too: nobody else looks.

mod alter;
mod classify;
mod sql;

use std::collections::BTreeSet;

use crate::model::{Driver, Migration};

/// Of a statement, in a sentence, in characters.
const SHOWN: usize = 160;

/// What a statement may do to code that does not know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// A table, or something else that is asked for by name, is gone.
    DropTable,
    /// A column is gone.
    DropColumn,
    /// Rows are gone.
    DropRows,
    /// A unique or primary key is gone, on which upserts rely.
    DropKey,
    /// A table or view has another name.
    RenameTable,
    /// A column has another name.
    RenameColumn,
    /// A column or a table is made anew with other types.
    ChangeType,
    /// A value must be given that the old code does not give.
    NotNull,
    /// A rule that the old code's rows may break.
    Constraint,
    /// An index that is built while nobody can write.
    LockingIndex,
    /// What follows depends on what the database answers, which nobody asked it.
    Unseen,
    /// Nothing that is known.
    Unknown,
}

impl Danger {
    /// What it does, as a clause after the statement.
    pub fn what(self) -> &'static str {
        match self {
            Self::DropTable => "drops what the live release may use",
            Self::DropColumn => "drops a column that the live release may use",
            Self::DropRows => "removes rows that the live release may use",
            Self::DropKey => "drops a key on which the live release's upserts may rely",
            Self::RenameTable => "renames what the live release knows by its old name",
            Self::RenameColumn => "renames a column that the live release knows by its old name",
            Self::ChangeType => {
                "changes a type under the live release, and may rewrite the table while nobody can write"
            }
            Self::NotNull => "demands a value that the live release does not give",
            Self::Constraint => "sets a rule that the live release's rows may break",
            Self::LockingIndex => "builds an index while nobody can write to the table",
            Self::Unseen => "asks what is in the database, and what follows from the answer cannot be told beforehand",
            Self::Unknown => "is none whose effect is known here",
        }
    }

    /// The way to do the same without a danger.
    pub fn pattern(self) -> &'static str {
        match self {
            Self::DropTable | Self::DropColumn | Self::DropRows => {
                "first deploy a release that does not use it, and drop it with the next"
            }
            Self::DropKey => "first deploy a release that does not rely on it, and drop it with the next",
            Self::RenameTable | Self::RenameColumn => {
                "add the new one, write to both and copy, read the new one, and drop the old one in a later release"
            }
            Self::ChangeType => "add a column of the new type, write to both and copy, and drop the old one later",
            Self::NotNull => "make it nullable or give it a default, fill it, and demand it in a later release",
            Self::Constraint => "first deploy a release that keeps the rule, and set it with the next",
            Self::LockingIndex => {
                "set `public $withinTransaction = false;` and run `create index concurrently` by DB::statement()"
            }
            Self::Unseen => "write the migration so that it does not ask (hasTable, hasColumn)",
            Self::Unknown => "look at it, and split it off if it is not safe",
        }
    }
}

/// A statement that may do harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Harm {
    /// The migration's name.
    pub file: String,
    /// The statement, for people: one line, bounded, without texts in quotes.
    pub statement: String,
    /// How.
    pub danger: Danger,
}

impl std::fmt::Display for Harm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: `{}` {}", self.file, self.statement, self.danger.what())
    }
}

/// What the migrations have made so far: the live code cannot use that yet, so nothing done to it does harm.
#[derive(Debug, Default)]
struct Made {
    tables: BTreeSet<String>,
    columns: BTreeSet<(String, String)>,
}

/// Everything that may do harm, in order.
pub fn harms(pending: &[Migration]) -> Vec<Harm> {
    let mut made = Made::default();
    let mut out = Vec::new();
    for migration in pending {
        let name = crate::model::printable(&migration.name);
        for statement in &migration.statements {
            let escapes = statement.driver == Driver::Mysql;
            for tokens in sql::statements(&statement.sql, escapes) {
                let found = classify::statement(sql::Cursor(&tokens), statement.driver, &mut made);
                out.extend(found.into_iter().map(|danger| Harm {
                    file: name.clone(),
                    statement: sql::shown(&statement.sql, escapes, SHOWN),
                    danger,
                }));
            }
        }
        if let Some(why) = &migration.unknown {
            let statement = crate::model::printable(why).chars().take(SHOWN).collect();
            out.push(Harm { file: name, statement, danger: Danger::Unknown });
        }
    }
    out
}

#[cfg(test)]
mod tests;
