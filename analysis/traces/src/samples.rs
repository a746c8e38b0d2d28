//! Small spans for the unit tests.

use std::sync::Arc;

use crate::span::{Attributes, Kind, Resource, Span, SpanId, Status, TraceId};
use crate::tree::{EntrySubtree, Refused, Trace, entries};

/// A millisecond in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// An internal span without parent, 10 ms long.
pub(crate) fn span(service: &str, name: &str) -> Span {
    let resource = Resource { service: service.into(), attributes: Attributes::default() };
    Span {
        trace: TraceId(1),
        id: SpanId(1),
        parent: None,
        resource: Arc::new(resource),
        kind: Kind::Internal,
        name: name.into(),
        start: 0,
        end: 10 * MS,
        status: Status::Unset,
        message: None,
        attributes: Attributes::default(),
        exceptions: Vec::new(),
        weight: 1.0,
    }
}

/// A child of `parent`, from and to these milliseconds.
pub(crate) fn child(id: u64, parent: u64, name: &str, from: u64, to: u64) -> Span {
    Span {
        id: SpanId(id),
        parent: (parent != 0).then_some(SpanId(parent)),
        start: from * MS,
        end: to * MS,
        ..span("shop", name)
    }
}

/// The only subtree of these spans, which must be whole.
pub(crate) fn subtree(spans: Vec<Span>) -> EntrySubtree {
    let mut refused = Refused::default();
    let trace = Trace { id: spans[0].trace, kept: crate::tree::Kept::Uniform, spans };
    let mut found = entries(trace, None, &mut refused);
    assert_eq!((found.len(), refused), (1, Refused::default()));
    found.remove(0)
}
