//! Bodies that nobody sends in good faith: bounded, counted, never a panic.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
use proptest::collection::vec;
use proptest::prelude::any as some;
use proptest::prelude::{ProptestConfig, proptest};
use proptest::sample::Index;
use prost::Message as _;

use super::*;

const RECORDED: [&str; 17] = [
    "otlp.pb",
    "otlp_frames.pb",
    "otlp.pb.gz",
    "otlp.json",
    "otlp_plain_mapping.json",
    "otlp_snake_case.json",
    "otlp_lines.jsonl",
    "jaeger_v3.json",
    "jaeger_legacy.json",
    "tempo_v1.json",
    "tempo_v2.json",
    "tempo_v2.pb",
    "zipkin.json",
    "zipkin_shared.json",
    "datadog_trace.json",
    "datadog_spans.json",
    "datadog_pruned_trace.json",
];

fn small() -> Limits {
    Limits { max_bytes: 64 * 1_024, max_spans: 3, max_attributes: 2, max_text: 8 }
}

fn decode_with_all(body: &[u8], limits: &Limits) {
    for (_, decode) in all() {
        match decode(body, limits) {
            Ok(decoded) => check(&decoded, limits),
            // A message for people, whatever the body was.
            Err(error) => assert!(error.to_string().len() < 2_000),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn any_bytes_stay_within_the_limits(body in vec(some::<u8>(), 0..400)) {
        decode_with_all(&body, &small());
        decode_with_all(&[b"\x0a", &body[..]].concat(), &small());
    }

    #[test]
    fn recorded_bodies_that_are_changed_stay_within_the_limits(
        name in some::<Index>(),
        changes in vec((some::<Index>(), some::<u8>()), 0..6),
        cut in proptest::option::of(some::<Index>()),
    ) {
        let mut body = reply(RECORDED[name.index(RECORDED.len())]);
        for (at, byte) in &changes {
            let at = at.index(body.len());
            body[at] = *byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        decode_with_all(&body, &small());
        decode_with_all(&body, &Limits::default());
    }

    #[test]
    fn tokens_of_json_in_any_order_stay_within_the_limits(
        tokens in vec(proptest::sample::select(TOKENS), 0..60)
    ) {
        decode_with_all(tokens.concat().as_bytes(), &small());
    }
}

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"resourceSpans\":",
    "\"data\":",
    "\"spans\":",
    "\"trace\":",
    "\"result\":",
    "\"traceId\":",
    "\"id\":",
    "\"attributes\":",
    "\"tags\":",
    "1",
    "-1e400",
    "null",
    "true",
    "\"x\"",
    "\"\\ud800\"",
    "{\"key\":\"k\",\"value\":{\"stringValue\":\"v\"}}",
    "\"processes\":",
    "\"references\":",
    "\"children\":",
    "{\"traceId\":\"1\",\"id\":\"2\",\"timestamp\":3}",
    "\"summarized_trace\":",
    "\"root\":",
    "\u{feff}",
];

fn span(attributes: Vec<KeyValue>) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes,
        ..Span::default()
    }
}

fn encoded(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    TracesData { resource_spans }.encode_to_vec()
}

/// A body of OTLP in JSON with one span that has these fields besides ids and times.
fn otlp_of(fields: &str) -> String {
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{}","spanId":"{}","startTimeUnixNano":1,"endTimeUnixNano":2,{fields}}}]}}]}}]}}"#,
        "1".repeat(32),
        "1".repeat(16)
    )
}

#[test]
fn a_compression_bomb_is_refused_before_it_is_unpacked() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1_024 * 1_024];
    for _ in 0..64 {
        packer.write_all(&zeros).unwrap();
    }
    let bomb = packer.finish().unwrap();
    let limits = Limits { max_bytes: 100_000, ..Limits::default() };
    assert!(bomb.len() < limits.max_bytes);
    assert_eq!(any(&bomb, &limits), Err(Unreadable::TooLarge { limit: 100_000 }));
    for (_, decode) in all() {
        let plain = decode(&zeros, &limits);
        assert_eq!(plain, Err(Unreadable::TooLarge { limit: 100_000 }));
    }
    let broken = &reply("otlp.pb.gz")[..100];
    assert!(matches!(any(broken, &limits), Err(Unreadable::Gzip { .. })));
}

#[test]
fn nesting_has_no_bottom_and_does_no_harm() {
    let depth = 20_000;
    let limits = Limits::default();
    let shut = |open: &str, close: &str| open.repeat(depth) + &close.repeat(depth);
    for body in [
        shut("[", "]"),
        shut("{\"a\":", "}").replace(":}", ":0}"),
        format!("{{\"resourceSpans\":{}}}", shut("[", "]")),
        format!("{{\"data\":{}}}", shut("[", "]")),
        "[".repeat(depth),
        "{\"trace\":".repeat(depth),
    ] {
        decode_with_all(body.as_bytes(), &limits);
    }
    let nested =
        format!("{}{{}}{}", "{\"arrayValue\":{\"values\":[".repeat(depth), "]}}".repeat(depth));
    let body = otlp_of(&format!(r#""attributes":[{{"key":"k","value":{nested}}}]"#));
    let decoded = otlp_json(body.as_bytes(), &limits).unwrap();
    assert_eq!(decoded.spans[0].attributes.0[0].1, "[[[[[[...]]]]]]".into());

    let mut value = AnyValue { value: None }.encode_to_vec();
    for _ in 0..2_000 {
        // An `ArrayValue` with one value, as the field 5 of an `AnyValue`.
        let mut list = vec![0x0a];
        prost::encoding::encode_varint(value.len() as u64, &mut list);
        list.extend(value);
        value = vec![0x2a];
        prost::encoding::encode_varint(list.len() as u64, &mut value);
        value.extend(list);
    }
    let mut pair = b"\x0a\x01k\x12".to_vec();
    prost::encoding::encode_varint(value.len() as u64, &mut pair);
    pair.extend(value);
    let mut one = span(Vec::new()).encode_to_vec();
    one.push(0x4a);
    prost::encoding::encode_varint(pair.len() as u64, &mut one);
    one.extend(pair);
    let frame = |tag: u8, message: &[u8]| {
        let mut framed = vec![tag];
        prost::encoding::encode_varint(message.len() as u64, &mut framed);
        framed.extend(message);
        framed
    };
    let body = frame(0x0a, &frame(0x12, &frame(0x12, &one)));
    let decoded = otlp_protobuf(&body, &limits).unwrap();
    assert_eq!(decoded.spans[0].attributes.0[0].1, "[[[[[[...]]]]]]".into());

    // A pruned trace that is one long chain: its beginning is read, the rest is counted.
    let node = r#"{"spanID":1,"startTime":"2026-01-01T00:00:00Z","durationSeconds":1,"children":["#;
    let chain = format!("{}{}", node.repeat(2_500), "]}".repeat(2_500));
    let body = format!(
        r#"{{"data":{{"attributes":{{"summarized_trace":{{"traceId":"7","root":{chain}}}}}}}}}"#
    );
    let decoded = datadog(body.as_bytes(), &limits).unwrap();
    check(&decoded, &limits);
    assert!(decoded.spans.len() > 100 && decoded.refused.total() > 0, "{:?}", decoded.refused);
    let tags = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let body = format!(r#"[{{"trace_id":7,"span_id":8,"start":1,"duration":1,"meta":{tags}}}]"#);
    assert_eq!(datadog(body.as_bytes(), &limits).unwrap().spans.len(), 1);
}

#[test]
fn of_a_million_attributes_some_are_kept_and_the_rest_is_counted() {
    let limits = Limits::default();
    let many = 1_000_000_u32;
    let pair = KeyValue {
        key: "k".into(),
        value: Some(AnyValue { value: Some(Value::IntValue(1)) }),
        ..KeyValue::default()
    };
    let body = encoded(vec![span(vec![pair; many as usize])]);
    let decoded = otlp_protobuf(&body, &limits).unwrap();
    assert_eq!(decoded.spans[0].attributes.0.len(), limits.max_attributes);
    assert_eq!(decoded.refused.attributes, u64::from(many) - 64);

    let many = 100_000;
    let pairs = vec![r#"{"key":"k","value":{"intValue":1}}"#; many].join(",");
    let body = otlp_of(&format!(r#""attributes":[{pairs}]"#));
    let decoded = otlp_json(body.as_bytes(), &limits).unwrap();
    assert_eq!(decoded.spans[0].attributes.0.len(), limits.max_attributes);
    assert_eq!(decoded.refused.attributes, many as u64 - 64);

    let tags = (0..many).map(|number| format!(r#""{number}":"x""#)).collect::<Vec<_>>().join(",");
    let body = format!(r#"[{{"traceId":"1","id":"2","timestamp":3,"tags":{{{tags}}}}}]"#);
    let decoded = zipkin(body.as_bytes(), &limits).unwrap();
    assert_eq!(decoded.refused.attributes, many as u64 - 64);
}

#[test]
fn gigantic_texts_are_cut_and_the_memory_is_bounded() {
    let limits = Limits::default();
    let huge = "ü".repeat(1_500_000);
    let body = otlp_of(&format!(
        r#""name":"{huge}","attributes":[{{"key":"{huge}","value":{{"stringValue":"{huge}"}}}}]"#
    ));
    let decoded = otlp_json(body.as_bytes(), &limits).unwrap();
    check(&decoded, &limits);
    assert_eq!((decoded.spans[0].name.len(), decoded.refused.cut), (1_024, 3));

    // Spans of two bytes, and resources of two: many, but all refused.
    let empty = encoded(vec![Span::default(); 100_000]);
    let decoded = otlp_protobuf(&empty, &limits).unwrap();
    assert_eq!((decoded.spans.len(), decoded.refused.bad_ids), (0, 100_000));
    let resources = b"\x0a\x00".repeat(200_000);
    assert_eq!(otlp_protobuf(&resources, &limits).unwrap(), Decoded::default());
    decode_with_all(&resources, &limits);
    let zeros = format!("{{\"data\":[{}0]}}", "0,".repeat(100_000));
    decode_with_all(zeros.as_bytes(), &limits);
    let few = Limits { max_bytes: 200_000, ..limits };
    let wide: Vec<Span> = (0..2_000).map(|_| span(Vec::new())).collect();
    let decoded = otlp_protobuf(&encoded(wide), &few).unwrap();
    let memory = decoded.spans.len() * size_of::<analysis_traces::Span>();
    assert!(memory <= 2 * few.max_bytes + 1_000, "{memory}");
    assert_eq!(decoded.spans.len() as u64 + decoded.refused.too_many, 2_000);
    let three = Limits { max_spans: 3, ..limits };
    let decoded = otlp_protobuf(&encoded(vec![span(Vec::new()); 10]), &three).unwrap();
    assert_eq!((decoded.spans.len(), decoded.refused.too_many), (3, 7));
}

#[test]
fn text_that_is_not_utf_8_is_mended_and_counted() {
    let limits = Limits::default();
    let mut body = encoded(vec![Span { name: "GET /caft".into(), ..span(Vec::new()) }]);
    let at = body.windows(4).position(|window| window == b"caft").unwrap();
    body[at + 2] = 0xff;
    let decoded = otlp_protobuf(&body, &limits).unwrap();
    assert_eq!((&*decoded.spans[0].name, decoded.refused.invalid_text), ("GET /ca\u{fffd}t", 1));

    let mut body = otlp_of(r#""name":"GET /caft""#).into_bytes();
    let at = body.windows(4).position(|window| window == b"caft").unwrap();
    body[at + 2] = 0xff;
    let decoded = otlp_json(&body, &limits).unwrap();
    assert_eq!((&*decoded.spans[0].name, decoded.refused.invalid_text), ("GET /ca\u{fffd}t", 1));
}

#[test]
fn a_broken_span_leaves_the_others() {
    let whole = span(Vec::new()).encode_to_vec();
    let frame = |tag: u8, message: &[u8]| {
        let length = u8::try_from(message.len()).unwrap();
        [&[tag, length], message].concat()
    };
    let scope = [frame(0x12, b"\x4a\x7f"), frame(0x12, &whole), frame(0x12, b"\xff")].concat();
    let body = frame(0x0a, &frame(0x12, &scope));
    let decoded = otlp_protobuf(&body, &Limits::default()).unwrap();
    assert_eq!((decoded.spans.len(), decoded.refused.malformed), (1, 2));
}
