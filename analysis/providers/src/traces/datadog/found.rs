//! What Datadog answers to a search of spans, to a count, and beside a trace.

use std::collections::{BTreeMap, HashMap};

use analysis_traces::Kept;
use serde::Deserialize;
use serde_json::Value;

/// A trace that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// As it was written: decimal or hexadecimal.
    id: String,
    /// The operation of the span that matched; may be empty.
    resource: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Vec<Event>>,
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(default)]
    attributes: Option<Attributes>,
}

#[derive(Debug, Deserialize)]
struct Attributes {
    #[serde(default)]
    trace_id: Option<String>,
    #[serde(default)]
    resource_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<Value>>,
}

/// Reads an answer: traces, each once, and what the store warns of.
pub(super) fn read(body: &[u8]) -> Result<(Vec<Found>, Vec<String>), serde_json::Error> {
    let Answer { data, meta } = serde_json::from_slice(body)?;
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for event in data.unwrap_or_default() {
        let Some(Attributes { trace_id: Some(id), resource_name }) = event.attributes else {
            continue;
        };
        let is_id = (1..=39).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_hexdigit());
        if is_id {
            let resource = resource_name.unwrap_or_default();
            // Ids are random in their last digits.
            let chance: String = id.chars().rev().collect();
            found.entry(chance).or_insert(Found { id, resource });
        }
    }
    let mut warned = Vec::new();
    if let Some(Meta { status, warnings }) = meta {
        warned.extend(status.filter(|status| status != "done"));
        warned.extend(warnings.unwrap_or_default().iter().map(|warning| {
            let said = |name| warning.get(name).and_then(Value::as_str);
            said("detail").or_else(|| said("title")).unwrap_or("a warning").to_owned()
        }));
    }
    Ok((found.into_values().collect(), warned))
}

/// The ids of at most `most`; of particular ones each operation in turn.
pub(super) fn choose(found: Vec<Found>, most: usize, kept: Kept) -> Vec<String> {
    let mut turns: HashMap<String, usize> = HashMap::new();
    let mut keyed: Vec<(usize, String)> = Vec::with_capacity(found.len());
    for Found { id, resource } in found {
        let turn = turns.entry(resource).or_default();
        *turn += usize::from(kept != Kept::Uniform);
        keyed.push((*turn, id));
    }
    keyed.sort_by_key(|(turn, _)| *turn);
    keyed.truncate(most);
    keyed.into_iter().map(|(_, id)| id).collect()
}

/// Whether a trace says that it is not whole.
pub(super) fn is_truncated(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Trace {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        attributes: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        is_truncated: bool,
    }
    serde_json::from_slice::<Trace>(body).is_ok_and(|trace| trace.data.attributes.is_truncated)
}

/// The counts of the baseline and of the canary; `None` where there is no number.
pub(super) fn counts(body: &[u8]) -> Result<[Option<u64>; 2], serde_json::Error> {
    #[derive(Deserialize)]
    struct Scalar {
        #[serde(default)]
        data: Option<Data>,
    }
    #[derive(Deserialize)]
    struct Data {
        attributes: Table,
    }
    #[derive(Deserialize)]
    struct Table {
        #[serde(default)]
        columns: Vec<Column>,
    }
    #[derive(Deserialize)]
    struct Column {
        #[serde(default, rename = "type")]
        kind: String,
        #[serde(default)]
        values: Vec<Value>,
    }
    let scalar: Scalar = serde_json::from_slice(body)?;
    let columns = scalar.data.map(|data| data.attributes.columns).unwrap_or_default();
    let mut numbers = columns.into_iter().filter(|column| column.kind == "number");
    let mut next = || numbers.next()?.values.first().and_then(whole);
    Ok([next(), next()])
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole, not negative, and below 2^53"
)]
fn whole(value: &Value) -> Option<u64> {
    let number = value.as_f64()?;
    (0.0..9e15).contains(&number).then(|| number.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_chosen_by_chance_or_by_operation() {
        let event = |id: &str, name: &str| {
            format!(r#"{{"attributes":{{"trace_id":"{id}","resource_name":"{name}"}}}}"#)
        };
        let events = [
            event("13", "a"),
            event("22", "a"),
            event("31", "a"),
            event("31", "a"),
            event("49", "b"),
        ];
        let body = format!(
            r#"{{"data":[{},{{}},{{"attributes":{{"trace_id":"../x"}}}}],"meta":{{"status":"timeout","warnings":[{{"title":"unknown index"}}]}}}}"#,
            events.join(",")
        );
        let (found, warned) = read(body.as_bytes()).unwrap();
        assert_eq!(warned, ["timeout", "unknown index"]);
        assert_eq!(choose(found.clone(), 3, Kept::Uniform), ["31", "22", "13"]);
        assert_eq!(choose(found, 2, Kept::Error), ["31", "49"]);
        assert_eq!(read(b"{}").unwrap(), (Vec::new(), Vec::new()));
    }

    #[test]
    fn counts_are_those_of_the_columns_with_numbers() {
        let body = |values: &str| {
            format!(
                r#"{{"data":{{"attributes":{{"columns":[{{"type":"group","values":[["a"]]}},{values}]}}}}}}"#
            )
        };
        let both = body(r#"{"type":"number","values":[950.0]},{"type":"number","values":[50]}"#);
        assert_eq!(counts(both.as_bytes()).unwrap(), [Some(950), Some(50)]);
        let none = body(r#"{"type":"number","values":[null]},{"type":"number","values":[]}"#);
        assert_eq!(counts(none.as_bytes()).unwrap(), [None, None]);
        assert_eq!(counts(b"{}").unwrap(), [None, None]);
        assert!(is_truncated(br#"{"data":{"attributes":{"is_truncated":true}}}"#));
        assert!(!is_truncated(b"[]"));
    }
}
