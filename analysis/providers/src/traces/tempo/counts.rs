//! What `TraceQL` metrics answer to an instant query: a number for each version and status.
//!
//! `labels` tell the series (`promLabels` is gone since 3.0); numbers of 64 bits may be texts; where nothing was
//! counted there is no series, or NaN.

use serde::Deserialize;
use serde_json::Value;

use super::found::{Attribute, partial};

/// Requests of one arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// All.
    pub(super) all: u64,
    /// Those that failed.
    pub(super) failed: u64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    series: Option<Vec<Series>>,
    #[serde(default)]
    status: Option<Value>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Series {
    #[serde(default)]
    labels: Option<Vec<Attribute>>,
    /// Of an instant query.
    #[serde(default)]
    value: Value,
    /// Of a query over a range.
    #[serde(default)]
    samples: Option<Vec<Sample>>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    #[serde(default)]
    value: Value,
}

/// Reads an answer: the count, and the store's own word that it is not all.
pub(super) fn read(body: &[u8]) -> Result<(Counted, Option<String>), serde_json::Error> {
    let Answer { series, status, message } = serde_json::from_slice(body)?;
    let mut counted = Counted::default();
    for one in series.unwrap_or_default() {
        let samples = one.samples.unwrap_or_default();
        let count: u64 = samples
            .iter()
            .map(|sample| &sample.value)
            .chain([&one.value])
            .filter_map(number)
            .fold(0, u64::saturating_add);
        let labels = one.labels.unwrap_or_default();
        let is_failed = labels.iter().any(|label| {
            matches!(&*label.key, "status" | "span:status") && label.text() == Some("error")
        });
        counted.all = counted.all.saturating_add(count);
        if is_failed {
            counted.failed = counted.failed.saturating_add(count);
        }
    }
    Ok((counted, partial(status.as_ref(), message)))
}

/// A count, as a number or as a text.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole, not negative, and below 2^53"
)]
fn number(value: &Value) -> Option<u64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.parse().ok()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (number.is_finite() && (0.0..9e15).contains(&number)).then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_up_and_nothing_else_is() {
        let body = br#"{"series":[
            {"labels":[{"key":"resource.service.version","value":{"stringValue":"1.1"}},{"key":"status","value":{"stringValue":"error"}}],"value":17},
            {"labels":[{"key":"status","value":{"stringValue":"unset"}}],"value":"385"},
            {"labels":[],"samples":[{"timestampMs":"1","value":2.0},{"timestampMs":"2","value":"NaN"},{"value":-1}]},
            {"labels":null,"promLabels":"{}","value":1e300}, {}
        ],"metrics":{}}"#;
        assert_eq!(read(body).unwrap(), (Counted { all: 404, failed: 17 }, None));
        let (counted, partial) = read(br#"{"status":1}"#).unwrap();
        assert_eq!((counted, partial.as_deref()), (Counted::default(), Some("no reason")));
    }
}
