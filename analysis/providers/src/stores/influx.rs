//! `InfluxDB`: 1 by `InfluxQL`, 2 by Flux, 3 by SQL.
//!
//! A query says which window it reads with `${from}` and `${to}`, literals of its language, and cuts it into
//! intervals of `${step}` seconds. Its answer has a moment (the start of an interval), a count, and for a query
//! that tells processes apart an instance:
//!
//! | | moment | count | instance |
//! |---|---|---|---|
//! | 1 | `time` | `count`, or the only other column | the tags that it groups by |
//! | 2 | `_time` or `time` | `_value` or `count` | `instance` |
//! | 3 | `time` | `count` | `instance` |
//!
//! APIs: 1 `GET /query` (<https://docs.influxdata.com/influxdb/v1/tools/api/>, tried on 1.6), 2
//! `POST /api/v2/query` (<https://docs.influxdata.com/influxdb/v2/api/v2/>, 2.7), 3 `POST /api/v3/query_sql`
//! (<https://docs.influxdata.com/influxdb3/core/api/query-data/>). A token that may only read is enough.

mod flux;
mod influxql;
mod sql;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::Timestamp;
use reqwest::RequestBuilder;
use reqwest::header::ACCEPT;
use serde_json::{Value, json};

use crate::error::FetchError;
use crate::http::{Access, Credentials, Secret};
use crate::stores::attempt::{Answer, Base, Bounds, words};
use crate::stores::limits::Limits;
use crate::stores::windows::Windows;
use crate::stores::wire::whole_step;
use crate::stores::{Pace, Reply, Store, StoredSeries, Window, placeholders};
use crate::subject::{Measure, MeasureKind, Source};

/// Which `InfluxDB` it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InfluxApi {
    /// 1.x, and what speaks its `/query`: queries in `InfluxQL`.
    V1 {
        /// The database.
        database: String,
    },
    /// 2.x and Cloud: queries in Flux.
    V2 {
        /// The organization.
        org: String,
    },
    /// 3 Core, Enterprise and Cloud: queries in SQL.
    V3 {
        /// The database.
        database: String,
    },
}

/// Where `InfluxDB` is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfluxSettings {
    /// Its address, e.g. `http://influxdb:8086`.
    pub url: String,
    /// Which `InfluxDB` it is.
    pub api: InfluxApi,
    /// How to be let in: user and password for 1, a token (`Bearer`) for 2 and 3.
    pub access: Access,
    /// Length of an interval; whole seconds that divide an hour.
    pub step: Duration,
    /// How long after its end an interval is complete.
    pub settle: Duration,
    /// When the newest interval with data of an arm is so much older than the last complete one, the arm is
    /// stale.
    pub stale_after: Duration,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
}

impl InfluxSettings {
    /// The defaults: intervals of 10 s, complete after 20 s.
    pub fn new(url: impl Into<String>, api: InfluxApi) -> Self {
        Self {
            url: url.into(),
            api,
            access: Access::default(),
            step: Duration::from_secs(10),
            settle: Duration::from_secs(20),
            stale_after: Duration::from_secs(120),
            timeout: Duration::from_secs(5),
            max_bytes: 32 * 1_024 * 1_024,
        }
    }

    /// A source of observations; nothing is contacted.
    ///
    /// # Errors
    /// When the address, the access or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        Influx::new(self).map(Windows::new)
    }
}

/// An `InfluxDB` of any version.
#[derive(Debug)]
pub(crate) struct Influx {
    base: Base,
    limits: Limits,
    api: InfluxApi,
    pace: Pace,
}

impl Influx {
    /// Checks the settings; nothing is contacted.
    ///
    /// # Errors
    /// When the address, the access or the step is not valid; permanent.
    pub(crate) fn new(settings: InfluxSettings) -> Result<Self, FetchError> {
        let InfluxSettings { url, api, mut access, step, settle, stale_after, timeout, max_bytes } =
            settings;
        let (InfluxApi::V1 { database: name }
        | InfluxApi::V2 { org: name }
        | InfluxApi::V3 { database: name }) = &api;
        if name.is_empty() {
            let what =
                if matches!(api, InfluxApi::V2 { .. }) { "organization" } else { "database" };
            return Err(FetchError::permanent(format!(
                "InfluxDB is not told its {what}; write it into serin.yaml"
            )));
        }
        whole_step("InfluxDB", step)?;
        let mut hidden = None;
        if let (InfluxApi::V2 { .. }, Credentials::Bearer(token)) = (&api, &access.credentials) {
            let header = Secret::new(format!("Token {}", token.expose()));
            hidden = Some(token.clone());
            access.headers.push(("Authorization".to_owned(), header));
            access.credentials = Credentials::None;
        }
        let base = Base::new("InfluxDB", &url, access, Bounds { timeout, max_bytes })?;
        // One query is one request.
        let pace = Pace { step, settle, stale_after, together: 4 };
        Ok(Self { base: base.hiding(hidden), limits: Limits::new(None), api, pace })
    }

    fn request(&self, query: &str, window: Window) -> RequestBuilder {
        let client = self.base.client();
        match &self.api {
            InfluxApi::V1 { database } => {
                let mut url = self.base.at("query");
                let query = influxql::fill(query, window);
                url.query_pairs_mut()
                    .append_pair("db", database)
                    .append_pair("q", &query)
                    .append_pair("epoch", "ms");
                client.get(url)
            }
            InfluxApi::V2 { org } => {
                let mut url = self.base.at("api/v2/query");
                url.query_pairs_mut().append_pair("org", org);
                let body = json!({
                    "query": flux::fill(query, window),
                    "type": "flux",
                    "dialect": {"header": true, "annotations": [], "dateTimeFormat": "RFC3339"},
                });
                client.post(url).header(ACCEPT, "application/csv").json(&body)
            }
            InfluxApi::V3 { database } => {
                let query = sql::fill(query, window);
                // Not by lines: a list that was cut short has no end, and shows it.
                let body = json!({"db": database, "q": query, "format": "json"});
                client.post(self.base.at("api/v3/query_sql")).json(&body)
            }
        }
    }

    async fn one(&self, query: &str, window: Window) -> Result<Reply, FetchError> {
        let answer = self.base.ask(&self.limits, self.request(query, window)).await?;
        if !answer.status.is_success() {
            return Err(self.base.refused(&answer, &told(&answer)));
        }
        match &self.api {
            InfluxApi::V1 { .. } => influxql::decode(&self.base, &answer.body),
            InfluxApi::V2 { .. } => flux::decode(&self.base, &answer.body),
            InfluxApi::V3 { .. } => sql::decode(&self.base, &answer.body),
        }
    }

    fn example(&self) -> &'static str {
        match self.api {
            InfluxApi::V1 { .. } => influxql::EXAMPLE,
            InfluxApi::V2 { .. } => flux::EXAMPLE,
            InfluxApi::V3 { .. } => sql::EXAMPLE,
        }
    }
}

impl Store for Influx {
    fn shown(&self) -> &str {
        self.base.shown()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn usual(&self, _kind: MeasureKind) -> Result<Source, String> {
        let example = self.example();
        Err(format!(
            "InfluxDB has no usual names of metrics; write the queries into the policy, each like {example}"
        ))
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        let value = placeholders::without(value, &[], "InfluxDB")?;
        Ok(match self.api {
            InfluxApi::V1 { .. } => influxql::escape(&value),
            InfluxApi::V2 { .. } => flux::escape(&value),
            InfluxApi::V3 { .. } => sql::escape(&value),
        })
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        join_all(queries.iter().map(move |query| self.one(query, window))).boxed()
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        placeholders::queries(measure, "InfluxDB")?.into_iter().try_for_each(|query| {
            placeholders::is_windowed(query, self.example())?;
            match self.api {
                InfluxApi::V1 { .. } => influxql::check(query),
                InfluxApi::V2 { .. } => flux::check(query),
                InfluxApi::V3 { .. } => sql::check(query),
            }
        })
    }

    fn limits(&self) -> Option<&Limits> {
        Some(&self.limits)
    }
}

/// `InfluxDB`'s own word in a refusal.
fn told(answer: &Answer) -> String {
    let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let text = |name: &str| value.as_ref()?.get(name)?.as_str().map(str::to_owned);
    text("message").or_else(|| text("error")).unwrap_or_else(|| words(answer))
}

/// Points of one series.
type Points = Vec<(Timestamp, Option<f64>)>;

/// Series out of rows, each of which says its instance.
fn series(rows: BTreeMap<Option<String>, Points>) -> Vec<StoredSeries> {
    rows.into_iter().map(|(instance, points)| StoredSeries { instance, points }).collect()
}

#[cfg(test)]
mod tests;
