//! Raw cumulative counters become differences, one reading after another.
//!
//! The tests count requests, so no request may be counted twice, invented or lost without need:
//!
//! - What is seen first is a start point and yields no difference.
//! - Within a group (one check on one instance) a series that appears later counts from zero, for a
//!   labelled counter appears with its first request: the first `500` would be lost otherwise. From a
//!   group that had no series at all this holds only if the process is known to be the same one;
//!   else the exporter may have been restarted, and the new values are a start point again.
//! - A restart is seen by another start time of the process, by another `_created` time of the series,
//!   or, where no start time is known, by any counter of the group that is lower than before: then all
//!   of the group restarted and every counter counts from zero. A series that vanishes is no restart
//!   (exporters let idle series expire); its value is remembered for when it comes back.
//! - The same moment twice yields nothing; an earlier moment, NaN, infinities and negative values are
//!   refused, and a refused reading changes nothing.
//!
//! Prometheus' own `increase()` follows the same resets but extrapolates, so that its counts are no counts.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use analysis::{Arm, Observation, Sample, Scrape};
use jiff::Timestamp;

/// Above this, counters kept as floating point numbers skip integers.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Start times that differ by less, in seconds, may be the same process computing it anew each time.
const START_JITTER: f64 = 2.0;

/// How many vanished series a group remembers beside those that it has.
const VANISHED: usize = 1_000;

/// One counter of a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cumulative {
    /// Its value; fractions are cut off.
    pub value: f64,
    /// When the series was created, in seconds since 1970, if the source tells (`_created`).
    pub created: Option<f64>,
}

impl From<f64> for Cumulative {
    fn from(value: f64) -> Self {
        Self { value, created: None }
    }
}

/// All counters of one group at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading<K> {
    /// When they were read.
    pub at: Timestamp,
    /// When the process started, in seconds since 1970, if known (`process_start_time_seconds`).
    pub started: Option<f64>,
    /// The counters by series; may be empty when the source answered without any.
    pub values: BTreeMap<K, Cumulative>,
}

impl<K> Reading<K> {
    /// Whether every counter is a count.
    ///
    /// # Errors
    /// The first one that is NaN, infinite, negative or too large.
    pub fn validate(&self) -> Result<(), Refusal> {
        let bad = self.values.values().find(|c| !(0.0..LARGEST).contains(&c.value));
        bad.map_or(Ok(()), |bad| Err(Refusal::NoCount(bad.value)))
    }
}

/// What a reading adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference<K> {
    /// The first reading of this group: a start point.
    Start,
    /// The same moment as before: nothing is new.
    Duplicate,
    /// Counts since the reading before.
    Counts {
        /// By series, for those that the reading has.
        counts: BTreeMap<K, u64>,
        /// The process restarted in between; what it counted after the reading before is lost.
        restarted: bool,
    },
}

/// Why a reading is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A counter is NaN, infinite, negative or too large to be exact.
    #[error("a counter has the value {0}, which is no count")]
    NoCount(f64),
    /// The reading is older than the one before.
    #[error("a reading of {late} came after that of {last}")]
    OutOfOrder {
        /// The reading before.
        last: Timestamp,
        /// The refused one.
        late: Timestamp,
    },
    /// Buckets do not fit their bounds.
    #[error("a histogram has {bounds} bounds and {counts} counts, or its bounds do not rise")]
    Buckets {
        /// Number of bounds.
        bounds: usize,
        /// Number of counts; must be one more.
        counts: usize,
    },
}

#[derive(Debug)]
struct Remembered {
    value: u64,
    created: Option<f64>,
    present: bool,
}

#[derive(Debug)]
struct Last<K> {
    at: Timestamp,
    started: Option<f64>,
    values: BTreeMap<K, Remembered>,
}

/// The last reading of every group.
#[derive(Debug)]
pub struct Differ<G, K> {
    groups: HashMap<G, Last<K>>,
}

impl<G, K> Default for Differ<G, K> {
    fn default() -> Self {
        Self { groups: HashMap::new() }
    }
}

/// What two start times say.
enum Process {
    Same,
    Restarted,
    Unknown,
}

impl<G: Eq + Hash + Clone, K: Ord + Clone> Differ<G, K> {
    /// When the group was last read.
    pub fn last(&self, group: &G) -> Option<Timestamp> {
        self.groups.get(group).map(|last| last.at)
    }

    /// Forgets the groups for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&G) -> bool) {
        self.groups.retain(|group, _| keep(group));
    }

    /// Forgets one group, so that its next reading is a start point.
    pub fn forget(&mut self, group: &G) {
        self.groups.remove(group);
    }

    /// The series of a group that are lower in a reading than before, or not in it any more.
    ///
    /// Only for series that never vanish by themselves, as the buckets of a histogram.
    pub(crate) fn lower(&self, group: &G, reading: &Reading<K>) -> Vec<K> {
        let before = self.groups.get(group).into_iter().flat_map(|last| &last.values);
        let fell = before.filter(|(key, before)| {
            let now = reading.values.get(*key).map_or(0, |now| whole(now.value));
            before.present && now < before.value
        });
        fell.map(|(key, _)| key.clone()).collect()
    }

    /// Makes some series of a group count from zero, while the others go on.
    pub(crate) fn begin_anew(&mut self, group: &G, which: impl Fn(&K) -> bool) {
        let series = self.groups.get_mut(group).into_iter().flat_map(|last| &mut last.values);
        for (_, before) in series.filter(|(key, _)| which(key)) {
            before.value = 0;
        }
    }

    /// Gives the series of a group other names; what gets the same name is added.
    pub(crate) fn rename(&mut self, group: &G, name: impl Fn(&K) -> K) {
        let Some(last) = self.groups.get_mut(group) else { return };
        for (key, before) in std::mem::take(&mut last.values) {
            match last.values.entry(name(&key)) {
                Entry::Vacant(place) => {
                    place.insert(before);
                }
                Entry::Occupied(mut place) => {
                    let sum = place.get_mut();
                    sum.value += before.value;
                    sum.present |= before.present;
                    sum.created = sum.created.or(before.created);
                }
            }
        }
    }

    /// Takes in a reading and says what it adds.
    ///
    /// # Errors
    /// When the reading is not a later set of counts; it is then ignored, and the next good one
    /// counts from the last good one.
    pub fn observe(&mut self, group: &G, reading: &Reading<K>) -> Result<Difference<K>, Refusal> {
        reading.validate()?;
        let Some(last) = self.groups.get_mut(group) else {
            let values = reading.values.iter().map(|(key, c)| (key.clone(), remember(*c)));
            let first = Last { at: reading.at, started: reading.started, values: values.collect() };
            self.groups.insert(group.clone(), first);
            return Ok(Difference::Start);
        };
        if reading.at == last.at {
            return Ok(Difference::Duplicate);
        }
        if reading.at < last.at {
            return Err(Refusal::OutOfOrder { last: last.at, late: reading.at });
        }
        let difference = last.difference(reading);
        last.take_in(reading, matches!(difference, Difference::Counts { restarted: true, .. }));
        Ok(difference)
    }
}

impl<K: Ord + Clone> Last<K> {
    fn difference(&self, reading: &Reading<K>) -> Difference<K> {
        let process = match (self.started, reading.started) {
            #[expect(clippy::float_cmp, reason = "the same number read twice is bit for bit equal")]
            (Some(before), Some(now)) if before == now => Process::Same,
            (Some(before), Some(now)) if (before - now).abs() > START_JITTER => Process::Restarted,
            (Some(_) | None, Some(_) | None) => Process::Unknown,
        };
        let fell = || {
            reading.values.iter().any(|(key, now)| {
                self.values.get(key).is_some_and(|b| b.present && whole(now.value) < b.value)
            })
        };
        let restarted = match process {
            Process::Restarted => true,
            Process::Unknown => fell(),
            Process::Same => false,
        };
        let had_series = self.values.values().any(|before| before.present);
        let known = had_series || matches!(process, Process::Same);
        let read = epoch_seconds(self.at);
        let mut counts = BTreeMap::new();
        for (key, now) in &reading.values {
            let value = whole(now.value);
            let count = match self.values.get(key) {
                _ if restarted => value,
                Some(before) if value < before.value || before.recreated(*now) => value,
                Some(before) => value - before.value,
                None if known || now.created.is_some_and(|created| created > read) => value,
                None => continue,
            };
            counts.insert(key.clone(), count);
        }
        if counts.is_empty() && !reading.values.is_empty() {
            return Difference::Start;
        }
        Difference::Counts { counts, restarted }
    }

    fn take_in(&mut self, reading: &Reading<K>, restarted: bool) {
        if restarted || self.values.len() > 2 * reading.values.len() + VANISHED {
            self.values.clear();
        }
        for before in self.values.values_mut() {
            before.present = false;
        }
        for (key, now) in &reading.values {
            match self.values.get_mut(key) {
                Some(before) => *before = remember(*now),
                None => {
                    self.values.insert(key.clone(), remember(*now));
                }
            }
        }
        self.at = reading.at;
        self.started = reading.started;
    }
}

impl Remembered {
    fn recreated(&self, now: Cumulative) -> bool {
        matches!((self.created, now.created), (Some(before), Some(now)) if now > before)
    }
}

fn remember(now: Cumulative) -> Remembered {
    Remembered { value: whole(now.value), created: now.created, present: true }
}

/// A checked counter without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are checked to lie in [0, 2^53) before they come here"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of our era fit 53 bits")]
fn epoch_seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1_000.0
}

/// What one instance of one arm has counted since it began: the embedded proxy's own numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    /// Whose requests.
    pub arm: Arm,
    /// Who counted; unique within the arm.
    pub instance: String,
    /// Requests that completed, good and bad.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Upper bounds in seconds, finite and strictly rising; empty for no histogram.
    pub le: Vec<f64>,
    /// Requests per bucket since it began, each bucket alone; one more than `le`.
    pub counts: Vec<u64>,
}

/// Turns [`Totals`] into scrapes for the checks `errors` and `latency`.
#[derive(Debug, Default)]
pub struct TotalsDiffer {
    differ: Differ<(Arm, String), Count>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Count {
    Completed,
    Failed,
    Bucket(usize),
}

impl TotalsDiffer {
    /// Takes in the totals of one moment and returns what they add, and what was refused.
    ///
    /// The first totals of an instance are its start point: hand them over before it gets traffic.
    pub fn observe(&mut self, at: Timestamp, totals: &[Totals]) -> (Scrape, Vec<Refusal>) {
        let mut scrape = Scrape { at, observations: Vec::new() };
        let mut refused = Vec::new();
        for total in totals {
            match self.one(at, total) {
                Ok(observations) => scrape.observations.extend(observations),
                Err(refusal) => refused.push(refusal),
            }
        }
        (scrape, refused)
    }

    /// Forgets instances that are gone.
    pub fn retain(&mut self, keep: impl Fn(Arm, &str) -> bool) {
        self.differ.retain(|(arm, instance)| keep(*arm, instance));
    }

    fn one(&mut self, at: Timestamp, total: &Totals) -> Result<Vec<Observation>, Refusal> {
        let histogram = !(total.le.is_empty() && total.counts.is_empty());
        let rising = total.le.iter().all(|le| le.is_finite())
            && total.le.windows(2).all(|pair| pair[0] < pair[1]);
        if histogram && (total.counts.len() != total.le.len() + 1 || !rising) {
            let (bounds, counts) = (total.le.len(), total.counts.len());
            return Err(Refusal::Buckets { bounds, counts });
        }
        let buckets = total.counts.iter().enumerate().map(|(i, n)| (Count::Bucket(i), *n));
        let values = [(Count::Completed, total.completed), (Count::Failed, total.failed)]
            .into_iter()
            .chain(buckets)
            .map(|(key, count)| (key, exact(count).into()))
            .collect();
        let reading = Reading { at, started: None, values };
        let group = (total.arm, total.instance.clone());
        let Difference::Counts { counts, .. } = self.differ.observe(&group, &reading)? else {
            return Ok(Vec::new());
        };
        let count = |key| counts.get(&key).copied().unwrap_or(0);
        let observation = |check: &str, sample| Observation {
            arm: total.arm,
            instance: total.instance.clone(),
            check: check.to_owned(),
            stratum: None,
            sample,
        };
        let of = count(Count::Completed);
        let events = count(Count::Failed).min(of);
        let mut observations = vec![observation("errors", Sample::Events { events, of })];
        if histogram {
            let counts = (0..total.counts.len()).map(|i| count(Count::Bucket(i))).collect();
            let sample = Sample::Histogram { le: total.le.clone(), counts };
            observations.push(observation("latency", sample));
        }
        Ok(observations)
    }
}

/// A whole count as the differ takes it; larger than 2^53 is refused there.
#[expect(clippy::cast_precision_loss, reason = "the differ refuses values beyond 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
