//! Traces that are not complete yet: their spans wait here until no more are to be expected.
//!
//! When more spans wait than may be held, whole traces are given up, those of the highest rank first: whoever sends
//! too much gets a uniform sample of complete traces, the same that the reservoirs prefer, rather than pieces of all
//! of them. What is given up is remembered as a bound on the rank, so that a trace is never half kept.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use analysis_traces::{
    MOST_SPANS, Resource, Span, TraceId, resource_bytes, span_bytes, trace_rank,
};

/// Spans of one trace that are held: a subtree beyond [`MOST_SPANS`] is not compared anyway.
const MOST_OF_TRACE: usize = 2 * MOST_SPANS;

/// Services of one trace that somebody wants.
const MOST_SERVICES: usize = 8;

/// A trace without an entry waits this many times as long as one with it: a request may take long.
const PATIENCE: u64 = 3;

/// Spans of a trace among which one is found without an index.
const FEW: usize = 32;

/// How long a trace gathers spans; nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// After its entry arrived.
    pub(super) settle: u64,
    /// After any of its spans arrived, once its entry did.
    pub(super) quiet: u64,
}

/// One trace that gathers spans.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) spans: Vec<Span>,
    /// Wanted services that it touches.
    pub(super) services: Vec<Arc<str>>,
    /// All spans that arrived are here.
    pub(super) is_whole: bool,
    bytes: usize,
    rank: u64,
    first: u64,
    last: u64,
    /// When its first entry arrived.
    entry: Option<u64>,
    /// By their id, once there are many.
    places: HashMap<u64, u32>,
}

impl Pending {
    fn new(rank: u64, now: u64, is_whole: bool) -> Self {
        Self {
            spans: Vec::new(),
            services: Vec::new(),
            is_whole,
            bytes: size_of::<Self>(),
            rank,
            first: now,
            last: now,
            entry: None,
            places: HashMap::new(),
        }
    }

    /// Puts a span in, unless there are too many.
    fn push(&mut self, span: Span) -> bool {
        if self.spans.len() >= MOST_OF_TRACE {
            self.is_whole = false;
            return false;
        }
        self.bytes += span_bytes(&span);
        if !self.last_resource().is_some_and(|last| Arc::ptr_eq(last, &span.resource)) {
            self.bytes += resource_bytes(&span.resource);
        }
        if self.spans.len() >= FEW {
            if self.places.is_empty() {
                self.places = self.spans.iter().map(|span| span.id.0).zip(0..).collect();
            }
            let place = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
            self.places.insert(span.id.0, place);
        }
        self.spans.push(span);
        true
    }

    fn last_resource(&self) -> Option<&Arc<Resource>> {
        self.spans.last().map(|span| &span.resource)
    }

    /// Whether a span's parent is known to be of the same service.
    pub(super) fn has_parent_of_service(&self, span: &Span) -> bool {
        let Some(parent) = span.parent else { return false };
        let is_it = |other: &Span| {
            other.id == parent
                && other.id != span.id
                && other.resource.service == span.resource.service
        };
        if self.places.is_empty() {
            return self.spans.iter().any(is_it);
        }
        let place = self.places.get(&parent.0).and_then(|place| usize::try_from(*place).ok());
        place.and_then(|place| self.spans.get(place)).is_some_and(is_it)
    }

    /// Notes that it touches a wanted service.
    pub(super) fn touch(&mut self, service: &Arc<str>) {
        if self.services.len() < MOST_SERVICES && !self.services.contains(service) {
            self.services.push(service.clone());
        }
    }

    /// Notes that an entry of a wanted service arrived.
    pub(super) fn enter(&mut self, now: u64) {
        self.entry.get_or_insert(now);
    }

    /// When it counts as complete.
    fn due(&self, times: Times) -> u64 {
        match self.entry {
            Some(entry) => {
                entry.saturating_add(times.settle).min(self.last.saturating_add(times.quiet))
            }
            None if self.services.is_empty() => self.first.saturating_add(times.settle),
            None => self.first.saturating_add(times.settle.saturating_mul(PATIENCE)),
        }
    }
}

/// All traces that gather spans.
#[derive(Debug)]
pub(super) struct Tail {
    times: Times,
    traces: HashMap<TraceId, Pending>,
    ranks: BTreeSet<(u64, TraceId)>,
    queue: BinaryHeap<Reverse<(u64, TraceId)>>,
    spans: usize,
    bytes: usize,
    /// Traces of this rank and above are not held.
    bound: u64,
    /// The bound before it was last raised, and until when traces between both may lack spans.
    raised: Option<(u64, u64)>,
    /// Traces that were given up.
    pub(super) given_up: u64,
}

impl Tail {
    pub(super) fn new(times: Times) -> Self {
        Self {
            times,
            traces: HashMap::new(),
            ranks: BTreeSet::new(),
            queue: BinaryHeap::new(),
            spans: 0,
            bytes: 0,
            bound: u64::MAX,
            raised: None,
            given_up: 0,
        }
    }

    pub(super) fn spans(&self) -> usize {
        self.spans
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn traces(&self) -> usize {
        self.traces.len()
    }

    /// Adds spans of one trace and hands them to `look`, from the first new one on, with how many had no place.
    ///
    /// Traces that are not held are looked at as well: what is counted does not depend on what is kept.
    pub(super) fn add(
        &mut self,
        trace: TraceId,
        spans: impl Iterator<Item = Span>,
        now: u64,
        mut look: impl FnMut(&mut Pending, usize),
    ) -> u64 {
        let rank = trace_rank(trace);
        if !self.traces.contains_key(&trace) {
            if rank >= self.bound {
                let mut passing = Pending::new(rank, now, false);
                let refused = fill(&mut passing, spans);
                look(&mut passing, 0);
                self.given_up += u64::from(!passing.services.is_empty());
                return refused;
            }
            let is_late = self.raised.is_some_and(|(before, until)| rank >= before && now < until);
            let pending = Pending::new(rank, now, !is_late);
            self.bytes += pending.bytes;
            self.queue.push(Reverse((pending.due(self.times), trace)));
            self.ranks.insert((rank, trace));
            self.traces.insert(trace, pending);
        }
        let Some(pending) = self.traces.get_mut(&trace) else { return 0 };
        let (from, bytes) = (pending.spans.len(), pending.bytes);
        let due = pending.due(self.times);
        pending.last = pending.last.max(now);
        let refused = fill(pending, spans);
        look(pending, from);
        self.spans += pending.spans.len() - from;
        self.bytes += pending.bytes - bytes;
        // It may be complete sooner than it was thought; where later, the queue finds out.
        if pending.due(self.times) < due {
            self.queue.push(Reverse((pending.due(self.times), trace)));
        }
        refused
    }

    /// Takes out what is complete.
    pub(super) fn due(&mut self, now: u64) -> Vec<(TraceId, Pending)> {
        let mut due = Vec::new();
        while let Some(Reverse((at, trace))) = self.queue.peek().copied() {
            if at > now {
                break;
            }
            self.queue.pop();
            let Some(pending) = self.traces.get(&trace) else { continue };
            let really = pending.due(self.times);
            if really > now {
                self.queue.push(Reverse((really, trace)));
                continue;
            }
            due.extend(self.remove(trace).map(|pending| (trace, pending)));
        }
        self.tidy();
        due
    }

    /// Takes out what has its entry and was quiet for so long, though it might get more.
    pub(super) fn early(&mut self, now: u64, quiet: u64) -> Vec<(TraceId, Pending)> {
        let is_early = |pending: &Pending| {
            pending.entry.is_some() && pending.last.saturating_add(quiet) <= now
        };
        let early: Vec<TraceId> = self
            .traces
            .iter()
            .filter(|(_, pending)| is_early(pending))
            .map(|(trace, _)| *trace)
            .collect();
        early.into_iter().filter_map(|trace| Some((trace, self.remove(trace)?))).collect()
    }

    fn remove(&mut self, trace: TraceId) -> Option<Pending> {
        let pending = self.traces.remove(&trace)?;
        self.ranks.remove(&(pending.rank, trace));
        self.spans -= pending.spans.len();
        self.bytes -= pending.bytes;
        Some(pending)
    }

    /// Gives traces up until this much is held at most.
    pub(super) fn make_room(&mut self, spans: usize, bytes: usize) {
        while self.spans > spans || self.bytes > bytes {
            let Some((rank, trace)) = self.ranks.last().copied() else { break };
            let pending = self.remove(trace);
            self.bound = self.bound.min(rank);
            self.raised = None;
            self.given_up += u64::from(pending.is_some_and(|it| !it.services.is_empty()));
        }
    }

    /// Holds more traces again where there is room for twice as many.
    pub(super) fn relax(&mut self, spans: usize, bytes: usize, now: u64) {
        if self.raised.is_some_and(|(_, until)| now >= until) {
            self.raised = None;
        }
        let is_roomy = self.spans < spans / 3 && self.bytes < bytes / 3;
        if self.bound < u64::MAX && self.raised.is_none() && is_roomy {
            // Spans of such a trace may have been passed over until now.
            let until = now.saturating_add(self.times.settle.saturating_mul(PATIENCE + 1));
            self.raised = Some((self.bound, until));
            self.bound = self.bound.max(1).saturating_mul(2);
        }
    }

    /// Drops what the queue still holds of traces that are gone, once that is most of it.
    fn tidy(&mut self) {
        if self.queue.len() > 64 + 4 * self.traces.len() {
            let traces = &self.traces;
            self.queue.retain(|Reverse((_, trace))| traces.contains_key(trace));
        }
    }
}

fn fill(pending: &mut Pending, spans: impl Iterator<Item = Span>) -> u64 {
    spans.fold(0, |refused, span| refused + u64::from(!pending.push(span)))
}
