//! Trees from what real and hostile senders send.

use std::sync::Arc;

use super::*;
use crate::samples::{MS, child, span};
use crate::span::{Resource, SpanId};

fn build(spans: Vec<Span>, service: Option<&str>) -> (Vec<EntrySubtree>, Refused) {
    let mut refused = Refused::default();
    let trace = Trace { id: TraceId(1), kept: Kept::Uniform, spans };
    let found = entries(trace, service, &mut refused);
    (found, refused)
}

fn of(service: &str, kind: Kind, span: Span) -> Span {
    let attributes = span.resource.attributes.clone();
    Span { resource: Arc::new(Resource { service: service.into(), attributes }), kind, ..span }
}

fn sizes(found: &[EntrySubtree]) -> Vec<usize> {
    found.iter().map(|subtree| subtree.spans().len()).collect()
}

#[test]
fn spans_are_sorted_into_traces() {
    let mut spans = vec![child(1, 0, "a", 0, 10), child(2, 1, "b", 1, 2), child(3, 0, "c", 0, 1)];
    spans[2].trace = TraceId(0);
    let found = traces(spans);
    assert_eq!(found.iter().map(|trace| trace.spans.len()).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn subtrees_begin_at_the_outermost_entries_of_the_service() {
    let spans = vec![
        of("web", Kind::Server, child(1, 0, "GET /", 0, 100)),
        of("web", Kind::Client, child(2, 1, "cart", 10, 90)),
        of("cart", Kind::Server, child(3, 2, "GET /cart", 11, 89)),
        of("cart", Kind::Internal, child(4, 3, "load", 12, 50)),
        of("price", Kind::Server, child(5, 4, "prices", 15, 40)),
        of("cart", Kind::Server, child(6, 5, "back again", 20, 30)),
        of("cart", Kind::Consumer, child(7, 1, "message", 95, 99)),
    ];
    let (found, refused) = build(spans.clone(), Some("cart"));
    assert_eq!((sizes(&found), refused), (vec![4, 1], Refused::default()));
    assert_eq!(&*found[0].entry().name, "GET /cart");
    assert_eq!(found[0].parent(0), None);
    assert_eq!(found[0].parent(3), Some(2));
    let (found, _) = build(spans, None);
    assert_eq!(sizes(&found), [7]);
}

#[test]
fn an_entry_whose_caller_was_not_fetched_is_whole() {
    let spans = vec![
        of("cart", Kind::Server, child(3, 2, "GET /cart", 10, 90)),
        of("cart", Kind::Internal, child(4, 3, "load", 12, 50)),
    ];
    for service in [Some("cart"), None] {
        let (found, refused) = build(spans.clone(), service);
        assert_eq!((sizes(&found), refused), (vec![2], Refused::default()));
    }
}

#[test]
fn both_sides_of_a_call_may_share_an_id() {
    // Zipkin: the client and the server span are one id; children belong to the server.
    let spans = vec![
        of("web", Kind::Client, child(2, 0, "get", 0, 100)),
        of("cart", Kind::Server, child(2, 0, "get", 10, 90)),
        of("cart", Kind::Internal, child(3, 2, "load", 20, 80)),
    ];
    let (found, refused) = build(spans, None);
    assert_eq!((sizes(&found), refused), (vec![3], Refused::default()));
    assert_eq!(found[0].entry().kind, Kind::Client);
    assert_eq!((found[0].parent(1), found[0].parent(2)), (Some(0), Some(1)));
}

#[test]
fn spans_that_come_twice_count_once() {
    let spans = vec![child(1, 0, "a", 0, 10), child(2, 1, "b", 1, 5), child(2, 1, "b", 1, 5)];
    let (found, refused) = build(spans, None);
    assert_eq!((sizes(&found), refused.duplicates), (vec![2], 1));
}

#[test]
fn what_is_missing_leaves_the_subtree_out() {
    let lost = vec![child(1, 0, "a", 0, 100), child(3, 2, "c", 20, 30)];
    let (found, refused) = build(lost, None);
    assert_eq!((found.len(), refused.orphans, refused.incomplete), (0, 1, 1));
    // Another part of the trace lost something at another time.
    let elsewhere = vec![child(1, 0, "a", 0, 100), child(3, 2, "c", 200, 300)];
    let (found, refused) = build(elsewhere, None);
    assert_eq!((found.len(), refused.orphans, refused.incomplete), (1, 1, 0));
}

#[test]
fn cycles_are_counted_and_left_out() {
    let spans = vec![
        child(1, 0, "a", 0, 100),
        child(2, 3, "b", 10, 20),
        child(3, 2, "c", 10, 20),
        child(4, 4, "d", 500, 600),
    ];
    let (found, refused) = build(spans, None);
    assert_eq!((found.len(), refused.cycles, refused.incomplete), (0, 3, 1));
}

#[test]
fn clocks_that_differ_leave_the_subtree_out() {
    let hour = 3_600_000;
    let ahead = vec![child(1, 0, "a", hour, hour + 100), child(2, 1, "b", 10, 20)];
    assert_eq!(build(ahead, None).1.skewed, 1);
    let answered_late = vec![
        of("a", Kind::Client, child(1, 0, "a", 0, 100)),
        of("b", Kind::Server, child(2, 1, "b", 500, 600)),
    ];
    assert_eq!(build(answered_late, None).1.skewed, 1);
    let asynchronous = vec![
        of("a", Kind::Producer, child(1, 0, "a", 0, 100)),
        of("b", Kind::Consumer, child(2, 1, "b", 500, 600)),
    ];
    assert_eq!(build(asynchronous, None).1.skewed, 0);
}

#[test]
fn time_that_runs_backwards_is_no_time() {
    let mut one = span("a", "a");
    one.start = 5 * MS;
    one.end = 3 * MS;
    let (found, refused) = build(vec![one], None);
    assert_eq!(refused.backwards, 1);
    assert_eq!(found[0].entry().end, 5 * MS);
}

#[test]
fn loops_and_synthetic_checks_are_left_out() {
    let children = 2..1_000_002;
    let wide: Vec<Span> = std::iter::once(child(1, 0, "a", 0, 100))
        .chain(children.map(|id| child(id, 1, "b", 1, 2)))
        .collect();
    let (found, refused) = build(wide, None);
    assert_eq!((found.len(), refused.oversized), (0, 1));

    let mut check = child(1, 0, "a", 0, 100);
    check.attributes.0.push((Arc::from("user_agent.synthetic.type"), "test".into()));
    let (found, refused) = build(vec![check], None);
    assert_eq!((found.len(), refused.synthetic, refused.subtrees()), (0, 1, 1));
}

#[test]
fn an_id_of_zeros_is_no_parent() {
    let mut one = child(1, 0, "a", 0, 100);
    one.parent = Some(SpanId(0));
    assert_eq!(build(vec![one], None).1, Refused::default());
}
