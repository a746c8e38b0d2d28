//! What one observation says to a check.

use jiff::Timestamp;

use super::{
    CheckEvidence, MOST_STRATA, Point,
    tolerance::{latency_tolerance, slower_than},
};
use crate::{
    Arm, Check, Counts, LatencyProfile, Observation, Sample, Settings, Test,
    comparison::Comparison,
    kayenta,
    latency::{EffectiveTolerance, MOST_THRESHOLDS, same_bound},
    observation::Refusal,
    pods::Pods,
    tail::Stratum,
};

impl CheckEvidence {
    /// Adds one valid observation to what the scrape says.
    pub(crate) fn take(
        &mut self,
        settings: &Settings,
        check: &Check,
        observation: &Observation,
        at: Timestamp,
        pods: &Pods,
    ) -> Result<(), Refusal> {
        match (&check.test, &observation.sample) {
            (Test::Errors { .. } | Test::Restarts { .. }, Sample::Events { events, of }) => {
                self.put(observation, &[Counts { events: *events, of: *of }], at, pods)
            }
            (Test::ErrorObjective { .. }, Sample::Events { events, of }) => {
                let seen = Counts { events: *events, of: *of };
                self.take_objective(observation, seen, at, pods)
            }
            (Test::Latency { .. }, Sample::Histogram { .. } | Sample::Exponential(_)) => {
                if self.comparisons.is_empty() {
                    return Ok(());
                }
                let mut row = [Counts::default(); MOST_THRESHOLDS];
                let mut known = false;
                for (cell, comparison) in row.iter_mut().zip(&self.comparisons) {
                    let bound = comparison.bounds.map(|bounds| match observation.arm {
                        Arm::Baseline => bounds.baseline,
                        Arm::Canary => bounds.canary,
                    });
                    let seen = bound.and_then(|bound| slower_than(&observation.sample, bound));
                    if let Some(seen) = seen {
                        *cell = seen;
                        known = true;
                    }
                }
                let row = &row[..self.comparisons.len()];
                if known { self.put(observation, row, at, pods) } else { Err(Refusal::OtherBounds) }
            }
            (
                Test::LatencyObjective { threshold, .. },
                Sample::Histogram { .. } | Sample::Exponential(_),
            ) => {
                if self.comparisons.is_empty() {
                    let mut profile = LatencyProfile::default();
                    profile.take(&observation.sample);
                    let bound = (profile.classic().bounds().iter().copied())
                        .find(|bound| *bound >= *threshold || same_bound(*bound, *threshold))
                        .ok_or(Refusal::OtherBounds)?;
                    self.begin_objective(settings, check, bound);
                }
                let bound = self.objective_bound().ok_or(Refusal::OtherBounds)?;
                let seen = slower_than(&observation.sample, bound).ok_or(Refusal::OtherBounds)?;
                self.take_objective(observation, seen, at, pods)
            }
            (Test::Gauge { .. }, Sample::Gauge { value }) => {
                if let (Some(gauge), Some(place)) =
                    (&mut self.gauge, pods.place(observation.arm, &observation.instance))
                {
                    gauge.take(observation.arm, place, *value);
                    self.usable = self.usable.max(Some(at));
                }
                Ok(())
            }
            (Test::NewErrors, _) => {
                self.novelty.as_mut().map_or(Ok(()), |novelty| novelty.take(observation))
            }
            (Test::Journey { .. }, _) => {
                self.journey.as_mut().map_or(Ok(()), |journey| journey.take(observation))
            }
            (Test::Kayenta(metric), sample) => {
                let point =
                    &mut self.incoming.points[usize::from(observation.arm == Arm::Baseline)];
                match (metric.value, sample) {
                    (kayenta::Value::ErrorShare, Sample::Events { events, of }) => {
                        point.counts.add(Counts { events: *events, of: *of });
                    }
                    (
                        kayenta::Value::Latency(_),
                        Sample::Histogram { .. } | Sample::Exponential(_),
                    ) => point.durations.take(sample),
                    (kayenta::Value::Gauge, Sample::Gauge { value }) => {
                        point.values.0 += value;
                        point.values.1 += 1;
                    }
                    (_, _) => return Err(Refusal::WrongKind),
                }
                self.usable = self.usable.max(Some(at));
                Ok(())
            }
            (
                Test::Errors { .. }
                | Test::ErrorObjective { .. }
                | Test::Latency { .. }
                | Test::LatencyObjective { .. }
                | Test::Restarts { .. }
                | Test::Gauge { .. },
                _,
            ) => Err(Refusal::WrongKind),
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
        self.compare(Comparison::slower(&at, absolute));
    }

    fn take_objective(
        &mut self,
        observation: &Observation,
        seen: Counts,
        at: Timestamp,
        pods: &Pods,
    ) -> Result<(), Refusal> {
        self.put(observation, &[seen], at, pods)?;
        if observation.arm == Arm::Canary {
            if let Some(objective) = &mut self.objective {
                objective.update(seen);
            }
            self.usable = self.usable.max(Some(at));
        }
        Ok(())
    }

    /// Puts a row of counts, one per comparison, where its pod and stratum belong.
    fn put(
        &mut self,
        observation: &Observation,
        row: &[Counts],
        at: Timestamp,
        pods: &Pods,
    ) -> Result<(), Refusal> {
        let name = observation.stratum.as_deref().unwrap_or("");
        let place = self.strata.iter().position(|stratum| stratum.name == name);
        let place = match place {
            Some(place) => place,
            None if self.strata.len() >= MOST_STRATA => return Err(Refusal::TooManyStrata),
            None => {
                self.strata.push(Stratum { name: name.to_owned(), canary: None, baseline: None });
                self.strata.len() - 1
            }
        };
        let tag = pods.tag(observation.arm, &observation.instance, at, self.warm_up);
        if tag.is_young() && !tag.is_canary() {
            return Ok(());
        }
        let first = match observation.arm {
            Arm::Canary => &mut self.strata[place].canary,
            Arm::Baseline => &mut self.strata[place].baseline,
        };
        *first = Some(first.map_or(at, |first| first.min(at)));
        if let (Some(pod), false) =
            (pods.place(observation.arm, &observation.instance), tag.is_young())
        {
            if self.by_pod.len() <= pod {
                self.by_pod.resize(pod + 1, Counts::default());
            }
            // Of the thresholds of a latency, one in the tail that still has many requests.
            self.by_pod[pod].add(row[row.len() / 2]);
        }
        let stratum = u8::try_from(place).unwrap_or(u8::MAX);
        self.incoming.cells.add(stratum, tag, row);
        Ok(())
    }
}

impl Point {
    /// The value that Kayenta judges.
    pub(super) fn value(&self, value: kayenta::Value) -> Option<f64> {
        match value {
            kayenta::Value::ErrorShare => (self.counts.of > 0).then(|| self.counts.share()),
            kayenta::Value::Latency(quantile) => self.durations.interpolated(quantile),
            kayenta::Value::Gauge => {
                (self.values.1 > 0).then(|| self.values.0 / f64::from(self.values.1))
            }
        }
    }
}
