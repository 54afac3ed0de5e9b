//! nginx's configuration as a tree of directives, each with its place. Pure, and tolerant: what nginx itself would
//! refuse is read as far as it makes sense.

use std::{iter::Peekable, path::Path, str::Chars};

use serde::Serialize;

use crate::config::Origin;

/// Blocks deeper than that are left out.
const DEEPEST: usize = 32;

/// A directive, with its block if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Directive {
    /// `server`, `fastcgi_param`, …
    pub name: String,
    /// What follows, unquoted.
    pub args: Vec<String>,
    /// Where it stands.
    pub at: Origin,
    /// What is between its braces.
    pub block: Option<Vec<Directive>>,
}

impl Directive {
    /// An argument; empty when there is none.
    pub fn arg(&self, at: usize) -> &str {
        self.args.get(at).map_or("", String::as_str)
    }

    /// What is in its block.
    pub fn inner(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// Takes a file apart. Includes stay as they are written: whoever reads files puts them in their place.
pub fn parse(file: &Path, text: &str) -> Vec<Directive> {
    let mut reader = Reader { chars: text.chars().peekable(), line: 1 };
    let mut open: Vec<Open> = vec![Open { head: None, inner: Vec::new() }];
    let mut words: Vec<String> = Vec::new();
    let mut begun = 1;
    while let Some(token) = reader.token() {
        match token {
            Token::Word(word) => {
                if words.is_empty() {
                    begun = reader.line;
                }
                words.push(word);
            }
            Token::End => {
                if let (Some(directive), Some(top)) = (directive(file, begun, &mut words), open.last_mut()) {
                    top.inner.push(directive);
                }
            }
            Token::Open => {
                let head = directive(file, begun, &mut words);
                // Lua's braces are not nginx's.
                if head.as_ref().is_some_and(|head| head.name.ends_with("_by_lua_block")) || open.len() > DEEPEST {
                    reader.skip_block();
                } else {
                    open.push(Open { head, inner: Vec::new() });
                }
            }
            Token::Close => {
                words.clear();
                close(&mut open);
            }
        }
    }
    while open.len() > 1 {
        close(&mut open);
    }
    open.pop().map(|top| top.inner).unwrap_or_default()
}

struct Open {
    head: Option<Directive>,
    inner: Vec<Directive>,
}

fn close(open: &mut Vec<Open>) {
    if open.len() < 2 {
        return;
    }
    let Some(Open { head: Some(head), inner }) = open.pop() else { return };
    if let Some(top) = open.last_mut() {
        top.inner.push(Directive { block: Some(inner), ..head });
    }
}

fn directive(file: &Path, line: usize, words: &mut Vec<String>) -> Option<Directive> {
    let mut words = std::mem::take(words).into_iter();
    let name = words.next()?;
    Some(Directive { name, args: words.collect(), at: Origin { file: file.to_owned(), line }, block: None })
}

enum Token {
    Word(String),
    End,
    Open,
    Close,
}

struct Reader<'t> {
    chars: Peekable<Chars<'t>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let next = self.chars.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    fn token(&mut self) -> Option<Token> {
        loop {
            match *self.chars.peek()? {
                c if c.is_whitespace() => _ = self.next(),
                '#' => while self.next().is_some_and(|c| c != '\n') {},
                ';' => return self.next().map(|_| Token::End),
                '{' => return self.next().map(|_| Token::Open),
                '}' => return self.next().map(|_| Token::Close),
                quote @ ('"' | '\'') => {
                    self.next();
                    return Some(Token::Word(self.quoted(quote)));
                }
                _ => return Some(Token::Word(self.bare())),
            }
        }
    }

    fn quoted(&mut self, quote: char) -> String {
        let mut word = String::new();
        while let Some(c) = self.next() {
            match c {
                '\\' => match self.next() {
                    Some(next) if next == quote || next == '\\' => word.push(next),
                    Some(next) => word.extend(['\\', next]),
                    None => {}
                },
                c if c == quote => break,
                c => word.push(c),
            }
        }
        word
    }

    fn bare(&mut self) -> String {
        let mut word = String::new();
        while let Some(c) = self.chars.peek().copied() {
            // `${name}` is one variable, its braces no block.
            let variable = c == '{' && word.ends_with('$');
            if c.is_whitespace() || c == ';' || (c == '{' && !variable) || (c == '}' && !open_variable(&word)) {
                break;
            }
            self.next();
            word.push(c);
            if c == '\\' {
                word.extend(self.next());
            }
        }
        word
    }

    /// Past the brace that closes the one just read.
    fn skip_block(&mut self) {
        let mut depth = 1;
        while let Some(c) = self.next() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }
}

/// Whether a `${` is still open.
fn open_variable(word: &str) -> bool {
    word.rfind("${").is_some_and(|at| !word.get(at..).unwrap_or_default().contains('}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn directives_blocks_quotes_and_comments() {
        let text = "user www-data; # user x;\nhttp {\n  server {\n    root \"/srv/a b/${x}\";\n    location ~ \\.php$ {\n      \
                    fastcgi_param SCRIPT_FILENAME\n        $document_root${fastcgi_script_name};\n    }\n  }\n}\n";
        let found = parse(Path::new("/n"), text);
        assert_eq!((found[0].name.as_str(), found[0].arg(0), found.len()), ("user", "www-data", 2));
        let server = &found[1].inner()[0];
        assert_eq!((server.inner()[0].arg(0), server.inner()[0].at.line), ("/srv/a b/${x}", 4));
        let location = &server.inner()[1];
        assert_eq!(location.args, ["~", "\\.php$"]);
        let param = &location.inner()[0];
        assert_eq!(param.args, ["SCRIPT_FILENAME", "$document_root${fastcgi_script_name}"]);
        assert_eq!(param.at.line, 6);
    }

    #[test]
    fn what_is_not_closed_ends_with_the_file_and_lua_is_passed_over() {
        let found = parse(Path::new("/n"), "a_by_lua_block { if x then y = {1} end } } http { b c;");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].inner()[0].name, "b");
        let deep = "a {".repeat(1000) + "b;";
        assert_eq!(parse(Path::new("/n"), &deep).len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z{};\"'$#\\\\ \né]{0,160}") {
            let _ = parse(Path::new("/n"), &text);
        }
    }
}
