//! Datadog: counts of metrics and of APM through `POST /api/v2/query/timeseries`.
//!
//! API: <https://docs.datadoghq.com/api/latest/metrics/#query-timeseries-data-across-multiple-products>, version 2
//! as of November 2026.
//!
//! A query of a policy is one of two:
//! - a metric, `sum:shop.orders{service:shop,version:${version}}.as_count()`, which must end in `.as_count()`: only
//!   then are the points numbers of events. `by {pod_name}` makes each group an instance. A value of a gauge ends
//!   as it likes;
//! - a count of APM, `apm hits service:shop version:${version}` or `apm errors service:shop version:${version}`,
//!   with further tags after it. These count every request, also those whose traces are not kept.
//!
//! Datadog has no usual place for durations: APM gives percentiles, which cannot be tested, and only kept spans can
//! be counted, which are no random sample. A threshold query on a distribution does count, for example
//! `count(v: v>0.5):trace.http.request{service:shop,version:${version}}.as_count()`, out of
//! `count:trace.http.request{service:shop,version:${version}}.as_count()`; the policy names the metric, because its
//! name depends on the framework.
//!
//! Values are written the way Datadog writes tags: in lower case, with an underscore for what a tag cannot hold.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::Bounds;
use super::limits::Limits;
use super::windows::Windows;
use super::wire::{Refused, Wire, whole_step};
use super::{Pace, Reply, Store, StoredSeries, Window, moment};
use crate::error::FetchError;
use crate::http::{Access, Secret};
use crate::subject::{BROWSERS_TELL, Measure, MeasureKind, SPANS_TELL, Source};

/// Most queries in one request; larger requests are slower than several.
const TOGETHER: usize = 20;

/// Most characters of a tag.
const LONGEST_TAG: usize = 200;

/// Which Datadog is asked and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatadogSettings {
    /// The site, e.g. `datadoghq.eu` or `us5.datadoghq.com`; or a whole address, e.g. of a proxy.
    pub site: String,
    /// The API key.
    pub api_key: Secret,
    /// An application key with the scope `timeseries_query`.
    pub application_key: Secret,
    /// Length of an interval: whole seconds that divide an hour, 10 s or more.
    pub step: Duration,
    /// How long after its end an interval is complete.
    pub settle: Duration,
    /// When the newest interval with data of an arm is this much older than the last settled one, the arm is stale.
    pub stale_after: Duration,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
}

impl DatadogSettings {
    /// The defaults: intervals of 20 s, complete after 120 s.
    pub fn new(site: impl Into<String>, api_key: Secret, application_key: Secret) -> Self {
        Self {
            site: site.into(),
            api_key,
            application_key,
            step: Duration::from_secs(20),
            settle: Duration::from_secs(120),
            stale_after: Duration::from_secs(300),
            timeout: Duration::from_secs(15),
            max_bytes: 16 * 1_024 * 1_024,
        }
    }

    /// A provider of these settings; Datadog is not contacted.
    ///
    /// # Errors
    /// When the site, a key or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        let seconds = whole_step("Datadog", self.step)?;
        if seconds < 10 {
            return Err(FetchError::permanent(
                "Datadog has no intervals below 10 s; set a step of 10 s or more",
            ));
        }
        let url = address(&self.site)?;
        let access = Access {
            headers: vec![
                ("DD-API-KEY".to_owned(), self.api_key),
                ("DD-APPLICATION-KEY".to_owned(), self.application_key),
            ],
            ..Access::default()
        };
        let bounds = Bounds { timeout: self.timeout, max_bytes: self.max_bytes };
        let wire = Wire::new("Datadog", &url, access, [], bounds)?;
        let pace = Pace {
            step: self.step,
            settle: self.settle,
            stale_after: self.stale_after,
            together: TOGETHER,
        };
        Ok(Windows::new(Datadog { wire, pace }))
    }
}

/// The address of a site's API; a whole address, e.g. of a proxy, stays as it is.
pub(crate) fn address(site: &str) -> Result<String, FetchError> {
    if site.contains("://") {
        return Ok(site.to_owned());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if site.is_empty() || !site.chars().all(plain) {
        return Err(FetchError::permanent(format!(
            "{site:?} is no site of Datadog; write one like datadoghq.eu"
        )));
    }
    Ok(format!("https://api.{}", site.trim_start_matches("api.")))
}

/// A value the way Datadog writes tags; empty for a value of which no tag can hold anything.
pub(crate) fn tag(value: &str) -> String {
    let mut tag = String::with_capacity(value.len());
    for c in value.chars().flat_map(char::to_lowercase).take(LONGEST_TAG) {
        if c.is_alphanumeric() || matches!(c, ':' | '.' | '/' | '-' | '_') {
            tag.push(c);
        } else if !tag.ends_with('_') {
            tag.push('_');
        }
    }
    tag.trim_end_matches('_').to_owned()
}

#[derive(Debug)]
struct Datadog {
    wire: Wire,
    pace: Pace,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Option<Body>,
    errors: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Body {
    attributes: Attributes,
}

#[derive(Debug, Deserialize)]
struct Attributes {
    #[serde(default)]
    series: Vec<Series>,
    #[serde(default)]
    times: Vec<serde_json::Number>,
    #[serde(default)]
    values: Vec<Vec<Option<f64>>>,
}

#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    group_tags: Option<Vec<String>>,
    query_index: Option<usize>,
}

/// The request for several queries, each a formula of its own.
fn request(queries: &[String], window: Window) -> Value {
    let sources: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(index, query)| source(query, &format!("q{index}")))
        .collect();
    let formulas: Vec<Value> =
        (0..queries.len()).map(|index| json!({ "formula": format!("q{index}") })).collect();
    let last = window.to.as_millisecond() - 1;
    json!({ "data": { "type": "timeseries_request", "attributes": {
        "from": window.from.as_millisecond(),
        "to": last,
        "interval": window.step.as_secs() * 1_000,
        "formulas": formulas,
        "queries": sources,
    } } })
}

fn source(query: &str, name: &str) -> Value {
    let Some((stat, filter)) = apm(query) else {
        return json!({ "data_source": "metrics", "name": name, "query": query });
    };
    let mut service = None;
    let mut tags = Vec::new();
    for word in filter.split_whitespace() {
        match word.strip_prefix("service:") {
            Some(one) if service.is_none() => service = Some(one),
            Some(_) | None => tags.push(word),
        }
    }
    json!({
        "data_source": "apm_metrics",
        "name": name,
        "stat": stat,
        "service": service,
        "query_filter": tags.join(","),
    })
}

/// The statistic and the tags of a query of APM.
fn apm(query: &str) -> Option<(&str, &str)> {
    let rest = query.trim().strip_prefix("apm ")?;
    rest.trim_start().split_once(char::is_whitespace)
}

impl Datadog {
    async fn attempt(
        &self,
        queries: &[String],
        window: Window,
    ) -> Result<Vec<Result<Reply, FetchError>>, Refused> {
        let body = request(queries, window);
        let deadline = self.wire.deadline();
        let request = self.wire.post("api/v2/query/timeseries").json(&body);
        let answer: Answer = self.wire.ask(request, deadline).await?;
        Ok(self.read(answer, queries.len()))
    }

    fn read(&self, answer: Answer, count: usize) -> Vec<Result<Reply, FetchError>> {
        let said = match answer.errors {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            Some(Value::Array(all)) if !all.is_empty() => Some(Value::Array(all).to_string()),
            Some(_) | None => None,
        };
        let incomplete =
            said.map(|said| format!("{} says: {}", self.wire.shown(), self.wire.hide(&said)));
        let mut replies = vec![Reply { series: Vec::new(), incomplete }; count];
        let Some(Body { attributes }) = answer.data else {
            let shown = self.wire.shown();
            let empty = FetchError::transient(format!("the answer of {shown} holds no data"));
            return replies
                .into_iter()
                .map(|r| if r.incomplete.is_some() { Ok(r) } else { Err(empty.clone()) })
                .collect();
        };
        let Attributes { series, times, values } = attributes;
        let times: Option<Vec<_>> = times.iter().map(moment::of_millis).collect();
        let fits = series.len() == values.len()
            && times.as_ref().is_some_and(|t| values.iter().all(|v| v.len() == t.len()))
            && series.iter().all(|one| one.query_index.unwrap_or(0) < count);
        let (true, Some(times)) = (fits, times) else {
            let shown = self.wire.shown();
            let text =
                format!("the answer of {shown} has other numbers of series, times and values");
            return vec![Err(FetchError::permanent(text)); count];
        };
        for (one, values) in series.into_iter().zip(values) {
            let instance =
                one.group_tags.filter(|tags| !tags.is_empty()).map(|tags| instance(&tags));
            let points = times.iter().copied().zip(values).collect();
            let place = one.query_index.unwrap_or(0);
            replies[place].series.push(StoredSeries { instance, points });
        }
        replies.into_iter().map(Ok).collect()
    }

    /// Runs a request; when Datadog refuses it, each half by itself, so that one wrong query does not take the
    /// data of the others.
    fn run<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        async move {
            match self.attempt(queries, window).await {
                Ok(replies) => replies,
                Err(refused) => {
                    let is_wrong = matches!(
                        refused.status,
                        Some(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
                    );
                    if !is_wrong || queries.len() < 2 {
                        return vec![Err(refused.error); queries.len()];
                    }
                    let (first, second) = queries.split_at(queries.len() / 2);
                    let (mut all, more) =
                        join(self.run(first, window), self.run(second, window)).await;
                    all.extend(more);
                    all
                }
            }
        }
        .boxed()
    }
}

/// The value of a tag, or all tags of a group by several.
fn instance(tags: &[String]) -> String {
    match tags {
        [one] => one.split_once(':').map_or(one.as_str(), |(_, value)| value).to_owned(),
        several => several.join(","),
    }
}

impl Store for Datadog {
    fn shown(&self) -> &str {
        self.wire.shown()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn usual(&self, kind: MeasureKind) -> Result<Source, String> {
        match kind {
            MeasureKind::Errors => Ok(Source::Query {
                bad: "apm errors service:${service} version:${version}".to_owned(),
                total: "apm hits service:${service} version:${version}".to_owned(),
            }),
            MeasureKind::Latency => Err(
                "Datadog counts durations only by threshold queries on a distribution; write `total: \
                 count:trace.http.request{version:${version}}.as_count()` and for each threshold of `slower` \
                 `count(v: v>0.5):trace.http.request{version:${version}}.as_count()` with the metric of your \
                 framework"
                    .to_owned(),
            ),
            MeasureKind::NewErrors => Err(SPANS_TELL.to_owned()),
            MeasureKind::Vital(_) | MeasureKind::ScriptErrors => {
                Err(BROWSERS_TELL.to_owned())
            }
            MeasureKind::Restarts | MeasureKind::Gauge => Err(
                "Datadog has no usual place for this; write its query, e.g. \
                 `avg:kubernetes.memory.usage{version:${version}}`"
                    .to_owned(),
            ),
        }
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        let tag = tag(value);
        if tag.is_empty() {
            return Err(format!("the value {value:?} is nothing that a tag of Datadog can hold"));
        }
        Ok(tag)
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        self.run(queries, window)
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        if let Source::Value(query) = &measure.source {
            return if apm(query).is_some() { Err(counted(query)) } else { Ok(()) };
        }
        for query in super::queries(&measure.source) {
            let counts = if let Some((stat, filter)) = apm(query) {
                matches!(stat, "hits" | "errors") && !filter.trim().is_empty()
            } else {
                let query = query.trim();
                let sums = ["sum:", "count:", "count("].iter().any(|s| query.starts_with(s));
                sums && query.ends_with(".as_count()") && !query.contains(".rollup(")
            };
            if !counts {
                return Err(counted(query));
            }
        }
        Ok(())
    }

    fn limits(&self) -> Option<&Limits> {
        Some(self.wire.limits())
    }
}

fn counted(query: &str) -> String {
    format!(
        "`{query}` does not count: write `sum:...{{...}}.as_count()` without `.rollup()`, or `apm hits ...` and \
         `apm errors ...`"
    )
}
