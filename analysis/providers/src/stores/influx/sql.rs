//! `InfluxDB` 3: SQL, answered with a list of rows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Points, series};
use crate::error::FetchError;
use crate::stores::attempt::Base;
use crate::stores::placeholders::{self, Strings};
use crate::stores::{Reply, Window, moment};

/// How a query is written.
pub(super) const EXAMPLE: &str = "`SELECT date_bin(INTERVAL '${step} seconds', time) AS time, SUM(requests) AS count \
     FROM http WHERE version = '${version}' AND time >= ${from} AND time < ${to} GROUP BY 1`";

/// Fills the window in, as strings that SQL reads as moments.
pub(super) fn fill(query: &str, window: Window) -> String {
    placeholders::fill(query, &format!("'{}'", window.from), &format!("'{}'", window.to))
}

/// A value for the inside of a string.
pub(super) fn escape(value: &str) -> String {
    value.replace('\'', "''")
}

/// Checks a query without asking.
pub(super) fn check(query: &str) -> Result<(), String> {
    let marks = Strings { marks: &['\''], others: &['"'], backslash: false, comment: "--" };
    placeholders::inside_strings(query, marks)
}

/// Reads an answer with success as its status.
pub(super) fn decode(base: &Base, body: &[u8]) -> Result<Reply, FetchError> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| base.broken(&error))?;
    let Value::Array(list) = answer else {
        let error = answer.get("error").and_then(Value::as_str);
        return Err(error.map_or_else(
            || base.unreadable("it is no list of rows"),
            |error| {
                let (shown, error) = (base.shown(), base.hide(error));
                FetchError::permanent(format!("{shown} refused the query: {error}"))
            },
        ));
    };
    let mut rows: BTreeMap<Option<String>, Points> = BTreeMap::new();
    for row in &list {
        let cell = |name: &str| row.get(name).filter(|value| !value.is_null());
        let at = cell("time").and_then(Value::as_str).and_then(moment::of_text);
        let at = at.ok_or_else(|| base.unreadable("a row has no moment in \"time\""))?;
        let value = match row.get("count") {
            // A column without a value is left out of its row.
            None | Some(Value::Null) => None,
            Some(Value::Number(value)) => value.as_f64(),
            Some(_) => return Err(base.unreadable("a row has no number in \"count\"")),
        };
        let instance = cell("instance")
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        rows.entry(instance).or_default().push((at, value));
    }
    // Sums of nothing at all leave no count in any row; another column in its place has another name.
    let other = |name: &String| !matches!(name.as_str(), "time" | "count" | "instance");
    let has_other = |row: &Value| row.as_object().is_some_and(|row| row.keys().any(other));
    if list.iter().all(|row| row.get("count").is_none()) && list.iter().any(has_other) {
        return Err(base.unreadable("none of its columns is \"count\"; write AS count"));
    }
    Ok(Reply { series: series(rows), incomplete: None })
}
