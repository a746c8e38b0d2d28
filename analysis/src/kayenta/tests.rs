//! Kayenta's own test cases: the same inputs give the same labels, intervals and scores.

mod behaviour;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::classify::{RULE, Rule, classify_by};
use super::*;

#[derive(Deserialize)]
struct Cases {
    series: BTreeMap<String, Vec<f64>>,
    labels: Vec<LabelCase>,
    intervals: Vec<IntervalCase>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelCase {
    name: String,
    canary: String,
    baseline: String,
    direction: Direction,
    tolerance: f64,
    confidence: f64,
    #[serde(default)]
    effect_size: EffectSize,
    #[serde(default)]
    critical: bool,
    #[serde(default)]
    nan_strategy: NanStrategy,
    label: Label,
    is_critical: Option<bool>,
    /// A number or `"undefined"`, where asserted.
    deviation: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct IntervalCase {
    name: String,
    canary: String,
    baseline: String,
    confidence: f64,
    lower: f64,
    upper: f64,
    estimate: Option<f64>,
}

fn cases() -> Cases {
    serde_json::from_str(include_str!("cases.json")).unwrap()
}

/// A metric that judges both directions, as Kayenta does by default.
fn either() -> Metric {
    Metric { direction: Some(Direction::Either), ..Metric::new(Value::Gauge) }
}

#[test]
fn the_labels_are_those_of_kayentas_classifier_suite() {
    let cases = cases();
    assert_eq!(cases.labels.len(), 34);
    for case in &cases.labels {
        let metric = Metric {
            direction: Some(case.direction),
            effect_size: case.effect_size,
            critical: case.critical,
            nan_strategy: case.nan_strategy,
            ..Metric::new(Value::Gauge)
        };
        let rule = Rule { tolerance: case.tolerance, confidence: case.confidence };
        let (canary, baseline) = (&cases.series[&case.canary], &cases.series[&case.baseline]);
        let result = classify_by(rule, &metric, canary, baseline);
        assert_eq!(result.label, case.label, "{}: {result:?}", case.name);
        assert!(!result.reason.is_empty(), "{}", case.name);
        if let Some(critical) = case.is_critical {
            assert_eq!(result.critical, critical, "{}: {result:?}", case.name);
        }
        if let Some(deviation) = &case.deviation {
            assert_eq!(result.deviation, deviation.as_f64(), "{}", case.name);
        }
    }
}

#[test]
fn the_intervals_are_those_of_r_in_kayentas_mann_whitney_suite() {
    let cases = cases();
    assert_eq!(cases.intervals.len(), 3);
    for case in &cases.intervals {
        let (canary, baseline) = (&cases.series[&case.canary], &cases.series[&case.baseline]);
        let shift =
            mann_whitney::test(canary, baseline, mann_whitney::TOLERANCE, case.confidence).unwrap();
        let close = |got: f64, expected: f64| (got - expected).abs() < 1e-6;
        assert!(close(shift.lower, case.lower), "{}: {shift:?}", case.name);
        assert!(close(shift.upper, case.upper), "{}: {shift:?}", case.name);
        if let Some(estimate) = case.estimate {
            assert!(close(shift.estimate, estimate), "{}: {shift:?}", case.name);
        }
    }
}

#[test]
fn the_golden_cases_hold() {
    // Direction, label, lower end, estimate and upper end, ratio of the means, next difference above the estimate.
    let cases = [
        (
            "golden_higher",
            Direction::Either,
            Label::High,
            [0.999_564_000_000_002_1, 1.996_075_999_999_999_5, 3.000_435_999_999_998],
            1.199_999_999_999_999_7,
            2.003_924,
        ),
        (
            "golden_lower",
            Direction::Increase,
            Label::Pass,
            [-3.820_183, -3.007_629_000_000_002_3, -2.179_817],
            0.7,
            -2.992_371,
        ),
    ];
    let series = self::cases().series;
    let baseline = &series["golden_baseline"];
    for (canary, direction, label, expected, mean_ratio, next) in cases {
        let metric = Metric { direction: Some(direction), ..either() };
        let result = classify(&metric, &series[canary], baseline);
        assert_eq!(result.label, label);
        let close = |got: f64, expected: f64, tolerance: f64| {
            assert!((got / expected - 1.0).abs() <= tolerance, "{got} is not {expected}");
        };
        close(result.deviation.unwrap(), mean_ratio, 1e-12);
        let [lower, estimate, upper] = expected;
        let exact = mann_whitney::exact(&series[canary], baseline, RULE.confidence).unwrap();
        close(exact.lower, lower, 1e-9);
        close(exact.estimate, estimate, 1e-9);
        close(exact.upper, upper, 1e-9);
        // Kayenta's solver stops within 0.0001 of a root.
        let shift = result.interval.unwrap();
        close(shift.lower, lower, 5e-4);
        close(shift.upper, upper, 5e-4);
        // The estimate has no single root: the statistic is zero between the two middle differences, of which the
        // golden value is the lower one, and Kayenta's solver stops at the first point in between that it tries.
        assert!((estimate..=next).contains(&shift.estimate), "{shift:?}");
    }
}

#[test]
fn differences_below_the_solvers_tolerance_give_their_own_range() {
    // What Kayenta's test of a "problem case" asserts for 850 values near 0.0333: the upper end and the estimate are
    // the largest difference, the lower end is the smallest.
    let arm = |extremes: [f64; 2]| [vec![0.033_333_335; 848], extremes.to_vec()].concat();
    let canary = arm([0.033_320_36, 0.033_346_41]);
    let baseline = arm([0.033_328_33, 0.033_335_17]);
    let shift = mann_whitney::test(&canary, &baseline, mann_whitney::TOLERANCE, 0.98).unwrap();
    assert!((shift.lower - -1.481e-5).abs() < 1e-8, "{shift:?}");
    assert!((shift.upper - 1.808e-5).abs() < 1e-8, "{shift:?}");
    assert!((shift.estimate - shift.upper).abs() < 1e-12, "{shift:?}");
}

/// Groups and label and criticality of a metric.
type Given<'a> = (&'a [&'a str], Label, bool);

/// Metrics, weights and the total.
type ScoreCase<'a> = (&'a [Given<'a>], &'a [(&'a str, f64)], f64);

fn scored(metrics: &[Given<'_>], weights: &[(&str, f64)]) -> Score {
    let classifications: Vec<_> = metrics
        .iter()
        .map(|(_, label, critical)| Classification {
            label: *label,
            critical: *critical,
            ..classify(&either(), &[1.0], &[1.0])
        })
        .collect();
    let judged: Vec<_> = metrics
        .iter()
        .zip(&classifications)
        .map(|((groups, ..), classification)| Judged { groups, muted: false, classification })
        .collect();
    score(&judged, &weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect())
}

#[test]
fn the_scores_are_those_of_kayentas_scorer_suite() {
    use Label::{High, Low, NoData, Pass};
    let even = [("1", 50.0), ("2", 50.0)];
    let cases: [ScoreCase<'_>; 13] = [
        (&[(&["t"], Pass, false)], &[], 100.0),
        (&[(&["t"], High, false)], &[], 0.0),
        (&[(&["t"], NoData, false)], &[], 0.0),
        (&[(&["p"], Pass, false), (&["p"], Pass, false), (&["n"], NoData, false)], &[], 100.0),
        (&[(&["t"], Pass, false), (&["t"], High, false)], &[], 50.0),
        (&[(&["t"], Pass, false), (&["t"], High, false), (&["t"], Low, false)], &[], 33.33),
        (
            &[(&["1"], Pass, false), (&["1"], Pass, false), (&["2"], High, false)],
            &[("1", 75.0), ("2", 25.0)],
            75.0,
        ),
        (&[(&["1"], Pass, false), (&["1"], High, false), (&["2"], High, false)], &even, 25.0),
        (&[(&["1"], Pass, false), (&["1"], NoData, false), (&["2"], High, false)], &even, 50.0),
        (&[(&["t"], Pass, false), (&["t"], High, true)], &[], 0.0),
        (&[(&["t"], Low, false), (&["t"], Pass, true)], &[], 50.0),
        (&[(&["t"], Pass, false), (&["t"], NoData, true)], &[], 0.0),
        (
            &[
                (&["1"], High, false),
                (&["1"], Low, false),
                (&["1"], Pass, false),
                (&["2"], High, false),
            ],
            &[("1", 15.0), ("2", 85.0)],
            5.0,
        ),
    ];
    for (index, (metrics, weights, total)) in cases.into_iter().enumerate() {
        let score = scored(metrics, weights);
        assert!((score.total - total).abs() < 1e-9, "case {index}: {score:?}");
    }
    let silent = scored(cases[2].0, &[]);
    assert_eq!(silent.groups["t"], Group { score: 0.0, counted: 0 });
    assert!(silent.reason.is_some());
    let half = scored(cases[3].0, &[]);
    assert_eq!(half.groups["n"], Group { score: 0.0, counted: 0 });
    assert_eq!(half.groups["p"], Group { score: 100.0, counted: 2 });
}

#[test]
fn scores_treat_required_muted_and_ungrouped_metrics_as_kayenta() {
    // A metric that must have data counts against its group.
    let required =
        scored(&[(&["t"], Label::Pass, false), (&["t"], Label::NoDataFailMetric, false)], &[]);
    assert!((required.total - 50.0).abs() < 1e-9, "{required:?}");
    // What the weights leave is shared by the groups without one.
    let shared = scored(
        &[(&["a"], Label::Pass, false), (&["b"], Label::High, false), (&["c"], Label::Pass, false)],
        &[("a", 40.0)],
    );
    assert!((shared.total - 70.0).abs() < 1e-9, "{shared:?}");
    // A muted metric is nowhere, even if critical.
    let failed = Classification {
        label: Label::High,
        critical: true,
        ..classify(&either(), &[1.0], &[1.0])
    };
    let passed = classify(&either(), &[1.0], &[1.0]);
    let results = [
        Judged { groups: &["t"], muted: true, classification: &failed },
        Judged { groups: &["t"], muted: false, classification: &passed },
    ];
    assert!((score(&results, &BTreeMap::new()).total - 100.0).abs() < 1e-9);
    assert!(score(&[], &BTreeMap::new()).total.abs() < 1e-9);
    let thresholds = Thresholds { pass: 95.0, marginal: 75.0 };
    let grades = [100.0, 95.0, 94.99, 75.0, 74.99, f64::NAN].map(|total| thresholds.grade(total));
    assert_eq!(
        grades,
        [Grade::Pass, Grade::Pass, Grade::Marginal, Grade::Marginal, Grade::Fail, Grade::Fail]
    );
}
