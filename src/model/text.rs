//! Text from outside, made safe to show.

/// `text` with control, escape and bidirectional-override characters written as `\u{..}`; newlines and tabs too.
/// Use it for everything an app, a repository or a peer said, before it reaches a terminal or a one-line message.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A value as JSON on several lines, with what [`printable`] hides as `\u....`, which any reader of JSON takes back.
pub fn printable_json(value: &serde_json::Value) -> String {
    let mut out = String::new();
    for c in format!("{value:#}").chars() {
        // Outside of its strings JSON has none of them but newlines, and serde_json has escaped what is below a space.
        if hidden(c) && c != '\n' { out.push_str(&format!("\\u{:04x}", u32::from(c))) } else { out.push(c) }
    }
    out
}

fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Whether a line names a path or something below it: `/srv/shop/current`, but not `/srv/shop2`.
pub fn names_path(line: &str, path: &std::path::Path) -> bool {
    let path = path.to_string_lossy();
    line.match_indices(path.as_ref()).any(|(at, _)| {
        let next = line.get(at + path.len()..).and_then(|rest| rest.chars().next());
        next.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.'))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_what_moves_a_cursor_or_turns_text() {
        let hostile = serde_json::json!({ "name": "a\u{1b}\u{7f}\u{9b}2J\u{202e}é\n" });
        let json = super::printable_json(&hostile);
        assert_eq!(json, "{\n  \"name\": \"a\\u001b\\u007f\\u009b2J\\u202eé\\n\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), hostile);
        assert_eq!(super::printable("a\x1b[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
    }

    #[test]
    fn a_line_names_a_path_or_one_that_begins_alike() {
        let root = std::path::Path::new("/srv/shop");
        for line in ["cd /srv/shop && x", "php /srv/shop/current/artisan", "/srv/shop", "x \"/srv/shop\""] {
            assert!(super::names_path(line, root), "{line}");
        }
        for line in ["/srv/shop2/x", "/srv/shop-old", "/srv/sho", "/srv/shop.bak"] {
            assert!(!super::names_path(line, root), "{line}");
        }
    }
}
