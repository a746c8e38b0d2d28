//! DQL: a query is started, and its result is kept for a minute after it is there, so it is looked at often.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::wire::Wire;
use super::super::{Reply, StoredSeries, Window, moment};
use crate::error::FetchError;

/// Between two looks at a running query.
const LOOK: Duration = Duration::from_millis(300);

/// Series that are read at most.
const MOST_RECORDS: usize = 5_000;

#[derive(Debug, Deserialize)]
struct Answer {
    state: String,
    #[serde(rename = "requestToken")]
    token: Option<String>,
    result: Option<Outcome>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    #[serde(default)]
    records: Vec<Option<Map<String, Value>>>,
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    grail: Option<Grail>,
}

#[derive(Debug, Deserialize)]
struct Grail {
    #[serde(default)]
    notifications: Vec<Notification>,
    #[serde(default)]
    sampled: bool,
}

#[derive(Debug, Deserialize)]
struct Notification {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    message: String,
}

/// Whether DQL yields what is read.
pub(super) fn check(query: &str) -> Result<(), String> {
    if query.contains("samplingRatio") {
        return Err(format!(
            "`{query}` has `samplingRatio`: write it without; counts must be exact"
        ));
    }
    if query.split('|').any(|command| command.trim_start().starts_with("limit")) {
        return Err(format!(
            "`{query}` has `limit`: write it without; what it leaves out is missing"
        ));
    }
    let is_series =
        query.contains("makeTimeseries") || query.trim_start().starts_with("timeseries");
    if !is_series || !query.contains("count") || !query.contains("interval:") {
        return Err(format!(
            "`{query}` does not yield a series `count`; write `fetch ... | filter ... | makeTimeseries count = \
             count(), interval: ${{step}}s`"
        ));
    }
    Ok(())
}

/// Runs one query.
pub(super) async fn ask(wire: &Wire, query: &str, window: Window) -> Result<Reply, FetchError> {
    let deadline = wire.deadline();
    let millis = u64::try_from(wire.timeout().as_millis()).unwrap_or(u64::MAX);
    let body = json!({
        "query": query,
        "defaultTimeframeStart": window.from.to_string(),
        "defaultTimeframeEnd": window.to.to_string(),
        "timezone": "UTC",
        "requestTimeoutMilliseconds": millis.min(1_000),
        "maxResultRecords": MOST_RECORDS,
        "enablePreview": false,
    });
    let start = wire.post("platform/storage/query/v1/query:execute").json(&body);
    let mut answer: Answer = wire.ask(start, deadline).await.map_err(|r| r.error)?;
    let mut token = None;
    loop {
        match answer.state.as_str() {
            "SUCCEEDED" => break,
            "RUNNING" | "NOT_STARTED" => {}
            state => {
                let said = answer.error.as_ref().and_then(|e| e.get("message")?.as_str());
                let said = said.map(|text| format!(": {text}")).unwrap_or_default();
                return Err(wire.says(&format!("the query is {state}{said}")));
            }
        }
        token = answer.token.take().or(token);
        let Some(token) = &token else {
            return Err(wire.says("the query runs, and no token is there to ask for its result"));
        };
        wire.pause(LOOK, deadline).await?;
        let look = wire.get("platform/storage/query/v1/query:poll");
        let look = look.query(&[("request-token", token.as_str())]);
        answer = wire.ask(look, deadline).await.map_err(|r| r.error)?;
    }
    let outcome = answer.result.ok_or_else(|| {
        FetchError::transient(format!("the answer of {} holds no result", wire.shown()))
    })?;
    let grail = outcome.metadata.and_then(|m| m.grail);
    let incomplete = grail.as_ref().and_then(|grail| {
        let grave = |n: &&Notification| matches!(n.severity.as_str(), "WARN" | "WARNING" | "ERROR");
        let told = grail.notifications.iter().find(grave).map(|n| n.message.as_str());
        told.or(grail.sampled.then_some("the result is sampled"))
    });
    let incomplete = incomplete.map(|text| format!("{} says: {}", wire.shown(), wire.hide(text)));
    let too_many = outcome.records.len() >= MOST_RECORDS;
    let incomplete = incomplete.or_else(|| {
        too_many.then(|| format!("{} has more than {MOST_RECORDS} series", wire.shown()))
    });
    let series = outcome.records.iter().flatten().map(|record| series(record, window));
    let series = series
        .collect::<Result<Vec<_>, _>>()
        .map_err(|text| FetchError::permanent(format!("{}: {}", wire.shown(), wire.hide(&text))))?;
    Ok(Reply { series, incomplete })
}

/// A record `{"timeframe": {"start", "end"}, "interval": "60000000000", "count": ["3", null]}` as a series.
fn series(record: &Map<String, Value>, window: Window) -> Result<StoredSeries, String> {
    let missing = |name: &str| {
        format!(
            "a record without `{name}`; write `makeTimeseries count = count(), interval: ${{step}}s`"
        )
    };
    let start = record.get("timeframe").and_then(|t| t.get("start")?.as_str());
    let start = start.and_then(moment::of_text).ok_or_else(|| missing("timeframe"))?;
    let nanos = record.get("interval").and_then(number).ok_or_else(|| missing("interval"))?;
    let step = window.step.as_secs_f64() * 1e9;
    if (nanos - step).abs() > 1.0 {
        return Err(format!(
            "intervals of {} s instead of {} s",
            nanos / 1e9,
            window.step.as_secs()
        ));
    }
    let Some(Value::Array(values)) = record.get("count") else { return Err(missing("count")) };
    let step = SignedDuration::try_from(window.step).unwrap_or(SignedDuration::MAX);
    let mut points = Vec::with_capacity(values.len());
    let mut at = start;
    for value in values {
        let count = match value {
            Value::Null => None,
            Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => Some(number(value).ok_or("a count that is no number")?),
        };
        points.push((at, count));
        at = at.checked_add(step).map_err(|_| "an interval of no year".to_owned())?;
    }
    let instance = match record.get("instance") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(other) => Some(other.to_string()),
    };
    Ok(StoredSeries { instance, points })
}

/// Grail writes whole numbers as texts and others as numbers.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}
