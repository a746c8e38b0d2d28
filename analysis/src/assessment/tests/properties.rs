//! What holds for any observations at all: no panic, no poison, exact round trips, no order within a scrape.

use proptest::prelude::*;

use super::*;

fn any_sample() -> impl Strategy<Value = Sample> {
    let count = prop_oneof![0..5_u64, 0..100_000_u64, any::<u64>()];
    let bound = prop_oneof![Just(0.1), Just(0.25), Just(0.5), any::<f64>()];
    prop_oneof![
        (count.clone(), count.clone()).prop_map(|(events, of)| Sample::Events { events, of }),
        (0..20_u64, 20..5000_u64).prop_map(|(events, of)| Sample::Events { events, of }),
        [0..300_u64, 0..300_u64, 0..50_u64, 0..5_u64].prop_map(|counts| Sample::Histogram {
            le: vec![0.1, 0.25, 0.5],
            counts: counts.to_vec(),
        }),
        (proptest::collection::vec(bound, 0..5), proptest::collection::vec(count, 0..6))
            .prop_map(|(le, counts)| Sample::Histogram { le, counts }),
    ]
}

fn any_observation() -> impl Strategy<Value = Observation> {
    (
        any::<bool>(),
        "[a-c]?",
        prop_oneof![Just("errors"), Just("latency"), Just("slo"), Just("other")],
        proptest::option::of("[xy]"),
        any_sample(),
    )
        .prop_map(|(canary, instance, check, stratum, sample)| Observation {
            arm: if canary { Arm::Canary } else { Arm::Baseline },
            instance,
            check: check.into(),
            stratum,
            sample,
        })
}

fn any_scrapes() -> impl Strategy<Value = Vec<Scrape>> {
    proptest::collection::vec(
        (0..900_i64, proptest::collection::vec(any_observation(), 0..10)),
        0..20,
    )
    .prop_map(|scrapes| {
        scrapes.into_iter().map(|(seconds, observations)| scrape(seconds, observations)).collect()
    })
}

fn all_kinds() -> Settings {
    let slow =
        Test::LatencyObjective { threshold: 0.2, at_most: 0.05, on_breach: OnBreach::RollBack };
    let failing = Test::ErrorObjective { at_most: 0.005, on_breach: OnBreach::Pause };
    settings(vec![
        errors(),
        latency(),
        check("slo", "errors", failing),
        check("latency-2", "latency", slow),
    ])
}

fn finite(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().all(finite),
        serde_json::Value::Object(fields) => fields.values().all(finite),
        // JSON has no other way to write a number that is not finite.
        serde_json::Value::Number(number) => number.as_f64().is_some_and(f64::is_finite),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => true,
    }
}

proptest! {
    #[test]
    fn no_observation_panics_or_poisons_and_state_round_trips(
        scrapes in any_scrapes(),
        bake in any::<u8>(),
        next in any::<f64>(),
    ) {
        let settings = all_kinds();
        let mut assessment = Assessment::new(&settings, &History::default());
        for (index, scrape) in scrapes.iter().enumerate() {
            if index == usize::from(bake % 8) {
                assessment.enter_bake(&settings);
            }
            if index == usize::from(bake % 16) {
                assessment.leave_bake();
            }
            assessment.observe(&settings, scrape);
            let text = serde_json::to_string(&assessment).unwrap();
            let mut restored: Assessment = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&restored, &assessment);
            prop_assert!(finite(&serde_json::from_str(&text).unwrap()));
            let verdict = assessment.verdict(&settings, next);
            prop_assert_eq!(&restored.verdict(&settings, next), &verdict);
            prop_assert!(finite(&serde_json::to_value(&verdict).unwrap()));
            prop_assert!((0.0..=1.0).contains(&verdict.allowed));
            prop_assert!(verdict.log_evidence.is_finite());
            // A restored state goes on bit for bit.
            restored.observe(&settings, scrape);
            let mut same = assessment.clone();
            same.observe(&settings, scrape);
            prop_assert_eq!(restored, same);
        }
        let _ = assessment.history();
    }

    #[test]
    fn order_within_a_scrape_makes_no_difference(
        scrapes in any_scrapes(),
        turn in 0..10_usize,
    ) {
        let settings = all_kinds();
        let mut turned = scrapes.clone();
        for scrape in &mut turned {
            let length = scrape.observations.len().max(1);
            scrape.observations.rotate_left(turn % length);
            if turn % 2 == 0 {
                scrape.observations.reverse();
            }
        }
        let valid = |scrapes: &[Scrape]| -> Vec<Scrape> {
            // Which refusal is named last depends on the order, and so does which bounds came first.
            scrapes
                .iter()
                .map(|scrape| Scrape {
                    at: scrape.at,
                    observations: scrape
                        .observations
                        .iter()
                        .filter(|observation| observation.validate().is_ok())
                        .filter(|observation| match &observation.sample {
                            Sample::Histogram { le, .. } => le == &[0.1, 0.25, 0.5] && observation.check == "latency",
                            Sample::Events { .. } => observation.check != "latency",
                            Sample::Exponential(_) | Sample::Gauge { .. } | Sample::Attempt { .. } => false,
                        })
                        .cloned()
                        .collect(),
                })
                .collect()
        };
        prop_assert_eq!(
            assessed(&settings, &valid(&scrapes)),
            assessed(&settings, &valid(&turned))
        );
    }
}
