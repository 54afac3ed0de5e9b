//! Text from outside, made safe to show.

/// `text` with control, escape and bidirectional-override characters written as `\u{..}`; newlines and tabs too.
/// Use it for everything an app, a repository or a peer said, before it reaches a terminal or a one-line message.
pub fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_what_moves_a_cursor_or_turns_text() {
        assert_eq!(super::printable("a\x1b[2Jb\nc\u{202e}d é"), "a\\u{1b}[2Jb\\nc\\u{202e}d é");
    }
}
