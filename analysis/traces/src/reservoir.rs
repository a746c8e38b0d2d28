//! A bounded choice of subtrees out of all that came, the same kind of choice for both arms.
//!
//! Each trace has a rank, a hash of its id; the lowest ranks of all that ever came are kept (bottom-k sampling). That
//! is a uniform sample of the whole time, early and late, needs no randomness, and depends neither on the order of
//! arrival nor on the arm. Routes share the room evenly, so that a rare one is not drowned. Half of the room is for
//! requests kept by chance alone; what finds no place there may be kept for having failed, each kind of error with
//! its own share, or for being slow. Both are labelled so, and no times are compared among them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use analysis::Arm;

use crate::errors::Fingerprint;
use crate::sketch::Sketch;
use crate::span::{Attributes, Resource, Span, TraceId, Value};
use crate::tree::{EntrySubtree, Kept};

/// Requests of a route that are slow: those above this quantile.
const SLOW: f64 = 0.95;

/// What a sketched quantile may be off: requests that take all the same time are not slow.
const ERROR: f64 = 0.01;

/// Requests of a route that must have come before any is called slow.
const ENOUGH: u64 = 40;

/// Routes whose slow requests are known; the first that come.
const MOST_ROUTES: usize = 64;

/// One request that may be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Requests of one route are compared with each other.
    pub route: Arc<str>,
    /// The first error that began in it, if any.
    pub error: Option<Fingerprint>,
    /// Its spans.
    pub subtree: EntrySubtree,
}

/// Kept subtrees of both arms.
#[derive(Debug, Default)]
pub struct Reservoir {
    /// Subtrees that each arm may have.
    room: usize,
    /// Durations of each route over both arms, in seconds.
    routes: HashMap<Arc<str>, Sketch>,
    arms: [Side; 2],
    spans: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Side {
    uniform: Shelf,
    error: Shelf,
    slow: Shelf,
}

/// What requests share room evenly by: the route, and the kind of error where that is why they are kept.
type Stratum = (Arc<str>, Option<Fingerprint>);

/// Of two requests the one of lower rank is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    hash: u64,
    trace: TraceId,
    /// A trace may have several entries; they go in this order.
    entry: u64,
}

#[derive(Debug)]
struct Held {
    candidate: Candidate,
    is_slow: bool,
    bytes: usize,
}

/// Requests that are kept for one reason.
#[derive(Debug, Default)]
struct Shelf {
    strata: BTreeMap<Stratum, BTreeMap<Rank, Held>>,
    len: usize,
}

impl Shelf {
    /// Puts a request in; returns what has no place any more, perhaps itself. One that is there already is dropped.
    fn put(&mut self, room: usize, of: Stratum, rank: Rank, held: Held) -> Put {
        let stratum = self.strata.entry(of).or_default();
        if stratum.contains_key(&rank) {
            return Put::Known;
        }
        stratum.insert(rank, held);
        self.len += 1;
        if self.len <= room {
            return Put::Kept;
        }
        self.pop().map_or(Put::Kept, |(rank, held)| Put::Displaced(rank, Box::new(held)))
    }

    /// Takes out the highest rank of the stratum that has most; of several the last by name.
    fn pop(&mut self) -> Option<(Rank, Held)> {
        let (most, _) = self.strata.iter().max_by_key(|(_, ranks)| ranks.len())?;
        let most = most.clone();
        let ranks = self.strata.get_mut(&most)?;
        let popped = ranks.pop_last();
        if ranks.is_empty() {
            self.strata.remove(&most);
        }
        self.len -= usize::from(popped.is_some());
        popped
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        self.strata.values().flat_map(BTreeMap::values)
    }
}

enum Put {
    Kept,
    /// It was there already.
    Known,
    Displaced(Rank, Box<Held>),
}

impl Reservoir {
    /// Room for this many subtrees of each arm: half by chance, a quarter each of slow and of failed requests.
    pub fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Keeps a request of an arm, or not; it may take the place of another. Sending it again changes nothing, but the
    /// durations by which slow requests are known.
    pub fn offer(&mut self, arm: Arm, candidate: Candidate) {
        let is_slow = self.is_slow(&candidate);
        let entry = candidate.subtree.entry();
        let rank = Rank { hash: trace_rank(entry.trace), trace: entry.trace, entry: entry.id.0 };
        let bytes = subtree_bytes(&candidate.subtree);
        let spans = candidate.subtree.spans().len();
        let (half, quarter) = (self.room / 2, self.room / 4);
        let side = &mut self.arms[place(arm)];

        let stratum = (candidate.route.clone(), None);
        let held = Held { candidate, is_slow, bytes };
        let mut put = side.uniform.put(half, stratum, rank, held);
        if let Put::Displaced(rank, held) = put {
            put = match held.candidate.error {
                Some(error) => {
                    let stratum = (held.candidate.route.clone(), Some(error));
                    side.error.put(quarter, stratum, rank, *held)
                }
                None => Put::Displaced(rank, held),
            };
        }
        if let Put::Displaced(rank, held) = put {
            put = if held.is_slow {
                let stratum = (held.candidate.route.clone(), None);
                side.slow.put(quarter, stratum, rank, *held)
            } else {
                Put::Displaced(rank, held)
            };
        }
        match put {
            Put::Known => return,
            Put::Kept => {}
            Put::Displaced(_, held) => self.leave(&held),
        }
        self.spans += spans;
        self.bytes += bytes;
    }

    /// Whether a request is among the slowest of its route so far, over both arms; counts it.
    fn is_slow(&mut self, candidate: &Candidate) -> bool {
        let seconds = seconds(candidate.subtree.entry());
        if let Some(sketch) = self.routes.get_mut(&candidate.route) {
            let is_slow = sketch.total() >= ENOUGH
                && sketch.quantile(SLOW).is_some_and(|usual| seconds > usual * (1.0 + ERROR));
            sketch.add(seconds);
            return is_slow;
        }
        if self.routes.len() < MOST_ROUTES {
            let mut sketch = Sketch::default();
            sketch.add(seconds);
            self.routes.insert(candidate.route.clone(), sketch);
        }
        false
    }

    fn leave(&mut self, held: &Held) {
        // Counted in before or after this, so that it never falls below 0 in the end.
        self.spans = self.spans.wrapping_sub(held.candidate.subtree.spans().len());
        self.bytes = self.bytes.wrapping_sub(held.bytes);
    }

    /// Gives up an eighth of the room of both arms, for good; says whether there was any.
    pub fn shrink(&mut self) -> bool {
        let had = self.room > 0;
        self.room -= self.room.div_ceil(8);
        let (half, quarter) = (self.room / 2, self.room / 4);
        let mut left = Vec::new();
        for side in &mut self.arms {
            let shelves =
                [(&mut side.uniform, half), (&mut side.error, quarter), (&mut side.slow, quarter)];
            for (shelf, room) in shelves {
                while shelf.len > room {
                    left.extend(shelf.pop().map(|(_, held)| held));
                }
            }
        }
        for held in &left {
            self.leave(held);
        }
        had
    }

    /// What is kept of an arm; the order is always the same.
    pub fn kept(&self, arm: Arm) -> Vec<EntrySubtree> {
        let side = &self.arms[place(arm)];
        [(&side.uniform, Kept::Uniform), (&side.error, Kept::Error), (&side.slow, Kept::Slow)]
            .into_iter()
            .flat_map(|(shelf, kept)| shelf.held().map(move |held| (held, kept)))
            .map(|(held, kept)| held.candidate.subtree.clone().with_kept(kept))
            .collect()
    }

    /// Subtrees of an arm.
    pub fn len(&self, arm: Arm) -> usize {
        let side = &self.arms[place(arm)];
        side.uniform.len + side.error.len + side.slow.len
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        [Arm::Baseline, Arm::Canary].into_iter().all(|arm| self.len(arm) == 0)
    }

    /// Spans of both arms.
    pub fn spans(&self) -> usize {
        self.spans
    }

    /// Bytes that all of it takes, estimated: text that spans share counts for each of them.
    pub fn bytes(&self) -> usize {
        self.bytes + self.routes.values().map(Sketch::bytes).sum::<usize>()
    }
}

fn place(arm: Arm) -> usize {
    match arm {
        Arm::Baseline => 0,
        Arm::Canary => 1,
    }
}

/// How long a span took, in seconds.
#[expect(clippy::cast_precision_loss, reason = "a duration in nanoseconds is far below 2^53")]
pub fn seconds(span: &Span) -> f64 {
    span.end.saturating_sub(span.start) as f64 / 1e9
}

/// The rank of a trace: evenly spread, the same on every machine, and unrelated to how senders sample by the id.
pub fn trace_rank(trace: TraceId) -> u64 {
    let [low, high] = [trace.0, trace.0 >> 64]
        .map(|half| u64::try_from(half & u128::from(u64::MAX)).unwrap_or(u64::MAX));
    mixed(mixed(high) ^ low)
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood, 2014, figure 19, with Stafford's variant 13).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Bytes that a span takes, without its resource; text that it shares with others is counted.
pub fn span_bytes(span: &Span) -> usize {
    let exceptions: usize = span
        .exceptions
        .iter()
        .map(|exception| {
            let stack = exception.stack.as_ref().map_or(0, |stack| text_bytes(stack));
            size_of_val(exception)
                + text_bytes(&exception.kind)
                + text_bytes(&exception.message)
                + stack
        })
        .sum();
    size_of::<Span>()
        + text_bytes(&span.name)
        + span.message.as_ref().map_or(0, |message| text_bytes(message))
        + attribute_bytes(&span.attributes)
        + exceptions
}

/// Bytes that a resource takes.
pub fn resource_bytes(resource: &Resource) -> usize {
    size_of::<Resource>() + text_bytes(&resource.service) + attribute_bytes(&resource.attributes)
}

/// Bytes that these spans take, a resource once where neighbours share it.
pub fn spans_bytes(spans: &[Span]) -> usize {
    let mut before: Option<&Arc<Resource>> = None;
    let mut bytes = 0;
    for span in spans {
        bytes += span_bytes(span);
        if before.is_none_or(|before| !Arc::ptr_eq(before, &span.resource)) {
            bytes += resource_bytes(&span.resource);
        }
        before = Some(&span.resource);
    }
    bytes
}

fn subtree_bytes(subtree: &EntrySubtree) -> usize {
    spans_bytes(subtree.spans()) + subtree.spans().len() * size_of::<u32>()
}

fn attribute_bytes(attributes: &Attributes) -> usize {
    let text = |value: &Value| value.text().map_or(0, text_bytes);
    let texts: usize =
        attributes.0.iter().map(|(name, value)| text_bytes(name) + text(value)).sum();
    attributes.0.capacity() * size_of::<(Arc<str>, Value)>() + texts
}

/// A shared text and its two counters.
fn text_bytes(text: &str) -> usize {
    2 * size_of::<usize>() + text.len()
}

#[cfg(test)]
mod tests;
