//! Names: of apps, of slots, of units. One grammar from which validator, unit instances and the polkit rule follow.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a name was refused; the sentence names the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} is not valid: {rule}")]
pub struct BadName {
    kind: &'static str,
    given: String,
    rule: &'static str,
}

impl BadName {
    /// Of a slot's unit.
    pub(super) fn slot_unit(given: &str) -> Self {
        let rule = "write TEMPLATE@APP:SLOT, like app-octane@shop:a";
        Self { kind: "the slot's unit", given: given.chars().take(64).collect(), rule }
    }
}

/// An app's name: `[a-z][a-z0-9_]*(-[a-z0-9_]+)*`, at most 32 bytes. It is used unescaped (`%i`) in unit names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

impl AppName {
    /// The longest name, in bytes.
    pub const MAX: usize = 32;
    const RULE: &'static str = "write lower-case letters, digits and _ in groups joined by single -, \
                                beginning with a letter, at most 32 bytes, like my-shop; requests and slots are taken";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The slice of everything of the app, `deployd-my\x2dshop.slice`: a plain `-` would nest it below the slice of an
    /// app `my`.
    pub fn slice(&self) -> String {
        format!("deployd-{}.slice", self.escaped())
    }

    /// The slice of the app's steps that yield to everything else, `deploysteps-my\x2dshop.slice`.
    pub fn steps_slice(&self) -> String {
        format!("deploysteps-{}.slice", self.escaped())
    }

    fn escaped(&self) -> String {
        self.0.replace('-', "\\x2d")
    }
}

impl FromStr for AppName {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName { kind: "the app name", given: text.chars().take(64).collect(), rule: Self::RULE };
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        // Directories of deployd's own stand beside those of apps.
        let reserved = matches!(text, "requests" | "slots");
        let starts = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if text.len() <= Self::MAX && starts && !reserved && text.split('-').all(word) {
            Ok(Self(text.into()))
        } else {
            Err(bad())
        }
    }
}

/// A slot: which of a service's instances. `a` to `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    A,
    B,
    C,
    D,
}

impl Slot {
    /// Every slot, in the order in which idle ones are taken.
    pub const ALL: [Slot; 4] = [Slot::A, Slot::B, Slot::C, Slot::D];
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slot::A => "a",
            Slot::B => "b",
            Slot::C => "c",
            Slot::D => "d",
        })
    }
}

impl FromStr for Slot {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        Slot::ALL.into_iter().find(|s| s.to_string() == text).ok_or_else(|| BadName {
            kind: "the slot",
            given: text.chars().take(64).collect(),
            rule: "slots are a, b, c and d",
        })
    }
}

/// An instance of a service's template unit: `APP:SLOT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotInstance {
    /// Whose.
    pub app: AppName,
    /// Which.
    pub slot: Slot,
}

impl fmt::Display for SlotInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.app, self.slot)
    }
}

impl FromStr for SlotInstance {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (app, slot) = text.split_once(':').ok_or_else(|| BadName {
            kind: "the instance",
            given: text.chars().take(64).collect(),
            rule: "write APP:SLOT, like shop:a",
        })?;
        Ok(Self { app: app.parse()?, slot: slot.parse()? })
    }
}

/// A systemd unit's full name, with its suffix: `php8.2-fpm.service`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

impl UnitName {
    const SUFFIXES: [&'static str; 6] = [".service", ".socket", ".target", ".timer", ".path", ".slice"];

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UnitName {
    type Err = BadName;
    /// By systemd's own rule (`unit_name_is_valid`): at most 255 bytes of letters, digits and `:-_.\@`.
    fn from_str(text: &str) -> Result<Self, BadName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b);
        let stem = Self::SUFFIXES.iter().find_map(|s| text.strip_suffix(s));
        let good = text.len() <= 255
            && text.bytes().all(allowed)
            && stem.is_some_and(|s| !s.is_empty() && !s.starts_with(['@', '-', '.']));
        if good {
            Ok(Self(text.into()))
        } else {
            Err(BadName {
                kind: "the unit name",
                given: text.chars().take(64).collect(),
                rule: "write a unit's full name with its suffix, like php8.2-fpm.service",
            })
        }
    }
}

macro_rules! text_newtype {
    ($($name:ident),*) => { $(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> { text.parse() }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String { name.0 }
        }
    )* };
}
text_newtype!(AppName, UnitName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn app_names_follow_the_grammar() {
        for good in ["a", "shop", "my-shop", "a_b-c9", "x--y".trim_end_matches("--y"), &"a".repeat(32)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "a-",
            "-a",
            "a--b",
            "9a",
            "A",
            "a.b",
            "../x",
            "a/b",
            "a\\x2fb",
            "a%b",
            "a b",
            "a\n",
            "é",
            &"a".repeat(33),
        ] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn unit_names_need_a_known_suffix() {
        assert!("php8.2-fpm.service".parse::<UnitName>().is_ok());
        for bad in ["php-fpm", ".service", "@x.service", "-x.service", "a b.service", "a/../b.service", "x.mount"] {
            assert!(bad.parse::<UnitName>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_valid_app_name_is_safe_in_paths_units_and_options(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<AppName>() {
                prop_assert!(!name.as_str().contains(['/', '.', '%', '\\', ':', '@', ' ']));
                prop_assert!(!name.as_str().starts_with('-'));
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
