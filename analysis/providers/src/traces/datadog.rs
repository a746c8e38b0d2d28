//! Datadog: kept traces by `POST /api/v2/spans/events/search` and `GET /api/v2/trace/{id}`.
//!
//! API: <https://docs.datadoghq.com/api/latest/spans/> and <https://docs.datadoghq.com/api/latest/apm-trace/>,
//! version 2 as of November 2026. Everybody of an organization shares 300 searches an hour and 60 traces a minute;
//! Serin takes a part of them, so a reading brings some 24 traces of each version and not hundreds. Only traces that
//! retention filters kept can be found: they are no random sample, in both versions alike. Requests are counted by
//! the metrics of APM, which see every request, and not by the spans that are kept.

mod found;

use std::time::Duration;

use analysis_traces::{ArmLabel, Kept, Requests, TraceId};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::{SignedDuration, Timestamp};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::TraceQuery;
use super::labels::{Label, together};
use super::links::{escaped, page};
use super::quota::Quota;
use super::run::Run;
use super::source::{Habits, Page, Search, Source, Wanted};
use crate::error::FetchError;
use crate::http::{Access, Secret};
use crate::spans;
use crate::stores::attempt::{Base, Bounds};
use crate::stores::datadog::{address, tag};
use crate::stores::limits::Limits;

/// Searches of an hour that are Serin's, of 300.
const SEARCHES: u32 = 60;

/// Traces of a minute that are Serin's, of 60.
const TRACES: u32 = 50;

/// Spans of one search, of which some traces are chosen.
const TOGETHER: usize = 100;

/// Which Datadog is asked and how.
#[derive(Debug, Clone)]
pub struct DatadogTracesSettings {
    /// The site, e.g. `datadoghq.eu` or `us5.datadoghq.com`; or a whole address, e.g. of a proxy.
    pub site: String,
    /// The API key.
    pub api_key: Secret,
    /// An application key with the scopes `apm_read` and `timeseries_query`.
    pub application_key: Secret,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
    /// Longest time for one reading.
    pub budget: Duration,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

impl DatadogTracesSettings {
    /// The defaults.
    pub fn new(
        site: impl Into<String>,
        api_key: Secret,
        application_key: Secret,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            site: site.into(),
            api_key,
            application_key,
            timeout: Duration::from_secs(15),
            max_bytes: 16 * 1_024 * 1_024,
            budget: Duration::from_secs(60),
            clock,
        }
    }
}

/// Datadog.
#[derive(Debug)]
pub(super) struct Datadog {
    base: Base,
    limits: Limits,
    /// Its page; `None` when it is asked at an address that is no site.
    page: Option<String>,
    budget: Duration,
    clock: fn() -> Timestamp,
    searches: Quota,
    traces: Quota,
}

impl Datadog {
    /// Checks the settings.
    pub(super) fn new(settings: DatadogTracesSettings) -> Result<Self, FetchError> {
        let url = address(&settings.site)?;
        let access = Access {
            headers: vec![
                ("DD-API-KEY".to_owned(), settings.api_key),
                ("DD-APPLICATION-KEY".to_owned(), settings.application_key),
            ],
            ..Access::default()
        };
        let bounds = Bounds { timeout: settings.timeout, max_bytes: settings.max_bytes };
        let (hour, minute) = (SignedDuration::from_hours(1), SignedDuration::from_mins(1));
        Ok(Self {
            base: Base::new("Datadog", &url, access, bounds)?,
            limits: Limits::new(None),
            page: page_of(&settings.site),
            budget: settings.budget,
            clock: settings.clock,
            searches: Quota::new(
                SEARCHES,
                hour,
                "the 300 searches that Datadog permits in an hour",
            ),
            traces: Quota::new(TRACES, minute, "the 60 traces that Datadog permits in a minute"),
        })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.base.client().post(self.base.at(path)).json(body)
    }

    async fn found(&self, run: &Run<'_>, search: &Search<'_>) -> Result<Vec<String>, FetchError> {
        self.searches.take(self.now())?;
        let body = json!({ "data": { "type": "search_request", "attributes": {
            "filter": {
                "query": query(search),
                "from": search.window.from.to_string(),
                "to": search.window.to.to_string(),
            },
            "options": { "timezone": "UTC" },
            "page": { "limit": TOGETHER },
            "sort": "timestamp",
        } } });
        let body = run.body(self.post("api/v2/spans/events/search", &body)).await?;
        let (found, warned) = found::read(&body).map_err(|error| run.unreadable(&error))?;
        for said in warned {
            run.note_said(" of a search", &said);
        }
        Ok(found::choose(found, search.most, search.kept))
    }

    async fn trace(&self, run: &Run<'_>, id: &str) -> Result<Page, FetchError> {
        self.traces.take(self.now())?;
        let address = self.base.at(&format!("api/v2/trace/{id}"));
        let answer = run.ask(self.base.client().get(address)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            run.note("traces that a search found are no longer kept");
            return Ok(Page { spans: Vec::new(), bytes: answer.body.len() });
        }
        if !answer.status.is_success() {
            return Err(run.refused(&answer));
        }
        if found::is_truncated(&answer.body) {
            run.note("Datadog cut a trace short, which is left out: its spans are too many");
            return Ok(Page { spans: Vec::new(), bytes: answer.body.len() });
        }
        let spans = run.decode(spans::datadog(&answer.body, &spans::Limits::default()))?;
        Ok(Page { spans, bytes: answer.body.len() })
    }
}

/// Where people see a site's traces.
fn page_of(site: &str) -> Option<String> {
    let site = site.trim_start_matches("api.");
    let is_plain = !site.contains("://");
    // The first sites have their pages below `app`; the later ones are their own.
    let host = if site.split('.').count() > 2 { site.to_owned() } else { format!("app.{site}") };
    is_plain.then(|| format!("https://{host}"))
}

/// The requests of the service, in the language of searches.
fn entries(service: &str, label: Option<&Label>) -> String {
    let mut query = format!("service:{} @_top_level:1", term(service));
    let any: Vec<String> = label
        .into_iter()
        .flatten()
        .map(|one| match one.name {
            "service.version" => format!("version:{}", term(&one.value)),
            "vcs.ref.head.revision" => format!("@git.commit.sha:{}", term(&one.value)),
            "k8s.pod.name" => format!("pod_name:{}", term(&one.value)),
            name => format!("@{name}:{}", term(&one.value)),
        })
        .collect();
    if !any.is_empty() {
        query.push_str(&format!(" ({})", any.join(" OR ")));
    }
    query
}

fn query(search: &Search<'_>) -> String {
    let mut query = entries(search.service, search.label);
    match search.kept {
        Kept::Uniform => {}
        Kept::Slow => query.push_str(&format!(" @duration:>={}", search.slower.as_nanos())),
        Kept::Error => query.push_str(" status:error"),
    }
    query
}

/// A value in quotes, in which nothing has a meaning but these two.
fn term(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Source for Datadog {
    fn base(&self) -> &Base {
        &self.base
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn habits(&self) -> Habits {
        Habits {
            name: "Datadog",
            choice: "answers what retention filters kept, which is no random sample, and permits few traces a minute",
            settle: Duration::from_secs(120),
            refuses_unsettled: false,
            most: Some(Wanted { uniform: 20, slow: 0, error: 4 }),
            spread: 2,
            whole: false,
            budget: self.budget,
            clock: self.clock,
        }
    }

    fn service(&self, name: &str) -> String {
        tag(name)
    }

    fn labels(&self, arm: &ArmLabel, other: &ArmLabel) -> Vec<Label> {
        together(arm, other)
    }

    fn search<'a>(
        &'a self,
        run: &'a Run<'a>,
        search: &'a Search<'a>,
    ) -> BoxFuture<'a, Result<Page, FetchError>> {
        async move {
            let found = self.found(run, search).await?;
            let new = found.iter().filter(|id| run.is_first(id));
            let pages = new.map(|id| self.trace(run, id));
            run.together(join_all(pages.collect::<Vec<_>>()).await)
        }
        .boxed()
    }

    fn requests<'a>(
        &'a self,
        run: &'a Run<'a>,
        ask: &'a TraceQuery,
    ) -> BoxFuture<'a, Option<Requests>> {
        async move {
            let arms = [&ask.arms.baseline, &ask.arms.canary];
            let [Some(baseline), Some(canary)] = arms.map(|arm| arm.version.clone()) else {
                return None;
            };
            if baseline == canary {
                return None;
            }
            let hits = |name: &str, version: &str| {
                json!({
                    "data_source": "apm_metrics",
                    "name": name,
                    "stat": "hits",
                    "service": tag(&ask.service),
                    "query_filter": format!("version:{}", tag(version)),
                })
            };
            let body = json!({ "data": { "type": "scalar_request", "attributes": {
                "from": ask.from.as_millisecond(),
                "to": ask.to.as_millisecond(),
                "queries": [hits("baseline", &baseline), hits("canary", &canary)],
                "formulas": [{ "formula": "baseline" }, { "formula": "canary" }],
            } } });
            let body = run.body(self.post("api/v2/query/scalar", &body)).await;
            let read = body.and_then(|body| found::counts(&body).map_err(|e| run.unreadable(&e)));
            match read {
                Ok([Some(baseline), Some(canary)]) => {
                    run.note(format!("Datadog counted {baseline} requests of the baseline and {canary} of the canary"));
                    Some(Requests { baseline, canary })
                }
                Ok([_, _]) => {
                    run.note("Datadog has no number of requests by version: check that its traces carry `version`");
                    None
                }
                Err(error) => {
                    run.note(format!("requests could not be counted: {error}"));
                    None
                }
            }
        }
        .boxed()
    }

    fn link(&self, trace: TraceId, at: Option<(Timestamp, Timestamp)>) -> Option<String> {
        let query: Vec<(&str, String)> = at
            .map(|(from, _)| ("timeHint", from.as_millisecond().to_string()))
            .into_iter()
            .collect();
        Some(page(
            self.page.as_ref()?,
            &format!("apm/trace/{}", escaped(&trace.to_string())),
            &query,
        ))
    }

    fn explore(&self, ask: &TraceQuery) -> Option<String> {
        let versions: Vec<String> = [&ask.arms.baseline, &ask.arms.canary]
            .into_iter()
            .filter_map(|arm| arm.version.as_deref())
            .map(|version| format!("version:{}", term(version)))
            .collect();
        let query = format!("service:{} ({})", term(&tag(&ask.service)), versions.join(" OR "));
        let query = [
            ("query", query),
            ("agg_q", "version".to_owned()),
            ("start", ask.from.as_millisecond().to_string()),
            ("end", ask.to.as_millisecond().to_string()),
            ("paused", "true".to_owned()),
        ];
        let page = page(self.page.as_ref()?, "apm/traces", &query);
        (!versions.is_empty()).then_some(page)
    }

    fn pair(&self, _baseline: TraceId, _canary: TraceId) -> Option<String> {
        None
    }
}
