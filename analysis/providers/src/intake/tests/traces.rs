//! Which traces are kept, and when they count as complete.

use analysis::Arm;
use analysis_traces::{ArmLabel, Arms, Kept, Kind, Requests, SpanId};

use super::samples::{MS, after, arms, of_arm, process, request, span, tree, watching};
use crate::intake::IntakeSettings;

#[test]
fn complete_traces_of_both_arms_are_kept() {
    let intake = watching(IntakeSettings::default());
    for trace in 0..100 {
        let arm = if trace % 4 == 0 { Arm::Canary } else { Arm::Baseline };
        let of = of_arm(arm);
        let mut spans = tree(&of, trace);
        // Called through a gateway, whose own spans are no part of the comparison.
        spans[0].parent = Some(SpanId(90));
        let gateway = span(&process("gateway", "7", "g"), Kind::Client, (trace, 90, 0));
        intake.accept(vec![gateway], after(0));
        intake.accept(spans.split_off(4), after(100));
        intake.accept(spans, after(200));
        // The service below flushes five seconds later.
        let below = span(&process("auth", "7", "a"), Kind::Server, (trace, 50, 5));
        intake.accept(vec![below], after(5_200));
    }
    let (split, refused, requests) = intake.subtrees("one", after(11_300)).unwrap();
    assert_eq!((split.baseline.len(), split.canary.len(), split.unlabelled), (75, 25, 0));
    assert_eq!(requests, Requests { baseline: 75, canary: 25 });
    assert_eq!(refused.subtrees(), 0);
    assert!(split.canary.iter().all(|one| one.spans().len() == 11 && one.kept() == Kept::Uniform));
    assert_eq!(intake.held().traces, 0);
}

#[test]
fn who_asks_need_not_wait_for_what_was_quiet_for_two_seconds() {
    let intake = watching(IntakeSettings::default());
    intake.accept(tree(&of_arm(Arm::Baseline), 1), after(0));
    intake.accept(tree(&of_arm(Arm::Canary), 2), after(500));
    let (split, ..) = intake.subtrees("one", after(2_100)).unwrap();
    assert_eq!((split.baseline.len(), split.canary.len()), (1, 0));
    let (split, ..) = intake.subtrees("one", after(2_600)).unwrap();
    assert_eq!((split.baseline.len(), split.canary.len()), (1, 1));
    // Sent again, it is no second trace.
    intake.accept(tree(&of_arm(Arm::Canary), 2), after(3_000));
    let (split, ..) = intake.subtrees("one", after(60_000)).unwrap();
    assert_eq!((split.baseline.len(), split.canary.len()), (1, 1));
}

#[test]
fn a_long_request_is_waited_for() {
    let intake = watching(IntakeSettings::default());
    let of = of_arm(Arm::Canary);
    let mut spans = tree(&of, 1);
    let entry = spans.remove(0);
    intake.accept(spans, after(0));
    intake.accept(tree(&of_arm(Arm::Baseline), 2), after(0));
    intake.accept(Vec::new(), after(20_000));
    intake.accept(vec![entry], after(25_000));
    let (split, ..) = intake.subtrees("one", after(36_000)).unwrap();
    assert_eq!(split.canary[0].spans().len(), 10);
}

#[test]
fn slow_and_failed_requests_are_kept_beside_those_kept_by_chance() {
    let settings = IntakeSettings { per_reservoir: 10, ..IntakeSettings::default() };
    let intake = watching(settings);
    for trace in 0..3_000_u128 {
        let of = of_arm(if trace % 2 == 0 { Arm::Canary } else { Arm::Baseline });
        let mut one = request(&of, trace, 1);
        if trace % 100 < 2 {
            one.end += 500 * MS;
        } else if trace % 100 < 4 {
            one = super::samples::failed(one, "KeyError");
        }
        intake.accept(vec![one], after(i64::try_from(trace).unwrap()));
    }
    let (split, ..) = intake.subtrees("one", after(20_000)).unwrap();
    for arm in [&split.baseline, &split.canary] {
        let of = |kept| arm.iter().filter(|one| one.kept() == kept).count();
        assert_eq!([Kept::Uniform, Kept::Error, Kept::Slow].map(of), [20, 10, 10]);
        assert!(
            arm.iter()
                .filter(|one| one.kept() == Kept::Slow)
                .all(|one| { one.entry().end - one.entry().start > 400 * MS })
        );
    }
}

#[test]
fn two_deployments_share_what_comes() {
    let intake = watching(IntakeSettings::default());
    let label = |version: &str| ArmLabel { version: Some(version.into()), ..ArmLabel::default() };
    let auth = Arms { baseline: label("7"), canary: label("8") };
    intake.watch("two", "auth", &auth, after(0));
    intake.watch("three", "checkout", &arms(), after(0));
    for (trace, version) in [(1, "7"), (2, "8")] {
        let arm = if trace == 1 { Arm::Baseline } else { Arm::Canary };
        let mut spans = tree(&of_arm(arm), trace);
        let mut below = request(&process("auth", version, "a"), trace, 50);
        below.parent = Some(SpanId(5));
        spans.push(below);
        intake.accept(spans, after(1));
    }
    for (id, size) in [("one", 11), ("two", 1), ("three", 11)] {
        let (split, ..) = intake.subtrees(id, after(20_000)).unwrap();
        assert_eq!(split.baseline.iter().map(|one| one.spans().len()).sum::<usize>(), size);
        assert_eq!(split.canary.len(), 1, "{id}");
    }
    intake.forget("two");
    intake.forget("three");
    let spans = intake.held().spans;
    assert_eq!(spans, 22);
    intake.forget("one");
    assert_eq!(intake.held().spans, 0);
    assert!(intake.counts("one", after(20_001)).is_empty());
}
