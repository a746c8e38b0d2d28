//! Which format a body is, by its first bytes and its keys.
//!
//! People who have a file of spans rarely know what wrote it. Only the first document is looked at; the rest of a file
//! is of the same kind.

use serde_json::value::RawValue;

use super::builder::Builder;
use super::json::{described, documents, each_tag, entries, first_of, mark};
use super::{
    Decoded, Format, Limits, Refusals, Unreadable, datadog, jaeger, otlp_json, otlp_protobuf,
    tempo, zipkin,
};

/// Decodes an unpacked body.
pub(super) fn walk(body: &[u8], limits: &Limits) -> Result<(Format, Decoded), Unreadable> {
    let mut builder = Builder::new(limits);
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace() && **byte != 0xef);
    let format = if tempo::is_protobuf(body) {
        let format = if tempo::is_reply(body) { Format::Tempo } else { Format::OtlpProtobuf };
        tempo::protobuf(body, &mut builder)
            .map_err(|error| otlp_protobuf::unreadable(format, body, &error))?;
        format
    } else if let Some(messages) = otlp_protobuf::framed(body) {
        for message in messages {
            otlp_protobuf::walk(message, &mut builder)?;
        }
        Format::OtlpProtobuf
    } else {
        match first {
            None => return Err(Unreadable::Empty),
            Some(b'{' | b'[' | 0xbb) => json(body, &mut builder)?,
            // A first field that is broken further on.
            Some(_) if body.starts_with(&[0x0a]) => {
                otlp_protobuf::walk(body, &mut builder)?;
                Format::OtlpProtobuf
            }
            Some(_) => return Err(Unreadable::Unknown { found: shown(body) }),
        }
    };
    Ok((format, builder.done()))
}

fn json(body: &[u8], builder: &mut Builder<'_>) -> Result<Format, Unreadable> {
    let mut format = None;
    // A glance at the first document: nothing is taken yet.
    let looked = documents(body, Format::OtlpJson, builder, |raw, _| {
        format = format_of(raw);
        // One is enough; an error ends the reading.
        Err(Unreadable::Unknown { found: described(raw) })
    });
    builder.refused = Refusals::default();
    let Some(format) = format else {
        return Err(match looked {
            Err(Unreadable::Json { cause, .. }) => Unreadable::Unknown {
                found: format!("JSON that is broken or ends too early ({cause})"),
            },
            Err(error) => error,
            Ok(()) => Unreadable::Empty,
        });
    };
    match format {
        Format::Jaeger => jaeger::walk(body, builder)?,
        Format::Tempo => tempo::walk(body, builder)?,
        Format::Zipkin => zipkin::walk(body, builder)?,
        Format::Datadog => datadog::walk(body, builder)?,
        Format::OtlpJson | Format::OtlpProtobuf => otlp_json::walk(body, builder)?,
    }
    Ok(format)
}

/// Keys that tell formats apart.
const TELLING: [&str; 19] = [
    "resourceSpans",
    "resource_spans",
    "resourceMetrics",
    "resourceLogs",
    "trace",
    "batches",
    "result",
    "data",
    "processes",
    "traceID",
    "spans",
    "traceId",
    "id",
    "trace_id",
    "span_id",
    "spanID",
    "error",
    "errors",
    "attributes",
];

/// Those of the telling keys that an object has.
fn keys(raw: &RawValue) -> Option<Vec<&'static str>> {
    let mut found = Vec::new();
    let read = entries(raw, |key, _| {
        if let Some(key) = TELLING.iter().find(|telling| **telling == key)
            && !found.contains(key)
        {
            found.push(*key);
        }
    });
    read.ok().map(|()| found)
}

/// The format of a document, by its keys or those of its first element.
fn format_of(raw: &RawValue) -> Option<Format> {
    if mark(raw) == b'[' {
        let first = first_of(raw)?;
        let first = if mark(first) == b'[' { first_of(first)? } else { first };
        let is_list =
            |format: &Format| matches!(format, Format::Zipkin | Format::OtlpJson | Format::Datadog);
        return if mark(first) == b'{' { format_of(first).filter(is_list) } else { None };
    }
    let keys = keys(raw)?;
    let has = |some: &[&str]| some.iter().any(|key| keys.contains(key));
    if has(&["trace", "batches"]) {
        Some(Format::Tempo)
    } else if has(&["resourceSpans", "resource_spans", "resourceMetrics", "resourceLogs"]) {
        Some(Format::OtlpJson)
    } else if has(&["traceId"]) && has(&["id"]) {
        Some(Format::Zipkin)
    } else if has(&["data"]) {
        let mut content = None;
        each_tag(Some(raw), |key, value| {
            if key == "data" {
                content = Some(value);
            }
        });
        content.and_then(format_of_content)
    } else if has(&["result", "processes", "error"]) || (has(&["traceID"]) && has(&["spans"])) {
        Some(Format::Jaeger)
    } else if has(&["trace_id", "span_id", "spanID", "spans", "errors"]) {
        Some(Format::Datadog)
    } else {
        None
    }
}

/// What is below `data`: traces of Jaeger, or resources of Datadog.
fn format_of_content(content: &RawValue) -> Option<Format> {
    let one = match mark(content) {
        b'[' => first_of(content),
        b'{' => Some(content),
        _ => None,
    };
    // Without any Jaeger found nothing, or answers with errors beside it.
    let Some(one) = one else { return Some(Format::Jaeger) };
    let keys = keys(one)?;
    if keys.contains(&"attributes") {
        Some(Format::Datadog)
    } else if keys.iter().any(|key| matches!(*key, "traceID" | "processes" | "spans")) {
        Some(Format::Jaeger)
    } else {
        None
    }
}

/// The beginning of what is neither JSON nor Protobuf, in words.
pub(super) fn shown(body: &[u8]) -> String {
    let begin = &body[..body.len().min(40)];
    match str::from_utf8(super::builder::cut(body, 40)) {
        Ok(text)
            if !text.contains(|character: char| {
                character.is_control() && !character.is_whitespace()
            }) =>
        {
            let text: Vec<&str> = text.split_whitespace().collect();
            format!("text that begins with `{}`", text.join(" "))
        }
        Ok(_) | Err(_) => {
            let bytes: Vec<String> =
                begin.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("bytes that begin with {}", bytes.join(" "))
        }
    }
}
