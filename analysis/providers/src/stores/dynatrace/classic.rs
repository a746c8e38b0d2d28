//! The classic metrics API: one selector, one request.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::Deserialize;

use super::super::wire::Wire;
use super::super::{Reply, StoredSeries, Window, moment};
use crate::error::FetchError;

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    result: Vec<Metric>,
    #[serde(rename = "nextPageKey")]
    next: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Metric {
    #[serde(default)]
    data: Vec<Tuple>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Tuple {
    #[serde(rename = "dimensionMap", default)]
    dimensions: BTreeMap<String, Option<String>>,
    timestamps: Vec<serde_json::Number>,
    values: Vec<Option<f64>>,
}

/// Whether a selector yields counts.
pub(super) fn check(query: &str, is_gauge: bool) -> Result<(), String> {
    let ends = [":sum", ":count", ":value"].iter().any(|end| query.trim_end().ends_with(end));
    if query.contains(":splitBy(") && !query.contains(":limit(") && (is_gauge || ends) {
        return Ok(());
    }
    Err(format!(
        "`{query}` does not count: write `metric:filter(...):splitBy():sum` without `:limit()`, with the \
         instance's dimension in `splitBy` or nothing"
    ))
}

/// Runs one selector.
pub(super) async fn ask(wire: &Wire, query: &str, window: Window) -> Result<Reply, FetchError> {
    let minutes = window.step.as_secs() / 60;
    let request = wire.get("api/v2/metrics/query").query(&[
        ("metricSelector", query),
        ("resolution", &format!("{minutes}m")),
        ("from", &window.from.as_millisecond().to_string()),
        ("to", &window.to.as_millisecond().to_string()),
    ]);
    let answer: Answer = wire.ask(request, wire.deadline()).await.map_err(|r| r.error)?;
    let of_metrics = answer.result.iter().filter_map(|m| m.warnings.as_ref());
    let told = answer.warnings.iter().chain(of_metrics).flatten().next();
    let incomplete = told
        .map(|text| format!("{} warns: {}", wire.shown(), wire.hide(text)))
        .or_else(|| answer.next.map(|_| format!("{} has more pages than one", wire.shown())));
    let series = answer.result.iter().flat_map(|m| &m.data).map(|tuple| series(tuple, window));
    let series = series
        .collect::<Result<Vec<_>, _>>()
        .map_err(|text| FetchError::permanent(format!("{}: {}", wire.shown(), wire.hide(&text))))?;
    Ok(Reply { series, incomplete })
}

fn series(tuple: &Tuple, window: Window) -> Result<StoredSeries, String> {
    if tuple.timestamps.len() != tuple.values.len() {
        return Err("a series has other numbers of times and values".to_owned());
    }
    let step = SignedDuration::try_from(window.step).unwrap_or(SignedDuration::MAX);
    let mut points = Vec::with_capacity(tuple.values.len());
    for (at, value) in tuple.timestamps.iter().zip(&tuple.values) {
        // A point is marked by the end of its interval.
        let at = moment::of_millis(at).and_then(|end| end.checked_sub(step).ok());
        points.push((at.ok_or("a point of no year")?, *value));
    }
    let names: Vec<&str> = tuple.dimensions.values().flatten().map(String::as_str).collect();
    let instance = if names.is_empty() { None } else { Some(names.join(",")) };
    Ok(StoredSeries { instance, points })
}
