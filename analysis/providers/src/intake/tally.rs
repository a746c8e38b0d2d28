//! Exact counts of requests since they were last taken, by arm, instance and part of the traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analysis::{Arm, Exponential};
use analysis_traces::{Fingerprint, Span, Value, name_of, seconds};

use super::request::{cut, has_failed};

/// Routes with a stratum of their own where the policy names no label.
const MOST_ROUTES: usize = 16;

/// The same where it does; with the rest the 64 that the analysis keeps.
const MOST_NAMED: usize = 63;

/// Parts of one deployment's counts: arms times instances times strata.
const MOST_CELLS: usize = 4_096;

/// The stratum, and the instance, of everything beyond.
const OTHER: &str = "(other)";

/// Sixteen buckets for each doubling, 4.4 % each: 512 of them reach from a microsecond to an hour.
const SCALE: i8 = 4;
const PER_OCTAVE: f64 = 16.0;
const SHORTEST: f64 = -20.0 * PER_OCTAVE + 1.0;
const LONGEST: f64 = 12.0 * PER_OCTAVE;

/// Whose requests: the arm, the instance, and the stratum, empty without one.
pub(super) type Key = (Arm, Arc<str>, Arc<str>);

/// Requests of one instance and stratum.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) durations: Exponential,
}

impl Cell {
    pub(super) fn empty() -> Self {
        let durations = Exponential { scale: SCALE, zero: 0, first: 0, counts: Vec::new() };
        Self { requests: 0, failed: 0, durations }
    }
}

/// Counts of one way to split the traffic.
#[derive(Debug)]
pub(super) struct Tally {
    /// Attributes whose values split it, the first that a request has; none: its operation, where they are few.
    labels: Vec<String>,
    strata: BTreeSet<Arc<str>>,
    cells: BTreeMap<Key, Cell>,
}

impl Tally {
    pub(super) fn new(labels: Vec<String>) -> Self {
        Self { labels, strata: BTreeSet::new(), cells: BTreeMap::new() }
    }

    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Counts a request.
    pub(super) fn count(&mut self, arm: Arm, instance: &Arc<str>, entry: &Span) {
        let stratum = self.stratum(entry);
        let mut key = (arm, instance.clone(), stratum);
        if self.cells.len() >= MOST_CELLS && !self.cells.contains_key(&key) {
            key.1 = OTHER.into();
        }
        let cell = self.cells.entry(key).or_insert_with(Cell::empty);
        cell.requests += 1;
        cell.failed += u64::from(has_failed(entry));
        add(&mut cell.durations, seconds(entry));
    }

    /// The part of the traffic that a request belongs to; empty without one.
    pub(super) fn stratum(&mut self, entry: &Span) -> Arc<str> {
        let value = if self.labels.is_empty() {
            Some(name_of(entry))
        } else {
            self.labels.iter().find_map(|label| attribute(entry, label))
        };
        value.map_or_else(|| "".into(), |value| self.stratum_of(&value))
    }

    /// The stratum of this value; the rest's where there are many.
    pub(super) fn stratum_of(&mut self, value: &str) -> Arc<str> {
        let value = cut(value, 200);
        if let Some(known) = self.strata.get(value) {
            return known.clone();
        }
        let most = if self.labels.is_empty() { MOST_ROUTES } else { MOST_NAMED };
        if self.strata.len() >= most {
            return OTHER.into();
        }
        let known: Arc<str> = value.into();
        self.strata.insert(known.clone());
        known
    }

    /// Everything since the last time.
    pub(super) fn take(&mut self) -> BTreeMap<Key, Cell> {
        std::mem::take(&mut self.cells)
    }

    /// Whether an arm has something that was not taken.
    pub(super) fn has(&self, arm: Arm) -> bool {
        self.cells.keys().any(|(of, _, _)| *of == arm)
    }
}

/// The value of an attribute of a request or its process, the label written as it is or as Prometheus would.
fn attribute(entry: &Span, label: &str) -> Option<String> {
    let named = |name: &str| {
        name == label
            || name.len() == label.len()
                && name.bytes().zip(label.bytes()).all(|(of, wanted)| {
                    of == wanted || (wanted == b'_' && !of.is_ascii_alphanumeric())
                })
    };
    let attributes = entry.attributes.0.iter().chain(&entry.resource.attributes.0);
    let found = attributes.into_iter().find(|(name, _)| named(name));
    found.map(|(_, value)| match value {
        Value::Text(text) => cut(text, 200).to_owned(),
        Value::Integer(_) | Value::Number(_) | Value::Flag(_) => value.to_string(),
    })
}

/// Adds a duration in seconds.
fn add(histogram: &mut Exponential, seconds: f64) {
    let place = (seconds.log2() * PER_OCTAVE).ceil();
    if !place.is_finite() || place < SHORTEST {
        histogram.zero += 1;
        return;
    }
    #[expect(clippy::cast_possible_truncation, reason = "at most a few hundred")]
    let index = place.min(LONGEST) as i32;
    if histogram.counts.is_empty() {
        histogram.first = index;
    }
    if index < histogram.first {
        let missing = usize::try_from(histogram.first - index).unwrap_or(0);
        histogram.counts.splice(0..0, std::iter::repeat_n(0, missing));
        histogram.first = index;
    }
    let place = usize::try_from(index - histogram.first).unwrap_or(0);
    if place >= histogram.counts.len() {
        histogram.counts.resize(place + 1, 0);
    }
    histogram.counts[place] += 1;
}

/// Requests whose traces are complete, and their errors.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) requests: u64,
    /// Requests with each error; one request may have several.
    pub(super) errors: BTreeMap<Fingerprint, u64>,
}

/// The same by arm, instance and route.
#[derive(Debug, Default)]
pub(super) struct Errors(BTreeMap<Key, Seen>);

impl Errors {
    /// Counts a request with these errors, each at most once.
    pub(super) fn count(&mut self, mut key: Key, errors: impl Iterator<Item = Fingerprint>) {
        if self.0.len() >= MOST_CELLS && !self.0.contains_key(&key) {
            key.1 = OTHER.into();
        }
        let seen = self.0.entry(key).or_default();
        seen.requests += 1;
        for error in errors {
            *seen.errors.entry(error).or_default() += 1;
        }
    }

    /// Everything since the last time.
    pub(super) fn take(&mut self) -> BTreeMap<Key, Seen> {
        std::mem::take(&mut self.0)
    }

    /// Whether an arm has something that was not taken.
    pub(super) fn has(&self, arm: Arm) -> bool {
        self.0.keys().any(|(of, _, _)| *of == arm)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::samples::entry;
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them() {
        let mut histogram = Cell::empty().durations;
        let all = [0.0, 1e-9, 0.5, 0.001, 0.0011, 1.0, 60.0, 1e9, f64::NAN];
        for seconds in all {
            add(&mut histogram, seconds);
        }
        assert_eq!(histogram.validate(), Ok(()));
        assert_eq!((histogram.zero, histogram.total()), (3, 9));
        for (bound, slower) in [(0.5, 3), (1.0, 2), (0.25, 4)] {
            assert_eq!(histogram.slower_than(bound).map(|c| c.events), Some(slower), "{bound}");
        }
    }

    #[test]
    fn traffic_is_split_by_what_a_policy_names_and_else_by_operation() {
        let mut by_route = Tally::new(Vec::new());
        let mut span = entry(1, 1);
        assert_eq!(&*by_route.stratum(&span), "GET /cart");
        for route in 0..30_u8 {
            let name: String = (0..=route).map(|_| 'x').collect();
            span.attributes.0[0].1 = format!("/{name}").as_str().into();
            by_route.stratum(&span);
        }
        assert_eq!(&*by_route.stratum(&span), OTHER);
        assert_eq!(by_route.strata.len(), MOST_ROUTES);

        let mut by_zone = Tally::new(vec!["cloud_region".into()]);
        assert_eq!(&*by_zone.stratum(&span), "");
        span.attributes.0.push(("cloud.region".into(), "north".into()));
        assert_eq!(&*by_zone.stratum(&span), "north");
        assert_eq!(&*Tally::new(vec![String::new()]).stratum(&span), "");
    }

    #[test]
    fn more_instances_than_are_kept_count_together() {
        let mut tally = Tally::new(vec![String::new()]);
        let span = entry(1, 1);
        for instance in 0..5_000 {
            tally.count(Arm::Canary, &format!("pod-{instance}").into(), &span);
        }
        let cells = tally.take();
        assert_eq!(cells.len(), MOST_CELLS + 1);
        assert_eq!(cells.values().map(|cell| cell.requests).sum::<u64>(), 5_000);
        assert!(!tally.has(Arm::Canary));
    }
}
