//! The demo's service over real sockets, and its distribution of latencies.

use std::net::SocketAddr;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::config::{LONGEST_LATENCY, P99};
use super::*;

/// Longest wait for anything here.
const BOUND: Duration = Duration::from_secs(20);

fn config() -> ServiceConfig {
    ServiceConfig {
        revision: Some("4f2c1a9".to_owned()),
        ..ServiceConfig::new(
            &["/", "/checkout"],
            Latency { median_ms: 1.0, p99_ms: 3.0, slow_tail: 1.0 },
        )
    }
}

struct Served {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    server: JoinSet<io::Result<()>>,
    client: reqwest::Client,
}

impl Served {
    async fn new(config: ServiceConfig) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel();
        let mut server = JoinSet::new();
        server.spawn(serve_until(config, listener, async move {
            let _ = stopped.await;
        }));
        Self { address, stop: Some(stop), server, client: client(BOUND).expect("built") }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let response = self.client.get(url).send().await.expect("answered");
        (response.status().as_u16(), response.text().await.expect("text"))
    }
}

#[tokio::test]
async fn it_serves_its_routes_and_counts_them() {
    let served = Served::new(config()).await;
    assert_eq!(served.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(served.get("/").await.0, 200);
    assert_eq!(served.get("/checkout?item=3").await.0, 200);
    assert_eq!(served.get("/nothing").await.0, 404);
    let (_, text) = served.get("/metrics").await;
    for line in [
        "http_requests_total{code=\"200\"} 2",
        "http_requests_total{code=\"404\"} 1",
        "http_requests_total{code=\"500\"} 0",
        "http_request_duration_seconds_bucket{le=\"+Inf\"} 3",
        "http_request_duration_seconds_count 3",
    ] {
        assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with('\n'));
}

#[tokio::test]
async fn it_says_which_version_has_answered() {
    let served = Served::new(config()).await;
    let url = format!("http://{}/", served.address);
    let response = served.client.get(url).send().await.expect("answered");
    assert_eq!(response.headers()[&SERVED_BY], "4f2c1a9");
}

#[tokio::test]
async fn the_share_of_errors_is_as_configured() {
    let served = Served::new(ServiceConfig { error_share: 1.0, ..config() }).await;
    assert_eq!(served.get("/").await.0, 500);

    let dice = Dice::new(8080);
    let failed = (0..100_000).filter(|_| dice.uniform() < 0.03).count();
    // Five standard deviations of a binomial around 3000.
    assert!((2730..=3270).contains(&failed), "{failed}");
}

#[tokio::test]
async fn a_failing_dependency_fails_the_requests_of_every_version() {
    let dependency = Dependency::start().await.expect("started");
    let url = Some(dependency.url().to_owned());
    let served = Served::new(ServiceConfig { dependency: url, ..config() }).await;
    assert_eq!(served.get("/").await.0, 200);
    dependency.fail(1.0);
    assert_eq!(served.get("/").await.0, 502);
    dependency.fail(0.0);
    assert_eq!(served.get("/").await.0, 200);
}

#[tokio::test]
async fn a_dependency_that_is_gone_fails_requests_too() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
    let url = format!("http://{}/price", listener.local_addr().expect("bound"));
    drop(listener);
    let served = Served::new(ServiceConfig { dependency: Some(url), ..config() }).await;
    assert_eq!(served.get("/").await.0, 502);
}

#[test]
fn a_slow_tail_moves_the_99th_percentile_and_not_the_median() {
    let even = Latency { median_ms: 20.0, p99_ms: 80.0, slow_tail: 1.0 };
    let slow = Latency { slow_tail: 1.5, ..even };
    let quantile = |latency: Latency, percent: usize| {
        let dice = Dice::new(4000);
        let mut all: Vec<Duration> = (0..100_000).map(|_| latency.at(dice.normal())).collect();
        all.sort_unstable();
        all[all.len() * percent / 100].as_secs_f64() * 1000.0
    };
    for (latency, percent, expected) in [
        (even, 50, 20.0),
        (slow, 50, 20.0),
        (even, 90, 20.0 * (4.0_f64.ln() / P99 * 1.281_551_6).exp()),
        (slow, 90, 20.0 * (4.0_f64.ln() / P99 * 1.281_551_6).exp()),
        (even, 99, 80.0),
        (slow, 99, 120.0),
    ] {
        let measured = quantile(latency, percent);
        assert!((measured / expected - 1.0).abs() < 0.04, "{percent}: {measured} for {expected}");
    }
    let endless = Latency { median_ms: 1e300, p99_ms: 1e308, slow_tail: 100.0 };
    assert_eq!(endless.at(8.0), LONGEST_LATENCY);
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
    let latency = Latency { median_ms: 300.0, p99_ms: 300.0, slow_tail: 1.0 };
    let mut served = Served::new(ServiceConfig { latency, ..config() }).await;
    let stop = served.stop.take().expect("not stopped yet");
    let (answer, ()) = tokio::join!(served.get("/"), async {
        let arrived = async {
            while !served.get("/metrics").await.1.contains("http_requests_in_flight 1") {}
        };
        timeout(BOUND, arrived).await.expect("in flight in time");
        stop.send(()).expect("it serves");
    });
    assert_eq!(answer.0, 200);
    let ended = timeout(BOUND, served.server.join_next()).await.expect("ends in time");
    ended.expect("one task").expect("not aborted").expect("no error");
}

#[tokio::test]
async fn a_file_is_read_and_its_mistakes_are_named() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("service.yaml");
    let read = async |text: &str| {
        std::fs::write(&path, text).expect("written");
        ServiceConfig::read(&path).await
    };
    let good = "routes: [/, /checkout]\nlatency: { medianMs: 1, p99Ms: 3 }\n";
    let mut expected = ServiceConfig { revision: None, ..config() };
    expected.lines.file = path.display().to_string();
    assert_eq!(read(good).await.expect("read"), expected);
    let json = r#"{"routes": ["/", "/checkout"], "latency": {"medianMs": 1, "p99Ms": 3}}"#;
    assert_eq!(read(json).await.expect("read"), expected);

    let latency = "latency: { medianMs: 1, p99Ms: 3 }\n";
    for (text, named) in [
        (format!("{good}errorshare: 0.1\n"), "errorshare"),
        (format!("{good}errorShare: 1.1\n"), "not from 0 to 1"),
        (format!("{good}errorShare: .nan\n"), "not from 0 to 1"),
        (format!("routes: []\n{latency}"), "at least one path"),
        (format!("routes: [cart]\n{latency}"), "beginning with `/`"),
        ("routes: [/]\nlatency: { medianMs: 3, p99Ms: 1 }\n".to_owned(), "medianMs <= p99Ms"),
        (" ".repeat(70_000), "longer than"),
        (format!("{good}prices: none.sql\n"), "none.sql"),
        (format!("{good}prices: service.yaml\n"), "write one statement"),
    ] {
        let error = read(&text).await.expect_err(named).to_string();
        assert!(error.contains(named) && error.contains("service.yaml"), "{error}");
    }
    let missing = ServiceConfig::read(&folder.path().join("none")).await;
    assert!(missing.expect_err("missing").to_string().contains("none"));
}
