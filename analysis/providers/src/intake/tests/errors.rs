//! New errors: which requests show them, and what is known already.

use analysis::{Arm, Observation, Sample};
use analysis_traces::{Fingerprint, Kind, Span, error_of};
use futures_util::FutureExt as _;
use jiff::SignedDuration;

use super::samples::{
    after, arms, entry, failed, of_arm, process, request, span, subject, watching,
};
use crate::MetricProvider as _;
use crate::intake::{Intake, IntakeSettings};
use crate::subject::MeasureKind;

/// What the check `newErrors` reads: arm, stratum, requests with it, all.
fn read(intake: &Intake, ms: i64) -> Vec<(Arm, Option<String>, u64, u64)> {
    let subjects = [subject(&[("newErrors", MeasureKind::NewErrors)])];
    let measured = intake.measure(&subjects, after(ms)).now_or_never().unwrap().remove(0);
    let told = |one: Observation| {
        let Sample::Events { events, of } = one.sample else { panic!("{one:?}") };
        (one.arm, one.stratum, events, of)
    };
    measured.result.unwrap().0.observations.into_iter().map(told).collect()
}

/// A request that fails below its entry: the entry only passes the error on.
fn failing(arm: Arm, trace: u128, kind: &str) -> Vec<Span> {
    let of = of_arm(arm);
    let mut entry = request(&of, trace, 1);
    entry.status = analysis_traces::Status::Error;
    vec![failed(span(&of, Kind::Internal, (trace, 2, 1)), kind), entry]
}

fn fingerprint(kind: &str) -> Fingerprint {
    error_of(&failing(Arm::Canary, 1, kind)[0]).fingerprint
}

#[test]
fn each_request_counts_once_for_each_error_that_began_in_it() {
    let intake = Intake::new(IntakeSettings::default());
    assert!(read(&intake, 0).is_empty());
    for (trace, arm) in [(1, Arm::Baseline), (2, Arm::Canary), (3, Arm::Canary)] {
        intake.accept(vec![request(&of_arm(arm), trace, 1)], after(10));
    }
    // Tried three times below one request; the caller only passes the last on.
    let mut retried = failing(Arm::Canary, 4, "KeyError");
    retried.extend(
        (3..5).map(|id| failed(span(&of_arm(Arm::Canary), Kind::Internal, (4, id, 1)), "KeyError")),
    );
    intake.accept(retried, after(20));
    assert!(read(&intake, 3_000).is_empty(), "their traces may get more spans");
    let name = Some(format!("{} KeyError: no price for item *", fingerprint("KeyError")));
    assert_eq!(
        read(&intake, 12_000),
        [(Arm::Baseline, None, 0, 1), (Arm::Canary, None, 0, 3), (Arm::Canary, name, 1, 3),]
    );
    assert!(read(&intake, 30_000).is_empty());
}

#[test]
fn an_error_in_a_trace_that_lacks_spans_is_seen() {
    let intake = watching(IntakeSettings::default());
    let mut spans = failing(Arm::Canary, 1, "KeyError");
    // Its parent never comes.
    spans.push(span(&of_arm(Arm::Canary), Kind::Internal, (1, 9, 8)));
    intake.accept(spans, after(0));
    intake.accept(vec![entry(2, 1)], after(0));
    let counts = intake.counts("one", after(11_000));
    let errors: Vec<_> = counts.iter().flat_map(|count| &count.errors).collect();
    assert_eq!((errors.len(), errors[0].requests, errors[0].is_first), (1, 1, true));
    assert_eq!(counts.iter().map(|count| count.complete).sum::<u64>(), 2);
    intake.accept(failing(Arm::Canary, 3, "KeyError"), after(12_000));
    let counts = intake.counts("one", after(24_000));
    assert!(counts.iter().any(|c| c.errors.iter().any(|e| e.requests == 1 && !e.is_first)));
}

#[test]
fn what_was_there_before_the_canary_is_known() {
    let intake = Intake::new(IntakeSettings::default());
    let day = SignedDuration::from_hours(24);
    intake.remember("checkout", [fingerprint("Old")], after(0) - day - day);
    intake.remember("checkout", [fingerprint("Recent")], after(0) - SignedDuration::from_hours(1));
    // Nothing is live, and yet it is seen.
    intake.accept(failing(Arm::Baseline, 1, "Idle"), after(0));
    intake.accept(Vec::new(), after(11_000));
    assert_eq!(intake.remembered("checkout", after(11_000)).len(), 2);
    intake.watch("one", "checkout", &arms(), after(11_000));
    // The canary is not there yet.
    intake.accept(failing(Arm::Baseline, 2, "Before"), after(12_000));
    intake.accept(Vec::new(), after(23_000));
    for (trace, kind) in [(3, "Recent"), (4, "Idle"), (5, "Before"), (6, "New"), (7, "Old")] {
        intake.accept(failing(Arm::Canary, trace, kind), after(24_000));
    }
    let counts = intake.counts("one", after(40_000));
    let mut new: Vec<Fingerprint> =
        counts.iter().flat_map(|c| &c.errors).map(|error| error.fingerprint).collect();
    new.sort_unstable();
    let mut expected = vec![fingerprint("New"), fingerprint("Old")];
    expected.sort_unstable();
    assert_eq!(new, expected);
    assert!(intake.known_errors("one").contains(&fingerprint("Before")));

    // A canary's errors are new again when the same mistake is deployed again, also those of its last moments.
    intake.forget("one");
    intake.accept(failing(Arm::Canary, 8, "New"), after(41_000));
    intake.accept(failing(Arm::Baseline, 9, "Serving"), after(41_000));
    intake.accept(Vec::new(), after(60_000));
    let known = intake.remembered("checkout", after(60_000));
    assert!(known.contains(&fingerprint("Serving")) && !known.contains(&fingerprint("New")));
}

#[test]
fn an_error_of_another_service_counts_where_it_began() {
    let intake = watching(IntakeSettings::default());
    let (own, bank) = (of_arm(Arm::Canary), process("bank", "3", "bank-0"));
    let mut entry = request(&own, 1, 1);
    entry.status = analysis_traces::Status::Error;
    let mut call = span(&own, Kind::Client, (1, 2, 1));
    call.status = analysis_traces::Status::Error;
    intake.accept(vec![entry, call], after(0));
    // It flushes later.
    let inside = failed(span(&bank, Kind::Server, (1, 3, 2)), "bank::Timeout");
    let expected = error_of(&inside).fingerprint;
    intake.accept(vec![inside], after(5_000));
    let counts = intake.counts("one", after(12_000));
    let errors: Vec<_> = counts.iter().flat_map(|c| &c.errors).map(|e| e.fingerprint).collect();
    assert_eq!(errors, [expected]);
    // An error that belongs to no request of the service is not counted.
    intake.accept(vec![failed(span(&bank, Kind::Server, (2, 3, 0)), "other")], after(13_000));
    assert!(intake.counts("one", after(40_000)).iter().all(|count| count.errors.is_empty()));
}

#[test]
fn names_are_bounded_and_of_one_line() {
    let intake = watching(IntakeSettings::default());
    let mut request = failed(entry(1, 1), &"Exception\n".repeat(60));
    request.exceptions[0].message = "ä\r\n\tö ".repeat(400).as_str().into();
    intake.accept(vec![request], after(0));
    let counts = intake.counts("one", after(20_000));
    let name = &counts[0].errors[0].name;
    assert!(name.len() <= 200 && !name.contains(char::is_control), "{name}");
    assert_eq!(name.split(' ').next().unwrap().len(), 16);
}
