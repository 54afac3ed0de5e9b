//! A site's own pool file, taken apart by lines: its one pool, what deployd sets itself left out. Pure.
//!
//! php-fpm's files are PHP ini files (php-src Zend/zend_ini_scanner.l): a double-quoted value may go over several lines,
//! so quotes are followed, and a line of such a value is never taken for a directive.

use super::php_fpm::ConfigTextError;

/// One line, or several when a quoted value has line breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The directive's name; empty for comments and blank lines.
    pub name: String,
    /// Its value, unquoted when it is simply quoted.
    pub value: String,
    /// As it stands.
    pub text: String,
}

/// A pool's name and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PoolFile {
    /// Between the brackets; `$pool` stands for it.
    pub name: String,
    pub lines: Vec<Line>,
}

/// Takes a pool file apart. An error names what a slot cannot have.
pub(super) fn parse(text: &str) -> Result<PoolFile, ConfigTextError> {
    let refuse = |what: String, remedy: &str| ConfigTextError { what, remedy: remedy.to_owned() };
    let mut pool: Option<PoolFile> = None;
    for text in logical_lines(text) {
        let trimmed = text.trim();
        if let Some(section) = section(trimmed) {
            if section.eq_ignore_ascii_case("global") {
                return Err(refuse(
                    "the pool file has a [global] section".into(),
                    "keep only the pool in the file: each slot has a [global] of deployd's",
                ));
            }
            if let Some(first) = &pool {
                let what = format!("the pool file has several pools, [{}] and [{section}]", first.name);
                return Err(refuse(what, "put the site's pool into a file of its own"));
            }
            if !plain_name(section) {
                return Err(refuse(format!("the pool's name {section:?} is not plain"), "use letters, digits and ._-"));
            }
            pool = Some(PoolFile { name: section.to_owned(), lines: Vec::new() });
            continue;
        }
        let line = line(&text);
        match (&mut pool, line.name.as_str()) {
            (_, "include") => {
                return Err(refuse(
                    "the pool file includes another file".into(),
                    "write its directives into the pool file itself",
                ));
            }
            (_, "chroot" | "prefix") => {
                let what = format!("the pool file sets {}: paths in it would not be the release's", line.name);
                return Err(refuse(what, "remove it from the pool"));
            }
            (None, "") => {}
            (None, name) => {
                let what = format!("the pool file sets {name} before its [pool] line");
                return Err(refuse(what, "begin the file with the pool's name in brackets, like [shop]"));
            }
            (Some(pool), _) => pool.lines.push(line),
        }
    }
    pool.ok_or_else(|| {
        refuse("the pool file has no pool".into(), "begin it with the pool's name in brackets, like [shop]")
    })
}

/// Lines, joined while a double quote is open.
fn logical_lines(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open = false;
    // A lone carriage return ends a line for PHP's scanner too.
    for raw in text.replace("\r\n", "\n").replace('\r', "\n").split('\n') {
        match out.last_mut() {
            Some(last) if open => {
                last.push('\n');
                last.push_str(raw);
            }
            _ => out.push(raw.to_owned()),
        }
        open = out.last().is_some_and(|line| quote_is_open(line));
    }
    out
}

fn quote_is_open(line: &str) -> bool {
    let Some((_, value)) = line.split_once('=').filter(|(name, _)| !name.trim_start().starts_with([';', '#', '[']))
    else {
        return false;
    };
    let (mut double, mut single, mut escaped) = (false, false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if double => escaped = true,
            '"' if !single => double = !double,
            '\'' if !double => single = !single,
            ';' if !double && !single => break,
            _ => {}
        }
    }
    double || single
}

fn section(trimmed: &str) -> Option<&str> {
    let rest = trimmed.strip_prefix('[')?;
    rest.split_once(']').map(|(name, _)| name.trim())
}

fn plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn line(text: &str) -> Line {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with([';', '#']) {
        return Line { name: String::new(), value: String::new(), text: text.to_owned() };
    }
    let (name, value) = trimmed.split_once('=').unwrap_or((trimmed, ""));
    let value = value.trim();
    let unquoted = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split(';').next().unwrap_or_default().trim(),
    };
    Line { name: name.trim().to_owned(), value: unquoted.to_owned(), text: text.to_owned() }
}
