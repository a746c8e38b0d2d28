//! New Relic: counts by NRQL through `NerdGraph`.
//!
//! API: <https://docs.newrelic.com/docs/apis/nerdgraph/examples/async-queries-nrql-tutorial/>, as of November 2026.
//!
//! A query of a policy is NRQL that counts, without `SINCE`, `UNTIL` and `TIMESERIES`, which are added:
//! `FROM Transaction SELECT count(*) WHERE appName = '${service}' AND tags.version = '${version}'`. `FACET` makes
//! each group an instance. `EXTRAPOLATE` is refused, because it makes estimates of counts.
//!
//! `NerdGraph` answers a query that takes longer with a number under which its result is fetched; errors come
//! with the status 200. NRQL shows an interval without events as a count of zero, which is the same as no data.

mod nrql;
mod rows;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use self::nrql::{document, has_word, with_time};
use super::attempt::Bounds;
use super::limits::Limits;
use super::placeholders::{self, Strings};
use super::windows::Windows;
use super::wire::{Wire, whole_step};
use super::{Pace, Reply, Store, USUAL_THRESHOLDS, Window};
use crate::error::FetchError;
use crate::http::{Access, Secret};
use crate::subject::{BROWSERS_TELL, Measure, MeasureKind, SPANS_TELL, Source};

/// Most queries in one request; `NerdGraph` runs at most 25 at once for a user.
const TOGETHER: usize = 10;

/// Requests in a minute: New Relic takes 3,000 queries a minute for an account, of all its users.
const PER_MINUTE: u32 = 200;

/// Shortest and longest time between two looks at a running query.
const LOOKS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// NRQL writes texts in single quotes, with backslashes.
const STRINGS: Strings = Strings { marks: &['\''], others: &['`'], backslash: true, comment: "--" };

/// The transactions of one version, up to a condition.
const FROM: &str =
    "FROM Transaction SELECT count(*) WHERE appName = '${service}' AND tags.version = '${version}'";

/// Where the account's data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRelicRegion {
    /// `api.newrelic.com`.
    UnitedStates,
    /// `api.eu.newrelic.com`.
    Europe,
    /// Another address, e.g. of a proxy, without `/graphql`.
    At(String),
}

/// Which New Relic is asked and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelicSettings {
    /// The account's number.
    pub account: u64,
    /// Where the account's data is kept.
    pub region: NewRelicRegion,
    /// A user key (`NRAK-...`).
    pub key: Secret,
    /// Length of an interval: whole seconds that divide an hour.
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

impl NewRelicSettings {
    /// The defaults: the United States, intervals of 60 s, complete after 120 s.
    pub fn new(account: u64, key: Secret) -> Self {
        Self {
            account,
            region: NewRelicRegion::UnitedStates,
            key,
            step: Duration::from_secs(60),
            settle: Duration::from_secs(120),
            stale_after: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            max_bytes: 16 * 1_024 * 1_024,
        }
    }

    /// A provider of these settings; New Relic is not contacted.
    ///
    /// # Errors
    /// When the address, the key or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        whole_step("New Relic", self.step)?;
        let url = match &self.region {
            NewRelicRegion::UnitedStates => "https://api.newrelic.com",
            NewRelicRegion::Europe => "https://api.eu.newrelic.com",
            NewRelicRegion::At(url) => url,
        };
        let access =
            Access { headers: vec![("API-Key".to_owned(), self.key)], ..Access::default() };
        let bounds = Bounds { timeout: self.timeout, max_bytes: self.max_bytes };
        let wire = Wire::new("New Relic", url, access, [], bounds)?.at_most(PER_MINUTE);
        let pace = Pace {
            step: self.step,
            settle: self.settle,
            stale_after: self.stale_after,
            together: TOGETHER,
        };
        Ok(Windows::new(NewRelic { wire, pace, account: self.account }))
    }
}

#[derive(Debug)]
struct NewRelic {
    wire: Wire,
    pace: Pace,
    account: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Option<Value>,
    #[serde(default)]
    errors: Vec<GraphError>,
}

#[derive(Debug, Deserialize)]
struct GraphError {
    #[serde(default)]
    message: String,
    #[serde(default)]
    path: Option<Vec<Value>>,
    #[serde(default)]
    extensions: Option<Extensions>,
}

#[derive(Debug, Deserialize)]
struct Extensions {
    #[serde(rename = "errorClass")]
    class: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Nrql {
    results: Option<Vec<Map<String, Value>>>,
    metadata: Option<Metadata>,
    #[serde(rename = "queryProgress")]
    progress: Option<Progress>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    messages: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Progress {
    #[serde(rename = "queryId")]
    id: Option<String>,
    completed: Option<bool>,
    /// Seconds.
    #[serde(rename = "retryAfter")]
    retry_after: Option<f64>,
}

/// What is known of one query.
enum Standing {
    Running { id: String, look_after: Option<f64> },
    Done(Result<Reply, FetchError>),
}

impl NewRelic {
    async fn all(&self, queries: &[String], window: Window) -> Vec<Result<Reply, FetchError>> {
        let deadline = self.wire.deadline();
        let texts: Vec<(usize, String)> =
            queries.iter().enumerate().map(|(n, query)| (n, with_time(query, window))).collect();
        let mut done: Vec<Option<Result<Reply, FetchError>>> = vec![None; queries.len()];
        let mut open = texts;
        let mut is_start = true;
        while !open.is_empty() {
            let standings = match self.look(&open, is_start, window, deadline).await {
                Ok(standings) => standings,
                Err(error) => {
                    for (place, _) in open {
                        done[place] = Some(Err(error.clone()));
                    }
                    break;
                }
            };
            is_start = false;
            let mut wait = LOOKS.0;
            let mut running = Vec::new();
            for ((place, _), standing) in open.into_iter().zip(standings) {
                match standing {
                    Standing::Done(result) => done[place] = Some(result),
                    Standing::Running { id, look_after } => {
                        let told = look_after.and_then(|s| Duration::try_from_secs_f64(s).ok());
                        wait = wait.max(told.unwrap_or(LOOKS.0)).min(LOOKS.1);
                        running.push((place, id));
                    }
                }
            }
            open = running;
            if !open.is_empty()
                && let Err(late) = self.wire.pause(wait, deadline).await
            {
                for (place, _) in open {
                    done[place] = Some(Err(late.clone()));
                }
                break;
            }
        }
        let missing = || FetchError::transient(format!("{} gave no result", self.wire.shown()));
        done.into_iter().map(|result| result.unwrap_or_else(|| Err(missing()))).collect()
    }

    /// Starts queries, or looks how far they are; one standing for each, in their order.
    async fn look(
        &self,
        open: &[(usize, String)],
        is_start: bool,
        window: Window,
        deadline: Instant,
    ) -> Result<Vec<Standing>, FetchError> {
        let places: Vec<usize> = open.iter().map(|(place, _)| *place).collect();
        let mut variables = Map::new();
        variables.insert("a".to_owned(), json!(self.account));
        variables.extend(open.iter().map(|(place, text)| (format!("q{place}"), json!(text))));
        let body = json!({ "query": document(&places, is_start), "variables": variables });
        let request = self.wire.post("graphql").json(&body);
        let answer: Answer = self.wire.ask(request, deadline).await.map_err(|r| r.error)?;
        let limited = |e: &GraphError| {
            let class = e.extensions.as_ref().and_then(|x| x.class.as_deref()).unwrap_or_default();
            class.contains("TOO_MANY") || class.contains("RATE_LIMIT")
        };
        if answer.errors.iter().any(limited) {
            self.wire.limits().refused();
        }
        let mut data = answer.data;
        let account = data.as_mut().and_then(|d| d.pointer_mut("/actor/account"));
        let mut account = match account {
            Some(Value::Object(fields)) => std::mem::take(fields),
            Some(_) | None => Map::new(),
        };
        Ok(places
            .iter()
            .map(|place| {
                let alias = format!("q{place}");
                let about = |e: &&GraphError| match &e.path {
                    Some(path) if path.len() > 2 => {
                        path.iter().any(|part| part.as_str() == Some(&alias))
                    }
                    Some(_) | None => true,
                };
                if let Some(error) = answer.errors.iter().find(about) {
                    let says = self.wire.says(&error.message);
                    let passes = limited(error) || error.message.to_lowercase().contains("timeout");
                    let text = says.text.clone();
                    return Standing::Done(Err(if passes {
                        FetchError::transient(text)
                    } else {
                        says
                    }));
                }
                let field = account.remove(&alias).unwrap_or(Value::Null);
                match serde_json::from_value::<Option<Nrql>>(field) {
                    Ok(Some(nrql)) => self.standing(nrql, window),
                    Ok(None) => Standing::Done(Err(FetchError::transient(format!(
                        "the answer of {} holds no result of a query",
                        self.wire.shown()
                    )))),
                    Err(error) => Standing::Done(Err(FetchError::permanent(format!(
                        "the answer of {} is not what it should be: {}",
                        self.wire.shown(),
                        self.wire.hide(&error.to_string())
                    )))),
                }
            })
            .collect())
    }

    fn standing(&self, nrql: Nrql, window: Window) -> Standing {
        if let Some(Progress { id: Some(id), completed, retry_after }) = nrql.progress
            && completed == Some(false)
        {
            return Standing::Running { id, look_after: retry_after };
        }
        let messages = nrql.metadata.and_then(|m| m.messages).unwrap_or_default();
        let lacks = ["partial", "incomplete", "exceed", "limit", "truncated"];
        let incomplete = messages
            .iter()
            .find(|text| lacks.iter().any(|word| text.to_lowercase().contains(word)))
            .map(|text| format!("{} says: {}", self.wire.shown(), self.wire.hide(text)));
        let rows = nrql.results.unwrap_or_default();
        let result = rows::series(&rows, window).map(|series| Reply { series, incomplete });
        Standing::Done(
            result.map_err(|text| FetchError::permanent(format!("{}: {text}", self.wire.shown()))),
        )
    }
}

impl Store for NewRelic {
    fn shown(&self) -> &str {
        self.wire.shown()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn usual(&self, kind: MeasureKind) -> Result<Source, String> {
        match kind {
            MeasureKind::Errors => Ok(Source::Query {
                bad: format!("{FROM} AND error IS TRUE"),
                total: FROM.to_owned(),
            }),
            MeasureKind::Latency => {
                let slower = |bound: &Duration| {
                    (*bound, format!("{FROM} AND duration > {}", bound.as_secs_f64()))
                };
                let slower = USUAL_THRESHOLDS.iter().map(slower).collect();
                Ok(Source::Slower { total: FROM.to_owned(), slower })
            }
            MeasureKind::NewErrors => Err(SPANS_TELL.to_owned()),
            MeasureKind::Vital(_) | MeasureKind::ScriptErrors => {
                Err(BROWSERS_TELL.to_owned())
            }
            MeasureKind::Restarts | MeasureKind::Gauge => Err(
                "New Relic has no usual place for this; write its query, e.g. `FROM K8sContainerSample SELECT \
                 average(memoryUsedBytes) WHERE label.version = '${version}'`"
                    .to_owned(),
            ),
        }
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        let plain = placeholders::without(value, &[], "NRQL")?;
        Ok(plain.replace('\\', "\\\\").replace('\'', "\\'"))
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        self.all(queries, window).boxed()
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        for query in super::queries(&measure.source) {
            placeholders::inside_strings(query, STRINGS)?;
            let refused =
                ["SINCE", "UNTIL", "TIMESERIES", "COMPARE", "SLIDE", "EXTRAPOLATE", "LIMIT"];
            if let Some(word) = refused.into_iter().find(|word| has_word(query, word)) {
                return Err(format!(
                    "`{query}` has `{word}`: write it without; the time is added, and counts must be exact and whole"
                ));
            }
            if !has_word(query, "SELECT") || !has_word(query, "FROM") || query.contains("--") {
                return Err(format!(
                    "`{query}` is no NRQL of the form `FROM ... SELECT count(*) ...`"
                ));
            }
        }
        Ok(())
    }

    fn limits(&self) -> Option<&Limits> {
        Some(self.wire.limits())
    }
}
