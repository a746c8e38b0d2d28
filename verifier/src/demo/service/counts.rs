//! What the demo's service tells about itself under `/metrics`.
//!
//! The names and shapes are those of Prometheus' client libraries, because the demo is to show that
//! the checks find them without a query being written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::StatusCode;

/// Upper bounds of the latency histogram in seconds: steps of just over a tenth where the demo has
/// its 99th percentile, so that a tolerated stretch of 10 % is one bucket, and a shift by half four.
const BOUNDS: [f64; 22] = [
    0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.05, 0.0555, 0.0615, 0.068, 0.075,
    0.083, 0.092, 0.102, 0.113, 0.125, 0.25, 0.5, 1.0,
];
/// The statuses that the service answers with.
const CODES: [StatusCode; 4] = [
    StatusCode::OK,
    StatusCode::NOT_FOUND,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
];

/// What `/metrics` shows.
#[derive(Default)]
pub(super) struct Counts {
    /// Requests by status, in the order of [`CODES`].
    codes: [AtomicU64; CODES.len()],
    /// Requests by bucket, not cumulative; the last is the rest.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
    in_flight: AtomicU64,
}

/// Counts a request as in flight until it is answered or its client has gone.
pub(super) struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    /// A request has arrived.
    pub(super) fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// A request has been answered.
    pub(super) fn count(&self, code: StatusCode, took: Duration) {
        if let Some(index) = CODES.iter().position(|known| *known == code) {
            self.codes[index].fetch_add(1, Ordering::Relaxed);
        }
        let bucket = BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// The Prometheus text format, version 0.0.4.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![
            "# HELP http_requests_total Requests answered.".to_owned(),
            "# TYPE http_requests_total counter".to_owned(),
        ];
        for (code, count) in CODES.iter().zip(&self.codes) {
            let (code, count) = (code.as_u16(), count.load(Ordering::Relaxed));
            lines.push(format!("http_requests_total{{code=\"{code}\"}} {count}"));
        }
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        lines.push("# HELP http_requests_in_flight Requests not answered yet.".to_owned());
        lines.push("# TYPE http_requests_in_flight gauge".to_owned());
        lines.push(format!("http_requests_in_flight {in_flight}"));
        let name = "http_request_duration_seconds";
        lines.push(format!("# HELP {name} Time from a request to its answer."));
        lines.push(format!("# TYPE {name} histogram"));
        let mut below = 0;
        let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.buckets) {
            below += count.load(Ordering::Relaxed);
            lines.push(format!("{name}_bucket{{le=\"{bound}\"}} {below}"));
        }
        let seconds = Duration::from_micros(self.microseconds.load(Ordering::Relaxed));
        lines.push(format!("{name}_sum {}", seconds.as_secs_f64()));
        lines.push(format!("{name}_count {below}\n"));
        lines.join("\n")
    }
}
