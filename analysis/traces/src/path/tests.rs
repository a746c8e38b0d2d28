//! The critical path: known trees, and that every instant belongs to exactly one span.

use proptest::prelude::*;

use super::*;
use crate::samples::{MS, child, subtree};
use crate::span::Span;

/// Milliseconds that each span answers for, by id.
fn own(spans: Vec<Span>) -> Vec<(u64, u64)> {
    let subtree = subtree(spans);
    let mut own: Vec<(u64, u64)> = Vec::new();
    for segment in critical_path(&subtree) {
        let id = subtree.spans()[segment.span].id.0;
        let length = (segment.end - segment.start) / MS;
        match own.iter_mut().find(|(of, _)| *of == id) {
            Some((_, sum)) => *sum += length,
            None => own.push((id, length)),
        }
    }
    own.sort_unstable();
    own
}

#[test]
fn gaps_belong_to_the_parent() {
    let spans = vec![child(1, 0, "a", 0, 100), child(2, 1, "b", 10, 40), child(3, 1, "c", 50, 90)];
    assert_eq!(own(spans), [(1, 30), (2, 30), (3, 40)]);
}

#[test]
fn calls_back_to_back_both_count() {
    let spans = vec![child(1, 0, "a", 0, 100), child(2, 1, "b", 10, 50), child(3, 1, "c", 50, 90)];
    assert_eq!(own(spans), [(1, 20), (2, 40), (3, 40)]);
}

#[test]
fn of_parallel_calls_the_last_to_end_counts() {
    let spans = vec![
        child(1, 0, "a", 0, 100),
        child(2, 1, "b", 10, 90),
        child(3, 1, "c", 20, 80),
        child(4, 2, "d", 30, 60),
    ];
    assert_eq!(own(spans), [(1, 20), (2, 50), (4, 30)]);
}

#[test]
fn work_that_outlives_its_parent_is_cut() {
    let spans =
        vec![child(1, 0, "a", 0, 100), child(2, 1, "b", 80, 400), child(3, 1, "c", 200, 300)];
    assert_eq!(own(spans.clone()), [(1, 80), (2, 20)]);
    let subtree = subtree(spans);
    let mut walk = Walk::default();
    walk.walk(&subtree, |_| ());
    let outside: Vec<u64> = (0..3).map(|at| walk.outside(&subtree, at) / MS).collect();
    assert_eq!(outside, [0, 300, 100]);
}

#[test]
fn a_chain_of_thousands_is_no_recursion() {
    let spans: Vec<Span> = (1..=5_000).map(|id| child(id, id - 1, "a", 0, 100)).collect();
    assert_eq!(own(spans), [(5_000, 100)]);
}

proptest! {
    #[test]
    fn every_instant_belongs_to_exactly_one_span(
        shape in proptest::collection::vec((any::<proptest::sample::Index>(), 0..200_u64, 0..200_u64), 1..60),
    ) {
        let mut spans = vec![child(1, 0, "entry", 50, 150)];
        for (id, (parent, from, to)) in (2..).zip(shape) {
            let parent = spans[parent.index(spans.len())].id.0;
            spans.push(child(id, parent, "x", from.min(to), from.max(to)));
        }
        let mut refused = crate::tree::Refused::default();
        let trace = crate::tree::Trace { id: spans[0].trace, kept: crate::tree::Kept::Uniform, spans };
        for subtree in crate::tree::entries(trace, None, &mut refused) {
            let path = critical_path(&subtree);
            let mut at = subtree.entry().start;
            for segment in path {
                prop_assert_eq!(segment.start, at);
                prop_assert!(segment.start < segment.end);
                let span = &subtree.spans()[segment.span];
                prop_assert!(span.start <= segment.start && segment.end <= span.end);
                at = segment.end;
            }
            prop_assert_eq!(at, subtree.entry().end);
        }
    }
}
