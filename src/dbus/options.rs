//! Options of a call, `a{sv}`: each read once with its type, the unknown refused by name.

use std::collections::HashMap;

use zbus::OwnedVariant;

use super::{Error, MAX_TEXT};
use crate::model::printable;

/// The D-Bus type `a{sv}`.
pub type Dict = HashMap<String, OwnedVariant>;

/// Options that are being read.
#[derive(Debug)]
pub struct Options {
    given: Dict,
    known: &'static [&'static str],
}

impl Options {
    /// Takes what was given; every key must be one of `known`, each written as `name (signature)`.
    pub fn new(given: Dict, known: &'static [&'static str]) -> Result<Self, Error> {
        let name = |k: &'static str| k.split(' ').next().unwrap_or(k);
        if let Some(key) = given.keys().find(|key| !known.iter().any(|k| name(k) == key.as_str())) {
            let key = printable(&key.chars().take(64).collect::<String>());
            let list = if known.is_empty() { "there are none".into() } else { known.join(", ") };
            return Err(Error::InvalidArgs(format!("unknown option \"{key}\"; known are: {list}")));
        }
        Ok(Self { given, known })
    }

    /// A text (`s`) of at most [`MAX_TEXT`] bytes; an empty one counts as not given.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, Error> {
        let text: Option<String> = self.take(key)?;
        match text {
            Some(text) if text.len() > MAX_TEXT => {
                Err(Error::InvalidArgs(format!("option \"{key}\" is longer than {MAX_TEXT} bytes")))
            }
            text => Ok(text.filter(|t| !t.is_empty())),
        }
    }

    /// A truth value (`b`), false when not given.
    pub fn flag(&mut self, key: &str) -> Result<bool, Error> {
        Ok(self.take(key)?.unwrap_or(false))
    }

    /// A number (`u`).
    pub fn number(&mut self, key: &str) -> Result<Option<u32>, Error> {
        self.take(key)
    }

    fn take<T: TryFrom<OwnedVariant>>(&mut self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.given.remove(key) else { return Ok(None) };
        let signature = value.value_signature().to_string();
        T::try_from(value).map(Some).map_err(|_| {
            let known = self.known.iter().find(|k| k.split(' ').next() == Some(key)).copied().unwrap_or(key);
            Error::InvalidArgs(format!("option \"{key}\" has the type {signature}; it is: {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::Variant;

    fn given(key: &str, value: Variant<'static>) -> Dict {
        HashMap::from([(key.to_owned(), OwnedVariant::try_from(value).unwrap())])
    }

    #[test]
    fn the_unknown_and_the_mistyped_are_named() {
        const KNOWN: &[&str] = &["ref (s)", "force (b)"];
        let unknown = Options::new(given("reff", "x".into()), KNOWN).unwrap_err();
        assert_eq!(unknown.text(), "unknown option \"reff\"; known are: ref (s), force (b)");
        let mut mistyped = Options::new(given("force", "yes".into()), KNOWN).unwrap();
        assert_eq!(mistyped.flag("force").unwrap_err().text(), "option \"force\" has the type s; it is: force (b)");
        let mut long = Options::new(given("ref", "x".repeat(MAX_TEXT + 1).into()), KNOWN).unwrap();
        assert!(long.text("ref").is_err());
        let mut good = Options::new(given("ref", "main".into()), KNOWN).unwrap();
        assert_eq!(good.text("ref").unwrap().as_deref(), Some("main"));
        assert!(!good.flag("force").unwrap());
    }
}
