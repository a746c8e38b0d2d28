//! Replies of Grafana Tempo for one trace, in JSON or Protobuf.
//!
//! `/api/v2/traces/{id}` answers `TraceByIDResponse` (`trace` 1, `metrics` 2, `status` 3, `message` 4), the older
//! `/api/traces/{id}` a `Trace`, which is OTLP's `TracesData`; in JSON its list is called `batches` or
//! `resourceSpans`. <https://grafana.com/docs/tempo/latest/api_docs/> and `pkg/tempopb/tempo.proto` (3.0).

use prost::DecodeError;
use serde_json::value::RawValue;

use super::builder::Builder;
use super::json::{documents, entries, mark, scalar, shape};
use super::wire::{Field, Fields};
use super::{Format, Unreadable, otlp_json, otlp_protobuf};

/// What a reply has.
const EXPECTED: &str = "an object with the key `trace`, `batches` or `resourceSpans`";

/// `PartialStatus::PARTIAL`.
const PARTIAL: u64 = 1;

/// Hands everything in a body to the builder.
pub(super) fn walk(body: &[u8], builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'{' | b'[')) && !is_protobuf(body) {
        return documents(body, Format::Tempo, builder, document);
    }
    protobuf(body, builder).map_err(|error| otlp_protobuf::unreadable(Format::Tempo, body, &error))
}

/// Hands a reply in JSON to the builder.
pub(super) fn document(raw: &RawValue, builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    let mut lists = Vec::new();
    let (mut is_empty, mut is_known, mut is_sound) = (true, false, true);
    let read = entries(raw, |key, value| {
        is_empty = false;
        match key {
            "batches" | "resourceSpans" | "resource_spans" => lists.push(value),
            "trace" if mark(value) == b'n' => is_known = true,
            "trace" => {
                is_known = true;
                let within = entries(value, |key, value| {
                    if matches!(key, "batches" | "resourceSpans" | "resource_spans") {
                        lists.push(value);
                    }
                });
                is_sound &= within.is_ok();
            }
            "status" => {
                let status = scalar(value);
                if status.text() == "PARTIAL" || status.count() == Some(PARTIAL) {
                    builder.refused.partial += 1;
                }
            }
            _ => {}
        }
    });
    is_sound &= read.is_ok() && (is_empty || is_known || !lists.is_empty());
    for list in lists {
        is_sound &= otlp_json::resource_spans(list, builder).is_ok();
    }
    if is_sound { Ok(()) } else { Err(shape(Format::Tempo, raw, EXPECTED)) }
}

/// Hands a reply in Protobuf to the builder.
pub(super) fn protobuf(body: &[u8], builder: &mut Builder<'_>) -> Result<(), DecodeError> {
    if !is_reply(body) {
        return otlp_protobuf::traces(body, builder);
    }
    for field in Fields::of(body) {
        match field? {
            (1, Field::Bytes(trace)) => otlp_protobuf::traces(trace, builder)?,
            (3, Field::Number(PARTIAL)) => builder.refused.partial += 1,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a body is a `TraceByIDResponse` rather than a trace by itself.
///
/// A trace's first field holds `ResourceSpans`, which have their spans in field 2; a reply's first field holds a
/// trace, which has nothing but field 1.
pub(super) fn is_reply(body: &[u8]) -> bool {
    let mut has_trace = false;
    for field in Fields::of(body) {
        match field {
            Ok((1, Field::Bytes(message))) => {
                has_trace = true;
                if !Fields::of(message).all(|field| matches!(field, Ok((1, Field::Bytes(_))))) {
                    return false;
                }
            }
            Ok((2..=4, _)) => {}
            Ok(_) | Err(_) => return false,
        }
    }
    has_trace || !body.is_empty()
}

/// Whether a body is OTLP or a reply in Protobuf as far as its frames show, and not JSON that begins with a newline.
pub(super) fn is_protobuf(body: &[u8]) -> bool {
    body.first() == Some(&0x0a)
        && Fields::of(body).all(|field| match field {
            Ok((1, Field::Bytes(message))) => Fields::of(message).all(|field| field.is_ok()),
            Ok((tag, _)) => tag <= 16,
            Err(_) => false,
        })
}
