//! What the provider told, added up, to be held against what the services counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use analysis::{Arm, Sample};
use analysis_providers::{
    Completeness, Instance, Measure, MeasureKind, MetricProvider as _, Prometheus, Source, Subject,
};
use jiff::Timestamp;

/// Longest wait for anything that a scrape every second brings.
pub(crate) const BOUND: Duration = Duration::from_secs(40);

/// The scale on which all native histograms are added.
pub(crate) const SCALE: i8 = 2;

/// By service, arm and what is counted: `failed`, `completed`, `slow`, `timed`, `restarts`, `zero`, `bucket -7`.
pub(crate) type Sums = BTreeMap<(String, Arm, String), u64>;

pub(crate) fn add(sums: &mut Sums, service: &str, arm: Arm, what: &str, count: u64) {
    *sums.entry((service.to_owned(), arm, what.to_owned())).or_default() += count;
}

pub(crate) fn arm(version: &str) -> Arm {
    if version == "old" { Arm::Baseline } else { Arm::Canary }
}

/// Only what was counted at least once.
fn counted(sums: &Sums) -> Sums {
    sums.iter().filter(|(_, count)| **count > 0).map(|(key, count)| (key.clone(), *count)).collect()
}

pub(crate) fn subject(service: &str, kinds: &[(&str, MeasureKind)]) -> Subject {
    let instance = |arm, version: &str| Instance {
        name: version.into(),
        arm,
        url: None,
        labels: BTreeMap::from([
            ("service".into(), service.into()),
            ("version".into(), version.into()),
        ]),
    };
    let measures = kinds.iter().map(|(check, kind)| Measure {
        check: (*check).into(),
        kind: *kind,
        source: Source::Auto,
        strata: Vec::new(),
    });
    Subject {
        id: service.into(),
        service: service.into(),
        instances: vec![instance(Arm::Baseline, "old"), instance(Arm::Canary, "new")],
        measures: measures.collect(),
    }
}

/// What one attempt brought.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    /// What was not complete, and why.
    pub(crate) incomplete: Vec<String>,
    pub(crate) observations: usize,
}

/// Measures once and adds what came.
pub(crate) async fn measure(
    provider: &Prometheus,
    subjects: &[Subject],
    sums: &mut Sums,
) -> Attempt {
    let mut attempt = Attempt::default();
    for measured in provider.measure(subjects, Timestamp::now()).await {
        match measured.result {
            Ok((scrape, completeness)) => {
                attempt.observations += scrape.observations.len();
                for one in scrape.observations {
                    assert_eq!(one.validate(), Ok(()), "{one:?}");
                    let mut add =
                        |what: &str, count| add(sums, &measured.subject, one.arm, what, count);
                    match one.sample {
                        Sample::Events { events, .. } if one.check == "restarts" => {
                            add("restarts", events);
                        }
                        Sample::Events { events, of } => {
                            add("failed", events);
                            add("completed", of);
                        }
                        Sample::Histogram { counts, .. } => {
                            add("slow", counts[1]);
                            add("timed", counts[0] + counts[1]);
                        }
                        Sample::Exponential(histogram) => {
                            add("zero", histogram.zero);
                            let by = u32::try_from(histogram.scale - SCALE).unwrap();
                            for (index, count) in (histogram.first..).zip(histogram.counts) {
                                add(&format!("bucket {}", ((index - 1) >> by) + 1), count);
                            }
                        }
                        Sample::Gauge { .. } | Sample::Attempt { .. } => {
                            panic!("{} counts no requests", one.check)
                        }
                    }
                }
                if completeness != Completeness::Full {
                    attempt.incomplete.push(format!("{completeness:?}"));
                }
            }
            Err(error) => attempt.incomplete.push(error.text),
        }
    }
    attempt
}

/// Measures until `done`, four times a second.
pub(crate) async fn until(
    provider: &Prometheus,
    subjects: &[Subject],
    sums: &mut Sums,
    done: impl Fn(&Sums, &[String]) -> bool,
) {
    let begun = Instant::now();
    loop {
        let Attempt { incomplete, .. } = measure(provider, subjects, sums).await;
        if done(sums, &incomplete) {
            return;
        }
        assert!(begun.elapsed() < BOUND, "after {BOUND:?}: {sums:#?}, {incomplete:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Measures until every check of every subject has found its metric and has a start point.
pub(crate) async fn until_known(provider: &Prometheus, subjects: &[Subject], sums: &mut Sums) {
    let is_known = |subject: &Subject| {
        let choices = provider.chosen(&subject.id);
        choices.len() == subject.measures.len() && choices.iter().all(|c| c.chosen.is_ok())
    };
    until(provider, subjects, sums, |_, incomplete| {
        incomplete.is_empty() && subjects.iter().all(is_known)
    })
    .await;
    // A choice that was made in this attempt has its start point with the next.
    until(provider, subjects, sums, |_, incomplete| incomplete.is_empty()).await;
}

/// Measures until the sums are the truth, and then some more: nothing is ever counted twice.
pub(crate) async fn until_true(
    provider: &Prometheus,
    subjects: &[Subject],
    sums: &mut Sums,
    truth: &Sums,
) {
    let truth = counted(truth);
    until(provider, subjects, sums, |sums, _| counted(sums) == truth).await;
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(3) {
        measure(provider, subjects, sums).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(counted(sums), truth);
}
