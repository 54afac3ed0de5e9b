//! The newest tag of a pattern: by version as git sorts them, not by date, so that an old line's repair is not newer.

use super::{
    git::{Failed, Git},
    git_fetch,
    git_remedy::{explain, listed, some_of},
    refusal::Refusal,
};
use crate::model::pattern::{TAG, fits};

/// What a tag's whole name begins with.
pub const TAGS: &str = "refs/tags/";
/// Git's order of versions: 1.10 after 1.9, and what is not finished (1.10-rc1) before what is.
const ORDER: [&str; 2] = ["-c", "versionsort.suffix=-"];
const SORT: &str = "--sort=-version:refname";
/// How many tags a remedy names.
const NAMED: usize = 5;

/// The whole name of the newest, which is in the mirror then: of a shallow one only that tag.
pub fn newest(git: &Git<'_>, pattern: &str) -> Result<String, Refusal> {
    let named = format!("{TAG}{pattern}");
    let said = match git.depth {
        None => {
            git_fetch::fetch(git, &named)?;
            let format = "--format=%(objectname)\t%(refname)";
            let asked = [&ORDER[..], &["for-each-ref", SORT, format, TAGS]].concat();
            git.run(&asked, b"")
                .map_err(|error| Refusal::new(format!("cannot ask {}: {error}", git.mirror().display())))?
        }
        Some(_) => of_the_server(git).map_err(|Failed { said, .. }| explain(git, &said))?,
    };
    let said = String::from_utf8_lossy(&said);
    let tags: Vec<&str> = listed(&said, TAGS).collect();
    let chosen = choose(&tags, pattern).map(|tag| format!("{TAGS}{tag}")).ok_or_else(|| none(git, &tags, pattern))?;
    if git.depth.is_some() {
        git_fetch::fetch(git, &chosen)?;
    }
    Ok(chosen)
}

fn of_the_server(git: &Git<'_>) -> Result<Vec<u8>, Failed> {
    let asked = ["ls-remote", "--quiet", "--refs", "--tags", SORT, "--end-of-options", git.url];
    git.run(&[&ORDER[..], &asked].concat(), b"")
}

/// The first that fits, of tags from the newest to the oldest.
fn choose<'a>(tags: &[&'a str], pattern: &str) -> Option<&'a str> {
    let unfinished = asks_for_unfinished(pattern);
    tags.iter().copied().find(|tag| fits(pattern, tag) && (unfinished || !is_unfinished(tag)))
}

/// Whether it is a version before a version, `v2.0.0-rc.1`: a number, a hyphen, a letter.
fn is_unfinished(tag: &str) -> bool {
    let sign = |three: &[u8]| three[0].is_ascii_digit() && three[1] == b'-' && three[2].is_ascii_alphabetic();
    tag.as_bytes().windows(3).any(sign)
}

/// Whether a pattern names such versions itself: `v*-rc*`.
fn asks_for_unfinished(pattern: &str) -> bool {
    pattern.as_bytes().windows(2).any(|two| (two[0].is_ascii_digit() || two[0] == b'*') && two[1] == b'-')
}

fn none(git: &Git<'_>, tags: &[&str], pattern: &str) -> Refusal {
    let remedy = match tags {
        [] => "tag a commit and push the tag; there is none".to_owned(),
        _ if tags.iter().any(|tag| fits(pattern, tag)) => {
            format!("tag a finished version, or write \"{TAG}{pattern}-*\" for those that are not")
        }
        _ => format!("write a pattern of its tags: {}", some_of(tags, NAMED)),
    };
    Refusal::with(format!("no tag of {} is \"{pattern}\"", git.url), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_finished_is_taken_only_where_it_is_asked_for() {
        let tags = ["shop-v3", "v2.1.0-rc.1", "v2.0.0", "v1.9.1", "2026-11-21"];
        for (pattern, tag) in [
            ("v*", "v2.0.0"),
            ("v*-rc*", "v2.1.0-rc.1"),
            ("v2.1.0-*", "v2.1.0-rc.1"),
            ("v1.*", "v1.9.1"),
            ("shop-*", "shop-v3"),
            ("20*", "2026-11-21"),
        ] {
            assert_eq!(choose(&tags, pattern), Some(tag), "{pattern}");
        }
        assert_eq!(choose(&tags, "w*"), None);
        assert_eq!(choose(&["v2-rc1"], "v*"), None);
    }
}
