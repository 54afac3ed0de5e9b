//! Which cases a run takes: all, a shard of them, or 60 chosen by the commit's id.

use sha2::{Digest, Sha256};

use super::scenario::Scenario;
use crate::support::command;

/// How many a short run takes.
const SHORT: usize = 60;
/// Every call is killed at; every so many is also failed, with one error in turns, and told to end two calls later.
const FAILED: u64 = 4;
const ERRORS: [&str; 9] = ["EIO", "ENOSPC+", "EINTR", "EROFS+", "EIO+", "EMFILE", "EDQUOT+", "ENOSPC", "ENOMEM"];

/// What was asked for.
pub struct Choice {
    short: bool,
    shard: (usize, usize),
}

/// A scenario, the number of a call in it, and what happens there.
pub type Case<'a> = (&'a Scenario, u64, &'static str);

impl Choice {
    /// By the words of the command line and `SHARD`.
    pub fn of(words: &[String]) -> Self {
        let shard = std::env::var("SHARD").ok();
        let shard = shard.as_deref().map_or((1, 1), |text| {
            let (i, n) = text.split_once('/').expect("SHARD=i/n");
            (i.parse().expect("SHARD=i/n"), n.parse().expect("SHARD=i/n"))
        });
        Self { short: words.iter().any(|word| word == "short"), shard }
    }

    /// The cases, in an order that is the same each time.
    pub fn cases<'a>(&self, counted: &[(&'a Scenario, u64)]) -> Vec<Case<'a>> {
        let all = counted.iter().copied().flat_map(|(scenario, points)| {
            (1..=points).flat_map(move |point| {
                let failed =
                    (point % FAILED == 0).then(|| ERRORS[usize::try_from(point / FAILED).unwrap() % ERRORS.len()]);
                let told = (point % FAILED == 2).then_some("term");
                [Some("kill"), failed, told].into_iter().flatten().map(move |kind| (scenario, point, kind))
            })
        });
        let mut cases: Vec<_> = all.collect();
        if self.short {
            let commit = command::local(&["git", "rev-parse", "HEAD"]).stdout;
            cases.sort_by_cached_key(|(scenario, point, kind)| {
                Sha256::digest(format!("{commit} {} {point} {kind}", scenario.name)).to_vec()
            });
            cases.truncate(SHORT);
            cases.sort_by_key(|(scenario, point, _)| (scenario.name, *point));
        }
        let (i, n) = self.shard;
        cases.into_iter().skip(i - 1).step_by(n).collect()
    }
}
