//! Zipkin: `GET /api/v2/traces`.
//!
//! API: <https://zipkin.io/zipkin-api/>, version 2. Times are milliseconds, durations microseconds. Of what matches,
//! the newest traces are answered. A tag is searched by `annotationQuery=name=value`, a failed trace by the presence
//! of the tag `error`; services are in lower case. Zipkin keeps tags of spans only, so the version must be one:
//! collectors write a resource's attributes as tags, and `version` is a usual name too.

use std::time::Duration;

use analysis_traces::{ArmLabel, Kept, TraceId};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::Timestamp;
use reqwest::RequestBuilder;

use super::TraceQuery;
use super::labels::{Label, Tag, labels};
use super::links::{self, page};
use super::run::Run;
use super::source::{Habits, Page, SPREAD, Search, Source};
use crate::error::FetchError;
use crate::http::Access;
use crate::spans;
use crate::stores::attempt::{Base, Bounds};
use crate::stores::limits::Limits;

/// Which Zipkin is asked and how.
#[derive(Debug, Clone)]
pub struct ZipkinSettings {
    /// Its address, e.g. `http://zipkin:9411`.
    pub url: String,
    /// How to be let in.
    pub access: Access,
    /// Where people see Zipkin's page, for links; `None`: at `url`, below `/zipkin`.
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

impl ZipkinSettings {
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

/// A Zipkin.
#[derive(Debug)]
pub(super) struct Zipkin {
    base: Base,
    limits: Limits,
    page: String,
    budget: Duration,
    clock: fn() -> Timestamp,
}

impl Zipkin {
    /// Checks the settings.
    pub(super) fn new(settings: ZipkinSettings) -> Result<Self, FetchError> {
        let bounds = Bounds { timeout: settings.timeout, max_bytes: settings.max_bytes };
        let base = Base::new("Zipkin", &settings.url, settings.access, bounds)?;
        let page = settings.page.map(|page| links::checked("Zipkin", &page)).transpose()?;
        Ok(Self {
            page: page.unwrap_or_else(|| base.at("zipkin").to_string()),
            base,
            limits: Limits::new(None),
            budget: settings.budget,
            clock: settings.clock,
        })
    }

    fn request(&self, search: &Search<'_>, tag: Option<&Tag>, most: usize) -> RequestBuilder {
        let to = search.window.to.as_millisecond();
        // Whole milliseconds that hold the window's beginning.
        let lookback = to.saturating_sub(search.window.from.as_millisecond()).max(1);
        let mut query = vec![
            ("serviceName", search.service.to_owned()),
            ("endTs", to.to_string()),
            ("lookback", lookback.to_string()),
            ("limit", most.to_string()),
        ];
        query.extend(annotations(search.kept, tag).map(|text| ("annotationQuery", text)));
        if search.kept == Kept::Slow {
            query.push(("minDuration", search.slower.as_micros().max(1).to_string()));
        }
        self.base.client().get(self.base.at("api/v2/traces")).query(&query)
    }

    async fn one(
        &self,
        run: &Run<'_>,
        search: &Search<'_>,
        tag: Option<&Tag>,
        most: usize,
    ) -> Result<Page, FetchError> {
        let body = run.body(self.request(search, tag, most)).await?;
        let spans = run.decode(spans::zipkin(&body, &spans::Limits::default()))?;
        Ok(Page { spans, bytes: body.len() })
    }
}

/// What a trace must have.
fn annotations(kept: Kept, tag: Option<&Tag>) -> Option<String> {
    let tag = tag.map(|tag| format!("{}={}", tag.name, tag.value));
    let error = (kept == Kept::Error).then(|| "error".to_owned());
    let all: Vec<String> = tag.into_iter().chain(error).collect();
    (!all.is_empty()).then(|| all.join(" and "))
}

impl Source for Zipkin {
    fn base(&self) -> &Base {
        &self.base
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn habits(&self) -> Habits {
        Habits {
            name: "Zipkin",
            choice: "answered the newest traces of each part of the time",
            settle: Duration::from_secs(10),
            refuses_unsettled: false,
            most: None,
            spread: SPREAD,
            whole: true,
            budget: self.budget,
            clock: self.clock,
        }
    }

    fn service(&self, name: &str) -> String {
        name.to_lowercase()
    }

    fn labels(&self, arm: &ArmLabel, other: &ArmLabel) -> Vec<Label> {
        let mut all = Vec::new();
        for mut label in labels(arm, other) {
            // These words are Zipkin's own: a value with them would ask for something else.
            label.retain(|tag| !tag.value.contains(" and "));
            if label.is_empty() {
                continue;
            }
            let version = label.iter().find(|tag| tag.name == "service.version").cloned();
            all.push(label);
            all.extend(version.map(|tag| vec![Tag { name: "version", ..tag }]));
        }
        all
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
        Some(page(&self.page, &format!("traces/{trace}"), &[]))
    }

    fn explore(&self, ask: &TraceQuery) -> Option<String> {
        let labels = self.labels(&ask.arms.canary, &ask.arms.baseline);
        let tag = labels.first().and_then(|label| label.first());
        let lookback = ask.to.as_millisecond().saturating_sub(ask.from.as_millisecond());
        let mut query = vec![
            ("serviceName", self.service(&ask.service)),
            ("endTs", ask.to.as_millisecond().to_string()),
            ("lookback", lookback.to_string()),
            ("limit", "20".to_owned()),
        ];
        query.extend(annotations(Kept::Uniform, tag).map(|text| ("annotationQuery", text)));
        Some(page(&self.page, "", &query))
    }

    fn pair(&self, _baseline: TraceId, _canary: TraceId) -> Option<String> {
        None
    }
}
