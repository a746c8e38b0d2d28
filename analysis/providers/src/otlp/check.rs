//! One check over pushed metrics: which streams it reads, and what they counted since it was last looked at.
//!
//! Names, families and status rules are those of every other provider, so that a policy reads the same.

use std::collections::{BTreeMap, BTreeSet};

use analysis::{Arm, Observation, Sample};

use super::model::{Attributes, Metric, Reason};
use super::names::{Called, sanitized, series};
use super::samples;
use super::stream::Counts;
use crate::counters::Cumulative;
use crate::families::{self, Chosen};
use crate::reads::{Key, Reads, Values};
use crate::selector::{Selector, Series};
use crate::subject::{Measure, MeasureKind, Named, Source};

/// Routes with a stratum of their own where the policy names no label.
const MOST_ROUTES: usize = 16;

/// The same where it does; with the rest the 64 that the analysis keeps.
const MOST_NAMED: usize = 63;

/// Parts of one arm's counts between two measurements: instances times strata.
const MOST_PENDING: usize = 4_096;

/// The stratum of everything beyond.
const OTHER: &str = "(other)";

/// The label of the usual strata.
const ROUTE: &str = "http_route";

/// One check and its counts.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) measure: Measure,
    /// What it reads; `None` until a metric with a usual name was pushed.
    pub(super) chosen: Option<Result<Chosen, String>>,
    settled: bool,
    routes: BTreeSet<String>,
    sides: [Side; 2],
}

/// One arm of a check.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// When its newest point arrived; nanoseconds since 1970.
    pub(super) arrived: Option<u64>,
    /// Whether something was counted that is not yet observed.
    pub(super) is_fresh: bool,
    pending: BTreeMap<(String, Option<String>), Pending>,
}

#[derive(Debug)]
enum Pending {
    Parts(BTreeMap<Key, u64>),
    Timed(Sample),
    Values(BTreeMap<u128, f64>),
}

/// How a check reads a point.
#[derive(Debug)]
pub(super) struct Selected {
    keys: Vec<Key>,
    stratum: Option<String>,
}

/// What a stream adds to a check.
#[derive(Debug, Clone, Copy)]
pub(super) enum Added<'a> {
    /// Counted since the point before.
    Counts(&'a Counts),
    /// The value now, of this stream.
    Value(u128, f64),
    /// Nothing that may be counted, but the stream is there.
    Start,
}

impl Check {
    pub(super) fn new(measure: Measure) -> Self {
        let chosen = given(&measure);
        let settled = chosen.is_some();
        let (routes, sides) = (BTreeSet::new(), Default::default());
        Self { measure, chosen, settled, routes, sides }
    }

    fn reads(&self) -> Option<&Reads> {
        Some(&self.chosen.as_ref()?.as_ref().ok()?.reads)
    }

    /// Names of metrics that only the policy gives.
    pub(super) fn names(&self) -> Vec<String> {
        if self.measure.source == Source::Auto {
            return Vec::new();
        }
        let selectors = self.reads().map(Reads::selectors).unwrap_or_default();
        selectors.into_iter().map(|selector| selector.name.clone()).collect()
    }

    /// Whether a metric is still to be chosen for it.
    pub(super) fn is_open(&self) -> bool {
        !self.settled
    }

    /// Chooses among the series of each arm; another choice than before begins anew.
    pub(super) fn choose(&mut self, arms: &[Vec<Series>]) {
        let (chosen, settled) = match families::choose(self.measure.kind, arms) {
            Ok((chosen, settled)) => (Ok(chosen), settled),
            Err(text) => (Err(text), false),
        };
        let reads = |c: &Result<Chosen, String>| c.as_ref().ok().map(|c| c.reads.clone());
        if self.chosen.as_ref().and_then(reads) != reads(&chosen) {
            self.sides = Default::default();
            self.routes.clear();
        }
        (self.chosen, self.settled) = (Some(chosen), settled);
    }

    pub(super) fn is_gauge(&self) -> bool {
        self.measure.kind == MeasureKind::Gauge
    }

    /// How it reads a point; `None` when it does not.
    pub(super) fn selects(&mut self, called: &Called, attributes: &Attributes) -> Option<Selected> {
        let Some(Ok(chosen)) = &self.chosen else { return None };
        let reads = &chosen.reads;
        let selectors = reads.selectors();
        let names: BTreeSet<&str> = selectors.iter().map(|s| s.name.as_str()).collect();
        let mut values = Values::new();
        for name in names.into_iter().filter(|name| called.is(name)) {
            let buckets = matches!(reads, Reads::Buckets { .. });
            let one = series(name, attributes, buckets);
            // With a bound of our own it cannot fail.
            reads.put(&mut values, &one, Cumulative::from(0.0)).ok()?;
        }
        let keys: Vec<Key> = values.into_keys().collect();
        if keys.is_empty() {
            return None;
        }
        Some(Selected { keys, stratum: self.stratum(attributes) })
    }

    /// Takes in what a stream adds.
    ///
    /// # Errors
    /// When it cannot be added to the others; it is left out then.
    pub(super) fn add(
        &mut self,
        (arm, instance): (Arm, &str),
        metric: &Metric,
        selected: Selected,
        added: Added<'_>,
        arrived: u64,
    ) -> Result<(), Reason> {
        let per_second = self.per_second(metric);
        let side = &mut self.sides[place(arm)];
        side.arrived = side.arrived.max(Some(arrived));
        let at = (instance.to_owned(), selected.stratum);
        let is_timed = self.measure.kind == MeasureKind::Latency;
        if side.pending.len() >= MOST_PENDING && !side.pending.contains_key(&at) {
            return Err(Reason::TooManyStreams);
        }
        match added {
            Added::Start => return Ok(()),
            Added::Value(stream, value) => {
                let pending =
                    side.pending.entry(at).or_insert_with(|| Pending::Values(BTreeMap::new()));
                if let Pending::Values(values) = pending {
                    values.insert(stream, value);
                }
            }
            Added::Counts(counts) if is_timed && selected.keys.len() == 1 => {
                let Some(sample) = samples::timed(counts, per_second?)? else { return Ok(()) };
                match side.pending.entry(at).or_insert_with(|| Pending::Timed(emptied(&sample))) {
                    Pending::Timed(sum) => samples::add(sum, &sample)?,
                    Pending::Parts(_) | Pending::Values(_) => return Err(Reason::OtherBuckets),
                }
            }
            Added::Counts(counts) => {
                let pending =
                    side.pending.entry(at).or_insert_with(|| Pending::Parts(BTreeMap::new()));
                if let Pending::Parts(parts) = pending {
                    for key in selected.keys {
                        let sum: &mut u64 = parts.entry(key).or_default();
                        *sum = sum.saturating_add(counts.total());
                    }
                }
            }
        }
        side.is_fresh = true;
        Ok(())
    }

    /// One arm.
    pub(super) fn side(&self, arm: Arm) -> &Side {
        &self.sides[place(arm)]
    }

    /// Drops what was counted, so that arms begin together.
    pub(super) fn drop_counts(&mut self) {
        for side in &mut self.sides {
            side.pending.clear();
            side.is_fresh = false;
        }
    }

    /// Everything counted since it was last taken.
    pub(super) fn take(&mut self, observations: &mut Vec<Observation>) {
        let Some(Ok(chosen)) = &self.chosen else { return };
        for arm in [Arm::Baseline, Arm::Canary] {
            let side = &mut self.sides[place(arm)];
            side.is_fresh = false;
            for ((instance, stratum), pending) in std::mem::take(&mut side.pending) {
                let sample = match pending {
                    Pending::Parts(parts) => chosen.reads.sample(&parts, &BTreeSet::new()),
                    Pending::Timed(sample) => Some(sample),
                    Pending::Values(values) => Some(Sample::Gauge { value: values.values().sum() }),
                };
                observations.extend(sample.map(|sample| Observation {
                    arm,
                    instance,
                    check: self.measure.check.clone(),
                    stratum,
                    sample,
                }));
            }
        }
    }

    /// Units that make a second: what the policy says, else the metric, else its name.
    fn per_second(&self, metric: &Metric) -> Result<u32, Reason> {
        if let Source::Named(Named { per_second: Some(told), .. }) = self.measure.source {
            return Ok(told);
        }
        match (samples::per_second(&metric.unit), self.reads()) {
            (Some(0), Some(Reads::Buckets { per_second, .. })) => Ok(*per_second),
            (Some(told), _) if told > 0 => Ok(told),
            _ => Err(Reason::NoDuration),
        }
    }

    /// The part of the traffic that a point belongs to.
    fn stratum(&mut self, attributes: &Attributes) -> Option<String> {
        let value = |label: &str| {
            let found = attributes
                .iter()
                .find(|(name, value)| !value.is_empty() && sanitized(name) == label);
            found.map(|(_, value)| value)
        };
        let found = if self.measure.strata.is_empty() {
            value(ROUTE)
        } else {
            self.measure.strata.iter().find_map(|label| value(label))
        }?;
        if self.routes.contains(found) {
            return Some(found.clone());
        }
        let most = if self.measure.strata.is_empty() { MOST_ROUTES } else { MOST_NAMED };
        if self.routes.len() >= most || found.len() > analysis::observation::LONGEST_NAME {
            return Some(OTHER.to_owned());
        }
        self.routes.insert(found.clone());
        Some(found.clone())
    }
}

/// The same buckets without requests.
fn emptied(sample: &Sample) -> Sample {
    let mut empty = sample.clone();
    match &mut empty {
        Sample::Histogram { counts, .. } => counts.fill(0),
        Sample::Exponential(histogram) => {
            histogram.zero = 0;
            histogram.counts.fill(0);
        }
        Sample::Events { .. } | Sample::Attempt { .. } | Sample::Gauge { .. } => {}
    }
    empty
}

fn place(arm: Arm) -> usize {
    match arm {
        Arm::Baseline => 0,
        Arm::Canary => 1,
    }
}

/// A measure whose labels are written as Prometheus writes them.
pub(super) fn in_prometheus_names(measure: &Measure) -> Measure {
    let mut measure = measure.clone();
    for label in &mut measure.strata {
        *label = sanitized(label);
    }
    if let Source::Named(named) = &mut measure.source {
        named.metric = sanitized(&named.metric);
        named.labels = std::mem::take(&mut named.labels)
            .into_iter()
            .map(|(label, value)| (sanitized(&label), value))
            .collect();
        if let Some(rule) = &mut named.status {
            rule.label = sanitized(&rule.label);
        }
    }
    measure
}

/// What a measure with a metric of its own reads; `None` if it is to be found.
fn given(measure: &Measure) -> Option<Result<Chosen, String>> {
    match (measure.kind, &measure.source) {
        (MeasureKind::Restarts, _) => Some(Err(
            "restarts are not read from pushed metrics; let the target or a metrics store count them"
                .to_owned(),
        )),
        // Here a query of one value can only select a gauge.
        (MeasureKind::Gauge, Source::Value(query)) => Some(
            Selector::parse(query)
                .map(|selector| Chosen::given(Reads::Gauge(selector)))
                .map_err(|error| error.to_string()),
        ),
        (
            MeasureKind::Errors
            | MeasureKind::Latency
            | MeasureKind::Gauge
            | MeasureKind::NewErrors
            | MeasureKind::Vital(_)
            | MeasureKind::ScriptErrors,
            _,
        ) => {
            Reads::given(measure).map(|reads| reads.map(Chosen::given)).transpose()
        }
    }
}
