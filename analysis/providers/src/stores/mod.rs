//! Stores that answer "how many in each interval": Datadog, `CloudWatch`, `InfluxDB`, Graphite and the like.
//!
//! They have no counters that could be differenced; a store is asked for whole intervals of its own step,
//! once each interval is settled, and every interval is delivered exactly once and for both arms together.
//! `Windows` does that for every store alike; a store's own file turns queries and an interval into requests,
//! makes one attempt, and reads the reply.
//!
//! A new store: one file with its settings, `impl Store`, and
//! `Settings::provider(self) -> Result<Windows, FetchError>` that checks the settings without contacting the
//! store and ends in `Windows::new(store)`. `attempt.rs` makes one attempt bounded in time and size, and `limits.rs`
//! remembers when the store asked to be left alone: `wire.rs` is both together.

pub(crate) mod attempt;
pub(crate) mod cloudwatch;
pub(crate) mod datadog;
pub(crate) mod dynatrace;
pub(crate) mod elastic;
pub(crate) mod graphite;
pub(crate) mod http_json;
pub(crate) mod influx;
pub(crate) mod limits;
mod moment;
pub(crate) mod new_relic;
mod placeholders;
pub(crate) mod windows;
pub(crate) mod wire;

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use self::limits::Limits;
use crate::error::FetchError;
use crate::subject::{Measure, MeasureKind, Source};

/// Thresholds of a latency that a store's usual queries count: each costs a query for each arm.
pub(crate) const USUAL_THRESHOLDS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1_000),
    Duration::from_millis(2_500),
];

/// The texts of a source's queries, the total or value first; none for a source that has none.
pub(crate) fn queries(source: &Source) -> Vec<&str> {
    match source {
        Source::Auto | Source::Named(_) => Vec::new(),
        Source::Query { bad, total } => vec![total, bad],
        Source::Slower { total, slower } => {
            let slower = slower.iter().map(|(_, query)| query.as_str());
            std::iter::once(total.as_str()).chain(slower).collect()
        }
        Source::Value(query) => vec![query],
    }
}

/// How a store wants to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Length of an interval; whole seconds, at least 1.
    pub(crate) step: Duration,
    /// An interval is asked for when this long has passed since its end: later data would be lost.
    pub(crate) settle: Duration,
    /// When the newest interval with data of an arm ended longer than this before the last settled one, the
    /// arm is stale. The time to settle comes on top of it.
    pub(crate) stale_after: Duration,
    /// Most queries in one request to the store.
    pub(crate) together: usize,
}

/// Whole intervals: the first begins at `from`, the last ends at `to`; both are multiples of `step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) step: Duration,
}

/// What a store answers to one query.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) series: Vec<StoredSeries>,
    /// The store's own word that something may be missing; then nothing of the reply is counted.
    pub(crate) incomplete: Option<String>,
}

/// One series of a reply.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct StoredSeries {
    /// The process or pod, if the query groups by one.
    pub(crate) instance: Option<String>,
    /// Start of an interval and its count (or value, for a gauge). `None` and absent intervals are no data,
    /// never zero. In any order; the same interval twice is a defect of the store and refused.
    pub(crate) points: Vec<(Timestamp, Option<f64>)>,
}

/// A store of counts per interval. One file each.
pub(crate) trait Store: Send + Sync {
    /// Its address for people, without secrets.
    fn shown(&self) -> &str;

    /// How it wants to be read.
    fn pace(&self) -> Pace;

    /// The queries for a measure that names none, in the store's own language with `${version}` and
    /// `${service}` for what differs.
    ///
    /// # Errors
    /// When the store has no usual place for this kind of measure: what to write into the policy.
    fn usual(&self, kind: MeasureKind) -> Result<Source, String>;

    /// What `${version}` and the like are replaced with: escapes a value for the inside of a string of the
    /// store's language, so that a template writes `version = '${version}'`. `check` refuses templates in which
    /// it stands elsewhere. `Windows` replaces `${step}` by whole seconds and leaves `${from}` and `${to}` to
    /// the store.
    ///
    /// # Errors
    /// When the value cannot be written there safely.
    fn quote(&self, value: &str) -> Result<String, String>;

    /// Makes one attempt for several queries over the same window; one result for each, in their order.
    /// Bounded in time and size; dropping it is safe.
    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>>;

    /// Checks a measure's queries before they are used, without asking the store.
    ///
    /// # Errors
    /// What is wrong with them and what to write.
    fn check(&self, _measure: &Measure) -> Result<(), String> {
        Ok(())
    }

    /// When the store may be asked, if it keeps count: told the present moment before each round.
    fn limits(&self) -> Option<&Limits> {
        None
    }
}
