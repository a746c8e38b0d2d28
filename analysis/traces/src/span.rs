//! One span as any sender describes it, without the sender's wire format.
//!
//! Names follow OpenTelemetry's trace data model (specification 1.50). Text is shared (`Arc`), so that an intake
//! which interns its strings keeps a span in about a hundred bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A text that is no trace or span id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an id of a trace has 1 to 32 hexadecimal digits, an id of a span 1 to 16")]
pub struct BadId;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $number:ty, $digits:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $digits, "x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if text.is_empty() || text.len() > $digits || !is_hex {
                    return Err(BadId);
                }
                <$number>::from_str_radix(text, 16).map(Self).map_err(|_| BadId)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }
    };
}

id!(
    /// A trace's id; 32 hexadecimal digits when shown.
    TraceId, u128, 32
);
id!(
    /// A span's id, unique within its trace; 16 hexadecimal digits when shown.
    SpanId, u64, 16
);

/// The side of a call that a span describes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Work within a process, and whatever the sender did not say.
    #[default]
    Internal,
    /// A request that is answered.
    Server,
    /// A request that is sent.
    Client,
    /// A message that is sent.
    Producer,
    /// A message that is worked on.
    Consumer,
}

impl Kind {
    /// Whether it is the receiving side of a call.
    pub fn receives(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }

    /// Whether it is the sending side of a call.
    pub fn sends(self) -> bool {
        matches!(self, Self::Client | Self::Producer)
    }
}

/// How a span ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The sender did not say; counts as good.
    #[default]
    Unset,
    /// Good.
    Ok,
    /// Failed.
    Error,
}

/// The value of an attribute. Lists and maps come as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Text.
    Text(Arc<str>),
    /// A whole number.
    Integer(i64),
    /// Any other number, perhaps not finite.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

impl Value {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Number(_) | Self::Flag(_) => None,
        }
    }

    /// The number, if it is one and finite.
    #[expect(clippy::cast_precision_loss, reason = "sizes and counts are far below 2^53")]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Number(number) => Some(*number).filter(|number| number.is_finite()),
            Self::Text(_) | Self::Flag(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

/// Attributes by name; the first of a name counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(pub Vec<(Arc<str>, Value)>);

impl Attributes {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(of, _)| **of == *name).map(|(_, value)| value)
    }

    /// The text of the first of these names that is there and not empty.
    pub fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().filter_map(|name| self.get(name)?.text()).find(|text| !text.is_empty())
    }
}

impl<'a> FromIterator<(&'a str, Value)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (&'a str, Value)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

/// The process that sent a span; shared by all its spans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// `service.name`.
    pub service: Arc<str>,
    /// All other attributes of the resource.
    #[serde(default)]
    pub attributes: Attributes,
}

impl Resource {
    /// `service.version`, if the sender said one.
    pub fn version(&self) -> Option<&str> {
        self.attributes.text(&["service.version"])
    }

    /// The process or pod, by the first name that the sender gave.
    pub fn instance(&self) -> Option<&str> {
        self.attributes.text(&["service.instance.id", "k8s.pod.name", "host.name", "hostname"])
    }
}

/// An exception that a span recorded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Exception {
    /// `exception.type`; may be empty.
    pub kind: Arc<str>,
    /// `exception.message`; may be empty.
    pub message: Arc<str>,
    /// `exception.stacktrace`, in the format of the language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Arc<str>>,
}

/// One span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The span that caused it; `None` for the first of a trace.
    pub parent: Option<SpanId>,
    /// Who sent it.
    pub resource: Arc<Resource>,
    /// Which side of a call.
    #[serde(default)]
    pub kind: Kind,
    /// The sender's name for it.
    pub name: Arc<str>,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970; before `start` when clocks jump.
    pub end: u64,
    /// How it ended.
    #[serde(default)]
    pub status: Status,
    /// The status message, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Arc<str>>,
    /// Its attributes.
    #[serde(default)]
    pub attributes: Attributes,
    /// Exceptions among its events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<Exception>,
    /// How many traces it stands for when the sender kept only some; at least 1. See [`sampling_weight`].
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// How many traces a kept one stands for, from its `tracestate`: `2^56 / (2^56 - T)` with the threshold `T` of the
/// member `ot=th:` (OpenTelemetry, "`TraceState`: probability sampling", 1.50). 1 when nothing is said.
pub fn sampling_weight(tracestate: &str) -> f64 {
    let member = tracestate.split(',').find_map(|member| member.trim().strip_prefix("ot="));
    let Some(hex) = member
        .and_then(|ot| ot.split(';').find_map(|part| part.strip_prefix("th:")))
        .map(str::trim)
    else {
        return 1.0;
    };
    if hex.is_empty() || hex.len() > 14 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return 1.0;
    }
    let all = 1_u64 << 56;
    // Trailing zeros are left out by senders.
    let threshold = u64::from_str_radix(&format!("{hex:0<14}"), 16).unwrap_or(0).min(all - 1);
    crate::statistics::as_f64(all) / crate::statistics::as_f64(all - threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal() {
        assert_eq!("00ff".parse::<TraceId>(), Ok(TraceId(255)));
        assert_eq!(SpanId(255).to_string(), "00000000000000ff");
        for text in ["", "+1", "g", "0123456789abcdef0"] {
            assert_eq!(text.parse::<SpanId>(), Err(BadId), "{text}");
        }
        let json = serde_json::to_string(&TraceId(1)).unwrap();
        assert_eq!(serde_json::from_str::<TraceId>(&json).unwrap(), TraceId(1));
    }

    #[test]
    fn a_sampled_trace_stands_for_several() {
        for (tracestate, weight) in [
            ("", 1.0),
            ("ot=th:0", 1.0),
            ("vendor=x, ot=rv:1;th:c", 4.0),
            ("ot=th:8", 2.0),
            ("ot=th:zz", 1.0),
            ("ot=th:ffffffffffffffff", 1.0),
        ] {
            assert!((sampling_weight(tracestate) - weight).abs() < 1e-9, "{tracestate}");
        }
        assert!(sampling_weight("ot=th:ffffffffffffff").is_finite());
    }
}
