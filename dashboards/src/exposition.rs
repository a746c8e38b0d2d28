//! The values of the metrics in the table, and their text for whoever scrapes them.
//!
//! Follows the Prometheus text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and `OpenMetrics` 1.0. Writing
//! a value never fails and never panics, because telemetry must not stop a rollback: what cannot be
//! exported is left out and counted in `serin_metrics_dropped_total`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use crate::metrics::{Counter, DROPPED, Gauge, Histogram, Metric, TABLE, Type, Unit};

/// Most series of one metric: evidence of ten thousand services with five checks in two directions.
/// A label that goes wild is stopped there instead of filling the memory.
pub const MOST_SERIES: usize = 100_000;

/// Longest label value in characters; the rest is cut.
const MOST_LABEL: usize = 200;

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, which everything reads.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header likes best; Prometheus text where it says nothing.
    pub fn of_accept(accept: Option<&str>) -> Self {
        let accept = accept.unwrap_or_default();
        let quality = |media: &str| {
            accept
                .split(',')
                .filter_map(|range| {
                    let mut parts = range.split(';').map(str::trim);
                    let named = parts.next()?.eq_ignore_ascii_case(media);
                    let quality = parts
                        .find_map(|part| part.strip_prefix("q="))
                        .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
                    named.then_some(quality)
                })
                .fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        if 0.0 < open && quality("text/plain") <= open {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }
}

/// One series' value.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Single(f64),
    /// Counts per bucket, not cumulative, one more than bounds for the rest; and the sum.
    Buckets {
        counts: Box<[u64]>,
        sum: f64,
    },
}

type Series = BTreeMap<Box<[String]>, Value>;

/// The values of all metrics at one time.
///
/// It is plain data: one owner writes it, a scrape reads it or a copy of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposition {
    families: BTreeMap<&'static str, Series>,
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new()
    }
}

impl Exposition {
    /// An exposition in which counters and histograms without labels are there from the beginning,
    /// at 0, so that the first rise of each is seen as one.
    pub fn new() -> Self {
        let mut families = BTreeMap::new();
        for metric in TABLE {
            let zero = match metric.kind() {
                Type::Counter => Value::Single(0.0),
                Type::Histogram => empty(metric),
                Type::Gauge => continue,
            };
            if metric.labels().is_empty() {
                families.insert(metric.name(), BTreeMap::from([(Box::default(), zero)]));
            }
        }
        Self { families }
    }

    /// Raises a counter.
    pub fn add<const N: usize>(
        &mut self,
        counter: &'static Counter<N>,
        labels: [&str; N],
        by: u64,
    ) {
        #[expect(clippy::cast_precision_loss, reason = "the formats hold floats")]
        let by = by as f64;
        if let Some(Value::Single(value)) = self.series(counter.metric(), &labels) {
            *value += by;
        }
    }

    /// Sets a counter that is counted elsewhere, such as processor time. A total that falls is
    /// dropped: it would read as a restart.
    pub fn total<const N: usize>(
        &mut self,
        counter: &'static Counter<N>,
        labels: [&str; N],
        total: f64,
    ) {
        let good = match self.peek(counter.metric(), &labels) {
            Some(Value::Single(before)) => *before <= total,
            Some(Value::Buckets { .. }) | None => 0.0 <= total,
        };
        if !(good && total.is_finite()) {
            self.drop_one();
        } else if let Some(Value::Single(value)) = self.series(counter.metric(), &labels) {
            *value = total;
        }
    }

    /// Sets a gauge.
    pub fn set<const N: usize>(&mut self, gauge: &'static Gauge<N>, labels: [&str; N], to: f64) {
        if !to.is_finite() {
            self.drop_one();
        } else if let Some(Value::Single(value)) = self.series(gauge.metric(), &labels) {
            *value = to;
        }
    }

    /// Counts one observation of 0 or more in a histogram.
    pub fn observe<const N: usize>(
        &mut self,
        histogram: &'static Histogram<N>,
        labels: [&str; N],
        size: f64,
    ) {
        let metric = histogram.metric();
        if !(size.is_finite() && 0.0 <= size) {
            self.drop_one();
        } else if let Some(Value::Buckets { counts, sum }) = self.series(metric, &labels) {
            counts[metric.bounds().partition_point(|bound| *bound < size)] += 1;
            *sum += size;
        }
    }

    /// Removes all series of a gauge, before it is set anew from what there is now.
    pub fn clear<const N: usize>(&mut self, gauge: &'static Gauge<N>) {
        self.families.remove(gauge.metric().name());
    }

    /// Removes every series with this value of this label, such as those of a service that is gone.
    pub fn forget(&mut self, label: &str, value: &str) {
        let value = cut(value);
        for metric in TABLE {
            let position = metric.labels().iter().position(|name| *name == label);
            if let (Some(position), Some(series)) = (position, self.families.get_mut(metric.name()))
            {
                series.retain(|labels, _| labels[position] != value);
            }
        }
    }

    /// The text of all metrics that have a value, in the order of their names.
    #[expect(clippy::missing_panics_doc, reason = "writing to a string does not fail")]
    pub fn text(&self, format: Format) -> String {
        let mut out = String::with_capacity(4096);
        self.write(format, &mut out).expect("writing to a string does not fail");
        out
    }

    fn write(&self, format: Format, out: &mut String) -> fmt::Result {
        let mut metrics: Vec<&Metric> = TABLE.to_vec();
        metrics.sort_by_key(|metric| metric.name());
        for metric in metrics {
            let Some(series) = self.families.get(metric.name()).filter(|all| !all.is_empty())
            else {
                continue;
            };
            let name = match format {
                Format::Prometheus => metric.name(),
                Format::OpenMetrics => metric.family(),
            };
            writeln!(out, "# HELP {name} {}", metric.help())?;
            writeln!(out, "# TYPE {name} {}", metric.kind().word())?;
            if format == Format::OpenMetrics && metric.unit() != Unit::Count {
                writeln!(out, "# UNIT {name} {}", metric.unit().word())?;
            }
            for (labels, value) in series {
                match value {
                    Value::Single(value) => sample(out, metric, "", labels, None, *value)?,
                    Value::Buckets { counts, sum } => buckets(out, metric, labels, counts, *sum)?,
                }
            }
        }
        if format == Format::OpenMetrics {
            out.push_str("# EOF\n");
        }
        Ok(())
    }

    fn peek(&self, metric: &Metric, labels: &[&str]) -> Option<&Value> {
        let key: Box<[String]> = labels.iter().map(|label| cut(label)).collect();
        self.families.get(metric.name())?.get(&key)
    }

    /// The value of a series, made at 0 where there is none; nothing where there are too many.
    fn series(&mut self, metric: &'static Metric, labels: &[&str]) -> Option<&mut Value> {
        let key: Box<[String]> = labels.iter().map(|label| cut(label)).collect();
        let series = self.families.entry(metric.name()).or_default();
        if series.len() >= MOST_SERIES && !series.contains_key(&key) {
            self.drop_one();
            return None;
        }
        let series = self.families.get_mut(metric.name())?;
        Some(series.entry(key).or_insert_with(|| match metric.kind() {
            Type::Counter | Type::Gauge => Value::Single(0.0),
            Type::Histogram => empty(metric),
        }))
    }

    fn drop_one(&mut self) {
        let series = self.families.entry(DROPPED.metric().name()).or_default();
        if let Value::Single(value) = series.entry(Box::default()).or_insert(Value::Single(0.0)) {
            *value += 1.0;
        }
    }
}

fn empty(metric: &Metric) -> Value {
    Value::Buckets { counts: vec![0; metric.bounds().len() + 1].into(), sum: 0.0 }
}

fn cut(label: &str) -> String {
    label.chars().take(MOST_LABEL).collect()
}

fn buckets(
    out: &mut String,
    metric: &Metric,
    labels: &[String],
    counts: &[u64],
    sum: f64,
) -> fmt::Result {
    let mut total = 0_u64;
    let infinite = [f64::INFINITY];
    for (bound, count) in metric.bounds().iter().chain(&infinite).zip(counts) {
        total += count;
        #[expect(clippy::cast_precision_loss, reason = "the formats hold floats")]
        sample(out, metric, "_bucket", labels, Some(*bound), total as f64)?;
    }
    sample(out, metric, "_sum", labels, None, sum)?;
    #[expect(clippy::cast_precision_loss, reason = "the formats hold floats")]
    sample(out, metric, "_count", labels, None, total as f64)
}

fn sample(
    out: &mut String,
    metric: &Metric,
    suffix: &str,
    labels: &[String],
    bound: Option<f64>,
    value: f64,
) -> fmt::Result {
    write!(out, "{}{suffix}", metric.name())?;
    let mut open = '{';
    for (name, value) in metric.labels().iter().zip(labels) {
        write!(out, "{open}{name}=\"")?;
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                _ => out.push(c),
            }
        }
        out.push('"');
        open = ',';
    }
    if let Some(bound) = bound {
        // OpenMetrics wants `1.0`, which everything reads.
        let bound = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
        write!(out, "{open}le=\"{bound}\"")?;
        open = ',';
    }
    if open == ',' {
        out.push('}');
    }
    writeln!(out, " {value}")
}

#[cfg(test)]
mod tests;
