//! Readers of trace stores: both versions' requests of a service, from where its traces are kept already.
//!
//! A store is asked once, after a verdict, for as many traces as root cause needs and no more: searches answer an
//! arbitrary subset, so the time is searched in parts; whole traces are large, so what is read is bounded in time,
//! size and requests at once, and what arrived by then is used and told. `read.rs` does that for every store
//! alike; a store's own file has its settings, its requests and what is particular about its answers.
//!
//! A new store: one file with its settings and `impl Source`, and a constructor here.

mod datadog;
mod jaeger;
mod labels;
mod links;
mod notes;
mod quota;
mod read;
mod run;
mod sample;
mod source;
mod tempo;
mod windows;
mod zipkin;

use std::sync::Arc;
use std::time::Duration;

use analysis_traces::{Arms, EntrySubtree, Refused, Requests, TraceId};
use futures_util::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;

use self::source::Source;
use crate::error::FetchError;

pub use self::datadog::DatadogTracesSettings;
pub use self::jaeger::JaegerSettings;
pub use self::tempo::{GrafanaPage, TempoSettings};
pub use self::zipkin::ZipkinSettings;

/// A store of traces.
pub trait TraceStore: Send + Sync {
    /// Reads subtrees of both versions in one attempt.
    ///
    /// Bounded: at most 8 requests at once, 64 MiB of answers (and what is under way then) and 60 s together; what
    /// has arrived by then is answered and told in the notes. An arm without traces is told in the notes as well.
    /// Dropping the future half-way is safe.
    ///
    /// # Errors
    /// Transient when the store cannot be reached, asks for a pause or has not settled yet: ask again later.
    /// Permanent when it refuses, answers what cannot be read, or when its traces do not say which version sent
    /// them: the text says what to do.
    fn fetch<'a>(&'a self, ask: &'a TraceQuery) -> BoxFuture<'a, Result<Fetched, FetchError>>;

    /// The store's own page of one trace, which was recorded between the two moments, if they are known; `None`
    /// when the store has no page.
    fn link(&self, trace: TraceId, at: Option<(Timestamp, Timestamp)>) -> Option<String>;

    /// The store's own page with the traces of both versions, side by side where it can; `None` when it has none.
    /// The pages of Jaeger and Zipkin show one version at a time, and theirs is the canary's.
    fn explore(&self, ask: &TraceQuery) -> Option<String>;

    /// The store's own page that compares a trace of the baseline with one of the canary; `None` when it cannot.
    fn pair(&self, baseline: TraceId, canary: TraceId) -> Option<String>;

    /// How long after a moment the store has all traces of it: a reading sooner may miss some, or be refused.
    fn settle(&self) -> Duration;
}

/// What is asked of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceQuery {
    /// The service, `service.name`.
    pub service: String,
    /// How its two versions can be told apart.
    pub arms: Arms,
    /// The beginning of the time in which both served.
    pub from: Timestamp,
    /// Its end; after `from`.
    pub to: Timestamp,
    /// Most subtrees of the baseline and of the canary; see [`TraceQuery::MOST`].
    pub most: [usize; 2],
}

impl TraceQuery {
    /// Subtrees of the baseline and of the canary that show a change of 20 % to 50 % in one operation at a false
    /// discovery rate of 10 %.
    pub const MOST: [usize; 2] = [1_200, 400];
}

/// What a store had.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// Requests that the baseline served.
    pub baseline: Vec<EntrySubtree>,
    /// Requests that the canary served.
    pub canary: Vec<EntrySubtree>,
    /// What was left out of the traces that were read.
    pub refused: Refused,
    /// How many requests each version served in all, where the store can count them.
    pub requests: Option<Requests>,
    /// In words for people: how the sample was taken, what is missing and why. Never empty.
    pub notes: Vec<String>,
}

/// A Jaeger, by its API v3 or, where that is missing, by the one before.
///
/// # Errors
/// When the address or a header is not valid; permanent. Jaeger is not contacted.
pub fn jaeger(settings: JaegerSettings) -> Result<Arc<dyn TraceStore>, FetchError> {
    Ok(Arc::new(Reader(jaeger::Jaeger::new(settings)?)))
}

/// A Tempo of version 2.7 or newer.
///
/// # Errors
/// When an address or a header is not valid; permanent. Tempo is not contacted.
pub fn tempo(settings: TempoSettings) -> Result<Arc<dyn TraceStore>, FetchError> {
    Ok(Arc::new(Reader(tempo::Tempo::new(settings)?)))
}

/// A Zipkin, by its API v2.
///
/// # Errors
/// When the address or a header is not valid; permanent. Zipkin is not contacted.
pub fn zipkin(settings: ZipkinSettings) -> Result<Arc<dyn TraceStore>, FetchError> {
    Ok(Arc::new(Reader(zipkin::Zipkin::new(settings)?)))
}

/// Datadog's traces.
///
/// # Errors
/// When the site or a key is not valid; permanent. Datadog is not contacted.
pub fn datadog(settings: DatadogTracesSettings) -> Result<Arc<dyn TraceStore>, FetchError> {
    Ok(Arc::new(Reader(datadog::Datadog::new(settings)?)))
}

/// Any source as a store.
struct Reader<S>(S);

impl<S: Source> TraceStore for Reader<S> {
    fn fetch<'a>(&'a self, ask: &'a TraceQuery) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        read::read(&self.0, ask).boxed()
    }

    fn link(&self, trace: TraceId, at: Option<(Timestamp, Timestamp)>) -> Option<String> {
        self.0.link(trace, at)
    }

    fn explore(&self, ask: &TraceQuery) -> Option<String> {
        self.0.explore(ask)
    }

    fn pair(&self, baseline: TraceId, canary: TraceId) -> Option<String> {
        self.0.pair(baseline, canary)
    }

    fn settle(&self) -> Duration {
        self.0.habits().settle
    }
}
