//! The comparison as a whole: exact sums, known answers, and traces that nobody sane sends.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::samples::{MS, child, subtree};
use crate::span::{Attributes, Exception, Kind, Resource, Span, SpanId, Status, TraceId, Value};
use crate::tree::{Refused, entries, traces};

/// An arm of traces with so many calls of so many milliseconds.
fn arm(first: u128, traces: u128, calls: u64, each: u64) -> Vec<EntrySubtree> {
    (0..traces)
        .map(|number| {
            // Not all alike, or there is nothing to test: the mean stays.
            let more = if number % 2 == 0 { 1 } else { u64::MAX };
            let mut spans = vec![child(1, 0, "get", 0, 10 + calls * each)];
            for call in 0..calls {
                let from = 5 + call * each;
                spans.push(child(2 + call, 1, "load", from, from + each));
            }
            for span in &mut spans {
                span.trace = TraceId(first + number);
                if span.parent.is_none() {
                    span.end = span.end.wrapping_add(more.wrapping_mul(MS));
                }
            }
            subtree(spans)
        })
        .collect()
}

fn sums_are_exact(found: &RootCause) {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    let sum: f64 = found.operations.iter().map(|row| row.effect.change).sum::<f64>() + found.rest;
    let change = found.change;
    assert!(near(sum, change.adjusted), "{sum} {change:?}");
    assert!(near(change.raw, change.mix + change.adjusted), "{change:?}");
    for row in &found.operations {
        let effect = row.effect;
        assert!(near(effect.change, effect.by_calls + effect.by_time), "{effect:?}");
        assert!(near(effect.change, effect.canary.seconds - effect.baseline.seconds), "{effect:?}");
        assert!((0.0..=1.0).contains(&effect.p), "{effect:?}");
    }
}

#[test]
fn more_and_slower_calls_are_told_apart() {
    let found = compare(&arm(0, 40, 2, 10), &arm(100, 40, 10, 12), &Settings::default(), None);
    sums_are_exact(&found);
    let first = &found.findings[0];
    assert_eq!(first.operation.as_ref().unwrap().name, "load");
    let effect = first.effect.unwrap();
    for (got, expected) in [
        (effect.change, 0.1),
        (effect.by_calls, 0.088),
        (effect.by_time, 0.012),
        (effect.baseline.calls, 2.0),
        (effect.canary.each(), 0.012),
        (found.change.adjusted, 0.1),
    ] {
        assert!((got - expected).abs() < 1e-9, "{got} {expected}");
    }
    assert_eq!(first.cause, Cause::MoreCalls);
    assert_eq!(found.findings.len(), 1);
}

#[test]
fn equal_arms_and_empty_arms_name_nothing() {
    let same = compare(&arm(0, 40, 2, 10), &arm(100, 40, 2, 10), &Settings::default(), None);
    sums_are_exact(&same);
    assert_eq!(same.findings, []);
    let few = compare(&arm(0, 40, 2, 10), &arm(100, 3, 9, 10), &Settings::default(), None);
    assert_eq!(few.findings, []);
    insta::assert_snapshot!(few.paragraph, @"shop: 3 canary and 40 baseline traces. No entry operation has 20 traces of each arm (40 of the baseline, 3 of the canary): times were not compared.");
    let none = compare(&[], &[], &Settings::default(), None);
    assert_eq!((none.findings.len(), none.table.as_str()), (0, ""));
}

#[test]
fn a_root_cause_survives_json() {
    let found = compare(&arm(0, 40, 2, 10), &arm(100, 40, 10, 12), &Settings::default(), None);
    let json = serde_json::to_string(&found).unwrap();
    let again: RootCause = serde_json::from_str(&json).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), json);
}

#[test]
fn the_same_traces_give_the_same_answer() {
    let settings = Settings::default();
    let (baseline, canary) = (arm(0, 40, 2, 10), arm(100, 40, 10, 12));
    let once = compare(&baseline, &canary, &settings, None);
    assert_eq!(once, compare(&baseline, &canary, &settings, None));
}

#[test]
fn a_service_that_changed_as_well_is_a_second_suspect() {
    let changed = |mut arm: Vec<EntrySubtree>, version: &str| {
        let with = |span: &Span| {
            let mut span = span.clone();
            if &*span.name == "load" {
                let attributes = [("service.version", version.into())].into_iter().collect();
                span.resource = Arc::new(Resource { service: "store".into(), attributes });
            }
            span
        };
        for tree in &mut arm {
            *tree = subtree(tree.spans().iter().map(with).collect());
        }
        arm
    };
    let (baseline, canary) = (changed(arm(0, 40, 2, 10), "1"), changed(arm(100, 40, 2, 20), "2"));
    let found = compare(&baseline, &canary, &Settings::default(), None);
    let first = &found.findings[0];
    assert_eq!((first.cause, first.confidence), (Cause::Slower, Confidence::Low));
    assert_eq!(first.also_changed.as_deref(), Some("1 and 2"));
}

fn hostile() -> impl Strategy<Value = Span> {
    let ids = (0..6_u128, 0..12_u64, proptest::option::of(0..12_u64));
    let times = prop_oneof![
        (0..100_u64, 0..100_u64).prop_map(|(from, to)| (from * MS, to * MS)),
        (any::<u64>(), any::<u64>()),
    ];
    let kinds = prop_oneof![
        Just(Kind::Internal),
        Just(Kind::Server),
        Just(Kind::Client),
        Just(Kind::Producer),
        Just(Kind::Consumer)
    ];
    let texts =
        prop_oneof!["[a-c]", "\\PC{0,20}", Just("x\u{0}'\"".to_owned()), Just("y".repeat(9_000))];
    let names = prop_oneof![
        Just("http.route"),
        Just("db.system"),
        Just("db.query.text"),
        Just("tenant"),
        Just("service.instance.id"),
        Just("code.file.path"),
        Just("exception.stacktrace")
    ];
    let values = prop_oneof![
        texts.clone().prop_map(|text| Value::Text(text.into())),
        any::<f64>().prop_map(Value::Number),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Flag),
    ];
    let attributes = proptest::collection::vec((names, values), 0..4);
    let weight = prop_oneof![Just(1.0), any::<f64>()];
    (ids, times, kinds, texts.clone(), attributes, weight, proptest::option::of(texts)).prop_map(
        |(ids, (start, end), kind, name, attributes, weight, error)| Span {
            trace: TraceId(ids.0),
            id: SpanId(ids.1),
            parent: ids.2.map(SpanId),
            resource: Arc::new(Resource {
                service: if ids.1 % 3 == 0 { "b".into() } else { "a".into() },
                attributes: attributes.iter().cloned().collect::<Attributes>(),
            }),
            kind,
            name: name.as_str().into(),
            start,
            end,
            status: if error.is_some() { Status::Error } else { Status::Unset },
            message: error.as_deref().map(Into::into),
            attributes: attributes.into_iter().collect(),
            exceptions: error
                .map(|text| Exception {
                    kind: "E".into(),
                    message: text.as_str().into(),
                    stack: Some(text.as_str().into()),
                })
                .into_iter()
                .collect(),
            weight,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_spans_break_nothing(
        old in proptest::collection::vec(hostile(), 0..60),
        new in proptest::collection::vec(hostile(), 0..60),
        service in proptest::option::of(Just("a")),
    ) {
        let mut refused = Refused::default();
        let mut build = |spans: Vec<Span>| -> Vec<EntrySubtree> {
            let traces = traces(spans).into_iter();
            traces.flat_map(|trace| entries(trace, service, &mut refused)).collect()
        };
        let (old, new) = (build(old), build(new));
        let settings = Settings { least_traces: 2, false_discovery: 0.5, ..Settings::default() };
        let found = compare(&old, &new, &settings, None);
        sums_are_exact(&found);
        prop_assert!(found.paragraph.len() < 100_000 && found.table.len() < 100_000);
    }

    #[test]
    fn sums_are_exact_whatever_the_mix(
        shapes in proptest::collection::vec((0..3_usize, 0..6_u64, 1..30_u64, 0..2_usize, 1..4_u8), 8..80),
    ) {
        let mut arms = [Vec::new(), Vec::new()];
        for (number, (route, calls, each, arm, weight)) in (1_u128..).zip(shapes) {
            let mut spans = vec![child(1, 0, ["x", "y", "z"][route], 0, 10 + calls * each)];
            for call in 0..calls {
                let name = ["p", "q"][usize::from(call % 2 == 0)];
                spans.push(child(2 + call, 1, name, call * each, (call + 1) * each));
            }
            for span in &mut spans {
                span.trace = TraceId(number);
                span.weight = f64::from(weight);
            }
            arms[arm].push(subtree(spans));
        }
        let settings = Settings { least_traces: 2, ..Settings::default() };
        sums_are_exact(&compare(&arms[0], &arms[1], &settings, None));
    }
}
