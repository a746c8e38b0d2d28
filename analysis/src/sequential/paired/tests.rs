//! Published tables, planted regressions, and false alarms counted by simulation with fixed seeds.

use proptest::prelude::*;

use super::*;
use crate::sequential::draws::Draws;

fn failing(failed: [bool; 2]) -> Pair {
    Pair { failed, seconds: [0.1; 2] }
}

/// Both attempts with the same noise, the canary `slower` times as long.
fn timed(draws: &mut Draws, slower: f64, noise: f64) -> Pair {
    let mut time = |factor: f64| 0.1 * factor * (noise * draws.normal()).exp();
    Pair { failed: [false; 2], seconds: [time(1.0), time(slower)] }
}

/// Pairs until the evidence reaches 1/`alpha`.
fn until(alpha: f64, most: u64, mut next: impl FnMut() -> Pair) -> Option<u64> {
    let mut paired = Paired::new(0.25);
    (1..=most).find(|_| {
        paired.add(next());
        paired.log_evidence() >= (1.0 / alpha).ln()
    })
}

/// The p-value whose negative ranks sum to `negative`, of ranks 1 to `size` without ties.
fn p_of(size: u32, mut negative: u32) -> f64 {
    let differences: Vec<f64> = (1..=size)
        .rev()
        .map(|rank| {
            if rank <= negative {
                negative -= rank;
                -f64::from(rank)
            } else {
                f64::from(rank)
            }
        })
        .collect();
    assert_eq!(negative, 0);
    signed_rank_p(&differences)
}

#[test]
fn signed_ranks_have_their_published_distribution() {
    // Number of subsets of the ranks with so small a sum, counted by hand, over 2^n.
    for (size, negative, subsets) in [(1, 0, 1.0), (5, 0, 1.0), (5, 3, 5.0), (4, 10, 16.0)] {
        let expected = subsets / 2.0_f64.powi(i32::try_from(size).unwrap());
        assert!((p_of(size, negative) - expected).abs() < 1e-15, "{size}, {negative}");
    }
    // Wilcoxon and Wilcox, "Some rapid approximate statistical procedures", 1964: critical values at the one-sided
    // levels 5 %, 2.5 %, 1 % and 0.5 %. The next sum exceeds the level.
    let levels = [0.05, 0.025, 0.01, 0.005];
    let table = [
        (10, [10, 8, 5, 3]),
        (15, [30, 25, 19, 15]),
        (20, [60, 52, 43, 37]),
        (25, [100, 89, 76, 68]),
        (50, [466, 434, 397, 373]),
    ];
    for (size, critical) in table {
        for (negative, level) in critical.into_iter().zip(levels) {
            assert!(p_of(size, negative) <= level, "{size}, {negative}: {}", p_of(size, negative));
            assert!(p_of(size, negative + 1) > level, "{size}, {negative}");
        }
    }
}

#[test]
fn ties_and_zeros_keep_the_distribution_exact() {
    // Ranks 1.5, 1.5, 3 and 4; zeros are dropped. The positive ones sum to 8.5, and so do or exceed it: all four,
    // without either 1.5; 3 of 16.
    let p = signed_rank_p(&[0.0, 2.0, -2.0, 5.0, 0.0, 7.0]);
    assert!((p - 3.0 / 16.0).abs() < 1e-15, "{p}");
    assert!((signed_rank_p(&[]) - 1.0).abs() < 1e-15);
    assert!((signed_rank_p(&[0.0; 9]) - 1.0).abs() < 1e-15);
    assert!((signed_rank_p(&[1.0; 50]) / 0.5_f64.powi(50) - 1.0).abs() < 1e-12);
}

#[test]
fn sign_test_is_exact() {
    let mut paired = Paired::new(0.0);
    assert!((paired.p_failures() - 1.0).abs() < 1e-15);
    for _ in 0..7 {
        paired.add(failing([false, true]));
    }
    assert!((paired.p_failures() - 1.0 / 128.0).abs() < 1e-12);
    paired.add(failing([true, false]));
    paired.add(failing([true, true]));
    // Seven or more of eight coins: 9 of 256.
    assert!((paired.p_failures() - 9.0 / 256.0).abs() < 1e-12);
    assert_eq!((paired.pairs(), paired.tally().both_failed), (9, 1));
}

#[test]
fn a_canary_that_always_fails_is_seen_within_ten_pairs() {
    let pairs = until(0.01, 100, || failing([false, true])).unwrap();
    assert_eq!(pairs, 9);
    assert_eq!(until(0.01, 5000, || failing([true, true])), None);
    assert_eq!(until(0.01, 5000, || failing([true, false])), None);
}

#[test]
fn a_slow_canary_is_seen_within_tens_of_pairs() {
    let mut draws = Draws::new(31);
    for (slower, most) in [(1.5, 40), (2.0, 14), (3.0, 12)] {
        let mut pairs: Vec<u64> = (0..200)
            .map(|_| until(0.01, 2000, || timed(&mut draws, slower, 0.2)).unwrap())
            .collect();
        pairs.sort_unstable();
        assert!(pairs[100] <= most, "{slower} times: median {}, 90 % {}", pairs[100], pairs[180]);
    }
}

#[test]
fn no_more_false_alarms_than_the_level_over_hundreds_of_looks() {
    let mut draws = Draws::new(32);
    let runs = 4000;
    let alarms = (0..runs).filter(|run| {
        // The edge of the null: as slow as tolerated; heavy noise that grows and shrinks; both versions fail alike.
        let rate = [0.02, 0.2, 0.6][run % 3];
        let mut pair = 0;
        until(0.05, 400, || {
            pair += 1;
            let failed = [draws.uniform() < rate, draws.uniform() < rate];
            let noise = if pair / 30 % 2 == 0 { 0.1 } else { 1.0 };
            Pair { failed, ..timed(&mut draws, 1.25, noise) }
        })
        .is_some()
    });
    let alarms = alarms.count();
    // Nominal 5 %: 200, and three standard errors; far fewer would mean evidence that is thrown away.
    assert!((20..=241).contains(&alarms), "{alarms} of {runs}");
}

#[test]
fn alternating_order_cancels_what_being_second_costs() {
    let mut draws = Draws::new(33);
    let alarms = (0..1000).filter(|_| {
        let mut turn = 0;
        until(0.05, 300, || {
            turn = 1 - turn;
            let mut pair = timed(&mut draws, 1.25, 0.2);
            pair.seconds[turn] *= 1.3;
            pair.failed[turn] = draws.uniform() < 0.1;
            pair
        })
        .is_some()
    });
    let alarms = alarms.count();
    assert!(alarms <= 70, "{alarms} of 1000");
}

#[test]
fn the_gate_opens_after_twenty_pairs_and_never_without_any() {
    let mut paired = Paired::new(0.25);
    assert!(paired.passes(0) && !paired.passes(20));
    let mut draws = Draws::new(34);
    for _ in 0..19 {
        paired.add(timed(&mut draws, 1.0, 0.1));
    }
    // Pairs that the baseline failed do not count.
    for _ in 0..5 {
        paired.add(failing([true, true]));
    }
    assert!(!paired.passes(20));
    paired.add(timed(&mut draws, 1.0, 0.1));
    assert!(paired.passes(20));
    let mut broken = Paired::new(0.25);
    for _ in 0..500 {
        broken.add(failing([true, true]));
    }
    assert!(!broken.passes(20));
}

#[test]
fn a_failure_of_the_canary_costs_more_pairs() {
    let opens_after = |failures: u64| {
        let mut paired = Paired::new(0.25);
        for _ in 0..failures {
            paired.add(failing([false, true]));
        }
        let more = (1..500).find(|_| {
            paired.add(failing([false, false]));
            paired.passes(20)
        });
        failures + more.unwrap()
    };
    assert_eq!([0, 1, 2].map(opens_after), [20, 33, 44]);
    let mut slow = Paired::new(0.25);
    for _ in 0..50 {
        slow.add(Pair { failed: [false; 2], seconds: [0.1, 0.2] });
    }
    assert!(!slow.passes(20));
}

#[test]
fn a_canary_that_often_fails_hardly_ever_gets_through() {
    let mut draws = Draws::new(35);
    for (rate, most) in [(0.5, 0), (0.3, 10), (0.2, 75)] {
        let through = (0..3000).filter(|_| {
            let mut paired = Paired::new(0.25);
            (0..300).any(|_| {
                paired.add(failing([false, draws.uniform() < rate]));
                paired.passes(20)
            })
        });
        let through = through.count();
        assert!(through <= most, "failing {rate}: {through} of 3000 got through");
    }
}

#[test]
fn slowdown_is_the_median() {
    let mut paired = Paired::new(0.25);
    assert_eq!(paired.slowdown(), None);
    for canary in [0.2, 0.3, 0.9] {
        paired.add(Pair { failed: [false; 2], seconds: [0.1, canary] });
    }
    assert!((paired.slowdown().unwrap() - 3.0).abs() < 1e-12);
}

#[test]
fn odd_numbers_stay_finite_and_memory_stays_bounded() {
    let odd = [f64::NAN, f64::INFINITY, 0.0, -1.0, f64::MIN_POSITIVE, f64::MAX, 1.0];
    let mut paired = Paired::new(f64::NAN);
    for turn in 0..20_000 {
        let seconds = [odd[turn % odd.len()], odd[turn / odd.len() % odd.len()]];
        paired.add(Pair { failed: [turn % 11 == 0, turn % 13 == 0], seconds });
    }
    assert!(paired.kept.len() <= MOST_KEPT);
    assert!(paired.log_evidence().is_finite() && paired.stretch().abs() < f64::MIN_POSITIVE);
    assert!((0.0..=1.0).contains(&paired.p_failures()));
    assert!((0.0..=1.0).contains(&paired.p_latency()));
    for _ in 0..100_000 {
        paired.add(failing([false, true]));
    }
    assert!(paired.log_evidence() > 1000.0 && paired.p_failures() >= 0.0);
    let text = serde_json::to_string(&paired).unwrap();
    assert!(text.len() < 4096);
    assert_eq!(serde_json::from_str::<Paired>(&text).unwrap(), paired);
}

proptest! {
    #[test]
    fn signed_ranks_are_counted_exactly(values in proptest::collection::vec(-4..5_i32, 1..12)) {
        let differences: Vec<f64> = values.iter().map(|value| f64::from(*value) / 3.0).collect();
        let kept: Vec<f64> = differences.iter().copied().filter(|value| value.abs() > 0.0).collect();
        // The midrank, and the share of all sign patterns whose positive ranks sum to as much.
        let rank = |value: f64| {
            let sizes = || kept.iter().map(|other| other.abs() - value.abs());
            let below = sizes().filter(|apart| *apart < -1e-9).count() as u64;
            let ties = sizes().filter(|apart| apart.abs() < 1e-9).count() as u64;
            as_f64(below) + f64::midpoint(as_f64(ties), 1.0)
        };
        let observed: f64 = kept.iter().filter(|value| **value > 0.0).map(|value| rank(*value)).sum();
        let patterns = 1_u32 << kept.len();
        let as_high = (0..patterns).filter(|pattern| {
            let chosen = kept.iter().enumerate().filter(|(index, _)| pattern >> index & 1 == 1);
            chosen.map(|(_, value)| rank(*value)).sum::<f64>() >= observed - 1e-9
        });
        let expected = as_f64(as_high.count() as u64) / f64::from(patterns);
        prop_assert!((signed_rank_p(&differences) - expected).abs() < 1e-12);
    }

    #[test]
    fn one_more_pair_has_mean_one_under_the_null(
        history in proptest::collection::vec((0.01..10.0_f64, 0.01..10.0_f64), 0..60),
        factor in 1.001..50.0_f64,
    ) {
        let mut paired = Paired::new(0.0);
        for (baseline, canary) in history {
            paired.add(Pair { failed: [false; 2], seconds: [baseline, canary] });
        }
        let before = paired.log_latency();
        let after = |seconds: [f64; 2]| {
            let mut next = paired.clone();
            next.add(Pair { failed: [false; 2], seconds });
            (next.log_latency() - before).exp()
        };
        let mean = f64::midpoint(after([1.0, factor]), after([factor, 1.0]));
        prop_assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }
}
