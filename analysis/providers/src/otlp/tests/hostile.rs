//! Bodies of bad intent or bad luck: cut off, damaged, huge, deeply nested.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::super::model::{Reason, Refused};
use super::*;

fn gunzipped(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body), &mut plain).unwrap();
    plain
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn watching(settings: OtlpSettings) -> Otlp {
    let otlp = Otlp::new(settings);
    told(&otlp, &usual(), at(0));
    otlp
}

fn recorded() -> [(Content, Vec<u8>); 4] {
    [
        (Content::Protobuf, gunzipped(&reply("proto-1.pb.gz"))),
        (Content::Protobuf, gunzipped(&reply("proto-exponential-2.pb.gz"))),
        (Content::Json, reply("json-1.json")),
        (Content::Json, reply("json-exponential-2.json")),
    ]
}

#[test]
fn a_body_that_is_cut_off_anywhere_is_an_error_and_nothing_of_it_is_counted() {
    for (content, body) in recorded() {
        for end in 1..body.len() {
            let otlp = watching(OtlpSettings::default());
            let taken = otlp.receive(&body[..end], None, content, at(88));
            assert!(taken.is_err(), "{content:?} cut at {end}: {taken:?}");
            assert_eq!(locked(&otlp.state).streams, 0);
        }
    }
}

#[test]
fn bodies_are_bounded_packed_and_unpacked() {
    let settings = OtlpSettings { max_bytes: 10_000, ..OtlpSettings::default() };
    let otlp = watching(settings);
    let refused = |body: &[u8], encoding| {
        otlp.receive(body, encoding, Content::Json, at(1)).unwrap_err().to_string()
    };
    let zeroes = gzipped(&vec![b' '; 50_000_000]);
    assert!(zeroes.len() > 10_000, "the packed size is bounded as well");
    let told = [
        refused(&vec![b' '; 10_001], None),
        refused(&gzipped(&vec![b' '; 1_000_000]), Some("gzip")),
        refused(&gzipped(&reply("json-1.json"))[..300], Some("gzip")),
        refused(b"no gzip", Some("gzip")),
        refused(b"{}", Some("zstd")),
        refused(b"[", None),
        refused(br#"{"resourceMetrics": {}}"#, None),
        refused(br#"{"resourceMetrics": [{"resource": 3}]}"#, None),
        otlp.receive(&[0x0a, 9], None, Content::Protobuf, at(1)).unwrap_err().to_string(),
    ];
    insta::assert_snapshot!(told.join("\n"));
    let fine = otlp.receive(
        b" {\"unknown\": [1, {}], \"resourceMetrics\": null} ",
        Some("identity"),
        Content::Json,
        at(1),
    );
    assert_eq!(fine, Ok(Accepted::default()));
}

/// A JSON body with this text as the points of a histogram of requests.
fn points(count: usize, point: &str) -> Vec<u8> {
    let points = vec![point; count].join(",");
    format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{points}],
        "aggregationTemporality":2}},"name":"http.server.request.duration","unit":"s"}}]}}],
        "resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"checkout"}}}},
        {{"key":"service.version","value":{{"stringValue":"{CANARY}"}}}}]}}}}]}}"#
    )
    .into_bytes()
}

#[test]
fn what_no_request_may_hold_is_counted_and_told() {
    let otlp = watching(OtlpSettings::default());
    let mut told = Vec::new();
    let mut push = |body: &[u8]| {
        let accepted = json(&otlp, body, at(88));
        told.push(format!("{}: {}", accepted.rejected, accepted.message.unwrap_or_default()));
    };
    push(&points(100_002, "{}"));
    push(&points(1, r#"{"startTimeUnixNano":9,"timeUnixNano":"5"}"#));
    push(&points(1, r#"{"count":3,"bucketCounts":[1,1],"explicitBounds":[0.1]}"#));
    push(&points(1, r#"{"count":2,"bucketCounts":[1,1],"explicitBounds":["NaN"]}"#));
    push(&points(1, r#"{"count":-2}"#));
    let attribute = r#"{"key":"a","value":{"intValue":"1"}}"#;
    let many = vec![attribute; 200].join(",");
    push(&points(1, &format!(r#"{{"attributes":[{many}]}}"#)));
    let name = "n".repeat(300);
    push(&points(2, &format!(r#"{{"attributes":[{{"key":"{name}"}}]}}"#)));
    push(&points(1, &format!(r#"{{"x":"{}"}}"#, "y".repeat(300_000))));
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn every_reason_reads_as_part_of_a_sentence() {
    let reasons = [
        Reason::NotCounter,
        Reason::NotGauge,
        Reason::TooMany,
        Reason::TooWide,
        Reason::NotWhole,
        Reason::NoCount,
        Reason::BadHistogram,
        Reason::BadScale,
        Reason::NoTemporality,
        Reason::DeltaValue,
        Reason::Backwards,
        Reason::TwoWriters,
        Reason::TooManyStreams,
        Reason::OtherBuckets,
        Reason::NoDuration,
    ];
    let mut refused = Refused::default();
    for reason in reasons {
        refused.add(reason);
    }
    insta::assert_snapshot!(refused.told().join("\n"));
}

#[test]
fn deep_nesting_is_refused_or_passed_over() {
    let otlp = watching(OtlpSettings::default());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let unknown = format!(r#"{{"unknown":{deep}}}"#);
    // Whatever it is, it is no crash.
    let _ = otlp.receive(unknown.as_bytes(), None, Content::Json, at(1));
    let value = format!(r#"{{"attributes":[{{"key":"a","value":{{"arrayValue":{deep}}}}}]}}"#);
    let _ = otlp.receive(&points(1, &value), None, Content::Json, at(1));
    // Lists of lists in Protobuf: each level is a message within a message.
    let mut nested = vec![0x0a, 0];
    for _ in 0..3_000 {
        let mut outer = vec![0x2a];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.extend(&nested);
        nested = vec![0x0a];
        prost::encoding::encode_varint(outer.len() as u64, &mut nested);
        nested.extend(outer);
    }
    for _ in 0..3 {
        let mut outer = vec![0x0a];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        outer.extend(&nested);
        nested = outer;
    }
    let _ = otlp.receive(&nested, None, Content::Protobuf, at(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let otlp = watching(OtlpSettings::default());
        for content in [Content::Protobuf, Content::Json] {
            for encoding in [None, Some("gzip")] {
                let _ = otlp.receive(&body, encoding, content, at(88));
            }
        }
        let _ = told(&otlp, &usual(), at(90));
    }

    /// Damaged bodies either are errors or leave only observations that the analysis accepts.
    #[test]
    fn damaged_bodies_never_panic_and_never_yield_impossible_counts(
        which in 0_usize..4,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        baseline in any::<bool>(),
    ) {
        let otlp = watching(OtlpSettings::default());
        let (content, mut body) = recorded()[which].clone();
        json(&otlp, &of_stable(&reply("json-1.json")), at(88));
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let _ = otlp.receive(&body, None, content, at(88));
        if baseline {
            json(&otlp, &of_stable(&reply("json-2.json")), at(88));
        }
        // `told` validates every observation.
        let _ = told(&otlp, &usual(), at(90));
    }
}
