//! Small spans and deployments for the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::Arm;
use analysis_traces::{
    ArmLabel, Arms, Attributes, Exception, Kind, Resource, Span, SpanId, Status, TraceId,
};
use jiff::{SignedDuration, Timestamp};

use crate::intake::{Intake, IntakeSettings};
use crate::subject::{Instance, Measure, MeasureKind, Source, Subject};

/// A millisecond in nanoseconds.
pub(in super::super) const MS: u64 = 1_000_000;

/// So many milliseconds after the tests began.
pub(in super::super) fn after(ms: i64) -> Timestamp {
    Timestamp::from_second(1_764_000_000).unwrap() + SignedDuration::from_millis(ms)
}

/// A process of a service.
pub(in super::super) fn process(service: &str, version: &str, instance: &str) -> Arc<Resource> {
    let attributes: Attributes =
        [("service.version", version.into()), ("service.instance.id", instance.into())]
            .into_iter()
            .collect();
    Arc::new(Resource { service: service.into(), attributes })
}

/// The process of an arm of the service `checkout`.
pub(in super::super) fn of_arm(arm: Arm) -> Arc<Resource> {
    match arm {
        Arm::Baseline => process("checkout", "1.0", "b1"),
        Arm::Canary => process("checkout", "1.1", "c1"),
    }
}

/// A span of 10 ms.
pub(in super::super) fn span(
    of: &Arc<Resource>,
    kind: Kind,
    (trace, id, parent): (u128, u64, u64),
) -> Span {
    let start = 1_764_000_000_000 * MS;
    Span {
        trace: TraceId(trace),
        id: SpanId(id),
        parent: (parent != 0).then_some(SpanId(parent)),
        resource: of.clone(),
        kind,
        name: "work".into(),
        start,
        end: start + 10 * MS,
        status: Status::Unset,
        message: None,
        attributes: Attributes::default(),
        exceptions: Vec::new(),
        weight: 1.0,
    }
}

/// A request `GET /cart` to the canary.
pub(in super::super) fn entry(trace: u128, id: u64) -> Span {
    request(&of_arm(Arm::Canary), trace, id)
}

/// A request `GET /cart` to this process.
pub(in super::super) fn request(of: &Arc<Resource>, trace: u128, id: u64) -> Span {
    let mut span = span(of, Kind::Server, (trace, id, 0));
    span.attributes = [("http.route", "/cart".into()), ("http.request.method", "GET".into())]
        .into_iter()
        .collect();
    span
}

/// The same span, failed with an error of this kind.
pub(in super::super) fn failed(mut span: Span, kind: &str) -> Span {
    span.status = Status::Error;
    span.exceptions =
        vec![Exception { kind: kind.into(), message: "no price for item 17".into(), stack: None }];
    span
}

/// A request of ten spans: the entry is the first.
pub(in super::super) fn tree(of: &Arc<Resource>, trace: u128) -> Vec<Span> {
    let mut all = vec![request(of, trace, 1)];
    all.extend((2..=10).map(|id| span(of, Kind::Client, (trace, id, 1))));
    all
}

/// How the arms of the service `checkout` are known.
pub(in super::super) fn arms() -> Arms {
    let label = |version: &str| ArmLabel { version: Some(version.into()), ..ArmLabel::default() };
    Arms { baseline: label("1.0"), canary: label("1.1") }
}

/// An intake that watches the deployment `one` of `checkout`.
pub(in super::super) fn watching(settings: IntakeSettings) -> Intake {
    let intake = Intake::new(settings);
    intake.watch("one", "checkout", &arms(), after(0));
    intake
}

/// The same deployment as a metric provider knows it.
pub(in super::super) fn subject(kinds: &[(&str, MeasureKind)]) -> Subject {
    let instance = |arm, version: &str| Instance {
        name: version.into(),
        arm,
        url: None,
        labels: BTreeMap::from([("service.version".into(), version.into())]),
    };
    let measures = kinds.iter().map(|(check, kind)| Measure {
        check: (*check).into(),
        kind: *kind,
        source: Source::Auto,
        strata: Vec::new(),
    });
    Subject {
        id: "one".into(),
        service: "checkout".into(),
        instances: vec![instance(Arm::Canary, "1.1"), instance(Arm::Baseline, "1.0")],
        measures: measures.collect(),
    }
}
