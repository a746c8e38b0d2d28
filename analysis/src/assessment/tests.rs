//! Scrapes in, verdicts out: the rules of the engine one by one.

mod beside;
mod pods;
mod properties;

use crate::{
    Arm, Assessment, Check, Counts, History, Observation, OnBreach, Outcome, Sample, Scrape,
    Settings, Status, Test,
};
use jiff::{SignedDuration, Timestamp};

fn check(name: &str, reads: &str, test: Test) -> Check {
    Check { reads: reads.into(), ..Check::new(name, test) }
}

fn errors() -> Check {
    check("errors", "errors", Test::Errors { ratio: 1.25, absolute: 0.001 })
}

fn latency() -> Check {
    check("latency", "latency", Test::Latency { stretch: 0.1, ratio: 1.1 })
}

fn settings(checks: Vec<Check>) -> Settings {
    Settings { false_alarm: 0.01, false_promotion: 0.05, harm: 0.001, latency_harm: 0.01, checks }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_764_000_000 + seconds)
}

fn failures(arm: Arm, events: u64, of: u64) -> Observation {
    let instance = if arm == Arm::Canary { "c1" } else { "b1" };
    Observation {
        arm,
        instance: instance.into(),
        check: "errors".into(),
        stratum: None,
        sample: Sample::Events { events, of },
    }
}

fn durations(arm: Arm, counts: [u64; 4]) -> Observation {
    Observation {
        check: "latency".into(),
        sample: Sample::Histogram { le: vec![0.1, 0.25, 0.5], counts: counts.to_vec() },
        ..failures(arm, 0, 0)
    }
}

fn scrape(seconds: i64, observations: Vec<Observation>) -> Scrape {
    Scrape { at: at(seconds), observations }
}

fn pair(seconds: i64, canary: (u64, u64), baseline: (u64, u64)) -> Scrape {
    scrape(
        seconds,
        vec![
            failures(Arm::Canary, canary.0, canary.1),
            failures(Arm::Baseline, baseline.0, baseline.1),
        ],
    )
}

fn assessed(settings: &Settings, scrapes: &[Scrape]) -> Assessment {
    let mut assessment = Assessment::new(settings, &History::default());
    for scrape in scrapes {
        assessment.observe(settings, scrape);
    }
    assessment
}

#[test]
fn a_broken_canary_fails_at_once_and_says_why() {
    let settings = settings(vec![errors()]);
    let assessment = assessed(&settings, &[pair(0, (12, 389), (9, 8812))]);
    let verdict = assessment.verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Fail);
    insta::assert_snapshot!(verdict.reason, @"errors: 3.1 % of canary requests failed (12 of 389) against 0.1 % of stable's (9 of 8,812); tolerated is 1.25 x + 0.1 %; evidence 15.4 of 4.6 needed");
    assert_eq!(verdict.findings[0].status, Status::Fail);
    let ratio = verdict.findings[0].ratio.unwrap();
    assert!(
        (4.0..5.0).contains(&ratio.lower.unwrap()) && (29.0..32.0).contains(&ratio.estimate),
        "{ratio:?}"
    );
}

#[test]
fn a_healthy_canary_passes_step_by_step_up_to_everything() {
    let settings = settings(vec![errors()]);
    let mut assessment = Assessment::new(&settings, &History::default());
    let mut weights = Vec::new();
    for second in 0..600 {
        assessment.observe(&settings, &pair(second, (0, 250), (u64::from(second % 10 == 0), 250)));
        weights.push(assessment.verdict(&settings, 1.0).allowed);
    }
    assert!(weights.is_sorted_by(|left, right| *left <= right * 1.5));
    let verdict = assessment.verdict(&settings, 1.0);
    assert_eq!(verdict.outcome, Outcome::Pass);
    insta::assert_snapshot!(verdict.reason, @"100 % is allowed: 150,000 canary requests show that it harms less than the budget (0.1 % of all requests failing); the evidence carries up to 100 %");
}

#[test]
fn undecided_says_what_it_waits_for() {
    let settings = settings(vec![errors()]);
    let assessment = assessed(&settings, &[pair(0, (0, 40), (4, 3960))]);
    let verdict = assessment.verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Undecided);
    assert!(verdict.findings[0].needs.unwrap() > 100);
    insta::assert_snapshot!(verdict.reason, @"errors: 0 % of canary requests failed (0 of 40) against 0.1 % of stable's (4 of 3,960); tolerated is 1.25 x + 0.1 %; evidence -0.2 of 4.6 needed; about 480 more canary requests until 10 % is allowed");
}

#[test]
fn silence_never_passes() {
    let both = settings(vec![errors(), latency()]);
    let nothing = Assessment::new(&both, &History::default());
    let verdict = nothing.verdict(&both, 0.01);
    assert_eq!((verdict.outcome, verdict.allowed), (Outcome::Undecided, 0.0));

    // Errors alone are not enough where latency is asked for too.
    let scrapes: Vec<Scrape> = (0..100).map(|second| pair(second, (0, 500), (0, 500))).collect();
    let verdict = assessed(&both, &scrapes).verdict(&both, 0.01);
    assert_eq!(verdict.findings[0].status, Status::Pass);
    assert_eq!(verdict.findings[1].status, Status::NoData);
    assert_eq!((verdict.outcome, verdict.allowed), (Outcome::Undecided, 0.0));
    insta::assert_snapshot!(verdict.reason, @"latency: no data of either arm yet");

    // A canary without a single request is no pass either.
    let only = settings(vec![errors()]);
    let verdict = assessed(&only, &[pair(0, (0, 0), (0, 500))]).verdict(&only, 0.01);
    assert_eq!(verdict.findings[0].status, Status::NoData);
}

#[test]
fn data_that_stops_is_no_data() {
    let settings = settings(vec![errors()]);
    let mut scrapes: Vec<Scrape> =
        (0..100).map(|second| pair(second, (0, 500), (0, 500))).collect();
    assert_eq!(assessed(&settings, &scrapes).verdict(&settings, 0.5).outcome, Outcome::Pass);
    scrapes.push(scrape(500, Vec::new()));
    let verdict = assessed(&settings, &scrapes).verdict(&settings, 0.5);
    assert_eq!(verdict.outcome, Outcome::Undecided);
    insta::assert_snapshot!(verdict.reason, @"errors: no usable data for 6 minutes");
}

#[test]
fn an_incident_of_both_versions_proves_nothing_for_the_canary() {
    let settings = settings(vec![errors()]);
    // All is well for a while, and then everything fails alike for half a minute.
    let calm = (0..30).map(|s| pair(s, (0, 10), (1, 1900)));
    let incident = (30..60).map(|s| pair(s, (3, 10), (570, 1900)));
    let scrapes: Vec<_> = calm.chain(incident).collect();
    let before = assessed(&settings, &scrapes[..30]).verdict(&settings, 0.1);
    let after = assessed(&settings, &scrapes).verdict(&settings, 0.1);
    assert!((after.allowed - before.allowed).abs() < 1e-9, "{} {}", before.allowed, after.allowed);
    let sentence = &after.findings[0].sentence;
    assert!(sentence.contains("which proves nothing for the canary"), "{sentence}");
}

#[test]
fn a_failure_stays_a_failure() {
    let settings = settings(vec![errors()]);
    let mut assessment = assessed(&settings, &[pair(0, (20, 100), (0, 9900))]);
    for second in 1..200 {
        assessment.observe(&settings, &pair(second, (0, 1000), (10, 9000)));
    }
    let verdict = assessment.verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Fail);
    assert!(verdict.log_evidence >= verdict.log_threshold);
    assert_eq!(verdict.findings[0].status, Status::Fail);
    assert!(verdict.reason.starts_with("errors: 0.01"), "{}", verdict.reason);
}

#[test]
fn a_missing_arm_makes_the_other_one_wait() {
    let settings = settings(vec![errors()]);
    let first = pair(0, (1, 10), (1, 100));
    let split = [
        first.clone(),
        scrape(5, vec![failures(Arm::Baseline, 2, 200)]),
        pair(10, (3, 60), (1, 110)),
    ];
    let whole = [first.clone(), pair(10, (3, 60), (3, 310))];
    let verdict = |scrapes: &[Scrape]| assessed(&settings, scrapes).verdict(&settings, 0.1);
    assert_eq!(verdict(&split), verdict(&whole));

    // Not for longer than five minutes.
    let mut late = split.clone();
    late[2].at = at(306);
    let mut fresh = whole.clone();
    fresh[1] = pair(306, (3, 60), (1, 110));
    assert_eq!(verdict(&late), verdict(&fresh));

    // And not for an arm that was never there.
    let alone = scrape(0, vec![failures(Arm::Baseline, 900, 1000)]);
    let verdict = verdict(&[alone, pair(5, (1, 10), (1, 100))]);
    assert_eq!(verdict.findings[0].baseline, Counts { events: 1, of: 100 });
}

#[test]
fn strata_are_compared_only_with_themselves() {
    let settings = settings(vec![errors()]);
    let on = |route: &str, observation: Observation| Observation {
        stratum: Some(route.into()),
        ..observation
    };
    // A route that always fails half the time gets most of the canary's traffic: no regression.
    let observations = vec![
        on("/bad", failures(Arm::Canary, 450, 900)),
        on("/bad", failures(Arm::Baseline, 500, 1000)),
        on("/good", failures(Arm::Canary, 0, 100)),
        on("/good", failures(Arm::Baseline, 0, 9000)),
    ];
    let verdict = assessed(&settings, &[scrape(0, observations)]).verdict(&settings, 0.1);
    assert!(verdict.log_evidence < 1.0, "{}", verdict.log_evidence);
    let pooled = pair(0, (450, 1000), (500, 10_000));
    assert_eq!(assessed(&settings, &[pooled]).verdict(&settings, 0.1).outcome, Outcome::Fail);
}

#[test]
fn a_pausing_objective_breaches_and_never_fails() {
    let test = Test::ErrorObjective { at_most: 0.005, on_breach: OnBreach::Pause };
    let settings = settings(vec![errors(), check("errors-2", "errors", test)]);
    // A shared outage: both arms fail alike.
    let scrapes: Vec<Scrape> = (0..60).map(|second| pair(second, (20, 100), (200, 1000))).collect();
    let verdict = assessed(&settings, &scrapes).verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Undecided);
    assert!(verdict.breached);
    assert_eq!(verdict.findings[1].status, Status::Breached);
    insta::assert_snapshot!(verdict.reason, @"errors-2: 20 % of canary requests failed (1,200 of 6,000) against 20 % of stable's; the objective allows 0.5 %; evidence 3359.4 of 4.6 needed");
}

#[test]
fn an_objective_rolls_back_only_with_a_regression() {
    let test = Test::ErrorObjective { at_most: 0.005, on_breach: OnBreach::RollBack };
    let settings = settings(vec![check("errors", "errors", test)]);
    let shared: Vec<Scrape> = (0..60).map(|second| pair(second, (20, 100), (200, 1000))).collect();
    assert_ne!(assessed(&settings, &shared).verdict(&settings, 0.1).outcome, Outcome::Fail);
    let own: Vec<Scrape> = (0..60).map(|second| pair(second, (20, 100), (1, 1000))).collect();
    assert_eq!(assessed(&settings, &own).verdict(&settings, 0.1).outcome, Outcome::Fail);
    let within: Vec<Scrape> = (0..60).map(|second| pair(second, (0, 100), (0, 1000))).collect();
    assert_eq!(assessed(&settings, &within).verdict(&settings, 0.1).outcome, Outcome::Pass);
}

#[test]
fn latency_learns_its_thresholds_and_then_fails_a_slow_canary() {
    let settings = settings(vec![latency()]);
    let mut assessment = Assessment::new(&settings, &History::default());
    let baseline = || durations(Arm::Baseline, [80, 18, 2, 0]);
    assessment
        .observe(&settings, &scrape(0, vec![baseline(), durations(Arm::Canary, [4, 1, 0, 0])]));
    assert_eq!(assessment.verdict(&settings, 0.1).findings[0].status, Status::NoData);
    insta::assert_snapshot!(assessment.verdict(&settings, 0.1).reason, @"latency: learning how fast stable is: 100 of 200 requests seen");
    let mut second = 0;
    while assessment.verdict(&settings, 0.1).outcome != Outcome::Fail {
        second += 1;
        assert!(second < 60);
        let slow = durations(Arm::Canary, [3, 4, 2, 1]);
        assessment.observe(&settings, &scrape(second, vec![baseline(), slow]));
    }
    insta::assert_snapshot!(assessment.verdict(&settings, 0.1).reason, @"latency: 30 % of canary requests took longer than 250 ms (9 of 30) against 2 % of stable's (6 of 300); tolerated is 1.38 x; evidence 6.4 of 4.6 needed");
}

#[test]
fn a_known_history_begins_the_evidence_at_once() {
    let settings = settings(vec![latency()]);
    let long: Vec<Scrape> = (0..10)
        .map(|second| {
            scrape(
                second,
                vec![
                    durations(Arm::Baseline, [800, 180, 19, 1]),
                    durations(Arm::Canary, [80, 18, 2, 0]),
                ],
            )
        })
        .collect();
    let history = assessed(&settings, &long).history();
    assert_eq!(history.reference("latency").unwrap().latency.total(), 10_000);
    let mut next = Assessment::new(&settings, &history);
    next.observe(&settings, &long[0]);
    assert_eq!(next.verdict(&settings, 0.01).findings[0].canary.of, 100);
}

#[test]
fn other_bucket_bounds_are_never_compared() {
    let settings = settings(vec![latency()]);
    let arms = |second: i64, le: Vec<f64>| {
        let canary = Observation {
            sample: Sample::Histogram { le, counts: vec![0, 0, 0, 500] },
            ..durations(Arm::Canary, [0; 4])
        };
        scrape(second, vec![durations(Arm::Baseline, [300, 0, 0, 0]), canary])
    };
    let mut scrapes: Vec<Scrape> =
        (1..=3).map(|second| arms(second, vec![0.1, 0.25, 0.5])).collect();
    let before = assessed(&settings, &scrapes);
    scrapes.push(arms(4, vec![0.11, 0.27, 0.55]));
    let after = assessed(&settings, &scrapes);
    assert_eq!(after.verdict(&settings, 0.1).findings, before.verdict(&settings, 0.1).findings);
    assert_eq!(after.refused().count, 1);
    insta::assert_snapshot!(after.refused().last.clone().unwrap(), @"latency of canary c1: its bucket bounds are not those that this rollout began with");
}

#[test]
fn malformed_observations_are_counted_and_change_nothing() {
    let settings = settings(vec![errors(), latency()]);
    let clean = assessed(&settings, &[pair(0, (0, 10), (1, 100))]);
    let mut dirty = pair(0, (0, 10), (1, 100));
    dirty.observations.push(failures(Arm::Canary, 11, 10));
    dirty.observations.push(failures(Arm::Canary, u64::MAX, u64::MAX));
    dirty.observations.push(Observation {
        sample: Sample::Histogram { le: vec![f64::NAN], counts: vec![1, 2] },
        ..durations(Arm::Canary, [0; 4])
    });
    let dirty = assessed(&settings, &[dirty]);
    assert_eq!(dirty.refused().count, 3);
    assert_eq!(dirty.verdict(&settings, 0.1), clean.verdict(&settings, 0.1));
}

#[test]
fn a_steady_bake_raises_no_suspicion_and_a_late_leak_does() {
    let settings = settings(vec![errors(), latency()]);
    let both = |second: i64, canary: u64| {
        scrape(
            second,
            vec![
                failures(Arm::Canary, canary, 500),
                failures(Arm::Baseline, 1, 500),
                durations(Arm::Canary, [400, 90, 9, 1]),
                durations(Arm::Baseline, [400, 90, 9, 1]),
            ],
        )
    };
    let alone = |second: i64, events: u64, slow: u64| {
        scrape(
            second,
            vec![
                failures(Arm::Canary, events, 1000),
                failures(Arm::Baseline, 0, 0),
                durations(Arm::Canary, [800, 180, 18, 2 + slow]),
            ],
        )
    };
    let ramp: Vec<Scrape> = (0..60).map(|second| both(second, 1)).collect();
    let mut assessment = assessed(&settings, &ramp);
    assessment.enter_bake(&settings);
    for second in 60..2000 {
        assessment.observe(&settings, &alone(second, 2, 0));
    }
    let verdict = assessment.verdict(&settings, 1.0);
    assert_eq!((verdict.outcome, verdict.suspicion), (Outcome::Pass, None));

    for (events, slow) in [(20, 0), (2, 60)] {
        let mut leaking = assessment.clone();
        let mut second = 2000;
        while leaking.verdict(&settings, 1.0).suspicion.is_none() {
            leaking.observe(&settings, &alone(second, events, slow));
            second += 1;
            assert!(second < 4000);
        }
        assert_ne!(leaking.verdict(&settings, 1.0).outcome, Outcome::Fail);
        if events == 20 {
            insta::assert_snapshot!(leaking.verdict(&settings, 1.0).reason, @"errors: while the canary serves everything, 0.52 % of requests failed (880 of 170,000); after the ramp at most 0.43 % was to be expected");
        }
        leaking.leave_bake();
        assert_eq!(leaking.verdict(&settings, 1.0).suspicion, None);
        leaking.enter_bake(&settings);
        assert_eq!(leaking.verdict(&settings, 1.0).suspicion, None);
    }
}

#[test]
fn a_regression_after_hours_of_good_data_fails_soon_once_compared() {
    let settings = settings(vec![errors()]);
    let mut assessment = Assessment::new(&settings, &History::default());
    for second in 0..3600 {
        assessment.observe(
            &settings,
            &pair(second, (u64::from(second % 4 == 0), 250), (u64::from(second % 4 == 1), 250)),
        );
    }
    assessment.enter_bake(&settings);
    assessment.leave_bake();
    let mut second = 3600;
    while assessment.verdict(&settings, 1.0).outcome != Outcome::Fail {
        second += 1;
        assert!(second < 3630, "{}", assessment.verdict(&settings, 1.0).reason);
        assessment.observe(&settings, &pair(second, (3, 250), (0, 250)));
    }
}
