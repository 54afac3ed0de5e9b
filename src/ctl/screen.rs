//! What is told while a deployment runs. At a terminal: lines, and below them one that is redrawn with a bar; of each
//! step a few lines, the rest counted and, if it fails, its end shown. Elsewhere: every line as it comes.

use std::{
    collections::VecDeque,
    io::Write,
    time::{Duration, Instant},
};

use super::fit::cut;
use crate::model::printable;

/// Lines of one step that are shown at a terminal as they come.
const SHOWN: usize = 12;
/// Of those that are not, the last ones that are shown when it fails.
const LAST: usize = 10;
/// Columns of the bar.
const BAR: usize = 20;

/// Where it is told.
pub struct Screen<W: Write> {
    out: W,
    /// The terminal's columns; none: it cannot redraw a line.
    columns: Option<usize>,
    begun: Instant,
    now: Now,
    /// The step whose lines come, and how many have.
    step: String,
    came: usize,
    folded: VecDeque<String>,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Now {
    /// `staging`, …
    pub phase: String,
    /// The step, if any.
    pub step: String,
    /// 0 to 1; none: not known.
    pub fraction: Option<f64>,
}

impl<W: Write> Screen<W> {
    /// Over a terminal of so many columns, or over something else.
    pub fn new(out: W, columns: Option<usize>) -> Self {
        let (now, begun) = (Now::default(), Instant::now());
        Self { out, columns, begun, now, step: String::new(), came: 0, folded: VecDeque::new() }
    }

    /// Whether a line is redrawn.
    pub fn is_live(&self) -> bool {
        self.columns.is_some()
    }

    /// A phase or a step begins.
    pub fn heading(&mut self, heading: &str, step: &str) {
        self.unfold(false);
        self.step = step.to_owned();
        self.line(&format!("==> {heading}"));
    }

    /// A line of a step, or of nobody's.
    pub fn output(&mut self, step: &str, text: &str) {
        let text = printable(text);
        if self.columns.is_none() {
            let line = if step.is_empty() { format!("  {text}") } else { format!("  {}: {text}", printable(step)) };
            return self.line(&line);
        }
        if step != self.step {
            self.unfold(false);
            self.step = step.to_owned();
        }
        self.came += usize::from(!step.is_empty());
        let line = format!("    {text}");
        if self.came <= SHOWN {
            return self.line(&line);
        }
        if self.folded.len() == LAST {
            self.folded.pop_front();
        }
        self.folded.push_back(line);
        self.redraw();
    }

    /// Something about what is told.
    pub fn say(&mut self, text: &str) {
        self.line(text);
    }

    /// How far it is, now.
    pub fn set(&mut self, now: Now) {
        self.now = now;
        self.redraw();
    }

    /// Draws the line anew: its clock has gone on.
    pub fn redraw(&mut self) {
        let Some(columns) = self.columns else { return };
        let line = status(&self.now, self.begun.elapsed(), columns.saturating_sub(1));
        let _ = write!(self.out, "\r\u{1b}[K{line}").and_then(|()| self.out.flush());
    }

    /// It is over: the redrawn line goes, and of a step that failed its last lines are shown.
    pub fn end(&mut self, failed: bool) {
        self.unfold(failed);
        self.clear();
    }

    fn clear(&mut self) {
        if self.columns.is_some() {
            let _ = write!(self.out, "\r\u{1b}[K").and_then(|()| self.out.flush());
        }
    }

    /// Says how many lines of the step were not shown; of one that failed the last of them.
    fn unfold(&mut self, failed: bool) {
        let folded = std::mem::take(&mut self.folded);
        let hidden = self.came.saturating_sub(SHOWN).saturating_sub(if failed { folded.len() } else { 0 });
        self.came = 0;
        if hidden > 0 {
            self.line(&format!("    … {hidden} more lines, in `deployctl logs`"));
        }
        if failed {
            folded.iter().for_each(|line| self.line(line));
        }
    }

    /// A line for good, above the one that is redrawn. Lost when nobody reads it.
    fn line(&mut self, text: &str) {
        match self.columns {
            Some(columns) => {
                let _ = writeln!(self.out, "\r\u{1b}[K{}", cut(text, columns));
                self.redraw();
            }
            None => {
                let _ = writeln!(self.out, "{text}");
            }
        }
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `[########------------]  41%  Staging: composer-install  0:12`; without a fraction no bar.
fn status(now: &Now, since: Duration, columns: usize) -> String {
    let bar = now.fraction.map(bar).unwrap_or_default();
    let seconds = since.as_secs();
    let clock = format!("  {}:{:02}", seconds / 60, seconds % 60);
    let what = match now.step.is_empty() {
        true => super::entry::heading(&now.phase),
        false => format!("{}: {}", super::entry::heading(&now.phase), now.step),
    };
    // What moves stays in sight.
    let room = columns.saturating_sub(bar.len() + clock.len());
    cut(&format!("{bar}{}{clock}", cut(&printable(&what), room)), columns)
}

fn bar(fraction: f64) -> String {
    let fraction = fraction.clamp(0.0, 1.0);
    let done = (1..=BAR).filter(|part| fraction * 20.0 >= *part as f64).count();
    format!("[{}{}] {:>3.0}%  ", "#".repeat(done), "-".repeat(BAR - done), fraction * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(columns: Option<usize>, tell: impl Fn(&mut Screen<&mut Vec<u8>>)) -> String {
        let mut out = Vec::new();
        tell(&mut Screen::new(&mut out, columns));
        String::from_utf8(out).unwrap()
    }

    /// Everything but the two sequences of ours, which stay within one line.
    fn foreign(text: &str) -> bool {
        text.replace("\r\u{1b}[K", "").chars().any(|c| c.is_control() && c != '\n')
    }

    #[test]
    fn elsewhere_every_line_is_told_and_nothing_is_redrawn() {
        let text = told(None, |screen| {
            screen.heading("Staging: npm-ci", "npm-ci");
            screen.set(Now { fraction: Some(0.5), ..Now::default() });
            (0..40).for_each(|n| screen.output("npm-ci", &format!("line {n} \u{1b}[2J")));
            screen.end(true);
        });
        assert_eq!(text.lines().count(), 41);
        assert!(text.starts_with("==> Staging: npm-ci\n  npm-ci: line 0 \\u{1b}[2J\n") && !foreign(&text), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn at_a_terminal_a_step_s_lines_are_folded_and_its_failure_shows_the_end() {
        let tell = |failed| {
            told(Some(40), |screen: &mut Screen<&mut Vec<u8>>| {
                screen.heading("Staging: npm-ci", "npm-ci");
                (0..40)
                    .for_each(|n| screen.output("npm-ci", &format!("line {n} \u{1b}[2J\u{9b}2J {}", "x".repeat(99))));
                screen.end(failed);
            })
        };
        let (good, bad) = (tell(false), tell(true));
        for text in [&good, &bad] {
            assert!(!foreign(text), "{text:?}");
            assert!(text.contains("    line 11 ") && !text.contains("    line 12 "), "{text}");
            for line in text.split(['\n', '\r']) {
                assert!(super::super::fit::width(&line.replace("\u{1b}[K", "")) <= 40, "{line:?}");
            }
            assert!(text.ends_with("\r\u{1b}[K"), "nothing is left of the redrawn line");
        }
        assert!(good.contains("… 28 more lines") && !good.contains("line 39"));
        assert!(bad.contains("… 18 more lines") && bad.contains("    line 30 ") && bad.contains("    line 39 "));
    }

    #[test]
    fn the_redrawn_line_says_how_far_it_is() {
        let now = Now { phase: "staging".into(), step: "composer-install".into(), fraction: Some(0.41) };
        let second = Duration::from_secs(72);
        assert_eq!(status(&now, second, 79), "[########------------]  41%  Staging: composer-install  1:12");
        let blind = Now { fraction: None, ..now.clone() };
        assert_eq!(status(&blind, second, 79), "Staging: composer-install  1:12");
        assert_eq!(status(&Now { step: "日本\u{1b}[2J".repeat(40), ..now }, second, 60).chars().last(), Some('2'));
    }
}
