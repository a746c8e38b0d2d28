//! What an answer must be, and what is kept of it.

use std::collections::BTreeMap;
use std::time::Duration;

use rollout::journey::{Expect, JsonRule, Status, Take, TextRule};

use super::super::duration_within;
use super::{LONGEST_ATTEMPT, check_variables, few, is_bare, json, variable};
use crate::config::problem::quote;
use crate::config::reader::{At, Fields, Wrong};
use crate::config::values;
use crate::journey::pattern;

/// Below it the clock is the noise.
const SHORTEST: Duration = Duration::from_millis(1);

/// Bytes of a regular expression.
const LONGEST_PATTERN: usize = 1_000;

/// Everything below `expect`.
pub(super) fn read(fields: &Fields<'_>, known: &[String]) -> Expect {
    Expect {
        status: fields.or("status", Expect::default().status, statuses),
        within: fields.get("within").and_then(|at| duration_within(&at, SHORTEST, LONGEST_ATTEMPT)),
        headers: fields.or("header", BTreeMap::new(), |at| headers(at, known)),
        body: fields.get("body").and_then(|at| rule(&at, known)),
        json: fields.or("json", BTreeMap::new(), |at| rules(at, known)),
    }
}

fn statuses(at: &At<'_>) -> Option<Vec<Status>> {
    const EXPECTED: &str = "a status, e.g. 200 or 2xx";
    if !at.is_list() {
        return at.parse(EXPECTED, status).map(|status| vec![status]);
    }
    let items = at.list("a list of statuses, e.g. [200, 404]")?;
    if items.is_empty() {
        let hint = "write e.g. 2xx, or leave it out";
        at.wrong(Wrong::new("no status at all would do", hint));
        return None;
    }
    let statuses: Vec<_> = items.iter().map(|item| item.parse(EXPECTED, status)).collect();
    statuses.into_iter().collect()
}

fn status(text: &str) -> Result<Status, Wrong> {
    let class = text.strip_suffix("xx").or(text.strip_suffix("XX"));
    let number = |text: &str, low, high| {
        text.parse::<u16>().ok().filter(|number| (low..=high).contains(number))
    };
    match class {
        Some(class) => number(class, 1, 5).map(Status::Class),
        None => number(text, 100, 599).map(Status::Code),
    }
    .ok_or_else(|| {
        let message = format!("{} is not a status of HTTP", quote(text));
        Wrong::new(message, "write a number from 100 to 599, or a class such as 2xx")
    })
}

fn headers(at: &At<'_>, known: &[String]) -> Option<BTreeMap<String, TextRule>> {
    let mut headers = BTreeMap::new();
    for (_, name, value) in few(at, "a map of headers, e.g. { content-type: ~json }")? {
        let name = values::header(&name.to_ascii_lowercase());
        let name = name.map_err(|wrong| value.wrong(wrong)).ok();
        headers.extend(name.zip(rule(&value, known)));
    }
    Some(headers)
}

/// A text, or `~` and a regular expression.
fn rule(at: &At<'_>, known: &[String]) -> Option<TextRule> {
    let text = at.text("a text, or a regular expression after a tilde, e.g. ~json")?;
    if text.starts_with('~') {
        return regex(at).map(TextRule::Matches);
    }
    check_variables(at, text, known);
    at.parse("a text", super::body).map(TextRule::Equals)
}

fn rules(at: &At<'_>, known: &[String]) -> Option<BTreeMap<String, JsonRule>> {
    let mut rules = BTreeMap::new();
    for (_, name, value) in few(at, "a map of JSON pointers, e.g. { /items/0/sku: not null }")? {
        let name = pointer(name).map_err(|wrong| value.wrong(wrong)).ok();
        rules.extend(name.zip(json_rule(&value, known)));
    }
    Some(rules)
}

fn json_rule(at: &At<'_>, known: &[String]) -> Option<JsonRule> {
    if at.is_text() {
        let text = at.text("a value")?;
        if text == "not null" && is_bare(at, text) {
            return Some(JsonRule::NotNull);
        }
        if text.starts_with('~') {
            return regex(at).map(JsonRule::Matches);
        }
    }
    json(at, known).map(JsonRule::Equals)
}

/// What is kept of an answer, by name; later requests know these names, also where something is wrong with them.
pub(super) fn take(at: &At<'_>, known: &mut Vec<String>) -> Option<BTreeMap<String, Take>> {
    let mut taken = BTreeMap::new();
    for (_, name, value) in few(at, "a map of variables, e.g. { id: { json: /id } }")? {
        known.push(name.to_owned());
        let name = variable(&value, name);
        taken.extend(name.zip(one(&value)));
    }
    Some(taken)
}

fn one(at: &At<'_>) -> Option<Take> {
    let expected = "json: /id, header: location, body: a regular expression with one group, or cookie: session";
    let (kind, value) = at.choice(expected, &["json", "header", "body", "cookie"], &[])?;
    match kind {
        "json" => value.parse("a JSON pointer, e.g. /id", pointer).map(Take::Json),
        "header" => {
            let name = |text: &str| values::header(&text.to_ascii_lowercase());
            value.parse("a name of a header", name).map(Take::Header)
        }
        "cookie" => value.parse("a name of a cookie", values::header).map(Take::Cookie),
        _ => group(&value).map(Take::Body),
    }
}

fn pointer(text: &str) -> Result<String, Wrong> {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && escaped {
        return Ok(text.to_owned());
    }
    let hint = if escaped {
        format!(
            "begin with a slash, e.g. /{}",
            text.trim_start_matches(['$', '.']).replace('.', "/")
        )
    } else {
        "within a name write ~1 for a slash and ~0 for a tilde".to_owned()
    };
    Err(Wrong::new(format!("{} is not a JSON pointer", quote(text)), hint))
}

fn regex(at: &At<'_>) -> Option<String> {
    at.parse("a regular expression", |text| compiled(at, text).map(|(text, _)| text))
}

/// A regular expression whose one group is what is kept.
fn group(at: &At<'_>) -> Option<String> {
    at.parse("a regular expression with one group", |text| {
        let (text, regex) = compiled(at, text)?;
        match regex.captures_len() - 1 {
            1 => Ok(text),
            groups => {
                let message = format!("{} has {groups} groups, and one is kept", quote(&text));
                let hint = "put what is to be kept into parentheses, e.g. id=([0-9]+); (?: ) groups without keeping";
                Err(Wrong::new(message, hint))
            }
        }
    })
}

/// The expression without its tilde, which may be left out where nothing else is possible.
fn compiled(at: &At<'_>, text: &str) -> Result<(String, regex::Regex), Wrong> {
    let text = text.strip_prefix('~').unwrap_or(text);
    if text.is_empty() {
        return Err(Wrong::new("the regular expression is empty", "write e.g. ~json"));
    }
    if text.len() > LONGEST_PATTERN {
        let message = format!("the regular expression is longer than {LONGEST_PATTERN} bytes");
        return Err(Wrong::new(message, "shorten it"));
    }
    if !at.source().allows_pattern() {
        let message = "the file holds more regular expressions than Serin compiles";
        return Err(Wrong::new(message, "keep those that matter, or write several files"));
    }
    match pattern(text) {
        Ok(regex) => Ok((text.to_owned(), regex)),
        Err(regex::Error::CompiledTooBig(_)) => {
            let message = format!("the regular expression {} becomes too large", quote(text));
            Err(Wrong::new(message, "repeat less of it, e.g. [0-9]+ instead of [0-9]{1,9999}"))
        }
        Err(error) => {
            // The last line says what is wrong, the others draw where.
            let told = error.to_string();
            let told = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("{} is not a regular expression: {told}", quote(text));
            let hint = "a backslash before a special character takes its meaning away";
            Err(Wrong::new(message, hint))
        }
    }
}
