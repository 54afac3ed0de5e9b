//! ini files as php, php-fpm and supervisor write them: section, key, value and line. Pure, and tolerant: a line that
//! is none of these is left out.

use std::path::Path;

use serde::Serialize;

use crate::config::Origin;

/// One `key = value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The section it is in; empty before the first.
    pub section: String,
    /// As written: `opcache.preload`, `php_admin_value[open_basedir]`.
    pub key: String,
    /// Without quotes and comment.
    pub value: String,
    /// Where it stands.
    pub at: Origin,
}

/// Takes a file apart.
pub fn parse(file: &Path, text: &str) -> Vec<Entry> {
    let mut section = String::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')).map(|(name, _)| name) {
            section = name.trim().to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let at = Origin { file: file.to_owned(), line: index + 1 };
        found.push(Entry { section: section.clone(), key: key.trim().to_owned(), value: unquoted(value.trim()), at });
    }
    found
}

/// A value as its reader takes it: what is between quotes, or all up to a comment.
fn unquoted(value: &str) -> String {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            value.get(1..).and_then(|rest| rest.split(quote).next()).unwrap_or_default().into()
        }
        _ => value.split(';').next().unwrap_or_default().trim().to_owned(),
    }
}

/// The last word on a key, in no section that is for some hosts or paths only.
pub(super) fn last<'e>(entries: &'e [Entry], key: &str) -> Option<&'e Entry> {
    let everywhere = |entry: &&Entry| !["PATH=", "HOST="].iter().any(|only| entry.section.starts_with(only));
    entries.iter().filter(everywhere).rfind(|entry| entry.key == key)
}

/// `1`, `on`, `yes`, `true`.
pub(super) fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "on" | "yes" | "true")
}

/// The number that a value begins with, as PHP's `atoi` reads `128M` of OPcache's size.
pub(super) fn number(value: &str) -> Option<u64> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value.get(..end)?.parse().ok()
}

/// php-fpm's time span: `30`, `30s`, `2m`, `1h`, `1d`; in seconds.
pub(super) fn seconds(value: &str) -> Option<u64> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match value.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_as_php_reads_them() {
        let text = "a = 1\n; b = 2\n[global]\nprocess_control_timeout = 30s ; graceful\n[PATH=/x]\na = 2\n\
                    [www]\nphp_admin_value[open_basedir] = \"/srv/a:/tmp\"\nnonsense\n";
        let found = parse(Path::new("/x"), text);
        assert_eq!(last(&found, "a").map(|e| (e.value.as_str(), e.at.line)), Some(("1", 1)));
        assert_eq!(last(&found, "process_control_timeout").map(|e| e.value.as_str()), Some("30s"));
        assert_eq!(last(&found, "php_admin_value[open_basedir]").map(|e| e.value.as_str()), Some("/srv/a:/tmp"));
        assert_eq!((number("64M"), number("64"), number("x")), (Some(64), Some(64), None));
        assert_eq!((seconds("0"), seconds("2m"), seconds("x")), (Some(0), Some(120), None));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z\\[\\]=;\"' #\n0-9é]{0,120}") {
            for entry in parse(Path::new("/x"), &text) {
                let _ = (number(&entry.value), seconds(&entry.value), is_on(&entry.value));
            }
        }
    }
}
