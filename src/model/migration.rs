//! A pending migration and the statements it would run, as the application's framework tells them.

use serde::{Deserialize, Serialize};

/// Which database a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// MySQL or MariaDB.
    Mysql,
    /// PostgreSQL.
    Pgsql,
    /// SQLite.
    Sqlite,
    /// Another one.
    Other,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// For which database.
    pub driver: Driver,
    /// Its text, without the values that are bound to it.
    pub sql: String,
}

/// A migration that has not run yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migration {
    /// Its file's name without the ending: `2026_02_01_000000_add_colour_to_notes`.
    pub name: String,
    /// What it would run, in order.
    pub statements: Vec<Statement>,
    /// Why that is not known, when it is not.
    pub unknown: Option<String>,
}

/// A migration that a deployment has run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationRun {
    /// Its name.
    pub name: String,
    /// The order of the release whose deployment ran it.
    pub seq: u64,
    /// That deployment.
    pub deployment: super::DeploymentId,
    /// When, seconds since 1970, in one order with what was live (see [`super::AppState::moment`]); 0: it was not noted.
    #[serde(default)]
    pub at: i64,
}

/// Migrations that were begun and whose end was not seen yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Migrating {
    /// By which deployment.
    pub deployment: super::DeploymentId,
    /// Their names.
    pub names: Vec<String>,
}
