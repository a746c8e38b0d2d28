//! Tempo: searches by `TraceQL`, and of each trace only what lies below the service's own requests.
//!
//! API: <https://grafana.com/docs/tempo/latest/api_docs/>, versions 2.7 to 3.0. A search answers the first traces
//! that were found, neither the newest nor a random sample. `GET /api/v2/traces/{id}` with a filter answers the
//! spans that match and all below them (`match_depth=-1`) and above them (`keep_hierarchy`); it then says
//! `PARTIAL` on purpose. Tempo 3 refuses queries of the last 30 s (`query_frontend.query_end_cutoff`).
//! Requests are counted by `TraceQL` metrics without sampling, where these are enabled.

mod counts;
mod found;
mod query;

use std::time::Duration;

use analysis::Arm;
use analysis_traces::{ArmLabel, Kept, Requests, TraceId};
use futures_util::future::{BoxFuture, FutureExt as _, join, join_all};
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use serde_json::{Value, json};

use self::found::{Found, choose};
use super::TraceQuery;
use super::labels::{Label, Tag, together, told};
use super::links::{self, page};
use super::run::Run;
use super::source::{Habits, Page, SPREAD, Search, Source, name_of};
use super::windows::Window;
use crate::error::FetchError;
use crate::http::{Access, Secret};
use crate::spans;
use crate::stores::attempt::{Base, Bounds};
use crate::stores::limits::Limits;

/// Tempo answers no query of a later time.
const CUTOFF: Duration = Duration::from_secs(30);

/// A trace may begin before and end after the requests that were searched for.
const MARGIN: SignedDuration = SignedDuration::from_mins(30);

/// Which Tempo is asked and how.
#[derive(Debug, Clone)]
pub struct TempoSettings {
    /// Address of the query frontend, e.g. `http://tempo:3200`.
    pub url: String,
    /// How to be let in.
    pub access: Access,
    /// The tenant, sent as `X-Scope-OrgID`; `None` for one without tenants.
    pub tenant: Option<String>,
    /// The Grafana whose pages show these traces; `None`: no links.
    pub grafana: Option<GrafanaPage>,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
    /// Longest time for one reading.
    pub budget: Duration,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// Where a Grafana shows a Tempo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrafanaPage {
    /// Its address as people see it.
    pub url: String,
    /// The uid of the data source.
    pub datasource: String,
}

impl TempoSettings {
    /// The defaults.
    pub fn new(url: impl Into<String>, clock: fn() -> Timestamp) -> Self {
        Self {
            url: url.into(),
            access: Access::default(),
            tenant: None,
            grafana: None,
            timeout: Duration::from_secs(15),
            max_bytes: 16 * 1_024 * 1_024,
            budget: Duration::from_secs(60),
            clock,
        }
    }
}

/// A Tempo.
#[derive(Debug)]
pub(super) struct Tempo {
    base: Base,
    limits: Limits,
    grafana: Option<GrafanaPage>,
    budget: Duration,
    clock: fn() -> Timestamp,
}

impl Tempo {
    /// Checks the settings.
    pub(super) fn new(settings: TempoSettings) -> Result<Self, FetchError> {
        let mut access = settings.access;
        let tenant =
            settings.tenant.map(|tenant| ("X-Scope-OrgID".to_owned(), Secret::new(tenant)));
        access.headers.extend(tenant);
        let bounds = Bounds { timeout: settings.timeout, max_bytes: settings.max_bytes };
        let base = Base::new("Tempo", &settings.url, access, bounds)?;
        let checked = |grafana: GrafanaPage| {
            let url = links::checked("Grafana", &grafana.url)?;
            Ok::<_, FetchError>(GrafanaPage { url, ..grafana })
        };
        Ok(Self {
            base,
            limits: Limits::new(None),
            grafana: settings.grafana.map(checked).transpose()?,
            budget: settings.budget,
            clock: settings.clock,
        })
    }

    /// The traces that a search finds, by id and route.
    async fn found(&self, run: &Run<'_>, search: &Search<'_>) -> Result<Vec<Found>, FetchError> {
        // Of slow and failed ones more, so that no single route fills the sample.
        let limit =
            if search.kept == Kept::Uniform { search.most } else { search.most.saturating_mul(2) };
        let query = [
            ("q", query::search(search)),
            ("start", search.window.first_second().to_string()),
            ("end", search.window.last_second().to_string()),
            ("limit", limit.to_string()),
            ("spss", "1".to_owned()),
        ];
        let request = self.base.client().get(self.base.at("api/search")).query(&query);
        let body = run.body(request).await?;
        let (found, partial) = found::read(&body).map_err(|error| run.unreadable(&error))?;
        if let Some(said) = partial {
            run.note_said(" that its answer to a search is partial", &said);
        }
        Ok(choose(found, search.most))
    }

    /// What lies below the service's requests of one trace.
    async fn subtree(
        &self,
        run: &Run<'_>,
        search: &Search<'_>,
        id: TraceId,
    ) -> Result<Page, FetchError> {
        let around = search.window.wider(MARGIN);
        let query = [
            ("q", query::entries(search.service, search.label)),
            ("match_depth", "-1".to_owned()),
            ("keep_hierarchy", "true".to_owned()),
            ("start", around.first_second().max(0).to_string()),
            ("end", around.last_second().to_string()),
        ];
        let address = self.base.at(&format!("api/v2/traces/{id}"));
        let answer = run.ask(self.base.client().get(address).query(&query)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            run.note(
                "traces that a search found are not there by their id: they are too new, or Tempo is older than 2.7",
            );
            return Ok(Page { spans: Vec::new(), bytes: answer.body.len() });
        }
        if !answer.status.is_success() {
            return Err(run.refused(&answer));
        }
        let mut decoded = spans::tempo(&answer.body, &spans::Limits::default());
        if let Ok(decoded) = &mut decoded {
            // It says so because the filter leaves out the rest of the trace.
            decoded.refused.partial = 0;
        }
        let spans = run.decode(decoded)?;
        Ok(Page { spans, bytes: answer.body.len() })
    }

    async fn count(
        &self,
        run: &Run<'_>,
        ask: &TraceQuery,
        label: Option<&Label>,
    ) -> Result<counts::Counted, FetchError> {
        let window = Window { from: ask.from, to: ask.to };
        let query = [
            ("q", query::count(&ask.service, label)),
            ("start", window.first_second().to_string()),
            ("end", window.last_second().to_string()),
        ];
        let request = self.base.client().get(self.base.at("api/metrics/query")).query(&query);
        let body = run.body(request).await?;
        let (counted, partial) = counts::read(&body).map_err(|error| run.unreadable(&error))?;
        match partial {
            // A part of the requests is no number of requests.
            Some(said) => {
                Err(FetchError::transient(format!("Tempo says that its count is partial: {said}")))
            }
            None => Ok(counted),
        }
    }

    /// One pane of Grafana's Explore.
    fn pane(grafana: &GrafanaPage, query: &str, [from, to]: [&str; 2]) -> Value {
        let uid = &grafana.datasource;
        json!({
            "datasource": uid,
            "queries": [{
                "refId": "A",
                "datasource": { "type": "tempo", "uid": uid },
                "queryType": "traceql",
                "query": query,
            }],
            "range": { "from": from, "to": to },
        })
    }

    fn panes(&self, panes: impl FnOnce(&GrafanaPage) -> Value) -> Option<String> {
        let grafana = self.grafana.as_ref()?;
        let query = [
            ("schemaVersion", "1".to_owned()),
            ("orgId", "1".to_owned()),
            ("panes", panes(grafana).to_string()),
        ];
        Some(page(&grafana.url, "explore", &query))
    }
}

/// The time as Grafana writes it. A trace is found by its id at any time, so for an unknown one any will do.
fn range(at: Option<(Timestamp, Timestamp)>) -> [String; 2] {
    match at {
        Some((from, to)) => [from, to].map(|at| at.as_millisecond().to_string()),
        None => ["now-24h", "now"].map(str::to_owned),
    }
}

impl Source for Tempo {
    fn base(&self) -> &Base {
        &self.base
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn habits(&self) -> Habits {
        Habits {
            name: "Tempo",
            choice: "answered what it found first in each part of the time",
            settle: CUTOFF,
            refuses_unsettled: true,
            most: None,
            spread: SPREAD,
            whole: false,
            budget: self.budget,
            clock: self.clock,
        }
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
            let arm = search.label.map(|label| told(label)).unwrap_or_default();
            let found = self.found(run, search).await?;
            let new = found.iter().filter(|one| run.is_first(&format!("{arm} {}", one.id)));
            let pages = new.map(|one| self.subtree(run, search, one.id));
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
            let (baseline, canary) = (&ask.arms.baseline, &ask.arms.canary);
            let labels = [self.labels(baseline, canary), self.labels(canary, baseline)];
            let (baseline, canary) = join(
                self.count(run, ask, labels[0].first()),
                self.count(run, ask, labels[1].first()),
            )
            .await;
            match (baseline, canary) {
                (Ok(baseline), Ok(canary)) => {
                    for (arm, counted) in [(Arm::Baseline, &baseline), (Arm::Canary, &canary)] {
                        let (all, failed) = (counted.all, counted.failed);
                        run.note(format!(
                            "Tempo counted {all} requests of {}, {failed} of them failed",
                            name_of(arm)
                        ));
                    }
                    Some(Requests { baseline: baseline.all, canary: canary.all })
                }
                (Err(error), _) | (_, Err(error)) => {
                    run.note(format!("requests could not be counted: {error}"));
                    None
                }
            }
        }
        .boxed()
    }

    fn link(&self, trace: TraceId, at: Option<(Timestamp, Timestamp)>) -> Option<String> {
        let [from, to] = range(at);
        self.panes(
            |grafana| json!({ "trace": Self::pane(grafana, &trace.to_string(), [&from, &to]) }),
        )
    }

    fn explore(&self, ask: &TraceQuery) -> Option<String> {
        let (baseline, canary) = (&ask.arms.baseline, &ask.arms.canary);
        let of = |arm: &ArmLabel, other: &ArmLabel| {
            // The first label is what people know a version by; all of them would fill the page.
            let first: Option<Vec<Tag>> = super::labels::labels(arm, other).into_iter().next();
            query::entries(&ask.service, first.as_ref())
        };
        let [from, to] = range(Some((ask.from, ask.to)));
        self.panes(|grafana| {
            json!({
                "base": Self::pane(grafana, &of(baseline, canary), [&from, &to]),
                "canary": Self::pane(grafana, &of(canary, baseline), [&from, &to]),
            })
        })
    }

    fn pair(&self, baseline: TraceId, canary: TraceId) -> Option<String> {
        let [from, to] = range(None);
        self.panes(|grafana| {
            json!({
                "base": Self::pane(grafana, &baseline.to_string(), [&from, &to]),
                "canary": Self::pane(grafana, &canary.to_string(), [&from, &to]),
            })
        })
    }
}
