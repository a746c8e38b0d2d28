//! Metrics that vanish, hang and come back, and a real Prometheus as their source.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{World, free_port, says, signal, text};
use crate::shop::{good, version};

const PROMETHEUS: &str = "/usr/bin/prometheus";

/// Says where the switches of the service below are.
const SWITCHES: &str = "SERIN_TEST_SWITCHES";

/// The weight stays and nothing is reverted for longer than a whole rollout needs.
async fn holds(world: &World, next: &str, why: &[&str]) {
    let live = world.on_trial(next).await;
    let told = world
        .live("the trouble is told", |l| why.iter().all(|w| text(&l["unobserved"]).contains(w)));
    told.await;
    world.more_requests(1_000).await;
    let now = world.service("shop").await["live"].clone();
    assert_eq!((&now["weight"], &now["phase"]), (&live["weight"], &live["phase"]));
    says(text(&now["unobserved"]), why);
    assert_eq!(world.forge.tip(), next, "nothing is reverted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metrics_page_that_vanishes_or_hangs_holds_the_weight_until_it_is_back() {
    let mut world = World::new().await;
    let program = std::env::current_exe().expect("this program");
    let target = json!({ "process": {
        "command": [program, "--exact", "metrics::the_service_with_switches", "--nocapture"],
        "environment": { SWITCHES: world.path() },
        "health": "/healthz", "startTimeout": "10s", "stopGrace": "1s",
    } });
    let policy = world
        .policy()
        .with("target", &target.to_string())
        .with("metrics", "{ scrape: { path: /metrics, interval: 250ms } }");
    world.open_shop(&policy).await;
    let (gone, hangs) = (world.path().join("gone"), world.path().join("hangs"));
    std::fs::write(&gone, "").expect("written");
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    holds(&world, &next, &["404"]).await;
    std::fs::write(&hangs, "").expect("written");
    std::fs::remove_file(&gone).expect("removed");
    holds(&world, &next, &["did not answer within"]).await;
    std::fs::remove_file(&hangs).expect("removed");
    world.ends(&next, "promoted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_settles_a_good_commit_and_a_failing_one() {
    if !Path::new(PROMETHEUS).exists() {
        println!("left out: the rollout judged by a real Prometheus; install `prometheus`");
        return;
    }
    let (mut world, _prometheus) = with_prometheus().await;
    let policy = by_prometheus(&world);
    let first = world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.ends(&next, "promoted").await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.1, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    assert!(first != next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_hangs_holds_the_weight_until_it_answers() {
    if !Path::new(PROMETHEUS).exists() {
        println!("left out: a real Prometheus that hangs; install `prometheus`");
        return;
    }
    let (mut world, prometheus) = with_prometheus().await;
    let policy = by_prometheus(&world);
    world.open_shop(&policy).await;
    signal(prometheus.0.id(), Signal::STOP);
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    holds(&world, &next, &["the metrics cannot be read"]).await;
    signal(prometheus.0.id(), Signal::CONT);
    world.ends(&next, "promoted").await;
}

fn by_prometheus(world: &World) -> crate::shop::Policy {
    world.policy().with("metrics", "{ prometheus: { provider: main, interval: 1s } }")
}

/// Ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A world with a Prometheus that learns from Serin what to scrape.
async fn with_prometheus() -> (World, Prometheus) {
    let mut world = World::new().await;
    let (port, page) = (free_port(), world.page);
    let config = world.path().join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: serin\n    http_sd_configs: [{{ url: \"http://127.0.0.1:{page}/api/v1/prometheus-targets\", refresh_interval: 1s }}]\n"
    );
    std::fs::write(&config, text).expect("written");
    let child = Command::new(PROMETHEUS)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", world.path().join("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    world.settings = format!(
        "providers: [{{ name: main, prometheus: {{ url: \"http://127.0.0.1:{port}\", timeout: 1s, settle: 1s, scrapeInterval: 1s }} }}]\n"
    );
    (world, Prometheus(child.expect("Prometheus starts")))
}

/// No test of its own: the service that the test above deploys, whose metrics page it switches.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a process is told its port and name by its environment"
)]
async fn the_service_with_switches() {
    let Ok(switches) = std::env::var(SWITCHES) else { return };
    let port: u16 = std::env::var("PORT").expect("set by Serin").parse().expect("a port");
    let shop = Arc::new(Shop {
        switches: switches.into(),
        revision: std::env::var("SERIN_REVISION").expect("set by Serin"),
        answered: AtomicU64::new(0),
    });
    let router = Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/metrics", get(page))
        .fallback(answer)
        .with_state(shop);
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    axum::serve(listener, router).await.expect("it serves");
}

struct Shop {
    switches: PathBuf,
    revision: String,
    answered: AtomicU64,
}

async fn answer(State(shop): State<Arc<Shop>>) -> impl IntoResponse {
    shop.answered.fetch_add(1, Ordering::Relaxed);
    ([("x-served-by-revision", shop.revision.clone())], "sold\n")
}

async fn page(State(shop): State<Arc<Shop>>) -> Response {
    if shop.switches.join("gone").exists() {
        return StatusCode::NOT_FOUND.into_response();
    }
    if shop.switches.join("hangs").exists() {
        std::future::pending::<()>().await;
    }
    let count = shop.answered.load(Ordering::Relaxed);
    let name = "http_request_duration_seconds";
    format!(
        "# TYPE http_requests_total counter\nhttp_requests_total{{code=\"200\"}} {count}\n# TYPE {name} histogram\n\
         {name}_bucket{{le=\"0.01\"}} {count}\n{name}_bucket{{le=\"0.1\"}} {count}\n{name}_bucket{{le=\"+Inf\"}} {count}\n\
         {name}_sum 1\n{name}_count {count}\n"
    )
    .into_response()
}
