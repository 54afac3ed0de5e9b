//! nginx's variables, as far as `set` gives them a value. Pure.

use std::collections::BTreeMap;

use super::Directive;

/// How often a variable may stand for another.
const DEEPEST: usize = 4;
/// A value that has grown longer than so many bytes is expanded no further.
const LONGEST: usize = 4096;

/// Values by name, which begins with `$`.
pub(super) type Variables<'d> = BTreeMap<&'d str, &'d str>;

/// Those that are set at one level; the last one counts.
pub(super) fn set_at(level: &[Directive]) -> impl Iterator<Item = (&str, &str)> {
    level.iter().filter(|directive| directive.name == "set").map(|set| (set.arg(0), set.arg(1)))
}

/// A value with the variables in it replaced; a few times, since one may stand for another.
pub(super) fn expand(value: &str, variables: &Variables<'_>) -> String {
    let mut text = value.to_owned();
    for _ in 0..DEEPEST {
        let before = text.clone();
        // The longest name first: `$app_name` is not `$app` and `_name`.
        for (name, value) in variables.iter().rev() {
            let braced = format!("${{{}}}", name.trim_start_matches('$'));
            text = text.replace(&braced, value).replace(name, value);
        }
        if text == before || text.len() > LONGEST {
            break;
        }
    }
    text
}
