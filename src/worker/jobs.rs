//! Asks a release whether the classes of the app's waiting jobs load in it, by a probe that runs in the release.
//! What the probe prints is the app's word: bounded, strictly typed, and shown only as printable text.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    order::{Answer, MissingJobs},
    probe_run::to_its_end,
    refusal::Refusal,
};
use crate::model::printable;

/// The longest name of a class, in characters.
const MAX_NAME: usize = 200;
/// Of the classes that are missing, this many are told.
const MAX_CLASSES: usize = 50;

/// What the probe prints as its last line.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    jobs: u64,
    complete: bool,
    unknown: Option<String>,
    missing: Vec<MissingJobs>,
}

/// Carries out [`super::order::Order::Jobs`].
pub async fn run(
    command: &[String],
    release: &Path,
    environment: &BTreeMap<String, String>,
    timeout: Duration,
) -> Result<Answer, Refusal> {
    let mut ended = to_its_end(command, release, environment, timeout).await?;
    if !ended.status.is_some_and(|status| status.success()) {
        let why = ended.complaint().await;
        return Ok(Answer::Jobs { looked: 0, complete: false, unknown: Some(why), missing: Vec::new() });
    }
    Ok(answer(&ended.output().await))
}

fn answer(output: &str) -> Answer {
    let line = output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    match serde_json::from_str::<Said>(line) {
        Ok(Said { jobs, complete, unknown, missing }) => Answer::Jobs {
            looked: jobs,
            complete,
            unknown: unknown.map(|why| bounded(&why)),
            missing: missing.into_iter().take(MAX_CLASSES).map(shown).collect(),
        },
        Err(error) => {
            let why = format!("its answer is not understood: {error}");
            Answer::Jobs { looked: 0, complete: false, unknown: Some(bounded(&why)), missing: Vec::new() }
        }
    }
}

fn shown(missing: MissingJobs) -> MissingJobs {
    MissingJobs { class: bounded(&missing.class), ..missing }
}

fn bounded(text: &str) -> String {
    printable(text).chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(output: &str) -> (u64, bool, Option<String>, Vec<(String, u64)>) {
        match answer(output) {
            Answer::Jobs { looked, complete, unknown, missing } => {
                (looked, complete, unknown, missing.into_iter().map(|one| (one.class.clone(), one.count())).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_line_is_the_answer() {
        let line = r#"{"jobs":4,"complete":true,"unknown":null,
            "missing":[{"class":"App\\Jobs\\Gone","pending":3,"delayed":1,"reserved":0}]}"#
            .replace('\n', "");
        let expected = (4, true, None, vec![("App\\Jobs\\Gone".to_owned(), 4)]);
        assert_eq!(parts(&format!("noise of the app\n{line}\n\n")), expected);
    }

    #[test]
    fn whatever_else_is_said_is_not_known() {
        for bad in ["", "x", "{}", r#"{"jobs":-1,"complete":true,"unknown":null,"missing":[]}"#] {
            let (_, complete, unknown, missing) = parts(bad);
            assert!(!complete && unknown.is_some() && missing.is_empty(), "{bad}");
        }
    }

    #[test]
    fn names_are_bounded_and_printable() {
        let class = format!("A\\u001b[2J{}", "x".repeat(1000));
        let line = format!(
            r#"{{"jobs":1,"complete":true,"unknown":null,"missing":[{{"class":"{class}","pending":1,"delayed":0,"reserved":0}}]}}"#
        );
        let name = parts(&line).3.remove(0).0;
        assert!(name.chars().count() == MAX_NAME && name.starts_with("A\\u{1b}[2J"), "{name}");
    }

    #[tokio::test]
    async fn a_probe_that_fails_leaves_it_unknown() {
        let command = ["/bin/sh", "-c", "echo no such thing >&2; exit 3"].map(str::to_owned);
        let said = run(&command, Path::new("/"), &BTreeMap::new(), Duration::from_secs(20)).await.unwrap();
        assert!(
            matches!(&said, Answer::Jobs { unknown: Some(why), .. } if why == "exit status 3: no such thing"),
            "{said:?}"
        );
    }
}
