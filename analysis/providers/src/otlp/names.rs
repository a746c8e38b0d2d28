//! OpenTelemetry's names as Prometheus writes them, so that one policy reads both.
//!
//! `http.server.request.duration` in `s` is `http_server_request_duration_seconds`, as in
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/> (1.50). A policy may
//! write either.

use super::model::{Attributes, Metric, Shape};
use crate::families;
use crate::selector::Series;

/// What a metric is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Called {
    /// Its own name with `_` for all that Prometheus does not take.
    plain: String,
    /// The same with its unit, and `_total` where it is a counter.
    full: String,
    is_histogram: bool,
}

impl Called {
    pub(super) fn of(metric: &Metric) -> Self {
        let plain = sanitized(&metric.name);
        let mut full = plain.clone();
        let unit = match metric.unit.as_str() {
            "s" => "seconds",
            "ms" => "milliseconds",
            "us" => "microseconds",
            "ns" => "nanoseconds",
            "By" => "bytes",
            _ => "",
        };
        if !unit.is_empty() && !full.ends_with(unit) {
            full = format!("{full}_{unit}");
        }
        if metric.shape == (Shape::Sum { monotonic: true }) && !full.ends_with("_total") {
            full.push_str("_total");
        }
        let is_histogram = matches!(metric.shape, Shape::Histogram | Shape::Exponential);
        Self { plain, full, is_histogram }
    }

    /// Whether it is one of the families that are known by name.
    pub(super) fn is_usual(&self) -> bool {
        families::is_candidate(&self.series_name(false))
    }

    /// Whether someone who writes this name means this metric.
    pub(super) fn is(&self, wanted: &str) -> bool {
        let wanted = sanitized(wanted);
        let wanted = if self.is_histogram {
            let base = wanted.strip_suffix("_bucket").or_else(|| wanted.strip_suffix("_count"));
            base.unwrap_or(&wanted)
        } else {
            &wanted
        };
        wanted == self.plain || wanted == self.full
    }

    /// The name of the series that counts it: of its buckets, or of all.
    pub(super) fn series_name(&self, buckets: bool) -> String {
        match (self.is_histogram, buckets) {
            (true, true) => format!("{}_bucket", self.full),
            (true, false) => format!("{}_count", self.full),
            (false, _) => self.full.clone(),
        }
    }
}

/// The labels of a point, as Prometheus writes them.
pub(super) fn series(name: &str, attributes: &Attributes, le: bool) -> Series {
    let labels = attributes.iter().map(|(name, value)| (sanitized(name), value.clone()));
    let le = le.then(|| ("le".to_owned(), "+Inf".to_owned()));
    Series::new(name, labels.chain(le).collect())
}

/// A name with `_` for every character that a metric or a label of Prometheus cannot have.
pub(super) fn sanitized(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::Temporality;
    use super::*;

    fn called(name: &str, unit: &str, shape: Shape) -> Called {
        let temporality = Temporality::Cumulative;
        Called::of(&Metric { scope: 0, name: name.into(), unit: unit.into(), shape, temporality })
    }

    #[test]
    fn names_are_those_that_prometheus_would_show() {
        let requests = called("http.server.request.duration", "s", Shape::Exponential);
        assert_eq!(requests.series_name(true), "http_server_request_duration_seconds_bucket");
        assert!(requests.is_usual());
        for name in [
            "http.server.request.duration",
            "http_server_request_duration",
            "http_server_request_duration_seconds",
            "http_server_request_duration_seconds_bucket",
        ] {
            assert!(requests.is(name), "{name}");
        }
        assert!(!requests.is("http_server_request_duration_seconds_total"));

        let orders = called("orders.rejected", "{order}", Shape::Sum { monotonic: true });
        assert_eq!(orders.series_name(false), "orders_rejected_total");
        assert!(orders.is("orders.rejected") && orders.is("orders_rejected_total"));
        assert!(!orders.is_usual() && !orders.is("orders_rejected_count"));

        let old = called("http.server.duration", "ms", Shape::Histogram);
        assert!(old.is_usual());
        assert!(called("rpc.server.call.duration", "s", Shape::Histogram).is_usual());
        assert!(called("rpc.server.duration", "ms", Shape::Histogram).is_usual());
        assert!(!called("http.client.request.duration", "s", Shape::Histogram).is_usual());
    }
}
