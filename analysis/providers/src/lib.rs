#![doc = include_str!("../README.md")]

pub mod counters;
pub mod error;
pub mod exposition;
pub mod families;
mod http;
pub mod intake;
mod ledger;
pub mod otlp;
mod page;
pub mod prometheus;
mod reads;
pub mod rum;
pub mod scrape;
pub mod selector;
mod sigv4;
pub mod spans;
mod stores;
pub mod subject;
pub mod traces;

use analysis::Scrape;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

pub use counters::{Differ, Totals, TotalsDiffer};
pub use error::{FetchError, Persistence};
pub use families::Chosen;
pub use http::{Access, Credentials, Secret};
pub use prometheus::{Prometheus, PrometheusSettings};
pub use rum::{Rum, RumSettings, Vital};
pub use scrape::{Scraper, ScraperSettings};
pub use sigv4::AwsCredentials;
pub use stores::cloudwatch::CloudWatchSettings;
pub use stores::datadog::DatadogSettings;
pub use stores::dynatrace::{DynatraceSettings, DynatraceStore};
pub use stores::elastic::{ElasticAccess, ElasticSettings};
pub use stores::graphite::GraphiteSettings;
pub use stores::http_json::{HttpJsonSettings, JsonPointers, TimeFormat};
pub use stores::influx::{InfluxApi, InfluxSettings};
pub use stores::new_relic::{NewRelicRegion, NewRelicSettings};
pub use stores::windows::Windows;
pub use subject::{Failed, Instance, Measure, MeasureKind, Named, Source, StatusRule, Subject};

/// A source of observations.
pub trait MetricProvider: Send + Sync {
    /// Makes one attempt for many subjects at once and returns one result for each, in their order.
    ///
    /// Bounded in time and size: a subject that hangs fails by its own bound while the others are
    /// measured beside it. Calls for the same subject must not overlap and `at` must rise from call
    /// to call; a repeated or earlier `at` yields no observations. Dropping the future half-way is
    /// safe: counters that were not yet differenced are so at the next call.
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>>;

    /// Which metric each check of a subject reads and why, as known from the last attempt.
    fn chosen(&self, subject: &str) -> Vec<Choice>;

    /// Forgets the counters of a subject that is no longer measured.
    fn forget(&self, subject: &str);
}

/// The result of one attempt for one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The subject's id.
    pub subject: String,
    /// Exact differences since the scrape before, and how complete they are.
    pub result: Result<(Scrape, Completeness), FetchError>,
}

/// How much of what was asked for is there.
///
/// Whatever it says, every observation that is in the scrape is exact and may be judged: when a
/// whole arm of a check is missing, that check has no observations, and what was counted meanwhile
/// comes with the next complete scrape, because the counters are cumulative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Everything answered with fresh counters. There may still be no observations: counters seen
    /// for the first time are a start point, and nothing is new between two scrapes of the source.
    Full,
    /// Something is missing, for the reason given: an instance, an arm of a check, or the store
    /// itself said that its answer is incomplete.
    Partial(String),
    /// The source answered, but has no data for this subject at all, for the reason given.
    None(String),
    /// The source has data, but no new sample for too long, as described.
    Stale(String),
}

/// What one check of a subject reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The check's name.
    pub check: String,
    /// The metric, or why none could be chosen and what to do.
    pub chosen: Result<Chosen, String>,
}
