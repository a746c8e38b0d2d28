//! One answer, and whether it is what a journey expects.
//!
//! Reasons name what was expected and, of the answer, numbers and the media type only: they end up in alerts and
//! commit messages, where no answer of a service belongs.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use rollout::journey::{Expect, JsonRule, Status, Take, TextRule};
use serde_json::Value;

use super::Script;
use super::cookies::Cookies;
use super::fill::{Place, fill, filled, shown};

/// Bytes of a body that are read; what comes after is not waited for.
const LARGEST: usize = 1024 * 1024;

/// Bytes of a value that is kept as a variable.
const LONGEST_VARIABLE: usize = 4_096;

/// What rules are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// Compiled patterns.
    pub(super) script: &'a Script,
    /// What `{{name}}` stands for.
    pub(super) variables: &'a BTreeMap<String, Value>,
}

/// An answer as far as it is read.
pub(super) struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    /// Whether the body went on after what was read.
    cut: bool,
    /// Parsed when first asked for.
    json: OnceCell<Result<Value, String>>,
}

impl Answer {
    /// Status and headers.
    pub(super) fn head(response: &reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: vec![],
            cut: false,
            json: OnceCell::new(),
        }
    }

    /// Reads the body up to its bound.
    pub(super) async fn read(&mut self, mut response: reqwest::Response) -> Result<(), String> {
        let broken = |error: reqwest::Error| {
            format!("the answer broke off: {}", crate::chain(&error.without_url()))
        };
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            let room = LARGEST - self.body.len();
            self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                self.cut = true;
                break;
            }
        }
        Ok(())
    }

    /// The status, before the body is waited for.
    pub(super) fn check_status(&self, expect: &Expect) -> Result<(), String> {
        if expect.status.iter().any(|status| status.allows(self.status)) {
            return Ok(());
        }
        let expected: Vec<String> = expect.status.iter().map(Status::to_string).collect();
        Err(format!("expected status {}, got {}", expected.join(" or "), self.status))
    }

    /// Everything else that is expected; `took` is the time from the request to the end of its answer.
    pub(super) fn check(
        &self,
        expect: &Expect,
        known: Known<'_>,
        took: Duration,
    ) -> Result<(), String> {
        for (name, rule) in &expect.headers {
            self.check_header(name, rule, known)?;
        }
        if let Some(rule) = &expect.body {
            let body = self.text();
            if !fits(rule, body.trim_end_matches(['\r', '\n']), known)? {
                let bytes = self.body.len();
                return Err(format!("expected body {}, got {bytes} bytes of another", brief(rule)));
            }
        }
        for (pointer, rule) in &expect.json {
            self.check_json(pointer, rule, known)?;
        }
        match expect.within {
            Some(within) if took > within => {
                let took = took.as_secs_f64();
                Err(format!("expected an answer within {within:?}, it took {took:.3} s"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_header(&self, name: &str, rule: &TextRule, known: Known<'_>) -> Result<(), String> {
        let texts: Vec<Cow<'_, str>> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        for text in &texts {
            if fits(rule, text, known)? {
                return Ok(());
            }
        }
        let got = match texts.first() {
            None => "it is missing".to_owned(),
            Some(text) if CONTENT_TYPE == name => format!("got `{}`", cut(text)),
            Some(_) => "got another value".to_owned(),
        };
        Err(format!("expected header {name} {}, {got}", brief(rule)))
    }

    fn check_json(&self, pointer: &str, rule: &JsonRule, known: Known<'_>) -> Result<(), String> {
        let found = self.json()?.pointer(pointer);
        let fits = match rule {
            JsonRule::NotNull => found.is_some_and(|value| !value.is_null()),
            JsonRule::Equals(value) => {
                let value = filled(value, known.variables)?;
                found.is_some_and(|got| same(got, &value))
            }
            JsonRule::Matches(pattern) => found
                .filter(|value| is_single(value))
                .is_some_and(|value| known.script.is_match(pattern, &shown(value))),
        };
        if fits {
            return Ok(());
        }
        let expected = match rule {
            JsonRule::NotNull => "not null".to_owned(),
            JsonRule::Equals(value) => cut(&value.to_string()),
            JsonRule::Matches(pattern) => cut(&format!("~{pattern}")),
        };
        let got = match found {
            None => "it is missing".to_owned(),
            Some(Value::String(_)) => "got another text".to_owned(),
            Some(Value::Array(items)) => format!("got a list of {}", items.len()),
            Some(Value::Object(_)) => "got an object".to_owned(),
            Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => {
                format!("got {}", cut(&value.to_string()))
            }
        };
        Err(format!("expected {pointer} {expected}, {got}"))
    }

    /// What is kept as a variable.
    pub(super) fn take(
        &self,
        take: &Take,
        script: &Script,
        cookies: &Cookies,
    ) -> Result<Value, String> {
        let text = |text: &str| Value::String(text.to_owned());
        let value = match take {
            Take::Json(pointer) => match self.json()?.pointer(pointer) {
                Some(value) if is_single(value) => value.clone(),
                Some(_) => return Err(format!("{pointer} is no single value")),
                None => return Err(format!("{pointer} is missing")),
            },
            Take::Header(name) => {
                let value = self.headers.get(name).and_then(|value| value.to_str().ok());
                value.map(text).ok_or_else(|| format!("header {name} is missing"))?
            }
            Take::Body(pattern) => {
                let body = self.text();
                let found = script.patterns.get(pattern).and_then(|regex| regex.captures(&body));
                let group = found.and_then(|groups| groups.get(1));
                group
                    .map(|group| text(group.as_str()))
                    .ok_or_else(|| format!("~{} matches nowhere in the body", cut(pattern)))?
            }
            Take::Cookie(name) => {
                cookies.value(name).map(text).ok_or_else(|| format!("cookie {name} is missing"))?
            }
        };
        match value.as_str().map_or(0, str::len) {
            0..=LONGEST_VARIABLE => Ok(value),
            _ => Err(format!("it is longer than {LONGEST_VARIABLE} bytes")),
        }
    }

    fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    fn json(&self) -> Result<&Value, String> {
        let parsed = self.json.get_or_init(|| match serde_json::from_slice(&self.body) {
            Ok(value) => Ok(value),
            Err(_) if self.cut => Err(format!("the body is longer than {LARGEST} bytes of JSON")),
            Err(_) if self.body.is_empty() => Err("the body is empty, expected JSON".to_owned()),
            Err(_) => Err("the body is no JSON".to_owned()),
        });
        parsed.as_ref().map_err(String::clone)
    }
}

fn fits(rule: &TextRule, text: &str, known: Known<'_>) -> Result<bool, String> {
    match rule {
        TextRule::Equals(expected) => Ok(text == fill(expected, known.variables, Place::Text)?),
        TextRule::Matches(pattern) => Ok(known.script.is_match(pattern, text)),
    }
}

/// JSON does not tell 1 from 1.0; whole numbers are compared with all their digits.
fn same(got: &Value, expected: &Value) -> bool {
    match (got, expected) {
        (Value::Number(got), Value::Number(expected)) if got.is_f64() != expected.is_f64() => {
            got.as_f64() == expected.as_f64()
        }
        (got, expected) => got == expected,
    }
}

fn is_single(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

fn brief(rule: &TextRule) -> String {
    cut(&rule.to_string())
}

/// At most 60 characters on one line.
fn cut(text: &str) -> String {
    let mut characters = text.chars();
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let short: String = characters.by_ref().take(60).map(plain).collect();
    if characters.next().is_some() { short + "…" } else { short }
}
