//! Beacons in, counts out: what is reported in which form, what is refused, and what a naive model says of it all.

mod hostile;
mod model;
mod reported;

use std::collections::BTreeMap;

use analysis::{Arm, Observation, Sample, Scrape};
use jiff::Timestamp;
use serde_json::Value;

use super::{Arrival, Refused, Rum, RumSettings, Taken, Vital};
use crate::subject::{Instance, Measure, MeasureKind, Source, Subject};
use crate::{Completeness, MetricProvider as _};

const ORIGIN: &str = "https://shop.example";
const CANARY: &str = "4f2c1a9b0c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f";
const STABLE: &str = "0d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a6f7e8d9c";

fn settings() -> RumSettings {
    RumSettings { origins: [ORIGIN.to_owned()].into(), ..RumSettings::default() }
}

fn at(seconds: f64) -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "tests take minutes")]
    let millis = (seconds * 1_000.0) as i64;
    Timestamp::from_millisecond(1_795_545_800_000 + millis).unwrap()
}

fn arrival(body: &[u8]) -> Arrival<'_> {
    Arrival { body, origin: Some(ORIGIN), ..Arrival::default() }
}

fn faro(rum: &Rum, body: &Value, seconds: f64) -> Result<Taken, Refused> {
    rum.receive_faro(&arrival(body.to_string().as_bytes()), at(seconds))
}

fn vitals(rum: &Rum, body: &Value, seconds: f64) -> Result<Taken, Refused> {
    rum.receive_vitals(&arrival(body.to_string().as_bytes()), at(seconds))
}

fn measure(check: &str, kind: MeasureKind) -> Measure {
    Measure { check: check.to_owned(), kind, source: Source::Auto, strata: Vec::new() }
}

fn subject(measures: Vec<Measure>) -> Subject {
    let instance = |arm, revision: &str| Instance {
        name: revision.to_owned(),
        arm,
        url: None,
        labels: BTreeMap::from([("service.version".to_owned(), revision.to_owned())]),
    };
    Subject {
        id: "one".to_owned(),
        service: "shop".to_owned(),
        instances: vec![instance(Arm::Canary, CANARY), instance(Arm::Baseline, STABLE)],
        measures,
    }
}

fn usual() -> Subject {
    subject(vec![
        measure("cls", MeasureKind::Vital(Vital::Cls)),
        measure("script-errors", MeasureKind::ScriptErrors),
    ])
}

fn measured(rum: &Rum, subject: &Subject, seconds: f64) -> (Scrape, Completeness) {
    use futures_util::FutureExt as _;
    let subjects = std::slice::from_ref(subject);
    let mut all = rum.measure(subjects, at(seconds)).now_or_never().expect("it asks nobody");
    all.remove(0).result.unwrap()
}

/// Observations, one a line.
fn written(observations: &[Observation]) -> String {
    let line = |one: &Observation| {
        let Sample::Events { events, of } = one.sample else { panic!("{one:?}") };
        let stratum = one.stratum.as_deref().unwrap_or("all");
        format!("{} {:?} {} {stratum}: {events} of {of}", one.check, one.arm, one.instance)
    };
    observations.iter().map(line).collect::<Vec<_>>().join("\n")
}
