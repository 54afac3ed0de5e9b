//! `[webhook]`: which refs of an app a forge's signed delivery may have deployed. Pure.

use serde::Serialize;

use super::{
    Source,
    context::{Context, quoted, quoted_list},
    errors::{Place, Problem},
    source::check_reference,
    written::{At, Reader},
};
use crate::model::pattern::{TAG, fits};

/// The most patterns.
const MOST: usize = 64;

/// What may be deployed by webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Patterns, checked: `main`, `release/*`, `tag:v*`; at least one.
    pub refs: Vec<String>,
}

impl Webhook {
    /// Whether a ref, in its whole name (`refs/heads/main`), is one of them. `*` stands for anything without a `/`, `**`
    /// for anything.
    pub fn allows(&self, reference: &str) -> bool {
        self.refs.iter().any(|pattern| fits(&whole(pattern), reference))
    }
}

/// A pattern of whole names.
fn whole(pattern: &str) -> String {
    match pattern.strip_prefix(TAG) {
        Some(tag) => format!("refs/tags/{tag}"),
        None if pattern.starts_with("refs/") => pattern.to_owned(),
        None => format!("refs/heads/{pattern}"),
    }
}

/// Reads the table; none: no delivery has anything deployed.
pub(super) fn webhook(cx: &mut Context<'_>, top: &mut Reader<'_>, source: Option<&Source>) -> Option<Webhook> {
    let table = top.table("webhook", &mut cx.problems)?;
    let place = top.key_place("webhook")?;
    let mut reader = Reader::new(table, "[webhook]");
    let written = reader.texts("refs", "[\"main\", \"tag:v*\"]", &mut cx.problems);
    reader.finish(&mut cx.problems);
    let git = match source {
        Some(Source::Git(git)) => Some(git),
        // That there is no source is a problem already.
        None => None,
        Some(_) => {
            let problem = Problem::new("a webhook names a branch or a tag, and the source has none").at(place);
            cx.problems.push(problem.help("remove [webhook], or write git = \"...\" in [source]"));
            return None;
        }
    };
    let refs = match written {
        Some(written) => checked(cx, written, place),
        None => git.map(|git| default(cx, &git.reference, place)).unwrap_or_default(),
    };
    Some(Webhook { refs })
}

fn checked(cx: &mut Context<'_>, written: Vec<At<String>>, place: &Place) -> Vec<String> {
    if written.is_empty() || written.len() > MOST {
        let problem = Problem::new(format!("refs has {} patterns", written.len())).at(place);
        cx.problems.push(problem.help(format!("write 1 to {MOST}: refs = [\"main\", \"tag:v*\"]")));
    }
    let one = |cx: &mut Context<'_>, at: At<String>| {
        let checked = check_reference(&at.value.replace('*', "x")).map_err(|_| {
            Problem::new(format!("{:?} is no pattern of branches or tags", at.value))
                .help("write a branch like \"main\" or \"release/*\", or a tag like \"tag:v*\"")
        });
        cx.take(checked, &at.place).map(|()| at.value)
    };
    written.into_iter().filter_map(|at| one(cx, at)).collect()
}

/// The source's own ref, where it is a name.
fn default(cx: &mut Context<'_>, reference: &str, place: &Place) -> Vec<String> {
    let commit = reference.len() >= 40 && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    if reference == "HEAD" || commit {
        let problem = Problem::new("it is not known which refs a webhook may have deployed").at(place);
        cx.problems.push(problem.help("write refs = [\"main\"]"));
        return Vec::new();
    }
    let refs = vec![reference.to_owned()];
    cx.infer("webhook.refs", quoted_list(&refs), format!("the source's ref is {}", quoted(reference)));
    refs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(refs: &[&str], reference: &str) -> bool {
        Webhook { refs: refs.iter().map(|text| (*text).to_owned()).collect() }.allows(reference)
    }

    #[test]
    fn a_pattern_names_branches_or_tags_and_no_more() {
        for (pattern, reference) in [
            ("main", "refs/heads/main"),
            ("release/*", "refs/heads/release/1.2"),
            ("release/**", "refs/heads/release/1/2"),
            ("*", "refs/heads/main"),
            ("**", "refs/heads/a/b"),
            ("tag:v*", "refs/tags/v1.2"),
            ("tag:*.*", "refs/tags/1.2"),
            ("refs/tags/v1", "refs/tags/v1"),
            ("a*b*c", "refs/heads/axxbxxc"),
        ] {
            assert!(allows(&["other", pattern], reference), "{pattern} {reference}");
        }
        for (pattern, reference) in [
            ("main", "refs/tags/main"),
            ("main", "refs/heads/main2"),
            ("main", "refs/heads/mai"),
            ("main", "main"),
            ("main", "refs/heads/x/main"),
            ("tag:main", "refs/heads/main"),
            ("release/*", "refs/heads/release/1/2"),
            ("release/*", "refs/heads/release"),
            ("*", "refs/heads/a/b"),
            ("**", "refs/tags/v1"),
            ("a*b*c", "refs/heads/axxbxx"),
            ("main", ""),
        ] {
            assert!(!allows(&[pattern], reference), "{pattern} {reference}");
        }
        assert!(!allows(&[], "refs/heads/main"));
        // Many stars take no time.
        assert!(!allows(&[&"*a".repeat(100)], &format!("refs/heads/{}", "a".repeat(99))));
    }
}
