//! `spec.journeys` as YAML.

use rollout::journey::{Body, Expect, Journey, JsonRule, Request, Status, Take};
use serde_json::Value;

use super::{Page, percent, quoted, text};
use crate::config::units::show_duration;

/// Writes all journeys of a policy.
pub(super) fn write(page: &mut Page, journeys: &[Journey]) {
    page.note("Requests that Serin makes itself, to both versions in turn.");
    if journeys.is_empty() {
        return page.line(1, "journeys: []");
    }
    page.line(1, "journeys:");
    for journey in journeys {
        page.line(2, &format!("- name: {}", text(&journey.name)));
        page.line(3, &format!("every: {}", show_duration(journey.every)));
        page.line(3, &format!("timeout: {}", show_duration(journey.timeout)));
        let gate = journey.gate;
        page.line(3, &format!("gate: {gate} # pairs that must pass before any real traffic"));
        page.line(3, &format!("stretch: {}", percent(journey.stretch)));
        let variables = journey.variables.iter().map(|(name, value)| (&**name, text(value)));
        page.line(3, &format!("variables: {}", braces(variables)));
        page.line(3, "requests:");
        for request in &journey.requests {
            write_request(page, request);
        }
    }
}

fn write_request(page: &mut Page, request: &Request) {
    page.line(4, &format!("- {}: {}", request.method.key(), text(&request.path)));
    if !request.headers.is_empty() {
        let headers = request.headers.iter().map(|(name, value)| (&**name, text(value)));
        page.line(5, &format!("headers: {}", braces(headers)));
    }
    match &request.body {
        Body::Empty => {}
        Body::Text(body) => page.line(5, &format!("body: {}", quoted(body))),
        Body::Json(value) => page.line(5, &format!("json: {}", json(value))),
    }
    page.line(5, &format!("expect: {}", expect(&request.expect)));
    if !request.take.is_empty() {
        let taken = request.take.iter().map(|(name, take)| {
            let (kind, what) = match take {
                Take::Json(pointer) => ("json", pointer),
                Take::Header(name) => ("header", name),
                Take::Body(pattern) => ("body", pattern),
                Take::Cookie(name) => ("cookie", name),
            };
            (&**name, braces([(kind, text(what))].into_iter()))
        });
        page.line(5, &format!("take: {}", braces(taken)));
    }
}

fn expect(expect: &Expect) -> String {
    let statuses: Vec<String> = expect.status.iter().map(Status::to_string).collect();
    let mut entries = vec![("status", format!("[{}]", statuses.join(", ")))];
    entries.extend(expect.within.map(|within| ("within", show_duration(within))));
    if !expect.headers.is_empty() {
        let rules = expect.headers.iter().map(|(name, rule)| (&**name, text(&rule.to_string())));
        entries.push(("header", braces(rules)));
    }
    entries.extend(expect.body.as_ref().map(|rule| ("body", text(&rule.to_string()))));
    if !expect.json.is_empty() {
        let rules = expect.json.iter().map(|(pointer, rule)| {
            let rule = match rule {
                JsonRule::NotNull => "not null".to_owned(),
                JsonRule::Equals(value) => json(value),
                JsonRule::Matches(pattern) => text(&format!("~{pattern}")),
            };
            (&**pointer, rule)
        });
        entries.push(("json", braces(rules)));
    }
    braces(entries.into_iter())
}

/// JSON as YAML reads it; texts are quoted, so that none is taken for a number.
fn json(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(json).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => braces(entries.iter().map(|(key, value)| (&**key, json(value)))),
    }
}

fn braces<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> String {
    let entries: Vec<String> =
        entries.map(|(key, value)| format!("{}: {value}", text(key))).collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}
