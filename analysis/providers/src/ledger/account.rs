//! The counters of one subject: what is remembered of each instance, and what new readings add to it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use analysis::{Arm, Observation, Sample};
use jiff::{SignedDuration, Timestamp};

use super::notes::Notes;
use super::strata::{Split, Strata};
use super::{Decision, Found, Round, named};
use crate::counters::{Differ, Difference, Reading, Refusal};
use crate::reads::native::{self, Grid};
use crate::reads::{Key, Reads};
use crate::subject::Subject;

/// One subject's counters and choices.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) choices: HashMap<String, Decision>,
    differ: Differ<Group, Key>,
    /// The bounds of the buckets that a group had; when they change, its counts cannot be compared.
    layouts: HashMap<Group, Vec<u64>>,
    /// The buckets of native histograms by the labels of their series.
    grids: HashMap<Group, BTreeMap<Arc<str>, Grid>>,
    /// When the gauge of a group was last taken.
    gauges: HashMap<Group, Timestamp>,
    /// The strata of each check.
    strata: HashMap<String, Strata>,
    /// The bounds of custom buckets of each check, as bits.
    bounds: HashMap<String, BTreeSet<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Group {
    check: String,
    arm: Arm,
    instance: String,
}

/// How an arm of a check stands.
enum Standing {
    Ready,
    Waiting,
    Missing(Vec<String>),
    Stale(String),
}

impl Account {
    /// Forgets the checks for which `keep` is false.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.differ.retain(|group| keep(&group.check));
        self.layouts.retain(|group, _| keep(&group.check));
        self.grids.retain(|group, _| keep(&group.check));
        self.gauges.retain(|group, _| keep(&group.check));
        self.strata.retain(|check, _| keep(check));
        self.bounds.retain(|check, _| keep(check));
    }

    /// Takes in what both arms show of strata and of the bounds of custom buckets.
    pub(super) fn learn(&mut self, round: &Round<'_>, split: Split<'_>) {
        let newest = || round.found.iter().filter_map(|found| found.readings.last());
        if has_strata(round.reads, split) {
            let strata = self.strata.entry(round.check.to_owned()).or_default();
            strata.learn(split, newest().flat_map(|reading| reading.values.keys()));
        }
        let bounds: BTreeSet<u64> =
            newest().flat_map(|reading| native::custom_bounds(&reading.values)).collect();
        if !bounds.is_empty() {
            self.bounds.entry(round.check.to_owned()).or_default().extend(bounds);
        }
    }

    /// Takes the newest reading of every group that was never seen as its start point.
    pub(super) fn take_starts(&mut self, round: &Round<'_>) {
        if round.reads.is_gauge() {
            return;
        }
        for found in &round.found {
            let group = found.group(round.check);
            if self.differ.last(&group).is_none() {
                // A refused start is told when the arms advance; there is no start point then.
                let _started = found
                    .readings
                    .iter()
                    .rev()
                    .any(|reading| self.observe(round.reads, &group, reading).is_ok());
            }
        }
    }

    /// When a group was last taken in.
    fn last(&self, reads: &Reads, group: &Group) -> Option<Timestamp> {
        if reads.is_gauge() { self.gauges.get(group).copied() } else { self.differ.last(group) }
    }

    /// Whether every declared arm of a check has something new.
    pub(super) fn is_ready(
        &self,
        subject: &Subject,
        at: Timestamp,
        round: &Round<'_>,
        stale_after: Duration,
        notes: &mut Notes,
    ) -> bool {
        let mut ready = true;
        for arm in [Arm::Baseline, Arm::Canary] {
            if !subject.instances.iter().any(|instance| instance.arm == arm) {
                continue;
            }
            match self.standing(arm, at, round, stale_after) {
                Standing::Ready => notes.fresh = true,
                Standing::Waiting => {
                    notes.fresh = true;
                    ready = false;
                }
                Standing::Missing(mut texts) => {
                    notes.missing.append(&mut texts);
                    ready = false;
                }
                Standing::Stale(text) => {
                    notes.stale.push(format!("{} of the {}: {text}", round.check, named(arm)));
                    ready = false;
                }
            }
        }
        ready
    }

    fn standing(
        &self,
        arm: Arm,
        at: Timestamp,
        round: &Round<'_>,
        stale_after: Duration,
    ) -> Standing {
        let of_arm = || round.found.iter().filter(|found| found.arm == arm);
        let is_new = |found: &Found, at| {
            self.last(round.reads, &found.group(round.check)).is_none_or(|last| at > last)
        };
        let newest = of_arm().filter_map(|f| f.counts(round.reads).map(|r| r.at).max()).max();
        let refused = of_arm().filter_map(|f| {
            let refusal = refusal(round.reads, f.readings.last().filter(|r| is_new(f, r.at))?)?;
            Some(format!("{} {}: {refusal}", named(arm), f.instance))
        });
        let told = of_arm().filter_map(|f| {
            f.problem.as_ref().map(|problem| format!("{} {}: {problem}", named(arm), f.instance))
        });
        let has_new = of_arm().any(|f| f.counts(round.reads).any(|r| is_new(f, r.at)));
        let problems: Vec<String> = refused.chain(told).collect();
        if !has_new && !problems.is_empty() {
            return Standing::Missing(problems);
        }
        let Some(newest) = newest else {
            let (check, names) = (round.check, round.reads.names());
            let text = format!("{check} of the {}: no series of {names}", named(arm));
            return Standing::Missing(vec![text]);
        };
        let age = at.duration_since(newest);
        if age > SignedDuration::try_from(stale_after).unwrap_or(SignedDuration::MAX) {
            return Standing::Stale(format!("no new sample for {} s", age.as_secs()));
        }
        if has_new { Standing::Ready } else { Standing::Waiting }
    }

    /// Takes in one reading; buckets with other bounds than before are a start point.
    fn observe(
        &mut self,
        reads: &Reads,
        group: &Group,
        reading: &Reading<Key>,
    ) -> Result<Difference<Key>, Refusal> {
        let layout = Reads::layout(&reading.values);
        if !layout.is_empty()
            && self.layouts.get(group) != Some(&layout)
            && self.layouts.insert(group.clone(), layout).is_some()
        {
            self.differ.forget(group);
        }
        let is_next = self.differ.last(group).is_none_or(|last| reading.at > last);
        if !reads.series_reset_alone() || !is_next || reading.validate().is_err() {
            return self.differ.observe(group, reading);
        }
        let reading = self.on_common_grid(group, reading);
        let fallen: BTreeSet<Arc<str>> =
            self.differ.lower(group, &reading).into_iter().map(Key::into_labels).collect();
        self.differ.begin_anew(group, |key| fallen.contains(key.labels()));
        self.differ.observe(group, &reading)
    }

    /// A reading of native histograms with the buckets that it shares with what is remembered of them.
    fn on_common_grid(&mut self, group: &Group, reading: &Reading<Key>) -> Reading<Key> {
        let mut reading = reading.clone();
        let known = self.grids.entry(group.clone()).or_default();
        for (labels, now) in native::grids(&reading.values) {
            let before = *known.entry(labels.clone()).or_insert(now);
            let Some(common) = before.common(now) else {
                // Custom buckets instead of exponential ones: these have nothing to do with each other.
                known.insert(labels, now);
                self.differ.forget(group);
                continue;
            };
            let place = |key: &Key| {
                if key.labels() == &*labels { common.place(key) } else { key.clone() }
            };
            if common != before {
                self.differ.rename(group, place);
                known.insert(labels.clone(), common);
            }
            if common != now {
                let mut placed: crate::reads::Values = BTreeMap::new();
                for (key, counter) in std::mem::take(&mut reading.values) {
                    let sum = placed.entry(place(&key)).or_insert(0.0.into());
                    sum.value += counter.value;
                }
                reading.values = placed;
            }
        }
        reading
    }

    /// Differences everything new of a check; returns the latest moment.
    pub(super) fn advance(
        &mut self,
        round: &Round<'_>,
        split: Split<'_>,
        observations: &mut Vec<Observation>,
        notes: &mut Notes,
    ) -> Option<Timestamp> {
        let mut latest = None;
        for found in &round.found {
            if let Some(problem) = &found.problem {
                notes.partial.push(format!("{} {}: {problem}", named(found.arm), found.instance));
            }
            let group = found.group(round.check);
            let mut last = self.differ.last(&group);
            let new = found.readings.iter().filter(|r| last.is_none_or(|last| r.at > last));
            let mut sum: BTreeMap<Key, u64> = BTreeMap::new();
            let (mut restarts, mut seconds) = (0_u64, 0_u64);
            for reading in new.collect::<Vec<_>>() {
                match self.observe(round.reads, &group, reading) {
                    Ok(Difference::Start | Difference::Duplicate) => {}
                    Ok(Difference::Counts { counts, restarted }) => {
                        if restarted {
                            restarts += 1;
                            tracing::info!(
                                check = round.check,
                                instance = found.instance,
                                "the counters of an instance began anew"
                            );
                        }
                        seconds += last.map_or(0, |last| whole_seconds(last, reading.at));
                        latest = latest.max(Some(reading.at));
                        for (key, count) in counts {
                            *sum.entry(key).or_default() += count;
                        }
                    }
                    Err(refusal) => {
                        let instance = &found.instance;
                        notes.partial.push(format!("{} {instance}: {refusal}", named(found.arm)));
                    }
                }
                last = self.differ.last(&group);
            }
            let observation = |stratum: Option<&str>, sample| Observation {
                arm: found.arm,
                instance: found.instance.clone(),
                check: round.check.to_owned(),
                stratum: stratum.map(str::to_owned),
                sample,
            };
            if round.reads.is_out_of_seconds() {
                let counted =
                    if round.reads.counts_restarts() { restarts } else { sum.values().sum() };
                // More restarts than seconds happen only where a counter of them is read.
                let of = seconds.max(counted);
                if of > 0 {
                    let sample = Sample::Events { events: counted, of };
                    observations.push(observation(None, sample));
                }
                continue;
            }
            for (stratum, sample) in self.samples(round, split, sum) {
                observations.push(observation(stratum.as_deref(), sample));
            }
        }
        latest
    }

    /// The samples that differences make, by stratum.
    fn samples(
        &self,
        round: &Round<'_>,
        split: Split<'_>,
        counts: BTreeMap<Key, u64>,
    ) -> Vec<(Option<String>, Sample)> {
        let none = BTreeSet::new();
        let bounds = self.bounds.get(round.check).unwrap_or(&none);
        let strata = self.strata.get(round.check).filter(|_| has_strata(round.reads, split));
        let Some(strata) = strata else {
            return round.reads.sample(&counts, bounds).map(|s| (None, s)).into_iter().collect();
        };
        let mut parts: BTreeMap<Option<&str>, BTreeMap<Key, u64>> = BTreeMap::new();
        for (key, count) in counts {
            let stratum = strata.of(split, &key);
            parts.entry(stratum).or_default().insert(key, count);
        }
        // Bad events without the label that all events have would belong to no requests.
        if matches!(round.reads, Reads::Pair { .. }) && parts.contains_key(&None) {
            let all = parts.into_values().flatten().collect();
            return round.reads.sample(&all, bounds).map(|s| (None, s)).into_iter().collect();
        }
        let samples = parts.into_iter().filter_map(|(stratum, counts)| {
            Some((stratum.map(str::to_owned), round.reads.sample(&counts, bounds)?))
        });
        samples.collect()
    }

    /// The newest value of every instance; returns the latest moment.
    pub(super) fn take_gauges(
        &mut self,
        round: &Round<'_>,
        observations: &mut Vec<Observation>,
    ) -> Option<Timestamp> {
        let mut latest = None;
        for found in &round.found {
            let group = found.group(round.check);
            let Some(newest) = found.counts(round.reads).max_by_key(|reading| reading.at) else {
                continue;
            };
            if self.gauges.get(&group).is_some_and(|last| newest.at <= *last) {
                continue;
            }
            self.gauges.insert(group, newest.at);
            latest = latest.max(Some(newest.at));
            observations.push(Observation {
                arm: found.arm,
                instance: found.instance.clone(),
                check: round.check.to_owned(),
                stratum: None,
                sample: Sample::Gauge { value: newest.values.values().map(|v| v.value).sum() },
            });
        }
        latest
    }
}

/// Whether a check may be split: pairs of counters only where the policy names a label for both.
fn has_strata(reads: &Reads, split: Split<'_>) -> bool {
    match reads {
        Reads::Ratio { .. } | Reads::Buckets { .. } | Reads::Native { .. } => true,
        Reads::Pair { .. } => split.is_named(),
        Reads::Restarts { .. } | Reads::Increase(_) | Reads::Gauge(_) | Reads::Value(_) => false,
    }
}

/// Seconds between two moments; over many scrapes they add up to the time between the first and the last.
fn whole_seconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_second() - from.as_second()).unwrap_or(0)
}

/// What is wrong with a reading, if anything.
fn refusal(reads: &Reads, reading: &Reading<Key>) -> Option<String> {
    if reads.is_gauge() {
        let bad = reading.values.values().find(|value| !value.value.is_finite())?;
        return Some(format!("a gauge has the value {}", bad.value));
    }
    reading.validate().err().map(|refusal| refusal.to_string())
}

impl Found {
    /// The readings that have counters, all of them counts.
    fn counts<'a>(&'a self, reads: &'a Reads) -> impl Iterator<Item = &'a Reading<Key>> {
        self.readings.iter().filter(|r| !r.values.is_empty() && refusal(reads, r).is_none())
    }

    fn group(&self, check: &str) -> Group {
        Group { check: check.to_owned(), arm: self.arm, instance: self.instance.clone() }
    }
}
