//! Holds the table of promises: every case of the catalogue is there once, and what it names exists and is run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests and their helpers")]

use std::{fs, path::Path};

#[path = "safety/promises.rs"]
mod promises;

use promises::Table;

/// Whether `FILE::NAME` is a test, or a scenario of the crash suite or of the power cuts.
fn is_run(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap_or_default();
    let scenario = file == "tests/safety/scenario.rs" && text.contains(&format!("name: \"{name}\","));
    let power = file.starts_with("tests/safety/power/") && text.contains(&format!("\"{name}\""));
    scenario || power || is_test(&text, name)
}

/// Whether the function `name` of a source is marked as a test, maybe among other attributes, and not ignored.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = [format!("fn {name}("), format!("async fn {name}(")];
    let Some(at) = lines.iter().position(|line| begins.iter().any(|begin| line.starts_with(begin))) else {
        return false;
    };
    let before = lines[..at].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//"));
    let attributes: Vec<_> = before.copied().filter(|line| line.starts_with('#')).collect();
    let marked = attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    marked && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

#[test]
fn every_row_has_its_tests_or_its_reason() {
    let table = Table::read();
    let mut wrong = table.wrong();
    let absent = table.tests().filter(|(_, test)| !is_run(test));
    wrong.extend(absent.map(|(id, test)| format!("{id} names {test}, which is no test")));
    assert!(wrong.is_empty(), "promises.toml: {wrong:#?}");
    println!("{}", table.counts());
}

#[test]
fn the_readme_has_the_table_s_counts() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let words: Vec<_> = readme.split_whitespace().collect();
    let counts = Table::read().counts();
    assert!(words.join(" ").contains(&counts), "README.md does not say: {counts}");
}

#[test]
fn what_is_no_test_is_not_taken_for_one() {
    assert!(is_run("tests/promises.rs::what_is_no_test_is_not_taken_for_one"));
    assert!(is_run("tests/safety/power/cut.rs::power-first") && !is_run("tests/safety/power/cut.rs::power-last"));
    assert!(is_run("tests/safety/scenario.rs::deploy") && is_run("tests/safety/scenario.rs::recovery"));
    for no in ["tests/promises.rs::is_run", "tests/none.rs::x", "tests/safety/scenario.rs::deplo", "x", "src/lib.rs::"]
    {
        assert!(!is_run(no), "{no}");
    }
    assert!(!is_test("#[test]\n#[ignore]\nfn later() {}", "later"));
}
