//! Dynatrace: counts by DQL out of Grail, or by a selector of the classic metrics API.
//!
//! APIs: Grail query <https://docs.dynatrace.com/docs/shortlink/api-grail>, version 1, and metrics
//! <https://docs.dynatrace.com/docs/shortlink/api-metrics-v2-get-datapoints>, version 2, as of November 2026.
//!
//! A query of a policy is, by the settings, one of two:
//! - DQL that ends in one series `count` of intervals of `${step}` seconds, and `instance` if it groups by one:
//!   `fetch spans | filter service.name == "${service}" and service.version == "${version}" | makeTimeseries count =
//!   count(), interval: ${step}s`. `samplingRatio` is refused, because it makes estimates of counts;
//! - a metric selector that counts, `app.orders:filter(eq("version","${version}")):splitBy():sum`. Its one
//!   dimension, if it has one, is the instance. Its intervals are whole minutes, and Dynatrace marks an interval by
//!   its end.
//!
//! Spans that Dynatrace's adaptive traffic management left out are not counted: fewer, but honest numbers, as both
//! arms are sampled alike.

mod classic;
mod grail;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};

use super::attempt::Bounds;
use super::limits::Limits;
use super::placeholders::{self, Strings};
use super::windows::Windows;
use super::wire::{Wire, whole_step};
use super::{Pace, Reply, Store, USUAL_THRESHOLDS, Window};
use crate::error::FetchError;
use crate::http::{Access, Credentials, Secret};
use crate::subject::{BROWSERS_TELL, Measure, MeasureKind, SPANS_TELL, Source};

/// DQL writes texts in double quotes, with backslashes.
const DQL: Strings = Strings { marks: &['"'], others: &['`'], backslash: true, comment: "//" };

/// Selectors write texts in double quotes, with tildes.
const SELECTOR: Strings =
    Strings { marks: &['"'], others: &[], backslash: false, comment: "\u{0}" };

/// The requests of one version.
const FETCH: &str = "fetch spans | filter request.is_root_span == true and service.name == \"${service}\" and \
                     service.version == \"${version}\"";

/// Counts them by interval.
const COUNT: &str = " | makeTimeseries count = count(), interval: ${step}s";

/// Which of Dynatrace's stores is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DynatraceStore {
    /// Grail, by DQL, with a platform token that has `storage:spans:read` and its kin.
    Grail {
        /// The platform token (`dt0s16...`).
        token: Secret,
    },
    /// The classic metrics API, by metric selectors, with an access token that has `metrics.read`.
    Classic {
        /// The access token (`dt0c01...`).
        token: Secret,
    },
}

/// Which Dynatrace is asked and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynatraceSettings {
    /// Its address: `https://abc12345.apps.dynatrace.com` for Grail, `https://abc12345.live.dynatrace.com` for classic.
    pub url: String,
    /// What is asked there.
    pub store: DynatraceStore,
    /// Length of an interval: whole seconds that divide an hour; for classic whole minutes.
    pub step: Duration,
    /// How long after its end an interval is complete.
    pub settle: Duration,
    /// When the newest interval with data of an arm is this much older than the last settled one, the arm is stale.
    pub stale_after: Duration,
    /// Longest time for one attempt, with all its requests.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
}

impl DynatraceSettings {
    /// The defaults: intervals of 60 s, complete after 120 s.
    pub fn new(url: impl Into<String>, store: DynatraceStore) -> Self {
        Self {
            url: url.into(),
            store,
            step: Duration::from_secs(60),
            settle: Duration::from_secs(120),
            stale_after: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            max_bytes: 16 * 1_024 * 1_024,
        }
    }

    /// A provider of these settings; Dynatrace is not contacted.
    ///
    /// # Errors
    /// When the address, the token or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        let seconds = whole_step("Dynatrace", self.step)?;
        let bounds = Bounds { timeout: self.timeout, max_bytes: self.max_bytes };
        let (kind, access, hidden) = match self.store {
            DynatraceStore::Grail { token } => {
                let credentials = Credentials::Bearer(token);
                (Kind::Grail, Access { credentials, ..Access::default() }, None)
            }
            DynatraceStore::Classic { token } => {
                if seconds % 60 != 0 {
                    return Err(FetchError::permanent(
                        "Dynatrace's metrics have no intervals below a minute; set a step of 60 s or use Grail",
                    ));
                }
                let header = Secret::new(format!("Api-Token {}", token.expose()));
                let headers = vec![("Authorization".to_owned(), header)];
                (Kind::Classic, Access { headers, ..Access::default() }, Some(token))
            }
        };
        let wire = Wire::new("Dynatrace", &self.url, access, hidden, bounds)?;
        let pace = Pace {
            step: self.step,
            settle: self.settle,
            stale_after: self.stale_after,
            together: 1,
        };
        Ok(Windows::new(Dynatrace { wire, pace, kind }))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Grail,
    Classic,
}

#[derive(Debug)]
struct Dynatrace {
    wire: Wire,
    pace: Pace,
    kind: Kind,
}

impl Dynatrace {
    async fn one(&self, query: &str, window: Window) -> Result<Reply, FetchError> {
        match self.kind {
            Kind::Grail => grail::ask(&self.wire, query, window).await,
            Kind::Classic => classic::ask(&self.wire, query, window).await,
        }
    }
}

impl Store for Dynatrace {
    fn shown(&self) -> &str {
        self.wire.shown()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn usual(&self, kind: MeasureKind) -> Result<Source, String> {
        if self.kind == Kind::Classic {
            return Err(
                "Dynatrace's own metrics know no version; write selectors of metrics that do, e.g. \
                 `app.orders:filter(eq(\"version\",\"${version}\")):splitBy():sum`, or use Grail"
                    .to_owned(),
            );
        }
        let total = format!("{FETCH}{COUNT}");
        match kind {
            MeasureKind::Errors => {
                let bad = format!("{FETCH} and request.is_failed == true{COUNT}");
                Ok(Source::Query { bad, total })
            }
            MeasureKind::Latency => {
                let slower = |bound: &Duration| {
                    let millis = bound.as_millis();
                    (*bound, format!("{FETCH} and duration > {millis}ms{COUNT}"))
                };
                Ok(Source::Slower { total, slower: USUAL_THRESHOLDS.iter().map(slower).collect() })
            }
            MeasureKind::NewErrors => Err(SPANS_TELL.to_owned()),
            MeasureKind::Vital(_) | MeasureKind::ScriptErrors => {
                Err(BROWSERS_TELL.to_owned())
            }
            MeasureKind::Restarts | MeasureKind::Gauge => Err(
                "Dynatrace has no usual place for this; write DQL, e.g. `timeseries count = \
                 avg(dt.process.memory.usage), interval: ${step}s, filter: version == \"${version}\"`"
                    .to_owned(),
            ),
        }
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        match self.kind {
            Kind::Grail => {
                let plain = placeholders::without(value, &[], "DQL")?;
                Ok(plain.replace('\\', "\\\\").replace('"', "\\\""))
            }
            Kind::Classic => {
                let plain = placeholders::without(value, &[], "a metric selector")?;
                Ok(plain.replace('~', "~~").replace('"', "~\""))
            }
        }
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        join_all(queries.iter().map(move |query| self.one(query, window))).boxed()
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        let is_gauge = matches!(measure.source, Source::Value(_));
        for query in super::queries(&measure.source) {
            match self.kind {
                Kind::Grail => {
                    placeholders::inside_strings(query, DQL)?;
                    grail::check(query)?;
                }
                Kind::Classic => {
                    placeholders::inside_strings(query, SELECTOR)?;
                    classic::check(query, is_gauge)?;
                }
            }
        }
        Ok(())
    }

    fn limits(&self) -> Option<&Limits> {
        Some(self.wire.limits())
    }
}
