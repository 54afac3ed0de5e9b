//! Holds the table in `src/lib.rs`: which module may use which, and what the pure ones may not touch. It reads the
//! sources as text, without comments, strings and tests, and is itself tried on bad samples.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Module, the words of its last column in `src/lib.rs`, and what they mean.
const TABLE: [(&str, &str, &[&str]); 13] = [
    ("model", "nothing", &[]),
    ("config", "model", &["model"]),
    ("system", "model", &["model"]),
    ("worker", "model, system", &["model", "system"]),
    ("check", "model, config", &["model", "config"]),
    ("runtime", "model, config, system", &["model", "config", "system"]),
    ("observe", "all above, never the engine", &["model", "config", "system", "worker", "check", "runtime"]),
    (
        "plan",
        "model, config, check, observe's value, worker's orders",
        &["model", "config", "check", "observe", "worker"],
    ),
    ("engine", "all above", &["model", "config", "system", "worker", "check", "runtime", "observe", "plan"]),
    ("dbus", "model", &["model"]),
    ("daemon", "model, config, system, dbus", &["model", "config", "system", "dbus"]),
    ("ctl", "model, dbus", &["model", "dbus"]),
    ("webhook", "model, system, dbus", &["model", "system", "dbus"]),
];

/// What a module without I/O may not name.
const EFFECTS: [&str; 11] = [
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::env",
    "std::time::SystemTime",
    "std::time::Instant",
    "tokio",
    "rustix",
    "nix",
    "zbus",
];
const PURE: [&str; 3] = ["model", "check", "plan"];

/// Source without comments, string and character literals, and `#[cfg(test)]` items.
fn code_only(source: &str) -> String {
    without_tests(&without_text(source))
}

fn without_text(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            raw_string(rest)
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' {
            character(rest)
        } else {
            0
        };
        if skip == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.push(' ');
            rest = &rest[skip..];
        }
    }
    out
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    if !text[1 + hashes..].starts_with('"') {
        return 0; // r#keyword
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    text[body..].find(&end).map_or(text.len(), |at| body + at + end.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// A character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted(text, '\''),
        _ => 0,
    }
}

fn without_tests(code: &str) -> String {
    let Some(start) = code.find("#[cfg(test)]") else { return code.into() };
    let after = &code[start..];
    let end = match (after.find(';'), after.find('{')) {
        (Some(semicolon), brace) if brace.is_none_or(|brace| semicolon < brace) => semicolon + 1,
        (_, Some(brace)) => brace + braces(&after[brace..]),
        _ => after.len(),
    };
    format!("{}{}", &code[..start], without_tests(&after[end..]))
}

fn braces(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Every path that begins with `root` (`crate::`), without it, `use` groups taken apart: `worker::order::Order`.
fn paths_below(root: &str, code: &str) -> BTreeSet<String> {
    let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ").replace(" ::", "::").replace(":: ", "::");
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    for (at, _) in flat.match_indices(root) {
        if !flat[..at].ends_with(word) {
            expand("", &flat[at + root.len()..], &mut found);
        }
    }
    found
}

fn expand(prefix: &str, text: &str, found: &mut BTreeSet<String>) {
    let text = text.trim_start();
    if text.starts_with('{') {
        for item in top_level(&text[1..braces(text) - 1]).into_iter().filter(|item| !item.trim().is_empty()) {
            expand(prefix, item, found);
        }
        return;
    }
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let path = format!("{prefix}{name}");
    match text[name.len()..].strip_prefix("::") {
        Some(rest) => expand(&format!("{path}::"), rest, found),
        None => _ = found.insert(path.trim_end_matches("::").to_owned()),
    }
}

/// The items of a `use` group, split at its own commas.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&group[start..]);
    items
}

/// What a file of a module does that it may not. `depth` is how many `super` lead to the crate's root.
fn violations(module: &str, depth: usize, source: &str) -> Vec<String> {
    let Some((_, _, allowed)) = TABLE.iter().find(|row| row.0 == module) else {
        return vec![format!("the module {module} is not in the table")];
    };
    let code = code_only(source);
    let mut used = paths_below("crate::", &code);
    used.extend(paths_below(&"super::".repeat(depth), &code));
    let mut bad = Vec::new();
    for path in used {
        let mut parts = path.split("::");
        let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let known = TABLE.iter().any(|row| row.0 == first);
        if known && first != module && !allowed.contains(&first) {
            bad.push(format!("{module} uses {path}"));
        } else if first == "worker"
            && module != "worker"
            && !["order", "fleet_order", "client", "sandbox"].contains(&second)
        {
            bad.push(format!("{module} uses {path}: of the worker only its orders, client and sandbox are for others"));
        }
    }
    if PURE.contains(&module) {
        bad.extend(effects(&code).into_iter().map(|path| format!("{module} uses {path}")));
    }
    bad
}

fn effects(code: &str) -> Vec<String> {
    let crates = EFFECTS.iter().filter_map(|name| name.split("::").next()).collect::<BTreeSet<_>>();
    let all = crates.into_iter().flat_map(|name| {
        paths_below(&format!("{name}::"), code).into_iter().map(move |path| format!("{name}::{path}"))
    });
    all.filter(|path| EFFECTS.iter().any(|effect| format!("{path}::").starts_with(&format!("{effect}::")))).collect()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_module_uses_only_what_the_table_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut bad = Vec::new();
    let mut read = 0;
    for (module, _, _) in TABLE {
        let mut files = Vec::new();
        sources(&src.join(module), &mut files);
        read += files.len();
        for file in files {
            let inside = file.strip_prefix(&src).unwrap();
            let depth = inside.components().count() - usize::from(inside.ends_with("mod.rs"));
            let found = violations(module, depth, &fs::read_to_string(&file).unwrap());
            bad.extend(found.into_iter().map(|v| format!("{}: {v}", inside.display())));
        }
    }
    assert!(read >= TABLE.len(), "too few files were found to mean anything: {read}");
    assert!(bad.is_empty(), "the table of src/lib.rs does not allow:\n{}", bad.join("\n"));
}

#[test]
fn the_table_is_the_one_in_lib_rs() {
    let lib = include_str!("../src/lib.rs");
    let rows: Vec<(String, String)> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`"))
        .filter_map(|row| {
            let (module, rest) = row.split_once("`]")?;
            Some((module.to_owned(), rest.trim_end_matches(" |").rsplit(" | ").next()?.to_owned()))
        })
        .collect();
    let here: Vec<(String, String)> = TABLE.iter().map(|row| (row.0.to_owned(), row.1.to_owned())).collect();
    assert_eq!(rows, here);
    for (module, _, _) in TABLE {
        assert!(lib.contains(&format!("pub mod {module};")), "{module} is in the table and not in the crate");
    }
    assert_eq!(lib.matches("pub mod ").count(), TABLE.len(), "a module is missing from the table");
}

#[test]
fn the_checker_sees_what_is_wrong() {
    let one = |module: &str, depth, source: &str| violations(module, depth, source).join("; ");
    assert_eq!(one("model", 2, "use crate::config::Settings;"), "model uses config::Settings");
    assert_eq!(one("dbus", 2, "use crate::{model::AppName, engine};"), "dbus uses engine");
    assert_eq!(one("ctl", 2, "fn f() { crate :: system::units(); }"), "ctl uses system::units");
    assert_eq!(one("plan", 1, "use super::engine::run;"), "plan uses engine::run");
    assert_eq!(one("plan", 2, "use super::super::engine::run;"), "plan uses engine::run");
    assert_eq!(one("plan", 2, "use std::{collections::BTreeMap, fs};"), "plan uses std::fs");
    assert_eq!(one("plan", 2, "let t = std::time::Instant::now();"), "plan uses std::time::Instant::now");
    assert_eq!(one("plan", 2, "use std::time::{Duration, SystemTime};"), "plan uses std::time::SystemTime");
    assert_eq!(one("model", 2, "async fn f() { tokio::spawn(g()); }"), "model uses tokio::spawn");
    assert!(one("engine", 2, "use crate::worker::{order::Order, serve};").contains("engine uses worker::serve"));
    assert_eq!(one("ctl", 2, "let url = \"http://x\"; crate::engine::go();"), "ctl uses engine::go");
    assert_eq!(one("webhook", 2, "use crate::{dbus, engine::run};"), "webhook uses engine::run");
    assert_eq!(one("nobody", 2, ""), "the module nobody is not in the table");
}

#[test]
fn the_checker_is_not_misled() {
    for good in [
        "// use crate::engine;\n/* crate::engine /* nested */ crate::engine */",
        "//! [`crate::engine`]",
        "let s = \"crate::engine \\\" crate::engine\"; let r = r#\"crate::engine \" std::fs\"#; let c = '\"';",
        "fn f<'a>(x: &'a str) {} #[cfg(test)] mod tests { use crate::engine::run; fn g() { if true { std::fs::read(1); } } }",
        "use crate::{config::{Settings, Check}, observe::Observed};",
        "use super::runtime; use std::{fmt, path::PathBuf}; let fs = my::std_fs;",
    ] {
        assert_eq!(violations("plan", 2, good), Vec::<String>::new(), "{good}");
    }
}
