//! The Prometheus provider against a real Prometheus that scrapes two services with two arms each.
//!
//! Runs where the program `prometheus` is installed; elsewhere it says that it was left out. The sums of
//! all differences must equal what the services counted, to the request, across a restart.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "it runs a program beside itself, against the real clock"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use analysis::{Arm, Sample};
use analysis_providers::{
    Completeness, Instance, Measure, MeasureKind, MetricProvider as _, Prometheus,
    PrometheusSettings, Source, Subject,
};
use axum::extract::{Path, State};
use jiff::Timestamp;

/// Longest wait for anything that a scrape every second brings.
const BOUND: Duration = Duration::from_secs(30);

/// What one arm of one service counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    good: u64,
    bad: u64,
    slow: u64,
    started: u64,
}

type Exporter = Arc<Mutex<BTreeMap<String, Counts>>>;

/// Sums of differences: failed, completed, slower than the bound, timed.
type Sums = BTreeMap<(String, Arm), [u64; 4]>;

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|file| file.is_file())
}

/// The running program; ended by its own process when the test ends in any way.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn page(State(exporter): State<Exporter>, Path(name): Path<String>) -> String {
    let counts = exporter.lock().unwrap().get(&name).copied().unwrap_or_default();
    let Counts { good, bad, slow, started } = counts;
    let all = good + bad;
    let fast = all - slow;
    // The first failure makes its series, as with real client libraries.
    let failures = if bad == 0 {
        String::new()
    } else {
        format!("http_requests_total{{code=\"500\",path=\"/buy\"}} {bad}\n")
    };
    format!(
        "process_start_time_seconds {started}\n\
         http_requests_total{{code=\"200\",path=\"/buy\"}} {good}\n\
         http_requests_total{{code=\"200\",path=\"/metrics\"}} 7\n{failures}\
         http_request_duration_seconds_bucket{{le=\"0.1\"}} {fast}\n\
         http_request_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n\
         http_request_duration_seconds_sum 3\n\
         http_request_duration_seconds_count {all}\n"
    )
}

fn configuration(exporter: &str) -> String {
    let jobs = [("shop", "old"), ("shop", "new"), ("cart", "old"), ("cart", "new")];
    let jobs = jobs.map(|(service, version)| {
        format!(
            "- job_name: {service}-{version}\n  metrics_path: /{service}-{version}\n  \
             static_configs: [{{targets: ['{exporter}'], \
             labels: {{service: {service}, version: {version}}}}}]\n"
        )
    });
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{}",
        jobs.concat()
    )
}

fn subject(service: &str) -> Subject {
    let instance = |arm, version: &str| Instance {
        name: version.into(),
        arm,
        url: None,
        labels: BTreeMap::from([
            ("service".into(), service.into()),
            ("version".into(), version.into()),
        ]),
    };
    let measure = |check: &str, kind| Measure { check: check.into(), kind, source: Source::Auto };
    Subject {
        id: service.into(),
        service: service.into(),
        instances: vec![instance(Arm::Baseline, "old"), instance(Arm::Canary, "new")],
        measures: vec![
            measure("errors", MeasureKind::Errors),
            measure("latency", MeasureKind::Latency),
        ],
    }
}

/// Measures once and adds what came.
async fn measure(provider: &Prometheus, subjects: &[Subject], sums: &mut Sums) -> Vec<String> {
    let mut incomplete = Vec::new();
    for measured in provider.measure(subjects, Timestamp::now()).await {
        match measured.result {
            Ok((scrape, completeness)) => {
                for one in scrape.observations {
                    let sum = sums.entry((measured.subject.clone(), one.arm)).or_default();
                    match one.sample {
                        Sample::Events { events, of } => {
                            sum[0] += events;
                            sum[1] += of;
                        }
                        Sample::Histogram { counts, .. } => {
                            sum[2] += counts[1];
                            sum[3] += counts[0] + counts[1];
                        }
                    }
                }
                if completeness != Completeness::Full {
                    incomplete.push(format!("{completeness:?}"));
                }
            }
            Err(error) => incomplete.push(error.text),
        }
    }
    incomplete
}

/// Measures until `done`, four times a second.
async fn until(
    provider: &Prometheus,
    subjects: &[Subject],
    sums: &mut Sums,
    done: impl Fn(&Sums, &[String]) -> bool,
) {
    let begun = Instant::now();
    loop {
        let incomplete = measure(provider, subjects, sums).await;
        if done(sums, &incomplete) {
            return;
        }
        assert!(begun.elapsed() < BOUND, "after {BOUND:?}: {sums:?}, {incomplete:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[tokio::test]
async fn sums_of_differences_equal_the_true_counts_across_a_restart() {
    let Some(program) = program() else {
        eprintln!(
            "left out: the test against a real Prometheus, as no program `prometheus` is on the path"
        );
        return;
    };
    let names = ["shop-old", "shop-new", "cart-old", "cart-new"];
    let exporter: Exporter = Arc::default();
    for (name, good) in names.iter().zip([50_000, 3, 700, 0]) {
        let counts = Counts { good, bad: 0, slow: 0, started: 1_700_000_000 };
        exporter.lock().unwrap().insert((*name).to_owned(), counts);
    }
    let app = axum::Router::new()
        .route("/{name}", axum::routing::get(page))
        .with_state(Arc::clone(&exporter));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, configuration(&address)).unwrap();
    // The port is free a moment before Prometheus takes it.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _running = Running(
        Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let url = format!("http://127.0.0.1:{port}");
    let provider = Prometheus::new(PrometheusSettings::new(url, Duration::from_secs(1))).unwrap();
    let subjects = [subject("shop"), subject("cart")];
    let mut sums = Sums::new();

    // Start points of all arms, before anything counts.
    until(&provider, &subjects, &mut sums, |_, incomplete| incomplete.is_empty()).await;
    for choice in provider.chosen("shop") {
        let chosen = choice.chosen.unwrap();
        let expected = match choice.check.as_str() {
            "errors" => "http_requests_total",
            _ => "http_request_duration_seconds",
        };
        assert_eq!(chosen.metric, expected);
    }

    let mut truth = Sums::new();
    for round in 0..2_u64 {
        for step in 0..12_u64 {
            for (name, weight) in names.iter().zip([40, 2, 7, 1]) {
                let (service, version) = name.split_once('-').unwrap();
                let arm = if version == "old" { Arm::Baseline } else { Arm::Canary };
                let (good, bad, slow) = (weight * (step + 1), step % 3, step % 2);
                let sum = truth.entry((service.to_owned(), arm)).or_default();
                for (total, more) in sum.iter_mut().zip([bad, good + bad, slow, good + bad]) {
                    *total += more;
                }
                let mut exporter = exporter.lock().unwrap();
                let counts = exporter.get_mut(*name).unwrap();
                counts.good += good;
                counts.bad += bad;
                counts.slow += slow;
            }
            measure(&provider, &subjects, &mut sums).await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        until(&provider, &subjects, &mut sums, |sums, _| *sums == truth).await;
        if round == 0 {
            // All is counted; both versions of one service restart.
            let mut exporter = exporter.lock().unwrap();
            for name in ["shop-old", "shop-new"] {
                let fresh = Counts { started: 1_700_000_500, ..Counts::default() };
                exporter.insert(name.to_owned(), fresh);
            }
        }
    }
    // Nothing is ever counted twice: further looks add nothing.
    let looked = Instant::now();
    while looked.elapsed() < Duration::from_secs(3) {
        let incomplete = measure(&provider, &subjects, &mut sums).await;
        assert!(incomplete.is_empty(), "{incomplete:?}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(sums, truth);
}
