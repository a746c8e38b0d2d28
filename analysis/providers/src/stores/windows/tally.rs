//! Counts of one arm by interval and instance, out of a store's replies.
//!
//! No data is not zero: an interval without a total, or with a total of zero, says nothing of an arm. Stores of
//! counts leave out what did not happen, so a bad count that is absent where the total is there is zero, and the
//! two replies must be complete for that. What cannot be a count spoils its interval for the arm.

use std::collections::{BTreeMap, BTreeSet};

use analysis::Sample;
use jiff::{SignedDuration, Timestamp};

use super::plan::{Asked, Shape};
use crate::stores::{Reply, StoredSeries, Window};

/// More than this in one interval is no count, as for the engine itself.
const MOST: f64 = 1e12;

/// What one instance counted in one interval.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Counted {
    Events {
        bad: u64,
        total: u64,
    },
    /// Requests per bucket.
    Histogram(Vec<u64>),
    Gauge(f64),
}

/// What an arm counted, by start of the interval and instance.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) intervals: BTreeMap<Timestamp, BTreeMap<String, Counted>>,
    /// What was refused, for people.
    pub(crate) refused: BTreeSet<String>,
    /// A count that was no whole number.
    pub(crate) rounded: Option<f64>,
    /// Slower requests that outnumbered those above a lower threshold.
    pub(crate) clamped: bool,
    spoilt: BTreeSet<Timestamp>,
}

/// Values of one query by instance and interval.
type Values = BTreeMap<String, BTreeMap<Timestamp, f64>>;

impl Tally {
    /// Takes in the replies to the queries of one set, the total or value first.
    pub(crate) fn add(&mut self, asked: &Asked, shape: &Shape, replies: &[&Reply], window: Window) {
        let mut parts = replies
            .iter()
            .map(|reply| self.values(&asked.instance, reply, window))
            .collect::<Vec<_>>();
        if parts.is_empty() {
            return;
        }
        let total = parts.remove(0);
        if !matches!(shape, Shape::Gauge) {
            self.orphans(&total, &parts);
        }
        for (instance, points) in total {
            for (at, value) in points {
                let of = |part: &Values| {
                    part.get(&instance).and_then(|points| points.get(&at)).copied().unwrap_or(0.0)
                };
                let rest: Vec<f64> = parts.iter().map(of).collect();
                match self.counted(shape, value, &rest) {
                    Ok(None) => {}
                    Ok(Some(counted)) => self.put(at, &instance, counted),
                    Err(refusal) => self.refuse(at, &instance, &refusal),
                }
            }
        }
    }

    /// Leaves out the intervals in which something was refused.
    pub(crate) fn finish(&mut self) {
        for at in &self.spoilt {
            self.intervals.remove(at);
        }
    }

    fn refuse(&mut self, at: Timestamp, instance: &str, why: &str) {
        self.spoilt.insert(at);
        // One sentence for each instance is enough; its intervals are told by the first.
        if self.refused.len() < 5 {
            self.refused.insert(format!("instance {instance}: {why}"));
        }
    }

    fn put(&mut self, at: Timestamp, instance: &str, counted: Counted) {
        let all = self.intervals.entry(at).or_default();
        match all.get_mut(instance) {
            None => {
                all.insert(instance.to_owned(), counted);
            }
            // Two sets of queries with an instance of the same name count different requests.
            Some(before) => before.merge(counted),
        }
    }

    /// The numbers of a reply; what is no number of an interval that was asked for is refused.
    fn values(&mut self, name: &str, reply: &Reply, window: Window) -> Values {
        let mut values = Values::new();
        for series in &reply.series {
            let instance = series.instance.as_deref().unwrap_or(name);
            if values.contains_key(instance) {
                for (at, _) in &series.points {
                    self.refuse(
                        *at,
                        instance,
                        "two series of one instance; group by the instance only",
                    );
                }
                continue;
            }
            let points = self.points(instance, series, window);
            values.insert(instance.to_owned(), points);
        }
        values
    }

    fn points(
        &mut self,
        instance: &str,
        series: &StoredSeries,
        window: Window,
    ) -> BTreeMap<Timestamp, f64> {
        let step = SignedDuration::try_from(window.step).unwrap_or(SignedDuration::MAX);
        let mut points = BTreeMap::new();
        for (at, value) in &series.points {
            // The first and last bucket of a store may reach beyond what was asked.
            if *at < window.from || *at >= window.to {
                continue;
            }
            let Some(value) = value else { continue };
            let beyond = at.duration_since(window.from).as_nanos() % step.as_nanos();
            if beyond != 0 {
                let begun = at.checked_sub(SignedDuration::from_nanos_i128(beyond)).unwrap_or(*at);
                self.refuse(begun, instance, "the store cut other intervals than it was asked for");
            } else if !value.is_finite() {
                self.refuse(*at, instance, &format!("a value of {value}"));
            } else if points.insert(*at, *value).is_some() {
                self.refuse(*at, instance, "the same interval twice");
            }
        }
        points
    }

    /// Refuses bad or slow requests of an instance that has no requests.
    fn orphans(&mut self, total: &Values, parts: &[Values]) {
        for (instance, points) in parts.iter().flatten() {
            for (at, value) in points {
                let has = total.get(instance).is_some_and(|points| points.contains_key(at));
                if *value != 0.0 && !has {
                    self.refuse(
                        *at,
                        instance,
                        "a part without its total; do both queries group alike?",
                    );
                }
            }
        }
    }

    fn counted(
        &mut self,
        shape: &Shape,
        first: f64,
        rest: &[f64],
    ) -> Result<Option<Counted>, String> {
        if *shape == Shape::Gauge {
            return Ok(Some(Counted::Gauge(first)));
        }
        let total = self.whole(first, matches!(shape, Shape::Events { seconds: true }))?;
        let rest =
            rest.iter().map(|value| self.whole(*value, false)).collect::<Result<Vec<_>, _>>()?;
        if let Some(more) = rest.iter().find(|part| **part > total) {
            return Err(format!("{more} out of {total}; is the first query part of the second?"));
        }
        // As good as absent: an arm without requests says nothing.
        if total == 0 {
            return Ok(None);
        }
        if let Shape::Histogram(_) = shape {
            let (mut counts, mut left) = (Vec::with_capacity(rest.len() + 1), total);
            for slower in rest {
                self.clamped |= slower > left;
                let slower = slower.min(left);
                counts.push(left - slower);
                left = slower;
            }
            counts.push(left);
            return Ok(Some(Counted::Histogram(counts)));
        }
        Ok(Some(Counted::Events { bad: rest.first().copied().unwrap_or(0), total }))
    }

    fn whole(&mut self, value: f64, is_time: bool) -> Result<u64, String> {
        if value < 0.0 {
            return Err(format!("a count of {value}"));
        }
        if value > MOST {
            return Err(format!("a count of {value:e} in one interval"));
        }
        let whole = value.round();
        if (value - whole).abs() > 1e-6 && !is_time {
            self.rounded.get_or_insert(value);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e12")]
        let whole = whole as u64;
        Ok(whole)
    }
}

impl Counted {
    fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Events { bad, total }, Self::Events { bad: more, total: of }) => {
                *bad += more;
                *total += of;
            }
            (Self::Histogram(counts), Self::Histogram(more)) => {
                for (count, more) in counts.iter_mut().zip(more) {
                    *count += more;
                }
            }
            (Self::Gauge(value), Self::Gauge(other)) => *value = f64::midpoint(*value, other),
            // One check has one shape.
            (Self::Events { .. } | Self::Histogram(_) | Self::Gauge(_), _) => {}
        }
    }
}

/// One instance's sample over several intervals: counts are added, a gauge is the mean.
pub(crate) fn sample(shape: &Shape, counted: &[&Counted]) -> Option<Sample> {
    let (first, rest) = counted.split_first()?;
    let mut sum = (*first).clone();
    if let Shape::Gauge = shape {
        let values = counted.iter().filter_map(|c| match c {
            Counted::Gauge(value) => Some(*value),
            Counted::Events { .. } | Counted::Histogram(_) => None,
        });
        // A running mean does not overflow.
        let mean =
            values.zip(1_u32..).fold(0.0, |mean, (value, n)| mean + (value - mean) / f64::from(n));
        return mean.is_finite().then_some(Sample::Gauge { value: mean });
    }
    for more in rest {
        sum.merge((*more).clone());
    }
    Some(match (sum, shape) {
        (Counted::Events { bad, total }, _) => Sample::Events { events: bad, of: total },
        (Counted::Histogram(counts), Shape::Histogram(le)) => {
            Sample::Histogram { le: le.clone(), counts }
        }
        (Counted::Histogram(_) | Counted::Gauge(_), _) => return None,
    })
}
