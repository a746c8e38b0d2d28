//! A complete trace, taken apart: the requests of one service, the errors of each, and their subtrees.
//!
//! Works on its own, outside of every lock. Errors are found as [`analysis_traces::errors_of`] finds them, but also
//! in traces that lack a span: such a trace is not compared, but its errors are seen.

use std::collections::HashMap;
use std::sync::Arc;

use analysis_traces::{
    EntrySubtree, ErrorKind, Kept, Refused, Resource, Span, Status, Trace, TraceId, entries,
    error_of, is_synthetic, name_of, synthetic_entries,
};

use super::request;
use super::tail::Pending;

/// Errors of one trace that are looked at.
const MOST_ERRORS: usize = 256;

/// A cause is looked for so many spans upwards.
const HIGHEST: usize = 1_000;

/// One request of a service.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) resource: Arc<Resource>,
    pub(super) route: Arc<str>,
    /// One of each kind.
    pub(super) errors: Vec<ErrorKind>,
    /// Unless something of it is missing or wrong.
    pub(super) subtree: Option<EntrySubtree>,
}

/// What a trace says of one service.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) service: Arc<str>,
    pub(super) requests: Vec<Request>,
    /// What synthetic checks asked for.
    pub(super) synthetic: Vec<EntrySubtree>,
    pub(super) refused: Refused,
}

/// Takes a trace apart for each service that somebody wants.
pub(super) fn complete(id: TraceId, pending: Pending) -> Vec<Complete> {
    let Pending { mut spans, services, is_whole, .. } = pending;
    let last = services.len().saturating_sub(1);
    let mut all = Vec::with_capacity(services.len());
    for (at, service) in services.into_iter().enumerate() {
        let own = if at == last { std::mem::take(&mut spans) } else { spans.clone() };
        all.push(of_service(id, own, service, is_whole));
    }
    all
}

fn of_service(id: TraceId, spans: Vec<Span>, service: Arc<str>, is_whole: bool) -> Complete {
    let links = Links::new(&spans);
    let is_entry = |index: usize| {
        let span = &spans[index];
        let of_service = |span: &Span| span.resource.service == service;
        links.is_first(span, index)
            && span.kind.receives()
            && of_service(span)
            && !links.parent(&spans, index).is_some_and(|parent| of_service(&spans[parent]))
            && request::is_counted(span)
    };
    let found: Vec<usize> = (0..spans.len()).filter(|index| is_entry(*index)).collect();
    let mut errors = links.errors(&spans, &found);
    let mut requests: Vec<(u64, Request)> = found
        .iter()
        .map(|index| {
            let span = &spans[*index];
            let errors = errors.remove(index).unwrap_or_default();
            let (resource, route) = (span.resource.clone(), name_of(span).into());
            (span.id.0, Request { resource, route, errors, subtree: None })
        })
        .collect();
    let mut refused = Refused::default();
    let mut synthetic = Vec::new();
    if is_whole && spans.iter().any(is_synthetic) {
        let trace = Trace { id, kept: Kept::Uniform, spans: spans.clone() };
        // What is wrong with it is counted below.
        synthetic = synthetic_entries(trace, Some(&service), &mut Refused::default());
    }
    if !is_whole {
        refused.incomplete += u64::try_from(requests.len()).unwrap_or(u64::MAX);
    } else if !requests.is_empty() {
        let trace = Trace { id, kept: Kept::Uniform, spans };
        let mut whole: HashMap<u64, EntrySubtree> = entries(trace, Some(&service), &mut refused)
            .into_iter()
            .map(|subtree| (subtree.entry().id.0, subtree))
            .collect();
        for (id, request) in &mut requests {
            request.subtree = whole.remove(id);
        }
    }
    let requests = requests.into_iter().map(|(_, request)| request).collect();
    Complete { service, requests, synthetic, refused }
}

/// Spans by their id: the sending side of a call, and the receiving one.
struct Links(HashMap<u64, [Option<usize>; 2]>);

impl Links {
    fn new(spans: &[Span]) -> Self {
        let mut places: HashMap<u64, [Option<usize>; 2]> = HashMap::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            let place = places.entry(span.id.0).or_default();
            place[usize::from(span.kind.receives())].get_or_insert(index);
        }
        Self(places)
    }

    /// Whether it is not the same span once more.
    fn is_first(&self, span: &Span, index: usize) -> bool {
        let places = self.0.get(&span.id.0);
        places.is_some_and(|places| places[usize::from(span.kind.receives())] == Some(index))
    }

    /// The span above, if it is there; both sides of a call may share one id.
    fn parent(&self, spans: &[Span], index: usize) -> Option<usize> {
        let span = &spans[index];
        if span.kind.receives()
            && let Some([Some(sender), _]) = self.0.get(&span.id.0)
            && spans[*sender].kind.sends()
        {
            return Some(*sender);
        }
        let [sender, receiver] = self.0.get(&span.parent?.0)?;
        receiver.or(*sender).filter(|parent| *parent != index)
    }

    /// The errors that began below each entry, by the entry's index.
    fn errors(&self, spans: &[Span], entries: &[usize]) -> HashMap<usize, Vec<ErrorKind>> {
        let mut found: HashMap<usize, Vec<ErrorKind>> = HashMap::new();
        let failed = |index: &usize| spans[*index].status == Status::Error;
        let all: Vec<usize> = (0..spans.len()).filter(failed).collect();
        if all.is_empty() || entries.is_empty() {
            return found;
        }
        let (mut passes, mut is_entry) = (vec![false; spans.len()], vec![false; spans.len()]);
        for parent in all.iter().filter_map(|index| self.parent(spans, *index)) {
            passes[parent] = true;
        }
        for entry in entries {
            is_entry[*entry] = true;
        }
        for index in all.iter().filter(|index| !passes[**index]).take(MOST_ERRORS) {
            let mut at = Some(*index);
            let mut steps = 0;
            while let Some(span) = at.filter(|span| !is_entry[*span] && steps < HIGHEST) {
                at = self.parent(spans, span);
                steps += 1;
            }
            let Some(entry) = at.filter(|span| is_entry[*span]) else { continue };
            let (error, known) = (error_of(&spans[*index]), found.entry(entry).or_default());
            if known.iter().all(|other| other.fingerprint != error.fingerprint) {
                known.push(error);
            }
        }
        found
    }
}
