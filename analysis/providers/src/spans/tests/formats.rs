//! What is particular to one format.

use analysis_traces::{Kind, SpanId, Status, Value};
use serde_json::json;

use super::*;

fn spans(decode: Decode, body: &serde_json::Value) -> Vec<Span> {
    let decoded = decode(body.to_string().as_bytes(), &Limits::default()).unwrap();
    assert_eq!(decoded.refused, Refusals::default());
    decoded.spans
}

/// The decoded spans of one OTLP span with these fields besides ids and times.
fn otlp(more: &serde_json::Value) -> Decoded {
    let mut span = json!({
        "traceId": "4BF92F3577B34DA6A3CE929D0E0E4736",
        "spanId": "00F067AA0BA902B7",
        "startTimeUnixNano": 1_764_000_000_000_000_000_u64,
        "endTimeUnixNano": "1764000000000001000",
        "unknown": {"deep": [1, 2, {"x": null}]},
    });
    for (key, value) in more.as_object().unwrap() {
        span[key] = value.clone();
    }
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]});
    otlp_json(body.to_string().as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn otlp_values_of_every_kind_are_read() {
    let pair = |value: serde_json::Value| json!({"key": "k", "value": value});
    for (value, expected) in [
        (json!({"stringValue": "x"}), Value::from("x")),
        (json!({"string_value": "x"}), Value::from("x")),
        (json!({"intValue": "-7"}), Value::Integer(-7)),
        (json!({"intValue": 7}), Value::Integer(7)),
        (json!({"intValue": 7.0}), Value::Integer(7)),
        (json!({"intValue": "18446744073709551616"}), Value::Number(18_446_744_073_709_551_616.0)),
        (json!({"intValue": "many"}), Value::from("many")),
        (json!({"doubleValue": 0.5}), Value::Number(0.5)),
        (json!({"doubleValue": "Infinity"}), Value::Number(f64::INFINITY)),
        (json!({"boolValue": false}), Value::Flag(false)),
        (json!({"boolValue": "true"}), Value::Flag(true)),
        (json!({"bytesValue": "AAE="}), Value::from("AAE=")),
        (json!({}), Value::from("")),
        (json!(null), Value::from("")),
        (json!("plain"), Value::from("plain")),
        (
            json!({"arrayValue": {"values": [{"stringValue": "a\"b"}, {"intValue": 1}, {}]}}),
            Value::from(r#"["a\"b",1,null]"#),
        ),
        (json!({"arrayValue": {}}), Value::from("[]")),
        (
            json!({"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": true}}]}}),
            Value::from(r#"{"a":true}"#),
        ),
    ] {
        let decoded = otlp(&json!({"attributes": [pair(value.clone())]}));
        assert_eq!(decoded.spans[0].attributes.get("k"), Some(&expected), "{value}");
        assert_eq!(decoded.refused, Refusals::default(), "{value}");
    }
    let decoded = otlp(&json!({"attributes": {"a": 1, "b": "x"}}));
    assert_eq!(decoded.spans[0].attributes.get("a"), Some(&Value::Integer(1)));
}

#[test]
fn otlp_kinds_and_states_are_numbers_or_names() {
    for (said, kind) in [
        (json!(2), Kind::Server),
        (json!("3"), Kind::Client),
        (json!("SPAN_KIND_PRODUCER"), Kind::Producer),
        (json!("consumer"), Kind::Consumer),
        (json!(1), Kind::Internal),
        (json!(99), Kind::Internal),
        (json!(null), Kind::Internal),
        (json!([2]), Kind::Internal),
    ] {
        assert_eq!(otlp(&json!({"kind": said})).spans[0].kind, kind, "{said}");
    }
    for (said, status) in [
        (json!({"code": 2, "message": "no"}), Status::Error),
        (json!({"code": "STATUS_CODE_ERROR"}), Status::Error),
        (json!({"code": "STATUS_CODE_OK"}), Status::Ok),
        (json!({"code": 0}), Status::Unset),
        (json!({}), Status::Unset),
        (json!(null), Status::Unset),
        (json!("ERROR"), Status::Unset),
    ] {
        assert_eq!(otlp(&json!({"status": said})).spans[0].status, status, "{said}");
    }
}

#[test]
fn a_span_that_cannot_be_used_costs_only_itself() {
    let refused = |more: &serde_json::Value| {
        let decoded = otlp(more);
        assert!(decoded.spans.is_empty(), "{more}");
        assert_eq!(decoded.refused.total(), 1, "{more}");
        decoded.refused
    };
    for ids in [
        json!({"traceId": ""}),
        json!({"spanId": null}),
        json!({"traceId": "00000000000000000000000000000000"}),
        json!({"spanId": "b7"}),
        json!({"parentSpanId": "b7"}),
        json!({"traceId": 17}),
    ] {
        assert_eq!(refused(&ids).bad_ids, 1);
    }
    for time in [
        json!({"startTimeUnixNano": 0}),
        json!({"endTimeUnixNano": "0"}),
        json!({"endTimeUnixNano": "-5"}),
        json!({"endTimeUnixNano": "18446744073709551616"}),
        json!({"startTimeUnixNano": "today"}),
    ] {
        assert_eq!(refused(&time).no_time, 1);
    }
    assert_eq!(refused(&json!({"name": "\u{0}", "events": 7})).malformed, 1);
    let surrogate = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"\ud800"}]}]}]}"#;
    assert_eq!(otlp_json(surrogate, &Limits::default()).unwrap().refused.malformed, 1);
    // Clocks that jump are kept: what they mean is decided later.
    let span = &otlp(&json!({"endTimeUnixNano": 5})).spans[0];
    assert!(span.end < span.start);
}

#[test]
fn what_a_process_does_not_say_is_filled_in() {
    let decoded = otlp(&json!({"traceState": "x=1,ot=th:c", "name": ""}));
    assert_eq!(&*decoded.spans[0].resource.service, "unknown_service");
    assert!((decoded.spans[0].weight - 4.0).abs() < 1e-9);
    let pair = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let decoded = otlp(
        &json!({"attributes": [pair("error.type", "timeout"), pair("error.message", "late")]}),
    );
    let exception = &decoded.spans[0].exceptions[0];
    assert_eq!((&*exception.kind, &*exception.message), ("timeout", "late"));
    let named = json!({"resourceSpans": [{"resource": {"attributes": [
        {"key": "service.name", "value": {"intValue": 1}},
        {"key": "service.name", "value": {"stringValue": "a"}}]},
        "spans": [{"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7",
        "startTimeUnixNano": 1, "endTimeUnixNano": 2}]}]});
    assert_eq!(&*spans(otlp_json, &named)[0].resource.service, "a");
}

#[test]
fn senders_of_2022_that_write_both_lists_count_once() {
    let list = json!([{"spans": [{"traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        "spanId": "00f067aa0ba902b7", "startTimeUnixNano": 1, "endTimeUnixNano": 2}]}]);
    let old = json!({"resourceSpans": [{"instrumentationLibrarySpans": list}]});
    assert_eq!(spans(otlp_json, &old).len(), 1);
    let both =
        json!({"resourceSpans": [{"instrumentationLibrarySpans": list, "scopeSpans": list}]});
    assert_eq!(spans(otlp_json, &both).len(), 1);
    for none in [
        json!({}),
        json!({"resourceSpans": null}),
        json!({"resourceSpans": []}),
        json!({"resourceSpans": [{}]}),
        json!({"resourceSpans": [{"scopeSpans": [{}]}]}),
    ] {
        assert!(spans(otlp_json, &none).is_empty(), "{none}");
    }
}

fn jaeger_span(more: &serde_json::Value) -> Span {
    let mut span = json!({"traceID": "1f", "spanID": "a", "operationName": "GET", "processID": "p1",
        "startTime": 1_764_000_000_000_000_u64, "duration": 5});
    for (key, value) in more.as_object().unwrap() {
        span[key] = value.clone();
    }
    let body = json!({"data": [{"traceID": "1f", "spans": [span],
        "processes": {"p1": {"serviceName": "cart", "tags": null}}}]});
    spans(jaeger, &body).remove(0)
}

#[test]
fn jaegers_references_and_tags_are_understood() {
    let of = |kind: &str, trace: &str, span: &str| json!({"refType": kind, "traceID": trace, "spanID": span});
    for (references, parent) in [
        (json!(null), None),
        (json!([]), None),
        (json!([of("CHILD_OF", "1f", "b")]), Some(0xb)),
        (json!([of("FOLLOWS_FROM", "1f", "c"), of("CHILD_OF", "1f", "b")]), Some(0xb)),
        (json!([of("FOLLOWS_FROM", "1f", "c")]), Some(0xc)),
        (json!([of("CHILD_OF", "2f", "b")]), None),
        (json!([{"refType": "CHILD_OF", "spanID": "d"}]), Some(0xd)),
    ] {
        let span = jaeger_span(&json!({"references": references}));
        assert_eq!(span.parent, parent.map(SpanId), "{references}");
    }
    assert_eq!(jaeger_span(&json!({"parentSpanID": "e"})).parent, Some(SpanId(14)));
    let span = jaeger_span(&json!({
        "tags": [
            {"key": "error", "type": "string", "value": "true"},
            {"key": "span.kind", "type": "string", "value": "consumer"},
            {"key": "n", "type": "int64", "value": "42"},
            {"key": "d", "type": "float64", "value": 1},
            {"key": "b", "type": "bool", "value": "false"},
            {"key": "l", "type": "string", "value": ["x"]},
            {"key": "w3c.tracestate", "type": "string", "value": "ot=th:8"},
        ],
        "logs": [
            {"timestamp": 1, "fields": [{"key": "event", "value": "cache"}]},
            {"timestamp": 2, "fields": [{"key": "event", "value": "error"},
                {"key": "error.object", "value": "no route"}, {"key": "stack", "value": "at x"}]},
        ],
    }));
    assert_eq!(
        (span.status, span.kind, span.end - span.start),
        (Status::Error, Kind::Consumer, 5_000)
    );
    assert!((span.weight - 2.0).abs() < 1e-9);
    let values: Vec<_> =
        span.attributes.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(values, ["n=42", "d=1", "b=false", r#"l=["x"]"#]);
    assert_eq!(
        (&*span.exceptions[0].message, span.exceptions[0].stack.as_deref()),
        ("no route", Some("at x"))
    );
}

#[test]
fn jaegers_errors_beside_traces_make_them_partial() {
    let limits = Limits::default();
    let mut body: serde_json::Value = serde_json::from_slice(&reply("jaeger_legacy.json")).unwrap();
    body["errors"] = json!([{"code": 404, "msg": "trace not found", "traceID": "1"}]);
    let decoded = jaeger(body.to_string().as_bytes(), &limits).unwrap();
    assert_eq!((decoded.spans.len(), decoded.refused.partial), (4, 1));
    let trace = body["data"][0].to_string();
    assert_eq!(any(trace.as_bytes(), &limits).unwrap().0, Format::Jaeger);
    assert!(jaeger(br#"{"data":[],"errors":null}"#, &limits).unwrap().spans.is_empty());
    // Several messages of a stream, one after the other.
    let two = [reply("jaeger_v3.json"), reply("jaeger_v3.json")].concat();
    assert_eq!(jaeger(&two, &limits).unwrap().spans.len(), 8);
}

#[test]
fn both_sides_of_a_shared_zipkin_span_are_spans_of_their_own() {
    let found = zipkin(&reply("zipkin_shared.json"), &Limits::default()).unwrap();
    assert_eq!(found.refused, Refusals::default());
    let spans = found.spans;
    let ids = |at: usize| (spans[at].id, spans[at].parent);
    assert_eq!(ids(1), (SpanId(10), spans[0].parent.or(Some(spans[0].id))));
    assert_eq!(spans[2].parent, Some(SpanId(10)));
    assert!(spans[2].id != SpanId(10) && spans[2].id.0 > 0);
    assert_eq!(spans[3].parent, Some(spans[2].id), "the server's own call");
    assert_eq!(spans[4].parent, Some(SpanId(10)), "the client's own work");
    assert_eq!(spans[1].status, Status::Error);
    assert_eq!(spans[1].message.as_deref(), Some("503"));
    assert_eq!(spans[1].attributes.get("peer.service"), Some(&Value::from("backend")));
    assert_eq!(spans[2].resource.version(), Some("2"));
    assert_eq!(spans[2].resource.instance(), Some("10.0.0.2"));
    // The derived id is the same when the server's span comes first, or in another reply.
    let mut reversed: Vec<Vec<serde_json::Value>> =
        serde_json::from_slice(&reply("zipkin_shared.json")).unwrap();
    reversed[0].reverse();
    let again = zipkin(json!(reversed).to_string().as_bytes(), &Limits::default()).unwrap().spans;
    assert_eq!(again[2].id, spans[2].id);
    let trees = analysis_traces::traces(spans);
    let mut refused = analysis_traces::Refused::default();
    let entries =
        analysis_traces::entries(trees.into_iter().next().unwrap(), Some("backend"), &mut refused);
    assert_eq!((entries.len(), entries[0].spans().len()), (1, 2));
    assert_eq!(refused, analysis_traces::Refused::default());
}

#[test]
fn a_zipkin_span_whose_other_side_is_missing_keeps_its_id() {
    let span = |kind: &str, service: &str| {
        json!({"traceId": "1", "id": "a", "parentId": "b", "kind": kind, "shared": true,
            "timestamp": 5, "duration": 2, "localEndpoint": {"serviceName": service}})
    };
    let one = spans(zipkin, &json!([span("SERVER", "cart")]));
    assert_eq!((one[0].id, one[0].parent), (SpanId(10), Some(SpanId(11))));
    // Two that answer the same call: a retry with the same id.
    let three = spans(
        zipkin,
        &json!([span("CLIENT", "web"), span("SERVER", "cart"), span("SERVER", "cart2")]),
    );
    assert!(three[1].id != three[2].id);
    assert!(three[1..].iter().all(|span| span.parent == Some(SpanId(10))));
    let unfinished = json!([{"traceId": "1", "id": "2", "timestamp": 5}]);
    let unfinished = spans(zipkin, &unfinished).remove(0);
    assert_eq!((unfinished.start, unfinished.end), (5_000, 5_000));
    assert!(spans(zipkin, &json!([])).is_empty());
    assert!(spans(zipkin, &json!([[], []])).is_empty());
}

#[test]
fn zipkins_events_of_exceptions_are_read_in_each_writing() {
    let pairs = r#"{"exception.type":"E","exception.message":"a } b"}"#;
    for value in [
        format!("{{\"exception\": {pairs}}}"),
        format!("\"exception\": {pairs}"),
        format!("exception|{pairs}|0"),
    ] {
        let body =
            json!([{"traceId": "1", "id": "2", "timestamp": 5, "annotations": [{"value": value}]}]);
        let exceptions = &spans(zipkin, &body)[0].exceptions;
        assert_eq!((&*exceptions[0].kind, &*exceptions[0].message), ("E", "a } b"), "{value}");
    }
    for value in ["exception", "exceptional {}", "cache miss", "{\"exception\": ", "exception|}{"] {
        let body =
            json!([{"traceId": "1", "id": "2", "timestamp": 5, "annotations": [{"value": value}]}]);
        assert_eq!(spans(zipkin, &body).len(), 1, "{value}");
    }
}

#[test]
fn datadogs_ids_and_kinds_are_understood() {
    let of = |more: &serde_json::Value| {
        let mut span = json!({"trace_id": "7", "span_id": 8, "start": 1_764_000_000_000_000_000_u64, "duration": 3,
            "name": "web.request", "type": "web", "service": "shop"});
        for (key, value) in more.as_object().unwrap() {
            span[key] = value.clone();
        }
        spans(datadog, &json!([[span]])).remove(0)
    };
    let plain = of(&json!({}));
    assert_eq!((plain.trace.0, plain.id.0, plain.parent), (7, 8, None));
    assert_eq!(
        (&*plain.name, plain.kind, plain.end - plain.start),
        ("web.request", Kind::Server, 3)
    );
    for (parent, expected) in [
        (json!(0), None),
        (json!("0"), None),
        (json!(""), None),
        (json!(-1), Some(u64::MAX)),
        (json!(18_446_744_073_709_551_615_u64), Some(u64::MAX)),
        (json!("00f067aa0ba902b7"), Some(0x00f0_67aa_0ba9_02b7)),
    ] {
        assert_eq!(of(&json!({"parent_id": parent})).parent, expected.map(SpanId), "{parent}");
    }
    let full = json!({"trace_id_full": "4bf92f3577b34da6a3ce929d0e0e4736", "traceID": 9});
    assert_eq!(of(&full).trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(of(&json!({"type": "db"})).kind, Kind::Client);
    let tagged =
        of(&json!({"meta": {"span.kind": "producer", "git.commit.sha": "4f2c1a9", "_dd.x": "1"},
        "error": 1, "resource": "GET /cart"}));
    assert_eq!(
        (tagged.kind, tagged.status, &*tagged.name),
        (Kind::Producer, Status::Error, "GET /cart")
    );
    assert_eq!(tagged.resource.attributes.text(&["vcs.ref.head.revision"]), Some("4f2c1a9"));
    assert!(tagged.attributes.get("_dd.x").is_none());
    let truncated = br#"{"data":{"attributes":{"is_truncated":true,"spans":[]}}}"#;
    assert_eq!(datadog(truncated, &Limits::default()).unwrap().refused.partial, 1);
}

#[test]
fn tempos_replies_without_spans_are_empty() {
    let limits = Limits::default();
    for empty in
        [&b"{}"[..], br#"{"trace":{}}"#, br#"{"trace":null,"metrics":{}}"#, b"", b"\x0a\x00"]
    {
        assert_eq!(tempo(empty, &limits).map(|decoded| decoded.spans.len()), Ok(0), "{empty:?}");
    }
    let partial = br#"{"batches":[],"status":1}"#;
    assert_eq!(tempo(partial, &limits).unwrap().refused.partial, 1);
    assert_eq!(tempo(&reply("otlp.pb"), &limits).unwrap().spans.len(), 4);
}
