//! What holds for every order of calls, arrivals and outages.

use std::collections::BTreeMap;

use analysis::{Arm, Sample};
use proptest::prelude::*;

use super::*;

/// One call: how long after the one before, and whether the store answers.
#[derive(Debug, Clone)]
struct Call {
    after: i64,
    answers: u8,
}

const INTERVALS: i64 = 36;

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (1_i64..40, 0_u8..4).prop_map(|(after, answers)| Call { after, answers });
    proptest::collection::vec(call, 1..40)
}

/// How long after its end each interval of an arm appears; `None` for never.
fn arrivals() -> impl Strategy<Value = Vec<Option<i64>>> {
    let one = prop_oneof![6 => Just(Some(0)), 3 => (0_i64..120).prop_map(Some), 1 => Just(None)];
    proptest::collection::vec(one, usize::try_from(INTERVALS).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Interval `n` counts `2^n` requests, so that the sum of all that was delivered tells which were, and a
    /// second delivery of any would show.
    #[test]
    fn both_arms_get_the_same_intervals_each_once(
        baseline in arrivals(),
        canary in arrivals(),
        calls in calls(),
    ) {
        let fake = Fake::default();
        let start = second(0);
        for (query, arm) in [("all v1", &baseline), ("all v2", &canary)] {
            let mut kept = Vec::new();
            for (n, arrival) in (0_i64..).zip(arm) {
                let Some(arrival) = arrival else { continue };
                let shown_from = (n + 1) * STEP + arrival;
                #[expect(clippy::cast_precision_loss, reason = "a power of two")]
                kept.push(Kept { start: n * STEP, shown_from, value: (1_u64 << n) as f64 });
            }
            fake.truth().kept.insert(query.into(), kept);
        }
        let windows = Windows::new(fake.clone());
        let subjects = [subject("d1")];
        let mut sums: BTreeMap<Arm, u64> = BTreeMap::new();
        let (mut waiting, mut next, mut asked, mut expected) = (Vec::new(), 0, None, 0_u64);
        let mut now = 0;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for (n, call) in calls.iter().enumerate() {
            now += if n == 0 { 0 } else { call.after };
            {
                let mut truth = fake.truth();
                truth.now = now;
                truth.fails = (call.answers == 2).then(|| FetchError::transient("down"));
                truth.incomplete = (call.answers == 3).then(|| "a shard is gone".to_owned());
            }
            let measured = runtime.block_on(windows.measure(&subjects, second(now)));
            for observation in measured[0].result.iter().flat_map(|(s, _)| &s.observations) {
                let Sample::Events { events, of } = observation.sample else { panic!() };
                prop_assert_eq!(events, 0);
                *sums.entry(observation.arm).or_default() += of;
            }
            // What should have happened.
            let settled = (now - SETTLE).div_euclid(STEP);
            while next < settled {
                waiting.push(next);
                next += 1;
            }
            if waiting.is_empty() || asked == Some(settled) || call.answers >= 2 {
                continue;
            }
            asked = Some(settled);
            let shown = |arm: &[Option<i64>], n: i64| {
                let arrival = usize::try_from(n).ok().and_then(|n| arm.get(n).copied().flatten());
                arrival.is_some_and(|arrival| (n + 1) * STEP + arrival <= now)
            };
            waiting.retain(|n| {
                let whole = shown(&baseline, *n) && shown(&canary, *n);
                if whole {
                    expected += 1 << n;
                }
                !whole && (settled - n - 1) * STEP <= STALE_AFTER
            });
        }
        prop_assert!(second(now) >= start);
        prop_assert_eq!(sums.get(&Arm::Baseline).copied().unwrap_or(0), expected);
        prop_assert_eq!(sums.get(&Arm::Canary).copied().unwrap_or(0), expected);
    }

    /// Whatever a store answers, nothing panics and no observation is impossible.
    #[test]
    fn no_answer_makes_an_impossible_observation(
        all in proptest::collection::vec((-3_i64..8, proptest::option::of(any::<f64>())), 0..12),
        bad in proptest::collection::vec((-3_i64..8, proptest::option::of(0.0..20.0_f64)), 0..12),
        instances in proptest::collection::vec(proptest::option::of("[a-c]"), 1..3),
    ) {
        let fake = Fake::default();
        let series = |points: &[(i64, Option<f64>)]| -> Vec<StoredSeries> {
            let points: Vec<_> = points.iter().map(|(n, v)| (second(n * 5), *v)).collect();
            let of = |instance: &Option<String>| StoredSeries {
                instance: instance.clone(),
                points: points.clone(),
            };
            instances.iter().map(of).collect()
        };
        fake.truth().series.insert("all v1".into(), series(&all));
        fake.truth().series.insert("all v2".into(), series(&all));
        fake.truth().series.insert("bad v2".into(), series(&bad));
        let windows = Windows::new(fake.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for now in [0, 30, 60, 90] {
            let measured = runtime.block_on(windows.measure(&[subject("d1")], second(now)));
            for observation in measured[0].result.iter().flat_map(|(s, _)| &s.observations) {
                prop_assert_eq!(observation.validate(), Ok(()));
            }
        }
    }
}
