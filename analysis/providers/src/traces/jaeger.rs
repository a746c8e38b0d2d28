//! Jaeger: `GET /api/v3/traces`, or where that is missing the API of its page, `GET /api/traces`.
//!
//! API: <https://www.jaegertracing.io/docs/latest/apis/>, version 2.20 (`internal/proto/api_v3/query_service.proto`,
//! the gateway's `query_parser.go`). Attributes are a JSON map of texts that all must be there, on the span or its
//! resource; both times are needed; no match is a 404. The older API was never a promise and its search is gone from
//! what follows 2.20, so it is asked only where `/api/v3/services` is missing, or where the v3 there does not know
//! these names of parameters yet (before 2.19): such a v3 does not search by attributes at all.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use analysis_traces::{Kept, TraceId};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::Timestamp;
use reqwest::{RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::TraceQuery;
use super::labels::Tag;
use super::links::{self, page};
use super::run::Run;
use super::source::{Habits, Page, SPREAD, Search, Source};
use crate::error::FetchError;
use crate::http::Access;
use crate::spans;
use crate::stores::attempt::{Answer, Base, Bounds};
use crate::stores::limits::Limits;

/// Which Jaeger is asked and how.
#[derive(Debug, Clone)]
pub struct JaegerSettings {
    /// Address of the query service, e.g. `http://jaeger:16686`.
    pub url: String,
    /// How to be let in.
    pub access: Access,
    /// Where people see Jaeger's page, for links; `None`: at `url`.
    pub page: Option<String>,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
    /// Longest time for one reading.
    pub budget: Duration,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

impl JaegerSettings {
    /// The defaults.
    pub fn new(url: impl Into<String>, clock: fn() -> Timestamp) -> Self {
        Self {
            url: url.into(),
            access: Access::default(),
            page: None,
            timeout: Duration::from_secs(15),
            max_bytes: 16 * 1_024 * 1_024,
            budget: Duration::from_secs(60),
            clock,
        }
    }
}

/// A Jaeger.
#[derive(Debug)]
pub(super) struct Jaeger {
    base: Base,
    limits: Limits,
    page: String,
    budget: Duration,
    clock: fn() -> Timestamp,
    /// Which API it has, once that is known.
    api: Mutex<Option<Api>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    /// `/api/v3`, of 2.19 or newer.
    V3,
    /// The one before, as v3 is missing; it has not answered yet.
    PerhapsLegacy,
    /// The one before, which has answered.
    Legacy,
}

impl Jaeger {
    /// Checks the settings.
    pub(super) fn new(settings: JaegerSettings) -> Result<Self, FetchError> {
        let bounds = Bounds { timeout: settings.timeout, max_bytes: settings.max_bytes };
        let base = Base::new("Jaeger", &settings.url, settings.access, bounds)?;
        let page = settings.page.map(|page| links::checked("Jaeger", &page)).transpose()?;
        Ok(Self {
            page: page.unwrap_or_else(|| base.shown().to_owned()),
            base,
            limits: Limits::new(None),
            budget: settings.budget,
            clock: settings.clock,
            api: Mutex::new(None),
        })
    }

    fn api(&self) -> Option<Api> {
        *self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, api: Option<Api>) {
        *self.api.lock().unwrap_or_else(PoisonError::into_inner) = api;
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.base.client().get(self.base.at(path))
    }

    /// The search for one tag by API v3.
    fn v3(&self, search: &Search<'_>, tag: Option<&Tag>, most: usize) -> RequestBuilder {
        let mut query = vec![
            ("query.serviceName", search.service.to_owned()),
            ("query.startTimeMin", search.window.from.to_string()),
            ("query.startTimeMax", search.window.to.to_string()),
            ("query.searchDepth", most.to_string()),
        ];
        query.extend(attributes(search, tag).map(|attributes| ("query.attributes", attributes)));
        query.extend(shortest(search).map(|shortest| ("query.durationMin", shortest)));
        self.get("api/v3/traces").query(&query)
    }

    /// The same by the API before.
    fn legacy(&self, search: &Search<'_>, tag: Option<&Tag>, most: usize) -> RequestBuilder {
        let mut query = vec![
            ("service", search.service.to_owned()),
            ("start", search.window.from.as_microsecond().to_string()),
            ("end", search.window.to.as_microsecond().to_string()),
            ("limit", most.to_string()),
        ];
        query.extend(attributes(search, tag).map(|attributes| ("tags", attributes)));
        query.extend(shortest(search).map(|shortest| ("minDuration", shortest)));
        self.get("api/traces").query(&query)
    }

    async fn one(
        &self,
        run: &Run<'_>,
        search: &Search<'_>,
        tag: Option<&Tag>,
        most: usize,
    ) -> Result<Page, FetchError> {
        if matches!(self.api(), Some(Api::V3) | None) {
            let answer = run.ask(self.v3(search, tag, most)).await?;
            if !is_before_2_19(&answer) {
                return read_v3(run, &answer);
            }
            self.learn(Some(Api::PerhapsLegacy));
        }
        let answer = run.ask(self.legacy(search, tag, most)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(self.gone());
        }
        let page = read_legacy(run, &answer)?;
        self.learn(Some(Api::Legacy));
        Ok(page)
    }

    /// No API that this knows is there; it is looked for again at the next reading.
    fn gone(&self) -> FetchError {
        let shown = self.base.shown();
        let had = self.api() == Some(Api::Legacy);
        self.learn(None);
        if had {
            return FetchError::transient(format!(
                "{shown} has no longer the API of before v3: the next attempt asks it by v3"
            ));
        }
        FetchError::permanent(format!(
            "{shown} has neither Jaeger's API v3 nor the one before: check the address in serin.yaml"
        ))
    }
}

/// Tags that must be there, as JSON.
fn attributes(search: &Search<'_>, tag: Option<&Tag>) -> Option<String> {
    let mut attributes = BTreeMap::new();
    attributes.extend(tag.map(|tag| (tag.name, tag.value.as_str())));
    if search.kept == Kept::Error {
        attributes.insert("error", "true");
    }
    let texts = attributes.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
    let map: serde_json::Map<String, Value> = texts.collect();
    (!map.is_empty()).then(|| Value::Object(map).to_string())
}

/// A duration as Go writes it.
fn shortest(search: &Search<'_>) -> Option<String> {
    (search.kept == Kept::Slow).then(|| format!("{}us", search.slower.as_micros()))
}

/// Whether a v3 asks for the names that parameters had before 2.19.
fn is_before_2_19(answer: &Answer) -> bool {
    answer.status == StatusCode::BAD_REQUEST
        && String::from_utf8_lossy(&answer.body).contains("query.start_time_min")
}

fn read_v3(run: &Run<'_>, answer: &Answer) -> Result<Page, FetchError> {
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(Page { spans: Vec::new(), bytes: answer.body.len() });
    }
    read(run, answer)
}

fn read_legacy(run: &Run<'_>, answer: &Answer) -> Result<Page, FetchError> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        errors: Option<Vec<Value>>,
    }
    let page = read(run, answer)?;
    let told = serde_json::from_slice(&answer.body).map(|told: Told| told.errors);
    for error in told.ok().flatten().unwrap_or_default() {
        let said = error.get("msg").and_then(Value::as_str).unwrap_or("no reason");
        run.note_said(" that something is missing", said);
    }
    Ok(page)
}

fn read(run: &Run<'_>, answer: &Answer) -> Result<Page, FetchError> {
    if !answer.status.is_success() {
        return Err(run.refused(answer));
    }
    let mut decoded = spans::jaeger(&answer.body, &spans::Limits::default());
    if let Ok(decoded) = &mut decoded {
        // It is told with Jaeger's own words.
        decoded.refused.partial = 0;
    }
    Ok(Page { spans: run.decode(decoded)?, bytes: answer.body.len() })
}

impl Source for Jaeger {
    fn base(&self) -> &Base {
        &self.base
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn habits(&self) -> Habits {
        let choice = match self.api() {
            Some(Api::Legacy | Api::PerhapsLegacy) => {
                "was asked by its older API: of each part of the time it chose which traces to answer"
            }
            Some(Api::V3) | None => "chose of each part of the time which traces to answer",
        };
        Habits {
            name: "Jaeger",
            choice,
            settle: Duration::from_secs(10),
            refuses_unsettled: false,
            most: None,
            spread: SPREAD,
            whole: true,
            budget: self.budget,
            clock: self.clock,
        }
    }

    fn begin<'a>(&'a self, run: &'a Run<'a>) -> BoxFuture<'a, Result<(), FetchError>> {
        async move {
            if self.api().is_some() {
                return Ok(());
            }
            let answer = run.ask(self.get("api/v3/services")).await?;
            // A Jaeger without v3 answers its page to whatever it does not know.
            let is_page = answer.status.is_success()
                && serde_json::from_slice::<serde::de::IgnoredAny>(&answer.body).is_err();
            let api = match answer.status {
                StatusCode::NOT_FOUND => Api::PerhapsLegacy,
                _ if is_page => Api::PerhapsLegacy,
                status if status.is_success() => Api::V3,
                _ => return Err(run.refused(&answer)),
            };
            self.learn(Some(api));
            Ok(())
        }
        .boxed()
    }

    fn search<'a>(
        &'a self,
        run: &'a Run<'a>,
        search: &'a Search<'a>,
    ) -> BoxFuture<'a, Result<Page, FetchError>> {
        async move {
            let Some(label) = search.label else {
                return self.one(run, search, None, search.most).await;
            };
            let most = search.most.div_ceil(label.len().max(1));
            let pages = label.iter().map(|tag| self.one(run, search, Some(tag), most));
            run.together(join_all(pages).await)
        }
        .boxed()
    }

    fn link(&self, trace: TraceId, _at: Option<(Timestamp, Timestamp)>) -> Option<String> {
        Some(page(&self.page, &format!("trace/{trace}"), &[]))
    }

    fn explore(&self, ask: &TraceQuery) -> Option<String> {
        let labels = self.labels(&ask.arms.canary, &ask.arms.baseline);
        let tags = labels.first().and_then(|label| label.first()).map(|tag| {
            let map = serde_json::Map::from_iter([(tag.name.to_owned(), tag.value.clone().into())]);
            ("tags", Value::Object(map).to_string())
        });
        let mut query = vec![
            ("service", ask.service.clone()),
            ("start", ask.from.as_microsecond().to_string()),
            ("end", ask.to.as_microsecond().to_string()),
            ("lookback", "custom".to_owned()),
            ("limit", "20".to_owned()),
        ];
        query.extend(tags);
        Some(page(&self.page, "search", &query))
    }

    fn pair(&self, baseline: TraceId, canary: TraceId) -> Option<String> {
        Some(page(&self.page, &format!("trace/{baseline}...{canary}"), &[]))
    }
}
