//! The commits between two revisions, from the app's mirror. Their subjects are a repository's word: bounded, printable.

use super::{git::Git, git_names, order::Answer, order::Commit, refusal::Refusal};
use crate::model::printable;

/// Commits that are told.
const MOST: usize = 30;
/// The longest subject, in characters.
const MAX_SUBJECT: usize = 120;

/// Carries out [`super::order::Order::Commits`].
pub fn run(git: &Git<'_>, from: &str, to: &str) -> Result<Answer, Refusal> {
    if !git_names::full_id(from) || !git_names::full_id(to) {
        return Err(Refusal::new("the commits between are not known: these are no commits"));
    }
    let (most, range) = ((MOST + 1).to_string(), format!("{from}..{to}"));
    let arguments = ["log", "--no-color", "--format=%h%x09%s", "-n", &most, "--end-of-options", &range, "--"];
    let out = git.run(&arguments, b"").map_err(|_| Refusal::new("the commits between are not in the mirror"))?;
    let text = String::from_utf8_lossy(&out);
    let mut commits: Vec<Commit> = text.lines().filter_map(commit).collect();
    let more = commits.len() > MOST;
    commits.truncate(MOST);
    Ok(Answer::Commits { commits, more })
}

fn commit(line: &str) -> Option<Commit> {
    let (id, subject) = line.split_once('\t')?;
    let hex = id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| Commit { id: id.into(), subject: printable(subject).chars().take(MAX_SUBJECT).collect() })
}
