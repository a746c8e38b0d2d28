//! From an operation to who called it, where in the code, and which traces show it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::code::place_of;
use crate::finding::Examples;
use crate::frames::Frame;
use crate::operation::Operation;
use crate::rows::{NOBODY, Row, Rows, cell};
use crate::span::TraceId;
use crate::strata::uniform;
use crate::tree::EntrySubtree;

/// Spans of an operation that are looked at for callers and places.
const MOST_SPANS: usize = 2_000;

/// Places that are told.
const MOST_PLACES: usize = 5;

/// Traces of each arm that are shown.
const MOST_EXAMPLES: usize = 3;

/// Versions of a service that are told.
const MOST_VERSIONS: usize = 5;

/// Who is to blame for an operation.
#[derive(Debug, Default)]
pub(crate) struct Blame {
    /// The service's own operation above it.
    pub(crate) caller: Option<Operation>,
    /// Places in the code of the service, the most frequent first.
    pub(crate) places: Vec<Frame>,
}

/// Climbs from the calls of `operation` by `caller` to the nearest span of the canary's own service.
pub(crate) fn blame(rows: &Rows, canary: &[EntrySubtree], operation: u32, caller: u32) -> Blame {
    let mut callers: BTreeMap<u32, u64> = BTreeMap::new();
    let mut places: BTreeMap<Frame, u64> = BTreeMap::new();
    let mut seen = 0;
    for (subtree, numbers) in canary.iter().zip(&rows.numbers[1]) {
        let service = &subtree.entry().resource.service;
        for (at, number) in numbers.iter().enumerate() {
            if rows.renamed(*number) != operation {
                continue;
            }
            let parent = subtree.parent(at);
            let by = parent.map_or(NOBODY, |parent| rows.renamed(numbers[parent]));
            if by != caller {
                continue;
            }
            let is_own = |at: usize| subtree.spans()[at].resource.service == *service;
            // The call itself says no more than what it calls.
            let works = |at: usize| is_own(at) && !subtree.spans()[at].kind.sends();
            let own = climb(subtree, parent, works).or_else(|| climb(subtree, parent, is_own));
            if let Some(own) = own {
                *callers.entry(numbers[own]).or_default() += 1;
            }
            let placed = climb(subtree, Some(at), |at| {
                let span = &subtree.spans()[at];
                span.resource.service == *service && place_of(span).is_some()
            });
            if let Some(place) = placed.and_then(|at| place_of(&subtree.spans()[at])) {
                *places.entry(place).or_default() += 1;
            }
            seen += 1;
        }
        if seen >= MOST_SPANS {
            break;
        }
    }
    let most =
        callers.into_iter().max_by_key(|(number, count)| (*count, std::cmp::Reverse(*number)));
    Blame {
        caller: most.and_then(|(number, _)| rows.operations.get(number).cloned()),
        places: by_count(places),
    }
}

/// Places of errors: the frames of their stacks, else what the spans above say.
pub(crate) fn places_of_errors(
    canary: &[EntrySubtree],
    spans: &[(usize, usize)],
    frames: &[Frame],
) -> Vec<Frame> {
    if !frames.is_empty() {
        return frames.iter().take(MOST_PLACES).cloned().collect();
    }
    let mut places: BTreeMap<Frame, u64> = BTreeMap::new();
    for (row, span) in spans.iter().take(MOST_SPANS) {
        let Some(subtree) = canary.get(*row) else { continue };
        let service = &subtree.entry().resource.service;
        let placed = climb(subtree, Some(*span), |at| {
            let span = &subtree.spans()[at];
            span.resource.service == *service && place_of(span).is_some()
        });
        if let Some(place) = placed.and_then(|at| place_of(&subtree.spans()[at])) {
            *places.entry(place).or_default() += 1;
        }
    }
    by_count(places)
}

fn by_count(places: BTreeMap<Frame, u64>) -> Vec<Frame> {
    let mut places: Vec<(Frame, u64)> = places.into_iter().collect();
    places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    places.into_iter().take(MOST_PLACES).map(|(place, _)| place).collect()
}

/// The first span from here upwards that fits.
fn climb(
    subtree: &EntrySubtree,
    mut from: Option<usize>,
    fits: impl Fn(usize) -> bool,
) -> Option<usize> {
    while let Some(at) = from {
        if fits(at) {
            return Some(at);
        }
        from = subtree.parent(at);
    }
    None
}

/// Traces that are typical for an operation: near the mean of those that call it.
pub(crate) fn examples(rows: &Rows, operation: u32) -> Examples {
    let value = |row: &Row| cell(&row.cells, operation).map(|cell| cell.seconds);
    let canary = nearest(&rows.canary, value, None);
    let stratum = canary.first().and_then(|row| row.stratum);
    let mut baseline = nearest(&rows.baseline, value, stratum);
    if baseline.is_empty() {
        baseline = nearest(&rows.baseline, |row| Some(row.seconds), stratum);
    }
    Examples { baseline: ids(&baseline), canary: ids(&canary) }
}

/// Traces of these canary subtrees, and typical ones of the baseline for the same entry.
pub(crate) fn examples_of(rows: &Rows, subtrees: impl Iterator<Item = usize>) -> Examples {
    let mut canary: Vec<&Row> = subtrees.filter_map(|at| rows.canary.get(at)).take(64).collect();
    canary.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let middle = canary.len() / 2;
    canary.rotate_left(middle);
    let stratum = canary.first().and_then(|row| row.stratum);
    let baseline = nearest(&rows.baseline, |row| Some(row.seconds), stratum);
    Examples { baseline: ids(&baseline), canary: ids(&canary) }
}

fn nearest(rows: &[Row], value: impl Fn(&Row) -> Option<f64>, stratum: Option<usize>) -> Vec<&Row> {
    let mut found: Vec<(&Row, f64)> = uniform(rows)
        .filter(|(_, of)| stratum.is_none_or(|stratum| stratum == *of))
        .filter_map(|(row, _)| Some((row, value(row)?)))
        .collect();
    let mean = found.iter().map(|(_, value)| value).sum::<f64>()
        / crate::statistics::len_f64(found.len().max(1));
    found.sort_by(|a, b| {
        (a.1 - mean).abs().total_cmp(&(b.1 - mean).abs()).then(a.0.trace.cmp(&b.0.trace))
    });
    found.into_iter().take(MOST_EXAMPLES).map(|(row, _)| row).collect()
}

fn ids(rows: &[&Row]) -> Vec<TraceId> {
    let mut ids: Vec<TraceId> = Vec::new();
    for row in rows {
        if ids.len() < MOST_EXAMPLES && !ids.contains(&row.trace) {
            ids.push(row.trace);
        }
    }
    ids
}

/// Other services that ran several versions meanwhile, with them: each may be the cause as well.
pub(crate) fn also_changed(
    arms: [&[EntrySubtree]; 2],
    service: &str,
) -> HashMap<String, Vec<String>> {
    let mut versions: HashMap<&str, BTreeSet<&str>> = HashMap::new();
    for span in arms.into_iter().flatten().flat_map(EntrySubtree::spans) {
        let resource = &span.resource;
        if &*resource.service == service {
            continue;
        }
        if let Some(version) = resource.version() {
            let known = versions.entry(&resource.service).or_default();
            if known.len() < MOST_VERSIONS {
                known.insert(version);
            }
        }
    }
    versions
        .into_iter()
        .filter(|(_, versions)| versions.len() > 1)
        .map(|(service, versions)| {
            (service.to_owned(), versions.into_iter().map(str::to_owned).collect())
        })
        .collect()
}
