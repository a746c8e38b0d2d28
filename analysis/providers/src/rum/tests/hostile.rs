//! What anybody may send: bombs, floods and nonsense cost little and change nothing.

use std::io::Write as _;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::rum::Rate;
use crate::rum::beacon::LARGEST;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_and_deep_or_broken_bodies_are_refused() {
    let rum = Rum::new(settings());
    let packed = gzip(&vec![b' '; 50 * 1_024 * 1_024]);
    assert!(packed.len() < LARGEST, "a bomb");
    let arrive = |body: &[u8], encoding| {
        let arrival = Arrival { encoding, ..arrival(body) };
        [rum.receive_faro(&arrival, at(0.0)), rum.receive_vitals(&arrival, at(0.0))]
            .map(Result::unwrap_err)
    };
    for (body, encoding) in [(&*packed, Some("gzip")), (&vec![b' '; LARGEST + 1], None)] {
        assert_eq!(arrive(body, encoding), [Refused::TooLarge, Refused::TooLarge]);
    }
    let deep = "[".repeat(LARGEST);
    let wide = format!("[{}0]", "0,".repeat(LARGEST / 2 - 2));
    for body in
        [deep.as_bytes(), wide.as_bytes(), b"\xff\xfe", b"", b"null", b"{\"meta\":\"\xff\"}"]
    {
        assert!(arrive(body, None).into_iter().all(|refused| refused.status() == 400));
    }
}

#[test]
fn what_no_page_can_have_measured_is_left_out() {
    let rum = Rum::new(settings());
    let metric = |value: Value| json!({ "name": "LCP", "id": "a", "value": value });
    let mut all: Vec<Value> =
        [json!(-1), json!(1e300), json!("12"), json!(null), json!([1])].map(metric).into();
    all.extend([json!({ "name": 7 }), json!(4), json!({ "name": "LCP", "value": 1 })]);
    let many = (0..200).map(|n| json!({ "name": "CLS", "id": n.to_string(), "value": 0 }));
    all.extend(many);
    let body = json!({ "app": "shop", "version": CANARY, "vitals": all,
        "errors": [{ "type": 4, "message": [] }] });
    let taken = vitals(&rum, &body, 0.0).unwrap();
    insta::assert_snapshot!(format!("{} vitals; {}", taken.vitals, taken.left_out.join("; ")));
    assert!(rum.counts(at(100.0)).apps[0].vital(Vital::Lcp).of == 0, "absent is not zero");
}

#[test]
fn floods_are_bounded_by_origin_by_session_and_in_memory() {
    let rate = |per_second, burst| Rate { per_second, burst };
    let limits = RumSettings { origin_rate: rate(10, 20), session_rate: rate(1, 3), ..settings() };
    let rum = Rum::new(limits);
    let session = |session: &str| json!({ "app": "shop", "version": CANARY, "session": session, "vitals": [] });
    let taken =
        |body: &Value, seconds| (0..50).filter(|_| vitals(&rum, body, seconds).is_ok()).count();
    assert_eq!(taken(&session("a"), 0.0), 3, "of one session");
    assert_eq!(
        vitals(&rum, &session("b"), 0.0),
        Err(Refused::TooOften { retry_after: 1 }),
        "of the origin"
    );
    assert_eq!(taken(&session("b"), 60.0), 3);

    let rum = Rum::new(RumSettings { max_ids: 100, ..settings() });
    for number in 0..1_000 {
        let version = format!("v{number}");
        let page = "/a".repeat(900);
        let body = json!({ "app": "shop", "version": version, "page": page,
            "session": format!("{number}").repeat(300), "vitals": [] });
        vitals(&rum, &body, f64::from(number) / 50.0).unwrap();
    }
    let state = rum.locked();
    assert_eq!(state.ids.len(), 100);
    drop(state);
    let counts = rum.counts(at(100.0));
    assert_eq!(counts.apps.len(), 100);
    assert!(counts.left_out[0].starts_with("900 for which there was no room"), "{counts:?}");
    assert_eq!(rum.locked().ids.len(), 100, "remembered");
    rum.counts(at(4_000.0));
    assert_eq!(rum.locked().ids.len(), 0, "forgotten");
}

#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let rum = Rum::new(settings());
    let body = |id: &str| json!({ "app": "shop", "version": CANARY, "vitals": [{ "name": "CLS", "id": id, "value": 1 }] });
    vitals(&rum, &body("a"), 1_000.0).unwrap();
    vitals(&rum, &body("b"), 0.0).unwrap();
    assert_eq!(rum.counts(at(5.0)).open, 2);
    let counts = rum.counts(at(1_010.0));
    assert_eq!((counts.open, counts.apps[0].vital(Vital::Cls).of), (0, 2));
    let long_ago: Timestamp = "-005000-01-01T00:00:00Z".parse().unwrap();
    for moment in [Timestamp::MIN, long_ago, Timestamp::MAX, Timestamp::MIN] {
        let text = body("c").to_string();
        let _ = rum.receive_vitals(&arrival(text.as_bytes()), moment);
        rum.counts(moment);
    }
}

/// Any JSON, with the names that are read.
fn anything() -> impl Strategy<Value = Value> {
    let names = "meta|app|name|version|gitHash|session|id|page|url|measurements|type|values|cls|LCP|value|vitals|errors|message|ended|timestamp|context|exceptions|k6|isK6Browser";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}|web-vitals|CLS|shop|4f2c1a9".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_is_sent_is_taken_or_refused(body in anything(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let rum = Rum::new(settings());
        let text = body.to_string();
        for body in [text.as_bytes(), &bytes, &gzip(text.as_bytes())] {
            for encoding in [None, Some("gzip")] {
                let arrival = Arrival { encoding, app: Some("shop"), version: Some("1"), ..arrival(body) };
                let _ = rum.receive_faro(&arrival, at(0.0));
                let _ = rum.receive_vitals(&arrival, at(0.0));
            }
        }
        for one in rum.counts(at(100.0)).apps {
            let shares = one.vitals.values().chain([&one.sessions]).all(|share| share.bad <= share.of);
            prop_assert!(shares);
        }
    }
}
