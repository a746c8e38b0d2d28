//! What is wrong in a file, told as a colleague would: what, where, and what to write instead.
//!
//! A problem is a plain value with everything that is needed to show it, so that the terminal, the
//! page and `--json` tell the same story. Its excerpt is one line, cut to size and with secrets
//! hidden before it is stored: nothing that leaves the configuration can leak one.

use std::fmt::{self, Write};
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// One thing that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}", self.render(Colour::Never))]
pub struct Problem {
    /// The file, as it was named by the caller.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The dotted key, e.g. `spec.steps[1].weight`; empty when it is about the file as a whole.
    pub key: String,
    /// What is wrong: one sentence, no full stop.
    pub message: String,
    /// What to do about it, no full stop.
    pub hint: Option<String>,
    /// The line it is about; `None` when there is no text to show, e.g. in an empty file.
    pub snippet: Option<Excerpt>,
}

/// One line of a file with the part that a problem is about; secrets in it are hidden.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// The text, at most a screen wide.
    pub text: String,
    /// Which bytes of `text` to underline; never empty unless the line ends there.
    pub underline: Range<usize>,
}

/// Whether problems are shown in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// With terminal colours.
    Always,
    /// Plain text.
    Never,
}

impl Problem {
    fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Always => Renderer::styled(),
            Colour::Never => Renderer::plain(),
        };
        let title = Level::ERROR.with_name("problem").primary_title(clean(&self.message));
        let path = clean(&self.file);
        let mut group: Group<'_> = match &self.snippet {
            Some(excerpt) => {
                let source = Snippet::source(excerpt.text.as_str())
                    .line_start(self.line)
                    .annotation(AnnotationKind::Primary.span(excerpt.underline.clone()));
                // The renderer counts columns in the text that it is given. Where that was cut or
                // hides a secret, the count would be wrong, so the place is told by itself.
                let before = excerpt.text.get(..excerpt.underline.start).unwrap_or_default();
                if before.chars().count() + 1 == self.column {
                    title.element(source.path(path))
                } else {
                    let place = Origin::path(path).line(self.line).char_column(self.column);
                    title.element(place).element(source)
                }
            }
            None => title.element(Origin::path(path).line(self.line).char_column(self.column)),
        };
        if !self.key.is_empty() {
            group = group.element(Level::NOTE.with_name("key").message(clean(&self.key)));
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.with_name("hint").message(clean(hint)));
        }
        renderer.render(&[group])
    }
}

/// All problems as a person reads them, one after the other, with a count at the end.
pub fn render_problems(problems: &[Problem], colour: Colour) -> String {
    let mut text: String = problems.iter().map(|problem| problem.render(colour) + "\n\n").collect();
    match problems.len() {
        0 => {}
        1 => text.push_str("1 problem\n"),
        count => writeln!(text, "{count} problems").expect("writing to a string cannot fail"),
    }
    text
}

/// Text from a file that is put into a sentence: no control characters, at most 60 characters.
pub(super) fn quote(text: &str) -> Quoted<'_> {
    Quoted(text)
}

/// See [`quote`].
pub(super) struct Quoted<'a>(&'a str);

/// Longer values say no more to a person, and a line of a terminal holds it with its sentence.
const LONGEST_QUOTE: usize = 60;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        let shown: String = characters.by_ref().take(LONGEST_QUOTE).collect();
        let more = if characters.next().is_some() { "…" } else { "" };
        write!(f, "`{}{more}`", clean(&shown))
    }
}

/// The text with control characters made visible, so that no file can steer a terminal.
fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if hidden(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}
