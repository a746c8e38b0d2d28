//! A policy tried before it is trusted, on what a real Prometheus scraped: a quiet time, then a bad version.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::Instant;

use crate::harness::{Said, client, free_port, said, says};
use crate::shop::{BINARY, Policy};

const PROMETHEUS: &str = "/usr/bin/prometheus";

/// Requests that a pod answers each second.
const RATE: u128 = 200;

/// Longest wait for the store's samples.
const BOUND: Duration = Duration::from_secs(120);

/// A pod whose counters grow with the clock.
#[derive(Clone, Copy)]
struct Pod {
    since: Instant,
    /// Of a thousand requests.
    failing: u128,
}

async fn page(State(pod): State<Pod>) -> String {
    let count = pod.since.elapsed().as_millis() * RATE / 1_000;
    let failed = count * pod.failing / 1_000;
    let name = "http_request_duration_seconds";
    format!(
        "# TYPE http_requests_total counter\nhttp_requests_total{{code=\"200\"}} {}\nhttp_requests_total{{code=\"500\"}} {failed}\n\
         # TYPE {name} histogram\n{name}_bucket{{le=\"0.05\"}} {}\n{name}_bucket{{le=\"0.055\"}} {}\n{name}_bucket{{le=\"5\"}} {count}\n\
         {name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum 1\n{name}_count {count}\n",
        count - failed,
        count * 52 / 100,
        count * 6 / 10,
    )
}

async fn pod(port: u16, failing: u128) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    let state = Pod { since: Instant::now(), failing };
    let router = Router::new().route("/metrics", get(page)).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
}

/// Three pods of `v1`, and one of `v2` that is not there yet.
struct Store {
    url: String,
    canary: u16,
    client: reqwest::Client,
    _prometheus: tokio::process::Child,
}

impl Store {
    async fn start(folder: &Path) -> Self {
        let mut targets = String::new();
        let mut canary = 0;
        for (version, name) in [("v1", "a"), ("v1", "b"), ("v1", "c"), ("v2", "d")] {
            let port = free_port();
            targets += &format!(
                "      - {{ targets: [\"127.0.0.1:{port}\"], labels: {{ version: {version}, pod: {name} }} }}\n"
            );
            if version == "v1" {
                pod(port, 5).await;
            } else {
                canary = port;
            }
        }
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: shop\n    static_configs:\n{targets}"
        );
        fs::write(&config, text).expect("written");
        let address = format!("127.0.0.1:{}", free_port());
        let prometheus = Command::new(PROMETHEUS)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Self {
            url: format!("http://{address}"),
            canary,
            client: client(),
            _prometheus: prometheus.expect("Prometheus starts"),
        }
    }

    /// Waits until every pod of a version was scraped so often, as the store itself counts.
    async fn has(&self, version: &str, scrapes: u32) {
        let query = format!(
            "min(count_over_time(http_requests_total{{code=\"200\",version=\"{version}\"}}[5m])) >= {scrapes}"
        );
        let began = Instant::now();
        loop {
            let asked = self.client.get(format!("{}/api/v1/query", self.url));
            let answer = asked.query(&[("query", &query)]).send().await;
            if let Ok(answer) = answer
                && answer.text().await.is_ok_and(|text| text.contains("\"value\""))
            {
                return;
            }
            assert!(began.elapsed() < BOUND, "the store does not get {scrapes} of {version}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn serin(arguments: &[&str]) -> Said {
    said(Command::new(BINARY).args(arguments).kill_on_drop(true)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_tried_on_what_a_real_prometheus_remembers() {
    if !Path::new(PROMETHEUS).exists() {
        println!("left out: a policy tried on a real Prometheus; install `prometheus`");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::start(folder.path()).await;
    store.has("v1", 45).await;
    pod(store.canary, 80).await;
    store.has("v2", 25).await;
    let write = |job: &str| {
        let metrics = format!(
            "{{ prometheus: {{ provider: main, interval: 1s, labels: {{ job: {job} }} }} }}"
        );
        let path = folder.path().join(format!("{job}.yaml"));
        let text = Policy::new("shop", store.canary).with("metrics", &metrics).text();
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (policy, another) = (write("shop"), write("another"));
    are_there(&policy, &another, &store.url).await;
    would_have(&policy, &another, &store.url).await;
}

/// `serin validate --against`.
async fn are_there(policy: &str, another: &str, url: &str) {
    let seen = serin(&["validate", policy, "--against", url]).await;
    assert_eq!(seen.code, 0, "{seen:?}");
    says(
        &seen.out,
        &[
            "2 values of the label `version` in the last 10 minutes",
            "versions with requests: v1, v2",
            "errors: `http_requests_total` by `code`, 5xx failed",
            "pods: 3 are told apart",
            "slower than 55 ms (10 % longer) as stable's slower than 50 ms",
            "warning: no bucket bound lies between p90 and p99.9",
        ],
    );
    let seen = serin(&["validate", another, "--against", url]).await;
    assert_ne!(seen.code, 0, "{seen:?}");
    says(&seen.out, &["problem: no series with job=another has the label `version`"]);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let seen = serin(&["validate", policy, "--against", &nobody]).await;
    assert_eq!(seen.code, 2, "{seen:?}");
    says(&seen.err, &["failed to read http://127.0.0.1"]);
}

/// `serin backtest`.
async fn would_have(policy: &str, another: &str, url: &str) {
    let arguments = [
        "backtest",
        policy,
        "--from",
        "90s",
        "--provider",
        url,
        "--step",
        "1s",
        "--window",
        "20s",
        "--splits",
        "10",
        "--inject",
        "1.05x,20%",
    ];
    let tried = serin(&[&arguments[..], &["--json"]].concat()).await;
    assert_eq!(tried.code, 0, "{tried:?}");
    let report: Value = serde_json::from_str(&tried.out).expect("JSON");
    let deployments = report["deployments"].as_array().expect("a list");
    let [bad] = &**deployments else { panic!("{report:#}") };
    assert_eq!((&bad["canary"], &bad["baseline"]), (&"v2".into(), &"v1".into()));
    assert_eq!(bad["answer"], "fail", "{report:#}");
    assert!(bad["seconds"].as_f64().expect("a time") <= 25.0, "{bad:#}");
    let quiet = &report["quiet"];
    assert_eq!(quiet["byRequests"], 0, "all by pods: {report:#}");
    assert_eq!(quiet["falseReverts"]["count"], 0, "{report:#}");
    assert!(quiet["falseReverts"]["of"].as_u64() >= Some(3), "{report:#}");
    let caught = |what: usize| {
        let rate = &quiet["injected"][what]["found"]["caught"];
        (rate["count"].as_u64(), rate["of"].as_u64())
    };
    // A twentieth more failures is tolerated; a fifth of all requests failing is found in every run.
    assert_eq!(caught(0).0, Some(0), "{report:#}");
    assert_eq!(caught(1).0, caught(1).1, "{report:#}");
    assert!(caught(1).0.is_some(), "{report:#}");
    let told = serin(&arguments).await;
    says(&told.out, &["backtest of shop", "past deployments", "quiet periods"]);

    let nothing = serin(&["backtest", another, "--from", "90s", "--provider", url]).await;
    assert_eq!(nothing.code, 2, "{nothing:?}");
    says(&nothing.err, &["no series of", "has data from"]);
}
