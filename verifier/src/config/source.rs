//! A file's text, the places in it, and the problems found so far.
//!
//! Problems are collected rather than returned, since all of them are reported in one run. The text
//! knows which of its parts may be secrets, so that every excerpt and every quoted value is cleared
//! of them in one place.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use super::problem::{Excerpt, Problem};
use super::secret;

/// Bytes of the text; a plain pair, since ranges cannot be copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    /// First byte.
    pub(super) start: usize,
    /// First byte after it.
    pub(super) end: usize,
}

/// More problems than this help nobody, and a hostile file must not fill the memory with them.
const MOST_PROBLEMS: usize = 100;

/// Regular expressions that a file may hold; compiling one can take some milliseconds.
const MOST_PATTERNS: usize = 100;

/// Characters of a line that an excerpt shows around the place, so that it fits on a screen.
const EXCERPT_WIDTH: usize = 120;

/// What a hidden value is shown as; always the same length, which tells nothing.
const HIDDEN: &str = "********";

/// A problem before it has its excerpt.
struct Noted {
    span: Span,
    key: String,
    message: String,
    hint: Option<String>,
}

/// A file's text with the problems found in it.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// Byte at which each line begins.
    lines: Vec<usize>,
    hidden: RefCell<Vec<Span>>,
    /// Excerpts are made at the end, when all that is to be hidden is known.
    noted: RefCell<Vec<Noted>>,
    left_out: Cell<usize>,
    patterns: Cell<usize>,
}

impl<'a> Source<'a> {
    /// The text of `file`.
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            text,
            lines: std::iter::once(0).chain(breaks.map(|(index, _)| index + 1)).collect(),
            hidden: RefCell::default(),
            noted: RefCell::default(),
            left_out: Cell::new(0),
            patterns: Cell::new(0),
        }
    }

    /// The text.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// From now on no excerpt shows this part.
    pub(super) fn hide(&self, span: Span) {
        self.hidden.borrow_mut().push(span);
    }

    /// Whether a part of it is hidden.
    pub(super) fn hides(&self, span: Span) -> bool {
        self.hidden.borrow().iter().any(|h| h.start < span.end && span.start < h.end)
    }

    /// Notes a problem at `span`.
    pub(super) fn problem(&self, span: Span, key: &str, message: String, hint: Option<String>) {
        if self.noted.borrow().len() >= MOST_PROBLEMS {
            self.left_out.set(self.left_out.get() + 1);
            return;
        }
        self.noted.borrow_mut().push(Noted { span, key: key.to_owned(), message, hint });
    }

    /// Counts one more regular expression; whether it is still within bounds.
    pub(super) fn allows_pattern(&self) -> bool {
        self.patterns.set(self.patterns.get() + 1);
        self.patterns.get() <= MOST_PATTERNS
    }

    /// How many problems there are so far.
    pub(super) fn count(&self) -> usize {
        self.noted.borrow().len()
    }

    /// The problems, in the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut noted = self.noted.take();
        noted.sort_by_key(|noted| noted.span.start);
        let problem = |Noted { span, key, message, hint }| {
            let (line, column) = self.position(span.start);
            let snippet = self.excerpt(line, span);
            Problem { file: self.file.to_owned(), line, column, key, message, hint, snippet }
        };
        let mut problems: Vec<Problem> = noted.into_iter().map(problem).collect();
        if let (more @ 1.., Some(last)) = (self.left_out.get(), problems.last_mut()) {
            let note = format!("{more} more problems were left out; mend these first");
            last.hint =
                Some(last.hint.take().map_or(note.clone(), |hint| format!("{hint}; {note}")));
        }
        problems
    }

    /// Line of a span's beginning, from 1.
    pub(super) fn line(&self, span: Span) -> usize {
        self.position(span.start).0
    }

    /// Line and column, both from 1, of a byte.
    fn position(&self, byte: usize) -> (usize, usize) {
        let byte = self.text.floor_char_boundary(byte);
        let line = self.lines.partition_point(|start| *start <= byte).max(1);
        (line, self.text[self.lines[line - 1]..byte].chars().count() + 1)
    }

    /// The part of a line around `span`, without what is hidden.
    fn excerpt(&self, line: usize, span: Span) -> Option<Excerpt> {
        let begin = self.lines[line - 1];
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        let whole = self.text[begin..end].trim_end_matches('\r');
        if whole.trim().is_empty() {
            return None;
        }
        // A span may reach into the line break, which is not shown.
        let within =
            |byte| self.text.floor_char_boundary(byte).saturating_sub(begin).min(whole.len());
        let (start, stop) = (within(span.start), within(span.end));
        let hidden = self.hidden_in(begin, whole);
        Some(cut(whole, start..stop.max(start), &hidden))
    }

    /// Hidden parts of one line, relative to it: those that are known, and what looks like one.
    fn hidden_in(&self, begin: usize, line: &str) -> Vec<Span> {
        let end = begin + line.len();
        let known = self.hidden.borrow();
        let inside = known.iter().filter(|h| h.start < end && begin < h.end);
        let relative = inside.map(|h| Span {
            start: h.start.saturating_sub(begin),
            end: (h.end - begin).min(line.len()),
        });
        relative.chain(secret::guess(line)).collect()
    }
}

/// An excerpt of about [`EXCERPT_WIDTH`] characters, hidden parts replaced.
fn cut(line: &str, underline: Range<usize>, hidden: &[Span]) -> Excerpt {
    let before = line[..underline.start].chars().count();
    let fits = line.chars().nth(EXCERPT_WIDTH).is_none();
    let skip = if fits { 0 } else { before.saturating_sub(EXCERPT_WIDTH / 2) };
    let mut text = String::from(if skip > 0 { "…" } else { "" });
    let (mut start, mut stop) = (None, None);
    let (mut hiding, mut mask) = (false, 0);
    for (index, (byte, character)) in line.char_indices().enumerate().skip(skip) {
        let secret = hidden.iter().any(|h| h.start <= byte && byte < h.end);
        if byte >= underline.start {
            start.get_or_insert(if secret && hiding { mask } else { text.len() });
        }
        if byte >= underline.end {
            stop.get_or_insert(text.len());
        }
        if index >= skip + EXCERPT_WIDTH {
            text.push('…');
            break;
        }
        match (secret, hiding) {
            (true, false) => {
                mask = text.len();
                text.push_str(HIDDEN);
            }
            (true, true) => {}
            // A tab is as wide as the terminal likes, which would move the underline.
            (false, _) => text.push(if character.is_control() { ' ' } else { character }),
        }
        hiding = secret;
    }
    let start = start.unwrap_or(text.len()).min(text.len());
    let stop = stop.unwrap_or(text.len()).clamp(start, text.len());
    // At least one character is underlined where there is one.
    let least = text[start..].chars().next().map_or(start, |c| start + c.len_utf8());
    Excerpt { underline: start..stop.max(least), text }
}
