//! What one answer of Prometheus costs: 100 ms is the promise for decoding 100,000 samples.
//!
//! The whole attempt is measured, which is more than decoding: the answer comes over loopback, is decoded, split
//! by the labels that tell the arms, made into readings and held against the ledger. Run with
//! `cargo bench -p tests --bench prometheus`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use analysis::Arm;
use analysis_providers::{
    Instance, Measure, MeasureKind, MetricProvider as _, Named, Prometheus, PrometheusSettings,
    Source, Subject,
};
use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;

const SAMPLES: usize = 100_000;

/// Samples that a lookback of six intervals has of one series.
const PER_SERIES: usize = 6;

const BEGIN: i64 = 1_764_000_000;

/// Counters of two versions each, by pod, route, method and status, until there are enough.
fn counters(subjects: usize) -> String {
    let mut all = Vec::new();
    for series in 0..SAMPLES.div_ceil(PER_SERIES) {
        let (subject, rest) = (series % subjects, series / subjects);
        let (version, rest) = (["old", "new"][rest % 2], rest / 2);
        let values: Vec<String> = (0..PER_SERIES)
            .map(|n| {
                format!("[{}.125,\"{}\"]", BEGIN + 15 * i64::try_from(n).unwrap_or(0), 1_000 + n)
            })
            .collect();
        all.push(format!(
            "{{\"metric\":{{\"__name__\":\"http_requests_total\",\"code\":\"{}\",\
             \"instance\":\"10.0.{subject}.7:8080\",\"job\":\"shop\",\"method\":\"GET\",\
             \"namespace\":\"shop\",\"pod\":\"shop-{version}-{}\",\"route\":\"/r{}\",\
             \"version\":\"{version}-{subject}\"}},\"values\":[{}]}}",
            200 + rest % 5,
            rest / 5 % 10,
            rest / 50,
            values.join(",")
        ));
    }
    answer(&all)
}

/// Native histograms with 80 buckets each, as many bounds and counts as the counters have samples.
fn histograms() -> String {
    let all: Vec<String> = (0..=(SAMPLES / PER_SERIES / 80))
        .map(|series| {
            let version = ["old", "new"][series % 2];
            let buckets: Vec<String> = (0..80)
                .map(|n| {
                    let bound = |index: i32| (f64::from(index) / 8.0).exp2();
                    format!("[0,\"{}\",\"{}\",\"{}\"]", bound(n - 61), bound(n - 60), 10 + n)
                })
                .collect();
            let moments: Vec<String> = (0..PER_SERIES)
                .map(|n| {
                    format!(
                        "[{}.125,{{\"count\":\"4000\",\"sum\":\"31.2\",\"buckets\":[{}]}}]",
                        BEGIN + 15 * i64::try_from(n).unwrap_or(0),
                        buckets.join(",")
                    )
                })
                .collect();
            format!(
                "{{\"metric\":{{\"__name__\":\"http_request_duration_seconds\",\"code\":\"200\",\
                 \"pod\":\"shop-{version}-{}\",\"version\":\"{version}-0\"}},\"histograms\":[{}]}}",
                series / 2,
                moments.join(",")
            )
        })
        .collect();
    answer(&all)
}

fn answer(series: &[String]) -> String {
    format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{}]}}}}",
        series.join(",")
    )
}

/// A server that answers everything with the same body; it ends with the program.
fn serve(body: String) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let body = Arc::new(body);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let body = Arc::clone(&body);
            std::thread::spawn(move || converse(connection, &body));
        }
    });
    Ok(url)
}

/// One connection, request after request, until the other side ends it.
fn converse(mut connection: TcpStream, body: &str) -> std::io::Result<()> {
    let mut requests = BufReader::new(connection.try_clone()?);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        requests.read_exact(&mut vec![0; length])?;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(body.as_bytes())?;
    }
}

fn subject(number: usize, kind: MeasureKind, metric: &str) -> Subject {
    let instance = |arm, version: &str| Instance {
        name: version.to_owned(),
        arm,
        url: None,
        labels: BTreeMap::from([("version".to_owned(), format!("{version}-{number}"))]),
    };
    let named = Named {
        metric: metric.to_owned(),
        labels: BTreeMap::new(),
        status: None,
        per_second: None,
    };
    Subject {
        id: format!("d{number}"),
        service: "shop".to_owned(),
        instances: vec![instance(Arm::Baseline, "old"), instance(Arm::Canary, "new")],
        measures: vec![Measure {
            check: "check".to_owned(),
            kind,
            source: Source::Named(named),
            strata: Vec::new(),
        }],
    }
}

fn attempts(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime needs nothing but the operating system");
    let mut bench = |name: &str, body: String, subjects: Vec<Subject>| {
        let url = serve(body).expect("loopback has a free port");
        let settings = PrometheusSettings::new(url, Duration::from_secs(15));
        let provider = Prometheus::new(settings).expect("the address is valid");
        let mut at = Timestamp::constant(BEGIN + 80, 0);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let measured = runtime.block_on(provider.measure(&subjects, at));
                assert!(measured.iter().all(|m| m.result.is_ok()), "{measured:?}");
                at = at.checked_add(jiff::SignedDuration::from_micros(1)).unwrap_or(at);
                black_box(measured)
            });
        });
    };
    for count in [1, 100] {
        let subjects =
            (0..count).map(|n| subject(n, MeasureKind::Errors, "http_requests_total")).collect();
        bench(&format!("100,000 samples, {count} deployments"), counters(count), subjects);
    }
    let subjects = vec![subject(0, MeasureKind::Latency, "http_request_duration_seconds")];
    bench("100,000 buckets of native histograms", histograms(), subjects);
}

criterion_group! {
    name = prometheus;
    config = Criterion::default().sample_size(20);
    targets = attempts
}
criterion_main!(prometheus);
