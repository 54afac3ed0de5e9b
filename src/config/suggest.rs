//! "did you mean": the known word nearest to one that is not known. Pure.

/// The known word within a third of the given one's length in edits (a swap of neighbours counts one), if any.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (given.chars().count() / 3).clamp(1, 3);
    let scored = known.into_iter().map(|word| (distance(given, word), word));
    scored.filter(|(edits, _)| *edits <= limit).min().map(|(_, word)| word)
}

/// `, did you mean "user"?`, or nothing.
pub(super) fn clause<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(given, known).map(|word| format!(", did you mean {word:?}?")).unwrap_or_default()
}

/// `"a", "b" or "c"`, for help that lists what may be written.
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|w| format!("{w:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}

/// Optimal string alignment distance; both sides are cut at 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_far() {
        let known = ["user", "root", "run_as", "environment"];
        assert_eq!(nearest("usr", known), Some("user"));
        assert_eq!(nearest("rooot", known), Some("root"));
        assert_eq!(nearest("run-as", known), Some("run_as"));
        assert_eq!(nearest("enviroment", known), Some("environment"));
        assert_eq!(nearest("health", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(one_of(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
        assert_eq!(one_of(&["a"]), "\"a\"");
    }
}
