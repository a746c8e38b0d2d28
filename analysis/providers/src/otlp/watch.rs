//! What is kept for one live deployment: its streams, and what they counted since it was last measured.
//!
//! A difference counts only if it began after the watch did: what a process counted before says nothing about
//! this deployment, and arms that are compared must have been counted at the same time. All memory is bounded;
//! once anything was dropped, a stream that is seen for the first time is a start point.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, Hash, RandomState};

use analysis::{Arm, Scrape};
use jiff::Timestamp;

use super::arms::{self, Place};
use super::check::{Added, Check, Selected, in_prometheus_names};
use super::model::{Attributes, Batch, Metric, Point, Reason, Refused, Shape, Value};
use super::names::{Called, sanitized, series};
use super::stream::{Step, Stream};
use super::told;
use crate::Completeness;
use crate::selector::Series;
use crate::subject::Subject;

/// Resources of one service: processes, with those of the last minutes.
const MOST_RESOURCES: usize = 2_000;

/// Kinds of series that are kept to choose a metric from.
const MOST_CANDIDATES: usize = 256;

/// Texts of foreign resources that are kept for a message.
const MOST_STRANGERS: usize = 5;

/// What was silent for this long may be dropped; nanoseconds.
pub(super) const IDLE: u64 = 600_000_000_000;

/// Points of one metric that are closer than this belong to one export; nanoseconds.
const ONE_EXPORT: u64 = 500_000_000;

/// Identities that nobody outside can aim at.
#[derive(Debug, Default)]
pub(super) struct Identities(RandomState, RandomState);

impl Identities {
    fn of(&self, what: &impl Hash) -> u128 {
        u128::from(self.0.hash_one(what)) << 64 | u128::from(self.1.hash_one(what))
    }
}

/// One resource that belongs to an arm.
#[derive(Debug)]
struct Known {
    place: Place,
    arrived: u64,
}

/// One metric of one resource: when it was exported.
#[derive(Debug)]
struct Family {
    before: Option<u64>,
    newest: u64,
    arrived: u64,
}

impl Family {
    /// When it was exported before the export at `time`, if that is known.
    fn before(&mut self, time: u64, arrived: u64) -> Option<u64> {
        self.arrived = arrived;
        if time >= self.newest.saturating_add(ONE_EXPORT) {
            (self.before, self.newest) = (Some(self.newest), time);
        }
        self.before.filter(|_| time.saturating_add(ONE_EXPORT) > self.newest)
    }
}

/// What is kept for one deployment.
#[derive(Debug)]
pub(super) struct Watch {
    service: String,
    subject: Subject,
    /// Since when it waits; nanoseconds since 1970.
    since: u64,
    /// When it was last measured.
    measured: Timestamp,
    pub(super) checks: Vec<Check>,
    resources: HashMap<u128, Known>,
    families: HashMap<u128, Family>,
    streams: HashMap<u128, Stream>,
    /// Streams that began before this may have been counted already.
    lossy: u64,
    /// Resources of the service that belong to no arm, by what they say.
    strangers: BTreeMap<String, HashSet<u128>>,
    candidates: [BTreeMap<(String, Vec<String>), Series>; 2],
    refused: Refused,
}

/// Nanoseconds since 1970, 0 before that.
pub(super) fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

/// The service whose telemetry belongs to a subject: a label of its instances, else its own name.
pub(super) fn service(subject: &Subject) -> String {
    let label = subject.instances.iter().find_map(|instance| {
        instance.labels.iter().find(|(name, _)| sanitized(name) == "service_name")
    });
    label.map_or_else(|| subject.service.clone(), |(_, value)| value.clone())
}

impl Watch {
    /// Begins to wait for a deployment's metrics.
    pub(super) fn new(subject: &Subject, at: Timestamp) -> Self {
        Self {
            service: service(subject),
            subject: subject.clone(),
            since: nanoseconds(at),
            measured: at,
            checks: subject.measures.iter().map(in_prometheus_names).map(Check::new).collect(),
            resources: HashMap::new(),
            families: HashMap::new(),
            streams: HashMap::new(),
            lossy: 0,
            strangers: BTreeMap::new(),
            candidates: [BTreeMap::new(), BTreeMap::new()],
            refused: Refused::default(),
        }
    }

    /// How many streams it keeps.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Takes the subject as it is now; checks that changed begin anew.
    fn renew(&mut self, subject: &Subject) {
        if self.subject == *subject {
            return;
        }
        if self.subject.instances != subject.instances {
            self.resources.clear();
            self.strangers.clear();
        }
        let mut before = std::mem::take(&mut self.checks);
        for measure in subject.measures.iter().map(in_prometheus_names) {
            let same = before.iter().position(|check| check.measure == measure);
            let check = same.map(|at| before.swap_remove(at));
            self.checks.push(check.unwrap_or_else(|| Check::new(measure)));
        }
        self.subject = subject.clone();
    }

    /// Takes in one resource's metrics; `most` is how many streams may be kept. Returns what was refused.
    pub(super) fn take(
        &mut self,
        batch: &Batch,
        arrived: u64,
        most: usize,
        identities: &Identities,
    ) -> Refused {
        let mut refused = Refused::default();
        let resource = identities.of(&batch.resource);
        let Some(place) = self.place(resource, &batch.resource, arrived) else { return refused };
        for (metric, points) in &batch.metrics {
            self.note_candidates(place.arm, metric, points);
        }
        if self.checks.iter().any(Check::is_open) {
            let arms: Vec<Vec<Series>> =
                self.candidates.iter().map(|arm| arm.values().cloned().collect()).collect();
            for check in self.checks.iter_mut().filter(|check| check.is_open()) {
                check.choose(&arms);
            }
        }
        for (metric, points) in &batch.metrics {
            let called = Called::of(metric);
            let family = identities.of(&(resource, metric.scope, &metric.name));
            for point in points {
                let before = self.before(family, point.time, arrived, most);
                let stream =
                    identities.of(&(family, metric.shape, &metric.unit, &point.attributes));
                let step =
                    self.one((&place, metric, &called), stream, point, before, arrived, most);
                if let Err(reason) = step {
                    refused.add(reason);
                }
            }
        }
        self.refused.extend(&refused);
        refused
    }

    /// When a metric of a resource was exported before, if that is known.
    fn before(&mut self, family: u128, time: u64, arrived: u64, most: usize) -> Option<u64> {
        if let Some(known) = self.families.get_mut(&family) {
            return known.before(time, arrived);
        }
        if self.families.len() >= most {
            self.drop_idle(arrived);
        }
        if self.families.len() < most {
            self.families.insert(family, Family { before: None, newest: time, arrived });
        }
        None
    }

    /// Where a resource belongs; remembered, and bounded.
    fn place(&mut self, id: u128, resource: &Attributes, arrived: u64) -> Option<Place> {
        if let Some(known) = self.resources.get_mut(&id) {
            known.arrived = arrived;
            return Some(known.place.clone());
        }
        match arms::place(&self.subject.instances, resource) {
            Ok(place) => {
                if self.resources.len() >= MOST_RESOURCES {
                    self.resources.retain(|_, known| known.arrived.saturating_add(IDLE) > arrived);
                }
                if self.resources.len() < MOST_RESOURCES {
                    self.resources.insert(id, Known { place: place.clone(), arrived });
                }
                Some(place)
            }
            Err(said) => {
                if self.strangers.len() < MOST_STRANGERS || self.strangers.contains_key(&said) {
                    let alike = self.strangers.entry(said).or_default();
                    if alike.len() < MOST_RESOURCES {
                        alike.insert(id);
                    }
                }
                None
            }
        }
    }

    /// Notes which kinds of series an arm has.
    fn note_candidates(&mut self, arm: Arm, metric: &Metric, points: &[Point]) {
        if !self.checks.iter().any(Check::is_open) {
            return;
        }
        let called = Called::of(metric);
        let candidates = &mut self.candidates[usize::from(arm == Arm::Canary)];
        for point in points {
            let buckets = match &point.value {
                Value::Int(_) | Value::Double(_) => false,
                Value::Histogram { bounds, .. } => !bounds.is_empty(),
                Value::Exponential(_) => true,
            };
            for buckets in [false, true].into_iter().filter(|wanted| !wanted || buckets) {
                let one = series(&called.series_name(buckets), &point.attributes, buckets);
                let labels = one.labels.iter().map(|(label, _)| label.clone()).collect();
                if candidates.len() < MOST_CANDIDATES {
                    candidates.entry((one.name.clone(), labels)).or_insert(one);
                }
            }
        }
    }

    fn one(
        &mut self,
        (place, metric, called): (&Place, &Metric, &Called),
        stream: u128,
        point: &Point,
        before: Option<u64>,
        arrived: u64,
        most: usize,
    ) -> Result<(), Reason> {
        let mut uses: Vec<(usize, Selected)> = Vec::new();
        let mut wrong = None;
        for (index, check) in self.checks.iter_mut().enumerate() {
            let Some(selected) = check.selects(called, &point.attributes) else { continue };
            match (metric.shape, check.is_gauge()) {
                (Shape::Gauge | Shape::Sum { monotonic: false }, false) => {
                    wrong = Some(Reason::NotCounter);
                }
                (Shape::Sum { monotonic: true } | Shape::Histogram | Shape::Exponential, true) => {
                    wrong = Some(Reason::NotGauge);
                }
                (_, _) => uses.push((index, selected)),
            }
        }
        if uses.is_empty() {
            return wrong.map_or(Ok(()), Err);
        }
        let place = (place.arm, place.instance.as_str());
        if matches!(metric.shape, Shape::Gauge | Shape::Sum { monotonic: false }) {
            let value = number(&point.value)?;
            if !self.is_newer(stream, point.time, arrived, most)? {
                return Ok(());
            }
            for (index, selected) in uses {
                let added = Added::Value(stream, value);
                self.checks[index].add(place, metric, selected, added, arrived)?;
            }
            return Ok(());
        }
        let step = self.step(metric, stream, point, before, arrived, most)?;
        let added = match &step {
            Step::Late => return Ok(()),
            Step::Start => Added::Start,
            Step::Counted { from, .. } if *from < self.since => Added::Start,
            Step::Counted { counts, .. } => Added::Counts(counts),
        };
        for (index, selected) in uses {
            self.checks[index].add(place, metric, selected, added, arrived)?;
        }
        Ok(())
    }

    /// What a counting stream's point adds.
    fn step(
        &mut self,
        metric: &Metric,
        stream: u128,
        point: &Point,
        before: Option<u64>,
        arrived: u64,
        most: usize,
    ) -> Result<Step, Reason> {
        if let Some(known) = self.streams.get_mut(&stream) {
            return known.advance(metric, point, arrived);
        }
        self.make_room(arrived, most, point.time)?;
        let (begun, step) = Stream::begin(metric, point, before, arrived)?;
        self.streams.insert(stream, begun);
        Ok(match step {
            // It may be one that was dropped, whose counts were taken then.
            Step::Counted { from, .. } if from <= self.lossy => Step::Start,
            Step::Counted { .. } | Step::Start | Step::Late => step,
        })
    }

    fn is_newer(
        &mut self,
        stream: u128,
        time: u64,
        arrived: u64,
        most: usize,
    ) -> Result<bool, Reason> {
        if let Some(known) = self.streams.get_mut(&stream) {
            return Ok(known.is_newer(time, arrived));
        }
        self.make_room(arrived, most, time)?;
        self.streams.insert(stream, Stream::of_values(time, arrived));
        Ok(true)
    }

    /// Drops silent streams where there are too many.
    fn make_room(&mut self, arrived: u64, most: usize, time: u64) -> Result<(), Reason> {
        if self.streams.len() >= most {
            self.drop_idle(arrived);
        }
        if self.streams.len() >= most {
            self.lossy = self.lossy.max(time);
            return Err(Reason::TooManyStreams);
        }
        Ok(())
    }

    /// Drops what was silent for long.
    fn drop_idle(&mut self, now: u64) {
        let lossy = &mut self.lossy;
        self.streams.retain(|_, stream| {
            let keep = stream.arrived.saturating_add(IDLE) > now;
            if !keep {
                *lossy = (*lossy).max(stream.time);
            }
            keep
        });
        self.families.retain(|_, family| family.arrived.saturating_add(IDLE) > now);
        self.resources.retain(|_, known| known.arrived.saturating_add(IDLE) > now);
    }

    /// Everything counted since the last time, for both arms together.
    pub(super) fn measure(
        &mut self,
        subject: &Subject,
        at: Timestamp,
        stale_after: u64,
        seen: &[String],
    ) -> (Scrape, Completeness) {
        self.renew(subject);
        let is_again = at <= self.measured;
        self.measured = self.measured.max(at);
        let now = nanoseconds(at);
        let mut scrape = Scrape { at, observations: Vec::new() };
        let declared: Vec<Arm> = [Arm::Baseline, Arm::Canary]
            .into_iter()
            .filter(|arm| subject.instances.iter().any(|instance| instance.arm == *arm))
            .collect();
        let mut notes = told::Notes::default();
        for check in &mut self.checks {
            match &check.chosen {
                Some(Ok(_)) => {}
                Some(Err(text)) => {
                    notes.undecided.push(format!("{}: {text}", check.measure.check));
                    continue;
                }
                None => {
                    notes.undecided.push(told::undecided(&check.measure.check));
                    continue;
                }
            }
            let is_ready = notes.check(check, &declared, now, stale_after);
            if declared.iter().any(|arm| check.side(*arm).arrived.is_none()) {
                // The arms begin together.
                check.drop_counts();
            } else if is_ready && !is_again {
                check.take(&mut scrape.observations);
            }
        }
        let without: Vec<Arm> =
            declared.iter().copied().filter(|arm| !self.has_resource(*arm)).collect();
        if !without.is_empty() {
            let strangers: Vec<(&String, usize)> =
                self.strangers.iter().map(|(said, all)| (said, all.len())).collect();
            let any = !self.resources.is_empty() || !strangers.is_empty();
            let text = told::unlabelled(subject, &self.service, &without, any, &strangers, seen);
            return (scrape, Completeness::None(text));
        }
        notes.partial.extend(std::mem::take(&mut self.refused).told());
        (scrape, notes.completeness(&subject.service))
    }

    /// Whether an arm ever pushed anything.
    fn has_resource(&self, arm: Arm) -> bool {
        self.resources.values().any(|known| known.place.arm == arm)
            || self.checks.iter().any(|check| check.side(arm).arrived.is_some())
    }
}

/// The value of a gauge.
fn number(value: &Value) -> Result<f64, Reason> {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a floating point number")]
    let number = match value {
        Value::Int(value) => *value as f64,
        Value::Double(value) => *value,
        Value::Histogram { .. } | Value::Exponential(_) => return Err(Reason::NotGauge),
    };
    if number.is_finite() { Ok(number) } else { Err(Reason::NoCount) }
}

#[cfg(test)]
mod tests;
