//! What pushed spans cost: 50,000 spans per second and core are the promise for taking them in, flat memory at the
//! cap, and 200 ms for comparing 1,600 subtrees of 100 spans.
//!
//! Bodies are those of the trace generator, 512 spans each as SDKs and collectors batch them, in Protobuf; taking them
//! in is unpacking, decoding, counting, completing and choosing, with the clock of a sender of 50,000 spans a second. Run
//! with `cargo bench -p tests --bench traces`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;

use analysis_providers::intake::{Intake, IntakeSettings};
use analysis_providers::otlp::Content;
use analysis_traces::{
    ArmLabel, Arms, Attributes, EntrySubtree, Refused, Resource, Settings, Span, SpanId, Status,
    Trace, Value, compare, entries,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use opentelemetry_proto::tonic::trace::v1 as wire;
use prost::Message as _;
use tests::traces::{Plant, Sizes, population};

/// Spans of one body.
const BATCH: usize = 512;

/// Between two bodies: 50,000 spans a second.
const PAUSE: SignedDuration = SignedDuration::from_micros(10_240);

/// Ten seconds of them: longer than a trace gathers spans, so that every step of the way is taken.
const BODIES: usize = 1_200;

fn key_values(attributes: &Attributes) -> Vec<KeyValue> {
    let value = |value: &Value| match value {
        Value::Text(text) => any_value::Value::StringValue(text.to_string()),
        Value::Integer(number) => any_value::Value::IntValue(*number),
        Value::Number(number) => any_value::Value::DoubleValue(*number),
        Value::Flag(flag) => any_value::Value::BoolValue(*flag),
    };
    let pair = |(name, of): &(Arc<str>, Value)| KeyValue {
        key: name.to_string(),
        value: Some(AnyValue { value: Some(value(of)) }),
        ..KeyValue::default()
    };
    attributes.0.iter().map(pair).collect()
}

fn encoded(span: &Span) -> wire::Span {
    let events = span.exceptions.iter().map(|exception| {
        let attributes: Attributes = [
            ("exception.type", (*exception.kind).into()),
            ("exception.message", (*exception.message).into()),
            ("exception.stacktrace", exception.stack.as_deref().unwrap_or_default().into()),
        ]
        .into_iter()
        .collect();
        wire::span::Event {
            time_unix_nano: span.end,
            name: "exception".to_owned(),
            attributes: key_values(&attributes),
            ..wire::span::Event::default()
        }
    });
    wire::Span {
        trace_id: span.trace.0.to_be_bytes().to_vec(),
        span_id: span.id.0.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map_or_else(Vec::new, |id| id.0.to_be_bytes().to_vec()),
        name: span.name.to_string(),
        kind: span.kind as i32 + 1,
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: key_values(&span.attributes),
        events: events.collect(),
        status: (span.status == Status::Error)
            .then(|| wire::Status { code: 2, ..wire::Status::default() }),
        ..wire::Span::default()
    }
}

/// A body, its spans grouped by process.
fn body(spans: &[Span]) -> Vec<u8> {
    let mut by_resource: BTreeMap<usize, (Arc<Resource>, Vec<wire::Span>)> = BTreeMap::new();
    for span in spans {
        let place = Arc::as_ptr(&span.resource) as usize;
        let (_, all) =
            by_resource.entry(place).or_insert_with(|| (span.resource.clone(), Vec::new()));
        all.push(encoded(span));
    }
    let resource_spans = by_resource.into_values().map(|(resource, spans)| {
        let mut attributes = resource.attributes.clone();
        attributes.0.push(("service.name".into(), Value::Text(resource.service.clone())));
        wire::ResourceSpans {
            resource: Some(WireResource {
                attributes: key_values(&attributes),
                ..WireResource::default()
            }),
            scope_spans: vec![wire::ScopeSpans { spans, ..wire::ScopeSpans::default() }],
            ..wire::ResourceSpans::default()
        }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
}

/// Bodies of both arms with an error now and then.
fn bodies() -> Vec<Vec<u8>> {
    let mut spans: Vec<Span> = Vec::new();
    for seed in 0.. {
        let sizes = Sizes { baseline: 3_000, canary: 300 };
        let drawn = population(Plant::NewException, sizes, seed);
        spans.extend(drawn.baseline.into_iter().chain(drawn.canary).flat_map(|trace| trace.spans));
        if spans.len() >= BODIES * BATCH {
            break;
        }
    }
    spans.chunks(BATCH).take(BODIES).map(body).collect()
}

fn watching() -> (Intake, Timestamp) {
    let intake = Intake::new(IntakeSettings::default());
    let label = |version: &str| ArmLabel { version: Some(version.into()), ..ArmLabel::default() };
    let arms = Arms { baseline: label("1.0.0"), canary: label("1.1.0") };
    let now = Timestamp::from_second(1_764_000_000).expect("a time");
    intake.watch("one", "checkout", &arms, now);
    (intake, now)
}

/// Feeds all bodies to an intake that is new.
fn feed(
    (intake, mut now): (Intake, Timestamp),
    bodies: &[Vec<u8>],
    encoding: Option<&str>,
) -> (Intake, Timestamp) {
    for body in bodies {
        let accepted = intake.receive(body, encoding, Content::Protobuf, now).expect("well-formed");
        black_box(accepted);
        now += PAUSE;
    }
    (intake, now)
}

#[expect(clippy::print_stdout, reason = "a benchmark reports there")]
fn receive(c: &mut Criterion) {
    let plain = bodies();
    let packed: Vec<Vec<u8>> = plain
        .iter()
        .map(|body| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(body).expect("memory");
            encoder.finish().expect("memory")
        })
        .collect();
    let spans = u64::try_from(BODIES * BATCH).unwrap_or(u64::MAX);
    let mut group = c.benchmark_group("receive");
    group.sample_size(10).throughput(Throughput::Elements(spans));
    for (name, bodies, encoding) in [("plain", &plain, None), ("gzip", &packed, Some("gzip"))] {
        group.bench_function(name, |b| {
            let feeding = |new| feed(new, bodies, encoding);
            b.iter_batched(watching, feeding, BatchSize::PerIteration);
        });
    }
    group.finish();

    // Twelve seconds hold three times as many spans as may be held.
    let settings = IntakeSettings::default();
    let (intake, now) = feed(watching(), &plain, None);
    let held = intake.held();
    assert!(held.spans <= settings.max_spans && held.bytes <= settings.max_held, "{held:?}");
    let (split, refused, requests) = intake.subtrees("one", now).expect("both arms");
    println!(
        "held: {held:?}\nkept: {} and {} subtrees of {requests:?}, {refused:?}",
        split.baseline.len(),
        split.canary.len()
    );
}

/// A trace of exactly `size` spans: what the request did, several times over.
fn grown(trace: &Trace, size: usize) -> Trace {
    let root = &trace.spans[0];
    let (length, ids) = (root.end - root.start, u64::try_from(trace.spans.len()).unwrap_or(0) + 1);
    let first = trace.spans.iter().map(|span| span.id.0).min().unwrap_or(0);
    // Apart from the numbers of all others.
    let top = SpanId(u64::MAX - 1);
    let mut spans = vec![Span { id: top, ..root.clone() }];
    for round in 0.. {
        for span in &trace.spans[1..] {
            if spans.len() == size {
                spans[0].end = root.start + (round + 1) * length;
                return Trace { spans, ..trace.clone() };
            }
            let renamed = |id: SpanId| {
                if id == root.id { top } else { SpanId((id.0 - first) + (round + 1) * ids) }
            };
            spans.push(Span {
                id: renamed(span.id),
                parent: span.parent.map(renamed),
                start: span.start + round * length,
                end: span.end + round * length,
                ..span.clone()
            });
        }
    }
    Trace { spans, ..trace.clone() }
}

fn root_cause(c: &mut Criterion) {
    let drawn = population(Plant::SlowQuery, Sizes { baseline: 1_200, canary: 400 }, 1);
    let subtrees = |traces: Vec<Trace>| -> Vec<EntrySubtree> {
        let mut refused = Refused::default();
        let grown = traces.iter().map(|trace| grown(trace, 100));
        let found: Vec<EntrySubtree> =
            grown.flat_map(|trace| entries(trace, Some("checkout"), &mut refused)).collect();
        assert_eq!(refused, Refused::default());
        found
    };
    let (baseline, canary) = (subtrees(drawn.baseline), subtrees(drawn.canary));
    let spans: usize = baseline.iter().chain(&canary).map(|one| one.spans().len()).sum();
    assert_eq!(spans, 160_000);
    c.bench_function("compare/1600x100", |b| {
        b.iter(|| black_box(compare(&baseline, &canary, &Settings::default(), None)));
    });
}

criterion_group!(benches, receive, root_cause);
criterion_main!(benches);
