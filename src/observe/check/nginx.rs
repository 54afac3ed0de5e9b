//! nginx's configuration with its includes in place. Read, not asked of nginx: `nginx -T` would run a program as root,
//! and opens logs and certificates.

use std::path::{Path, PathBuf};

use super::files::Files;
use crate::check::{Directive, Unread, parse_nginx};

/// Where includes are relative to, and what is read first.
const DIR: &str = "/etc/nginx";
/// Includes in includes.
const DEEPEST: usize = 8;

/// The whole configuration; empty when there is no nginx.
pub fn read(files: &mut Files<'_>) -> Vec<Directive> {
    file(files, &Path::new(DIR).join("nginx.conf"), 0)
}

fn file(files: &mut Files<'_>, path: &Path, depth: usize) -> Vec<Directive> {
    match files.text(path) {
        Some(text) => parse_nginx(path, &text).into_iter().flat_map(|d| included(files, d, depth)).collect(),
        None => Vec::new(),
    }
}

fn included(files: &mut Files<'_>, directive: Directive, depth: usize) -> Vec<Directive> {
    if directive.name == "include" && depth >= DEEPEST {
        let why = format!("was not opened: it is included {DEEPEST} files deep");
        files.unread.push(Unread { what: directive.arg(0).to_owned(), why });
        return Vec::new();
    }
    if directive.name == "include" {
        let pattern: PathBuf = Path::new(DIR).join(directive.arg(0));
        return files.matching(&pattern).iter().flat_map(|path| file(files, path, depth + 1)).collect();
    }
    let block = directive.block.map(|inner| inner.into_iter().flat_map(|d| included(files, d, depth)).collect());
    vec![Directive { block, ..directive }]
}
