//! `InfluxDB` 1: `InfluxQL`, answered in JSON, with errors inside a success.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use crate::error::FetchError;
use crate::stores::attempt::Base;
use crate::stores::placeholders::{self, Strings};
use crate::stores::{Reply, StoredSeries, Window, moment};

/// How a query is written.
pub(super) const EXAMPLE: &str = "`SELECT SUM(\"requests\") AS \"count\" FROM \"http\" WHERE \"version\" = '${version}' \
     AND time >= ${from} AND time < ${to} GROUP BY time(${step}s)`";

/// Fills the window in. Moments are whole seconds, as every step is.
pub(super) fn fill(query: &str, window: Window) -> String {
    let moment = |at: jiff::Timestamp| format!("{}s", at.as_second());
    placeholders::fill(query, &moment(window.from), &moment(window.to))
}

/// A value for the inside of a string or a quoted name: both know the same escapes.
pub(super) fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "\\'").replace('"', "\\\"")
}

/// Checks a query without asking. The server would carry out a DROP too, even in a GET (tried on 1.6).
pub(super) fn check(query: &str) -> Result<(), String> {
    let word = |wanted: &'static str| move |word: &str| word.eq_ignore_ascii_case(wanted);
    let mut words = query.split_whitespace();
    if !words.next().is_some_and(word("select")) || words.any(word("into")) || query.contains(';') {
        return Err(format!(
            "the query is not one SELECT without INTO and without a semicolon; write it like {EXAMPLE}"
        ));
    }
    let marks = Strings { marks: &['\'', '"'], others: &[], backslash: true, comment: "--" };
    placeholders::inside_strings(query, marks)
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    results: Vec<Outcome>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    series: Vec<Series>,
    #[serde(default)]
    partial: bool,
    #[serde(default)]
    messages: Vec<Message>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    tags: BTreeMap<String, String>,
    columns: Vec<String>,
    #[serde(default)]
    values: Vec<Vec<Value>>,
    #[serde(default)]
    partial: bool,
}

/// Reads an answer with success as its status.
pub(super) fn decode(base: &Base, body: &[u8]) -> Result<Reply, FetchError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|error| base.broken(&error))?;
    let error = answer.results.iter().find_map(|outcome| outcome.error.clone()).or(answer.error);
    if let Some(error) = error {
        return Err(failed(base, &error));
    }
    let mut reply = Reply::default();
    let mut doubts: Vec<String> = Vec::new();
    let mut instances = HashSet::new();
    for outcome in answer.results {
        doubts.extend(outcome.messages.into_iter().map(|message| message.text));
        if outcome.partial || outcome.series.iter().any(|series| series.partial) {
            doubts.push("partial: true (max-row-limit)".to_owned());
        }
        for series in outcome.series {
            let read = read(base, &series)?;
            if !instances.insert(read.instance.clone()) {
                let whose = read.instance.map(|name| format!(" of the instance {name:?}"));
                return Err(base.unreadable(format!(
                    "it has two series{}; read one measurement and group by one tag",
                    whose.unwrap_or_default()
                )));
            }
            reply.series.push(read);
        }
    }
    reply.incomplete = (!doubts.is_empty())
        .then(|| format!("{} says: {}", base.shown(), base.hide(&doubts.join("; "))));
    Ok(reply)
}

/// An error of a query. Only what names a missing thing or a wrong query will not pass by itself.
fn failed(base: &Base, error: &str) -> FetchError {
    let text = format!("{} refused the query: {}", base.shown(), base.hide(error));
    let lasting = ["not found", "error parsing query", "invalid", "unsupported", "not authorized"];
    if lasting.iter().any(|part| error.contains(part)) {
        FetchError::permanent(text)
    } else {
        FetchError::transient(text)
    }
}

fn read(base: &Base, series: &Series) -> Result<StoredSeries, FetchError> {
    let column = |name: &str| series.columns.iter().position(|column| column == name);
    let time = column("time").ok_or_else(|| base.unreadable("it has no column \"time\""))?;
    let only = (series.columns.len() == 2).then_some(1 - time.min(1));
    let count = column("count").or(only).ok_or_else(|| {
        let columns = series.columns.join(", ");
        base.unreadable(format!("none of its columns {columns} is \"count\"; write AS \"count\""))
    })?;
    let mut points = Vec::with_capacity(series.values.len());
    for row in &series.values {
        let at = match row.get(time) {
            Some(Value::Number(at)) => moment::of_millis(at),
            _ => None,
        };
        let at = at.ok_or_else(|| base.unreadable("a row has no moment"))?;
        let value = match row.get(count) {
            Some(Value::Null) => None,
            Some(Value::Number(value)) => value.as_f64(),
            _ => return Err(base.unreadable("a row has no number as its count")),
        };
        points.push((at, value));
    }
    let names: Vec<&str> =
        series.tags.values().map(String::as_str).filter(|tag| !tag.is_empty()).collect();
    Ok(StoredSeries { instance: (!names.is_empty()).then(|| names.join(",")), points })
}
