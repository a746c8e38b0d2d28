//! Random spans are the same from Protobuf and from JSON, in each writing that senders have.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::any as some;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};
use prost::Message as _;
use serde_json::{Value as Json, json};

use super::{Limits, check, otlp_json, otlp_protobuf};

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        ".{0,12}".prop_map(Value::StringValue),
        some::<bool>().prop_map(Value::BoolValue),
        some::<i64>().prop_map(Value::IntValue),
        prop_oneof![Just(f64::INFINITY), Just(-0.0), -1e300..1e300, Just(2.0)]
            .prop_map(Value::DoubleValue),
        vec(some::<u8>(), 0..40).prop_map(Value::BytesValue),
    ];
    let leaf = option::of(leaf).prop_map(|value| AnyValue { value });
    leaf.prop_recursive(8, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec((".{0,4}", inner), 0..4).prop_map(|pairs| {
                let pair =
                    |(key, value)| KeyValue { key, value: Some(value), ..KeyValue::default() };
                Value::KvlistValue(KeyValueList { values: pairs.into_iter().map(pair).collect() })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn pairs() -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![
        "[a-z.]{1,8}",
        Just("service.name".to_owned()),
        Just("exception.type".to_owned()),
        Just("exception.message".to_owned()),
        Just("exception.stacktrace".to_owned()),
        Just("error.type".to_owned()),
    ];
    vec((key, option::of(value())), 0..6).prop_map(|pairs| {
        let pair = |(key, value)| KeyValue { key, value, ..KeyValue::default() };
        pairs.into_iter().map(pair).collect()
    })
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(some::<u8>(), length), 1 => Just(vec![0; length]), 1 => Just(Vec::new())]
}

fn span() -> impl Strategy<Value = Span> {
    let event = (prop_oneof![Just("exception".to_owned()), "[a-z]{0,4}"], pairs());
    let event = event.prop_map(|(name, attributes)| Event { name, attributes, ..Event::default() });
    let ids = (id(16), id(8), id(8));
    let state = prop_oneof![Just(String::new()), Just("ot=th:8".to_owned()), ".{0,8}"];
    let status = option::of((0..4_i32, ".{0,8}"));
    (ids, ".{0,20}", 0..8_i32, some::<[u64; 2]>(), pairs(), vec(event, 0..3), state, status)
        .prop_map(
            |(
                (trace_id, span_id, parent_span_id),
                name,
                kind,
                [start, end],
                attributes,
                events,
                state,
                status,
            )| Span {
                trace_id,
                span_id,
                parent_span_id,
                name,
                kind,
                start_time_unix_nano: start,
                end_time_unix_nano: end,
                attributes,
                events,
                trace_state: state,
                status: status.map(|(code, message)| Status { code, message }),
                ..Span::default()
            },
        )
}

fn request() -> impl Strategy<Value = TracesData> {
    vec((pairs(), vec(span(), 0..4)), 0..3).prop_map(|all| TracesData {
        resource_spans: all
            .into_iter()
            .map(|(attributes, spans)| ResourceSpans {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            })
            .collect(),
    })
}

/// How a sender writes JSON.
#[derive(Debug, Clone, Copy)]
struct Writing {
    base64: bool,
    numbers_as_text: bool,
    names: bool,
}

impl Writing {
    fn id(self, bytes: &[u8]) -> Json {
        let hex = || bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().concat();
        if self.base64 { STANDARD.encode(bytes).into() } else { hex().into() }
    }

    fn number<N: ToString + Into<Json>>(self, number: N) -> Json {
        if self.numbers_as_text { number.to_string().into() } else { number.into() }
    }

    fn value(self, value: &AnyValue) -> Json {
        match &value.value {
            None | Some(Value::StringValueStrindex(_)) => json!({}),
            Some(Value::StringValue(text)) => json!({"stringValue": text}),
            Some(Value::BoolValue(flag)) => json!({"boolValue": flag}),
            Some(Value::IntValue(number)) => json!({"intValue": self.number(*number)}),
            Some(Value::DoubleValue(number)) if number.is_infinite() => {
                json!({"doubleValue": "Infinity"})
            }
            Some(Value::DoubleValue(number)) => json!({"doubleValue": number}),
            Some(Value::BytesValue(bytes)) => json!({"bytesValue": STANDARD.encode(bytes)}),
            Some(Value::ArrayValue(list)) => {
                let values: Vec<Json> = list.values.iter().map(|value| self.value(value)).collect();
                json!({"arrayValue": {"values": values}})
            }
            Some(Value::KvlistValue(map)) => {
                json!({"kvlistValue": {"values": self.pairs(&map.values)}})
            }
        }
    }

    fn pairs(self, pairs: &[KeyValue]) -> Json {
        let pair = |pair: &KeyValue| json!({"key": pair.key, "value": pair.value.as_ref().map(|value| self.value(value))});
        pairs.iter().map(pair).collect()
    }

    fn span(self, span: &Span) -> Json {
        let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
        let kind = usize::try_from(span.kind).ok().and_then(|kind| kinds.get(kind));
        let event = |event: &Event| json!({"name": event.name, "attributes": self.pairs(&event.attributes)});
        json!({
            "traceId": self.id(&span.trace_id),
            "spanId": self.id(&span.span_id),
            "parentSpanId": self.id(&span.parent_span_id),
            "name": span.name,
            "kind": match kind.filter(|_| self.names) {
                Some(name) => json!(format!("SPAN_KIND_{name}")),
                None => json!(span.kind),
            },
            "startTimeUnixNano": self.number(span.start_time_unix_nano),
            "endTimeUnixNano": self.number(span.end_time_unix_nano),
            "attributes": self.pairs(&span.attributes),
            "events": span.events.iter().map(event).collect::<Json>(),
            "traceState": span.trace_state,
            "status": span.status.as_ref().map(|it| json!({"code": it.code, "message": it.message})),
        })
    }

    fn request(self, request: &TracesData) -> Json {
        let of = |of: &ResourceSpans| {
            let spans: Vec<Json> =
                of.scope_spans[0].spans.iter().map(|span| self.span(span)).collect();
            let attributes = self.pairs(&of.resource.as_ref().unwrap().attributes);
            json!({"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]})
        };
        json!({"resourceSpans": request.resource_spans.iter().map(of).collect::<Json>()})
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn json_and_protobuf_say_the_same(
        request in request(),
        [base64, numbers_as_text, names] in some::<[bool; 3]>(),
        max_text in prop_oneof![Just(1_024_usize), 20..40_usize],
    ) {
        let limits = Limits { max_text, max_attributes: 4, ..Limits::default() };
        let writing = Writing { base64, numbers_as_text, names };
        let from_json = otlp_json(writing.request(&request).to_string().as_bytes(), &limits).unwrap();
        let from_protobuf = otlp_protobuf(&request.encode_to_vec(), &limits).unwrap();
        check(&from_protobuf, &limits);
        prop_assert_eq!(&from_json.spans, &from_protobuf.spans);
        prop_assert_eq!(from_json.refused, from_protobuf.refused);
        // Nothing disappears without being counted.
        let sent: usize = request.resource_spans.iter().map(|it| it.scope_spans[0].spans.len()).sum();
        prop_assert_eq!(from_json.spans.len() as u64 + from_json.refused.total(), sent as u64);
    }
}
