//! Problems with a configuration: collected, then shown all together with file, line and caret, and what to write
//! instead. Pure; no colour.

use std::{ops::Range, path::PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::ConfigError;
use crate::model::printable;

/// Where something is written: which of the files, and which bytes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub file: usize,
    pub span: Range<usize>,
}

/// A file as it was read.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

impl SourceFile {
    /// The line, from 1, of a byte.
    pub(super) fn line(&self, byte: usize) -> usize {
        let upto = byte.min(self.text.len());
        self.text.as_bytes()[..upto].iter().filter(|b| **b == b'\n').count() + 1
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    title: String,
    place: Option<Place>,
    path: Option<PathBuf>,
    help: Option<String>,
    secret: bool,
}

impl Problem {
    /// `title` is a clause without final period.
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), place: None, path: None, help: None, secret: false }
    }
    /// Where it is written.
    pub(super) fn at(mut self, place: &Place) -> Self {
        self.place = Some(place.clone());
        self
    }
    /// In which file, when no line of it is to blame.
    pub(super) fn in_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }
    /// What to do instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// The line may hold a secret and is not shown: what is rendered ends in journals.
    pub(super) fn secret(self) -> Self {
        self.secret_if(true)
    }
    /// What is wrong and what to do instead, in one line.
    pub(super) fn sentence(&self) -> String {
        let help = self.help.as_ref().map_or_else(String::new, |help| format!("; {help}"));
        format!("{}{help}", self.title)
    }
    #[cfg(test)]
    pub(super) fn is_secret(&self) -> bool {
        self.secret
    }
    /// [`Self::secret`] when `yes`.
    pub(super) fn secret_if(mut self, yes: bool) -> Self {
        self.secret |= yes;
        self
    }
}

/// All that is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub(super) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Renders them; those with a place first, by file and line.
    pub(super) fn into_error(mut self, files: &[SourceFile]) -> ConfigError {
        self.0.sort_by_key(|p| p.place.as_ref().map_or((usize::MAX, 0), |at| (at.file, at.span.start)));
        let rendered: Vec<_> = self.0.iter().map(|p| render(p, files)).collect();
        let more = match self.0.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let first = self.0.first().map(|p| summary(p, files)).unwrap_or_default();
        ConfigError { rendered: rendered.join("\n\n"), summary: format!("{first}{more}") }
    }
}

fn located<'a>(problem: &Problem, files: &'a [SourceFile]) -> Option<(&'a SourceFile, Range<usize>)> {
    let place = problem.place.as_ref()?;
    let file = files.get(place.file)?;
    let end = place.span.end.min(file.text.len());
    Some((file, place.span.start.min(end)..end))
}

/// Place, thing and remedy in one line.
fn summary(problem: &Problem, files: &[SourceFile]) -> String {
    let help = problem.help.as_ref().map_or_else(String::new, |help| format!("; {}", printable(help)));
    let title = format!("{}{help}", printable(&problem.title));
    match (located(problem, files), &problem.path) {
        (Some((file, span)), _) => {
            format!("{}:{}: {title}", printable(&file.path.to_string_lossy()), file.line(span.start))
        }
        (None, Some(path)) => format!("{}: {title}", printable(&path.to_string_lossy())),
        (None, None) => title,
    }
}

fn render(problem: &Problem, files: &[SourceFile]) -> String {
    let title = printable(&problem.title);
    let help = problem.help.as_deref().map(printable);
    let mut group = Group::with_title(Level::ERROR.primary_title(&title));
    let path;
    if let Some((file, span)) = located(problem, files) {
        path = printable(&file.path.to_string_lossy());
        group = if problem.secret {
            group.element(Origin::path(&path).line(file.line(span.start)))
        } else {
            let mark = AnnotationKind::Primary.span(first_line(&file.text, span));
            group.element(Snippet::source(&file.text).path(&path).annotation(mark))
        };
    } else if let Some(given) = &problem.path {
        path = printable(&given.to_string_lossy());
        group = group.element(Origin::path(&path));
    }
    if let Some(help) = &help {
        group = group.element(Level::HELP.message(help));
    }
    Renderer::plain().render(&[group]).trim_end().to_owned()
}

/// The span's part on its first line: a caret below ten lines of a list says less.
fn first_line(text: &str, span: Range<usize>) -> Range<usize> {
    let end = text.get(span.clone()).and_then(|s| s.find('\n')).map_or(span.end, |at| span.start + at);
    span.start..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<SourceFile> {
        vec![SourceFile {
            path: "/etc/deployd/apps/shop.toml".into(),
            text: "root = \"/srv\"\nusr = \"shop\"\n".into(),
        }]
    }

    #[test]
    fn shows_file_line_caret_and_help() {
        let mut problems = Problems::default();
        let place = Place { file: 0, span: 14..17 };
        problems.push(Problem::new("unknown key \"usr\"").at(&place).help("write `user`"));
        let error = problems.into_error(&files());
        let expected = "\
error: unknown key \"usr\"
 --> /etc/deployd/apps/shop.toml:2:1
  |
2 | usr = \"shop\"
  | ^^^
  |
  = help: write `user`";
        assert_eq!(error.rendered, expected);
        assert_eq!(error.summary, "/etc/deployd/apps/shop.toml:2: unknown key \"usr\"; write `user`");
    }

    #[test]
    fn a_line_with_a_secret_is_named_not_shown() {
        let mut problems = Problems::default();
        problems.push(Problem::new("bad\x1b[2J value").at(&Place { file: 0, span: 14..17 }).secret());
        problems.push(Problem::new("is not root's").in_file("/etc/x").help("run `chown root:root /etc/x`"));
        let error = problems.into_error(&files());
        assert!(!error.rendered.contains("usr"), "{}", error.rendered);
        assert!(error.rendered.contains("shop.toml:2"), "{}", error.rendered);
        assert!(error.rendered.contains("\\u{1b}[2J"), "{}", error.rendered);
        assert!(error.rendered.contains("chown root:root /etc/x"));
        assert!(error.summary.ends_with("(and 1 more)"), "{}", error.summary);
    }
}
