//! What names a release and what state it is in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a release id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the release id {0:?} is not valid: ids look like 20260131T120000Z-1a2b3c4d, as `deployctl releases` lists them"
)]
pub struct BadReleaseId(String);

/// A release's id, and its directory's name: `20260131T120000Z-1a2b3c4d`, with `.2` and so on when one second made
/// several of the same revision. For people; the order of releases is their sequence number in the record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(String);

impl ReleaseId {
    /// `stamp` is UTC as `20260131T120000Z`, `short` at most 16 lower-case letters and digits, `nth` from 1.
    pub fn new(stamp: &str, short: &str, nth: u32) -> Result<Self, BadReleaseId> {
        if nth <= 1 { format!("{stamp}-{short}") } else { format!("{stamp}-{short}.{nth}") }.parse()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ReleaseId {
    type Err = BadReleaseId;
    fn from_str(text: &str) -> Result<Self, BadReleaseId> {
        let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
        let good = (|| {
            let (stamp, rest) = text.split_once('-')?;
            let (day, time) = stamp.strip_suffix('Z')?.split_once('T')?;
            let (short, nth) = rest.split_once('.').unwrap_or((rest, "2"));
            let short_ok =
                (1..=16).contains(&short.len()) && short.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            let nth_ok = (1..=4).contains(&nth.len()) && nth.bytes().all(|b| b.is_ascii_digit());
            (digits(day, 8) && digits(time, 6) && short_ok && nth_ok).then_some(())
        })();
        good.map(|()| Self(text.into())).ok_or_else(|| BadReleaseId(text.chars().take(64).collect()))
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for ReleaseId {
    type Error = BadReleaseId;
    fn try_from(text: String) -> Result<Self, BadReleaseId> {
        text.parse()
    }
}
impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> String {
        id.0
    }
}

/// What a recorded release is fit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseState {
    /// Complete, on disk, never live.
    Sealed,
    /// Live or was live, and its bake time has not passed.
    Unconfirmed,
    /// Passed verify and its bake time: rollback may go to it.
    Confirmed,
    /// Was live and was taken back by a failing check.
    Failed,
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "sealed",
            Self::Unconfirmed => "unconfirmed",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
        })
    }
}

/// How files that did not change are shared with the release before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// By reference where the file system can (btrfs, xfs), else by copies.
    #[default]
    Reflink,
    /// By a second link, read-only; what services or steps write is copied.
    Hardlink,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_parsed_strictly() {
        for good in ["20260131T120000Z-1a2b3c4d", "20260131T120000Z-1a2b3c4d.2"] {
            assert_eq!(good.parse::<ReleaseId>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "current",
            "..",
            "20260131T120000Z",
            "20260131T120000Z-",
            "20260131T120000Z-a/b",
            "20260131T120000Z-a.",
            "20260131T120000Z-a..",
            "20260131T120000Z-A",
            "2026-01-31",
        ] {
            assert!(bad.parse::<ReleaseId>().is_err(), "{bad}");
        }
    }
}
