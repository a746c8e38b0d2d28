//! New errors: the table of the specification, and the false-alarm probability over many looks.

use super::*;

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn seen(looks: &[Look]) -> NewErrors {
    let mut evidence = NewErrors::default();
    for look in looks {
        evidence.observe(look);
    }
    evidence
}

fn look(canary: u64, baseline: u64, q: u64) -> Look {
    Look {
        canary_requests: q,
        baseline_requests: 1_000 - q,
        canary_instances: names(&["c1", "c2"]),
        errors: [("1".to_owned(), Seen { canary, baseline, instances: names(&["c1", "c2"]) })]
            .into(),
    }
}

#[test]
fn a_new_error_is_q_to_the_k() {
    // Canary share per mille, and how often a new error is seen until p <= 1e-4.
    for (q, times) in [(50, 4), (100, 4), (250, 7), (500, 14)] {
        let at = |k: u64| {
            let evidence = seen(&[look(k, 0, q)]);
            evidence.strongest().map_or(0.0, |(_, new)| new.log_evidence)
        };
        let needed = 1e4_f64.ln() - 1e-9;
        assert!(at(times) >= needed, "{q} {times}");
        assert!(at(times - 1) < needed, "{q} {times}");
    }
}

#[test]
fn what_proves_nothing_is_no_evidence() {
    let none = |look: Look| {
        let evidence = seen(&[look]).log_evidence();
        assert!(evidence <= 1e-12, "{evidence}");
    };
    none(look(20, 1, 100)); // the baseline has it as well
    none(look(2, 0, 100)); // twice is chance
    none(look(20, 0, 1_000)); // no baseline to compare with
    let mut one_host = look(20, 0, 100);
    one_host.errors.get_mut("1").unwrap().instances = names(&["c1"]);
    none(one_host); // a bad host, not bad code
    let mut one_pod = look(4, 0, 100);
    one_pod.canary_instances = names(&["c1"]);
    one_pod.errors.get_mut("1").unwrap().instances = names(&["c1"]);
    assert!(seen(&[one_pod]).log_evidence() > 8.0, "the only pod there is");
}

#[test]
fn a_store_and_a_restart_change_nothing() {
    let evidence = seen(&[look(5, 0, 100), look(2, 0, 200)]);
    let json = serde_json::to_string(&evidence).unwrap();
    let mut again: NewErrors = serde_json::from_str(&json).unwrap();
    assert_eq!(again, evidence);
    again.observe(&look(0, 1, 100));
    assert!(again.log_evidence() < 0.0);
}

#[test]
fn a_harmless_canary_reaches_one_over_alpha_no_more_often_than_alpha() {
    let mut state = 7_u64;
    let mut uniform = move || {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        as_f64((z ^ (z >> 31)) >> 12) / 4_503_599_627_370_496.0
    };
    let (runs, alpha) = (4_000, 0.05_f64);
    let mut crossed = 0;
    for _ in 0..runs {
        let mut evidence = NewErrors::default();
        let mut next = 0_u64;
        for step in 0..30 {
            let q = if step < 10 { 0.05 } else { 0.3 };
            // Every look has a new rare error, and old ones come back.
            next += 1;
            let mut errors = BTreeMap::new();
            for fingerprint in [next, next.saturating_sub(1).max(1), next.saturating_sub(3).max(1)]
            {
                let canary = u64::from(uniform() < q);
                let instances = names(&["c1", "c2"]);
                errors.insert(
                    fingerprint.to_string(),
                    Seen { canary, baseline: 1 - canary, instances },
                );
            }
            evidence.observe(&Look {
                canary_requests: if step < 10 { 50 } else { 300 },
                baseline_requests: if step < 10 { 950 } else { 700 },
                canary_instances: names(&["c1", "c2"]),
                errors,
            });
            if evidence.log_evidence() >= (1.0 / alpha).ln() {
                crossed += 1;
                break;
            }
        }
    }
    let share = f64::from(crossed) / f64::from(runs);
    assert!(share <= alpha + 4.0 * (alpha / f64::from(runs)).sqrt(), "{share}");
}
