//! What Kayenta's tests leave open: configuration, missing values, intervals of looks, any input.

use proptest::prelude::*;

use super::super::classify::fences;
use super::*;

#[test]
fn a_metric_needs_its_value_only() {
    let metric: Metric = serde_json::from_str(r#"{"value": {"Latency": 0.99}}"#).unwrap();
    assert_eq!(metric, Metric::new(Value::Latency(0.99)));
    assert_eq!(metric.direction(), Direction::Increase);
    assert_eq!(Metric::new(Value::Gauge).direction(), Direction::Either);
    assert_eq!(metric.validate(), Ok(()));
    let full = r#"{"value": "Gauge", "direction": "decrease", "nanStrategy": "replace",
        "outliers": {"remove": {}}, "critical": true, "mustHaveData": true, "muted": true,
        "effectSize": {"measure": "cles", "allowedIncrease": 0.8}}"#;
    let full: Metric = serde_json::from_str(full).unwrap();
    assert_eq!(full.outliers, Outliers::Remove { factor: 3.0 });
    let size = full.effect_size;
    let limits = [size.allowed_increase(), size.critical_increase(), size.allowed_decrease()];
    assert!(limits.iter().zip([0.8, 0.5, 0.5]).all(|(a, b)| (a - b).abs() < 1e-12));
    let text = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<Metric>(&text).unwrap(), full);
}

#[test]
fn what_cannot_be_meant_is_refused_with_advice() {
    let quantile = Metric::new(Value::Latency(99.0)).validate().unwrap_err();
    assert!(quantile.to_string().contains("write 0.99"), "{quantile}");
    for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let metric = Metric { outliers: Outliers::Remove { factor }, ..either() };
        assert!(matches!(metric.validate(), Err(Invalid::Factor(_))));
    }
    let cles = EffectSize {
        measure: Measure::Cles,
        critical_decrease: Some(1.2),
        ..EffectSize::default()
    };
    let error = Metric { effect_size: cles, ..either() }.validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "`criticalDecrease` is 1.2, but CLES is from 0 to 1, and 0.5 is no change"
    );
}

#[test]
fn missing_values_are_removed_or_zero() {
    let values = [10.0, f64::NAN, 11.0, f64::INFINITY, 12.0, 1e301, 10.5, 9.0, 11.5];
    let known = [10.0, 11.0, 12.0, 10.5, 9.0, 11.5];
    let zeros = [10.0, 0.0, 11.0, 0.0, 12.0, 0.0, 10.5, 9.0, 11.5];
    let remove = either();
    let replace = Metric { nan_strategy: NanStrategy::Replace, ..either() };
    let other = [20.0, 21.0, 22.0, 20.5, 23.0, 19.0];
    assert_eq!(classify(&remove, &values, &other), classify(&remove, &known, &other));
    assert_eq!(classify(&replace, &values, &other), classify(&remove, &zeros, &other));
    let gone = [f64::NAN; 60];
    assert_eq!(classify(&remove, &gone, &other).label, Label::NoData);
    // Replaced, they are sixty zeros, and those are lower.
    assert_eq!(classify(&replace, &gone, &other).label, Label::Low);
    let required = Metric { must_have_data: true, ..either() };
    assert_eq!(classify(&required, &gone, &other).label, Label::NoDataFailMetric);
    let critical = Metric { critical: true, ..required };
    let result = classify(&critical, &gone, &other);
    assert_eq!((result.label, result.critical), (Label::NoData, true));
}

#[test]
fn outliers_lie_beyond_both_the_quartile_and_the_percentile_fence() {
    let mut values: Vec<f64> = (1..=200).map(f64::from).collect();
    // Quartiles 50.75 and 150.25 (type 7), so 99.5 apart.
    assert_eq!(fences(&values, 3.0), Some((50.75 - 298.5, 150.25 + 298.5)));
    // One in a hundred is never an outlier by the percentile fence.
    let (lower, upper) = fences(&values, 0.1).unwrap();
    assert!((lower - 2.99).abs() < 1e-9 && (upper - 198.01).abs() < 1e-9, "{lower} {upper}");
    values.push(10_000.0);
    let (_, upper) = fences(&values, 3.0).unwrap();
    assert!(upper < 10_000.0);
    assert_eq!(fences(&[], 3.0), None);
    let metric = Metric { outliers: Outliers::Remove { factor: 3.0 }, ..either() };
    let result = classify(&metric, &values, &values[..200]);
    assert_eq!(result.reason, "canary and baseline have the same values");
}

#[test]
fn two_constants_are_compared_the_same_way_each_time() {
    let metric = Metric { value: Value::ErrorShare, ..either() };
    let result = classify(&metric, &[0.02; 50], &[0.01; 50]);
    assert_eq!(result.label, Label::High);
    assert_eq!(result, classify(&metric, &[0.02; 50], &[0.01; 50]));
    // One value per arm cannot be ranked: Kayenta stops with an error there.
    let single = classify(&Metric { critical: true, ..either() }, &[2.0], &[1.0]);
    assert_eq!((single.label, single.critical), (Label::NoData, false));
    assert_eq!(classify(&either(), &[-0.0; 9], &[0.0; 7]).label, Label::Pass);
}

#[test]
fn the_reason_is_a_sentence_with_its_numbers() {
    let series = cases().series;
    let result = classify(&either(), &series["golden_higher"], &series["golden_baseline"]);
    assert_eq!(
        result.reason,
        "canary is higher than baseline: difference 2 (98 % interval 0.9996 to 3), mean 1.2 times the baseline's"
    );
}

/// A value per scrape around `level`, without randomness and without ties.
fn level(level: f64, scrape: u32) -> f64 {
    level + (f64::from(scrape) * 0.618_033_988_749_895).fract()
}

#[test]
fn a_series_answers_at_every_50th_point_of_both_arms() {
    let mut series = Series::default();
    let metric = either();
    assert_eq!(series.needs(), 50);
    for scrape in 0..49 {
        series.push(Some(level(10.0, scrape)), Some(level(10.0, scrape + 7)));
    }
    series.push(None, Some(level(10.0, 3)));
    series.push(None, None);
    series.push(Some(f64::NAN), Some(f64::INFINITY));
    assert_eq!((series.needs(), series.judge(&metric)), (1, None));
    series.push(Some(level(10.0, 50)), None);
    assert_eq!((series.needs(), series.looks()), (0, 1));
    let first = series.judge(&metric).unwrap();
    assert_eq!(first.label, Label::Pass);
    // The canary breaks: no answer before the next look, and the good past has to be outweighed too.
    for scrape in 0..100 {
        assert_eq!(series.judge(&metric).unwrap().label, Label::Pass);
        if scrape < 50 {
            assert_eq!(series.judge(&metric), Some(first.clone()));
        }
        series.push(Some(level(30.0, scrape)), Some(level(10.0, scrape)));
    }
    assert_eq!((series.needs(), series.looks()), (0, 3));
    let text = serde_json::to_string(&series).unwrap();
    let back: Series = serde_json::from_str(&text).unwrap();
    assert_eq!(back, series);
    assert_eq!(back.judge(&metric).unwrap().label, Label::High);
}

#[test]
fn a_series_keeps_a_bounded_past() {
    let mut series = Series::default();
    for scrape in 0..10_000 {
        series.push(Some(level(50.0, scrape)), Some(level(50.0, scrape + 7)));
    }
    let full = serde_json::to_string(&series).unwrap().len();
    assert!(full < 2 * MOST_POINTS * 24, "{full} bytes");
    let before = series.judge(&either()).unwrap();
    assert_eq!(before.label, Label::Pass);
    // Full, a look still answers the same until the next.
    for scrape in 0..49 {
        series.push(Some(level(90.0, scrape)), Some(level(50.0, scrape)));
        assert_eq!(series.judge(&either()).as_ref(), Some(&before));
    }
    // An arm that goes silent has no values in the end, which a critical metric does not forgive.
    for scrape in 0..2_000 {
        series.push(None, Some(level(50.0, scrape)));
    }
    let silent = series.judge(&Metric { critical: true, ..either() }).unwrap();
    assert_eq!((silent.label, silent.critical), (Label::NoData, true));
}

#[test]
fn the_estimate_is_the_median_difference() {
    // Two different irrational steps, so that no differences are tied.
    let arm = |step: f64, count: u32| -> Vec<f64> {
        (1..=count).map(|i| (f64::from(i) * step).fract()).collect()
    };
    for (m, n) in [(5, 7), (20, 31), (50, 50), (3, 90)] {
        let (canary, baseline) =
            (arm(0.754_877_666_246_692_8, m), arm(std::f64::consts::SQRT_2, n));
        let shift = mann_whitney::test(&canary, &baseline, 1e-12, 0.9).unwrap();
        let below = canary
            .iter()
            .flat_map(|a| baseline.iter().map(move |b| a - b))
            .filter(|difference| *difference < shift.estimate)
            .count();
        let half = (m * n / 2) as usize;
        assert!(below.abs_diff(half) <= 2, "{below} of {}", m * n);
        assert!(shift.lower < shift.estimate && shift.estimate < shift.upper);
        let wins = canary.iter().flat_map(|a| baseline.iter().filter(move |b| a > *b)).count();
        let share = mann_whitney::exceedance(&canary, &baseline).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand pairs")]
        let expected = wins as f64 / f64::from(m * n);
        assert!((share - expected).abs() < 1e-12);
    }
}

#[test]
fn what_cannot_be_computed_is_none() {
    let test = |canary: &[f64], baseline: &[f64]| mann_whitney::test(canary, baseline, 1e-4, 0.98);
    assert_eq!(test(&[], &[1.0]), None);
    assert_eq!(test(&[1.0], &[]), None);
    assert_eq!(test(&[1.0, 1.0], &[1.0]), None);
    assert_eq!(test(&[1.0, f64::NAN], &[2.0, 3.0]), None);
    assert_eq!(test(&[f64::MAX, 1.0], &[f64::MIN, 2.0]), None);
    assert_eq!(mann_whitney::test(&[1.0, 2.0], &[3.0, 4.0], 1e-4, 1.0), None);
}

proptest! {
    #[test]
    fn any_values_have_a_classification(
        canary in prop::collection::vec(any::<f64>(), 0..80),
        baseline in prop::collection::vec(any::<f64>(), 0..80),
        remove in any::<bool>(), replace in any::<bool>(), cles in any::<bool>(),
    ) {
        let metric = Metric {
            outliers: if remove { Outliers::Remove { factor: 3.0 } } else { Outliers::Keep },
            nan_strategy: if replace { NanStrategy::Replace } else { NanStrategy::Remove },
            effect_size: EffectSize {
                measure: if cles { Measure::Cles } else { Measure::MeanRatio },
                ..EffectSize::default()
            },
            ..either()
        };
        let result = classify(&metric, &canary, &baseline);
        prop_assert!(!result.critical && !result.reason.is_empty());
        if let Some(shift) = result.interval {
            prop_assert!(shift.estimate.is_finite());
        }
    }

    #[test]
    fn the_order_of_values_is_of_no_account(mut canary in prop::collection::vec(0.0..9.0_f64, 2..40)) {
        let baseline: Vec<f64> = (0..40).map(|i| f64::from(i) * 0.2).collect();
        let before = classify(&either(), &canary, &baseline);
        canary.reverse();
        let after = classify(&either(), &canary, &baseline);
        prop_assert_eq!((before.label, before.interval), (after.label, after.interval));
    }
}
