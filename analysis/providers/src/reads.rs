//! How one check reads a metric: which series, and what their differences mean.
//!
//! The number of requests always comes from the same series as the failed ones, read at the same
//! moment, so that requests in flight bias neither.

pub(crate) mod native;
mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analysis::Sample;

use self::native::NativeHistogram;
pub(crate) use self::series::is_probed;
use self::series::{ended, histogram, is_probe, per_second, unit, written};
use crate::counters::Cumulative;
use crate::page::STARTED;
use crate::selector::{Selector, Series, parsed};
use crate::subject::{BROWSERS_TELL, Failed, Measure, MeasureKind, Named, SPANS_TELL, Source};

/// The usual names of the label that tells how a request ended, the most telling first.
pub(crate) const HTTP_STATUS: &[&str] = &[
    "http_response_status_code",
    "http_status_code",
    "status_code",
    "code",
    "status",
    "http_status",
    "response_code",
    "status_class",
    "outcome",
];

/// Most buckets that one histogram may have; usual ones have 10 to 30.
const MOST_BUCKETS: usize = 200;

/// Which series a check reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reads {
    /// One counter by status.
    Ratio {
        selector: Selector,
        /// The first of these that a series has is its status.
        labels: Vec<String>,
        failed: Failed,
        /// Leave out requests of scrapers and probes, as far as a label tells.
        without_probes: bool,
        /// The count is that of a native histogram.
        native: bool,
    },
    /// Cumulative buckets, the label `le` in units of which `per_second` make a second.
    Buckets { selector: Selector, per_second: u32, without_probes: bool },
    /// A native histogram of durations in units of which `per_second` make a second.
    Native { selector: Selector, per_second: u32, without_probes: bool },
    /// Two counters.
    Pair { bad: Selector, total: Selector },
    /// Restarts of processes, told by their start time, or by a counter of requests that begins anew.
    Restarts { counter: Option<Selector> },
    /// A counter of restarts.
    Increase(Selector),
    /// The newest value; several series of an instance are added.
    Gauge(Selector),
    /// The value of a query.
    Value(String),
}

/// What a series counts, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    part: Part,
    labels: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Failed,
    Good,
    /// Bits of the upper bound; their order is that of the bounds, as bounds are not negative.
    Bucket(u64),
    Bad,
    Total,
    /// The process shows its start time.
    Running,
    /// The zero bucket of a native histogram: the bits of its width.
    Zero(u64),
    /// A bucket of a native histogram.
    Exponential {
        scale: i8,
        index: i32,
    },
    /// A bucket with any bounds: the bits of both, none of them negative.
    Custom {
        left: u64,
        right: u64,
    },
}

impl Key {
    /// The labels of its series as one text.
    pub(crate) fn labels(&self) -> &str {
        &self.labels
    }

    /// The same, shared.
    pub(crate) fn into_labels(self) -> Arc<str> {
        self.labels
    }

    /// The value of a label of its series.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.split('\u{2}').find_map(|pair| {
            pair.split_once('\u{1}').filter(|(key, _)| *key == name).map(|(_, value)| value)
        })
    }
}

/// The counters of one check on one instance.
pub(crate) type Values = BTreeMap<Key, Cumulative>;

impl Reads {
    /// What a measure with a metric of its own reads; `None` if it is to be found.
    ///
    /// # Errors
    /// When a query of its own is not a plain selector, or not for this kind of measure.
    pub(crate) fn given(measure: &Measure) -> Result<Option<Self>, String> {
        let parse = |text| Selector::parse(text).map_err(|error| error.to_string());
        match (&measure.source, measure.kind) {
            (_, MeasureKind::NewErrors) => Err(SPANS_TELL.to_owned()),
            (_, MeasureKind::Vital(_) | MeasureKind::ScriptErrors) => Err(BROWSERS_TELL.to_owned()),
            (Source::Auto, MeasureKind::Gauge) => {
                Err("no gauge is found by itself; write its name in the policy".to_owned())
            }
            (Source::Auto, _) => Ok(None),
            (Source::Named(named), kind) => Ok(Some(Self::named(kind, named))),
            (Source::Query { .. }, MeasureKind::Gauge) => {
                Err("a gauge has one query, not one for bad and one for all".to_owned())
            }
            (Source::Query { bad, total }, _) => {
                Ok(Some(Self::Pair { bad: parse(bad)?, total: parse(total)? }))
            }
            (Source::Value(text), MeasureKind::Gauge) => {
                parsed(text).map_err(|error| error.to_string())?;
                Ok(Some(Self::Value(text.clone())))
            }
            (Source::Value(_), _) => {
                Err("a query of one value is a gauge; errors and latency need raw counters"
                    .to_owned())
            }
            (Source::Slower { .. }, _) => {
                Err("durations are read from a histogram here; write its name in the policy"
                    .to_owned())
            }
        }
    }

    fn named(kind: MeasureKind, named: &Named) -> Self {
        let base = named.metric.strip_suffix("_bucket").unwrap_or(&named.metric);
        let timed = ["_seconds", "_milliseconds", "_ms", "_duration", "_latency"];
        let suffix = match kind {
            MeasureKind::Latency => "_bucket",
            MeasureKind::Errors if timed.iter().any(|end| base.ends_with(end)) => "_count",
            MeasureKind::Errors
            | MeasureKind::NewErrors
            | MeasureKind::Vital(_)
            | MeasureKind::ScriptErrors => "",
            MeasureKind::Restarts | MeasureKind::Gauge => {
                let labels = named.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
                let selector = Selector::exact(named.metric.clone(), labels);
                return if kind == MeasureKind::Gauge {
                    Self::Gauge(selector)
                } else {
                    Self::Increase(selector)
                };
            }
        };
        let labels = named.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let selector = Selector::exact(format!("{base}{suffix}"), labels);
        if kind == MeasureKind::Latency {
            let per_second = named.per_second.unwrap_or_else(|| per_second(base));
            return Self::Buckets { selector, per_second, without_probes: false };
        }
        let (labels, failed) = match &named.status {
            Some(rule) => (vec![rule.label.clone()], rule.failed.clone()),
            None => (HTTP_STATUS.iter().map(|l| (*l).to_owned()).collect(), Failed::Http),
        };
        Self::Ratio { selector, labels, failed, without_probes: false, native: false }
    }

    /// The same of the native histogram beside a classic one; `None` for what has no such thing.
    pub(crate) fn twin(&self) -> Option<Self> {
        match self {
            Self::Buckets { selector, per_second, without_probes } => {
                let selector = selector.renamed(selector.name.strip_suffix("_bucket")?);
                let (per_second, without_probes) = (*per_second, *without_probes);
                Some(Self::Native { selector, per_second, without_probes })
            }
            Self::Ratio { selector, labels, failed, without_probes, native: false } => {
                let selector = selector.renamed(selector.name.strip_suffix("_count")?);
                let (labels, failed) = (labels.clone(), failed.clone());
                let without_probes = *without_probes;
                Some(Self::Ratio { selector, labels, failed, without_probes, native: true })
            }
            Self::Ratio { .. }
            | Self::Native { .. }
            | Self::Pair { .. }
            | Self::Restarts { .. }
            | Self::Increase(_)
            | Self::Gauge(_)
            | Self::Value(_) => None,
        }
    }

    /// Whether one series may begin anew without its process: native histograms do when they have too many
    /// buckets.
    pub(crate) fn series_reset_alone(&self) -> bool {
        matches!(self, Self::Native { .. } | Self::Ratio { native: true, .. })
    }

    /// Whether the newest value is the observation, without any difference.
    pub(crate) fn is_gauge(&self) -> bool {
        matches!(self, Self::Gauge(_) | Self::Value(_))
    }

    /// Whether events are counted out of the seconds between two readings.
    pub(crate) fn is_out_of_seconds(&self) -> bool {
        matches!(self, Self::Restarts { .. } | Self::Increase(_))
    }

    /// Whether a reading without counters of requests is one: the start of the process says enough.
    pub(crate) fn counts_restarts(&self) -> bool {
        matches!(self, Self::Restarts { .. })
    }

    /// The selectors of everything that is read.
    pub(crate) fn selectors(&self) -> Vec<&Selector> {
        match self {
            Self::Ratio { selector, .. }
            | Self::Buckets { selector, .. }
            | Self::Native { selector, .. }
            | Self::Increase(selector)
            | Self::Gauge(selector) => vec![selector],
            Self::Pair { bad, total } => vec![bad, total],
            Self::Restarts { counter } => counter.iter().collect(),
            Self::Value(_) => Vec::new(),
        }
    }

    /// Whether series of this name are read.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.selectors().iter().any(|selector| selector.name == name)
            || (self.counts_restarts() && name == STARTED)
    }

    /// What a series counts, one key for each thing.
    ///
    /// # Errors
    /// When its `le` label is no bound.
    pub(crate) fn keys(&self, series: &Series) -> Result<Vec<Key>, String> {
        let (first, second) = match self {
            Self::Ratio { native: true, .. } | Self::Native { .. } | Self::Value(_) => (None, None),
            Self::Ratio { selector, labels, failed, without_probes, .. } => {
                let read = selector.selects(series) && !(*without_probes && is_probe(series));
                (if read { ended(labels, failed, series) } else { None }, None)
            }
            Self::Buckets { selector, without_probes, .. } => {
                if !selector.selects(series) || (*without_probes && is_probe(series)) {
                    return Ok(Vec::new());
                }
                let le = series.label("le");
                let bound = crate::exposition::parse_number(le)
                    .filter(|bound| *bound >= 0.0)
                    .ok_or_else(|| format!("`{}` has a bucket le=\"{le}\"", series.name))?;
                // Adding zero makes -0.0 a 0.0, whose bits have the right order.
                (Some(Part::Bucket((bound + 0.0).to_bits())), None)
            }
            Self::Pair { bad, total } => (
                bad.selects(series).then_some(Part::Bad),
                total.selects(series).then_some(Part::Total),
            ),
            Self::Restarts { .. } if series.name == STARTED => {
                // Its labels do not matter: there is one process.
                return Ok(vec![Key { part: Part::Running, labels: "".into() }]);
            }
            Self::Restarts { counter } => {
                let read = counter.as_ref().is_some_and(|counter| counter.selects(series));
                (read.then_some(Part::Total), None)
            }
            Self::Increase(selector) | Self::Gauge(selector) => {
                (selector.selects(series).then_some(Part::Total), None)
            }
        };
        if first.is_none() && second.is_none() {
            return Ok(Vec::new());
        }
        let labels = written(series);
        let parts = [first, second].into_iter().flatten();
        Ok(parts.map(|part| Key { part, labels: Arc::clone(&labels) }).collect())
    }

    /// The value of a series as it is kept: of a start time only that it is there, not when, as one that is
    /// computed anew each time may fall by a little.
    pub(crate) fn kept(key: &Key, counter: Cumulative) -> Cumulative {
        if key.part == Part::Running { 1.0.into() } else { counter }
    }

    /// Puts a series among the values, under each thing that it counts.
    ///
    /// # Errors
    /// When its `le` label is no bound.
    pub(crate) fn put(
        &self,
        values: &mut Values,
        series: &Series,
        counter: Cumulative,
    ) -> Result<(), String> {
        for key in self.keys(series)? {
            let counter = Self::kept(&key, counter);
            values.insert(key, counter);
        }
        Ok(())
    }

    /// Puts a native histogram among the values.
    pub(crate) fn put_native(
        &self,
        values: &mut Values,
        series: &Series,
        histogram: &NativeHistogram,
    ) {
        match self {
            Self::Ratio { selector, labels, failed, without_probes, native: true } => {
                if selector.selects(series)
                    && !(*without_probes && is_probe(series))
                    && let Some(part) = ended(labels, failed, series)
                {
                    values.insert(Key { part, labels: written(series) }, histogram.count.into());
                }
            }
            Self::Native { selector, without_probes, .. } => {
                if selector.selects(series) && !(*without_probes && is_probe(series)) {
                    let labels = written(series);
                    let parts = histogram.parts().into_iter();
                    let keys = parts.map(|(part, count)| {
                        (Key { part, labels: Arc::clone(&labels) }, Cumulative::from(count))
                    });
                    values.extend(keys);
                }
            }
            Self::Ratio { .. }
            | Self::Buckets { .. }
            | Self::Pair { .. }
            | Self::Restarts { .. }
            | Self::Increase(_)
            | Self::Gauge(_)
            | Self::Value(_) => {}
        }
    }

    /// Puts the value of a query among the values.
    pub(crate) fn put_value(values: &mut Values, series: &Series, value: f64) {
        values.insert(Key { part: Part::Total, labels: written(series) }, value.into());
    }

    /// Whether the values can be read together.
    ///
    /// # Errors
    /// When the buckets of a histogram's series differ or have no end, so that they cannot be added.
    pub(crate) fn validate(&self, values: &Values) -> Result<(), String> {
        let Self::Buckets { selector, .. } = self else { return Ok(()) };
        let mut bounds: BTreeMap<u64, usize> = BTreeMap::new();
        for key in values.keys() {
            if let Part::Bucket(bits) = key.part {
                *bounds.entry(bits).or_default() += 1;
            }
        }
        let name = &selector.name;
        if bounds.len() > MOST_BUCKETS {
            return Err(format!("`{name}` has more than {MOST_BUCKETS} buckets"));
        }
        let Some((last, series)) = bounds.last_key_value() else { return Ok(()) };
        if f64::from_bits(*last).is_finite() {
            return Err(format!("`{name}` has no bucket le=\"+Inf\""));
        }
        if bounds.values().any(|count| count != series) {
            return Err(format!(
                "the series of `{name}` have different buckets, which cannot be added"
            ));
        }
        Ok(())
    }

    /// The bounds of the buckets among the values; empty where there are none.
    pub(crate) fn layout(values: &Values) -> Vec<u64> {
        let mut bounds: Vec<u64> = values
            .keys()
            .filter_map(|key| if let Part::Bucket(bits) = key.part { Some(bits) } else { None })
            .collect();
        bounds.dedup();
        bounds
    }

    /// The names of what is read, for people.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> =
            self.selectors().iter().map(|selector| format!("`{}`", selector.name)).collect();
        match self {
            Self::Restarts { counter: None } => format!("`{STARTED}`"),
            Self::Value(text) => format!("`{}`", crate::error::bounded(text.clone())),
            Self::Ratio { .. }
            | Self::Buckets { .. }
            | Self::Native { .. }
            | Self::Pair { .. }
            | Self::Restarts { .. }
            | Self::Increase(_)
            | Self::Gauge(_) => names.join(" and "),
        }
    }

    /// The sample that differences make; `None` when there are none.
    ///
    /// `bounds` are the known bounds of custom buckets, as bits.
    pub(crate) fn sample(
        &self,
        counts: &BTreeMap<Key, u64>,
        bounds: &BTreeSet<u64>,
    ) -> Option<Sample> {
        if counts.is_empty() {
            return None;
        }
        let sum = |wanted: Part| -> u64 {
            counts.iter().filter(|(k, _)| wanted == k.part).map(|(_, n)| *n).sum()
        };
        match self {
            Self::Ratio { .. } => {
                let events = sum(Part::Failed);
                Some(Sample::Events { events, of: events + sum(Part::Good) })
            }
            Self::Pair { .. } => {
                // Two counters are not read in one instant: one request may be in the first already.
                let of = sum(Part::Total);
                Some(Sample::Events { events: sum(Part::Bad).min(of), of })
            }
            Self::Buckets { per_second, .. } => Some(histogram(counts, *per_second)),
            Self::Native { per_second, .. } => native::sample(counts, *per_second, bounds),
            // Of these the ledger counts seconds, or takes the value as it is.
            Self::Restarts { .. } | Self::Increase(_) | Self::Gauge(_) | Self::Value(_) => None,
        }
    }

    /// What is read, in words for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Ratio { selector, labels, failed, native, .. } => {
                let name = &selector.name;
                let by = labels.first().map_or("", String::as_str);
                let name = if *native { format!("count of `{name}`") } else { format!("`{name}`") };
                match failed {
                    Failed::Http => format!("{name} by `{by}`, 5xx failed"),
                    Failed::Grpc => format!("{name} by `{by}`, gRPC server errors failed"),
                    Failed::Values(v) => format!("{name} by `{by}`, {} failed", v.join(", ")),
                }
            }
            Self::Buckets { selector, per_second, .. } => {
                format!("`{}`, {}", selector.name, unit(*per_second))
            }
            Self::Native { selector, per_second, .. } => {
                format!("`{}`, a native histogram, {}", selector.name, unit(*per_second))
            }
            Self::Pair { bad, total } => format!("`{}` out of `{}`", bad.name, total.name),
            Self::Restarts { counter: None } => format!("changes of `{STARTED}`"),
            Self::Restarts { counter: Some(counter) } => {
                format!("changes of `{STARTED}`, or `{}` beginning anew", counter.name)
            }
            Self::Increase(selector) => format!("the increase of `{}`", selector.name),
            Self::Gauge(selector) => format!("the value of `{}`", selector.name),
            Self::Value(_) => format!("the value of {}", self.names()),
        }
    }
}

#[cfg(test)]
mod tests;
