//! What every format hands its findings to: the one place where limits hold.
//!
//! A format finds attributes and exceptions, then finishes the resource or span that they belong to. Memory is
//! counted as it is taken, because two bytes in a body can become forty in a span.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;

use analysis_traces::{Attributes, Exception, Kind, Resource, Span, Status, Value};

use super::ids::Ids;
use super::texts::Texts;
use super::{Decoded, Limits, Refusals};

/// Exceptions of one span; retries record some, loops record thousands. The last is always kept: the span ended
/// with it.
const MOST_EXCEPTIONS: usize = 8;

/// What a process that does not say its name is called, as OpenTelemetry's SDKs do.
const UNKNOWN: &str = "unknown_service";

/// A value as a format has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found<'a> {
    /// Text, perhaps not UTF-8.
    Text(&'a [u8]),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

/// What makes a span besides its attributes and exceptions.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft<'a> {
    /// `None` when an id is missing, zero or of a wrong length.
    pub(super) ids: Option<Ids>,
    pub(super) name: &'a [u8],
    pub(super) kind: Kind,
    /// Nanoseconds since 1970.
    pub(super) start: Option<u64>,
    /// Nanoseconds since 1970.
    pub(super) end: Option<u64>,
    pub(super) status: Status,
    /// Empty for none.
    pub(super) message: &'a [u8],
    /// The W3C header; empty for none.
    pub(super) tracestate: &'a str,
}

/// Takes what a format finds.
#[derive(Debug)]
pub(super) struct Builder<'l> {
    pub(super) limits: &'l Limits,
    /// Bytes that may still be taken.
    room: usize,
    texts: Texts,
    /// By a hash of their content.
    resources: HashMap<u64, Arc<Resource>>,
    hashes: RandomState,
    /// Of the resource or span under way.
    attributes: Vec<(Arc<str>, Value)>,
    /// Of the span under way.
    exceptions: Vec<Exception>,
    /// Whether an attribute of the span under way may tell of an exception.
    tells_error: bool,
    pub(super) spans: Vec<Span>,
    pub(super) refused: Refusals,
}

impl<'l> Builder<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Self {
            limits,
            room: limits.max_bytes.saturating_mul(2),
            texts: Texts::new(),
            resources: HashMap::new(),
            hashes: RandomState::new(),
            attributes: Vec::new(),
            exceptions: Vec::new(),
            tells_error: false,
            spans: Vec::new(),
            refused: Refusals::default(),
        }
    }

    /// Everything that was taken.
    pub(super) fn done(self) -> Decoded {
        Decoded { spans: self.spans, refused: self.refused }
    }

    /// Begins a resource.
    pub(super) fn begin(&mut self) {
        self.attributes.clear();
        self.exceptions.clear();
        self.tells_error = false;
    }

    /// Begins a span; `false` when there is no room for one, which is counted.
    pub(super) fn next(&mut self) -> bool {
        self.begin();
        let has_room = self.spans.len() < self.limits.max_spans && self.has_room();
        if !has_room {
            self.refused.too_many += 1;
        }
        has_room
    }

    /// Whether memory is left.
    pub(super) const fn has_room(&self) -> bool {
        self.room > 0
    }

    /// Whether a further attribute would be dropped.
    pub(super) const fn is_wide(&self) -> bool {
        self.attributes.len() >= self.limits.max_attributes
    }

    /// Takes an attribute of the resource or span under way.
    pub(super) fn attribute(&mut self, name: &[u8], value: Found<'_>) {
        if self.is_wide() {
            self.refused.attributes += 1;
            return;
        }
        self.tells_error |= name.starts_with(b"exception.") || name.starts_with(b"error.");
        let value = match value {
            Found::Text(text) => {
                let is_stack = text.len() > self.limits.max_text && is_stack(name);
                Value::Text(if is_stack { self.stack(text) } else { self.text(text) })
            }
            Found::Integer(number) => Value::Integer(number),
            Found::Number(number) => Value::Number(number),
            Found::Flag(flag) => Value::Flag(flag),
        };
        let name = self.text(name);
        self.attributes.push((name, value));
    }

    /// Takes an exception of the span under way; an empty stack is none.
    pub(super) fn exception(&mut self, kind: &[u8], message: &[u8], stack: &[u8]) {
        if self.exceptions.len() == MOST_EXCEPTIONS {
            self.exceptions.pop();
            self.refused.exceptions += 1;
        }
        let (kind, message) = (self.text(kind), self.text(message));
        let stack = (!stack.is_empty()).then(|| self.stack(stack));
        self.exceptions.push(Exception { kind, message, stack });
    }

    /// Finishes the resource under way; equal ones are shared.
    pub(super) fn resource(&mut self) -> Arc<Resource> {
        let is_name = |(name, value): &(Arc<str>, Value)| {
            &**name == "service.name" && value.text().is_some_and(|text| !text.is_empty())
        };
        let service = match self.attributes.iter().position(is_name) {
            Some(at) => match self.attributes.remove(at).1 {
                Value::Text(text) => text,
                other @ (Value::Integer(_) | Value::Number(_) | Value::Flag(_)) => {
                    other.to_string().into()
                }
            },
            None => self.text(UNKNOWN.as_bytes()),
        };
        let attributes = Attributes(self.attributes.drain(..).collect());
        self.begin();
        let resource = Resource { service, attributes };
        let hash = self.hash(&resource);
        if let Some(known) = self.resources.get(&hash)
            && **known == resource
        {
            return Arc::clone(known);
        }
        self.take(128 + 40 * resource.attributes.0.len());
        let resource = Arc::new(resource);
        if self.has_room() {
            self.resources.insert(hash, Arc::clone(&resource));
        }
        resource
    }

    fn hash(&self, resource: &Resource) -> u64 {
        let mut hasher = self.hashes.build_hasher();
        resource.service.hash(&mut hasher);
        for (name, value) in &resource.attributes.0 {
            name.hash(&mut hasher);
            match value {
                Value::Text(text) => text.hash(&mut hasher),
                Value::Integer(number) => number.hash(&mut hasher),
                Value::Number(number) => number.to_bits().hash(&mut hasher),
                Value::Flag(flag) => flag.hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// Finishes the span under way.
    pub(super) fn finish(&mut self, resource: &Arc<Resource>, draft: &Draft<'_>) {
        let Some(ids) = draft.ids else {
            self.refused.bad_ids += 1;
            return;
        };
        let (Some(start), Some(end)) = (draft.start, draft.end) else {
            self.refused.no_time += 1;
            return;
        };
        let name = self.text(draft.name);
        let message = (!draft.message.is_empty()).then(|| self.text(draft.message));
        let attributes = Attributes(self.attributes.drain(..).collect());
        if self.tells_error && self.exceptions.is_empty() {
            self.exceptions.extend(exception_of(&attributes));
        }
        let exceptions: Vec<Exception> = self.exceptions.drain(..).collect();
        self.take(size_of::<Span>() + 40 * attributes.0.len() + 56 * exceptions.len());
        let weight = if draft.tracestate.is_empty() {
            1.0
        } else {
            analysis_traces::sampling_weight(draft.tracestate)
        };
        self.spans.push(Span {
            trace: ids.trace,
            id: ids.id,
            parent: ids.parent,
            resource: Arc::clone(resource),
            kind: draft.kind,
            name,
            start,
            end,
            status: draft.status,
            message,
            attributes,
            exceptions,
            weight,
        });
    }

    /// A name or value, cut to its limit.
    pub(super) fn text(&mut self, bytes: &[u8]) -> Arc<str> {
        self.shared(bytes, self.limits.max_text)
    }

    fn stack(&mut self, bytes: &[u8]) -> Arc<str> {
        self.shared(bytes, self.limits.max_stack())
    }

    fn shared(&mut self, bytes: &[u8], most: usize) -> Arc<str> {
        let kept = cut(bytes, most);
        self.refused.cut += u64::from(kept.len() < bytes.len());
        if let Some(text) = self.texts.known(kept) {
            return text;
        }
        let text: Arc<str> = if let Ok(text) = str::from_utf8(kept) {
            text.into()
        } else {
            self.refused.invalid_text += 1;
            let mended = String::from_utf8_lossy(kept);
            // One wrong byte becomes three.
            let end = mended.floor_char_boundary(most);
            mended[..end].into()
        };
        self.take(32 + text.len());
        self.texts.remember(&text);
        text
    }

    const fn take(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }
}

/// The first bytes of a text, up to `most`, without a part of a character.
pub(super) fn cut(bytes: &[u8], most: usize) -> &[u8] {
    if bytes.len() <= most {
        return bytes;
    }
    // A byte that continues a character has the upper bits 10; a character has at most three of them.
    let continues = |at: &usize| bytes[*at] & 0xc0 == 0x80;
    let end = (most.saturating_sub(3)..=most).rev().find(|at| !continues(at)).unwrap_or(most);
    &bytes[..end]
}

/// Whether an attribute holds a stack trace.
fn is_stack(name: &[u8]) -> bool {
    name.ends_with(b"stacktrace") || name == b"error.stack"
}

/// The exception that a span tells of by its attributes alone.
fn exception_of(attributes: &Attributes) -> Option<Exception> {
    let text = |names: [&str; 3]| {
        let texts = names.iter().filter_map(|name| match attributes.get(name)? {
            Value::Text(text) => Some(Arc::clone(text)),
            Value::Integer(_) | Value::Number(_) | Value::Flag(_) => None,
        });
        texts.into_iter().find(|text| !text.is_empty())
    };
    let kind = text(["exception.type", "error.type", "error.kind"]);
    let message = text(["exception.message", "error.message", "error.msg"]);
    let stack = text(["exception.stacktrace", "error.stack", "error.stacktrace"]);
    if kind.is_none() && message.is_none() && stack.is_none() {
        return None;
    }
    Some(Exception { kind: kind.unwrap_or_default(), message: message.unwrap_or_default(), stack })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        for (text, most, expected) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("aé", 2, "a"),
            ("€€", 5, "€"),
            ("🦀", 3, ""),
            ("🦀", 0, ""),
        ] {
            assert_eq!(cut(text.as_bytes(), most), expected.as_bytes(), "{text} {most}");
        }
        assert_eq!(cut(&[0x80; 9], 5).len(), 5);
    }

    #[test]
    fn the_memory_of_what_is_decoded_is_bounded() {
        let limits = Limits { max_bytes: 2_000, ..Limits::default() };
        let mut builder = Builder::new(&limits);
        let resource = builder.resource();
        let ids = Ids::of_bytes(&[1; 16], &[1; 8], &[]);
        for number in 0..100_u8 {
            if builder.next() {
                builder.attribute(&[b'a', b'0' + number % 10], Found::Flag(true));
                let draft = Draft { ids, start: Some(1), end: Some(2), ..Draft::default() };
                builder.finish(&resource, &draft);
            }
        }
        let decoded = builder.done();
        assert!(decoded.spans.len() < 25, "{}", decoded.spans.len());
        assert_eq!(decoded.refused.too_many, 100 - decoded.spans.len() as u64);
    }

    #[test]
    fn the_last_exception_is_kept() {
        let limits = Limits::default();
        let mut builder = Builder::new(&limits);
        let resource = builder.resource();
        assert!(builder.next());
        for number in 0..20 {
            builder.exception(format!("E{number}").as_bytes(), b"", b"");
        }
        let ids = Ids::of_bytes(&[1; 16], &[1; 8], &[]);
        let draft = Draft { ids, start: Some(1), end: Some(2), ..Draft::default() };
        builder.finish(&resource, &draft);
        let decoded = builder.done();
        assert_eq!(decoded.spans[0].exceptions.len(), MOST_EXCEPTIONS);
        assert_eq!(&*decoded.spans[0].exceptions.last().unwrap().kind, "E19");
        assert_eq!(decoded.refused.exceptions, 12);
    }
}
