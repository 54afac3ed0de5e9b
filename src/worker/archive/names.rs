//! The names in an archive: brought to one normal form, or refused. Pure.

use super::super::{refusal::Refusal, rooted};

/// An entry's name in normal form, `a/b`; `None`: the archive's own top (`./`).
///
/// What no release may have is refused with the name: absolute, with `..`, a backslash, a drive letter, a NUL.
pub fn normal(raw: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let refuse = |why: &str| Err(Refusal::with(format!("{} {why}", shown(raw)), REMEDY));
    let mut bare = raw;
    while let Some(rest) = bare.strip_prefix(b"./") {
        bare = rest;
    }
    while let Some(rest) = bare.strip_suffix(b"/") {
        bare = rest;
    }
    if raw == b"." || raw == b"./" || (bare.is_empty() && raw.starts_with(b"./")) {
        return Ok(None);
    }
    if raw.starts_with(b"/") {
        return refuse("is an absolute path");
    }
    if raw.contains(&b'\\') {
        return refuse("has a backslash");
    }
    if let [letter, b':', ..] = bare
        && letter.is_ascii_alphabetic()
        && matches!(bare.get(2), None | Some(b'/'))
    {
        return refuse("begins with a drive letter");
    }
    if bare.split(|byte| *byte == b'/').any(|part| part == b"..") {
        return refuse("leaves the archive by \"..\"");
    }
    if rooted::parts_of_bytes(bare).is_err() {
        return refuse("is no name that a release can have (empty, too long, too deep, or not in normal form)");
    }
    Ok(Some(bare.to_vec()))
}

const REMEDY: &str = "make the archive again, with `tar -C DIRECTORY -c .` or `git archive`";

/// A name for a message.
pub fn shown(raw: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(raw).chars().take(200).collect();
    format!("\"{text}\"")
}

/// What of an archive or a directory is not taken, and how far its names are shortened.
#[derive(Debug, Clone, Default)]
pub struct Names<'a> {
    /// Paths relative to the release; what is below them goes with them.
    pub exclude: &'a [String],
    /// The single directory at the top that is left out of every name.
    pub top: Option<Vec<u8>>,
}

impl Names<'_> {
    /// The name in the release of one in the archive; `None`: it is not taken.
    pub fn of<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        let inner = match &self.top {
            None => name,
            Some(top) => name.strip_prefix(&top[..])?.strip_prefix(b"/")?,
        };
        (!self.excluded(inner)).then_some(inner)
    }

    fn excluded(&self, name: &[u8]) -> bool {
        self.exclude.iter().any(|path| below(name, path.as_bytes()))
    }
}

/// Whether a name is a path or lies below it.
pub fn below(name: &[u8], path: &[u8]) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::printable;

    #[test]
    fn names_that_leave_or_deceive_are_refused_by_name() {
        for bad in [
            "/x",
            "//x",
            "../x",
            "a/../../x",
            "a/..",
            "./../x",
            "..",
            "a//b",
            "a/./b",
            "C:/x",
            "c:",
            "a\\b",
            "..\\x",
            "\\\\host\\x",
            "a\0b",
            "",
            ".//etc/passwd",
            &"x".repeat(256),
            &"d/".repeat(200),
        ] {
            let refused = normal(bad.as_bytes()).unwrap_err();
            let begin: String = bad.chars().take(1).collect();
            assert!(refused.reason().starts_with(&format!("\"{}", printable(&begin))), "{bad:?}: {refused}");
        }
        for top in [".", "./", "././"] {
            assert_eq!(normal(top.as_bytes()).unwrap(), None, "{top}");
        }
        for (good, is) in [("./a/b", "a/b"), ("a/b/", "a/b"), ("a/..b", "a/..b"), ("ab:c", "ab:c"), ("x", "x")] {
            assert_eq!(normal(good.as_bytes()).unwrap().unwrap(), is.as_bytes());
        }
    }

    #[test]
    fn what_is_excluded_and_what_only_looks_like_it() {
        let exclude = ["node_modules".to_owned(), ".env".to_owned(), "docs/internal".to_owned()];
        let names = Names { exclude: &exclude, top: Some(b"shop-1".to_vec()) };
        for gone in ["shop-1/node_modules", "shop-1/node_modules/x/y", "shop-1/.env", "shop-1", "other/a"] {
            assert_eq!(names.of(gone.as_bytes()), None, "{gone}");
        }
        for (kept, is) in [("shop-1/.env.example", ".env.example"), ("shop-1/app/.env", "app/.env")] {
            assert_eq!(names.of(kept.as_bytes()), Some(is.as_bytes()));
        }
        assert_eq!(names.of(b"shop-1/docs/internal/x"), None);
        assert_eq!(names.of(b"shop-1/docs/x"), Some(&b"docs/x"[..]));
    }

    #[test]
    fn a_directorys_slashes_are_no_part_of_its_name() {
        for raw in ["a/", "a//", "./a///"] {
            assert_eq!(normal(raw.as_bytes()).unwrap().as_deref(), Some(&b"a"[..]), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_stays_inside(raw in "[ab./\\\\:\u{0}C-]{0,16}") {
            if let Ok(Some(name)) = normal(raw.as_bytes()) {
                prop_assert!(!name.starts_with(b"/") && !name.is_empty());
                let inside = name.split(|b| *b == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..");
                prop_assert!(inside);
            }
        }
    }
}
