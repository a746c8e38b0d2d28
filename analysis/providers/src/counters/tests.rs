//! Tests of differences: examples for each rule, and properties over arbitrary histories.

use proptest::prelude::*;

use super::*;

type Keys<'a> = &'a [(&'a str, f64)];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_764_000_000 + second).unwrap()
}

fn reading(second: i64, started: Option<f64>, values: Keys<'_>) -> Reading<String> {
    Reading {
        at: at(second),
        started,
        values: values.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
    }
}

/// Feeds readings one second apart and returns the counts that each adds; `None` is a start point.
fn counts(readings: &[(Option<f64>, Keys<'_>)]) -> Vec<Option<Vec<(String, u64)>>> {
    let mut differ = Differ::default();
    (0..)
        .zip(readings)
        .map(|(second, (started, values))| {
            match differ.observe(&"group", &reading(second, *started, values)).unwrap() {
                Difference::Start => None,
                Difference::Duplicate => panic!("no reading has the same second"),
                Difference::Counts { counts, .. } => Some(counts.into_iter().collect()),
            }
        })
        .collect()
}

fn one(key: &str, count: u64) -> Vec<(String, u64)> {
    vec![(key.to_owned(), count)]
}

#[test]
fn first_sight_is_a_start_point_and_then_differences_follow() {
    let got =
        counts(&[(None, &[("200", 40.0)]), (None, &[("200", 45.0)]), (None, &[("200", 45.0)])]);
    assert_eq!(got, [None, Some(one("200", 5)), Some(one("200", 0))]);
}

#[test]
fn a_status_that_appears_counts_from_zero() {
    let got = counts(&[(None, &[("200", 40.0)]), (None, &[("200", 40.0), ("500", 3.0)])]);
    assert_eq!(got[1], Some(vec![("200".into(), 0), ("500".into(), 3)]));
}

#[test]
fn a_page_that_fills_counts_only_for_a_known_process() {
    let empty: Keys<'_> = &[];
    let filled: Keys<'_> = &[("200", 900.0)];
    assert_eq!(counts(&[(None, empty), (None, filled)]), [None, None]);
    assert_eq!(counts(&[(Some(7.0), empty), (Some(7.0), filled)]), [None, Some(one("200", 900))]);
}

#[test]
fn a_lower_counter_restarts_its_whole_group() {
    let got =
        counts(&[(None, &[("200", 40.0), ("500", 9.0)]), (None, &[("200", 50.0), ("500", 2.0)])]);
    assert_eq!(got[1], Some(vec![("200".into(), 50), ("500".into(), 2)]));
}

#[test]
fn another_start_time_restarts_though_no_counter_fell() {
    let got = counts(&[(Some(100.0), &[("200", 40.0)]), (Some(160.0), &[("200", 41.0)])]);
    assert_eq!(got[1], Some(one("200", 41)));
    let jitter = counts(&[(Some(100.0), &[("200", 40.0)]), (Some(100.4), &[("200", 41.0)])]);
    assert_eq!(jitter[1], Some(one("200", 1)));
}

#[test]
fn another_creation_time_restarts_that_series() {
    let mut differ = Differ::default();
    let mut first = reading(0, None, &[("200", 40.0)]);
    first.values.get_mut("200").unwrap().created = Some(10.0);
    let mut second = reading(1, None, &[("200", 44.0)]);
    second.values.get_mut("200").unwrap().created = Some(20.0);
    assert_eq!(differ.observe(&0, &first), Ok(Difference::Start));
    let Ok(Difference::Counts { counts, .. }) = differ.observe(&0, &second) else {
        panic!("a second reading adds counts")
    };
    assert_eq!(counts["200"], 44);
}

#[test]
fn a_series_that_expired_goes_on_where_it_was() {
    let got = counts(&[
        (None, &[("200", 40.0), ("500", 9.0)]),
        (None, &[("200", 41.0)]),
        (None, &[("200", 42.0), ("500", 11.0)]),
        (None, &[("200", 42.0)]),
        (None, &[("200", 43.0), ("500", 1.0)]),
    ]);
    assert_eq!(got[1], Some(one("200", 1)));
    assert_eq!(got[2], Some(vec![("200".into(), 1), ("500".into(), 2)]));
    assert_eq!(got[4], Some(vec![("200".into(), 1), ("500".into(), 1)]));
}

#[test]
fn duplicates_add_nothing_and_late_or_bad_readings_are_refused() {
    let mut differ = Differ::default();
    assert_eq!(differ.observe(&0, &reading(5, None, &[("a", 1.0)])), Ok(Difference::Start));
    assert_eq!(differ.observe(&0, &reading(5, None, &[("a", 9.0)])), Ok(Difference::Duplicate));
    let late = differ.observe(&0, &reading(4, None, &[("a", 9.0)]));
    assert_eq!(late, Err(Refusal::OutOfOrder { last: at(5), late: at(4) }));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        let refused = differ.observe(&0, &reading(6, None, &[("a", bad), ("b", 1.0)]));
        assert!(matches!(refused, Err(Refusal::NoCount(_))), "{bad}");
    }
    let next = differ.observe(&0, &reading(7, None, &[("a", 4.0)])).unwrap();
    let counts = BTreeMap::from([("a".to_owned(), 3)]);
    assert_eq!(next, Difference::Counts { counts, restarted: false });
}

#[test]
fn vanished_series_are_not_remembered_without_bound() {
    let mut differ = Differ::default();
    for second in 0..20_000_u32 {
        let key = second.to_string();
        differ.observe(&0, &reading(i64::from(second), None, &[(&key, 1.0)])).unwrap();
    }
    assert!(differ.groups[&0].values.len() <= VANISHED + 3);
}

#[test]
fn totals_of_the_proxy_become_observations() {
    let mut differ = TotalsDiffer::default();
    let totals = |completed, failed, counts: [u64; 3]| Totals {
        arm: Arm::Canary,
        instance: "c1".into(),
        completed,
        failed,
        le: vec![0.1, 0.5],
        counts: counts.to_vec(),
    };
    let (start, _) = differ.observe(at(0), &[totals(10, 1, [8, 1, 1])]);
    assert!(start.observations.is_empty());
    let (scrape, refused) = differ.observe(at(1), &[totals(16, 3, [12, 2, 2])]);
    assert!(refused.is_empty());
    assert_eq!(scrape.observations[0].sample, Sample::Events { events: 2, of: 6 });
    let latency = Sample::Histogram { le: vec![0.1, 0.5], counts: vec![4, 1, 1] };
    assert_eq!(scrape.observations[1].sample, latency);
    let torn = Totals { counts: vec![1], ..totals(20, 3, [0; 3]) };
    let (scrape, refused) = differ.observe(at(2), &[torn]);
    assert!(scrape.observations.is_empty());
    assert_eq!(refused, [Refusal::Buckets { bounds: 2, counts: 1 }]);
}

proptest! {
    /// Whatever a counter did, with its restarts told, the differences sum to what happened.
    #[test]
    fn differences_sum_to_what_happened(
        steps in prop::collection::vec((0_u32..50, 0_u32..50, prop::bool::weighted(0.2)), 1..60),
    ) {
        let mut differ = Differ::default();
        let (mut good, mut bad, mut started) = (0_u32, 0_u32, 1_000.0);
        let mut happened = (0, 0);
        let mut summed = (0, 0);
        for (second, (more, failed, restart)) in (0..).zip(steps) {
            if restart {
                (good, bad) = (0, 0);
                started += 60.0;
            }
            good += more;
            bad += failed;
            if second > 0 {
                happened = (happened.0 + u64::from(more), happened.1 + u64::from(failed));
            }
            let keys = [("200", f64::from(good)), ("500", f64::from(bad))];
            let now = reading(second, Some(started), &keys);
            if let Difference::Counts { counts, .. } = differ.observe(&0, &now).unwrap() {
                summed = (summed.0 + counts["200"], summed.1 + counts["500"]);
            }
        }
        prop_assert_eq!(happened, summed);
    }

    /// No history of values, however broken, panics or yields more than the last value says.
    #[test]
    fn no_history_panics(
        history in prop::collection::vec((-3_i64..4, any::<f64>(), any::<Option<f64>>()), 0..40),
    ) {
        let mut differ = Differ::default();
        let mut second = 0;
        for (step, value, started) in history {
            second += step;
            let now = reading(second, started, &[("a", value)]);
            if let Ok(Difference::Counts { counts, .. }) = differ.observe(&0, &now) {
                prop_assert!(counts["a"] <= whole(value));
            }
        }
    }
}
