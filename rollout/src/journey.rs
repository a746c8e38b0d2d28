//! Synthetic journeys: what is asked of both versions in turn, and what must come back.
//!
//! Plain values after the configuration has checked them. Who sends the requests and judges the answers is the
//! verifier; what the pairs say is `analysis::sequential::Paired`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The variable that every attempt has: its trace id, 32 hexadecimal digits, another one each time.
pub const ATTEMPT: &str = "attempt";

/// A sequence of requests that a user of the service might make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journey {
    /// Unique among the journeys and checks of a policy.
    pub name: String,
    /// Between the beginnings of two pairs, per deployment.
    pub every: Duration,
    /// One attempt that takes longer failed.
    pub timeout: Duration,
    /// Pairs that must pass before the canary gets any real traffic; 0 for no gate.
    pub gate: u32,
    /// How much longer the canary may take, e.g. 0.25; finite and at least 0.
    pub stretch: f64,
    /// Variables that are known from the beginning, by name.
    pub variables: BTreeMap<String, String>,
    /// In their order; at least one.
    pub requests: Vec<Request>,
}

/// One step of a journey. Texts may hold variables, `{{name}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Path and query, beginning with a slash.
    pub path: String,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
    /// What is sent.
    pub body: Body,
    /// What must come back.
    pub expect: Expect,
    /// What is kept for later requests, by the variable's name.
    pub take: BTreeMap<String, Take>,
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Method {
    /// Reads.
    Get,
    /// Adds.
    Post,
    /// Sets.
    Put,
    /// Removes.
    Delete,
    /// Reads headers only.
    Head,
    /// Changes.
    Patch,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Get, Self::Post, Self::Put, Self::Delete, Self::Head, Self::Patch];

    /// As in a request, in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Head => "HEAD",
            Self::Patch => "PATCH",
        }
    }

    /// As in a policy, in small letters.
    pub fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Head => "head",
            Self::Patch => "patch",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a request sends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// A text.
    Text(String),
    /// JSON, with `content-type: application/json` unless a header says otherwise. A string that is one variable
    /// and nothing else becomes the variable's value, also a number.
    Json(Value),
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// Any of these; at least one.
    pub status: Vec<Status>,
    /// How long the request may take, with its whole answer.
    pub within: Option<Duration>,
    /// Headers by name; of a header that comes several times any value will do.
    pub headers: BTreeMap<String, TextRule>,
    /// The body, without line breaks at its end.
    pub body: Option<TextRule>,
    /// Parts of a JSON body by JSON pointer (RFC 6901).
    pub json: BTreeMap<String, JsonRule>,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            status: vec![Status::Class(2)],
            within: None,
            headers: BTreeMap::new(),
            body: None,
            json: BTreeMap::new(),
        }
    }
}

/// A status or a class of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Exactly this one, 100 to 599.
    Code(u16),
    /// All that begin with this digit, 1 to 5.
    Class(u16),
}

impl Status {
    /// Whether `code` is meant.
    pub fn allows(self, code: u16) -> bool {
        match self {
            Self::Code(one) => code == one,
            Self::Class(class) => code / 100 == class,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// What a text must be. Shown as it is written in a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TextRule {
    /// Exactly this.
    Equals(String),
    /// This regular expression matches somewhere in it.
    Matches(String),
}

impl fmt::Display for TextRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals(text) => f.write_str(text),
            Self::Matches(pattern) => write!(f, "~{pattern}"),
        }
    }
}

/// What a part of a JSON document must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JsonRule {
    /// It is there and not null.
    NotNull,
    /// Exactly this.
    Equals(Value),
    /// A string, number or boolean in which this regular expression matches.
    Matches(String),
}

/// Where a variable's value is found in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Take {
    /// In the JSON body, by pointer: a string, number or boolean.
    Json(String),
    /// A header's value.
    Header(String),
    /// The one group of a regular expression in the body.
    Body(String),
    /// A cookie's value.
    Cookie(String),
}

/// A part of a text with variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Text(&'a str),
    /// The name of a variable.
    Variable(&'a str),
}

/// Bytes between braces: a name with some space around it.
const WIDEST: usize = 80;

/// The pieces of a text with variables, `/cart/{{user}}`. Braces without a name between them are text.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = vec![];
    let (mut rest, mut searched) = (text, 0);
    while let Some(open) = rest[searched..].find("{{").map(|at| searched + at) {
        let after = &rest[open + 2..];
        // Nothing longer is a name, and looking further would cost the square of many open braces.
        let near = &after[..after.floor_char_boundary(WIDEST)];
        let closed = near.find("}}").filter(|close| is_variable(after[..*close].trim()));
        let Some(close) = closed else {
            // The second brace may be the first of a pair.
            searched = open + 1;
            continue;
        };
        if open > 0 {
            pieces.push(Piece::Text(&rest[..open]));
        }
        pieces.push(Piece::Variable(after[..close].trim()));
        (rest, searched) = (&after[close + 2..], 0);
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// Whether a text can name a variable: letters, digits and underscores, no digit first, at most 64.
pub fn is_variable(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=64).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_are_found_in_texts() {
        use Piece::{Text, Variable};
        for (text, expected) in [
            ("", vec![]),
            ("/cart", vec![Text("/cart")]),
            ("{{id}}", vec![Variable("id")]),
            (
                "/c/{{ a }}/{{b_2}}?x",
                vec![Text("/c/"), Variable("a"), Text("/"), Variable("b_2"), Text("?x")],
            ),
            ("{{{a}}}", vec![Text("{"), Variable("a"), Text("}")]),
            ("{{a b}} {{", vec![Text("{{a b}} {{")]),
            ("{{7}}{{a}}", vec![Text("{{7}}"), Variable("a")]),
        ] {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }

    #[test]
    fn statuses_and_rules_are_shown_as_they_are_written() {
        assert!(Status::Class(2).allows(204) && !Status::Class(2).allows(304));
        assert!(Status::Code(201).allows(201) && !Status::Code(201).allows(200));
        assert_eq!(Status::Class(4).to_string(), "4xx");
        assert_eq!(TextRule::Matches("json".to_owned()).to_string(), "~json");
        assert_eq!(format!("{:6}|", Method::Get), "GET   |");
    }

    #[test]
    fn many_braces_take_no_time_and_lose_nothing() {
        let text = "{".repeat(5_000_000);
        assert_eq!(pieces(&text), [Piece::Text(&text)]);
    }

    proptest! {
        #[test]
        fn pieces_hold_the_whole_text(text in "[{}a1 é]{0,40}") {
            let whole: String = pieces(&text)
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.to_owned(),
                    Piece::Variable(name) => format!("{{{{{name}}}}}"),
                })
                .collect();
            prop_assert_eq!(whole.replace(' ', ""), text.replace(' ', ""));
        }
    }
}
