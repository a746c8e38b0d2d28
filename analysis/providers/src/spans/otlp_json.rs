//! OTLP in JSON: one request, or the lines of the collector's file exporter.
//!
//! The mapping is <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding> (1.9): ids are hexadecimal,
//! whole numbers of 64 bits may be texts. Beyond it this reads what the plain mapping of Protobuf and older
//! senders write: ids in Base64, names of enumerations, keys with underscores, `instrumentationLibrarySpans`.

use std::sync::Arc;

use analysis_traces::{Kind, Resource, Status};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::builder::{Builder, Draft, Found};
use super::ids::Ids;
use super::json::{self, Scalar, documents, each_of, elements, entries, mark, scalar, shape};
use super::otlp_protobuf::{kind, status};
use super::texts::Short;
use super::{Format, Unreadable};
use crate::otlp::json::leaf;

/// What a request has.
const EXPECTED: &str = "an object whose `resourceSpans` is a list";

/// Hands everything in a body to the builder.
pub(super) fn walk(body: &[u8], builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    let (mut has_spans, mut other) = (false, None);
    documents(body, Format::OtlpJson, builder, |raw, builder| {
        match document(raw, builder)? {
            Content::Spans => has_spans = true,
            Content::Others => {
                other.get_or_insert_with(|| shape(Format::OtlpJson, raw, EXPECTED));
            }
        }
        Ok(())
    })?;
    // Lines of metrics and logs between lines of spans are usual, without spans they are a mistake.
    other.filter(|_| !has_spans).map_or(Ok(()), Err)
}

/// What a document is about.
enum Content {
    Spans,
    Others,
}

fn document(raw: &RawValue, builder: &mut Builder<'_>) -> Result<Content, Unreadable> {
    if mark(raw) == b'[' {
        let mut content = Ok(Content::Spans);
        let mut is_first = true;
        let read = elements(raw, |element| {
            let taken = request(element, builder);
            if std::mem::take(&mut is_first) {
                content = taken;
            } else if taken.is_err() {
                builder.refused.broken_documents += 1;
            }
        });
        return read.map_err(|_| shape(Format::OtlpJson, raw, EXPECTED)).and(content);
    }
    request(raw, builder)
}

fn request(raw: &RawValue, builder: &mut Builder<'_>) -> Result<Content, Unreadable> {
    let (mut list, mut is_other, mut is_empty) = (None, false, true);
    let read = entries(raw, |key, value| {
        is_empty = false;
        match key {
            "resourceSpans" | "resource_spans" => list = Some(value),
            "resourceMetrics" | "resourceLogs" | "resourceProfiles" => is_other = true,
            _ => {}
        }
    });
    let wrong = || shape(Format::OtlpJson, raw, EXPECTED);
    match list {
        _ if read.is_err() => Err(wrong()),
        Some(list) => resource_spans(list, builder).map(|()| Content::Spans).map_err(|_| wrong()),
        None if is_other => Ok(Content::Others),
        None if is_empty => Ok(Content::Spans),
        None => Err(wrong()),
    }
}

/// A list of `ResourceSpans`; null is an empty one.
///
/// # Errors
/// When it is no list.
pub(super) fn resource_spans(list: &RawValue, builder: &mut Builder<'_>) -> Result<(), String> {
    if mark(list) == b'n' {
        return Ok(());
    }
    elements(list, |raw| {
        if one(raw, builder).is_err() {
            builder.refused.malformed += 1;
        }
    })
}

fn one(raw: &RawValue, builder: &mut Builder<'_>) -> Result<(), String> {
    let message: ResourceSpans<'_> = leaf(raw)?;
    builder.begin();
    if let Some(resource) = message.resource {
        attributes(leaf::<Attributed<'_>>(resource)?.attributes, builder);
    }
    let resource = builder.resource();
    for list in [message.scope_spans.or(message.library_spans), message.spans].into_iter().flatten()
    {
        elements(list, |raw| {
            let read = if message.spans.is_some_and(|spans| std::ptr::eq(spans, list)) {
                span(raw, &resource, builder);
                Ok(())
            } else {
                scope(raw, &resource, builder)
            };
            if read.is_err() {
                builder.refused.malformed += 1;
            }
        })?;
    }
    Ok(())
}

fn scope(
    raw: &RawValue,
    resource: &Arc<Resource>,
    builder: &mut Builder<'_>,
) -> Result<(), String> {
    let message: ScopeSpans<'_> = leaf(raw)?;
    message.spans.map_or(Ok(()), |list| elements(list, |raw| span(raw, resource, builder)))
}

fn span(raw: &RawValue, resource: &Arc<Resource>, builder: &mut Builder<'_>) {
    if !builder.next() {
        return;
    }
    let Ok(message) = leaf::<SpanMessage<'_>>(raw) else {
        builder.refused.malformed += 1;
        return;
    };
    attributes(message.attributes, builder);
    if let Some(events) = message.events
        && elements(events, |raw| event(raw, builder)).is_err()
    {
        builder.refused.malformed += 1;
        return;
    }
    let status = message.status.and_then(|raw| leaf::<StatusMessage<'_>>(raw).ok());
    let status = status.unwrap_or_default();
    let time = |time: &Scalar<'_>| time.count().filter(|nanoseconds| *nanoseconds > 0);
    let draft = Draft {
        ids: Ids::of_text(
            message.trace_id.text(),
            message.span_id.text(),
            message.parent_span_id.text(),
        ),
        name: message.name.text().as_bytes(),
        kind: kind_of(&message.kind),
        start: time(&message.start_time_unix_nano),
        end: time(&message.end_time_unix_nano),
        status: status_of(&status.code),
        message: status.message.text().as_bytes(),
        tracestate: message.trace_state.text(),
    };
    builder.finish(resource, &draft);
}

/// `SpanKind` by its number, or by its name with or without `SPAN_KIND_`.
pub(super) fn kind_of(said: &Scalar<'_>) -> Kind {
    let name = said.text().to_ascii_lowercase();
    match name.strip_prefix("span_kind_").unwrap_or(&name) {
        "server" => Kind::Server,
        "client" => Kind::Client,
        "producer" => Kind::Producer,
        "consumer" => Kind::Consumer,
        _ => kind(said.count().unwrap_or(0)),
    }
}

/// `StatusCode` by its number, or by its name with or without `STATUS_CODE_`.
pub(super) fn status_of(said: &Scalar<'_>) -> Status {
    let name = said.text().to_ascii_lowercase();
    match name.strip_prefix("status_code_").unwrap_or(&name) {
        "ok" => Status::Ok,
        "error" => Status::Error,
        _ => status(said.count().unwrap_or(0)),
    }
}

fn event(raw: &RawValue, builder: &mut Builder<'_>) {
    let Ok(message) = leaf::<Event<'_>>(raw) else { return };
    if message.name.text() != "exception" {
        return;
    }
    let (mut kind, mut text, mut stack) = (Scalar::Nothing, Scalar::Nothing, Scalar::Nothing);
    each_pair(message.attributes, |name, value| {
        let place = match name {
            "exception.type" => &mut kind,
            "exception.message" => &mut text,
            "exception.stacktrace" => &mut stack,
            _ => return,
        };
        // The first of a name counts.
        if let Some(AnyValue { string_value, .. }) = value.and_then(any_value)
            && place.text().is_empty()
        {
            *place = string_value;
        }
    });
    builder.exception(kind.text().as_bytes(), text.text().as_bytes(), stack.text().as_bytes());
}

/// Each attribute of a list of pairs, or of a map; says how many could not be read.
fn each_pair<'a>(
    list: Option<&'a RawValue>,
    mut take: impl FnMut(&str, Option<&'a RawValue>),
) -> u64 {
    let Some(list) = list else { return 0 };
    let mut broken = 0;
    let read = if mark(list) == b'{' {
        entries(list, |name, value| take(name, Some(value)))
    } else {
        elements(list, |raw| match leaf::<KeyValue<'_>>(raw) {
            Ok(pair) => take(pair.key.text(), pair.value),
            Err(_) => broken += 1,
        })
    };
    broken + u64::from(read.is_err())
}

fn attributes(list: Option<&RawValue>, builder: &mut Builder<'_>) {
    let broken = each_pair(list, |name, value| {
        if builder.is_wide() {
            builder.refused.attributes += 1;
        } else {
            attribute(name, value, builder);
        }
    });
    builder.refused.attributes += broken;
}

fn attribute(name: &str, value: Option<&RawValue>, builder: &mut Builder<'_>) {
    let Some(value) = value.and_then(any_value) else {
        // No message of a value, but a value by itself.
        let found = value.map(scalar).unwrap_or_default();
        return builder.attribute(name.as_bytes(), found.found());
    };
    let mut short = Short::new(builder.limits.max_text);
    let found = if value.is_composite() {
        write(&value, &mut short);
        Found::Text(short.bytes())
    } else {
        value.found()
    };
    builder.attribute(name.as_bytes(), found);
}

fn any_value(raw: &RawValue) -> Option<AnyValue<'_>> {
    if mark(raw) == b'{' { leaf(raw).ok() } else { None }
}

impl AnyValue<'_> {
    fn is_composite(&self) -> bool {
        self.scalar().is_none() && (self.array_value.is_some() || self.kvlist_value.is_some())
    }

    fn scalar(&self) -> Option<&Scalar<'_>> {
        [
            &self.string_value,
            &self.bool_value,
            &self.int_value,
            &self.double_value,
            &self.bytes_value,
        ]
        .into_iter()
        .find(|scalar| scalar.is_there())
    }

    fn found(&self) -> Found<'_> {
        if self.string_value.is_there() || self.bytes_value.is_there() {
            return self.scalar().unwrap_or(&Scalar::Nothing).found();
        }
        if self.bool_value.is_there() {
            return Found::Flag(self.bool_value.is_true());
        }
        if let Some(number) = self.int_value.whole() {
            return json::whole(number);
        }
        if let Some(number) = self.double_value.number() {
            return Found::Number(number);
        }
        self.scalar().unwrap_or(&Scalar::Nothing).found()
    }
}

/// A value within a list or map, the same text as from Protobuf.
fn write(value: &AnyValue<'_>, short: &mut Short) {
    if let Some(list) = value.array_value.filter(|_| value.is_composite()) {
        let values = leaf::<Listed<'_>>(list).ok().and_then(|list| list.values);
        short.nested(['[', ']'], |short| {
            each_of(values, |raw| {
                if short.next() {
                    write(&any_value(raw).unwrap_or_default(), short);
                }
            });
        });
    } else if let Some(map) = value.kvlist_value.filter(|_| value.is_composite()) {
        let values = leaf::<Listed<'_>>(map).ok().and_then(|list| list.values);
        short.nested(['{', '}'], |short| {
            each_pair(values, |name, raw| {
                if short.next() {
                    short.quoted(name.as_bytes());
                    short.plain(":");
                    write(&raw.and_then(any_value).unwrap_or_default(), short);
                }
            });
        });
    } else if value.scalar().is_none() {
        short.plain("null");
    } else {
        match value.found() {
            Found::Text(text) => short.quoted(text),
            Found::Flag(flag) => short.plain(if flag { "true" } else { "false" }),
            Found::Integer(number) => short.plain(&number.to_string()),
            Found::Number(number) => short.plain(&number.to_string()),
        }
    }
}

#[derive(Deserialize)]
struct ResourceSpans<'a> {
    #[serde(borrow, default)]
    resource: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "scopeSpans", alias = "scope_spans")]
    scope_spans: Option<&'a RawValue>,
    /// As senders of 2022 wrote it, some of them beside the other.
    #[serde(
        borrow,
        default,
        rename = "instrumentationLibrarySpans",
        alias = "instrumentation_library_spans"
    )]
    library_spans: Option<&'a RawValue>,
    /// Without any scope.
    #[serde(borrow, default)]
    spans: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Attributed<'a> {
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ScopeSpans<'a> {
    #[serde(borrow, default)]
    spans: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanMessage<'a> {
    #[serde(borrow, default, alias = "trace_id", alias = "traceID")]
    trace_id: Scalar<'a>,
    #[serde(borrow, default, alias = "span_id", alias = "spanID")]
    span_id: Scalar<'a>,
    #[serde(borrow, default, alias = "parent_span_id", alias = "parentSpanID")]
    parent_span_id: Scalar<'a>,
    #[serde(borrow, default, alias = "trace_state")]
    trace_state: Scalar<'a>,
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    kind: Scalar<'a>,
    #[serde(borrow, default, alias = "start_time_unix_nano")]
    start_time_unix_nano: Scalar<'a>,
    #[serde(borrow, default, alias = "end_time_unix_nano")]
    end_time_unix_nano: Scalar<'a>,
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    events: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct StatusMessage<'a> {
    #[serde(borrow, default)]
    code: Scalar<'a>,
    #[serde(borrow, default)]
    message: Scalar<'a>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    attributes: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct KeyValue<'a> {
    #[serde(borrow, default)]
    key: Scalar<'a>,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
#[expect(clippy::struct_field_names, reason = "the names that the format has")]
struct AnyValue<'a> {
    #[serde(borrow, alias = "string_value")]
    string_value: Scalar<'a>,
    #[serde(borrow, alias = "bool_value")]
    bool_value: Scalar<'a>,
    #[serde(borrow, alias = "int_value")]
    int_value: Scalar<'a>,
    #[serde(borrow, alias = "double_value")]
    double_value: Scalar<'a>,
    #[serde(borrow, alias = "bytes_value")]
    bytes_value: Scalar<'a>,
    #[serde(borrow, alias = "array_value")]
    array_value: Option<&'a RawValue>,
    #[serde(borrow, alias = "kvlist_value")]
    kvlist_value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow, default)]
    values: Option<&'a RawValue>,
}
