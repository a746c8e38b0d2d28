//! Pods: young ones, bad ones, ones that differ; and what comes late.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Exponential, kayenta};

fn of(pod: &str, arm: Arm, events: u64, of: u64) -> Observation {
    Observation { instance: pod.into(), ..failures(arm, events, of) }
}

/// Stable's pods with the same requests, and the failures of each.
fn stable(failures: &[u64], requests: u64) -> Vec<Observation> {
    (0..)
        .zip(failures)
        .map(|(pod, events)| of(&format!("b{pod:02}"), Arm::Baseline, *events, requests))
        .collect()
}

fn strict() -> Check {
    check("errors", "errors", Test::Errors { ratio: 1.25, absolute: 0.0 })
}

/// Whether the evidence now is the same; what it once was depends on what had arrived by then.
fn close(left: &Assessment, right: &Assessment) -> bool {
    let near = |left: f64, right: f64| (left - right).abs() <= 1e-9 * (1.0 + left.abs());
    left.evidence.iter().zip(&right.evidence).all(|(left, right)| {
        near(left.current, right.current)
            && near(left.together, right.together)
            && left.comparisons.iter().zip(&right.comparisons).all(|(left, right)| {
                (left.canary, left.baseline) == (right.canary, right.baseline)
                    && near(
                        left.mirror.allowed_weight(0.001, 3.0),
                        right.mirror.allowed_weight(0.001, 3.0),
                    )
            })
    })
}

#[test]
fn one_bad_pod_holds_the_rollout_and_is_named() {
    let settings = settings(vec![strict()]);
    let scrapes: Vec<Scrape> = (0..10)
        .map(|second| {
            let mut observations = stable(&[1, 0, 0, 1], 1000);
            observations.push(of("c1", Arm::Canary, 0, 100));
            observations.push(of("c2", Arm::Canary, 9, 100));
            observations.push(of("c3", Arm::Canary, 0, 100));
            scrape(second, observations)
        })
        .collect();
    let verdict = assessed(&settings, &scrapes).verdict(&settings, 0.1);
    assert_eq!(
        (verdict.outcome, verdict.breached, verdict.allowed),
        (Outcome::Undecided, true, 0.0)
    );
    insta::assert_snapshot!(verdict.reason, @"errors: the canary looks worse only because of c2, and not without it; replace that pod, or abort if it is the version after all");

    let all_bad = scrapes.iter().map(|scrape| {
        let mut scrape = scrape.clone();
        for observation in &mut scrape.observations {
            if let (Arm::Canary, Sample::Events { events, .. }) =
                (observation.arm, &mut observation.sample)
            {
                *events = 3;
            }
        }
        scrape
    });
    let verdict = assessed(&settings, &all_bad.collect::<Vec<_>>()).verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Fail);
}

#[test]
fn a_check_that_counts_the_canary_as_one_is_not_left_without_evidence() {
    let settings = settings(vec![errors(), latency()]);
    let scrapes: Vec<Scrape> = (0..30)
        .map(|second| {
            let mut observations = stable(&[1, 0, 0, 1], 1000);
            observations.extend(["c1", "c2", "c3"].map(|pod| of(pod, Arm::Canary, 0, 100)));
            // Durations come from the proxy, which knows no pods.
            let proxy =
                |arm, counts| Observation { instance: "proxy".into(), ..durations(arm, counts) };
            observations.push(proxy(Arm::Baseline, [3200, 700, 90, 10]));
            observations.push(proxy(Arm::Canary, [150, 90, 40, 20]));
            scrape(second, observations)
        })
        .collect();
    let verdict = assessed(&settings, &scrapes).verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Fail, "{}", verdict.reason);
}

#[test]
fn stable_pods_that_differ_void_a_failure_until_it_is_beyond_them() {
    let settings = settings(vec![strict()]);
    let rollout = |canary: u64| {
        let scrapes: Vec<Scrape> = (0..40)
            .map(|second| {
                // One half of stable fails ten times as often as the other.
                let mut observations = stable(&[20, 2, 20, 2, 20, 2], 1000);
                observations.push(of("c1", Arm::Canary, canary, 1000));
                observations.push(of("c2", Arm::Canary, canary, 1000));
                scrape(second, observations)
            })
            .collect();
        assessed(&settings, &scrapes)
    };
    let halves_differ = |assessment: &Assessment| assessment.evidence[0].control > 4.6;
    let unlucky = rollout(20);
    if halves_differ(&unlucky) {
        let verdict = unlucky.verdict(&settings, 0.1);
        assert_eq!(verdict.outcome, Outcome::Inconclusive, "{}", verdict.reason);
        insta::assert_snapshot!(verdict.reason);
    }
    assert_eq!(rollout(900).verdict(&settings, 0.1).outcome, Outcome::Fail);
}

#[test]
fn a_young_canary_counts_only_when_it_fails_badly() {
    let young = Check { warm_up: Duration::from_secs(30), ..errors() };
    let settings = settings(vec![young]);
    let pair = |second, canary| pair(second, (canary, 100), (1, 900));
    let slow_start: Vec<Scrape> = (0..30).map(|second| pair(second, 1)).collect();
    let verdict = assessed(&settings, &slow_start).verdict(&settings, 0.1);
    assert_eq!(verdict.findings[0].status, Status::NoData);
    insta::assert_snapshot!(verdict.reason, @"errors: the canary warms up; its requests count in 1 s from now");
    let broken: Vec<Scrape> = (0..3).map(|second| pair(second, 60)).collect();
    assert_eq!(assessed(&settings, &broken).verdict(&settings, 0.1).outcome, Outcome::Fail);
    let warm: Vec<Scrape> = (0..60).map(|second| pair(second, u64::from(second < 30))).collect();
    let verdict = assessed(&settings, &warm).verdict(&settings, 0.01);
    assert_eq!(verdict.findings[0].canary, Counts { events: 0, of: 3000 });
}

#[test]
fn what_was_learnt_of_pods_and_bursts_makes_the_next_rollout_careful() {
    let settings = settings(vec![strict()]);
    // Twelve pods, of which one in three fails six times as often; failures come eight at a time.
    let scrapes: Vec<Scrape> = (0..200)
        .map(|second| {
            let bad = if second % 3 == 0 { 24 } else { 0 };
            let mut observations = stable(&[bad, 4, 4, bad, 4, 4, bad, 4, 4, bad, 4, 4], 1000);
            observations.push(of("c1", Arm::Canary, 5, 1000));
            scrape(second, observations)
        })
        .collect();
    let history = assessed(&settings, &scrapes).history();
    let known = history.reference("errors").unwrap();
    assert_eq!(known.spread.pods, 12);
    assert!((0.1..1.0).contains(&known.spread.cv), "{:?}", known.spread);
    assert!(known.dispersion.phi() > 3.0, "{}", known.dispersion.phi());
    assert_eq!(known.quiet.len(), 3);

    let next = |history: &History| {
        let mut assessment = Assessment::new(&settings, history);
        let mut observations = stable(&[5; 12], 1000);
        observations.push(of("c1", Arm::Canary, 60, 1000));
        assessment.observe(&settings, &scrape(0, observations));
        assessment.verdict(&settings, 0.1)
    };
    assert!(next(&history).log_evidence < next(&History::default()).log_evidence - 5.0);
    insta::assert_snapshot!(next(&history).findings[0].notes.join("\n"));
}

#[test]
fn restarts_fail_a_canary_and_never_hold_it_back() {
    let restarts = check("restarts", "restarts", Test::Restarts { ratio: 2.0 });
    let settings = settings(vec![errors(), restarts]);
    let running = |arm, pod: &str, events| Observation {
        check: "restarts".into(),
        sample: Sample::Events { events, of: 10 },
        ..of(pod, arm, 0, 0)
    };
    let mut calm: Vec<Scrape> = (0..100).map(|second| pair(second, (0, 500), (0, 500))).collect();
    assert_eq!(assessed(&settings, &calm).verdict(&settings, 1.0).outcome, Outcome::Pass);
    for scrape in &mut calm {
        for pod in 0..9 {
            scrape.observations.push(running(Arm::Baseline, &format!("b{pod}"), 0));
        }
        scrape.observations.push(running(
            Arm::Canary,
            "c1",
            u64::from(scrape.at.as_second() % 15 == 0),
        ));
    }
    let verdict = assessed(&settings, &calm).verdict(&settings, 1.0);
    assert_eq!(verdict.outcome, Outcome::Fail);
    insta::assert_snapshot!(verdict.reason);
}

#[test]
fn a_gauge_pauses_at_its_guardrail_and_tells_the_luck_of_the_pods() {
    let test = Test::Gauge { at_most: Some(900.0), sustained: Duration::from_secs(60) };
    let settings = settings(vec![errors(), check("memory", "memory", test)]);
    let memory = |arm, pod: &str, value| Observation {
        check: "memory".into(),
        sample: Sample::Gauge { value },
        ..of(pod, arm, 0, 0)
    };
    let scrapes: Vec<Scrape> = (0..100)
        .map(|second| {
            let mut scrape = pair(second, (0, 500), (0, 500));
            for pod in 0..9 {
                scrape.observations.push(memory(
                    Arm::Baseline,
                    &format!("b{pod}"),
                    500.0 + f64::from(pod),
                ));
            }
            scrape.observations.push(memory(Arm::Canary, "c1", 1000.0));
            scrape
        })
        .collect();
    let before = assessed(&settings, &scrapes[..50]).verdict(&settings, 0.5);
    assert_eq!(before.outcome, Outcome::Pass);
    let verdict = assessed(&settings, &scrapes).verdict(&settings, 0.5);
    assert_eq!((verdict.outcome, verdict.breached), (Outcome::Undecided, true));
    insta::assert_snapshot!(verdict.reason);
}

#[test]
fn kayenta_judges_after_fifty_scrapes() {
    let metric = kayenta::Metric::new(kayenta::Value::ErrorShare);
    let settings = settings(vec![check("errors", "errors", Test::Kayenta(metric))]);
    let noise = |second: i64| u64::try_from(second * 7 % 11).unwrap();
    let scrapes = |bad: u64, seconds: i64| -> Vec<Scrape> {
        (0..seconds)
            .map(|second| {
                pair(second, (bad * (10 + noise(second)), 1000), (10 + noise(second + 3), 1000))
            })
            .collect()
    };
    let early = assessed(&settings, &scrapes(3, 49)).verdict(&settings, 0.1);
    assert_eq!((early.outcome, early.allowed), (Outcome::Undecided, 0.0));
    insta::assert_snapshot!(early.findings[0].sentence, @"Kayenta's judge needs 1 more scrapes of both arms");
    assert_eq!(assessed(&settings, &scrapes(3, 50)).verdict(&settings, 0.1).outcome, Outcome::Fail);
    assert_eq!(assessed(&settings, &scrapes(1, 50)).verdict(&settings, 0.1).outcome, Outcome::Pass);
}

#[test]
fn exponential_histograms_are_compared_by_an_exact_shift_at_the_coarser_scale() {
    let settings = settings(vec![latency()]);
    let exponential = |arm, scale: i8, slow: i32| Observation {
        check: "latency".into(),
        // Around 2^-4 s = 62 ms; the canary some buckets further.
        sample: Sample::Exponential(Exponential {
            scale,
            zero: 0,
            first: -4 * (1 << scale) + slow,
            counts: vec![200, 400, 250, 100, 30, 15, 5],
        }),
        ..failures(arm, 0, 0)
    };
    let rollout = |scale: i8, slow: i32| {
        let scrapes: Vec<Scrape> = (0..30)
            .map(|second| {
                scrape(
                    second,
                    vec![exponential(Arm::Baseline, 3, 0), exponential(Arm::Canary, scale, slow)],
                )
            })
            .collect();
        assessed(&settings, &scrapes).verdict(&settings, 0.1)
    };
    // One bucket of schema 3 is 9 % slower, within the tolerated 10 %; three are 30 %.
    assert_ne!(rollout(3, 1).outcome, Outcome::Fail, "{}", rollout(3, 1).reason);
    assert_eq!(rollout(3, 3).outcome, Outcome::Fail);
    insta::assert_snapshot!(rollout(3, 3).reason);
    let quantiles = &rollout(3, 3).findings[0].quantiles;
    assert!(quantiles[2].canary.estimate > quantiles[2].baseline.estimate * 1.2, "{quantiles:?}");
    // Another scale is no reason to stop: half of the bounds are shared.
    assert!(rollout(4, 0).findings[0].canary.of > 0);
}

#[test]
fn requests_that_do_not_follow_the_weights_are_told() {
    let settings = settings(vec![errors()]);
    let mut assessment = Assessment::new(&settings, &History::default());
    assessment.expect(Some(0.1));
    for second in 0..20 {
        assessment.observe(&settings, &pair(second, (0, 50), (0, 950)));
    }
    let verdict = assessment.verdict(&settings, 0.2);
    insta::assert_snapshot!(verdict.notes.join("\n"), @"the canary completed 5 % of the requests where its weight gives it 10 %: some are lost, counted elsewhere, or the router does not follow");
    let mut followed = Assessment::new(&settings, &History::default());
    followed.expect(Some(0.05));
    for second in 0..20 {
        followed.observe(&settings, &pair(second, (0, 50), (0, 950)));
    }
    assert!(followed.verdict(&settings, 0.2).notes.is_empty());
}

#[test]
fn a_regression_that_begins_late_is_found_soon() {
    let settings = settings(vec![strict()]);
    let mut assessment = Assessment::new(&settings, &History::default());
    for second in 0..600 {
        assessment.observe(&settings, &pair(second, (u64::from(second % 4 == 0), 250), (1, 1000)));
    }
    let mut second = 600;
    while assessment.verdict(&settings, 1.0).outcome != Outcome::Fail {
        assessment.observe(&settings, &pair(second, (2, 250), (1, 1000)));
        second += 1;
        assert!(second < 640, "{}", assessment.verdict(&settings, 1.0).reason);
    }
}

proptest! {
    #[test]
    fn what_comes_late_counts_as_if_it_had_come_in_time(
        counts in proptest::collection::vec((0..4_u64, 0..4_u64, 0..6_u64, any::<bool>()), 6..40),
        order in proptest::collection::vec(0..3_usize, 40),
        apart in 1..40_i64,
    ) {
        let settings = settings(vec![errors(), latency()]);
        let mut scrapes: Vec<Scrape> = Vec::new();
        for (second, (one, other, baseline, missing)) in (0..).zip(&counts) {
            let mut observations = vec![
                of("c1", Arm::Canary, *one, 60),
                durations(Arm::Canary, [40, 15, *one, *other]),
                durations(Arm::Baseline, [400, 150, 50, *baseline]),
            ];
            if !missing {
                observations.push(of("b1", Arm::Baseline, *baseline, 900));
            }
            scrapes.push(scrape(second * apart, observations));
            // The second pod reports the same moment by itself.
            scrapes.push(scrape(second * apart, vec![of("c2", Arm::Canary, *other, 50)]));
        }
        // Both pods and the thresholds are known before anything comes late.
        let (first, rest) = scrapes.split_at(4);
        let mut shuffled = first.to_vec();
        let mut waiting: Vec<&Scrape> = Vec::new();
        for (scrape, place) in rest.iter().zip(order.iter().cycle()) {
            waiting.push(scrape);
            // Nothing is overtaken by more than one later moment: so long is waited for.
            let overdue = scrape.at.duration_since(waiting[0].at) >= SignedDuration::from_secs(2 * apart);
            if overdue || waiting.len() > 3 {
                shuffled.push(waiting.remove(if overdue { 0 } else { *place }).clone());
            }
        }
        shuffled.extend(waiting.into_iter().cloned());
        let in_time = assessed(&settings, &scrapes);
        let late = assessed(&settings, &shuffled);
        let told = |assessment: &Assessment| -> Vec<_> {
            let of = assessment.evidence.iter().flat_map(|evidence| {
                let current = (evidence.name.clone(), evidence.current, evidence.together);
                evidence.comparisons.iter().map(move |at| (current.clone(), at.canary, at.baseline, at.mirror.allowed_weight(0.001, 3.0)))
            });
            of.collect()
        };
        let order: Vec<i64> = shuffled.iter().map(|scrape| scrape.at.as_second() - 1_764_000_000).collect();
        prop_assert!(close(&in_time, &late), "{:?}\n{:?}\n{:?}", told(&in_time), told(&late), order);
    }
}
