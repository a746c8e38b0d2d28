//! The spans of the demo's service, sent as OTLP over HTTP as any instrumented service sends them.
//!
//! Messages are those of `opentelemetry-proto`, without an SDK: the service has three kinds of spans. Where to send
//! and who is sending come from the variables that every SDK reads, and that Serin sets for its processes. What cannot
//! be sent is dropped and said once; requests never wait for it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use super::dice::Dice;
use crate::cli::complain;
use crate::clock::now;

/// Twice a second: what is on trial is explained seconds after it failed.
const BETWEEN: Duration = Duration::from_millis(500);
/// Longest wait for an answer, also for the last batch when the service stops.
const PATIENCE: Duration = Duration::from_secs(1);
/// Spans that wait; some ten seconds of the demo.
const MOST: usize = 20_000;

/// Who sends, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Address of the receiver without a path, `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    /// Name of the service, `OTEL_SERVICE_NAME`.
    pub service: String,
    /// What else is known of the sender, as `OTEL_RESOURCE_ATTRIBUTES` writes it: `name=value,name=value`.
    pub attributes: String,
}

impl Telemetry {
    /// What a process's environment says; `None` if nothing is to be sent.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        Some(Self {
            endpoint: said("OTEL_EXPORTER_OTLP_ENDPOINT")?.trim_end_matches('/').to_owned(),
            service: said("OTEL_SERVICE_NAME").unwrap_or_else(|| "unknown_service".to_owned()),
            attributes: said("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
        })
    }

    fn resource(&self) -> Resource {
        let pairs = self.attributes.split(',').filter_map(|pair| pair.trim().split_once('='));
        let attributes = pairs.map(|(name, value)| text(name, &decoded(value)));
        Resource {
            attributes: attributes.chain([text("service.name", &self.service)]).collect(),
            ..Resource::default()
        }
    }
}

/// A value without its percent signs.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A text attribute.
pub(super) fn text(name: &str, value: &str) -> KeyValue {
    attribute(name, Value::StringValue(value.to_owned()))
}

/// A number attribute.
pub(super) fn number(name: &str, value: u32) -> KeyValue {
    attribute(name, Value::IntValue(value.into()))
}

fn attribute(name: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: name.to_owned(), value, ..KeyValue::default() }
}

/// The place in the repository that a span comes from.
pub(super) fn place(file: &str, line: u32, function: &str) -> [KeyValue; 3] {
    [
        text("code.file.path", file),
        number("code.line.number", line),
        text("code.function.name", function),
    ]
}

/// Spans that wait to be sent.
pub(super) struct Exporter {
    telemetry: Telemetry,
    waiting: Mutex<Vec<Span>>,
    client: reqwest::Client,
}

impl Exporter {
    pub(super) fn new(telemetry: Telemetry) -> io::Result<Self> {
        let client = super::client(PATIENCE)?;
        Ok(Self { telemetry, waiting: Mutex::default(), client })
    }

    /// Sends what has come together, twice a second, until `stop`; a batch that is being sent is sent to its end.
    pub(super) async fn run(self: Arc<Self>, stop: Arc<Notify>) {
        let mut ticks = tokio::time::interval(BETWEEN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.notified() => return,
            }
            if let Err(why) = self.send().await
                && !told
            {
                complain(&format!("spans are lost: {why}"));
                told = true;
            }
        }
    }

    /// Sends everything that waits. Dropping it half-way loses a batch.
    pub(super) async fn send(&self) -> Result<(), String> {
        let Some(body) = self.batch() else { return Ok(()) };
        let url = format!("{}/v1/traces", self.telemetry.endpoint);
        let request = self.client.post(&url).body(body);
        let sent = request.header(header::CONTENT_TYPE, "application/x-protobuf").send().await;
        let answer = sent.map_err(|error| crate::chain(&error))?;
        let status = answer.status();
        // The body is read so that the connection can be used again.
        let said = answer.text().await.unwrap_or_default();
        if status.is_success() { Ok(()) } else { Err(format!("{url} answered {status}: {said}")) }
    }

    /// What waits, as a body; `None` if nothing does.
    pub(super) fn batch(&self) -> Option<Vec<u8>> {
        let waiting = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let spans = std::mem::take(waiting);
        if spans.is_empty() {
            return None;
        }
        let scope = InstrumentationScope {
            name: "serin-demo".to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource = Some(self.telemetry.resource());
        let resource_spans =
            vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
        Some(ExportTraceServiceRequest { resource_spans }.encode_to_vec())
    }

    fn keep(&self, spans: Vec<Span>) {
        let waiting = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + spans.len() <= MOST {
            waiting.extend(spans);
        }
    }
}

/// The spans of one request; they are handed on when it has been answered.
pub(super) struct Trace<'a> {
    exporter: &'a Exporter,
    dice: &'a Dice,
    id: [u8; 16],
    /// The span in which the request was sent, if it said one.
    parent: Vec<u8>,
    /// The request's own span.
    root: [u8; 8],
    /// The same moment on two clocks: one for people, one that never jumps.
    began: (u64, Instant),
    spans: Vec<Span>,
}

/// What one span was about.
pub(super) struct About {
    pub(super) name: String,
    pub(super) kind: SpanKind,
    pub(super) attributes: Vec<KeyValue>,
    /// Why it failed, if it did.
    pub(super) failed: Option<&'static str>,
}

impl<'a> Trace<'a> {
    /// Goes on with the trace of a request (W3C Trace Context, level 1), or begins one; `None` if the sender asks for
    /// none.
    pub(super) fn begin(
        exporter: &'a Exporter,
        dice: &'a Dice,
        headers: &HeaderMap,
    ) -> Option<Self> {
        let context = headers.get("traceparent").and_then(|value| context(value.as_bytes()));
        let (id, parent) = match context {
            Some(context) if context.is_sampled => (context.trace, context.parent.to_vec()),
            Some(_) => return None,
            None => {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&dice.id());
                id[8..].copy_from_slice(&dice.id());
                (id, Vec::new())
            }
        };
        let nanoseconds = u64::try_from(now().as_nanosecond()).unwrap_or_default();
        let (root, began) = (dice.id(), (nanoseconds, Instant::now()));
        Some(Self { exporter, dice, id, parent, root, began, spans: Vec::new() })
    }

    /// A new span's id, for its children; see [`Trace::add_as`].
    pub(super) fn reserve(&self) -> [u8; 8] {
        self.dice.id()
    }

    /// The request's own span.
    pub(super) fn root(&self) -> [u8; 8] {
        self.root
    }

    /// A span below `parent`, from `began` to now.
    pub(super) fn add(&mut self, parent: [u8; 8], began: Instant, about: About) {
        self.add_as(self.dice.id(), parent, began, about);
    }

    /// The same with an id that its children know already.
    pub(super) fn add_as(&mut self, id: [u8; 8], parent: [u8; 8], began: Instant, about: About) {
        let span = self.span(id, parent.to_vec(), began, about);
        self.spans.push(span);
    }

    /// The request has been answered.
    pub(super) fn end(mut self, about: About) {
        let parent = std::mem::take(&mut self.parent);
        let span = self.span(self.root, parent, self.began.1, about);
        self.spans.push(span);
        self.exporter.keep(self.spans);
    }

    fn span(&self, id: [u8; 8], parent: Vec<u8>, began: Instant, about: About) -> Span {
        let at = |moment: Instant| {
            let since = moment.saturating_duration_since(self.began.1).as_nanos();
            self.began.0.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
        };
        let ended = at(Instant::now());
        let About { name, kind, attributes, failed } = about;
        let event = |why: &str| Event {
            time_unix_nano: ended,
            name: "exception".to_owned(),
            attributes: vec![text("exception.type", "ShopError"), text("exception.message", why)],
            ..Event::default()
        };
        Span {
            trace_id: self.id.to_vec(),
            span_id: id.to_vec(),
            parent_span_id: parent,
            name,
            kind: kind.into(),
            start_time_unix_nano: at(began),
            end_time_unix_nano: ended,
            attributes,
            events: failed.map(event).into_iter().collect(),
            status: failed
                .map(|why| Status { message: why.to_owned(), code: StatusCode::Error.into() }),
            ..Span::default()
        }
    }
}

/// What a `traceparent` says.
#[derive(Debug, PartialEq, Eq)]
struct Context {
    trace: [u8; 16],
    parent: [u8; 8],
    is_sampled: bool,
}

fn context(value: &[u8]) -> Option<Context> {
    let mut parts = std::str::from_utf8(value).ok()?.split('-');
    let (_version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if trace.len() != 32 || parent.len() != 16 || flags.len() != 2 {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?.to_be_bytes();
    let parent = u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?.to_be_bytes();
    let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    Some(Context { trace, parent, is_sampled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_as_the_standard_says() {
        let good = context(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(good.trace[..2], [0x4b, 0xf9]);
        assert_eq!(good.parent[..2], [0x00, 0xf0]);
        assert!(good.is_sampled);
        let off = context(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00").unwrap();
        assert!(!off.is_sampled);
        for bad in ["", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", "00-x-y-z"]
        {
            assert_eq!(context(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_environment_says_who_sends_and_where_to() {
        let variables = |name: &str| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://127.0.0.1:8787/".to_owned()),
            "OTEL_RESOURCE_ATTRIBUTES" => Some("service.version=4f2c,a=%C3%A9%2".to_owned()),
            _ => None,
        };
        let telemetry = Telemetry::from_environment(variables).unwrap();
        assert_eq!(telemetry.endpoint, "http://127.0.0.1:8787");
        let expected = [
            text("service.version", "4f2c"),
            text("a", "é%2"),
            text("service.name", "unknown_service"),
        ];
        assert_eq!(telemetry.resource().attributes, expected);
        assert_eq!(Telemetry::from_environment(|_| None), None);
    }
}
