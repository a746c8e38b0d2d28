//! What a point adds: order, restarts, deltas, and processes that share a stream.

use proptest::prelude::*;

use super::*;
use crate::otlp::model::Shape;

const SECOND: u64 = 1_000_000_000;

fn metric(temporality: Temporality) -> Metric {
    let shape = Shape::Sum { monotonic: true };
    Metric { scope: 0, name: "orders".into(), unit: String::new(), shape, temporality }
}

/// A point of a counter, its times in seconds.
fn point(start: u64, time: u64, count: i64) -> Point {
    let (start, time) = (start * SECOND, time * SECOND);
    Point { attributes: Vec::new(), start, time, value: Value::Int(count) }
}

/// What each point adds, as `from + count`, `start`, `late` or the reason why it is refused.
fn told(temporality: Temporality, points: &[Point]) -> Vec<String> {
    let metric = metric(temporality);
    let mut stream: Option<Stream> = None;
    let mut told = Vec::new();
    for one in points {
        let step = match &mut stream {
            Some(stream) => stream.advance(&metric, one, one.time),
            None => Stream::begin(&metric, one, None, one.time).map(|(begun, step)| {
                stream = Some(begun);
                step
            }),
        };
        told.push(match step {
            Ok(Step::Counted { from, counts }) => format!("{} + {}", from / SECOND, counts.total()),
            Ok(Step::Start) => "start".to_owned(),
            Ok(Step::Late) => "late".to_owned(),
            Err(reason) => format!("{reason:?}"),
        });
    }
    told
}

#[test]
fn cumulative_points_are_differenced_and_repeated_ones_add_nothing() {
    let points = [point(5, 10, 4), point(5, 20, 9), point(5, 20, 9), point(5, 15, 6)];
    assert_eq!(told(Temporality::Cumulative, &points), ["5 + 4", "10 + 5", "late", "late"]);
    // An unknown beginning, and one that nobody saw.
    let points = [point(0, 10, 4), point(0, 20, 9), point(0, 30, 3)];
    assert_eq!(told(Temporality::Cumulative, &points), ["start", "10 + 5", "20 + 3"]);
    let points = [point(10, 10, 4), point(10, 20, 9)];
    assert_eq!(told(Temporality::Cumulative, &points), ["start", "10 + 5"]);
}

#[test]
fn a_restart_counts_from_zero_and_points_of_before_it_are_late() {
    let points = [point(5, 10, 4), point(50, 60, 3), point(5, 20, 9), point(50, 70, 5)];
    assert_eq!(told(Temporality::Cumulative, &points), ["5 + 4", "50 + 3", "late", "60 + 2"]);
    // A start time that is computed anew each time is no restart.
    let points = [point(50, 60, 3), point(51, 70, 5), point(49, 80, 6)];
    assert_eq!(told(Temporality::Cumulative, &points), ["50 + 3", "60 + 2", "70 + 1"]);
}

#[test]
fn two_processes_under_one_name_are_told_and_not_added() {
    let points = [point(50, 60, 9), point(5, 61, 99), point(50, 70, 12), point(5, 71, 120)];
    assert_eq!(
        told(Temporality::Cumulative, &points),
        ["50 + 9", "TwoWriters", "60 + 3", "TwoWriters"]
    );
    // Begun together: what falls is not counted, and only a fall that lasts is a new beginning.
    let points: Vec<Point> =
        (6..12).map(|i| point(50, i * 10, 100 - i64::try_from(i).unwrap())).collect();
    assert_eq!(
        told(Temporality::Cumulative, &points),
        ["50 + 94", "TwoWriters", "TwoWriters", "TwoWriters", "start", "TwoWriters"]
    );
    let points = [point(10, 20, 5), point(12, 22, 7), point(20, 30, 2)];
    assert_eq!(told(Temporality::Delta, &points), ["10 + 5", "TwoWriters", "20 + 2"]);
}

#[test]
fn deltas_are_added_once_each() {
    let points = [point(10, 20, 5), point(20, 30, 0), point(20, 30, 0), point(40, 50, 2)];
    assert_eq!(told(Temporality::Delta, &points), ["10 + 5", "20 + 0", "late", "40 + 2"]);
    assert_eq!(told(Temporality::Delta, &[point(0, 20, 5), point(0, 30, 6)]), ["20 + 5", "20 + 6"]);
}

#[test]
fn only_whole_numbers_are_counts() {
    let count = |value| Counts::of(&value).map(|counts| counts.total());
    assert_eq!(count(Value::Double(3.0)), Ok(3));
    assert_eq!(count(Value::Double(3.5)), Err(Reason::NotWhole));
    for value in [-1.0, f64::NAN, f64::INFINITY, 1e16] {
        assert_eq!(count(Value::Double(value)), Err(Reason::NoCount), "{value}");
    }
    assert_eq!(count(Value::Int(-1)), Err(Reason::NoCount));
}

#[test]
fn other_bounds_are_a_new_beginning() {
    let histogram = |time: u64, bounds: &[f64], counts: &[u64]| {
        let (bounds, counts) = (bounds.to_vec(), counts.to_vec());
        let value = Value::Histogram { count: counts.iter().sum(), bounds, counts };
        Point { value, ..point(5, time, 0) }
    };
    let points = [
        histogram(10, &[0.1], &[3, 1]),
        histogram(20, &[0.1], &[5, 1]),
        histogram(30, &[0.1, 0.2], &[9, 9, 9]),
        histogram(40, &[0.1, 0.2], &[9, 9, 10]),
    ];
    assert_eq!(told(Temporality::Cumulative, &points), ["5 + 4", "10 + 2", "start", "30 + 1"]);
}

fn exponential(scale: i8, first: i32, counts: &[u64]) -> Exponential {
    Exponential { scale, zero: 0, first, counts: counts.to_vec() }
}

#[test]
fn a_coarser_exponential_histogram_is_differenced_at_its_own_scale() {
    // Indices 1 and 2 of scale 1 are index 1 of scale 0.
    let before = exponential(1, 1, &[3, 4]);
    let now = exponential(0, 1, &[9, 2]);
    assert_eq!(subtracted(&now, &before), Some(exponential(0, 1, &[2, 2])));
    assert_eq!(subtracted(&before, &now), None);
    assert_eq!(subtracted(&exponential(0, 5, &[1]), &before), None, "a bucket that vanished fell");
}

proptest! {
    /// Whatever order the points of a stream arrive in, and however often, what is counted is the newest total.
    #[test]
    fn any_order_of_cumulative_points_gives_the_same_counts(
        increments in proptest::collection::vec(0_i64..50, 1..20),
        order in proptest::collection::vec(0_usize..1_000, 0..60),
    ) {
        let mut sum = 0;
        let points: Vec<Point> = (1_u64..)
            .zip(&increments)
            .map(|(i, more)| { sum += more; point(5, 5 + i, sum) })
            .collect();
        let metric = metric(Temporality::Cumulative);
        let shuffled = order.iter().map(|i| &points[i % points.len()]).chain(points.last());
        let mut stream: Option<Stream> = None;
        let (mut counted, mut until) = (0, 5 * SECOND);
        for one in shuffled {
            let step = if let Some(stream) = &mut stream {
                stream.advance(&metric, one, one.time).unwrap()
            } else {
                let (begun, step) = Stream::begin(&metric, one, None, one.time).unwrap();
                stream = Some(begun);
                step
            };
            if let Step::Counted { from, counts } = step {
                prop_assert_eq!(from, until, "intervals follow one another");
                counted += counts.total();
                until = one.time;
            }
        }
        prop_assert_eq!(counted, u64::try_from(sum).unwrap());
    }

    /// The differences of an exponential histogram add up to it, whatever scales it takes on its way.
    #[test]
    fn differences_of_exponential_histograms_add_up(
        parts in proptest::collection::vec(
            (-20_i32..20, proptest::collection::vec(0_u64..9, 1..10), 0_i8..3), 1..10),
    ) {
        let mut total = exponential(6, 0, &[]);
        let mut before: Option<Exponential> = None;
        let mut sum: Option<Exponential> = None;
        for (first, counts, coarser) in parts {
            total.merge(&exponential(total.scale, first, &counts));
            total.coarsen((total.scale - coarser).max(0));
            let rest = match &before {
                None => total.clone(),
                Some(before) => subtracted(&total, before).expect("it only grows"),
            };
            match &mut sum {
                None => sum = Some(rest),
                Some(sum) => sum.merge(&rest),
            }
            before = Some(total.clone());
        }
        let mut sum = sum.unwrap();
        sum.coarsen(total.scale);
        let all = |h: &Exponential| -> Vec<(i32, u64)> {
            (h.first..).zip(h.counts.iter().copied()).filter(|(_, n)| *n > 0).collect()
        };
        prop_assert_eq!(all(&sum), all(&total));
    }
}
