//! What one evidence update costs: 2 microseconds is the promise for one errors check and one scrape.
//!
//! Run with `cargo bench -p tests --bench evidence`.

use std::hint::black_box;

use analysis::{Arm, Assessment, Check, History, Observation, Sample, Scrape, Settings, Test};
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};

const PROMETHEUS: [f64; 12] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

fn settings(checks: &[(&str, Test)]) -> Settings {
    Settings {
        false_alarm: 0.01,
        false_promotion: 0.05,
        harm: 0.001,
        latency_harm: 0.01,
        checks: checks.iter().map(|(name, test)| Check::new(*name, test.clone())).collect(),
    }
}

fn scrape(samples: [(Arm, Sample); 2], check: &str) -> Scrape {
    Scrape {
        at: Timestamp::UNIX_EPOCH,
        observations: samples
            .into_iter()
            .map(|(arm, sample)| Observation {
                arm,
                instance: "i1".to_owned(),
                check: check.to_owned(),
                stratum: None,
                sample,
            })
            .collect(),
    }
}

fn failures(events: u64, of: u64) -> Sample {
    Sample::Events { events, of }
}

fn durations(scale: u64) -> Sample {
    let shares = [0, 1, 40, 360, 250, 150, 180, 15, 2, 1, 1, 0, 0];
    Sample::Histogram {
        le: PROMETHEUS.to_vec(),
        counts: shares.map(|share| share * scale).to_vec(),
    }
}

/// Scrapes five seconds apart, without end.
struct Rising(Scrape);

impl Rising {
    fn next(&mut self) -> &Scrape {
        self.0.at += SignedDuration::from_secs(5);
        &self.0
    }
}

fn updates(criterion: &mut Criterion) {
    let errors = settings(&[("errors", Test::Errors { ratio: 1.25, absolute: 0.001 })]);
    let latency = settings(&[("latency", Test::Latency { stretch: 0.1, ratio: 1.1 })]);
    let mut failing = Rising(scrape(
        [(Arm::Canary, failures(1, 125)), (Arm::Baseline, failures(3, 2375))],
        "errors",
    ));
    let mut slow =
        Rising(scrape([(Arm::Canary, durations(1)), (Arm::Baseline, durations(9))], "latency"));

    let mut assessment = Assessment::new(&errors, &History::default());
    criterion.bench_function("errors update", |bencher| {
        bencher.iter(|| assessment.observe(black_box(&errors), black_box(failing.next())));
    });
    criterion.bench_function("errors verdict", |bencher| {
        bencher.iter(|| black_box(assessment.verdict(black_box(&errors), 0.1)));
    });

    let mut assessment = Assessment::new(&latency, &History::default());
    criterion.bench_function("latency update, 12 buckets", |bencher| {
        bencher.iter(|| assessment.observe(black_box(&latency), black_box(slow.next())));
    });
    criterion.bench_function("latency verdict", |bencher| {
        bencher.iter(|| black_box(assessment.verdict(black_box(&latency), 0.1)));
    });
    let bytes = serde_json::to_string(&assessment).map_or(0, |text| text.len());
    criterion.bench_function(&format!("latency state to JSON, {bytes} bytes"), |bencher| {
        bencher.iter(|| black_box(serde_json::to_string(&assessment)));
    });
}

/// 10,000 metrics of 1,000 rollouts in one scrape: 50 ms on one core is the promise.
fn a_whole_scrape(criterion: &mut Criterion) {
    let names: Vec<String> = (0..10).map(|check| format!("errors-{check}")).collect();
    let test = || Test::Errors { ratio: 1.25, absolute: 0.001 };
    let checks: Vec<(&str, Test)> = names.iter().map(|name| (name.as_str(), test())).collect();
    let settings = settings(&checks);
    let mut all = scrape([(Arm::Canary, failures(1, 125)), (Arm::Baseline, failures(3, 2375))], "");
    let arms = std::mem::take(&mut all.observations);
    for name in &names {
        all.observations.extend(arms.iter().cloned().map(|mut arm| {
            arm.check.clone_from(name);
            arm
        }));
    }
    let mut all = Rising(all);
    let mut rollouts = vec![Assessment::new(&settings, &History::default()); 1_000];
    criterion.bench_function("10,000 metrics of one scrape", |bencher| {
        bencher.iter(|| {
            let scrape = all.next();
            for rollout in &mut rollouts {
                rollout.observe(&settings, black_box(scrape));
            }
        });
    });
}

criterion_group!(benches, updates, a_whole_scrape);
criterion_main!(benches);
