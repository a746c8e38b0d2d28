//! Checks that compare no rates: new errors, journeys, and those that only speak against a canary.

use super::*;
use crate::NEW_ERRORS;

fn novelty(seconds: i64, canary: &[(&str, u64)], baseline: &[(&str, u64)]) -> Scrape {
    let mut observations = Vec::new();
    for (arm, requests, errors) in [(Arm::Canary, 50, canary), (Arm::Baseline, 950, baseline)] {
        for pod in ["p1", "p2"] {
            let of_pod = |stratum: Option<&str>, events| Observation {
                arm,
                instance: format!("{arm:?}-{pod}"),
                check: NEW_ERRORS.into(),
                stratum: stratum.map(str::to_owned),
                sample: Sample::Events { events, of: requests / 2 },
            };
            observations.push(of_pod(None, 0));
            observations.extend(errors.iter().map(|(name, count)| of_pod(Some(name), *count)));
        }
    }
    scrape(seconds, observations)
}

const BUG: &str = "00f1e2d3c4b5a697 TypeError: x is undefined";

fn both() -> Settings {
    settings(vec![errors(), Check::new(NEW_ERRORS, Test::NewErrors)])
}

#[test]
fn an_error_that_only_the_canary_shows_fails_it() {
    let settings = both();
    let mut rollout = Assessment::new(&settings, &History::default());
    rollout.observe(&settings, &novelty(0, &[], &[]));
    let quiet = rollout.verdict(&settings, 0.1);
    assert_eq!(quiet.findings[1].status, Status::Pass);
    insta::assert_snapshot!(quiet.findings[1].sentence, @"no error that only the canary shows, in 50 of its requests and 950 of stable's");
    rollout.observe(&settings, &novelty(1, &[(BUG, 2)], &[]));
    let verdict = rollout.verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Fail);
    insta::assert_snapshot!(verdict.reason, @"newErrors: new error `TypeError: x is undefined` in 4 canary requests on several instances and in none of stable's, where 5 % of all requests are the canary's; evidence 11.3 of 4.6 needed");
}

#[test]
fn what_stable_shows_is_not_new_now_nor_later() {
    let settings = both();
    let mut rollout = Assessment::new(&settings, &History::default());
    rollout.observe(&settings, &novelty(0, &[(BUG, 5)], &[(BUG, 1)]));
    assert_ne!(rollout.verdict(&settings, 0.1).outcome, Outcome::Fail);
    // The words of a message may differ, the fingerprint does not.
    let again = format!("{} TypeError: y is undefined", &BUG[..16]);
    let mut next = Assessment::new(&settings, &rollout.history());
    next.observe(&settings, &novelty(9, &[(&again, 20)], &[]));
    assert_ne!(next.verdict(&settings, 0.1).outcome, Outcome::Fail);
    assert_eq!(next.history().known_errors().len(), 1);
}

#[test]
fn no_new_error_promotes_nothing_and_no_trace_holds_the_weight() {
    let settings = both();
    let mut rollout = Assessment::new(&settings, &History::default());
    rollout.observe(&settings, &pair(0, (0, 20_000), (0, 20_000)));
    let verdict = rollout.verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Undecided);
    insta::assert_snapshot!(verdict.reason, @"newErrors: no traces of requests to both versions yet; they count some seconds after their last span, and need service.name and service.version");
    let mut rollout = Assessment::new(&settings, &History::default());
    rollout.observe(&settings, &novelty(0, &[], &[]));
    let verdict = rollout.verdict(&settings, 0.1);
    assert_eq!(verdict.outcome, Outcome::Undecided, "errors has no data");
    rollout.observe(&settings, &pair(1, (0, 20_000), (0, 20_000)));
    assert_eq!(rollout.verdict(&settings, 0.1).outcome, Outcome::Pass);
}

fn attempts(pair: u32, canary: (bool, f64), baseline: (bool, f64)) -> Scrape {
    let one = |arm, (failed, seconds)| Observation {
        arm,
        instance: pair.to_string(),
        check: "buy".into(),
        stratum: None,
        sample: Sample::Attempt { failed, seconds },
    };
    scrape(pair.into(), vec![one(Arm::Canary, canary), one(Arm::Baseline, baseline)])
}

fn journey() -> Settings {
    settings(vec![errors(), Check::new("buy", Test::Journey { stretch: 0.25, gate: 20 })])
}

#[test]
fn a_journey_holds_the_weight_until_enough_pairs_have_passed() {
    let settings = journey();
    let mut rollout = Assessment::new(&settings, &History::default());
    rollout.observe(&settings, &pair(0, (0, 20_000), (0, 20_000)));
    for number in 0..20 {
        assert_eq!(rollout.verdict(&settings, 0.1).outcome, Outcome::Undecided, "{number}");
        let seconds = 0.1 + 0.001 * f64::from(number % 7);
        rollout.observe(&settings, &attempts(number, (false, 0.1), (false, seconds)));
        if number == 4 {
            let finding = &rollout.verdict(&settings, 0.1).findings[1];
            assert_eq!(finding.needs, Some(15));
            insta::assert_snapshot!(finding.sentence, @"of 5 pairs of attempts, 0 failed on the canary alone, 0 on stable alone and 0 on both; the canary takes 0.98 times as long, tolerated is 1.25; evidence -0.6 of 4.6 needed; 15 more pairs until the canary may have traffic");
        }
    }
    assert_eq!(rollout.verdict(&settings, 0.1).outcome, Outcome::Pass);
}

#[test]
fn a_journey_that_fails_on_the_canary_alone_fails_it() {
    let settings = journey();
    let mut rollout = Assessment::new(&settings, &History::default());
    let mut pairs = 0;
    while rollout.verdict(&settings, 0.1).outcome != Outcome::Fail {
        rollout.observe(&settings, &attempts(pairs, (true, 0.1), (false, 0.1)));
        pairs += 1;
        assert!(pairs <= 12, "{}", rollout.verdict(&settings, 0.1).reason);
    }
    assert!(pairs >= 7, "{pairs}");
}

#[test]
fn attempts_without_their_counterpart_are_no_pair() {
    let settings = journey();
    let mut rollout = Assessment::new(&settings, &History::default());
    for number in 0..50 {
        let mut one = attempts(number, (true, 0.1), (false, 0.1));
        one.observations.pop();
        rollout.observe(&settings, &one);
    }
    assert_eq!(rollout.verdict(&settings, 0.1).findings[1].status, Status::NoData);
    assert!(rollout.peak() <= 0.0);
}

#[test]
fn a_check_that_only_speaks_against_a_canary_holds_no_weight() {
    let poor = Check {
        only_against: true,
        ..Check::new("lcp", Test::Errors { ratio: 1.25, absolute: 0.01 })
    };
    let settings = settings(vec![errors(), poor]);
    let mut rollout = Assessment::new(&settings, &History::default());
    rollout.observe(&settings, &pair(0, (0, 20_000), (0, 20_000)));
    assert_eq!(rollout.verdict(&settings, 0.1).outcome, Outcome::Pass);
    let views = |arm, events| Observation { check: "lcp".into(), ..failures(arm, events, 200) };
    rollout.observe(&settings, &scrape(1, vec![views(Arm::Canary, 90), views(Arm::Baseline, 2)]));
    assert_eq!(rollout.verdict(&settings, 0.1).outcome, Outcome::Fail);
}
