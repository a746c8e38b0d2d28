//! Replies of Jaeger's query service: `/api/v3/traces` and the older `/api/traces`.
//!
//! The newer one is OTLP within `result`, all traces in one list
//! (<https://www.jaegertracing.io/docs/2.19/architecture/apis/>, `api_v3/query_service.proto`). The older one is what
//! its page shows and saves (`internal/uimodel/model.go`): times in microseconds, processes by name, and what
//! OpenTelemetry says in fields of its own said in tags
//! (<https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/>, 1.50).

use std::collections::HashMap;
use std::sync::Arc;

use analysis_traces::{Resource, Status};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::builder::{Builder, Draft, Found};
use super::ids::Ids;
use super::json::{
    self, Scalar, described, documents, each_of, each_tag, elements, entries, first_of, mark,
    scalar, shape,
};
use super::{Format, Unreadable, otlp_json};
use crate::otlp::json::leaf;

/// What a reply has.
const EXPECTED: &str =
    "`{\"result\":{\"resourceSpans\":[...]}}` or `{\"data\":[{\"traceID\":...,\"spans\":[...]}]}`";

/// Nanoseconds of a microsecond.
const MICROSECOND: u32 = 1_000;

/// Hands everything in a body to the builder.
pub(super) fn walk(body: &[u8], builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    documents(body, Format::Jaeger, builder, document)
}

/// Hands a reply to the builder.
pub(super) fn document(raw: &RawValue, builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    let (mut result, mut list, mut traces, mut errors) = (None, None, None, None);
    let mut is_trace = false;
    let read = entries(raw, |key, value| match key {
        "result" => result = Some(value),
        "resourceSpans" | "resource_spans" => list = Some(value),
        "data" => traces = Some(value),
        "spans" => is_trace = true,
        "error" | "errors" if !matches!(value.get(), "null" | "[]") => errors = Some(value),
        _ => {}
    });
    let wrong = || shape(Format::Jaeger, raw, EXPECTED);
    read.map_err(|_| wrong())?;
    let before = builder.spans.len();
    let taken = if is_trace {
        trace(raw, builder);
        Ok(())
    } else if let Some(result) = result {
        let within = entries(result, |key, value| {
            if matches!(key, "resourceSpans" | "resource_spans") {
                list = Some(value);
            }
        });
        within.and_then(|()| list.map_or(Ok(()), |list| otlp_json::resource_spans(list, builder)))
    } else if let Some(list) = list {
        otlp_json::resource_spans(list, builder)
    } else if let Some(traces) = traces.filter(|traces| mark(traces) == b'[') {
        elements(traces, |raw| trace(raw, builder))
    } else if errors.is_some() || traces.is_some() {
        Ok(())
    } else {
        Err(String::new())
    };
    taken.map_err(|_| wrong())?;
    let Some(errors) = errors else { return Ok(()) };
    if builder.spans.len() > before {
        // The older API lists the traces that it did not find beside those that it did.
        builder.refused.partial += 1;
        return Ok(());
    }
    Err(Unreadable::Refused { format: Format::Jaeger, said: said(errors) })
}

/// The words of an error: `{"message":..}` or `[{"msg":..}]`.
fn said(errors: &RawValue) -> String {
    let first = first_of(errors).unwrap_or(errors);
    let mut words = scalar(first).text().to_owned();
    each_tag(Some(first), |key, value| {
        if matches!(key, "message" | "msg") {
            scalar(value).text().clone_into(&mut words);
        }
    });
    if words.is_empty() { described(first) } else { crate::error::bounded(words) }
}

#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(borrow, default)]
    spans: Option<&'a RawValue>,
    #[serde(borrow, default)]
    processes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct SpanMessage<'a> {
    #[serde(borrow, default, rename = "traceID")]
    trace: Scalar<'a>,
    #[serde(borrow, default, rename = "spanID")]
    id: Scalar<'a>,
    #[serde(borrow, default, rename = "parentSpanID")]
    parent: Scalar<'a>,
    #[serde(borrow, default, rename = "operationName")]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    references: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "startTime")]
    start: Scalar<'a>,
    #[serde(borrow, default)]
    duration: Scalar<'a>,
    #[serde(borrow, default)]
    tags: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logs: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "processID")]
    process_id: Scalar<'a>,
    #[serde(borrow, default)]
    process: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Process<'a> {
    #[serde(borrow, default, rename = "serviceName")]
    service: Scalar<'a>,
    #[serde(borrow, default)]
    tags: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default, rename = "refType")]
    kind: Scalar<'a>,
    #[serde(borrow, default, rename = "traceID")]
    trace: Scalar<'a>,
    #[serde(borrow, default, rename = "spanID")]
    span: Scalar<'a>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, default)]
    key: Scalar<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Scalar<'a>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(borrow, default)]
    fields: Option<&'a RawValue>,
}

fn trace(raw: &RawValue, builder: &mut Builder<'_>) {
    let Ok(message) = leaf::<Trace<'_>>(raw) else {
        builder.refused.malformed += 1;
        return;
    };
    let mut processes = HashMap::new();
    let broken = each_tag(message.processes, |id, raw| {
        // A name without a process takes more memory than it took in the body.
        if builder.has_room() && processes.len() < builder.limits.max_spans {
            processes.insert(id.to_owned(), process(raw, builder));
        }
    });
    builder.refused.attributes += broken;
    each_of(message.spans, |raw| span(raw, &processes, builder));
}

fn process(raw: &RawValue, builder: &mut Builder<'_>) -> Arc<Resource> {
    builder.begin();
    if let Ok(process) = leaf::<Process<'_>>(raw) {
        if !process.service.text().is_empty() {
            builder.attribute(b"service.name", Found::Text(process.service.text().as_bytes()));
        }
        let broken = each_field(process.tags, |tag| attribute(tag, builder));
        builder.refused.attributes += broken;
    }
    builder.resource()
}

fn span(raw: &RawValue, processes: &HashMap<String, Arc<Resource>>, builder: &mut Builder<'_>) {
    if !builder.next() {
        return;
    }
    let Ok(message) = leaf::<SpanMessage<'_>>(raw) else {
        builder.refused.malformed += 1;
        return;
    };
    let resource = match (processes.get(message.process_id.text()), message.process) {
        (Some(known), _) => Arc::clone(known),
        (None, Some(raw)) => process(raw, builder),
        (None, None) => builder.resource(),
    };
    let mut said = Said::default();
    let broken = each_field(message.tags, |tag| {
        if !said.takes(tag) {
            attribute(tag, builder);
        }
    });
    builder.refused.attributes += broken;
    each_of(message.logs, |raw| log(raw, builder));
    let start = message.start.nanoseconds(MICROSECOND).filter(|start| *start > 0);
    let duration = message.duration.nanoseconds(MICROSECOND);
    let parent = parent(&message);
    let draft = Draft {
        ids: Ids::of_hex(message.trace.text(), message.id.text(), &parent),
        name: message.name.text().as_bytes(),
        kind: otlp_json::kind_of(&said.kind),
        start,
        end: start.zip(duration).and_then(|(start, duration)| start.checked_add(duration)),
        status: said.status,
        message: said.message.text().as_bytes(),
        tracestate: said.tracestate.text(),
    };
    builder.finish(&resource, &draft);
}

/// The first span that it is a child of, else the first that it follows from, else the older field; empty for none.
fn parent(message: &SpanMessage<'_>) -> String {
    let (mut child_of, mut follows_from) = (None, None);
    each_of(message.references, |raw| {
        let Ok(reference) = leaf::<Reference<'_>>(raw) else { return };
        // A span of another trace is a link.
        let trace = reference.trace.text();
        if !trace.is_empty() && trace != message.trace.text() {
            return;
        }
        let place = match reference.kind.text() {
            "CHILD_OF" => &mut child_of,
            "FOLLOWS_FROM" => &mut follows_from,
            _ => return,
        };
        place.get_or_insert_with(|| reference.span.text().to_owned());
    });
    child_of.or(follows_from).unwrap_or_else(|| message.parent.text().to_owned())
}

/// What OpenTelemetry says in fields of their own and Jaeger in tags.
#[derive(Default)]
struct Said<'a> {
    kind: Scalar<'a>,
    status: Status,
    message: Scalar<'a>,
    tracestate: Scalar<'a>,
}

impl<'a> Said<'a> {
    /// Whether a tag is one of these.
    fn takes(&mut self, tag: &Tag<'a>) -> bool {
        let value = || tag.value.map(scalar).unwrap_or_default();
        match tag.key.text() {
            "span.kind" => self.kind = value(),
            "otel.status_code" if value().text() == "ERROR" => self.status = Status::Error,
            "otel.status_code" if self.status == Status::Unset => {
                self.status = otlp_json::status_of(&value());
            }
            "otel.status_code"
            | "internal.span.format"
            | "otel.scope.name"
            | "otel.scope.version"
            | "otel.library.name" => {}
            "otel.status_description" => self.message = value(),
            "w3c.tracestate" => self.tracestate = value(),
            "error" if value().is_true() => self.status = Status::Error,
            "error" if value() == Scalar::Flag(false) => {}
            _ => return false,
        }
        true
    }
}

/// Each tag of a list; says how many could not be read.
fn each_field<'a>(list: Option<&'a RawValue>, mut take: impl FnMut(&Tag<'a>)) -> u64 {
    let mut broken = 0;
    each_of(list, |raw| match leaf::<Tag<'_>>(raw) {
        Ok(tag) => take(&tag),
        Err(_) => broken += 1,
    });
    broken
}

/// A tag by its type; the value of a whole number may be text.
fn attribute(tag: &Tag<'_>, builder: &mut Builder<'_>) {
    if builder.is_wide() {
        builder.refused.attributes += 1;
        return;
    }
    let Some(raw) = tag.value else { return };
    let (name, value) = (tag.key.text(), scalar(raw));
    let found = match tag.kind.text() {
        "int64" => value.whole().map(json::whole),
        "float64" => value.number().map(Found::Number),
        "bool" => Some(Found::Flag(value.is_true())),
        _ => None,
    };
    match found {
        Some(found) => builder.attribute(name.as_bytes(), found),
        None => json::attribute(name, raw, builder),
    }
}

/// A log that tells of an exception, in the names of OpenTelemetry or of `OpenTracing`.
fn log(raw: &RawValue, builder: &mut Builder<'_>) {
    let Ok(log) = leaf::<Log<'_>>(raw) else { return };
    let (mut event, mut kind) = (Scalar::Nothing, Scalar::Nothing);
    let (mut message, mut object, mut stack) = (Scalar::Nothing, Scalar::Nothing, Scalar::Nothing);
    let broken = each_field(log.fields, |tag| {
        let place = match tag.key.text() {
            "event" => &mut event,
            "exception.type" | "error.kind" => &mut kind,
            "exception.message" | "message" => &mut message,
            "error.object" => &mut object,
            "exception.stacktrace" | "stack" => &mut stack,
            _ => return,
        };
        *place = tag.value.map(scalar).unwrap_or_default();
    });
    builder.refused.attributes += broken;
    let is_exception = matches!(event.text(), "exception" | "error");
    if is_exception || kind.is_there() || object.is_there() {
        let message = if message.text().is_empty() { object } else { message };
        let (kind, message) = (kind.text().as_bytes(), message.text().as_bytes());
        builder.exception(kind, message, stack.text().as_bytes());
    }
}
