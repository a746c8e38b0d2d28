//! What people are told.

use analysis::Arm;
use analysis_traces::Kind;
use futures_util::FutureExt as _;

use super::samples::{after, entry, of_arm, process, request, span, subject, tree, watching};
use crate::MetricProvider as _;
use crate::intake::{Intake, IntakeSettings, NoTraces};
use crate::subject::{MeasureKind, Source};

fn refusal(intake: &Intake, ms: i64) -> NoTraces {
    intake.subtrees("one", after(ms)).unwrap_err()
}

#[test]
fn why_there_are_no_traces() {
    let mut told = Vec::new();
    let mut tell = |refusal: NoTraces| told.push(refusal.to_string());
    tell(Intake::new(IntakeSettings::default()).subtrees("gone", after(0)).unwrap_err());

    let intake = watching(IntakeSettings::default());
    tell(refusal(&intake, 0));
    let other = |name: &str, trace| request(&process(name, "1", "x"), trace, 1);
    intake.accept(vec![other("cart", 1), other("web", 2)], after(1));
    tell(refusal(&intake, 2));
    intake.accept(vec![span(&of_arm(Arm::Canary), Kind::Client, (3, 1, 0))], after(3));
    tell(refusal(&intake, 4));
    intake.accept(vec![request(&process("checkout", "0.9", "x"), 4, 1)], after(5));
    tell(refusal(&intake, 6));
    intake.accept(tree(&of_arm(Arm::Baseline), 5), after(7));
    tell(refusal(&intake, 8));
    let one_sided = watching(IntakeSettings::default());
    one_sided.accept(tree(&of_arm(Arm::Baseline), 5), after(7));
    tell(refusal(&one_sided, 8));
    intake.accept(vec![entry(6, 1)], after(9));
    tell(refusal(&intake, 10));
    let lost = vec![entry(7, 1), span(&of_arm(Arm::Canary), Kind::Internal, (7, 9, 8))];

    let lacking = watching(IntakeSettings::default());
    lacking.accept([lost, vec![request(&of_arm(Arm::Baseline), 8, 1)]].concat(), after(0));
    let mut late = span(&of_arm(Arm::Baseline), Kind::Internal, (8, 9, 7));
    late.start += 1;
    lacking.accept(vec![late], after(0));
    tell(refusal(&lacking, 11_000));
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn how_complete_the_metrics_are_and_what_they_are() {
    let kinds = [
        ("errors", MeasureKind::Errors),
        ("latency", MeasureKind::Latency),
        ("memory", MeasureKind::Gauge),
        ("named", MeasureKind::Errors),
        ("newErrors", MeasureKind::NewErrors),
    ];
    let mut subject = subject(&kinds);
    subject.measures[3].source = Source::Value("up".into());
    let subjects = [subject];
    let intake = Intake::new(IntakeSettings::default());
    let mut told = Vec::new();
    let mut tell = |ms| {
        let measured = intake.measure(&subjects, after(ms)).now_or_never().unwrap().remove(0);
        let (scrape, completeness) = measured.result.unwrap();
        told.push(format!("{} observations, {completeness:?}", scrape.observations.len()));
    };
    tell(0);
    intake.accept(vec![request(&process("web", "1", "x"), 1, 1)], after(1));
    tell(2);
    intake.accept(vec![request(&process("checkout", "0.9", "x"), 2, 1)], after(3));
    tell(4);
    let mut sampled = request(&of_arm(Arm::Baseline), 3, 1);
    sampled.weight = 20.0;
    intake.accept(vec![sampled, entry(4, 1)], after(5));
    tell(6);
    tell(70_000);
    for choice in intake.chosen("one") {
        let chosen = choice.chosen.map(|chosen| chosen.to_string());
        told.push(format!(
            "{}: {}",
            choice.check,
            chosen.unwrap_or_else(|why| format!("not: {why}"))
        ));
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_deployment_that_nobody_asks_about_is_forgotten() {
    let intake = watching(IntakeSettings::default());
    intake.accept(vec![entry(1, 1)], after(800_000));
    assert_eq!(intake.counts("one", after(890_000)).len(), 1);
    intake.accept(vec![entry(2, 1)], after(1_700_000));
    assert_eq!(intake.counts("one", after(1_700_001)).len(), 1);
    intake.accept(vec![entry(3, 1)], after(2_700_000));
    assert!(intake.counts("one", after(2_700_001)).is_empty());
    assert_eq!(
        intake.subtrees("one", after(2_700_002)).unwrap_err(),
        NoTraces::NotWatched("one".into())
    );
}
