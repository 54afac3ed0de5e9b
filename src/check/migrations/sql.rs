//! Enough of SQL to tell what a statement of a migration does: words, names, and where they end. Pure.

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Keyword or plain name, in lower case.
    Word(String),
    /// A name in quotes of its dialect, in lower case.
    Name(String),
    /// A text in quotes, or a number: what is in it does not matter.
    Value,
    /// A sign.
    Sign(char),
}

impl Token {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word == keyword)
    }
}

/// The statements of a text, each as its tokens. What has no end ends with the text. `escapes`: a backslash in a text
/// in quotes is one, as MySQL reads it.
pub(super) fn statements(text: &str, escapes: bool) -> Vec<Vec<Token>> {
    let mut out = Vec::new();
    let mut statement = Vec::new();
    let mut rest = text;
    while let Some((token, after)) = next(rest, escapes) {
        rest = after;
        match token {
            Some(Token::Sign(';')) => out.push(std::mem::take(&mut statement)),
            Some(token) => statement.push(token),
            None => {}
        }
    }
    out.push(statement);
    out.retain(|statement| !statement.is_empty());
    out
}

/// The next token, none for what is skipped, and what is left; none at the end.
fn next(text: &str, escapes: bool) -> Option<(Option<Token>, &str)> {
    let first = text.chars().next()?;
    let after = |length: usize| text.get(length..).unwrap_or_default();
    let line_end = || text.find('\n').unwrap_or(text.len());
    Some(match first {
        c if c.is_whitespace() => (None, after(c.len_utf8())),
        '-' if text.starts_with("--") => (None, after(line_end())),
        // What MySQL runs and others do not is no comment here either: `/*!`.
        '/' if text.starts_with("/*!") => (Some(Token::Sign('!')), after(3)),
        '/' if text.starts_with("/*") => (None, after(text.find("*/").map_or(text.len(), |at| at + 2))),
        '\'' => (Some(Token::Value), after(quoted(text, '\'', escapes).1)),
        '"' | '`' => {
            let (name, length) = quoted(text, first, false);
            (Some(Token::Name(name.to_lowercase())), after(length))
        }
        '[' => {
            let end = text.find(']').unwrap_or(text.len());
            (Some(Token::Name(text.get(1..end).unwrap_or_default().to_lowercase())), after(end + 1))
        }
        '$' => match dollar_quoted(text) {
            Some(length) => (Some(Token::Value), after(length)),
            None => (Some(Token::Sign('$')), after(1)),
        },
        c if c.is_alphabetic() || c == '_' => {
            let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
            (Some(Token::Word(text.get(..end).unwrap_or_default().to_lowercase())), after(end))
        }
        c if c.is_ascii_digit() => {
            let end = text.find(|c: char| !(c.is_alphanumeric() || c == '.')).unwrap_or(text.len());
            (Some(Token::Value), after(end))
        }
        c => (Some(Token::Sign(c)), after(c.len_utf8())),
    })
}

/// What stands between quotes at the beginning of a text, and its length with them. A doubled quote is one of its own;
/// so is one after a backslash where that `escapes`.
fn quoted(text: &str, quote: char, escapes: bool) -> (String, usize) {
    let mut out = String::new();
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == quote {
            match characters.peek() {
                Some((_, next)) if *next == quote => drop(characters.next()),
                _ => return (out, at + c.len_utf8()),
            }
        } else if c == '\\' && escapes {
            characters.next();
            continue;
        }
        out.push(c);
    }
    (out, text.len())
}

/// The length of `$tag$ ... $tag$`.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag_end = text.get(1..)?.find('$')? + 2;
    let tag = text.get(..tag_end)?;
    if !tag.chars().all(|c| c == '$' || c == '_' || c.is_alphanumeric()) {
        return None;
    }
    Some(text.get(tag_end..)?.find(tag).map_or(text.len(), |at| tag_end + at + tag_end))
}

/// A statement for people: one line, texts in quotes left out, since they may be secrets, and not longer than `most`.
pub(super) fn shown(text: &str, escapes: bool, most: usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((token, after)) = next(rest, escapes) {
        let piece = rest.get(..rest.len() - after.len()).unwrap_or_default();
        match token {
            Some(Token::Value) if piece.starts_with(['\'', '$']) => out.push_str("'…'"),
            None if !out.ends_with(' ') => out.push(' '),
            None => {}
            Some(_) => out.push_str(piece),
        }
        rest = after;
    }
    let out = crate::model::printable(out.trim());
    if out.chars().count() <= most {
        return out;
    }
    format!("{}…", out.chars().take(most).collect::<String>())
}

/// A walk over a statement's tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'t>(pub &'t [Token]);

impl Cursor<'_> {
    /// Takes these keywords if they come next.
    pub(super) fn accept(&mut self, keywords: &[&str]) -> bool {
        let there = keywords.len() <= self.0.len() && self.0.iter().zip(keywords).all(|(token, word)| token.is(word));
        if there {
            self.0 = self.0.get(keywords.len()..).unwrap_or_default();
        }
        there
    }

    /// Takes one of these keywords if it comes next.
    pub(super) fn any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.accept(&[keyword]))
    }

    /// Takes a name, of which the last part counts: `"public"."notes"` is `notes`.
    pub(super) fn name(&mut self) -> Option<String> {
        let mut name = None;
        while let Some((Token::Word(word) | Token::Name(word), rest)) = self.0.split_first() {
            name = Some(word.clone());
            self.0 = rest;
            match self.0.split_first() {
                Some((Token::Sign('.'), rest)) => self.0 = rest,
                _ => break,
            }
        }
        name
    }

    /// Whether these keywords stand somewhere, one after the other.
    pub(super) fn has(&self, keywords: &[&str]) -> bool {
        self.0.windows(keywords.len()).any(|window| window.iter().zip(keywords).all(|(token, word)| token.is(word)))
    }

    /// The parts between commas that are in no parentheses.
    pub(super) fn parts(&self) -> Vec<Cursor<'_>> {
        let mut depth = 0_usize;
        let split = self.0.split(|token| {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && *token == Token::Sign(',')
        });
        split.map(Cursor).collect()
    }

    /// What is in the next parentheses, wherever they begin.
    pub(super) fn parentheses(&self) -> Option<Cursor<'_>> {
        let from = self.0.iter().position(|token| *token == Token::Sign('('))? + 1;
        let mut depth = 1_usize;
        let inside = self.0.get(from..)?;
        let end = inside.iter().position(|token| {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        inside.get(..end.unwrap_or(inside.len())).map(Cursor)
    }
}
