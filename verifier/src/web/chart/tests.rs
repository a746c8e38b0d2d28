//! What is drawn stays inside the plot and says what the numbers say.

use analysis::{Counts, Finding, Interval, Outcome, Status, Test, Verdict};
use jiff::Timestamp;
use rollout::Weight;

use super::*;

fn point(second: i64, weight: f64, log_evidence: f64, ratio: Option<Interval>) -> Point {
    let finding = Finding {
        check: "errors".to_owned(),
        status: Status::Undecided,
        log_evidence,
        allowed: weight,
        canary: Counts::default(),
        baseline: Counts::default(),
        threshold: None,
        ratio,
        needs: None,
        quantiles: Vec::new(),
        notes: Vec::new(),
        sentence: String::new(),
    };
    let verdict = Verdict {
        outcome: Outcome::Undecided,
        log_evidence,
        log_threshold: 4.605_170_186,
        allowed: weight,
        breached: false,
        suspicion: None,
        findings: vec![finding],
        notes: Vec::new(),
        reason: String::new(),
    };
    Point {
        at: Timestamp::from_second(second).unwrap(),
        weight: Weight::from_share(weight),
        verdict,
    }
}

fn interval(lower: Option<f64>, estimate: f64, upper: Option<f64>) -> Interval {
    Interval { lower, estimate, upper }
}

fn across(at: Timestamp) -> f64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64() * 100.0
}

fn tolerated(ratio: f64) -> Vec<Check> {
    let test = Test::Errors { ratio, absolute: 0.001 };
    vec![Check::new("errors", test)]
}

/// Every height in a path, to see that none leaves the plot.
fn heights(path: &str) -> Vec<f64> {
    let pairs = path.split(['M', 'L', 'Z']).filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn the_threshold_is_always_in_sight_and_evidence_never_leaves_the_plot() {
    for wild in [-1e9, 0.0, 4.0, 60.0, f64::INFINITY, f64::NAN] {
        let points = [point(0, 0.01, 0.0, None), point(10, 0.01, wild, None)];
        let drawn = evidence(&points.iter().collect::<Vec<_>>(), &across);
        assert!((5.0..70.0).contains(&drawn.threshold), "{wild}: {}", drawn.threshold);
        assert!(
            heights(&drawn.line).iter().all(|y| (0.0..=100.0).contains(y)),
            "{wild}: {}",
            drawn.line
        );
    }
    let points = [point(0, 0.01, 0.0, None), point(10, 0.01, 6.0, None)];
    let drawn = evidence(&points.iter().collect::<Vec<_>>(), &across);
    assert!(heights(&drawn.line)[1] < drawn.threshold, "what fails is above the line");
    let labels: Vec<_> = drawn.ticks.iter().map(|tick| &*tick.label).collect();
    assert_eq!(labels, ["0", "2.3 (odds 10 : 1)", "fails at 4.6 (odds 100 : 1)"]);
}

#[test]
fn a_ratio_is_drawn_with_its_interval_and_only_where_it_is_known() {
    let points = [
        point(0, 0.01, 0.0, Some(interval(None, 0.0, None))),
        point(1, 0.01, 0.0, Some(interval(Some(0.1), 2.0, Some(40.0)))),
        point(2, 0.01, 0.0, None),
        point(3, 0.02, 0.0, Some(interval(Some(0.9), 2.0, Some(4.0)))),
        point(4, 0.02, 0.0, Some(interval(Some(1.0), 2.0, Some(4.0)))),
    ];
    let drawn =
        ratio("errors", &tolerated(1.25), &points.iter().collect::<Vec<_>>(), &across).unwrap();
    assert_eq!(drawn.line.matches('M').count(), 2, "{}", drawn.line);
    assert_eq!(drawn.band.matches('Z').count(), 2, "{}", drawn.band);
    let all = heights(&drawn.band);
    assert!(all.iter().all(|y| (0.0..=100.0).contains(y)), "{all:?}");
    assert!(all[0] < f64::EPSILON, "an unbounded interval reaches the edge");
    let tolerance = drawn.tolerance.unwrap();
    assert!(heights(&drawn.line).last().unwrap() < &tolerance, "twice is above 1.25 times");
    assert!(
        drawn.summary.contains("at the end 2.00, between 1.00 and 4.00, tolerated up to 1.25"),
        "{}",
        drawn.summary
    );
    assert!(
        drawn.ticks.iter().any(|tick| tick.kind == "limit" && tick.label == "tolerated × 1.25")
    );
    assert!(ratio("latency", &[], &points.iter().collect::<Vec<_>>(), &across).is_none());
}

#[test]
fn the_weight_rises_in_steps_that_end_at_the_edge() {
    let points = [point(0, 0.01, 0.0, None), point(5, 0.02, 0.0, None), point(10, 0.04, 0.0, None)];
    let drawn = stepped(&points.iter().collect::<Vec<_>>(), &across, 0.05);
    assert_eq!(drawn, "M0 100H0V80.0H500V60.0H1000V20.0H1000V100Z");
}

#[test]
fn both_ends_are_among_the_chosen() {
    let all: Vec<u32> = (0..1_000).collect();
    let few = chosen(&all, 7);
    assert_eq!((few.len(), few[0], few[6]), (7, &0, &999));
    assert_eq!(chosen(&all[..3], 7).len(), 3);
}
