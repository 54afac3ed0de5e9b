//! A slot's pool: what is the site's, what is deployd's, and how a slot is started smaller. Pure.

use std::collections::BTreeMap;

use super::{php_fpm::ConfigTextError, pool_parse};

/// A pool ready to be written: its name and lines of the site's, without what deployd sets.
#[derive(Debug)]
pub(super) struct Body {
    pub name: String,
    pub lines: Vec<String>,
}

/// From the site's own file, used as it is but for `listen*`, `user`, `group` and `error_log`.
pub(super) fn from_file(text: &str, shrink: bool) -> Result<Body, ConfigTextError> {
    let file = pool_parse::parse(text)?;
    let small = shrink.then(|| smaller(value(&file, "pm").unwrap_or("dynamic")));
    let mut lines = Vec::new();
    for line in &file.lines {
        let replaced = small.iter().flatten().any(|(name, _)| *name == line.name);
        if ours(&line.name) || replaced {
            lines.push(format!("; {}: set by deployd", line.name));
        } else {
            lines.push(line.text.clone());
        }
    }
    lines.extend(small.into_iter().flatten().map(|(name, value)| format!("{name} = {value}")));
    Ok(Body { name: file.name, lines })
}

/// From directives, each value quoted.
pub(super) fn from_directives(
    name: &str,
    directives: &BTreeMap<String, String>,
    shrink: bool,
) -> Result<Body, ConfigTextError> {
    let mut all = directives.clone();
    if shrink {
        let mode = all.get("pm").map_or("dynamic", String::as_str).to_owned();
        all.extend(smaller(&mode).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    // php-fpm refuses the spare counts of a pool that is not dynamic only by ignoring them: left out, for readers.
    let dynamic = all.get("pm").is_some_and(|mode| mode == "dynamic");
    let spare = ["pm.start_servers", "pm.min_spare_servers", "pm.max_spare_servers"];
    let mut lines = Vec::new();
    for (key, value) in all.iter().filter(|(key, _)| dynamic || !spare.contains(&key.as_str())) {
        if !ours(key) {
            lines.push(format!("{key} = {}", quote(key, value)?));
        }
    }
    Ok(Body { name: name.to_owned(), lines })
}

/// `pm.max_children` of a pool file, when it is written plainly.
pub(super) fn max_children(text: &str) -> Option<u64> {
    value(&pool_parse::parse(text).ok()?, "pm.max_children")?.parse().ok()
}

fn value<'a>(file: &'a pool_parse::PoolFile, name: &str) -> Option<&'a str> {
    file.lines.iter().rev().find(|line| line.name == name).map(|line| line.value.as_str())
}

/// Directives that each slot has of deployd.
fn ours(name: &str) -> bool {
    name == "listen" || name.starts_with("listen.") || matches!(name, "user" | "group")
}

/// What makes a slot start small and grow with its traffic.
fn smaller(mode: &str) -> Vec<(&'static str, &'static str)> {
    match mode {
        "static" => vec![("pm", "ondemand"), ("pm.process_idle_timeout", "60s")],
        "ondemand" => Vec::new(),
        _ => vec![("pm.start_servers", "1"), ("pm.min_spare_servers", "1")],
    }
}

/// A value that PHP's ini scanner reads back as it is: single quotes take everything as it stands but a single quote,
/// which is put between in double ones. Line breaks are refused: nothing may begin another directive.
pub(super) fn quote(name: &str, value: &str) -> Result<String, ConfigTextError> {
    if value.contains(['\n', '\r', '\0']) {
        return Err(ConfigTextError {
            what: format!("the value of {name} has a NUL or a line break"),
            remedy: "write it in one line".into(),
        });
    }
    if value.is_empty() {
        // php-src fpm_conf.c: "empty value" fails the whole file.
        let what = format!("the value of {name} is empty, which php-fpm does not take");
        return Err(ConfigTextError { what, remedy: "remove it".into() });
    }
    Ok(format!("'{}'", value.replace('\'', "'\"'\"'")))
}
