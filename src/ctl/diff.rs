//! `deployctl diff`: what differs between two releases, in a few lines or file by file.

use std::collections::HashMap;

use zbus::Variant;

use super::{
    args::Diff,
    bus::{Bus, Properties, flag, number, text, texts},
    error::CtlError,
    lists::object,
    out::Out,
};

/// Commits and files that are shown without `--names`.
const FEW: usize = 8;

/// Compares and tells.
pub async fn run(bus: &Bus, wanted: &Diff, out: &Out) -> Result<u8, CtlError> {
    let named = [("from", &wanted.from), ("to", &wanted.to)].into_iter();
    let options: HashMap<_, _> =
        named.filter_map(|(key, id)| Some((key, Variant::from(id.as_ref()?.as_str())))).collect();
    let found = bus.manager.diff(wanted.app.as_str(), &options).await?;
    if out.is_json() {
        out.json(&object(&found))?;
        return Ok(0);
    }
    let mut lines = lines(&found, wanted.names).into_iter();
    if let Some(first) = lines.next() {
        out.line(&out.bold(&first))?;
    }
    lines.try_for_each(|line| out.line(&out.fit(&line)))?;
    if !wanted.names && texts(&found, "names").len() > FEW {
        out.note(&format!(
            "(`deployctl diff --names {} {} {}` names more)",
            wanted.app,
            text(&found, "from"),
            text(&found, "to")
        ));
    }
    Ok(0)
}

fn lines(found: &Properties, all: bool) -> Vec<String> {
    let few = if all { usize::MAX } else { FEW };
    let mut lines = vec![format!("{} .. {}", text(found, "from"), text(found, "to"))];
    let (from, to) = (text(found, "from_revision"), text(found, "to_revision"));
    let short = |revision: &str| revision.chars().take(12).collect::<String>();
    if from.is_empty() || to.is_empty() {
        lines.push("  it is not known what the one that was adopted was made of".into());
    } else if from == to {
        lines.push(format!("  the same revision, {}", short(&to)));
    } else if flag(found, "git") {
        lines.push(format!("  git {}..{}", short(&from), short(&to)));
    } else {
        lines.push(format!("  revision {} is now {}", short(&from), short(&to)));
    }
    let commits = texts(found, "commits");
    lines.extend(commits.iter().take(few).map(|one| format!("    {one}")));
    if flag(found, "more_commits") || commits.len() > few {
        lines.push("    …".into());
    }
    let [added, removed, changed] = ["added", "removed", "changed"].map(|key| number(found, key));
    if (added, removed, changed) == (0, 0, 0) {
        lines.push("  no file differs".into());
        return lines;
    }
    lines.push(format!("  files: {changed} changed, {added} added, {removed} removed"));
    let names = texts(found, "names");
    lines.extend(names.iter().take(few).map(|name| format!("    {name}")));
    if flag(found, "more_names") || names.len() > few {
        let left = added.saturating_add(removed).saturating_add(changed) - names.len().min(few) as i64;
        lines.push(format!("    … {left} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::OwnedVariant;

    fn found(names: usize, more: bool) -> Properties {
        let own = |value: Variant<'static>| OwnedVariant::try_from(value).unwrap();
        let names: Vec<String> = (0..names).map(|n| format!("M f{n}\u{1b}[2J")).collect();
        [
            ("from", own("R1".into())),
            ("to", own("R2".into())),
            ("from_revision", own("a".repeat(40).into())),
            ("to_revision", own("b".repeat(40).into())),
            ("git", own(true.into())),
            ("changed", own(20u64.into())),
            ("names", own(names.into())),
            ("more_names", own(more.into())),
            ("commits", own(vec!["b1 turn \u{202e}it".to_owned()].into())),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    #[test]
    fn a_few_lines_tell_what_came() {
        let few = lines(&found(12, false), false);
        assert_eq!(few[..3], ["R1 .. R2", "  git aaaaaaaaaaaa..bbbbbbbbbbbb", "    b1 turn \\u{202e}it"]);
        assert_eq!(few[3..5], ["  files: 20 changed, 0 added, 0 removed", "    M f0\\u{1b}[2J"]);
        assert_eq!(few.last().unwrap(), "    … 12 more");
        assert!(few.len() < 24);
        let all = lines(&found(12, true), true);
        assert_eq!((all.len(), all.last().unwrap().as_str()), (4 + 12 + 1, "    … 8 more"));
    }
}
