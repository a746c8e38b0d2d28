//! Elasticsearch: counts by ES|QL through `POST /_query`, of Elastic APM or of any index.
//!
//! API: <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-esql-query>, Elasticsearch 8.16 and
//! later.
//!
//! A query of a policy is ES|QL whose result has the columns `interval` (a date, the beginning of the interval) and
//! `count`, and `instance` if it groups by one:
//!
//! ```text
//! FROM traces-apm* | WHERE service.name == "${service}" AND service.version == "${version}"
//! | STATS count = COUNT(*) BY interval = DATE_TRUNC(${step} seconds, @timestamp), instance = host.name
//! ```
//!
//! The time is added as a filter on `@timestamp`. With head-based sampling the counts are those of sampled
//! transactions: fewer, but honest numbers, as both arms are sampled alike.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::Bounds;
use super::limits::Limits;
use super::placeholders::{self, Strings};
use super::windows::Windows;
use super::wire::{Wire, whole_step};
use super::{Pace, Reply, Store, StoredSeries, USUAL_THRESHOLDS, Window, moment};
use crate::error::FetchError;
use crate::http::{Access, Credentials, Secret};
use crate::subject::{BROWSERS_TELL, Measure, MeasureKind, SPANS_TELL, Source};

/// Rows that are asked for at most: ES|QL's own largest number by default.
const MOST_ROWS: usize = 10_000;

/// ES|QL writes texts in double quotes, with backslashes.
const STRINGS: Strings = Strings { marks: &['"'], others: &['`'], backslash: true, comment: "//" };

/// The transactions of one version.
const FROM: &str = "FROM traces-apm* | WHERE processor.event == \"transaction\" AND service.name == \"${service}\" AND \
                    service.version == \"${version}\"";

/// Counts them by interval.
const COUNT: &str =
    " | STATS count = COUNT(*) BY interval = DATE_TRUNC(${step} seconds, @timestamp)";

/// How Elasticsearch lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ElasticAccess {
    /// Everybody.
    Open,
    /// By an API key as Kibana shows it: `id:key` or already encoded.
    ApiKey(Secret),
    /// By user and password.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
}

/// Which Elasticsearch is asked and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElasticSettings {
    /// Its address, e.g. `https://elastic.example:9200`.
    pub url: String,
    /// How to be let in; needs the privilege `read` on the indices.
    pub access: ElasticAccess,
    /// Length of an interval: whole seconds that divide an hour.
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

impl ElasticSettings {
    /// The defaults: intervals of 20 s, complete after 60 s.
    pub fn new(url: impl Into<String>, access: ElasticAccess) -> Self {
        Self {
            url: url.into(),
            access,
            step: Duration::from_secs(20),
            settle: Duration::from_secs(60),
            stale_after: Duration::from_secs(300),
            timeout: Duration::from_secs(10),
            max_bytes: 16 * 1_024 * 1_024,
        }
    }

    /// A provider of these settings; Elasticsearch is not contacted.
    ///
    /// # Errors
    /// When the address, the access or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        whole_step("Elasticsearch", self.step)?;
        let mut hidden = Vec::new();
        let access = match self.access {
            ElasticAccess::Open => Access::default(),
            ElasticAccess::ApiKey(key) => {
                let plain = key.expose();
                let encoded =
                    if plain.contains(':') { STANDARD.encode(plain) } else { plain.to_owned() };
                let header = Secret::new(format!("ApiKey {encoded}"));
                hidden.extend([Secret::new(encoded), key]);
                Access { headers: vec![("Authorization".to_owned(), header)], ..Access::default() }
            }
            ElasticAccess::Basic { user, password } => {
                Access { credentials: Credentials::Basic { user, password }, ..Access::default() }
            }
        };
        let bounds = Bounds { timeout: self.timeout, max_bytes: self.max_bytes };
        let wire = Wire::new("Elasticsearch", &self.url, access, hidden, bounds)?;
        let pace = Pace {
            step: self.step,
            settle: self.settle,
            stale_after: self.stale_after,
            together: 1,
        };
        Ok(Windows::new(Elastic { wire, pace }))
    }
}

#[derive(Debug)]
struct Elastic {
    wire: Wire,
    pace: Pace,
}

#[derive(Debug, Deserialize)]
struct Table {
    columns: Vec<Column>,
    values: Vec<Vec<Value>>,
    #[serde(default)]
    is_partial: bool,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

/// The request for one query: the time is a filter, so that no text of the query has to be touched.
fn body(query: &str, window: Window) -> Value {
    let range = json!({ "gte": window.from.to_string(), "lt": window.to.to_string() });
    json!({
        "query": format!("{query}\n| LIMIT {MOST_ROWS}"),
        "filter": { "range": { "@timestamp": range } },
        "columnar": false,
    })
}

/// A table as series.
fn series(table: &Table) -> Result<Vec<StoredSeries>, String> {
    let place = |name: &str| table.columns.iter().position(|column| column.name == name);
    let (Some(interval), Some(count)) = (place("interval"), place("count")) else {
        let names: Vec<&str> = table.columns.iter().take(20).map(|c| c.name.as_str()).collect();
        return Err(format!(
            "the result has the columns {} and needs `interval` and `count`; write `STATS count = COUNT(*) BY \
             interval = DATE_TRUNC(${{step}} seconds, @timestamp)`",
            names.join(", ")
        ));
    };
    let instance = place("instance");
    let mut series: Vec<StoredSeries> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for row in &table.values {
        if row.len() != table.columns.len() {
            return Err("a row has other columns than the table".to_owned());
        }
        let at = row[interval].as_str().and_then(moment::of_text);
        let at =
            at.ok_or("`interval` is no date; write `DATE_TRUNC` or `BUCKET` on `@timestamp`")?;
        let value = match &row[count] {
            Value::Null => None,
            Value::Number(number) => number.as_f64(),
            Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return Err("`count` is no number".to_owned());
            }
        };
        let name = match instance.map(|at| &row[at]) {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(other) => Some(other.to_string()),
        };
        let place = *places.entry(name.clone()).or_insert_with(|| {
            series.push(StoredSeries { instance: name, points: Vec::new() });
            series.len() - 1
        });
        series[place].points.push((at, value));
    }
    Ok(series)
}

impl Elastic {
    async fn one(&self, query: &str, window: Window) -> Result<Reply, FetchError> {
        let deadline = self.wire.deadline();
        let request = self.wire.post("_query").query(&[("allow_partial_results", "false")]);
        let request = request.json(&body(query, window));
        let table: Table = self.wire.ask(request, deadline).await.map_err(|r| r.error)?;
        let shown = self.wire.shown();
        let incomplete = if table.is_partial {
            Some(format!("{shown} could not read every shard"))
        } else if table.values.len() >= MOST_ROWS {
            Some(format!("{shown} has more than {MOST_ROWS} rows; group by fewer instances"))
        } else {
            None
        };
        let series = series(&table)
            .map_err(|text| FetchError::permanent(format!("{shown}: {}", self.wire.hide(&text))))?;
        Ok(Reply { series, incomplete })
    }
}

impl Store for Elastic {
    fn shown(&self) -> &str {
        self.wire.shown()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn usual(&self, kind: MeasureKind) -> Result<Source, String> {
        let total = format!("{FROM}{COUNT}");
        match kind {
            MeasureKind::Errors => {
                let bad = format!("{FROM} AND event.outcome == \"failure\"{COUNT}");
                Ok(Source::Query { bad, total })
            }
            MeasureKind::Latency => {
                let slower = |bound: &Duration| {
                    let micros = bound.as_micros();
                    (*bound, format!("{FROM} AND transaction.duration.us > {micros}{COUNT}"))
                };
                Ok(Source::Slower { total, slower: USUAL_THRESHOLDS.iter().map(slower).collect() })
            }
            MeasureKind::NewErrors => Err(SPANS_TELL.to_owned()),
            MeasureKind::Vital(_) | MeasureKind::ScriptErrors => {
                Err(BROWSERS_TELL.to_owned())
            }
            MeasureKind::Restarts | MeasureKind::Gauge => Err(
                "Elasticsearch has no usual place for this; write ES|QL that yields the columns `interval` and \
                 `count`, e.g. `... | STATS count = AVG(system.memory.usage) BY interval = DATE_TRUNC(${step} \
                 seconds, @timestamp)`"
                    .to_owned(),
            ),
        }
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        let plain = placeholders::without(value, &[], "ES|QL")?;
        Ok(plain.replace('\\', "\\\\").replace('"', "\\\""))
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        join_all(queries.iter().map(move |query| self.one(query, window))).boxed()
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        for query in super::queries(&measure.source) {
            placeholders::inside_strings(query, STRINGS)?;
            if query.to_uppercase().split_whitespace().any(|word| word == "LIMIT") {
                return Err(format!(
                    "`{query}` has `LIMIT`: write it without; what it leaves out is missing"
                ));
            }
            let begins = query.trim_start();
            let is_source = ["FROM ", "TS ", "from ", "ts "].iter().any(|s| begins.starts_with(s));
            if !is_source || !query.contains("interval") || !query.contains("count") {
                return Err(format!(
                    "`{query}` does not yield the columns `interval` and `count`; write `FROM ... | WHERE ... | \
                     STATS count = COUNT(*) BY interval = DATE_TRUNC(${{step}} seconds, @timestamp)`"
                ));
            }
        }
        Ok(())
    }

    fn limits(&self) -> Option<&Limits> {
        Some(self.wire.limits())
    }
}
