//! `spec.journeys`: requests that Serin makes itself, to baseline and canary in turn.
//!
//! A variable that no earlier request takes, a pattern that does not compile or a pointer without its slash would
//! show only while a canary waits, as a failure of both versions. All of it is found here.

mod expect;

use std::collections::BTreeMap;
use std::time::Duration;

use analysis::{Check, NEW_ERRORS, RESTARTS, Test};
use rollout::journey::{ATTEMPT, Body, Expect, Journey, Method, Piece, Request, pieces};
use rollout::policy::EDGE;
use serde_json::Value;

use super::duration_within;
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong, near};
use crate::config::source::Span;
use crate::config::units::{self, Percent};
use crate::config::{defaults, values};
use crate::journey::RESERVED;

const EXPECTED: &str = "a list of journeys, e.g. [{ name: home, requests: [get: /] }]";

/// Journeys share the false-alarm probability with the checks, and each is load on the service.
const MOST_JOURNEYS: usize = 8;

/// A walk through a service by hand has fewer.
const MOST_REQUESTS: usize = 20;

/// Headers, variables or expectations of one request.
const MOST_ENTRIES: usize = 32;

/// Bytes of a body.
const LARGEST_BODY: usize = 64 * 1024;

/// More pairs than anybody waits for.
const MOST_PAIRS: u64 = 1_000;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_hours(1);
const LONGEST_ATTEMPT: Duration = Duration::from_mins(1);

/// The journeys, each with a name of its own among them and `checks`.
pub(super) fn read(at: &At<'_>, checks: &[Check]) -> Option<Vec<Journey>> {
    let items = at.list(EXPECTED)?;
    if items.len() > MOST_JOURNEYS {
        let hint = "keep the few without which the service is of no use";
        at.wrong(Wrong::new(format!("there are more than {MOST_JOURNEYS} journeys"), hint));
        return None;
    }
    let mut journeys: Vec<Journey> = vec![];
    for item in &items {
        let read = item.map("a journey, e.g. { name: home, requests: [get: /] }", journey);
        let Some(journey) = read.flatten() else {
            continue;
        };
        let name = &journey.name;
        let taken = |check: &Check| check.name == *name || check.reads == *name;
        let plain = [EDGE, RESTARTS, NEW_ERRORS, "errors", "latency"].contains(&&**name);
        if journeys.iter().any(|other| other.name == *name) {
            let hint = "give one of them another name";
            item.wrong(Wrong::new(format!("two journeys are named `{name}`"), hint));
        } else if plain || checks.iter().any(taken) {
            let hint = "give the journey another name";
            item.wrong(Wrong::new(format!("`{name}` is already the name of a check"), hint));
        } else {
            journeys.push(journey);
        }
    }
    Some(journeys)
}

/// What the engine is told of a journey: a check of its name.
pub(super) fn check(journey: &Journey) -> Check {
    let test = Test::Journey { stretch: journey.stretch, gate: journey.gate };
    Check { warm_up: Duration::ZERO, ..Check::new(&journey.name, test) }
}

fn journey(fields: &Fields<'_>) -> Option<Journey> {
    let name = fields.required("name", "name: buy");
    let name = name.and_then(|at| at.parse("a name", values::name));
    let every =
        fields.or("every", defaults::JOURNEY_EVERY, |at| duration_within(at, SHORTEST, LONGEST));
    let timeout = fields.or("timeout", defaults::JOURNEY_TIMEOUT, |at| {
        duration_within(at, SHORTEST, LONGEST_ATTEMPT)
    });
    let gate = fields.or("gate", defaults::JOURNEY_GATE, |at| {
        let pairs = at.parse("a number of pairs, e.g. 20", units::whole(0, MOST_PAIRS))?;
        u32::try_from(pairs).ok()
    });
    let stretch = fields.or("stretch", defaults::JOURNEY_STRETCH, |at| {
        at.parse("a percentage, e.g. 25%", |text| match Percent::parse(text)? {
            percent if percent <= Percent::whole(1_000) => Ok(percent),
            _ => Err(Wrong::new(
                format!("{} is out of range", quote(text)),
                "write at most 1000%, e.g. 25%",
            )),
        })
    });
    let variables = fields.or("variables", BTreeMap::new(), variables);
    let mut known: Vec<String> = variables.keys().cloned().chain([ATTEMPT.to_owned()]).collect();
    let requests = fields.required("requests", "requests: [get: /]");
    let requests = requests.and_then(|at| requests_of(&at, &mut known));
    let (name, requests) = (name?, requests?);
    Some(Journey { name, every, timeout, gate, stretch: stretch.share(), variables, requests })
}

fn variables(at: &At<'_>) -> Option<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (_, name, value) in few(at, "a map of variables, e.g. { user: ann }")? {
        if let Some(name) = variable(&value, name) {
            variables.extend(value.parse("a value", values::line).map(|value| (name, value)));
        }
    }
    Some(variables)
}

/// A name that a variable may be given.
fn variable(at: &At<'_>, name: &str) -> Option<String> {
    if name == ATTEMPT {
        let hint = "give it another name";
        at.wrong(Wrong::new("`attempt` is what Serin names each attempt", hint));
    } else if !rollout::journey::is_variable(name) {
        let hint = "names have letters, digits and underscores, e.g. cart_id";
        at.wrong(Wrong::new(format!("{} is not a name of a variable", quote(name)), hint));
    } else {
        return Some(name.to_owned());
    }
    None
}

/// The entries of a map, unless they are too many.
fn few<'a>(at: &At<'a>, expected: &str) -> Option<Vec<(Span, &'a str, At<'a>)>> {
    let entries = at.entries(expected)?;
    if entries.len() > MOST_ENTRIES {
        let message = format!("there are more than {MOST_ENTRIES} entries");
        at.wrong(Wrong::new(message, "keep those that matter"));
        return None;
    }
    Some(entries)
}

fn requests_of(at: &At<'_>, known: &mut Vec<String>) -> Option<Vec<Request>> {
    let items = at.list("a list of requests, e.g. [get: /]")?;
    if items.is_empty() || items.len() > MOST_REQUESTS {
        let message = format!("a journey has 1 to {MOST_REQUESTS} requests");
        at.wrong(Wrong::new(message, "write e.g. [get: /, get: /cart]"));
        return None;
    }
    let example = "a request, e.g. get: /cart";
    let read: Vec<_> =
        items.iter().map(|item| item.map(example, |fields| request(fields, known))?).collect();
    read.into_iter().collect()
}

fn request(fields: &Fields<'_>, known: &mut Vec<String>) -> Option<Request> {
    let at = fields.at();
    let method = method(fields).map(|(method, at)| {
        let path = at.parse("a path, e.g. /cart", path);
        check_variables(&at, path.as_deref().unwrap_or_default(), known);
        (method, path)
    });
    let headers = fields.or("headers", BTreeMap::new(), |at| headers(at, known));
    let (text, json) = (fields.get("body"), fields.get("json"));
    if let (Some(_), Some(json)) = (&text, &json) {
        json.wrong(Wrong::new("a request has one body, `body` or `json`", "keep one of them"));
    }
    let body = match (&json, &text) {
        (Some(at), _) => json_body(at, known),
        (None, Some(at)) => at.parse("a text", body).map(|text| {
            check_variables(at, &text, known);
            Body::Text(text)
        }),
        (None, None) => Some(Body::Empty),
    };
    let expect = fields.or("expect", Expect::default(), |at| {
        at.map("a map, e.g. { status: 200 }", |fields| expect::read(fields, known))
    });
    let take = fields.or("take", BTreeMap::new(), |at| expect::take(at, known));
    let (method, path) = method?;
    if method == Method::Head && (expect.body.is_some() || !expect.json.is_empty()) {
        at.wrong(Wrong::new("the answer to a HEAD request has no body", "write get instead"));
    }
    Some(Request { method, path: path?, headers, body: body?, expect, take })
}

/// The method, and where the path is.
fn method<'a>(fields: &Fields<'a>) -> Option<(Method, At<'a>)> {
    let found: Vec<(Method, At<'a>)> = Method::ALL
        .into_iter()
        .filter_map(|method| Some((method, fields.raw(method.key())?)))
        .collect();
    let all = Method::ALL.map(Method::key).join(", ");
    match &found[..] {
        [one] => return Some(one.clone()),
        [] if !fields.has_strangers() => {
            let hint = format!("write e.g. get: /cart; possible are {all}");
            fields.at().wrong(Wrong::new("the request has no method", hint));
        }
        [] => {}
        [(one, _), (other, _), ..] => {
            let message =
                format!("one request holds two methods, `{}` and `{}`", one.key(), other.key());
            let hint = "begin a new line with a hyphen for the second";
            fields.at().wrong(Wrong::new(message, hint));
        }
    }
    None
}

fn path(text: &str) -> Result<String, Wrong> {
    values::http_path(&sample(text)).map(|_| text.to_owned())
}

fn headers(at: &At<'_>, known: &[String]) -> Option<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    for (_, name, value) in few(at, "a map of headers, e.g. { accept: application/json }")? {
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&&*lower) {
            let hint = "leave it out; Serin sets it itself";
            value.wrong(Wrong::new(format!("the header {} is not free", quote(name)), hint));
            continue;
        }
        let name = values::header(&lower).map_err(|wrong| value.wrong(wrong)).ok();
        let text = value
            .parse("a value", |text| values::header_value(&sample(text)).map(|_| text.to_owned()));
        check_variables(&value, text.as_deref().unwrap_or_default(), known);
        let Some((name, text)) = name.zip(text) else {
            continue;
        };
        if headers.insert(name.clone(), text).is_some() {
            value.wrong(Wrong::new(format!("`{name}` is written twice"), "keep one of them"));
        }
    }
    Some(headers)
}

fn body(text: &str) -> Result<String, Wrong> {
    if text.len() > LARGEST_BODY {
        let message = format!("the body is longer than {LARGEST_BODY} bytes");
        return Err(Wrong::new(message, "shorten it"));
    }
    Ok(text.to_owned())
}

fn json_body(at: &At<'_>, known: &[String]) -> Option<Body> {
    let value = json(at, known)?;
    if let Err(wrong) = body(&value.to_string()) {
        at.wrong(wrong);
        return None;
    }
    Some(Body::Json(value))
}

/// A value of the file as JSON: what stands without quotes is a number, `true`, `false` or null where it looks so.
fn json(at: &At<'_>, known: &[String]) -> Option<Value> {
    if at.is_null() {
        return Some(Value::Null);
    }
    if at.is_list() {
        let items: Vec<_> = at.list("a list")?.iter().map(|item| json(item, known)).collect();
        return items.into_iter().collect::<Option<_>>().map(Value::Array);
    }
    if !at.is_text() {
        let entries = at.entries("a map")?;
        let entries: Vec<_> = entries
            .iter()
            .map(|(_, key, value)| Some(((*key).to_owned(), json(value, known)?)))
            .collect();
        return entries.into_iter().collect::<Option<_>>().map(Value::Object);
    }
    let text = at.text("a value")?;
    check_variables(at, text, known);
    let bare = is_bare(at, text).then(|| serde_json::from_str(text).ok()).flatten();
    Some(bare.unwrap_or_else(|| Value::String(text.to_owned())))
}

/// Whether a text stands in the file without quotes.
fn is_bare(at: &At<'_>, text: &str) -> bool {
    let span = at.span();
    at.source().text().get(span.start..span.end).is_some_and(|written| written.trim() == text)
}

/// The text with something in place of its variables, to look at the rest.
fn sample(text: &str) -> String {
    let shown = |piece| match piece {
        Piece::Text(text) => text,
        Piece::Variable(_) => "x",
    };
    pieces(text).into_iter().map(shown).collect()
}

/// Notes variables that nothing gives a value.
fn check_variables(at: &At<'_>, text: &str, known: &[String]) {
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    for piece in pieces(text) {
        match piece {
            Piece::Variable(name) if !names.contains(&name) => {
                let hint = match near(name, &names) {
                    Some(near) => format!("did you mean `{{{{{near}}}}}`?"),
                    None => format!(
                        "known are {}; others are written below `variables`, or taken by an earlier request",
                        names.join(", ")
                    ),
                };
                at.wrong(Wrong::new(format!("there is no variable `{name}` here"), hint));
                return;
            }
            Piece::Text(text) if text.contains("{{") => {
                let hint =
                    "write {{name}}, with letters, digits and underscores between the braces";
                at.wrong(Wrong::new("`{{` begins no variable", hint));
                return;
            }
            Piece::Variable(_) | Piece::Text(_) => {}
        }
    }
}
