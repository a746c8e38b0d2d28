//! How one check reads a metric: which series, and what their differences mean.
//!
//! The number of requests always comes from the same series as the failed ones, read at the same
//! moment, so that requests in flight bias neither.

use std::collections::BTreeMap;

use analysis::Sample;

use crate::counters::Cumulative;
use crate::selector::{Selector, Series};
use crate::subject::{Failed, Measure, MeasureKind, Named, Source};

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
    },
    /// Cumulative buckets, the label `le` in units of which `per_second` make a second.
    Buckets { selector: Selector, per_second: u32, without_probes: bool },
    /// Two counters.
    Pair { bad: Selector, total: Selector },
}

/// What a series counts, and which one it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    part: Part,
    labels: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Failed,
    Good,
    /// Bits of the upper bound; their order is that of the bounds, as bounds are not negative.
    Bucket(u64),
    Bad,
    Total,
}

/// The counters of one check on one instance.
pub(crate) type Values = BTreeMap<Key, Cumulative>;

impl Reads {
    /// What a measure with a metric of its own reads; `None` if it is to be found.
    ///
    /// # Errors
    /// When a query of its own is not a plain selector.
    pub(crate) fn given(measure: &Measure) -> Result<Option<Self>, String> {
        match &measure.source {
            Source::Auto => Ok(None),
            Source::Named(named) => Ok(Some(Self::named(measure.kind, named))),
            Source::Query { bad, total } => {
                let parse = |text| Selector::parse(text).map_err(|error| error.to_string());
                Ok(Some(Self::Pair { bad: parse(bad)?, total: parse(total)? }))
            }
        }
    }

    fn named(kind: MeasureKind, named: &Named) -> Self {
        let base = named.metric.strip_suffix("_bucket").unwrap_or(&named.metric);
        let timed = ["_seconds", "_milliseconds", "_ms", "_duration", "_latency"];
        let suffix = match kind {
            MeasureKind::Latency => "_bucket",
            MeasureKind::Errors if timed.iter().any(|end| base.ends_with(end)) => "_count",
            MeasureKind::Errors => "",
        };
        let labels = named.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let selector = Selector::exact(format!("{base}{suffix}"), labels);
        match kind {
            MeasureKind::Latency => Self::Buckets {
                selector,
                per_second: named.per_second.unwrap_or_else(|| per_second(base)),
                without_probes: false,
            },
            MeasureKind::Errors => {
                let (labels, failed) = match &named.status {
                    Some(rule) => (vec![rule.label.clone()], rule.failed.clone()),
                    None => (HTTP_STATUS.iter().map(|l| (*l).to_owned()).collect(), Failed::Http),
                };
                Self::Ratio { selector, labels, failed, without_probes: false }
            }
        }
    }

    /// The selectors of everything that is read.
    pub(crate) fn selectors(&self) -> Vec<&Selector> {
        match self {
            Self::Ratio { selector, .. } | Self::Buckets { selector, .. } => vec![selector],
            Self::Pair { bad, total } => vec![bad, total],
        }
    }

    /// Whether series of this name are read.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.selectors().iter().any(|selector| selector.name == name)
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
        let mut put = |part| {
            values.insert(Key { part, labels: written(series) }, counter);
        };
        match self {
            Self::Ratio { selector, labels, failed, without_probes } => {
                if !selector.selects(series) || (*without_probes && is_probe(series)) {
                    return Ok(());
                }
                let status = labels.iter().map(|l| series.label(l)).find(|value| !value.is_empty());
                match status {
                    Some(value) if failed.matches(value) => put(Part::Failed),
                    Some(_) => put(Part::Good),
                    // OpenTelemetry: no response at all, so no status, but the kind of error.
                    None if !series.label("error_type").is_empty() => put(Part::Failed),
                    // Without a status it may be a sum of the others.
                    None => {}
                }
            }
            Self::Buckets { selector, without_probes, .. } => {
                if !selector.selects(series) || (*without_probes && is_probe(series)) {
                    return Ok(());
                }
                let le = series.label("le");
                let bound = crate::exposition::parse_number(le)
                    .filter(|bound| *bound >= 0.0)
                    .ok_or_else(|| format!("`{}` has a bucket le=\"{le}\"", series.name))?;
                // Adding zero makes -0.0 a 0.0, whose bits have the right order.
                put(Part::Bucket((bound + 0.0).to_bits()));
            }
            Self::Pair { bad, total } => {
                if bad.selects(series) {
                    put(Part::Bad);
                }
                if total.selects(series) {
                    put(Part::Total);
                }
            }
        }
        Ok(())
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
            .filter_map(|key| match key.part {
                Part::Bucket(bits) => Some(bits),
                Part::Failed | Part::Good | Part::Bad | Part::Total => None,
            })
            .collect();
        bounds.dedup();
        bounds
    }

    /// The names of what is read, for people.
    pub(crate) fn names(&self) -> String {
        let names: Vec<String> =
            self.selectors().iter().map(|selector| format!("`{}`", selector.name)).collect();
        names.join(" and ")
    }

    /// The sample that differences make; `None` when there are none.
    pub(crate) fn sample(&self, counts: &BTreeMap<Key, u64>) -> Option<Sample> {
        if counts.is_empty() {
            return None;
        }
        let sum = |wanted: &[Part]| -> u64 {
            counts.iter().filter(|(k, _)| wanted.contains(&k.part)).map(|(_, n)| *n).sum()
        };
        match self {
            Self::Ratio { .. } => {
                let events = sum(&[Part::Failed]);
                Some(Sample::Events { events, of: events + sum(&[Part::Good]) })
            }
            Self::Pair { .. } => {
                // Two counters are not read in one instant: one request may be in the first already.
                let of = sum(&[Part::Total]);
                Some(Sample::Events { events: sum(&[Part::Bad]).min(of), of })
            }
            Self::Buckets { per_second, .. } => Some(histogram(counts, *per_second)),
        }
    }

    /// What is read, in words for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Ratio { selector, labels, failed, .. } => {
                let name = &selector.name;
                let by = labels.first().map_or("", String::as_str);
                match failed {
                    Failed::Http => format!("`{name}` by `{by}`, 5xx failed"),
                    Failed::Grpc => format!("`{name}` by `{by}`, gRPC server errors failed"),
                    Failed::Values(v) => format!("`{name}` by `{by}`, {} failed", v.join(", ")),
                }
            }
            Self::Buckets { selector, per_second: 1, .. } => {
                format!("`{}`, in seconds", selector.name)
            }
            Self::Buckets { selector, per_second: 1_000, .. } => {
                format!("`{}`, in milliseconds", selector.name)
            }
            Self::Buckets { selector, per_second, .. } => {
                format!("`{}`, {per_second} units a second", selector.name)
            }
            Self::Pair { bad, total } => format!("`{}` out of `{}`", bad.name, total.name),
        }
    }
}

/// Differences of cumulative buckets as counts of single buckets.
fn histogram(counts: &BTreeMap<Key, u64>, per_second: u32) -> Sample {
    let mut cumulative: BTreeMap<u64, u64> = BTreeMap::new();
    for (key, count) in counts {
        if let Part::Bucket(bits) = key.part {
            *cumulative.entry(bits).or_default() += count;
        }
    }
    let (mut le, mut single, mut below) = (Vec::new(), Vec::new(), 0_u64);
    for (bits, count) in cumulative {
        // A page that was written while requests ended may be off by these; as in Prometheus
        // itself, a cumulative count never falls.
        single.push(count.saturating_sub(below));
        below = below.max(count);
        let bound = f64::from_bits(bits);
        if bound.is_finite() {
            le.push(bound / f64::from(per_second));
        }
    }
    Sample::Histogram { le, counts: single }
}

/// The unit that a name ends with.
pub(crate) fn per_second(base: &str) -> u32 {
    if base.ends_with("_milliseconds") || base.ends_with("_ms") { 1_000 } else { 1 }
}

/// The labels that tell series of one instance apart, as one text.
fn written(series: &Series) -> String {
    let mut text = String::new();
    for (name, value) in series.labels.iter().filter(|(name, _)| name != "le") {
        text.push_str(name);
        text.push('\u{1}');
        text.push_str(value);
        text.push('\u{2}');
    }
    text
}

/// Whether a series counts requests of scrapers and probes: they always succeed, and dilute a share.
fn is_probe(series: &Series) -> bool {
    const LABELS: &[&str] = &[
        "endpoint",
        "handler",
        "http_route",
        "http_target",
        "path",
        "route",
        "uri",
        "url",
        "url_path",
    ];
    const PATHS: &[&str] = &[
        "/metrics",
        "/actuator/prometheus",
        "/actuator/health",
        "/actuator/health/liveness",
        "/actuator/health/readiness",
        "/health",
        "/healthz",
        "/livez",
        "/live",
        "/readyz",
        "/ready",
        "/-/healthy",
        "/-/ready",
    ];
    LABELS.iter().any(|label| PATHS.contains(&series.label(label)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Line, parse_line};

    /// Reads lines of a page as if all was counted since the reading before.
    fn counts(reads: &Reads, lines: &[&str]) -> Result<Option<Sample>, String> {
        let mut values = Values::new();
        for line in lines {
            let Ok(Line::Sample(point)) = parse_line(line, |_| true) else { panic!("{line}") };
            reads.put(&mut values, &point.series, point.value.into())?;
        }
        reads.validate(&values)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let counts = values.into_iter().map(|(k, c)| (k, c.value as u64)).collect();
        Ok(reads.sample(&counts))
    }

    fn named(kind: MeasureKind, metric: &str) -> Reads {
        let metric = metric.to_owned();
        let labels = BTreeMap::new();
        Reads::named(kind, &Named { metric, labels, status: None, per_second: None })
    }

    #[test]
    fn failed_and_completed_come_from_one_family() {
        let reads = named(MeasureKind::Errors, "http_requests_total");
        let sample = counts(
            &reads,
            &[
                r#"http_requests_total{code="200"} 90"#,
                r#"http_requests_total{code="404"} 5"#,
                r#"http_requests_total{code="503"} 4"#,
                r#"http_requests_total{error_type="timeout"} 1"#,
                "http_requests_total 100",
                r#"other_total{code="500"} 7"#,
            ],
        );
        assert_eq!(sample, Ok(Some(Sample::Events { events: 5, of: 100 })));
        assert_eq!(counts(&reads, &[]), Ok(None));
    }

    #[test]
    fn requests_of_scrapers_and_probes_are_left_out_of_families_found_by_name() {
        let arms = [vec![Series::new("http_requests_total", vec![("code".into(), "200".into())])]];
        let (chosen, _) = crate::families::choose(MeasureKind::Errors, &arms).unwrap();
        let sample = counts(
            &chosen.reads,
            &[
                r#"http_requests_total{code="200",path="/metrics"} 90"#,
                r#"http_requests_total{code="200",path="/buy"} 5"#,
            ],
        );
        assert_eq!(sample, Ok(Some(Sample::Events { events: 0, of: 5 })));
    }

    #[test]
    fn buckets_are_added_over_series_and_told_in_seconds() {
        let reads = named(MeasureKind::Latency, "d_milliseconds");
        let sample = counts(
            &reads,
            &[
                r#"d_milliseconds_bucket{le="5",code="200"} 3"#,
                r#"d_milliseconds_bucket{le="100",code="200"} 7"#,
                r#"d_milliseconds_bucket{le="+Inf",code="200"} 8"#,
                r#"d_milliseconds_bucket{le="5",code="500"} 1"#,
                r#"d_milliseconds_bucket{le="100",code="500"} 1"#,
                r#"d_milliseconds_bucket{le="+Inf",code="500"} 1"#,
            ],
        );
        let expected = Sample::Histogram { le: vec![0.005, 0.1], counts: vec![4, 4, 1] };
        assert_eq!(sample, Ok(Some(expected)));
    }

    #[test]
    fn buckets_that_do_not_fit_are_refused() {
        let reads = named(MeasureKind::Latency, "d_seconds");
        let pages: [&[&str]; 4] = [
            &[r#"d_seconds_bucket{le="1"} 3"#],
            &[
                r#"d_seconds_bucket{le="1",a="x"} 3"#,
                r#"d_seconds_bucket{le="+Inf",a="x"} 3"#,
                r#"d_seconds_bucket{le="+Inf",a="y"} 3"#,
            ],
            &[r#"d_seconds_bucket{le="soon"} 3"#],
            &[r#"d_seconds_bucket{le="-1"} 3"#],
        ];
        let told = pages.map(|page| counts(&reads, page).unwrap_err());
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_series_may_be_bad_and_total_at_once() {
        let measure = Measure {
            check: "orders".into(),
            kind: MeasureKind::Errors,
            source: Source::Query {
                bad: "orders_total{state=~\"rejected|lost\"}".into(),
                total: "orders_total".into(),
            },
        };
        let reads = Reads::given(&measure).unwrap().unwrap();
        let sample = counts(
            &reads,
            &[
                r#"orders_total{state="done"} 90"#,
                r#"orders_total{state="rejected"} 6"#,
                r#"orders_total{state="lost"} 4"#,
            ],
        );
        assert_eq!(sample, Ok(Some(Sample::Events { events: 10, of: 100 })));
    }
}
