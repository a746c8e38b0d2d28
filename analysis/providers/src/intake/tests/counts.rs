//! Counts are exact, whatever is resent, late, nested or given up.

use std::collections::BTreeMap;

use analysis::{Arm, Sample};
use analysis_traces::Kind;
use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::samples::{after, failed, of_arm, process, request, span, subject, tree, watching};
use crate::intake::{ArmCount, Intake, IntakeSettings};
use crate::subject::MeasureKind;
use crate::{Completeness, MetricProvider as _};

fn totals(counts: &[ArmCount]) -> BTreeMap<(Arm, String), (u64, u64)> {
    let mut all = BTreeMap::new();
    for count in counts.iter().filter(|count| count.requests > 0) {
        assert_eq!(count.durations.total(), count.requests);
        let sum: &mut (u64, u64) = all.entry((count.arm, count.instance.clone())).or_default();
        *sum = (sum.0 + count.requests, sum.1 + count.failed);
    }
    all
}

#[test]
fn each_entry_counts_once_and_what_is_within_the_service_does_not() {
    let intake = watching(IntakeSettings::default());
    let (canary, gateway) = (of_arm(Arm::Canary), process("gateway", "7", "g"));
    let mut spans = tree(&canary, 1);
    // Called by the gateway, whose span came before.
    let mut called = request(&canary, 2, 20);
    called.parent = Some(analysis_traces::SpanId(19));
    // Once more through a filter of the service itself, and a message that it works on.
    let nested = span(&canary, Kind::Server, (2, 21, 20));
    let message = span(&canary, Kind::Consumer, (2, 22, 19));
    spans.extend([span(&gateway, Kind::Client, (2, 19, 0)), nested, called.clone(), message]);
    // A probe, a synthetic check and a stranger.
    let mut probe = request(&canary, 3, 30);
    probe.attributes.0[0].1 = "/healthz".into();
    let mut synthetic = request(&canary, 4, 40);
    synthetic.attributes.0.push(("user_agent.synthetic.type".into(), "test".into()));
    spans.extend([probe, synthetic, request(&process("checkout", "0.9", "old"), 5, 50)]);
    assert_eq!(intake.accept(spans, after(0)), 0);
    let one = (Arm::Canary, "c1".to_owned());
    assert_eq!(totals(&intake.counts("one", after(1))), [(one.clone(), (3, 0))].into());
    // Sent again, with one more that failed.
    let more = failed(request(&canary, 6, 60), "KeyError");
    intake.accept([tree(&canary, 1), vec![called, more]].concat(), after(300_000));
    assert_eq!(totals(&intake.counts("one", after(300_001))), [(one, (1, 1))].into());
    assert!(intake.counts("one", after(300_002)).iter().all(|count| count.requests == 0));
    assert!(intake.counts("two", after(300_003)).is_empty());
}

/// Requests with what the test knows of them: whose, whether it failed, and whether it calls itself.
fn requests() -> impl Strategy<Value = Vec<(bool, bool, bool, u8)>> {
    proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0..6_u8), 1..60)
}

proptest! {
    #[test]
    fn counts_agree_with_a_naive_count(
        requests in requests(),
        order in any::<u64>(),
        again in proptest::collection::vec(any::<proptest::sample::Index>(), 0..20),
        tiny in any::<bool>(),
    ) {
        let settings = IntakeSettings {
            // With room for so little nearly every trace is given up.
            max_spans: if tiny { 40 } else { 200_000 },
            ..IntakeSettings::default()
        };
        let intake = watching(settings);
        let mut expected: BTreeMap<(Arm, String), (u64, u64)> = BTreeMap::new();
        let mut batches = Vec::new();
        for (trace, (canary, fails, nested, pod)) in (1_u128..).zip(&requests) {
            let arm = if *canary { Arm::Canary } else { Arm::Baseline };
            let version = if *canary { "1.1" } else { "1.0" };
            let of = process("checkout", version, &format!("pod-{pod}"));
            let mut entry = request(&of, trace, 1);
            entry.parent = Some(analysis_traces::SpanId(99));
            let entry = if *fails { failed(entry, "E") } else { entry };
            let mut batch = vec![span(&of, Kind::Internal, (trace, 2, 1)), entry];
            if *nested {
                batch.insert(0, span(&of, Kind::Server, (trace, 3, 1)));
            }
            let sum = expected.entry((arm, format!("pod-{pod}"))).or_default();
            *sum = (sum.0 + 1, sum.1 + u64::from(*fails));
            batches.push(batch);
            // The caller, and what is called, come from elsewhere and at another time.
            let gateway = process("gateway", "7", "g");
            batches.push(vec![span(&gateway, Kind::Client, (trace, 99, 0))]);
            batches.push(vec![span(&process("db", "2", "d"), Kind::Server, (trace, 4, 2))]);
        }
        batches.sort_by_key(|batch| {
            analysis_traces::trace_rank(analysis_traces::TraceId(
                batch[0].trace.0 ^ u128::from(order) ^ u128::from(batch[0].id.0) << 90,
            ))
        });
        let resent: Vec<_> = again.iter().map(|at| at.get(&batches).clone()).collect();
        batches.extend(resent);
        let mut found: BTreeMap<(Arm, String), (u64, u64)> = BTreeMap::new();
        for (n, batch) in (0..).zip(batches) {
            intake.accept(batch, after(n * 700));
            for (key, (requests, failed)) in totals(&intake.counts("one", after(n * 700 + 1))) {
                let sum = found.entry(key).or_default();
                *sum = (sum.0 + requests, sum.1 + failed);
            }
        }
        prop_assert_eq!(found, expected);
    }
}

fn measured(
    intake: &Intake,
    kinds: &[(&str, MeasureKind)],
    ms: i64,
) -> (Vec<analysis::Observation>, Completeness) {
    let subjects = [subject(kinds)];
    let measured = intake.measure(&subjects, after(ms)).now_or_never().unwrap().remove(0);
    let (scrape, completeness) = measured.result.unwrap();
    assert!(scrape.observations.iter().all(|one| one.validate().is_ok()));
    (scrape.observations, completeness)
}

#[test]
fn a_metric_provider_delivers_both_arms_together_and_each_request_once() {
    let kinds = [("errors", MeasureKind::Errors), ("latency", MeasureKind::Latency)];
    let intake = Intake::new(IntakeSettings::default());
    assert!(measured(&intake, &kinds, 0).0.is_empty());
    let (baseline, canary) = (of_arm(Arm::Baseline), of_arm(Arm::Canary));
    // What one arm alone was asked says nothing: both begin together.
    intake.accept(tree(&baseline, 1), after(1_000));
    let (found, completeness) = measured(&intake, &kinds, 1_001);
    assert_eq!(found.len(), 0);
    let Completeness::Partial(text) = completeness else { panic!("{completeness:?}") };
    assert_eq!(text, "checkout: no request of the canary yet");
    intake.accept(vec![failed(request(&canary, 2, 1), "E")], after(1_002));
    intake.accept(tree(&baseline, 3), after(1_003));
    let (found, completeness) = measured(&intake, &kinds, 2_000);
    assert_eq!(completeness, Completeness::Full);
    let events = |arm| {
        let mut all = found.iter().filter(|one| one.arm == arm && one.check == "errors");
        let one = all.next().unwrap();
        assert_eq!((one.stratum.as_deref(), all.next()), (Some("GET /cart"), None));
        one.sample.clone()
    };
    assert_eq!(events(Arm::Canary), Sample::Events { events: 1, of: 1 });
    assert_eq!(events(Arm::Baseline), Sample::Events { events: 0, of: 1 });
    let latency = found.iter().find(|one| one.check == "latency").unwrap();
    let Sample::Exponential(histogram) = &latency.sample else { panic!("{latency:?}") };
    // 10 ms lie between 2^-7 and 2^-6 seconds.
    assert_eq!(histogram.slower_than(1.0 / 128.0).unwrap().events, 1);
    assert_eq!(histogram.slower_than(1.0 / 64.0).unwrap().events, 0);
    // Nothing is told twice; one arm waits for the other; the same moment again yields nothing.
    assert!(measured(&intake, &kinds, 3_000).0.is_empty());
    intake.accept(tree(&baseline, 4), after(3_500));
    assert!(measured(&intake, &kinds, 4_000).0.is_empty());
    intake.accept(tree(&canary, 5), after(4_500));
    assert!(measured(&intake, &kinds, 4_000).0.is_empty());
    assert_eq!(measured(&intake, &kinds, 5_000).0.len(), 4);
    let (_, completeness) = measured(&intake, &kinds, 90_000);
    assert!(matches!(completeness, Completeness::Stale(_)), "{completeness:?}");
}

#[test]
fn traffic_is_split_as_the_policy_says() {
    let intake = Intake::new(IntakeSettings::default());
    let mut subject = subject(&[("errors", MeasureKind::Errors), ("all", MeasureKind::Errors)]);
    subject.measures[0].strata = vec!["cloud_region".into()];
    subject.measures[1].strata = vec![String::new()];
    let subjects = [subject];
    intake.measure(&subjects, after(0)).now_or_never().unwrap();
    for (trace, arm) in [(1, Arm::Baseline), (2, Arm::Canary)] {
        let mut entry = request(&of_arm(arm), trace, 1);
        entry.attributes.0.push(("cloud.region".into(), "north".into()));
        intake.accept(vec![entry], after(1));
    }
    let measured = intake.measure(&subjects, after(2)).now_or_never().unwrap().remove(0);
    let strata: Vec<(String, Option<String>)> = measured
        .result
        .unwrap()
        .0
        .observations
        .into_iter()
        .map(|one| (one.check, one.stratum))
        .collect();
    let north = ("errors".to_owned(), Some("north".to_owned()));
    assert_eq!(strata, [north.clone(), north, ("all".into(), None), ("all".into(), None)]);
}
