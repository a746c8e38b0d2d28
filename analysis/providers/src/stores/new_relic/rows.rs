//! Rows of an NRQL result as series.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::stores::{StoredSeries, Window};

/// Rows `{"beginTimeSeconds": .., "endTimeSeconds": .., "count": .., "facet": ..}` as series.
pub(super) fn series(
    rows: &[Map<String, Value>],
    window: Window,
) -> Result<Vec<StoredSeries>, String> {
    let mut series: Vec<StoredSeries> = Vec::new();
    let mut places = std::collections::HashMap::new();
    let step = i64::try_from(window.step.as_secs()).unwrap_or(i64::MAX);
    for row in rows {
        let time = |name: &str| row.get(name).and_then(Value::as_i64);
        let (Some(begin), Some(end)) = (time("beginTimeSeconds"), time("endTimeSeconds")) else {
            return Err("a row without its time; the query must not have a TIMESERIES".to_owned());
        };
        if end.saturating_sub(begin) != step {
            return Err(format!("intervals of other than {step} s"));
        }
        let at = Timestamp::from_second(begin).map_err(|_| "a row of no year".to_owned())?;
        let instance = match row.get("facet") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Array(names)) => {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                Some(names.join(","))
            }
            Some(other) => Some(other.to_string()),
        };
        let place = *places.entry(instance.clone()).or_insert_with(|| {
            series.push(StoredSeries { instance, points: Vec::new() });
            series.len() - 1
        });
        series[place].points.push((at, value(row)?));
    }
    Ok(series)
}

/// The one number of a row that is no time.
fn value(row: &Map<String, Value>) -> Result<Option<f64>, String> {
    if let Some(count) = row.get("count") {
        return number(count);
    }
    let mut values = row.iter().filter(|(name, value)| {
        let is_time = matches!(name.as_str(), "beginTimeSeconds" | "endTimeSeconds" | "facet");
        !is_time && (value.is_number() || value.is_null())
    });
    match (values.next(), values.next()) {
        (Some((_, value)), None) => number(value),
        (None, _) => Err("a row without a number; the query must count".to_owned()),
        (Some((one, _)), Some((other, _))) => Err(format!(
            "a row with two numbers, `{one}` and `{other}`; write `AS 'count'` behind one"
        )),
    }
}

fn number(value: &Value) -> Result<Option<f64>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64()),
        Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            Err("a count that is no number".to_owned())
        }
    }
}
