//! Parts of the manual that the suite makes: what a page shows is what a booted host has said. Each stands between two
//! comments, `.\" NAME: begin` and `.\" NAME: end`. With `DEPLOYD_MANUAL=write` a part that differs is written anew.

use std::{fs, path::PathBuf};

use super::lock::crate_dir;

fn page(name: &str) -> PathBuf {
    crate_dir().join("man").join(name)
}

/// The three pieces of a page: up to the part, the part, and the rest.
fn pieces(page: &str, text: &str, part: &str) -> (String, String, String) {
    let (begin, end) = (format!(".\\\" {part}: begin\n"), format!(".\\\" {part}: end\n"));
    let found = text.split_once(&begin).and_then(|(before, rest)| {
        let (inside, after) = rest.split_once(&end)?;
        Some((format!("{before}{begin}"), inside.to_owned(), format!("{end}{after}")))
    });
    found.unwrap_or_else(|| panic!("{page} has no part {part}"))
}

/// A part as it is printed, without the commands around it.
pub fn shown(name: &str, part: &str) -> String {
    let text = fs::read_to_string(page(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (_, inside, _) = pieces(name, &text, part);
    let lines = inside.lines().filter(|line| !line.starts_with(".Bd ") && *line != ".Ed");
    lines.map(|line| line.trim_start_matches("\\&").replace("\\e", "\\") + "\n").collect()
}

/// Holds a part to what was seen.
#[track_caller]
pub fn hold(name: &str, part: &str, seen: &str) {
    if shown(name, part) == seen {
        return;
    }
    let wanted = std::env::var("DEPLOYD_MANUAL").is_ok_and(|word| word == "write");
    assert!(wanted, "{name}, {part}: the manual shows\n{}\nand it is\n{seen}", shown(name, part));
    let text = fs::read_to_string(page(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (before, _, after) = pieces(name, &text, part);
    let literal: String = seen.lines().map(literal).collect();
    fs::write(page(name), format!("{before}.Bd -literal\n{literal}.Ed\n{after}"))
        .unwrap_or_else(|e| panic!("{name}: {e}"));
}

/// A line as mdoc takes it for itself.
fn literal(line: &str) -> String {
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{}\n", line.replace('\\', "\\e"))
}
