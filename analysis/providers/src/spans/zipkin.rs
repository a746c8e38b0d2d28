//! Zipkin v2: lists of spans, as its API answers and as tracers report.
//!
//! <https://zipkin.io/zipkin-api/> (2.0): times in microseconds, one endpoint instead of a resource, tags of text.
//! Client and server may share one id, so that two spans of a tree would be one; they are told apart here, and the
//! server's gets an id of its own. What OpenTelemetry writes into tags is read back
//! (<https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/>, 1.50).

use std::collections::HashMap;
use std::sync::Arc;

use analysis_traces::{Resource, Span, SpanId, Status, TraceId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::builder::{Builder, Draft, Found};
use super::ids::Ids;
use super::json::{
    self, Scalar, documents, each_of, each_tag, elements, entries, mark, scalar, shape,
};
use super::{Format, Unreadable, otlp_json};
use crate::otlp::json::leaf;

/// What a body has.
const EXPECTED: &str = "a list of spans with `traceId` and `id`, or a list of such lists";

/// Nanoseconds of a microsecond.
const MICROSECOND: u32 = 1_000;

/// Tags that say something of the process, since Zipkin has no other place for it.
const OF_RESOURCES: [&str; 9] = [
    "service.",
    "vcs.",
    "k8s.",
    "host.",
    "deployment.",
    "telemetry.",
    "cloud.",
    "container.",
    "process.",
];

/// Hands everything in a body to the builder.
pub(super) fn walk(body: &[u8], builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    documents(body, Format::Zipkin, builder, document)?;
    part(&mut builder.spans);
    Ok(())
}

/// Hands a document to the builder; [`part`] has to follow once all are there.
pub(super) fn document(raw: &RawValue, builder: &mut Builder<'_>) -> Result<(), Unreadable> {
    let wrong = || shape(Format::Zipkin, raw, EXPECTED);
    if mark(raw) == b'{' {
        return if is_span(raw) {
            span(raw, builder);
            Ok(())
        } else {
            Err(wrong())
        };
    }
    let mut is_sound = true;
    let read = elements(raw, |element| {
        if mark(element) == b'[' {
            is_sound &= elements(element, |raw| span(raw, builder)).is_ok();
        } else if is_span(element) {
            span(element, builder);
        } else {
            is_sound = false;
        }
    });
    if read.is_ok() && is_sound { Ok(()) } else { Err(wrong()) }
}

/// Whether an object has the keys of a span.
pub(super) fn is_span(raw: &RawValue) -> bool {
    let (mut has_trace, mut has_id) = (false, false);
    let read = entries(raw, |key, _| {
        has_trace |= key == "traceId";
        has_id |= key == "id";
    });
    read.is_ok() && has_trace && has_id
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpanMessage<'a> {
    #[serde(borrow, default)]
    trace_id: Scalar<'a>,
    #[serde(borrow, default)]
    id: Scalar<'a>,
    #[serde(borrow, default)]
    parent_id: Scalar<'a>,
    #[serde(borrow, default)]
    name: Scalar<'a>,
    #[serde(borrow, default)]
    kind: Scalar<'a>,
    #[serde(borrow, default)]
    timestamp: Scalar<'a>,
    #[serde(borrow, default)]
    duration: Scalar<'a>,
    #[serde(borrow, default)]
    local_endpoint: Option<&'a RawValue>,
    #[serde(borrow, default)]
    remote_endpoint: Option<&'a RawValue>,
    #[serde(borrow, default)]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tags: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Endpoint<'a> {
    #[serde(borrow, default, rename = "serviceName")]
    service: Scalar<'a>,
    #[serde(borrow, default)]
    ipv4: Scalar<'a>,
    #[serde(borrow, default)]
    ipv6: Scalar<'a>,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(borrow, default)]
    value: Scalar<'a>,
}

fn span(raw: &RawValue, builder: &mut Builder<'_>) {
    if !builder.next() {
        return;
    }
    let Ok(message) = leaf::<SpanMessage<'_>>(raw) else {
        builder.refused.malformed += 1;
        return;
    };
    let resource = resource(message.local_endpoint, message.tags, builder);
    let (mut status, mut text, mut tracestate) = (Status::Unset, Scalar::Nothing, Scalar::Nothing);
    let broken = each_tag(message.tags, |name, raw| match name {
        "error" if scalar(raw).text() == "false" => {}
        "error" => {
            status = Status::Error;
            // Without a reason tracers write `true`.
            text = Some(scalar(raw)).filter(|text| text.text() != "true").unwrap_or_default();
        }
        "otel.status_code" if status == Status::Unset => {
            status = otlp_json::status_of(&scalar(raw));
        }
        "otel.status_code"
        | "otel.library.name"
        | "otel.library.version"
        | "otel.scope.name"
        | "otel.scope.version" => {}
        "w3c.tracestate" => tracestate = scalar(raw),
        _ if is_of_resource(name) => {}
        _ => json::attribute(name, raw, builder),
    });
    builder.refused.attributes += broken;
    let remote = endpoint(message.remote_endpoint);
    if !remote.service.text().is_empty() {
        builder.attribute(b"peer.service", Found::Text(remote.service.text().as_bytes()));
    }
    each_of(message.annotations, |raw| annotation(raw, builder));
    let start = message.timestamp.nanoseconds(MICROSECOND).filter(|start| *start > 0);
    // A span that was never finished has no duration.
    let duration = message.duration.nanoseconds(MICROSECOND).unwrap_or(0);
    let draft = Draft {
        ids: Ids::of_hex(message.trace_id.text(), message.id.text(), message.parent_id.text()),
        name: message.name.text().as_bytes(),
        kind: otlp_json::kind_of(&message.kind),
        start,
        end: start.and_then(|start| start.checked_add(duration)),
        status,
        message: text.text().as_bytes(),
        tracestate: tracestate.text(),
    };
    builder.finish(&resource, &draft);
}

fn endpoint(raw: Option<&RawValue>) -> Endpoint<'_> {
    raw.and_then(|raw| leaf(raw).ok()).unwrap_or_default()
}

fn is_of_resource(name: &str) -> bool {
    name == "version" || OF_RESOURCES.iter().any(|prefix| name.starts_with(prefix))
}

fn resource(
    local: Option<&RawValue>,
    tags: Option<&RawValue>,
    builder: &mut Builder<'_>,
) -> Arc<Resource> {
    let local = endpoint(local);
    let (mut has_name, mut has_version, mut version, mut has_instance) =
        (false, false, None, false);
    // A key that cannot be read is counted when the same tags are read for the span.
    each_tag(tags, |name, raw| {
        has_name |= name == "service.name";
        has_version |= name == "service.version";
        has_instance |= matches!(name, "service.instance.id" | "k8s.pod.name" | "host.name");
        match name {
            "version" => version = Some(raw),
            _ if is_of_resource(name) => json::attribute(name, raw, builder),
            _ => {}
        }
    });
    // The endpoint's name is in lower case, or that of the exporter's process.
    let service = local.service.text();
    if !has_name && !service.is_empty() {
        builder.attribute(b"service.name", Found::Text(service.as_bytes()));
    }
    if let Some(version) = version.filter(|_| !has_version) {
        json::attribute("service.version", version, builder);
    }
    let address = [local.ipv4.text(), local.ipv6.text()].into_iter().find(|text| !text.is_empty());
    if let Some(address) = address.filter(|_| !has_instance) {
        // The only thing that tells one process of a service from another.
        builder.attribute(b"service.instance.id", Found::Text(address.as_bytes()));
    }
    builder.resource()
}

/// An event as OpenTelemetry's exporters write it: `"exception": {...}`, `{"exception": {...}}`, or the collector's
/// `exception|{...}|0`.
fn annotation(raw: &RawValue, builder: &mut Builder<'_>) {
    let Ok(annotation) = leaf::<Annotation<'_>>(raw) else { return };
    let text = annotation.value.text().trim();
    let begin = text.trim_start_matches(['{', '"', ' ']);
    let Some(rest) = begin.strip_prefix("exception") else { return };
    let (Some(from), Some(to)) = (rest.find('{'), rest.rfind('}')) else { return };
    let to = if text.starts_with('{') { rest[..to].rfind('}').unwrap_or(to) } else { to };
    let Some(Ok(pairs)) = rest.get(from..=to).map(serde_json::from_str::<&RawValue>) else {
        return;
    };
    let (mut kind, mut message, mut stack) = (Scalar::Nothing, Scalar::Nothing, Scalar::Nothing);
    builder.refused.attributes += each_tag(Some(pairs), |name, raw| match name {
        "exception.type" => kind = scalar(raw),
        "exception.message" => message = scalar(raw),
        "exception.stacktrace" => stack = scalar(raw),
        _ => {}
    });
    let (kind, message) = (kind.text().as_bytes(), message.text().as_bytes());
    builder.exception(kind, message, stack.text().as_bytes());
}

/// The two sides of a call that share an id.
#[derive(Debug, Default)]
struct Sides {
    sender: Option<Arc<str>>,
    /// Services of the receiving side, with the id that theirs gets.
    receivers: Vec<(Arc<str>, SpanId)>,
}

/// Services that may answer the same call; more are a mistake, and the last ones share.
const MOST_RECEIVERS: usize = 8;

/// Gives the receiving span of a shared id an id of its own below the sending one, and its children their parent.
pub(super) fn part(spans: &mut [Span]) {
    let mut sides: HashMap<(TraceId, SpanId), Sides> = HashMap::new();
    for span in spans.iter().filter(|span| span.kind.sends() || span.kind.receives()) {
        let of = sides.entry((span.trace, span.id)).or_default();
        let service = &span.resource.service;
        if span.kind.sends() {
            of.sender.get_or_insert_with(|| Arc::clone(service));
        } else if of.receivers.len() < MOST_RECEIVERS
            && of.receivers.iter().all(|(known, _)| known != service)
        {
            of.receivers.push((Arc::clone(service), derived(span.id, service)));
        }
    }
    sides.retain(|_, of| of.sender.is_some() && !of.receivers.is_empty());
    if sides.is_empty() {
        return;
    }
    for span in spans {
        let service = &span.resource.service;
        if let Some(of) = sides.get(&(span.trace, span.id))
            && span.kind.receives()
        {
            span.parent = Some(span.id);
            span.id = of.receiver(service);
        } else if let Some(of) = span.parent.and_then(|parent| sides.get(&(span.trace, parent)))
            && (of.sender.as_ref() != Some(service) || of.is_receiver(service))
        {
            span.parent = Some(of.receiver(service));
        }
    }
}

impl Sides {
    fn is_receiver(&self, service: &Arc<str>) -> bool {
        self.receivers.iter().any(|(known, _)| known == service)
    }

    /// The id of the receiving side: of this service, else of the first.
    fn receiver(&self, service: &Arc<str>) -> SpanId {
        let same = self.receivers.iter().find(|(known, _)| known == service);
        same.or(self.receivers.first()).map_or(SpanId(1), |(_, id)| *id)
    }
}

/// An id that follows from the shared one and the service, the same in every reply (FNV-1a, 64 bits).
fn derived(id: SpanId, service: &str) -> SpanId {
    let bytes = id.0.to_be_bytes().into_iter().chain(service.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    SpanId(hash.max(1))
}
