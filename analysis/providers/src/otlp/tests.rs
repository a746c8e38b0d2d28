//! Pushed bodies end to end: recorded ones of a real SDK, hostile ones, and the texts for people.
//!
//! `replies/otlp/` was recorded once from the OpenTelemetry SDK for Python 1.45.2 over HTTP: two exports each, as
//! gzipped Protobuf and as JSON, with explicit and with exponential buckets.

mod hostile;
mod pushed;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use analysis::{Arm, Sample};
use futures_util::FutureExt as _;

use super::*;
use crate::Completeness;
use crate::subject::{Instance, Measure, MeasureKind, Source};

pub(super) const CANARY: &str = "4f2c1a9b0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f";
pub(super) const STABLE: &str = "0d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a6f7e8d9c";

/// The second before the recorded service began.
const BEFORE: i64 = 1_795_538_700;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEFORE + second).unwrap()
}

pub(super) fn reply(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/replies/otlp");
    std::fs::read(format!("{folder}/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A recorded JSON body as the stable version would have sent it.
pub(super) fn of_stable(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    text.replace("4f2c1a9", "0d1c2b3").replace("pod-1", "pod-2").into_bytes()
}

pub(super) fn measure(check: &str, kind: MeasureKind, source: Source) -> Measure {
    Measure { check: check.into(), kind, source, strata: Vec::new() }
}

pub(super) fn subject(measures: Vec<Measure>) -> Subject {
    let instance = |revision: &str, arm| Instance {
        name: revision.into(),
        arm,
        url: None,
        labels: BTreeMap::from([("service.version".to_owned(), revision.to_owned())]),
    };
    Subject {
        id: "one".into(),
        service: "checkout".into(),
        instances: vec![instance(CANARY, Arm::Canary), instance(STABLE, Arm::Baseline)],
        measures,
    }
}

pub(super) fn usual() -> Subject {
    subject(vec![
        measure("errors", MeasureKind::Errors, Source::Auto),
        measure("latency", MeasureKind::Latency, Source::Auto),
    ])
}

/// One attempt, as text.
pub(super) fn told(otlp: &Otlp, subject: &Subject, at: Timestamp) -> String {
    let subjects = [subject.clone()];
    let measured = otlp.measure(&subjects, at).now_or_never().expect("nothing is waited for");
    let (scrape, completeness) = measured[0].result.clone().unwrap();
    let mut text = match completeness {
        Completeness::Full => "full".to_owned(),
        Completeness::Partial(text) => format!("partial, {text}"),
        Completeness::None(text) => format!("none, {text}"),
        Completeness::Stale(text) => format!("stale, {text}"),
    };
    for one in scrape.observations {
        one.validate().unwrap();
        let arm = crate::ledger::named(one.arm);
        let stratum = one.stratum.as_deref().unwrap_or("-");
        write!(text, "\n{arm} {} {} {stratum}: ", one.instance, one.check).unwrap();
        match one.sample {
            Sample::Events { events, of } => write!(text, "{events} of {of}"),
            Sample::Histogram { le, counts } => write!(text, "{counts:?} up to {le:?}"),
            Sample::Exponential(h) => {
                write!(
                    text,
                    "{:?} from {} at scale {}, {} zero",
                    h.counts, h.first, h.scale, h.zero
                )
            }
            Sample::Gauge { value } => write!(text, "{value}"),
            other @ Sample::Attempt { .. } => write!(text, "{other:?}"),
        }
        .unwrap();
    }
    text
}

pub(super) fn json(otlp: &Otlp, body: &[u8], at: Timestamp) -> Accepted {
    otlp.receive(body, None, Content::Json, at).unwrap()
}
