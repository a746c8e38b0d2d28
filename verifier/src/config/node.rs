//! YAML as a tree in which everything knows its place.
//!
//! Deserializing into structures would stop at the first mistake and lose the spelling of values
//! (`10` and `0x0A` are one number, but only one of them is a mistake for `10s`). So the events of
//! the parser are kept as they are: text, lists and maps, with spans. The tree is bounded in every
//! direction before it is built: bytes, depth, nodes, and nodes after expanding aliases.

use std::collections::HashMap;
use std::rc::Rc;

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::problem::quote;
use super::source::{Source, Span};
use super::syntax;

/// A value.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it is; for a block, where it begins.
    pub(super) span: Span,
    /// What it is.
    pub(super) kind: Kind,
    /// How many values it holds, itself and expanded aliases included.
    size: usize,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Text as it is spelled, quotes and escapes resolved.
    Text(String),
    /// A sequence.
    List(Vec<Rc<Node>>),
    /// A mapping, in the order of the file, each key once.
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key.
    pub(super) key: String,
    /// Where the key is.
    pub(super) span: Span,
    /// Its value.
    pub(super) value: Rc<Node>,
}

/// No configuration by hand nests deeper; ours has seven levels.
const DEEPEST: usize = 32;

/// Far beyond any real file, and small enough that each pass over the tree takes milliseconds.
const MOST_NODES: usize = 20_000;

/// The documents of the text; problems are noted in `source`. Documents before a syntax error are
/// there, the one that holds it is not.
pub(super) fn documents(source: &Source<'_>) -> Vec<Rc<Node>> {
    let mut builder =
        Builder { source, documents: vec![], open: vec![], anchors: HashMap::new(), nodes: 0 };
    for event in Parser::new_from_str(source.text()) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.syntax(&error);
                break;
            }
        };
        let span =
            span.byte_range().map_or(Span::default(), |r| Span { start: r.start, end: r.end });
        if builder.event(event, span).is_err() {
            break;
        }
    }
    builder.documents
}

/// The file is past a limit; the problem is noted and reading ends.
struct TooMuch;

/// A list or map that has not ended yet.
struct Open {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    /// Entries, and the key that waits for its value.
    Map(Vec<Entry>, Option<(String, Span)>),
}

struct Builder<'a> {
    source: &'a Source<'a>,
    documents: Vec<Rc<Node>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
}

impl Builder<'_> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's events may grow; comments and the like hold no value"
    )]
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), TooMuch> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                let plain = style == ScalarStyle::Plain;
                let kind = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Kind::Null,
                    _ => Kind::Text(text.into_owned()),
                };
                self.value(Rc::new(Node { span, kind, size: 1 }), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.begin(span, anchor, Content::List(vec![]))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.begin(span, anchor, Content::Map(vec![], None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => {
                let node = self.alias(anchor, span);
                self.nodes = self.nodes.saturating_add(node.size - 1);
                self.value(node, 0)
            }
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn alias(&self, anchor: usize, span: Span) -> Rc<Node> {
        self.anchors.get(&anchor).cloned().unwrap_or_else(|| {
            let message = "an alias within its own anchor has no end";
            self.note(span, message, Some("write the value out"));
            Rc::new(Node { span, kind: Kind::Null, size: 1 })
        })
    }

    fn begin(&mut self, span: Span, anchor: usize, content: Content) -> Result<(), TooMuch> {
        if self.open.len() == DEEPEST {
            let message = format!("lists and maps nest more than {DEEPEST} deep");
            self.note(
                span,
                &message,
                Some("nothing that Serin reads nests so deep; look for a stray bracket"),
            );
            return Err(TooMuch);
        }
        self.open.push(Open { span, anchor, content });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), TooMuch> {
        let Some(Open { span: start, anchor, content }) = self.open.pop() else {
            return Ok(());
        };
        let (kind, size) = match content {
            Content::List(items) => {
                let size = items.iter().fold(1, |sum: usize, item| sum.saturating_add(item.size));
                (Kind::List(items), size)
            }
            Content::Map(entries, _) => {
                let size = entries.iter().fold(1, |sum: usize, e| sum.saturating_add(e.value.size));
                (Kind::Map(entries), size)
            }
        };
        let span = Span { start: start.start, end: span.end.max(start.end) };
        self.value(Rc::new(Node { span, kind, size }), anchor)
    }

    /// A value is complete: it becomes an item, a key, an entry or a document.
    fn value(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), TooMuch> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > MOST_NODES {
            let message = format!(
                "the file holds more than {MOST_NODES} values, counting what its aliases repeat"
            );
            self.note(
                node.span,
                &message,
                Some("split it, and write out what the aliases (`*name`) repeat"),
            );
            return Err(TooMuch);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        if let Some(Open { content: Content::Map(entries, None), .. }) = self.open.last() {
            let key = self.key(entries, &node);
            if let Some(Open { content: Content::Map(_, waiting), .. }) = self.open.last_mut() {
                *waiting = Some(key);
            }
            return Ok(());
        }
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open { content: Content::List(items), .. }) => items.push(node),
            Some(Open { content: Content::Map(entries, waiting), .. }) => {
                let waiting = waiting.take().filter(|(key, _)| !key.is_empty());
                entries.extend(waiting.map(|(key, span)| Entry { key, span, value: node }));
            }
        }
        Ok(())
    }

    /// A key of a map, and where it is; what cannot be one, or was there before, is noted and
    /// becomes the empty key, whose value is dropped.
    fn key(&self, entries: &[Entry], node: &Node) -> (String, Span) {
        let text = match &node.kind {
            Kind::Text(text) => text.as_str(),
            Kind::Null => "null",
            Kind::List(_) | Kind::Map(_) => {
                let hint = "quote it if it begins with `[` or `{`";
                self.note(node.span, "a key is a word, not a list or a map", Some(hint));
                ""
            }
        };
        if text == "<<" {
            self.note(node.span, "merge keys (`<<`) are not read", Some("write the keys out"));
            return (String::new(), node.span);
        }
        if let Some(first) = entries.iter().find(|entry| entry.key == text) {
            let path = self.path();
            let dot = if path.is_empty() { "" } else { "." };
            let message = format!("{} is given twice in the same map", quote(text));
            let hint = format!(
                "the first is in line {}; keep one of the two",
                self.source.line(first.span)
            );
            self.source.problem(node.span, &format!("{path}{dot}{text}"), message, Some(hint));
            return (String::new(), node.span);
        }
        (text.to_owned(), node.span)
    }

    fn tag(&self, tag: Option<&Tag>, span: Span) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema()) {
            let message = format!("the tag {} means nothing to Serin", quote(&tag.original()));
            self.note(span, &message, Some("write the value without a tag"));
        }
    }

    fn syntax(&self, error: &ScanError) {
        let text = self.source.text();
        let at = error.marker().byte_offset().unwrap_or(0).min(text.len());
        // An error at the end of the file points to its last line, where something is missing.
        let start = if at == text.len() { text.trim_end().len() } else { at };
        let line = text.lines().nth(error.marker().line().saturating_sub(1)).unwrap_or_default();
        let message = format!("this is not valid YAML: {}", error.info());
        self.note(Span { start, end: start + 1 }, &message, Some(syntax::hint(error.kind(), line)));
    }

    /// The dotted key of where the parser is.
    fn path(&self) -> String {
        self.open.iter().fold(String::new(), |path, open| match &open.content {
            Content::List(items) => format!("{path}[{}]", items.len()),
            Content::Map(_, Some((key, _))) if path.is_empty() => key.clone(),
            Content::Map(_, Some((key, _))) => format!("{path}.{key}"),
            Content::Map(_, None) => path,
        })
    }

    fn note(&self, span: Span, message: &str, hint: Option<&str>) {
        self.source.problem(span, &self.path(), message.to_owned(), hint.map(str::to_owned));
    }
}
