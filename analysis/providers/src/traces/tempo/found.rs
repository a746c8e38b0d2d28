//! What a search of Tempo answers: traces by id, with the route of one request of each.

use std::collections::HashMap;

use analysis_traces::TraceId;
use serde::Deserialize;
use serde_json::Value;

/// A trace that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: TraceId,
    /// The route, or the name, of the request that matched; may be empty.
    pub(super) route: String,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    traces: Option<Vec<Trace>>,
    #[serde(default)]
    status: Option<Value>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    #[serde(rename = "traceID")]
    id: String,
    #[serde(default)]
    span_sets: Option<Vec<SpanSet>>,
    /// Before 2.3.
    #[serde(default)]
    span_set: Option<SpanSet>,
}

#[derive(Debug, Deserialize)]
struct SpanSet {
    #[serde(default)]
    spans: Option<Vec<Match>>,
}

#[derive(Debug, Deserialize)]
struct Match {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    attributes: Option<Vec<Attribute>>,
}

/// An attribute as OTLP writes it.
#[derive(Debug, Deserialize)]
pub(super) struct Attribute {
    #[serde(default)]
    pub(super) key: String,
    #[serde(default)]
    value: Value,
}

impl Attribute {
    /// Its text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        self.value.get("stringValue")?.as_str()
    }
}

/// Reads an answer: what was found, and the store's own word that it is not all.
pub(super) fn read(body: &[u8]) -> Result<(Vec<Found>, Option<String>), serde_json::Error> {
    let Answer { traces, status, message } = serde_json::from_slice(body)?;
    let found = traces.unwrap_or_default().into_iter().filter_map(|trace| {
        let id = trace.id.parse().ok()?;
        let sets = trace.span_sets.unwrap_or_default().into_iter().chain(trace.span_set);
        let first = sets.flat_map(|set| set.spans.unwrap_or_default()).next();
        Some(Found { id, route: first.map(route).unwrap_or_default() })
    });
    Ok((found.collect(), partial(status.as_ref(), message)))
}

/// The reason of an answer that is not whole: the status is a word or the number 1.
pub(super) fn partial(status: Option<&Value>, message: Option<String>) -> Option<String> {
    let is_partial = match status? {
        Value::String(word) => word.eq_ignore_ascii_case("PARTIAL"),
        Value::Number(number) => number.as_u64() == Some(1),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    };
    let message = message.filter(|message| !message.is_empty());
    is_partial.then(|| message.unwrap_or_else(|| "no reason".to_owned()))
}

fn route(of: Match) -> String {
    let attributes = of.attributes.unwrap_or_default();
    let said = |key: &str| attributes.iter().find(|one| one.key.ends_with(key))?.text();
    let route = said("http.route").or_else(|| said("name")).map(str::to_owned);
    route.or(of.name).unwrap_or_default()
}

/// At most `most`, of each route in turn, in the order in which they were found.
pub(super) fn choose(found: Vec<Found>, most: usize) -> Vec<Found> {
    if found.len() <= most {
        return found;
    }
    let mut turns: HashMap<String, usize> = HashMap::new();
    let mut keyed: Vec<(usize, Found)> = Vec::with_capacity(found.len());
    for one in found {
        let turn = turns.entry(one.route.clone()).or_default();
        *turn += 1;
        keyed.push((*turn, one));
    }
    keyed.sort_by_key(|(turn, _)| *turn);
    keyed.truncate(most);
    keyed.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_are_read_in_every_shape() {
        let body = br#"{"traces":[
            {"traceID":"2f","spanSets":[{"spans":[{"spanID":"1","name":"GET","attributes":[{"key":"http.route","value":{"stringValue":"/cart"}}]}],"matched":1}]},
            {"traceID":"30","spanSet":{"spans":[{"attributes":[{"key":"name","value":{"stringValue":"GET /pay"}}]}]}},
            {"traceID":"31","spanSets":[{}]}, {"traceID":"31","spanSets":null}, {"traceID":"no id"}
        ],"metrics":{"totalBlocks":13},"status":"PARTIAL","message":"a job failed"}"#;
        let (found, partial) = read(body).unwrap();
        let told: Vec<(u128, &str)> = found.iter().map(|one| (one.id.0, &*one.route)).collect();
        assert_eq!(told, [(0x2f, "/cart"), (0x30, "GET /pay"), (0x31, ""), (0x31, "")]);
        assert_eq!(partial.as_deref(), Some("a job failed"));
        assert_eq!(read(b"{}").unwrap(), (Vec::new(), None));
        assert!(read(b"{\"traces\":{}}").is_err());
    }

    #[test]
    fn routes_are_taken_in_turn() {
        let found = |id: u128, route: &str| Found { id: TraceId(id), route: route.to_owned() };
        let all = vec![found(1, "a"), found(2, "a"), found(3, "a"), found(4, "b")];
        let ids = |most| choose(all.clone(), most).iter().map(|one| one.id.0).collect::<Vec<_>>();
        assert_eq!(ids(2), [1, 4]);
        assert_eq!(ids(3), [1, 4, 2]);
        assert_eq!(ids(9), [1, 2, 3, 4]);
    }
}
