//! One stream: the points of one metric, one set of attributes, one process; and what each point adds.
//!
//! No request may be counted twice. Points are ordered by when their stream began and when they were taken;
//! what is not later than what is known adds nothing, so that a repeated or late push is harmless.
//! A cumulative stream that began anew counts from zero; one that is seen for the first time counts from its
//! beginning, and the watch decides whether it waited that long already. Rules of the data model:
//! <https://opentelemetry.io/docs/specs/otel/metrics/data-model/#stream-manipulations> (1.50).

use analysis::Exponential;

use super::model::{Metric, Point, Reason, Temporality, Value};

/// Above this, counters kept as floating point numbers skip integers.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Beginnings that differ by less may be one process computing its own anew each time; nanoseconds.
const START_JITTER: u64 = 2_000_000_000;

/// Deltas may overlap by this much, as a clock is read twice; nanoseconds.
const DELTA_JITTER: u64 = 1_000_000;

/// After as many points in a row that fell, the stream is taken to have begun anew without saying so.
const MOST_FALLS: u8 = 3;

/// What is counted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Counts {
    Number(u64),
    Buckets { bounds: Vec<f64>, counts: Vec<u64> },
    Exponential(Exponential),
}

/// What is remembered of a stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    start: u64,
    pub(super) time: u64,
    temporality: Temporality,
    /// The counts of the newest cumulative point.
    counts: Option<Counts>,
    falls: u8,
    /// When its newest point arrived; nanoseconds since 1970.
    pub(super) arrived: u64,
}

/// What a point adds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// These were counted after `from`.
    Counted { from: u64, counts: Counts },
    /// A start point.
    Start,
    /// Not later than what is known.
    Late,
}

impl Counts {
    /// What a point counts, of a sum or a histogram.
    ///
    /// # Errors
    /// When it is no count.
    pub(super) fn of(value: &Value) -> Result<Self, Reason> {
        match value {
            Value::Int(value) => {
                u64::try_from(*value).map(Self::Number).map_err(|_| Reason::NoCount)
            }
            Value::Double(value) if !(0.0..LARGEST).contains(value) => Err(Reason::NoCount),
            Value::Double(value) if value.fract() != 0.0 => Err(Reason::NotWhole),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked to be whole and within [0, 2^53)"
            )]
            Value::Double(value) => Ok(Self::Number(*value as u64)),
            Value::Histogram { count, bounds, .. } if bounds.is_empty() => Ok(Self::Number(*count)),
            Value::Histogram { bounds, counts, .. } => {
                Ok(Self::Buckets { bounds: bounds.clone(), counts: counts.clone() })
            }
            Value::Exponential(histogram) => Ok(Self::Exponential(histogram.clone())),
        }
    }

    /// How many in all.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::Number(count) => *count,
            Self::Buckets { counts, .. } => {
                counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
            }
            Self::Exponential(histogram) => histogram.total(),
        }
    }

    /// What was counted since `before`.
    fn since(&self, before: &Self) -> Difference {
        match (before, self) {
            (Self::Number(before), Self::Number(now)) => match now.checked_sub(*before) {
                Some(count) => Difference::Rose(Self::Number(count)),
                None => Difference::Fell,
            },
            (
                Self::Buckets { bounds: known, counts: before },
                Self::Buckets { bounds, counts: now },
            ) if known == bounds && before.len() == now.len() => {
                let pairs = now.iter().zip(before);
                let counts: Option<Vec<u64>> = pairs.map(|(n, b)| n.checked_sub(*b)).collect();
                counts.map_or(Difference::Fell, |counts| {
                    Difference::Rose(Self::Buckets { bounds: bounds.clone(), counts })
                })
            }
            (Self::Exponential(before), Self::Exponential(now)) => subtracted(now, before)
                .map_or(Difference::Fell, |rest| Difference::Rose(Self::Exponential(rest))),
            _ => Difference::Incomparable,
        }
    }
}

enum Difference {
    Rose(Counts),
    Fell,
    /// Other buckets, or another kind.
    Incomparable,
}

/// `now` without `before`, at the coarser of both scales; `None` where a bucket fell.
fn subtracted(now: &Exponential, before: &Exponential) -> Option<Exponential> {
    let (mut now, mut before) = (now.clone(), before.clone());
    let scale = now.scale.min(before.scale);
    now.coarsen(scale);
    before.coarsen(scale);
    now.zero = now.zero.checked_sub(before.zero)?;
    for (index, count) in (before.first..).zip(before.counts) {
        if count > 0 {
            let place = usize::try_from(i64::from(index) - i64::from(now.first)).ok()?;
            let bucket = now.counts.get_mut(place)?;
            *bucket = bucket.checked_sub(count)?;
        }
    }
    Some(now)
}

impl Stream {
    /// A stream's first point. `known_since` is when its resource pushed the same metric without it, so that it
    /// began after that.
    ///
    /// # Errors
    /// When the point is no count.
    pub(super) fn begin(
        metric: &Metric,
        point: &Point,
        known_since: Option<u64>,
        arrived: u64,
    ) -> Result<(Self, Step), Reason> {
        let (start, time, temporality) = (point.start, point.time, metric.temporality);
        let counts = Counts::of(&point.value)?;
        let told = (start > 0).then_some(start);
        let from = match temporality {
            Temporality::Delta => told.or(known_since).or(Some(time)),
            // A beginning at the very moment of the point says that nobody knows it.
            Temporality::Cumulative if start == time => None,
            Temporality::Cumulative | Temporality::Unspecified => told.max(known_since),
        };
        let kept = (temporality == Temporality::Cumulative).then(|| counts.clone());
        let stream = Self { start, time, temporality, counts: kept, falls: 0, arrived };
        Ok((stream, from.map_or(Step::Start, |from| Step::Counted { from, counts })))
    }

    /// Takes a further point in.
    ///
    /// # Errors
    /// When the point is no count, or comes from another process than the points before.
    pub(super) fn advance(
        &mut self,
        metric: &Metric,
        point: &Point,
        arrived: u64,
    ) -> Result<Step, Reason> {
        if metric.temporality != self.temporality {
            return self.restart(metric, point, arrived);
        }
        match self.temporality {
            Temporality::Delta => self.advance_delta(point, arrived),
            Temporality::Cumulative | Temporality::Unspecified => {
                self.advance_cumulative(metric, point, arrived)
            }
        }
    }

    /// A stream of values that are not added up: only the order of its points matters.
    pub(super) fn of_values(time: u64, arrived: u64) -> Self {
        let temporality = Temporality::Unspecified;
        Self { start: 0, time, temporality, counts: None, falls: 0, arrived }
    }

    /// Whether a value is newer than the one before; then it is the one before.
    pub(super) fn is_newer(&mut self, time: u64, arrived: u64) -> bool {
        let newer = time > self.time;
        if newer {
            (self.time, self.arrived) = (time, arrived);
        }
        newer
    }

    fn restart(&mut self, metric: &Metric, point: &Point, arrived: u64) -> Result<Step, Reason> {
        if point.time <= self.time {
            return Ok(Step::Late);
        }
        *self = Self::begin(metric, point, None, arrived)?.0;
        Ok(Step::Start)
    }

    fn advance_delta(&mut self, point: &Point, arrived: u64) -> Result<Step, Reason> {
        if point.time <= self.time {
            return Ok(Step::Late);
        }
        if point.start > 0 && point.start.saturating_add(DELTA_JITTER) < self.time {
            return Err(Reason::TwoWriters);
        }
        let counts = Counts::of(&point.value)?;
        let from = if point.start > 0 { point.start } else { self.time };
        (self.start, self.time, self.arrived) = (point.start, point.time, arrived);
        Ok(Step::Counted { from, counts })
    }

    fn advance_cumulative(
        &mut self,
        metric: &Metric,
        point: &Point,
        arrived: u64,
    ) -> Result<Step, Reason> {
        let known = self.start > 0 && point.start > 0;
        if known && point.start.saturating_add(START_JITTER) < self.start {
            // An older process: a late point, or one that still runs beside the newer.
            return if point.time > self.time { Err(Reason::TwoWriters) } else { Ok(Step::Late) };
        }
        if point.time <= self.time {
            return Ok(Step::Late);
        }
        if known && point.start > self.start.saturating_add(START_JITTER) {
            let from = point.start;
            let (next, _) = Self::begin(metric, point, None, arrived)?;
            let counts = next.counts.clone();
            *self = next;
            return Ok(counts.map_or(Step::Start, |counts| Step::Counted { from, counts }));
        }
        let counts = Counts::of(&point.value)?;
        let before = self.counts.as_ref().ok_or(Reason::NoCount)?;
        let from = self.time;
        let step = match counts.since(before) {
            Difference::Rose(rest) => Step::Counted { from, counts: rest },
            // Nobody knows when it began: it did so anew.
            Difference::Fell if !known => Step::Counted { from, counts: counts.clone() },
            Difference::Fell if self.falls < MOST_FALLS => {
                self.falls += 1;
                return Err(Reason::TwoWriters);
            }
            Difference::Fell | Difference::Incomparable => {
                return self.restart(metric, point, arrived);
            }
        };
        self.start = if known { self.start } else { point.start };
        (self.time, self.counts, self.falls, self.arrived) = (point.time, Some(counts), 0, arrived);
        Ok(step)
    }
}

#[cfg(test)]
mod tests;
