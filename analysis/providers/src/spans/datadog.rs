//! Replies of Datadog's API v2: a trace, a pruned trace, or pages of spans.
//!
//! Shapes of the official clients (0.35, <https://docs.datadoghq.com/api/latest/apm-trace/> and
//! <https://docs.datadoghq.com/api/latest/spans/>): `data.attributes.spans` with nanoseconds, the tree below
//! `data.attributes.summarized_trace.root` with times in RFC 3339, `data[].attributes` with tags below `custom`; and a
//! list of spans as its agent takes them. Ids are decimal. A span's `resource` names what OpenTelemetry's name does, its
//! `name` the library that recorded it.

use std::sync::Arc;

use analysis_traces::{Kind, Resource, SpanId, Status};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::builder::{Builder, Draft, Found};
use super::ids::Ids;
use super::json::{
    self, Scalar, described, documents, each_of, each_tag, elements, entries, mark, scalar, shape,
};
use super::{Format, Unreadable, otlp_json};

/// What a reply has.
const EXPECTED: &str = "an object with `data`: a trace, a pruned trace, or a page of spans";

/// Names of tags that say something of the process, and OpenTelemetry's.
const OF_RESOURCES: [(&str, &str); 13] = [
    ("version", "service.version"),
    ("service.version", "service.version"),
    ("git.commit.sha", "vcs.ref.head.revision"),
    ("vcs.ref.head.revision", "vcs.ref.head.revision"),
    ("env", "deployment.environment.name"),
    ("runtime-id", "service.instance.id"),
    ("service.instance.id", "service.instance.id"),
    ("pod_name", "k8s.pod.name"),
    ("k8s.pod.name", "k8s.pod.name"),
    ("k8s.pod.label.pod-template-hash", "k8s.pod.label.pod-template-hash"),
    ("host", "host.name"),
    ("hostname", "host.name"),
    ("host.name", "host.name"),
];

/// Tags within tags that are followed: `custom.http.url_details.path`.
const DEEPEST: u8 = 6;

/// Bytes of a pruned trace that may be read again for being deep, beside four times its size: a tree of some MiB may
/// have dozens of levels, a larger one with as many is none that anybody would draw.
const MORE_READING: usize = 64 * 1_024 * 1_024;

/// Hands everything in a body to the builder.
pub(super) fn walk(body: &[u8], builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    documents(body, Format::Datadog, builder, document)
}

/// Hands a reply to the builder.
pub(super) fn document(raw: &RawValue, builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    let wrong = || shape(Format::Datadog, raw, EXPECTED);
    if mark(raw) == b'[' {
        // What the agent takes: a list of traces or of spans.
        let read = elements(raw, |element| {
            let read = if mark(element) == b'[' {
                elements(element, |raw| span(raw, None, builder))
            } else {
                span(element, None, builder);
                Ok(())
            };
            builder.refused.malformed += u64::from(read.is_err());
        });
        return read.map_err(|_| wrong());
    }
    let (mut content, mut errors, mut spans, mut is_span) = (None, None, None, false);
    let read = entries(raw, |key, value| match key {
        "data" => content = Some(value),
        "errors" => errors = Some(value),
        "spans" => spans = Some(value),
        "span_id" | "spanID" => is_span = true,
        _ => {}
    });
    if read.is_err() {
        return Err(wrong());
    }
    match (content, spans, errors) {
        (Some(content), ..) if mark(content) == b'[' => {
            elements(content, |raw| entry(raw, builder)).map_err(|_| wrong())
        }
        (Some(content), ..) if mark(content) == b'{' => {
            entry(content, builder);
            Ok(())
        }
        (_, Some(spans), _) => each_span(spans, builder).map_err(|_| wrong()),
        (_, None, Some(errors)) => {
            Err(Unreadable::Refused { format: Format::Datadog, said: said(errors) })
        }
        _ if is_span => {
            span(raw, None, builder);
            Ok(())
        }
        _ => Err(wrong()),
    }
}

/// The words of the errors: texts, or objects with `detail` or `title`.
fn said(errors: &RawValue) -> String {
    let mut words: Vec<String> = Vec::new();
    each_of(Some(errors), |raw| {
        let mut found = scalar(raw).text().to_owned();
        each_tag(Some(raw), |key, value| {
            if key == "detail" || (key == "title" && found.is_empty()) {
                scalar(value).text().clone_into(&mut found);
            }
        });
        if !found.is_empty() && words.len() < 4 {
            words.push(found);
        }
    });
    if words.is_empty() { described(errors) } else { crate::error::bounded(words.join("; ")) }
}

/// A list of spans by themselves, or a map of them by id.
fn each_span(spans: &RawValue, builder: &mut Builder<'_>) -> Result<(), String> {
    if mark(spans) == b'{' {
        return entries(spans, |_, raw| span(raw, None, builder));
    }
    elements(spans, |raw| span(raw, None, builder))
}

/// One resource of a reply: a span, or a whole trace.
fn entry(raw: &RawValue, builder: &mut Builder<'_>) {
    let mut attributes = None;
    let read = entries(raw, |key, value| {
        if key == "attributes" {
            attributes = Some(value);
        }
    });
    let (Ok(()), Some(attributes)) = (read, attributes) else {
        builder.refused.malformed += 1;
        return;
    };
    let (mut spans, mut tree, mut is_span) = (None, None, false);
    let read = entries(attributes, |key, value| match key {
        "spans" => spans = Some(value),
        "summarized_trace" => tree = Some(value),
        "span_id" | "spanID" => is_span = true,
        "is_truncated" if scalar(value).is_true() => builder.refused.partial += 1,
        _ => {}
    });
    let read = match (spans, tree) {
        (Some(spans), _) if !is_span => read.and_then(|()| each_span(spans, builder)),
        (None, Some(tree)) => read.and_then(|()| pruned(tree, builder)),
        _ => {
            span(attributes, None, builder);
            Ok(())
        }
    };
    builder.refused.malformed += u64::from(read.is_err());
}

/// A pruned trace: the tree below its root, without recursion.
fn pruned(tree: &RawValue, builder: &mut Builder<'_>) -> Result<(), String> {
    let (mut root, mut trace, mut hides) = (None, None, false);
    entries(tree, |key, value| match key {
        "root" => root = Some(value),
        "traceId" | "trace_id" | "traceID" => trace = trace_id(&scalar(value)),
        _ => {}
    })?;
    let mut open: Vec<&RawValue> = root.into_iter().collect();
    let mut left = tree.get().len().saturating_mul(4).saturating_add(MORE_READING);
    while let Some(raw) = open.pop() {
        // A node is read with all that is below it.
        let Some(less) = left.checked_sub(raw.get().len()) else {
            builder.refused.too_many += 1;
            continue;
        };
        left = less;
        let (mut children, mut hidden) = (None, false);
        entries(raw, |key, value| match key {
            "children" => children = Some(value),
            "hidden_child_spans_count" => {
                hidden = scalar(value).count().is_some_and(|count| count > 0);
            }
            _ => {}
        })?;
        hides |= hidden;
        span(raw, trace, builder);
        let before = open.len();
        each_of(children, |child| {
            if open.len() < builder.limits.max_spans {
                open.push(child);
            } else {
                builder.refused.too_many += 1;
            }
        });
        open[before..].reverse();
    }
    builder.refused.partial += u64::from(hides);
    Ok(())
}

/// The fields of a span, whatever the reply calls them.
#[derive(Default)]
struct Fields<'a> {
    trace: Option<u128>,
    trace_full: Option<u128>,
    id: Scalar<'a>,
    parent: Scalar<'a>,
    service: Scalar<'a>,
    resource: Scalar<'a>,
    name: Scalar<'a>,
    kind: Scalar<'a>,
    library: Scalar<'a>,
    start: Scalar<'a>,
    end: Scalar<'a>,
    duration: Scalar<'a>,
    seconds: Scalar<'a>,
    is_error: bool,
    /// Tags in the order in which they count: plain ones of a span, then maps of them.
    tags: Vec<(&'static str, &'a RawValue)>,
    maps: Vec<&'a RawValue>,
    list: Option<&'a RawValue>,
}

fn span(raw: &RawValue, trace: Option<u128>, builder: &mut Builder<'_>) {
    if !builder.next() {
        return;
    }
    let mut fields = Fields { trace, ..Fields::default() };
    if entries(raw, |key, value| fields.take(key, value)).is_err() {
        builder.refused.malformed += 1;
        return;
    }
    let resource = fields.resource(builder);
    let mut said = Said { kind: fields.kind.clone(), is_error: fields.is_error, ..Said::default() };
    let broken = fields.each_tag(&mut |name, raw| {
        if resource_name(name).is_none() && !said.takes(name, raw) {
            json::attribute(name, raw, builder);
        }
    });
    builder.refused.attributes += broken;
    for (name, text) in [("span.type", &fields.library), ("operation.name", &fields.name)] {
        if !text.text().is_empty() {
            builder.attribute(name.as_bytes(), Found::Text(text.text().as_bytes()));
        }
    }
    let name = [&fields.resource, &fields.name].map(Scalar::text);
    let start = time(&fields.start).filter(|start| *start > 0);
    let duration = said.duration.or_else(|| fields.duration()).zip(start);
    let end = duration.and_then(|(duration, start)| start.checked_add(duration));
    let draft = Draft {
        ids: Ids::of_numbers(
            fields.trace_full.or(fields.trace),
            id(&fields.id),
            match &fields.parent {
                Scalar::Nothing => Some(None),
                Scalar::Text(text) if text.is_empty() => Some(None),
                parent @ (Scalar::Flag(_)
                | Scalar::Whole(_)
                | Scalar::Real(_)
                | Scalar::Text(_)
                | Scalar::Composite) => id(parent).map(|id| Some(SpanId(id))),
            },
        ),
        name: name.into_iter().find(|name| !name.is_empty()).unwrap_or_default().as_bytes(),
        kind: if said.kind.text().is_empty() {
            kind_of(fields.library.text())
        } else {
            otlp_json::kind_of(&said.kind)
        },
        start,
        end: end.or_else(|| time(&fields.end).filter(|end| *end > 0)),
        status: if said.is_error { Status::Error } else { Status::Unset },
        message: said.message.text().as_bytes(),
        tracestate: "",
    };
    builder.finish(&resource, &draft);
}

impl<'a> Fields<'a> {
    fn take(&mut self, key: &str, raw: &'a RawValue) {
        match key {
            "trace_id" | "traceID" => self.trace = trace_id(&scalar(raw)).or(self.trace),
            "trace_id_full" | "traceIDFull" => self.trace_full = trace_id(&scalar(raw)),
            "span_id" | "spanID" => self.id = scalar(raw),
            "parent_id" | "parentID" => self.parent = scalar(raw),
            "service" => self.service = scalar(raw),
            "resource" | "resource_name" => self.resource = scalar(raw),
            "name" | "operation_name" => self.name = scalar(raw),
            "span_kind" => self.kind = scalar(raw),
            "type" => self.library = scalar(raw),
            "start" | "start_time" | "startTime" | "start_timestamp" => self.start = scalar(raw),
            "end" | "end_time" | "endTime" | "end_timestamp" => self.end = scalar(raw),
            "duration" => self.duration = scalar(raw),
            "durationSeconds" => self.seconds = scalar(raw),
            "error" if mark(raw) != b'{' => self.is_error = scalar(raw).is_true(),
            "status" => self.is_error |= scalar(raw).text() == "error",
            "env" => self.tags.push(("env", raw)),
            "host" => self.tags.push(("host", raw)),
            "meta" | "metrics" | "custom" | "attributes" if mark(raw) == b'{' => {
                self.maps.push(raw);
            }
            "tags" if mark(raw) == b'[' => self.list = Some(raw),
            _ => {}
        }
    }

    fn duration(&self) -> Option<u64> {
        self.duration.nanoseconds(1).or_else(|| {
            let nanoseconds = self.seconds.number()? * 1e9;
            Scalar::Real(nanoseconds.round()).nanoseconds(1)
        })
    }

    /// Each tag; says how many could not be read.
    fn each_tag(&self, take: &mut dyn FnMut(&str, &'a RawValue)) -> u64 {
        self.tags.iter().for_each(|(name, raw)| take(name, raw));
        self.maps.iter().map(|map| flat("", map, DEEPEST, take)).sum()
    }

    fn resource(&self, builder: &mut Builder<'_>) -> Arc<Resource> {
        if !self.service.text().is_empty() {
            builder.attribute(b"service.name", Found::Text(self.service.text().as_bytes()));
        }
        let mut seen = Vec::new();
        self.each_tag(&mut |name, raw| {
            if let Some(name) = resource_name(name).filter(|name| !seen.contains(name)) {
                seen.push(name);
                json::attribute(name, raw, builder);
            }
        });
        // Pages of spans say the process in a list of `name:value`.
        each_of(self.list, |raw| {
            let tag = scalar(raw);
            let Some((name, value)) = tag.text().split_once(':') else { return };
            if let Some(name) = resource_name(name).filter(|name| !seen.contains(name)) {
                seen.push(name);
                builder.attribute(name.as_bytes(), Found::Text(value.as_bytes()));
            }
        });
        builder.resource()
    }
}

/// What OpenTelemetry says in fields of their own and Datadog in tags.
#[derive(Default)]
struct Said<'a> {
    kind: Scalar<'a>,
    message: Scalar<'a>,
    is_error: bool,
    /// Pages of spans have times in milliseconds, and the duration in nanoseconds among the tags.
    duration: Option<u64>,
}

impl<'a> Said<'a> {
    /// Whether a tag is one of these.
    fn takes(&mut self, name: &str, raw: &'a RawValue) -> bool {
        match name {
            "span.kind" => self.kind = scalar(raw),
            "duration" => self.duration = scalar(raw).nanoseconds(1),
            "error" => self.is_error |= scalar(raw).is_true(),
            "error.message" | "error.msg" => {
                self.message = scalar(raw);
                return false;
            }
            // What the agent and the store keep for themselves.
            _ => return name.starts_with('_'),
        }
        true
    }
}

/// Each tag of a map, those of maps within it with their path as name; says how many could not be read.
fn flat<'a>(
    prefix: &str,
    map: &'a RawValue,
    depth: u8,
    take: &mut dyn FnMut(&str, &'a RawValue),
) -> u64 {
    let mut within = 0;
    let broken = each_tag(Some(map), |name, raw| {
        let path;
        let name = if prefix.is_empty() {
            name
        } else {
            path = format!("{prefix}.{name}");
            &path
        };
        if mark(raw) == b'{' && depth > 0 && name.len() < 256 {
            within += flat(name, raw, depth - 1, take);
        } else {
            take(name, raw);
        }
    });
    broken + within
}

fn resource_name(name: &str) -> Option<&'static str> {
    OF_RESOURCES.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours)
}

/// The side of a call that a library records, where nobody said it.
fn kind_of(library: &str) -> Kind {
    match library {
        "web" | "serverless" => Kind::Server,
        "http" | "db" | "sql" | "cache" | "redis" | "memcached" | "mongodb" | "cassandra"
        | "elasticsearch" | "leveldb" => Kind::Client,
        _ => Kind::Internal,
    }
}

/// An id of a trace: 32 hexadecimal digits, or a decimal number.
fn trace_id(said: &Scalar<'_>) -> Option<u128> {
    match said {
        Scalar::Text(text) if text.len() == 32 => {
            text.parse().ok().map(|analysis_traces::TraceId(id)| id)
        }
        Scalar::Text(text) => text.parse().ok(),
        Scalar::Nothing
        | Scalar::Flag(_)
        | Scalar::Whole(_)
        | Scalar::Real(_)
        | Scalar::Composite => id(said).map(u128::from),
    }
}

/// An id of a span: a decimal number, negative where a client took it for signed; or hexadecimal digits.
fn id(said: &Scalar<'_>) -> Option<u64> {
    let decimal = said.whole().and_then(|number| {
        u64::try_from(number).ok().or_else(|| i64::try_from(number).ok().map(i64::cast_unsigned))
    });
    decimal.or_else(|| said.text().parse().ok().map(|SpanId(id)| id))
}

/// A time in nanoseconds since 1970, from such a number or from RFC 3339.
fn time(said: &Scalar<'_>) -> Option<u64> {
    said.nanoseconds(1).or_else(|| {
        let time: Timestamp = said.text().parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok()
    })
}
