//! The Prometheus provider against a real Prometheus and a real `VictoriaMetrics` that scrape real HTTP services.
//!
//! Runs where the programs `prometheus` and `victoria-metrics` are installed; elsewhere it says what was left out.
//! The sums of all differences must equal what the services counted, to the request, across restarts of the
//! services and of the store. `SERIN_OUTAGE_SECONDS` (15) and `SERIN_LATE_SECONDS` (8) make the outages longer.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "it runs programs beside itself, against the real clock"
)]

mod classic;
mod exporter;
mod native;
mod outages;
mod protobuf;
mod stores;
mod sums;
