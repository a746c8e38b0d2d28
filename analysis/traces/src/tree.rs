//! From the spans of a trace to the subtrees below the service's entries.
//!
//! Whatever is above the service's own entry is noise of other services; whatever is below it can be the canary's
//! doing. Real senders lose, repeat and misdate spans: each defect is counted in [`Refused`], and a subtree that it
//! touches is left out rather than compared wrongly.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::span::{Kind, Span, TraceId};

/// Most spans of one subtree: beyond it lies a loop, not a request.
pub const MOST_SPANS: usize = 5_000;

/// A child may lie this share of its parent's duration outside it before clocks are said to differ.
const SKEW: f64 = 0.2;

/// Clocks of one machine differ by less; below it no child is called skewed, in nanoseconds.
const LEAST_SKEW: u64 = 1_000_000;

/// The top of a tree has no parent.
const NONE: u32 = u32::MAX;

/// Why a trace was kept by whoever sampled it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    /// By chance alone: the only kind from which times are compared.
    #[default]
    Uniform,
    /// Because it was slow.
    Slow,
    /// Because it failed.
    Error,
}

/// All spans of one trace that arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// Why it was kept.
    #[serde(default)]
    pub kept: Kept,
    /// Its spans, in any order.
    pub spans: Vec<Span>,
}

/// Sorts spans into traces, kept by chance, by id; the order within a trace stays.
pub fn traces(mut spans: Vec<Span>) -> Vec<Trace> {
    spans.sort_by_key(|span| span.trace);
    let mut traces: Vec<Trace> = Vec::new();
    for span in spans {
        match traces.last_mut() {
            Some(trace) if trace.id == span.trace => trace.spans.push(span),
            Some(_) | None => {
                traces.push(Trace { id: span.trace, kept: Kept::Uniform, spans: vec![span] });
            }
        }
    }
    traces
}

/// What was left out, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Spans that came more than once.
    pub duplicates: u64,
    /// Spans that ended before they began; kept, with no duration.
    pub backwards: u64,
    /// Spans that are their own ancestors.
    pub cycles: u64,
    /// Spans whose parent never arrived.
    pub orphans: u64,
    /// Subtrees left out because spans of them are missing.
    pub incomplete: u64,
    /// Subtrees left out because clocks of their services differ.
    pub skewed: u64,
    /// Subtrees left out because they have more than [`MOST_SPANS`] spans.
    pub oversized: u64,
    /// Subtrees left out because a synthetic check caused them.
    pub synthetic: u64,
}

impl Refused {
    /// Subtrees that were left out.
    pub fn subtrees(self) -> u64 {
        self.incomplete + self.skewed + self.oversized + self.synthetic
    }
}

/// An entry of the service and everything below it: the unit of comparison.
///
/// Parents come before their children; the entry is the first.
#[derive(Debug, Clone, PartialEq)]
pub struct EntrySubtree {
    kept: Kept,
    spans: Vec<Span>,
    parents: Vec<u32>,
}

impl EntrySubtree {
    /// The entry itself.
    pub fn entry(&self) -> &Span {
        &self.spans[0]
    }

    /// All spans, parents before children.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The parent of the span at this index; `None` for the entry and beyond the last span.
    pub fn parent(&self, index: usize) -> Option<usize> {
        let parent = self.parents.get(index).copied().filter(|parent| *parent != NONE)?;
        usize::try_from(parent).ok()
    }

    /// The trace that it is part of.
    pub fn trace(&self) -> TraceId {
        self.entry().trace
    }

    /// Why the trace was kept.
    pub fn kept(&self) -> Kept {
        self.kept
    }

    /// The same subtree, kept for another reason.
    #[must_use]
    pub fn with_kept(mut self, kept: Kept) -> Self {
        self.kept = kept;
        self
    }
}

/// The subtrees below the outermost entries of `service`: server and consumer spans whose parent is not of the
/// service, or is not there. Without a service: below the first spans of the trace.
///
/// What is wrong with the trace is added to `refused`.
pub fn entries(trace: Trace, service: Option<&str>, refused: &mut Refused) -> Vec<EntrySubtree> {
    subtrees(trace, service, false, refused)
}

/// The same below entries that synthetic checks caused: Serin's own journeys, and others that say so.
pub fn synthetic_entries(
    trace: Trace,
    service: Option<&str>,
    refused: &mut Refused,
) -> Vec<EntrySubtree> {
    subtrees(trace, service, true, refused)
}

fn subtrees(
    trace: Trace,
    service: Option<&str>,
    synthetic: bool,
    refused: &mut Refused,
) -> Vec<EntrySubtree> {
    let Trace { kept, mut spans, .. } = trace;
    for span in &mut spans {
        if span.end < span.start {
            span.end = span.start;
            refused.backwards += 1;
        }
    }
    let links = Links::new(&spans, refused);
    let order = links.breadth_first();
    let reached: usize = order.len();
    refused.cycles += count(links.alive - reached);

    let entry_of = owners(&spans, &links, &order, service);
    let mut loose: Vec<u64> = Vec::new();
    let mut is_reached = vec![false; spans.len()];
    for index in &order {
        is_reached[*index] = true;
        if links.orphan[*index] && entry_of[*index] != as_u32(*index) {
            refused.orphans += 1;
            loose.push(spans[*index].start);
        }
    }
    loose.extend(
        (0..spans.len())
            .filter(|index| links.is_alive[*index] && !is_reached[*index])
            .map(|index| spans[index].start),
    );
    loose.sort_unstable();

    let mut members: HashMap<u32, Vec<usize>> = HashMap::new();
    for index in order {
        if entry_of[index] != NONE {
            members.entry(entry_of[index]).or_default().push(index);
        }
    }
    let mut members: Vec<(u32, Vec<usize>)> = members.into_iter().collect();
    members.sort_unstable_by_key(|(entry, _)| *entry);

    let mut spans: Vec<Option<Span>> = spans.into_iter().map(Some).collect();
    let mut found = Vec::new();
    for (_, members) in members {
        if members.len() > MOST_SPANS {
            refused.oversized += 1;
            continue;
        }
        let subtree = assemble(kept, &members, &links, &mut spans);
        let entry = subtree.entry();
        let first = loose.partition_point(|start| *start < entry.start);
        if loose.get(first).is_some_and(|start| *start <= entry.end) {
            refused.incomplete += 1;
        } else if is_synthetic(entry) != synthetic {
            refused.synthetic += u64::from(!synthetic);
        } else if is_skewed(&subtree) {
            refused.skewed += 1;
        } else {
            found.push(subtree);
        }
    }
    found
}

fn assemble(
    kept: Kept,
    members: &[usize],
    links: &Links,
    spans: &mut [Option<Span>],
) -> EntrySubtree {
    let place: HashMap<usize, u32> = members.iter().copied().zip(0..).collect();
    let parents = members
        .iter()
        .map(|index| links.parent[*index].and_then(|parent| place.get(&parent)).copied())
        .map(|parent| parent.unwrap_or(NONE))
        .collect();
    let spans = members.iter().filter_map(|index| spans[*index].take()).collect();
    EntrySubtree { kept, spans, parents }
}

/// The entry above each span, or `NONE`.
fn owners(spans: &[Span], links: &Links, order: &[usize], service: Option<&str>) -> Vec<u32> {
    let has_first =
        order.iter().any(|index| links.parent[*index].is_none() && !links.orphan[*index]);
    let mut owners = vec![NONE; spans.len()];
    for index in order {
        let span = &spans[*index];
        let parent = links.parent[*index];
        if let Some(owner) = parent.map(|parent| owners[parent]).filter(|owner| *owner != NONE) {
            owners[*index] = owner;
            continue;
        }
        let is_entry = match service {
            Some(service) => {
                &*span.resource.service == service
                    && span.kind.receives()
                    && parent.is_none_or(|parent| &*spans[parent].resource.service != service)
            }
            None if links.orphan[*index] => !has_first && span.kind.receives(),
            None => parent.is_none(),
        };
        if is_entry {
            owners[*index] = as_u32(*index);
        }
    }
    owners
}

/// Whether a synthetic check caused it; those are compared by themselves, in pairs.
pub fn is_synthetic(entry: &Span) -> bool {
    let agent = entry.attributes.text(&["user_agent.original", "http.user_agent"]);
    entry.attributes.get("user_agent.synthetic.type").is_some()
        || entry.attributes.text(&["synthetic", "baggage.synthetic"]) == Some("true")
        || agent.is_some_and(|agent| agent.starts_with("serin-journey/"))
}

/// Whether a child lies before its parent, or a call is answered after its caller had the answer, by more than
/// clocks of one machine differ. Work that merely outlives its parent is no skew.
fn is_skewed(subtree: &EntrySubtree) -> bool {
    (1..subtree.spans.len()).any(|index| {
        let child = &subtree.spans[index];
        let Some(parent) = subtree.parent(index).map(|parent| &subtree.spans[parent]) else {
            return false;
        };
        let duration = parent.end - parent.start;
        let allowed = LEAST_SKEW.max(share(duration));
        let is_call = parent.kind == Kind::Client && child.kind == Kind::Server;
        child.start.saturating_add(allowed) < parent.start
            || (is_call && parent.end.saturating_add(allowed) < child.start)
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fifth of a duration is a duration"
)]
fn share(duration: u64) -> u64 {
    (crate::statistics::as_f64(duration) * SKEW) as u64
}

/// Who is whose parent, by index.
struct Links {
    parent: Vec<Option<usize>>,
    /// Has a parent's id, but the parent is not there.
    orphan: Vec<bool>,
    is_alive: Vec<bool>,
    alive: usize,
}

impl Links {
    fn new(spans: &[Span], refused: &mut Refused) -> Self {
        // Zipkin lets both sides of a call share one id: the sender is first, the receiver second.
        let mut places: HashMap<u64, [Option<usize>; 2]> = HashMap::with_capacity(spans.len());
        let mut is_alive = vec![false; spans.len()];
        for (index, span) in spans.iter().enumerate() {
            let place =
                &mut places.entry(span.id.0).or_default()[usize::from(span.kind.receives())];
            if place.is_none() {
                *place = Some(index);
                is_alive[index] = true;
            }
        }
        for [sender, receiver] in places.values_mut() {
            if let (Some(first), Some(_)) = (*sender, *receiver)
                && !spans[first].kind.sends()
            {
                // Not two sides of one call, but one span twice.
                is_alive[first] = false;
                *sender = None;
            }
        }
        let alive = is_alive.iter().filter(|alive| **alive).count();
        refused.duplicates += count(spans.len() - alive);

        let mut parent = vec![None; spans.len()];
        let mut orphan = vec![false; spans.len()];
        for (index, span) in spans.iter().enumerate().filter(|(index, _)| is_alive[*index]) {
            let own = places.get(&span.id.0).copied().unwrap_or_default();
            if let (true, [Some(sender), _]) = (span.kind.receives(), own) {
                parent[index] = Some(sender);
                continue;
            }
            let Some(id) = span.parent.filter(|id| id.0 != 0) else { continue };
            parent[index] = places.get(&id.0).and_then(|[sender, receiver]| receiver.or(*sender));
            orphan[index] = parent[index].is_none();
        }
        Self { parent, orphan, is_alive, alive }
    }

    /// Every span that can be reached from one without a parent, parents first.
    fn breadth_first(&self) -> Vec<usize> {
        let n = self.parent.len();
        let mut first = vec![0_usize; n + 1];
        for parent in self.parent.iter().flatten() {
            first[parent + 1] += 1;
        }
        for index in 0..n {
            first[index + 1] += first[index];
        }
        let mut next = first.clone();
        let mut children = vec![0_usize; first[n]];
        for (index, parent) in self.parent.iter().enumerate() {
            if let Some(parent) = parent {
                children[next[*parent]] = index;
                next[*parent] += 1;
            }
        }
        let mut order: Vec<usize> =
            (0..n).filter(|index| self.is_alive[*index] && self.parent[*index].is_none()).collect();
        let mut at = 0;
        while at < order.len() {
            let index = order[at];
            order.extend_from_slice(&children[first[index]..first[index + 1]]);
            at += 1;
        }
        order
    }
}

fn as_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
