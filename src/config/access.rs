//! `[access]`: who may do what with an app, beside those whom a rule of polkit lets. Pure: whether a name is somebody's is
//! for those to say who have a host.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

use super::{
    context::Context,
    errors::Problem,
    tree::Table,
    written::{At, Reader},
};

/// The most names in one list.
const MOST: usize = 64;
/// The longest name, in bytes: useradd's and groupadd's limit.
const LONGEST: usize = 32;
/// What stands before a group's name.
const GROUP: char = '%';

/// Something that a caller may be let do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Deploy the configured ref.
    Deploy,
    /// With `Deploy` or `Stage`: another ref than the configured one.
    DeployOtherRef,
    /// Stage a release.
    Stage,
    /// Make a staged release live.
    Activate,
    /// Go back.
    Rollback,
    /// Deploy or stage an archive of one's own.
    Upload,
    /// Cancel a deployment.
    Cancel,
    /// See what a deployment would do, and check the host.
    Plan,
    /// Read the log.
    ReadLogs,
    /// Hold an app or a release, and let it go.
    Hold,
    /// Remove releases that nothing uses.
    Prune,
    /// With one of the above: a new release although nothing is new.
    Force,
    /// With one of the above: migrations that the live release may not survive.
    AllowDestructive,
    /// With one of the above: another `APP_KEY`.
    AllowKeyRotation,
    /// With `Activate`: steps that have run.
    RunAgain,
}

impl Right {
    /// All of them with their keys, in the manual's order.
    pub const ALL: [(Right, &'static str); 15] = [
        (Right::Deploy, "deploy"),
        (Right::DeployOtherRef, "deploy_other_ref"),
        (Right::Stage, "stage"),
        (Right::Activate, "activate"),
        (Right::Rollback, "rollback"),
        (Right::Upload, "upload"),
        (Right::Cancel, "cancel"),
        (Right::Plan, "plan"),
        (Right::ReadLogs, "read_logs"),
        (Right::Hold, "hold"),
        (Right::Prune, "prune"),
        (Right::Force, "force"),
        (Right::AllowDestructive, "allow_destructive"),
        (Right::AllowKeyRotation, "allow_key_rotation"),
        (Right::RunAgain, "run_again"),
    ];
}

/// Whom a list names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A user, by name.
    User(String),
    /// The members of a group, by its name.
    Group(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::User(name) => write!(f, "{name}"),
            Who::Group(name) => write!(f, "{GROUP}{name}"),
        }
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The lists that are written. What has none is nobody's by this table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Access(BTreeMap<Right, Vec<Who>>);

impl Access {
    /// Whom a right is given.
    pub fn of(&self, right: Right) -> &[Who] {
        self.0.get(&right).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everybody who is named, each once.
    pub fn names(&self) -> Vec<&Who> {
        let mut names: Vec<&Who> = self.0.values().flatten().collect();
        names.sort();
        names.dedup();
        names
    }

    /// The lists that are written, with their keys.
    pub fn lists(&self) -> impl Iterator<Item = (&'static str, &[Who])> {
        Right::ALL.into_iter().filter_map(|(right, key)| Some((key, self.0.get(&right)?.as_slice())))
    }
}

#[cfg(test)]
impl FromIterator<(Right, Vec<Who>)> for Access {
    fn from_iter<T: IntoIterator<Item = (Right, Vec<Who>)>>(lists: T) -> Self {
        Self(lists.into_iter().collect())
    }
}

/// Reads the table.
pub(super) fn access(cx: &mut Context<'_>, top: &mut Reader<'_>) -> Access {
    top.table("access", &mut cx.problems).map(|table| lists(cx, table)).unwrap_or_default()
}

fn lists(cx: &mut Context<'_>, table: &Table) -> Access {
    let mut reader = Reader::new(table, "[access]");
    let mut lists = BTreeMap::new();
    for (right, key) in Right::ALL {
        let Some(written) = reader.texts(key, "[\"ci\", \"%web\"]", &mut cx.problems) else { continue };
        if let (true, Some(place)) = (written.len() > MOST, reader.key_place(key)) {
            let problem = Problem::new(format!("{key} names {}", written.len())).at(place);
            cx.problems.push(problem.help(format!("write at most {MOST}, or a group of them: {key} = [\"%web\"]")));
        }
        let who = written.into_iter().filter_map(|at: At<String>| cx.take(who(&at.value), &at.place));
        lists.insert(right, who.collect());
    }
    reader.finish(&mut cx.problems);
    Access(lists)
}

/// A name that useradd or groupadd would take, or an administrator's directory; never a number, which is another's soon.
fn who(text: &str) -> Result<Who, Problem> {
    let (name, kind): (&str, fn(String) -> Who) = match text.strip_prefix(GROUP) {
        Some(name) => (name, Who::Group),
        None => (text, Who::User),
    };
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.@".contains(&b));
    if first && rest && name.len() <= LONGEST {
        return Ok(kind(name.to_owned()));
    }
    let problem = Problem::new(format!("{text:?} is neither a user's name nor a group's"));
    Err(problem.help("write a user like \"ci\" or a group like \"%web\", not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_list() {
        let page = include_str!("../../man/deployd.toml.5");
        let section = page.split(".Sh ACCESS\n").nth(1).unwrap().split(".Sh ").next().unwrap();
        let told = section.lines().filter_map(|line| line.strip_prefix(".It Cm ")).flat_map(|keys| keys.split(" , "));
        let mut told: Vec<_> = told.collect();
        let mut keys = Right::ALL.map(|(_, key)| key);
        told.sort_unstable();
        keys.sort_unstable();
        assert_eq!(told, keys);
    }
}
