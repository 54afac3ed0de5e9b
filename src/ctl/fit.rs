//! Text in columns: how wide it is, cut to a width, broken into lines. Pure; what is shown is printable already.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// A text in at most so many columns, its end given up for `…`.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used >= columns {
            break;
        }
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out
}

/// A text in lines of so many columns, broken between words where that can be, at most so many lines.
pub fn wrap(text: &str, columns: usize, most: usize) -> Vec<String> {
    let columns = columns.max(8);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word = word.to_owned();
        let here = lines.last().map_or(0, |line| width(line));
        if here > 0 && here + 1 + width(&word) > columns {
            lines.push(String::new());
        } else if here > 0
            && let Some(line) = lines.last_mut()
        {
            line.push(' ');
        }
        // A word that fits no line is broken where it must be.
        while let Some(line) = lines.last_mut() {
            let room = columns.saturating_sub(width(line));
            if width(&word) <= room {
                line.push_str(&word);
                break;
            }
            let mut used = 0;
            let at = word.char_indices().find(|(_, c)| {
                used += c.width().unwrap_or(0);
                used > room
            });
            let (head, tail) = word.split_at(at.map_or(word.len(), |(at, _)| at));
            line.push_str(head);
            word = tail.to_owned();
            if lines.len() > most {
                break;
            }
            lines.push(String::new());
        }
        if lines.len() > most {
            break;
        }
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last} ……"), columns.min(width(last) + 2));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_fits_by_what_a_terminal_shows() {
        assert_eq!((cut("shop", 4).as_str(), cut("shops", 4).as_str()), ("shop", "sho…"));
        assert_eq!(cut("日本語", 5), "日本…");
        for columns in 0..9 {
            assert!(width(&cut("日本語 and more", columns)) <= columns, "{columns}");
        }
    }

    #[test]
    fn lines_are_broken_between_words_and_are_bounded() {
        assert_eq!(wrap("one two three four", 9, 9), ["one two", "three", "four"]);
        assert_eq!(wrap("", 9, 2), [""]);
        let long = "x".repeat(100);
        for text in ["one two three four five six seven", long.as_str(), "日本語日本語日本語日本語 日本語"]
        {
            let lines = wrap(text, 10, 2);
            assert!(lines.len() <= 2 && lines.iter().all(|line| width(line) <= 10), "{lines:?}");
            assert!(lines.last().unwrap().ends_with('…'), "{lines:?}");
        }
        assert_eq!(wrap(&long, 50, 9).concat(), long);
    }
}
