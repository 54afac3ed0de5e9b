//! Text for unit files: values escaped so that systemd reads back what was meant. Pure.

use std::path::Path;

/// A word of a list or command line: specifiers doubled, quoted and escaped (systemd.syntax(7)).
pub(super) fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    let quote = text.is_empty() || text.contains(|c: char| c.is_whitespace() || "\"'\\;#".contains(c));
    for c in text.chars() {
        match c {
            '%' => out.push_str("%%"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c if c.is_control() => out.extend(c.to_string().bytes().map(|b| format!("\\x{b:02x}"))),
            c => out.push(c),
        }
    }
    if quote { format!("\"{out}\"") } else { out }
}

/// A word of a command line: variables are not expanded either.
pub(super) fn argument(text: &str) -> String {
    word(&text.replace('$', "$$"))
}

/// A path as a unit's name, as systemd-escape(1) `--path` makes it.
pub(super) fn path_name(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut out = String::new();
    for (index, byte) in text.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if index > 0 => out.push('.'),
            b if b.is_ascii_alphanumeric() || b == b'_' || b == b':' => out.push(char::from(b)),
            b => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    if out.is_empty() { "-".into() } else { out }
}
