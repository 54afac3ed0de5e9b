//! Asks a release for its pending migrations and what they would run, by a probe that runs in it. What the probe prints
//! is the app's word: bounded and strictly typed.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{order::Answer, probe_run::to_its_end_keeping, refusal::Refusal};
use crate::model::{Migration, printable};

/// Of what the probe prints, in bytes: it bounds itself to less.
const KEPT: usize = 600 * 1024;
/// The longest of its sentences, in characters.
const MAX_WHY: usize = 300;

/// What the probe prints as its last line.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    complete: bool,
    unknown: Option<String>,
    pending: Vec<Migration>,
}

/// Carries out [`super::order::Order::Migrations`].
pub async fn run(
    command: &[String],
    release: &Path,
    environment: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<Answer, Refusal> {
    let mut ended = to_its_end_keeping(command, release, environment, timeout, KEPT).await?;
    if !ended.status.is_some_and(|status| status.success()) {
        return Ok(unknown(&ended.complaint().await));
    }
    Ok(answer(&ended.output().await))
}

fn unknown(why: &str) -> Answer {
    Answer::Migrations { pending: Vec::new(), unknown: Some(bounded(why)) }
}

fn answer(output: &str) -> Answer {
    let line = output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    match serde_json::from_str::<Said>(line) {
        Ok(Said { complete: false, unknown: None, .. }) => unknown("there are too many to be looked at"),
        Ok(Said { unknown, pending, .. }) => Answer::Migrations { pending, unknown: unknown.map(|why| bounded(&why)) },
        Err(error) => unknown(&format!("its answer is not understood: {error}")),
    }
}

fn bounded(text: &str) -> String {
    printable(text).chars().take(MAX_WHY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_answer_and_nothing_else_is_one() {
        let good = r#"{"complete":true,"unknown":null,"pending":[{"name":"a","unknown":null,"statements":[{"driver":"pgsql","sql":"x"}]}]}"#;
        assert!(
            matches!(answer(&format!("noise\n{good}\n")), Answer::Migrations { pending, unknown: None } if pending.len() == 1)
        );
        for bad in
            ["", "{}", &good.replace("true", "false"), &good.replace("pgsql", "oracle"), &good.replace("sql\"", "s\"")]
        {
            assert!(matches!(answer(bad), Answer::Migrations { unknown: Some(_), .. }), "{bad}");
        }
    }
}
