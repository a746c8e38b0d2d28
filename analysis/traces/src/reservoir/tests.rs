//! What the choice promises: bounded, alike for both arms, and the same in whatever order traces come.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::samples::{MS, child, subtree};

const ARMS: [Arm; 2] = [Arm::Baseline, Arm::Canary];

fn candidate(trace: u128, route: &str, error: Option<u64>, ms: u64) -> Candidate {
    let mut spans = vec![child(1, 0, route, 0, ms), child(2, 1, "query", 0, ms / 2)];
    for span in &mut spans {
        span.trace = TraceId(trace);
    }
    Candidate { route: route.into(), error: error.map(Fingerprint), subtree: subtree(spans) }
}

fn shown(reservoir: &Reservoir, arm: Arm) -> Vec<(u128, Kept)> {
    reservoir.kept(arm).iter().map(|subtree| (subtree.trace().0, subtree.kept())).collect()
}

fn counted(reservoir: &Reservoir) -> (usize, usize) {
    let kept: Vec<EntrySubtree> = ARMS.into_iter().flat_map(|arm| reservoir.kept(arm)).collect();
    let spans = kept.iter().map(|subtree| subtree.spans().len()).sum();
    let bytes: usize = kept.iter().map(subtree_bytes).sum();
    (spans, bytes + reservoir.routes.values().map(Sketch::bytes).sum::<usize>())
}

#[test]
fn ranks_are_even_and_always_the_same() {
    assert_eq!(trace_rank(TraceId(1)), 627_405_149_472_732_430);
    let low = (0..10_000_u128).filter(|id| trace_rank(TraceId(*id << 64)) < u64::MAX / 4).count();
    assert!((2_300..2_700).contains(&low), "{low}");
    let low = (0..10_000_u128).filter(|id| trace_rank(TraceId(*id)) < u64::MAX / 4).count();
    assert!((2_300..2_700).contains(&low), "{low}");
}

#[test]
fn half_is_kept_by_chance_and_a_quarter_each_for_failing_and_for_being_slow() {
    let mut reservoir = Reservoir::new(40);
    for trace in 0..2_000 {
        let error = (trace % 20 == 3).then_some(7);
        let ms = if trace % 20 == 5 { 500 } else { 90 + u64::try_from(trace % 10).unwrap() };
        reservoir.offer(Arm::Canary, candidate(trace, "GET /", error, ms));
    }
    let kept = shown(&reservoir, Arm::Canary);
    let of =
        |kind: Kept| kept.iter().filter(move |(_, kept)| *kept == kind).map(|(trace, _)| *trace);
    assert_eq!(of(Kept::Uniform).count(), 20);
    assert_eq!(of(Kept::Error).filter(|trace| trace % 20 == 3).count(), 10);
    assert_eq!(of(Kept::Slow).filter(|trace| trace % 20 == 5).count(), 10);
    // Over the whole time, not only its beginning or its end.
    let mut chance: Vec<u128> = of(Kept::Uniform).collect();
    chance.sort_unstable();
    assert!(chance[4] < 1_000 && chance[15] > 1_000, "{chance:?}");
    assert_eq!(reservoir.len(Arm::Baseline), 0);
}

#[test]
fn rare_routes_and_rare_errors_keep_their_room() {
    let mut reservoir = Reservoir::new(80);
    for trace in 0..4_000_u128 {
        let route = if trace % 400 == 0 { "GET /rare" } else { "GET /busy" };
        let error = match trace % 200 {
            77 => Some(2),
            n if n % 2 == 1 => Some(1),
            _ => None,
        };
        reservoir.offer(Arm::Baseline, candidate(trace, route, error, 10));
    }
    let kept = reservoir.kept(Arm::Baseline);
    let rare = kept.iter().filter(|subtree| subtree.trace().0 % 400 == 0).count();
    assert_eq!(rare, 10, "a quarter of the room at most is needed, and had");
    let error = kept.iter().filter(|s| s.kept() == Kept::Error && s.trace().0 % 200 == 77).count();
    assert_eq!(error, 10, "half of the room for two kinds of errors");
}

#[test]
fn a_smaller_room_keeps_the_lowest_ranks_of_both_arms() {
    let mut reservoir = Reservoir::new(64);
    for trace in 0..500 {
        for arm in ARMS {
            reservoir.offer(arm, candidate(trace, "GET /", None, 10));
        }
    }
    assert!(reservoir.shrink());
    let mut all: Vec<u128> = (0..500).collect();
    all.sort_by_key(|trace| trace_rank(TraceId(*trace)));
    for arm in ARMS {
        let kept: BTreeSet<u128> = shown(&reservoir, arm).into_iter().map(|(id, _)| id).collect();
        assert_eq!(kept, all[..28].iter().copied().collect());
    }
    assert_eq!((reservoir.spans(), reservoir.bytes()), counted(&reservoir));
    while reservoir.shrink() {}
    assert!(reservoir.is_empty() && reservoir.spans() == 0);
}

#[test]
fn what_spans_take_is_not_underestimated() {
    let mut span = child(1, 0, "GET /cart", 0, 10);
    let bare = span_bytes(&span);
    assert!(bare >= size_of::<Span>() + "GET /cart".len());
    span.attributes.0.push(("http.route".into(), "/cart".repeat(200).as_str().into()));
    assert!(span_bytes(&span) >= bare + 1_000);
    assert!(spans_bytes(&[span.clone(), span.clone()]) < 2 * spans_bytes(&[span]));
    assert!((seconds(&child(1, 0, "x", 3, 5)) - 0.002).abs() < 1e-12);
    assert_eq!(MS, 1_000_000);
}

/// Requests: trace, route, kind of error.
fn requests() -> impl Strategy<Value = Vec<(u16, u8, Option<u8>)>> {
    let one = (0..400_u16, 0..6_u8, proptest::option::weighted(0.3, 0..3_u8));
    proptest::collection::vec(one, 0..300).prop_map(|mut all| {
        all.sort_unstable();
        all.dedup_by_key(|(trace, _, _)| *trace);
        all
    })
}

fn filled(requests: &[(u16, u8, Option<u8>)], room: usize) -> Reservoir {
    let mut reservoir = Reservoir::new(room);
    for (trace, route, error) in requests {
        let candidate = candidate((*trace).into(), &format!("/{route}"), error.map(u64::from), 10);
        for arm in ARMS {
            reservoir.offer(arm, candidate.clone());
        }
    }
    reservoir
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        requests in requests(),
        room in 8..100_usize,
        shuffle in any::<u64>(),
        again in 0..20_usize,
    ) {
        let expected = filled(&requests, room);
        let mut other = requests.clone();
        other.sort_by_key(|(trace, _, _)| mixed(u64::from(*trace) ^ shuffle));
        // An exporter that got no answer sends a batch again.
        other.extend_from_within(..again.min(other.len()));
        let found = filled(&other, room);
        for arm in ARMS {
            prop_assert_eq!(shown(&found, arm), shown(&expected, arm));
        }
        prop_assert_eq!((found.spans(), found.bytes()), counted(&found));
    }

    #[test]
    fn it_is_bounded_and_alike_for_both_arms(requests in requests(), room in 8..100_usize) {
        let reservoir = filled(&requests, room);
        let [baseline, canary] = ARMS.map(|arm| shown(&reservoir, arm));
        prop_assert_eq!(&baseline, &canary);
        prop_assert!(baseline.len() <= room);
        let chance = baseline.iter().filter(|(_, kept)| *kept == Kept::Uniform).count();
        prop_assert_eq!(chance, requests.len().min(room / 2), "room for chance is used");
        prop_assert_eq!((reservoir.spans(), reservoir.bytes()), counted(&reservoir));
    }

    #[test]
    fn routes_share_evenly(requests in requests(), room in 8..100_usize) {
        let reservoir = filled(&requests, room);
        let shelf = &reservoir.arms[0].uniform;
        let most = shelf.strata.values().map(BTreeMap::len).max().unwrap_or(0);
        for route in 0..6_u8 {
            let came = requests.iter().filter(|(_, of, _)| *of == route).count();
            let kept = shelf.strata.get(&(format!("/{route}").into(), None)).map_or(0, BTreeMap::len);
            prop_assert!(kept == came || kept + 1 >= most, "{kept} of {came} beside {most}");
        }
    }
}
