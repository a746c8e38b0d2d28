//! Graphite, and what speaks its render API (carbonapi, graphite-api, Grafana Cloud).
//!
//! A query is a target whose values are counts, e.g. of statsd. It is added up per interval by `summarize`, which
//! begins its intervals at multiples of the step as everything else here does; a raw counter needs
//! `nonNegativeDerivative(...)` inside, and a gauge its own `summarize(..., '${step}s', 'last')`. `maxDataPoints` is
//! never asked for: it would average counts. A target with several series needs `sumSeries`, or `aliasByTags` or
//! `aliasByNode` to name each process.
//!
//! API: `POST /render`, <https://graphite.readthedocs.io/en/1.1.10/render_api.html>, tried on graphite-web 1.1.8.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Number;

use crate::error::FetchError;
use crate::http::Access;
use crate::stores::attempt::{Base, Bounds, words};
use crate::stores::limits::Limits;
use crate::stores::windows::Windows;
use crate::stores::wire::whole_step;
use crate::stores::{Pace, Reply, Store, StoredSeries, Window, moment, placeholders};
use crate::subject::{BROWSERS_TELL, Measure, MeasureKind, SPANS_TELL, Source};

/// How a query is written.
const EXAMPLE: &str =
    "`sumSeries(seriesByTag('name=shop.requests', 'status=~5..', 'version=${version}'))`";

/// What must not be in a value: it would end a string or a node, or match other series.
const REFUSED: [char; 17] =
    ['\'', '"', '\\', '*', '?', '[', ']', '{', '}', '(', ')', ',', ';', ' ', '^', '$', '|'];

/// Where Graphite is and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphiteSettings {
    /// Its address, e.g. `http://graphite:8080`.
    pub url: String,
    /// How to be let in.
    pub access: Access,
    /// Length of an interval; whole seconds that divide an hour, and a multiple of the finest retention.
    pub step: Duration,
    /// How long after its end an interval is complete: one step of the retention and what relays take.
    pub settle: Duration,
    /// When the newest interval with data of an arm is so much older than the last complete one, the arm is
    /// stale.
    pub stale_after: Duration,
    /// Longest time for one request.
    pub timeout: Duration,
    /// Longest answer in bytes.
    pub max_bytes: usize,
}

impl GraphiteSettings {
    /// The defaults for a retention of one minute: intervals of 60 s, complete after 120 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            access: Access::default(),
            step: Duration::from_secs(60),
            settle: Duration::from_secs(120),
            stale_after: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
            max_bytes: 32 * 1_024 * 1_024,
        }
    }

    /// A source of observations; nothing is contacted.
    ///
    /// # Errors
    /// When the address, the access or the step is not valid; permanent.
    pub fn provider(self) -> Result<Windows, FetchError> {
        Graphite::new(self).map(Windows::new)
    }
}

/// A Graphite.
#[derive(Debug)]
pub(crate) struct Graphite {
    base: Base,
    limits: Limits,
    pace: Pace,
}

impl Graphite {
    /// Checks the settings; nothing is contacted.
    ///
    /// # Errors
    /// When the address, the access or the step is not valid; permanent.
    pub(crate) fn new(settings: GraphiteSettings) -> Result<Self, FetchError> {
        let GraphiteSettings { url, access, step, settle, stale_after, timeout, max_bytes } =
            settings;
        whole_step("Graphite", step)?;
        let base = Base::new("Graphite", &url, access, Bounds { timeout, max_bytes })?;
        // One query is one request: an answer does not tell whose its series are.
        let pace = Pace { step, settle, stale_after, together: 4 };
        Ok(Self { base, limits: Limits::new(None), pace })
    }

    async fn one(&self, query: &str, window: Window) -> Result<Reply, FetchError> {
        let request = self.base.client().post(self.base.at("render"));
        let request = request
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form(query, window));
        let answer = self.base.ask(&self.limits, request).await?;
        if !answer.status.is_success() {
            return Err(self.base.refused(&answer, &words(&answer)));
        }
        decode(&self.base, &answer.body, query, window)
    }

    /// The body of a request.
    fn form(&self, query: &str, window: Window) -> String {
        let mut url = self.base.url().clone();
        // Graphite leaves out the point at `from` itself and takes the one at `until`.
        let before = |at: jiff::Timestamp| (at.as_second() - 1).to_string();
        url.query_pairs_mut()
            .append_pair("target", &target(query, window))
            .append_pair("from", &before(window.from))
            .append_pair("until", &before(window.to))
            .append_pair("format", "json")
            // Else the same minute is answered out of a cache that was filled before it was complete.
            .append_pair("noCache", "1");
        url.query().unwrap_or_default().to_owned()
    }
}

impl Store for Graphite {
    fn shown(&self) -> &str {
        self.base.shown()
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn usual(&self, kind: MeasureKind) -> Result<Source, String> {
        let example = match kind {
            MeasureKind::Errors | MeasureKind::Latency | MeasureKind::Restarts => {
                EXAMPLE.to_owned()
            }
            MeasureKind::NewErrors => return Err(SPANS_TELL.to_owned()),
            MeasureKind::Vital(_) | MeasureKind::ScriptErrors => {
                return Err(BROWSERS_TELL.to_owned());
            }
            MeasureKind::Gauge => gauge(),
        };
        Err(format!(
            "Graphite has no usual names of metrics; write the queries into the policy, each like {example}"
        ))
    }

    fn quote(&self, value: &str) -> Result<String, String> {
        if value.is_empty() || value.starts_with(['~', '!']) {
            return Err(format!("the value {value:?} is no value of a tag; use another label"));
        }
        placeholders::without(value, &REFUSED, "Graphite")
    }

    fn ask<'a>(
        &'a self,
        queries: &'a [String],
        window: Window,
    ) -> BoxFuture<'a, Vec<Result<Reply, FetchError>>> {
        join_all(queries.iter().map(move |query| self.one(query, window))).boxed()
    }

    fn check(&self, measure: &Measure) -> Result<(), String> {
        placeholders::queries(measure, "Graphite")?
            .into_iter()
            .try_for_each(|query| check(query, measure.kind))
    }

    fn limits(&self) -> Option<&Limits> {
        Some(&self.limits)
    }
}

/// How a gauge is written.
fn gauge() -> String {
    "`summarize(averageSeries(shop.${version}.*.queue), '${step}s', 'last')`".to_owned()
}

/// Whether a query cuts its own intervals.
fn is_cut(query: &str) -> bool {
    query.trim_start().starts_with("summarize(")
}

/// The target that is asked for.
fn target(query: &str, window: Window) -> String {
    if is_cut(query) {
        return query.trim().to_owned();
    }
    // Not aligned to `from`: multiples of the step are what `window` has, whatever the retention begins with.
    format!("summarize({},'{}s','sum')", query.trim(), window.step.as_secs())
}

fn check(query: &str, kind: MeasureKind) -> Result<(), String> {
    let mut depth = 0_i32;
    let mut open: Option<char> = None;
    for c in query.chars() {
        if let Some(mark) = open {
            open = (c != mark).then_some(mark);
            continue;
        }
        match c {
            '\'' | '"' => open = Some(c),
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 || open.is_some() {
        return Err(format!(
            "the brackets or quotation marks of the query do not match; write it like {EXAMPLE}"
        ));
    }
    if ["maxDataPoints", "smartSummarize(", "hitcount("].iter().any(|part| query.contains(part)) {
        return Err(format!(
            "the query cuts intervals of its own; leave that to Serin or write summarize(..., '${{step}}s', 'sum') \
             around it, e.g. {EXAMPLE}"
        ));
    }
    if is_cut(query) && !query.contains("${step}s") {
        return Err(format!("summarize does not use the step; write it like {}", gauge()));
    }
    if kind == MeasureKind::Gauge && !is_cut(query) {
        return Err(format!("a gauge must not be added up over time; write it like {}", gauge()));
    }
    Ok(())
}

/// One series of an answer.
#[derive(Deserialize)]
struct Target {
    target: String,
    /// Value first.
    datapoints: Vec<(Option<f64>, Number)>,
}

/// Reads an answer with success as its status. An unknown metric is an empty list.
fn decode(base: &Base, body: &[u8], query: &str, window: Window) -> Result<Reply, FetchError> {
    let targets: Vec<Target> = serde_json::from_slice(body).map_err(|error| base.broken(&error))?;
    let named = query.contains("aliasBy") || query.contains("alias(");
    if targets.len() > 1 && !named {
        return Err(base.unreadable(format!(
            "the query has {} series; add them up with sumSeries(...) or name each process with \
             aliasByTags(..., 'pod') or aliasByNode(...)",
            targets.len()
        )));
    }
    let mut series = Vec::with_capacity(targets.len());
    for Target { target, datapoints } in targets {
        let mut points = Vec::with_capacity(datapoints.len());
        for (value, at) in datapoints {
            let moment = moment::of_seconds(&at);
            let moment = moment.ok_or_else(|| base.unreadable(format!("{at} is no moment")))?;
            points.push((moment, value));
        }
        let instance = named.then(|| inner(&target, window).to_owned());
        series.push(StoredSeries { instance, points });
    }
    Ok(Reply { series, incomplete: None })
}

/// The name that a series had before `summarize`, which writes itself around it: `summarize(c1, "60s", "sum")`.
fn inner(target: &str, window: Window) -> &str {
    let step = format!("{}s", window.step.as_secs());
    let cut = target.strip_prefix("summarize(").and_then(|rest| {
        let end = rest.rfind(&step)?;
        Some(rest[..end].trim_end_matches(['"', '\'', ' ', ',']))
    });
    cut.unwrap_or(target)
}

#[cfg(test)]
mod tests;
