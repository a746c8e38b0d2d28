//! All evidence of one check, fed observation by observation and settled once per scrape.
//!
//! Observations are first summed per arm and stratum, so that their order in a scrape makes no difference.
//! An arm that is missing although it was there before makes the other one wait: counters go on counting, so
//! the next difference of the missing arm spans both intervals.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Arm, Check, Counts, History, LatencyProfile, Observation, OnBreach, Sample, Settings, Test,
    comparison::Comparison,
    latency::{
        ENOUGH_FOR_THRESHOLDS, EffectiveTolerance, MOST_THRESHOLDS, common_bounds,
        effective_tolerance, position_of, same_bound,
    },
    observation::Refusal,
    sequential::{Absolute, weighted_mean},
};

/// Counts of one arm waiting for the other are dropped after this long: older ones describe another time.
pub(crate) const CARRY: SignedDuration = SignedDuration::from_mins(5);

/// A check without usable data for this long, while scrapes come, has no data.
pub(crate) const STALE: SignedDuration = SignedDuration::from_mins(5);

/// Strata of one check; a route template has tens, a raw path has no end.
const MOST_STRATA: usize = 64;

/// In a bake, less than one baseline request to this many canary requests is no comparison.
const NEARLY_NONE: u64 = 100;

/// The relative tolerance beside an objective that rolls back, if the policy names none: as in the defaults.
const USUAL_RATIO: f64 = 1.25;
const USUAL_ABSOLUTE: f64 = 0.001;

/// Counts per comparison.
type Cells = [Counts; MOST_THRESHOLDS];

/// State of one check: about 1.5 KB for errors, 1.1 KB more per threshold for latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CheckEvidence {
    /// The check's name.
    pub(crate) name: String,
    /// Canary against baseline: one for errors, one per threshold for latency (fixed once chosen), one beside
    /// an objective.
    pub(crate) comparisons: Vec<Comparison>,
    /// The objective's own process.
    pub(crate) objective: Option<Absolute>,
    /// Latency: the baseline's durations in this rollout.
    pub(crate) profile: LatencyProfile,
    /// Latency, until thresholds are chosen: bounds that all canary observations had.
    canary_bounds: Vec<f64>,
    strata: Vec<Stratum>,
    /// When data last made a difference.
    pub(crate) usable: Option<Timestamp>,
    /// Natural logarithm of the check's evidence now.
    pub(crate) current: f64,
    /// The highest it ever was.
    pub(crate) peak: f64,
    /// The last observation left out for this check.
    pub(crate) trouble: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Stratum {
    /// Empty where observations name none.
    name: String,
    canary_seen: bool,
    baseline_seen: bool,
    pending: Option<Pending>,
}

/// Counts that wait to be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pending {
    since: Timestamp,
    canary: Option<Cells>,
    baseline: Option<Cells>,
}

impl CheckEvidence {
    pub(crate) fn new(settings: &Settings, check: &Check, history: &History) -> Self {
        let usual = history.reference(&check.name).map_or(Counts::default(), |known| known.errors);
        let mut evidence = Self {
            name: check.name.clone(),
            comparisons: Vec::new(),
            objective: None,
            profile: LatencyProfile::default(),
            canary_bounds: Vec::new(),
            strata: Vec::new(),
            usable: None,
            current: 0.0,
            peak: 0.0,
            trouble: None,
        };
        match &check.test {
            Test::Errors { ratio, absolute } => {
                let comparison = Comparison::errors(sane_ratio(*ratio), sane_share(*absolute));
                evidence.comparisons.push(comparison.knowing(usual));
            }
            Test::Latency { .. } => {}
            Test::ErrorObjective { at_most, .. } => {
                evidence.objective = Some(Absolute::new(sane_share(*at_most)));
                let (ratio, absolute) = errors_tolerance(settings, &check.reads);
                evidence.comparisons.push(Comparison::errors(ratio, absolute));
            }
            Test::LatencyObjective { at_most, .. } => {
                evidence.objective = Some(Absolute::new(sane_share(*at_most)));
            }
        }
        evidence
    }

    /// Adds one valid observation to what waits.
    pub(crate) fn take(
        &mut self,
        settings: &Settings,
        check: &Check,
        observation: &Observation,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        match (&check.test, &observation.sample) {
            (Test::Errors { .. }, Sample::Events { events, of }) => {
                let mut cells = Cells::default();
                cells[0] = Counts { events: *events, of: *of };
                self.wait(observation, cells, at)
            }
            (Test::ErrorObjective { .. }, Sample::Events { events, of }) => {
                self.take_objective(observation, Counts { events: *events, of: *of }, at)
            }
            (Test::Latency { .. }, Sample::Histogram { le, counts }) => {
                if self.comparisons.is_empty() {
                    return Ok(());
                }
                let mut cells = Cells::default();
                let mut known = false;
                for (cell, comparison) in cells.iter_mut().zip(&self.comparisons) {
                    let bound = comparison.bounds.map(|bounds| match observation.arm {
                        Arm::Baseline => bounds.baseline,
                        Arm::Canary => bounds.canary,
                    });
                    if let Some(seen) = bound.and_then(|bound| slower_than(le, counts, bound)) {
                        *cell = seen;
                        known = true;
                    }
                }
                if known { self.wait(observation, cells, at) } else { Err(Refusal::OtherBounds) }
            }
            (Test::LatencyObjective { threshold, .. }, Sample::Histogram { le, counts }) => {
                if self.comparisons.is_empty() {
                    let bound = le
                        .iter()
                        .copied()
                        .find(|bound| *bound >= *threshold || same_bound(*bound, *threshold))
                        .ok_or(Refusal::OtherBounds)?;
                    self.begin_objective(settings, check, bound);
                }
                let bound = self.objective_bound().ok_or(Refusal::OtherBounds)?;
                let seen = slower_than(le, counts, bound).ok_or(Refusal::OtherBounds)?;
                self.take_objective(observation, seen, at)
            }
            (Test::Errors { .. } | Test::ErrorObjective { .. }, Sample::Histogram { .. })
            | (Test::Latency { .. } | Test::LatencyObjective { .. }, Sample::Events { .. }) => {
                Err(Refusal::WrongKind)
            }
        }
    }

    /// The bound at which a latency objective is counted.
    pub(crate) fn objective_bound(&self) -> Option<f64> {
        self.comparisons
            .first()
            .and_then(|comparison| comparison.bounds)
            .map(|bounds| bounds.canary)
    }

    fn begin_objective(&mut self, settings: &Settings, check: &Check, bound: f64) {
        let (ratio, absolute) = latency_tolerance(settings, &check.reads, bound);
        let at = EffectiveTolerance { baseline_bound: bound, canary_bound: bound, ratio };
        self.comparisons.push(Comparison::slower(&at, absolute));
    }

    fn take_objective(
        &mut self,
        observation: &Observation,
        seen: Counts,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let mut cells = Cells::default();
        cells[0] = seen;
        self.wait(observation, cells, at)?;
        if observation.arm == Arm::Canary {
            if let Some(objective) = &mut self.objective {
                objective.update(seen);
            }
            self.usable = Some(at);
        }
        Ok(())
    }

    /// Latency, before the counts of a scrape are taken in: learns the bounds of both arms and the baseline's
    /// durations, and chooses the thresholds as soon as earlier rollouts say where they belong.
    pub(crate) fn learn(&mut self, check: &Check, observation: &Observation, history: &History) {
        let (Test::Latency { stretch, ratio }, Sample::Histogram { le, counts }) =
            (&check.test, &observation.sample)
        else {
            return;
        };
        if observation.arm == Arm::Baseline {
            self.profile.add(le, counts);
        }
        if !self.comparisons.is_empty() {
            return;
        }
        if observation.arm == Arm::Canary {
            if self.canary_bounds.is_empty() {
                self.canary_bounds.clone_from(le);
            } else if self.canary_bounds != *le {
                self.canary_bounds = common_bounds(&self.canary_bounds, le);
            }
        }
        if let Some(known) = history.reference(&check.name).map(|known| &known.latency) {
            let common = self.common();
            let fits = !common.is_empty() && common_bounds(&common, known.bounds()) == common;
            if fits && known.total() >= ENOUGH_FOR_THRESHOLDS {
                self.choose(&known.on(&common), *stretch, *ratio);
            }
        }
    }

    fn common(&self) -> Vec<f64> {
        common_bounds(self.profile.bounds(), &self.canary_bounds)
    }

    fn choose(&mut self, profile: &LatencyProfile, stretch: f64, ratio: f64) {
        let stretch = if stretch.is_finite() { stretch.clamp(0.0, 100.0) } else { 0.0 };
        self.comparisons = profile
            .thresholds(stretch, sane_ratio(ratio))
            .iter()
            .map(|tolerance| {
                let usual = profile.slower_than(tolerance.baseline_bound);
                Comparison::slower(tolerance, 0.0).knowing(usual)
            })
            .collect();
        if !self.comparisons.is_empty() {
            self.canary_bounds = Vec::new();
        }
    }

    fn wait(
        &mut self,
        observation: &Observation,
        cells: Cells,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        let name = observation.stratum.as_deref().unwrap_or("");
        let index = match self.strata.binary_search_by(|stratum| stratum.name.as_str().cmp(name)) {
            Ok(index) => index,
            Err(_) if self.strata.len() >= MOST_STRATA => return Err(Refusal::TooManyStrata),
            Err(index) => {
                let stratum = Stratum {
                    name: name.to_owned(),
                    canary_seen: false,
                    baseline_seen: false,
                    pending: None,
                };
                self.strata.insert(index, stratum);
                index
            }
        };
        let stratum = &mut self.strata[index];
        let pending = stratum
            .pending
            .take()
            .filter(|pending| at.duration_since(pending.since) <= CARRY)
            .unwrap_or(Pending { since: at, canary: None, baseline: None });
        let pending = stratum.pending.insert(pending);
        let sums = match observation.arm {
            Arm::Canary => {
                stratum.canary_seen = true;
                pending.canary.get_or_insert_default()
            }
            Arm::Baseline => {
                stratum.baseline_seen = true;
                pending.baseline.get_or_insert_default()
            }
        };
        for (sum, cell) in sums.iter_mut().zip(&cells) {
            sum.add(*cell);
        }
        Ok(())
    }

    /// After the last observation of a scrape: compares what has both arms, keeps what has to wait.
    pub(crate) fn settle(&mut self, check: &Check, at: Timestamp, baking: bool) {
        let Self { comparisons, strata, usable, .. } = self;
        for stratum in strata {
            let Some(pending) = &stratum.pending else { continue };
            let waits = match (&pending.canary, &pending.baseline) {
                (Some(canary), Some(baseline)) => {
                    for (comparison, (canary, baseline)) in
                        comparisons.iter_mut().zip(canary.iter().zip(baseline))
                    {
                        comparison.update(*canary, *baseline);
                    }
                    *usable = Some(at);
                    false
                }
                (Some(_), None) => stratum.baseline_seen && !baking,
                (None, Some(_)) => stratum.canary_seen && !baking,
                (None, None) => false,
            };
            if let (true, Some(canary)) = (baking, &pending.canary) {
                *usable = Some(at);
                let baseline = pending.baseline.unwrap_or_default();
                for (comparison, (canary, baseline)) in
                    comparisons.iter_mut().zip(canary.iter().zip(&baseline))
                {
                    if baseline.of.saturating_mul(NEARLY_NONE) < canary.of
                        && let Some(bake) = &mut comparison.bake
                    {
                        bake.update(*canary);
                    }
                }
            }
            if !waits {
                stratum.pending = None;
            }
        }
        if let Test::Latency { stretch, ratio } = check.test
            && self.comparisons.is_empty()
            && !self.canary_bounds.is_empty()
            && self.profile.total() >= ENOUGH_FOR_THRESHOLDS
        {
            let common = self.common();
            self.choose(&self.profile.on(&common), stretch, ratio);
        }
        self.current = self.weigh(check);
        self.peak = self.peak.max(self.current);
    }

    /// Forgets what waits: traffic changes its meaning when a bake begins or ends.
    pub(crate) fn drop_waiting(&mut self) {
        for stratum in &mut self.strata {
            stratum.pending = None;
        }
    }

    fn weigh(&self, check: &Check) -> f64 {
        let mut worse = [0.0; MOST_THRESHOLDS];
        for (log_e, comparison) in worse.iter_mut().zip(&self.comparisons) {
            *log_e = comparison.log_e();
        }
        // The mean over thresholds (8).
        let relative =
            weighted_mean(worse.iter().take(self.comparisons.len()).map(|log_e| (1.0, *log_e)));
        let objective = self.objective.as_ref().map_or(0.0, Absolute::log_e);
        match &check.test {
            Test::Errors { .. } | Test::Latency { .. } => relative,
            Test::ErrorObjective { on_breach, .. } | Test::LatencyObjective { on_breach, .. } => {
                match on_breach {
                    OnBreach::Pause => objective,
                    // The minimum is valid against "never breached or never regressed".
                    OnBreach::RollBack => objective.min(relative),
                }
            }
        }
    }
}

/// Whether a check's evidence enters the merge; an objective that pauses never fails a canary.
pub(crate) fn can_fail(check: &Check) -> bool {
    match &check.test {
        Test::Errors { .. } | Test::Latency { .. } => true,
        Test::ErrorObjective { on_breach, .. } | Test::LatencyObjective { on_breach, .. } => {
            *on_breach == OnBreach::RollBack
        }
    }
}

/// Requests above a bound, if the histogram has it.
fn slower_than(le: &[f64], counts: &[u64], bound: f64) -> Option<Counts> {
    let index = position_of(le, bound)?;
    // Validated before: the sum stays far below the largest number.
    let (below, above) = counts.split_at(index + 1);
    let events = above.iter().sum();
    Some(Counts { events, of: below.iter().sum::<u64>() + events })
}

/// The tolerance of the policy's errors check on the same measurement, or the usual one.
fn errors_tolerance(settings: &Settings, reads: &str) -> (f64, f64) {
    settings
        .checks
        .iter()
        .filter(|check| check.reads == reads)
        .find_map(|check| match &check.test {
            Test::Errors { ratio, absolute } => Some((sane_ratio(*ratio), sane_share(*absolute))),
            Test::Latency { .. } | Test::ErrorObjective { .. } | Test::LatencyObjective { .. } => {
                None
            }
        })
        .unwrap_or((USUAL_RATIO, USUAL_ABSOLUTE))
}

/// The same for the share of requests slower than one bound.
fn latency_tolerance(settings: &Settings, reads: &str, bound: f64) -> (f64, f64) {
    settings
        .checks
        .iter()
        .filter(|check| check.reads == reads)
        .find_map(|check| effective_tolerance(&[bound], &check.test).first().copied())
        .map_or((USUAL_RATIO, USUAL_ABSOLUTE), |tolerance| (sane_ratio(tolerance.ratio), 0.0))
}

/// The configuration validates ranges; whatever comes here must still not poison the state.
fn sane_ratio(ratio: f64) -> f64 {
    if ratio.is_finite() { ratio.clamp(1e-3, 1e3) } else { USUAL_RATIO }
}

fn sane_share(share: f64) -> f64 {
    if share.is_finite() { share.clamp(0.0, 1.0) } else { USUAL_ABSOLUTE }
}
