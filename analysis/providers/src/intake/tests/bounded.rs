//! Hostile spans and more of them than may be held.

use std::io::Write as _;

use analysis::Arm;
use analysis_traces::{Kind, Span, SpanId, trace_rank};
use proptest::prelude::*;

use super::samples::{MS, after, entry, of_arm, process, request, span, tree, watching};
use crate::intake::{Intake, IntakeSettings};
use crate::otlp::{Content, Rejected};

fn small() -> IntakeSettings {
    let max_held = 8 * 1_024 * 1_024;
    IntakeSettings { max_spans: 4_000, max_held, per_reservoir: 16, ..IntakeSettings::default() }
}

#[test]
fn memory_is_flat_at_the_cap_and_whole_traces_are_left() {
    let intake = watching(small());
    let mut peak = (0, 0);
    let mut counted = 0;
    for trace in 0..20_000_u128 {
        let arm = if trace % 3 == 0 { Arm::Canary } else { Arm::Baseline };
        // 1,000 requests of ten spans a second, in two parts from two processes.
        let at = after(i64::try_from(trace).unwrap());
        let mut spans = tree(&of_arm(arm), trace);
        intake.accept(spans.split_off(5), at);
        intake.accept(spans, at);
        let held = intake.held();
        peak = (peak.0.max(held.spans), peak.1.max(held.bytes));
        if trace % 500 == 0 {
            counted += intake.counts("one", at).iter().map(|count| count.requests).sum::<u64>();
        }
    }
    counted += intake.counts("one", after(20_000)).iter().map(|count| count.requests).sum::<u64>();
    assert_eq!(counted, 20_000, "counts are exact");
    assert!(peak.0 <= 4_000 && peak.1 <= 8 * 1_024 * 1_024, "{peak:?}");
    assert!(intake.held().given_up > 10_000);
    let (split, refused, _) = intake.subtrees("one", after(60_000)).unwrap();
    assert_eq!((split.baseline.len(), split.canary.len()), (32, 32), "half the room, by chance");
    let all = split.baseline.iter().chain(&split.canary);
    assert!(all.clone().all(|one| one.spans().len() == 10));
    assert_eq!(refused.subtrees(), 0);
    // Kept are nearly those that would be kept without a cap: the lowest ranks.
    let mut ranks: Vec<u64> =
        (0..20_000).map(|trace| trace_rank(analysis_traces::TraceId(trace))).collect();
    ranks.sort_unstable();
    assert!(all.clone().all(|one| trace_rank(one.trace()) < ranks[400]));
}

#[test]
fn after_a_flood_everything_is_held_again() {
    let intake = watching(small());
    for trace in 0..3_000 {
        intake.accept(tree(&of_arm(Arm::Baseline), trace), after(0));
    }
    assert!(intake.held().given_up > 0);
    let given_up = |from: u128, ms: i64| {
        let before = intake.held().given_up;
        for trace in from..from + 10 {
            intake.accept(tree(&of_arm(Arm::Canary), trace), after(ms));
        }
        intake.held().given_up - before
    };
    let mut at = 20_000;
    let mut rounds = 0;
    while given_up(u128::from(rounds) * 100 + 10_000, at) > 0 {
        at += 45_000;
        rounds += 1_u32;
        intake.watch("one", "checkout", &super::samples::arms(), after(at));
        assert!(rounds < 12, "it never recovers");
    }
    assert!(rounds > 0);
}

#[test]
fn one_trace_with_a_million_spans_costs_only_itself() {
    let intake = watching(IntakeSettings::default());
    let of = of_arm(Arm::Canary);
    let mut refused = 0;
    for batch in 0..100_u64 {
        let spans = (1..=10_000).map(|id| {
            let parent = u64::from(batch > 0 || id > 1);
            request_of(span(&of, Kind::Server, (7, batch * 10_000 + id, parent)))
        });
        refused += intake.accept(spans.collect(), after(i64::try_from(batch).unwrap()));
    }
    assert_eq!(refused, 990_000);
    assert!(intake.held().spans <= 10_000);
    intake.accept(vec![entry(8, 1), request(&of_arm(Arm::Baseline), 9, 1)], after(200));
    let (split, refused, _) = intake.subtrees("one", after(30_000)).unwrap();
    assert_eq!((split.baseline.len(), split.canary.len()), (1, 1));
    assert!(refused.subtrees() >= 1);
}

fn request_of(mut span: Span) -> Span {
    span.name = "GET /".into();
    span
}

#[test]
fn cycles_clocks_and_missing_roots_are_counted_and_left_out() {
    let intake = watching(IntakeSettings::default());
    let (own, other) = (of_arm(Arm::Canary), process("auth", "7", "a"));
    let mut cycle = vec![entry(1, 1)];
    cycle.push(span(&own, Kind::Internal, (1, 2, 3)));
    cycle.push(span(&own, Kind::Internal, (1, 3, 2)));
    let mut skewed = vec![entry(2, 1), span(&other, Kind::Server, (2, 2, 1))];
    skewed[1].start -= 3_600_000 * MS;
    skewed[1].end -= 3_600_000 * MS;
    let orphans = vec![entry(3, 1), span(&own, Kind::Internal, (3, 2, 77))];
    let mut own_parent = entry(4, 1);
    own_parent.parent = Some(SpanId(1));
    let rootless: Vec<Span> =
        (2..9).map(|id| span(&own, Kind::Internal, (5, id, id - 1))).collect();
    let mut backwards = entry(6, 1);
    (backwards.start, backwards.end) = (u64::MAX, 0);
    let all = [cycle, skewed, orphans, vec![own_parent, backwards], rootless].concat();
    intake.accept(all, after(0));
    intake.accept(vec![request(&of_arm(Arm::Baseline), 10, 1)], after(0));
    let (split, refused, requests) = intake.subtrees("one", after(60_000)).unwrap();
    assert_eq!((refused.skewed, refused.incomplete), (1, 2), "{refused:?}");
    assert!(refused.cycles >= 2 && refused.orphans == 1 && refused.backwards == 1, "{refused:?}");
    assert_eq!((split.canary.len(), requests.canary), (1, 5));
    assert_eq!(intake.held().traces, 0);
}

#[test]
fn huge_spans_are_bounded_by_their_bytes() {
    let intake = watching(small());
    let text = "x".repeat(16_000);
    for trace in 0..2_000_u128 {
        let mut one = request(&of_arm(Arm::Canary), trace, 1);
        one.attributes.0.push(("big".into(), text.as_str().into()));
        intake.accept(vec![one], after(i64::try_from(trace).unwrap() * 20));
        assert!(intake.held().bytes <= 8 * 1_024 * 1_024);
    }
    let held = intake.held();
    assert!(held.spans > 100, "{held:?}");
}

fn packed(size: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![b' '; 1_024 * 1_024];
    for _ in 0..size {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn bodies_are_bounded_and_refused_in_words() {
    let intake = watching(IntakeSettings::default());
    let receive = |body: &[u8], encoding, content| {
        intake.receive(body, encoding, content, after(0)).map(|accepted| accepted.rejected)
    };
    let limit = IntakeSettings::default().max_bytes;
    let bomb = receive(&packed(65), Some("gzip"), Content::Json);
    assert_eq!(bomb, Err(Rejected::TooLarge { limit }));
    let large = receive(&vec![b' '; limit + 1], None, Content::Json);
    assert_eq!(large, Err(Rejected::TooLarge { limit }));
    let mut told = Vec::new();
    for (body, encoding, content) in [
        (&b"{"[..], None, Content::Json),
        (b"\x0a\xff\xff", None, Content::Protobuf),
        (b"{}", Some("gzip"), Content::Json),
        (b"{}", Some("zstd"), Content::Json),
    ] {
        let error = receive(body, encoding, content).unwrap_err();
        told.push(format!("{} {error}", error.status()));
    }
    insta::assert_snapshot!(told.join("\n"));
    let other = receive(b"[1]", None, Content::Json);
    assert!(matches!(other, Err(Rejected::Malformed { .. })), "{other:?}");
    for (body, content) in [(&b"{}"[..], Content::Json), (b"", Content::Protobuf)] {
        assert_eq!(receive(body, None, content), Ok(0));
    }
}

#[test]
fn while_nobody_wants_spans_they_are_dropped() {
    let intake = Intake::new(IntakeSettings::default());
    for trace in 0..1_000 {
        assert_eq!(intake.accept(tree(&of_arm(Arm::Canary), trace), after(0)), 0);
    }
    let held = intake.held();
    assert_eq!((held.spans, held.bytes, held.traces), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_spans_in_any_order_are_bounded(
        spans in proptest::collection::vec(
            (0..6_u128, 0..12_u64, 0..12_u64, 0..5_usize, any::<bool>(), -4..4_i64), 0..400),
        ms in 0..4_000_i64,
    ) {
        let settings = IntakeSettings { max_spans: 50, ..small() };
        let intake = watching(settings);
        let kinds = [Kind::Server, Kind::Client, Kind::Internal, Kind::Producer, Kind::Consumer];
        let services = [of_arm(Arm::Canary), of_arm(Arm::Baseline), process("auth", "7", "a")];
        let mut time = 0;
        for (trace, id, parent, kind, fails, shift) in spans {
            let of = &services[usize::try_from(id % 3).unwrap()];
            let mut one = span(of, kinds[kind], (trace, id, parent));
            one.start = one.start.wrapping_add_signed(shift * 1_000_000_000);
            if fails {
                one = super::samples::failed(one, "E");
            }
            time += ms;
            intake.accept(vec![one], after(time));
            prop_assert!(intake.held().spans <= 50);
        }
        let counts = intake.counts("one", after(time + 100_000));
        let complete: u64 = counts.iter().map(|count| count.complete).sum();
        let requests: u64 = counts.iter().map(|count| count.requests).sum();
        prop_assert!(complete <= requests + 200);
        let _ = intake.subtrees("one", after(time + 100_001));
        prop_assert_eq!(intake.held().traces, 0);
    }
}
