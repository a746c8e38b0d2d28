//! Spans in the formats that senders and stores write, as [`analysis_traces::Span`].
//!
//! Everything here is pure and bounded: a body and [`Limits`] go in, spans and counts of what was left out come
//! back. One file per format; `builder.rs` holds the limits for all of them, so that no format can forget one.
//! Real senders deviate from their own specifications, so what can be understood is taken: unknown fields are
//! passed over, numbers may be texts, and a span that cannot be used costs only itself.

mod any;
mod builder;
mod datadog;
mod ids;
mod jaeger;
mod json;
mod otlp_json;
mod otlp_protobuf;
mod refusals;
mod tempo;
#[cfg(test)]
mod tests;
mod texts;
mod unreadable;
mod wire;
mod zipkin;

use std::borrow::Cow;
use std::fmt;

use analysis_traces::Span;

use self::builder::Builder;

pub use refusals::Refusals;
pub use unreadable::Unreadable;

/// Bounds of one body and of what is decoded from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a body, packed and unpacked. The decoded spans take at most twice as much memory.
    pub max_bytes: usize,
    /// Most spans; further ones are counted.
    pub max_spans: usize,
    /// Most attributes of one span or resource; further ones are counted.
    pub max_attributes: usize,
    /// Most bytes of one name or value, a whole number of characters; stacks may take sixteen times as much.
    pub max_text: usize,
}

impl Default for Limits {
    /// 64 MiB as OTLP recommends, 200,000 spans, 64 attributes, 1,024 bytes and 16 KiB for a stack.
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1_024 * 1_024,
            max_spans: 200_000,
            max_attributes: 64,
            max_text: 1_024,
        }
    }
}

impl Limits {
    /// Most bytes of a stack trace: some hundred frames, far more than a fingerprint needs.
    pub(crate) fn max_stack(&self) -> usize {
        self.max_text.saturating_mul(16)
    }

    fn check(&self, body: &[u8]) -> Result<(), Unreadable> {
        let limit = self.max_bytes;
        if body.len() > limit { Err(Unreadable::TooLarge { limit }) } else { Ok(()) }
    }
}

/// What was in a body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decoded {
    /// The spans, in the order of the body.
    pub spans: Vec<Span>,
    /// What was left out or cut.
    pub refused: Refusals,
}

/// A format of spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// OpenTelemetry's `ExportTraceServiceRequest` or `TracesData` in Protobuf.
    OtlpProtobuf,
    /// The same in JSON, also as the collector's file exporter writes it.
    OtlpJson,
    /// Replies of Jaeger, `/api/v3` or the older `/api/traces`.
    Jaeger,
    /// Replies of Grafana Tempo, in JSON or Protobuf.
    Tempo,
    /// Lists of Zipkin v2.
    Zipkin,
    /// Replies of Datadog: a trace, a pruned trace, or a page of spans.
    Datadog,
}

impl Format {
    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtlpProtobuf => "OTLP in Protobuf",
            Self::OtlpJson => "OTLP in JSON",
            Self::Jaeger => "Jaeger",
            Self::Tempo => "Tempo",
            Self::Zipkin => "Zipkin v2",
            Self::Datadog => "Datadog",
        }
    }
}

impl Format {
    /// What a body of it is, for sentences.
    const fn whole(self) -> &'static str {
        match self {
            Self::OtlpProtobuf => "OTLP in Protobuf",
            Self::OtlpJson => "OTLP in JSON",
            Self::Jaeger => "a reply of Jaeger",
            Self::Tempo => "a reply of Tempo",
            Self::Zipkin => "a list of Zipkin v2",
            Self::Datadog => "a reply of Datadog",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Decodes `ExportTraceServiceRequest` or `TracesData` (opentelemetry-proto 1.10) in Protobuf.
///
/// # Errors
/// When the body is too large or is no such message; nothing of it is taken then.
pub fn otlp_protobuf(body: &[u8], limits: &Limits) -> Result<Decoded, Unreadable> {
    decode(body, limits, otlp_protobuf::walk)
}

/// Decodes the same in JSON, one document or several, one after the other.
///
/// # Errors
/// When the body is too large, or its first document is no JSON or no OTLP.
pub fn otlp_json(body: &[u8], limits: &Limits) -> Result<Decoded, Unreadable> {
    decode(body, limits, otlp_json::walk)
}

/// Decodes a reply of Jaeger's query service (2.19): `/api/v3/traces`, or the older `/api/traces`.
///
/// # Errors
/// When the body is too large, is no such reply, or holds an error of the store.
pub fn jaeger(body: &[u8], limits: &Limits) -> Result<Decoded, Unreadable> {
    decode(body, limits, jaeger::walk)
}

/// Decodes a reply of Tempo (3.0), `/api/traces/{id}` or `/api/v2/traces/{id}`, in JSON or Protobuf.
///
/// # Errors
/// When the body is too large, is no such reply, or holds an error of the store.
pub fn tempo(body: &[u8], limits: &Limits) -> Result<Decoded, Unreadable> {
    decode(body, limits, tempo::walk)
}

/// Decodes a reply or a report of Zipkin v2: a list of spans, or a list of such lists.
///
/// # Errors
/// When the body is too large or is no such list.
pub fn zipkin(body: &[u8], limits: &Limits) -> Result<Decoded, Unreadable> {
    decode(body, limits, zipkin::walk)
}

/// Decodes a reply of Datadog's API v2: `trace`, `pruned_trace`, or a page of `spans/events`.
///
/// # Errors
/// When the body is too large, is no such reply, or holds an error of the store.
pub fn datadog(body: &[u8], limits: &Limits) -> Result<Decoded, Unreadable> {
    decode(body, limits, datadog::walk)
}

/// Decodes whatever it is, unpacked when it is gzip, and says what it was.
///
/// # Errors
/// When the body is too large, empty, or in none of the formats; the text says what was found and what is accepted.
pub fn any(body: &[u8], limits: &Limits) -> Result<(Format, Decoded), Unreadable> {
    let body = unpacked(body, limits)?;
    any::walk(&body, limits)
}

/// The body itself, or what it holds when it is gzip, within the limit.
///
/// # Errors
/// When either is too large, or the gzip is broken.
pub(crate) fn unpacked<'b>(body: &'b [u8], limits: &Limits) -> Result<Cow<'b, [u8]>, Unreadable> {
    limits.check(body)?;
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(body));
    }
    crate::otlp::decode::gunzip(body, limits.max_bytes).map(Cow::Owned).map_err(Into::into)
}

fn decode(
    body: &[u8],
    limits: &Limits,
    walk: impl FnOnce(&[u8], &mut Builder<'_>) -> Result<(), Unreadable>,
) -> Result<Decoded, Unreadable> {
    limits.check(body)?;
    let mut builder = Builder::new(limits);
    walk(body, &mut builder)?;
    Ok(builder.done())
}
