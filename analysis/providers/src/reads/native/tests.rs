//! Buckets are recognised by their bounds, merge exactly, and make the samples that the tests take.

use proptest::prelude::*;

use super::*;
use crate::counters::Cumulative;
use crate::selector::{Selector, Series};

fn open(left: f64, right: f64, count: f64) -> NativeBucket {
    NativeBucket { closed: false, left, right, count }
}

fn of(scale: i8, index: i32, count: f64) -> NativeBucket {
    open(bound(scale, index - 1), bound(scale, index), count)
}

fn key(part: Part) -> Key {
    Key { part, labels: "".into() }
}

fn values(histogram: &NativeHistogram) -> Values {
    let parts = histogram.parts().into_iter();
    parts.map(|(part, count)| (key(part), Cumulative::from(count))).collect()
}

#[test]
fn schema_and_index_follow_from_the_bounds_that_prometheus_prints() {
    // From Prometheus 2.42: a histogram of schema 3 that saw 0, 0.12 and 3.4.
    let histogram = NativeHistogram {
        count: 3.0,
        buckets: vec![
            NativeBucket { closed: true, left: -1e-9, right: 1e-9, count: 1.0 },
            open(0.114_625_505_400_583_9, 0.125, 1.0),
            open(3.363_585_661_014_858, 3.668_016_172_818_685, 1.0),
        ],
    };
    let expected = [
        (Part::Zero(1e-9_f64.to_bits()), 1.0),
        (Part::Exponential { scale: 3, index: -24 }, 1.0),
        (Part::Exponential { scale: 3, index: 15 }, 1.0),
    ];
    let parts: Vec<(Part, f64)> = histogram.parts().into_iter().collect();
    assert_eq!(parts, expected);
}

#[test]
fn bounds_of_no_schema_are_custom_buckets_and_make_an_ordinary_histogram() {
    let histogram = NativeHistogram {
        count: 8.0,
        buckets: vec![
            open(f64::NEG_INFINITY, 0.005, 1.0),
            open(0.1, 0.25, 4.0),
            open(10.0, f64::INFINITY, 3.0),
        ],
    };
    let counts: BTreeMap<Key, u64> =
        histogram.parts().into_keys().map(|part| (key(part), 2)).collect();
    let known: BTreeSet<u64> = [0.05, 0.2, 0.5].map(f64::to_bits).into();
    // 0.2 lies within a bucket that was counted: how many were faster is not known there.
    let le = vec![0.005, 0.05, 0.1, 0.25, 0.5, 10.0];
    let expected = Sample::Histogram { le, counts: vec![4, 0, 0, 2, 0, 0, 2] };
    assert_eq!(sample(&counts, 1, &known), Some(expected));
}

#[test]
fn a_coarser_schema_merges_pairs_and_a_wider_zero_bucket_takes_what_it_covers() {
    let fine = Grid { threshold: 0, layout: Layout::Exponential(3) };
    let coarse = Grid { threshold: 0.5_f64.to_bits(), layout: Layout::Exponential(2) };
    assert_eq!(fine.common(coarse), Some(coarse));
    assert_eq!(fine.common(Grid { threshold: 0, layout: Layout::Custom }), None);
    let place = |index| coarse.place(&key(Part::Exponential { scale: 3, index })).part;
    assert_eq!(place(15), Part::Exponential { scale: 2, index: 8 });
    assert_eq!(place(16), Part::Exponential { scale: 2, index: 8 });
    assert_eq!(place(17), Part::Exponential { scale: 2, index: 9 });
    assert_eq!(place(-8), Part::Zero(coarse.threshold));
    assert_eq!(place(-7), Part::Exponential { scale: 2, index: -3 });
}

#[test]
fn too_many_buckets_drop_to_a_coarser_scale_and_keep_every_count() {
    let counts: BTreeMap<Key, u64> =
        [-2_000, 0, 2_000].map(|i| (key(Part::Exponential { scale: 8, index: i }), 5)).into();
    let Some(Sample::Exponential(histogram)) = sample(&counts, 1, &BTreeSet::new()) else {
        panic!("no sample");
    };
    assert_eq!(histogram.validate(), Ok(()));
    assert!(histogram.counts.len() <= MOST_BUCKETS && histogram.scale == 5, "{histogram:?}");
    assert_eq!(histogram.counts.iter().sum::<u64>(), 15);
}

#[test]
fn milliseconds_make_an_ordinary_histogram_with_the_same_bounds_each_time() {
    let one = |index| BTreeMap::from([(key(Part::Exponential { scale: 3, index }), 1)]);
    let (fast, slow) =
        (sample(&one(0), 1_000, &BTreeSet::new()), sample(&one(100), 1_000, &BTreeSet::new()));
    let (Some(Sample::Histogram { le, counts }), Some(Sample::Histogram { le: other, .. })) =
        (fast, slow)
    else {
        panic!("no histogram");
    };
    assert_eq!(le, other);
    let place = counts.iter().position(|count| *count == 1).unwrap();
    assert!((le[place] - 0.001).abs() < 1e-12, "1 ms is in the bucket that ends with it");
    let observation = analysis::Observation {
        arm: analysis::Arm::Canary,
        instance: "i".into(),
        check: "latency".into(),
        stratum: None,
        sample: Sample::Histogram { le, counts },
    };
    assert_eq!(observation.validate(), Ok(()));
}

#[test]
fn errors_are_read_from_the_count_of_a_native_histogram() {
    let reads = crate::reads::Reads::Ratio {
        selector: Selector::exact("d_seconds", []),
        labels: vec!["code".into()],
        failed: crate::subject::Failed::Http,
        without_probes: true,
        native: true,
    };
    let mut all = Values::new();
    for (code, count) in [("200", 90.0), ("503", 10.0)] {
        let series = Series::new("d_seconds", vec![("code".into(), code.into())]);
        let histogram = NativeHistogram { count, buckets: Vec::new() };
        reads.put_native(&mut all, &series, &histogram);
        // A summary of the same name is no count.
        reads.put(&mut all, &series, 7.0.into()).unwrap();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
    let counts = all.into_iter().map(|(key, counter)| (key, counter.value as u64)).collect();
    let sample = reads.sample(&counts, &BTreeSet::new());
    assert_eq!(sample, Some(Sample::Events { events: 10, of: 100 }));
}

proptest! {
    #[test]
    fn any_schema_is_recognised(scale in -4_i8..=8, doubling in -59.0_f64..59.0) {
        #[expect(clippy::cast_possible_truncation, reason = "small")]
        let index = (doubling * f64::from(scale).exp2()).round() as i32;
        let histogram = NativeHistogram { count: 1.0, buckets: vec![of(scale, index, 1.0)] };
        let found = histogram.parts().into_keys().nth(1);
        prop_assert_eq!(found, Some(Part::Exponential { scale, index }));
    }

    #[test]
    fn any_buckets_make_a_valid_sample_or_none(
        buckets in prop::collection::vec(
            (any::<bool>(), any::<f64>(), any::<f64>(), 0.0_f64..1e6), 0..8),
        per_second in prop::sample::select(vec![1_u32, 1_000, 1_000_000]),
    ) {
        let buckets: Vec<NativeBucket> = buckets
            .into_iter()
            .map(|(closed, left, right, count)| NativeBucket { closed, left, right, count })
            .collect();
        let histogram = NativeHistogram { count: 1.0, buckets };
        let counts: BTreeMap<Key, u64> =
            histogram.parts().into_keys().map(|part| (key(part), 3)).collect();
        if let Some(sample) = sample(&counts, per_second, &BTreeSet::new()) {
            let observation = analysis::Observation {
                arm: analysis::Arm::Canary,
                instance: "i".into(),
                check: "latency".into(),
                stratum: None,
                sample,
            };
            prop_assert_eq!(observation.validate(), Ok(()));
        }
    }

    #[test]
    fn merging_keeps_every_bucket_within_the_coarser_one(
        scale in 0_i8..=8, by in 0_i8..=8, index in -5_000_i32..5_000,
    ) {
        let to = scale - by;
        prop_assume!(to >= -4);
        let merged = coarser(index, scale, to);
        let slack = 1.0 + 1e-9;
        prop_assert!(bound(to, merged - 1) <= bound(scale, index - 1) * slack);
        prop_assert!(bound(scale, index) <= bound(to, merged) * slack);
    }

    #[test]
    fn grids_of_a_reading_say_what_its_keys_are(scale in 0_i8..=8, index in -60_i32..60) {
        let histogram = NativeHistogram { count: 1.0, buckets: vec![of(scale, index, 1.0)] };
        let grid = grids(&values(&histogram));
        prop_assert_eq!(grid.get(""), Some(&Grid { threshold: 0, layout: Layout::Exponential(scale) }));
    }
}
