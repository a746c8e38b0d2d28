//! Metrics that services push over OTLP, and a store that answers JSON over HTTP.
//!
//! The counts are those that the senders saw. The durations are invented: one version is told to be slow, which
//! the proxy does not see, so that only these metrics can settle it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use verifier::demo::load::{Answers, Counts};

use crate::harness::{World, client, free_port, says, text};
use crate::shop::good;

/// Revisions whose requests are said to take half a second.
type Slow = Arc<Mutex<Vec<String>>>;

/// The senders' and the store's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured here is not Serin's, and has a clock of its own"
)]
fn nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos()
}

/// One export of every revision's histogram since the beginning, as an SDK writes it.
fn export(counts: &Counts, slow: &[String], began: u128) -> Value {
    let point = |status: u16, count: u64, slow: bool| {
        let bucket = |is_slow: bool| if slow == is_slow { count } else { 0 };
        json!({
            "attributes": [{ "key": "http.response.status_code", "value": { "intValue": status.to_string() } }],
            "startTimeUnixNano": began.to_string(),
            "timeUnixNano": nanos().to_string(),
            "count": count.to_string(),
            "sum": 1.0,
            "explicitBounds": [0.05, 0.1, 1.0],
            "bucketCounts": [bucket(false).to_string(), "0", bucket(true).to_string(), "0"],
        })
    };
    let resources = counts.by_revision.iter().map(|(revision, Answers { ok, failed })| {
        let slow = slow.contains(revision);
        let attribute =
            |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
        json!({
            "resource": { "attributes": [
                attribute("service.name", "shop"),
                attribute("service.version", revision),
                attribute("service.instance.id", &format!("pod-of-{}", &revision[..7])),
            ] },
            "scopeMetrics": [{ "scope": { "name": "test" }, "metrics": [{
                "name": "http.server.request.duration",
                "unit": "s",
                "histogram": {
                    "aggregationTemporality": 2,
                    "dataPoints": [point(200, *ok, slow), point(503, *failed, slow)],
                },
            }] }],
        })
    });
    json!({ "resourceMetrics": resources.collect::<Vec<_>>() })
}

/// Pushes twice a second until the test ends.
async fn push(page: u16, counts: watch::Receiver<Counts>, slow: Slow) {
    let (client, began) = (client(), nanos());
    let url = format!("http://127.0.0.1:{page}/v1/metrics");
    loop {
        let body = export(&counts.borrow().clone(), &slow.lock().expect("no panic"), began);
        let answer = client.post(&url).json(&body).send().await;
        if let Ok(answer) = answer {
            assert!(answer.status().is_success(), "{answer:?}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_pushed_over_otlp_settle_a_good_commit_and_a_slow_one() {
    let mut world = World::new().await;
    world.open_shop(&world.policy().with("metrics", "otlp")).await;
    let slow = Slow::default();
    let pushing = tokio::spawn(push(world.page, world.load.watch(), slow.clone()));
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.ends(&next, "promoted").await;
    let bad = world.forge.version("shop", "Compute tax", &good("Tax"));
    slow.lock().expect("no panic").push(bad.clone());
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    says(text(&ended["reason"]), &["latency", "took longer than"]);
    assert!(!pushing.is_finished(), "pushing went wrong: {:?}", pushing.await);
    pushing.abort();
}

/// What each revision had answered at the end of each second.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<u64, Counts>>>);

/// Seconds to the answer of a store: `[[second, count], ...]`, one for each interval.
async fn counted(
    State((recorded, slow)): State<(Recorded, Slow)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Json<Value> {
    let number = |name: &str| query[name].parse::<u64>().expect("a number");
    let (from, to, step) = (number("from"), number("to"), number("step"));
    let recorded = recorded.0.lock().expect("no panic");
    let (metric, version) = (query["metric"].as_str(), &query["version"]);
    let is_slow = slow.lock().expect("no panic").contains(version);
    let at = |second: u64| {
        let answers = recorded.get(&second)?.by_revision.get(version).copied()?;
        Some(match metric {
            "failed" => answers.failed,
            "slow" if !is_slow => 0,
            _ => answers.ok + answers.failed,
        })
    };
    // A revision that has answered nothing yet has no series; with its first answers it counts from zero.
    let rows: Vec<Value> = (from..to)
        .step_by(usize::try_from(step).expect("small"))
        .filter_map(|second| Some(json!([second, at(second + step)? - at(second).unwrap_or(0)])))
        .collect();
    Json(json!({ "points": rows }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_answers_json_settles_a_good_commit_and_a_slow_one() {
    let mut world = World::new().await;
    let (recorded, slow, port) = (Recorded::default(), Slow::default(), free_port());
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    let store = Router::new().route("/counts", get(counted));
    let store = store.with_state((recorded.clone(), slow.clone()));
    let serving = tokio::spawn(async move { axum::serve(listener, store).await });
    let counts = world.load.watch();
    let recording = tokio::spawn(async move {
        loop {
            let second = u64::try_from(nanos() / 1_000_000_000).expect("not that far");
            let now = counts.borrow().clone();
            recorded.0.lock().expect("no panic").entry(second).or_insert(now);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    world.settings = format!(
        "providers: [{{ name: counts, http: {{ url: \"http://127.0.0.1:{port}\", time: seconds, step: 10s, settle: 1s, \
         pointers: {{ rows: /points, time: /0, value: /1 }} }} }}]\n"
    );
    let asks = |metric: &str| {
        format!(
            "'counts?metric={metric}&version=${{version}}&from=${{from}}&to=${{to}}&step=${{step}}'"
        )
    };
    let checks = format!(
        "[{{ errors: {{ bad: {}, total: {} }} }}, {{ latency: {{ total: {}, slower: {{ 100ms: {} }} }} }}]",
        asks("failed"),
        asks("all"),
        asks("all"),
        asks("slow"),
    );
    let policy = world
        .policy()
        .with("metrics", "{ store: { provider: counts, interval: 10s } }")
        .with("steps", "{ auto: { first: 50%, deadline: 5m } }")
        .with("checks", &checks);
    world.open_shop(&policy).await;
    let next = world.forge.version("shop", "Greet", &good("Hello"));
    world.ends(&next, "promoted").await;
    let bad = world.forge.version("shop", "Compute tax", &good("Tax"));
    slow.lock().expect("no panic").push(bad.clone());
    let ended = world.ends(&bad, "rolledBack").await;
    says(text(&ended["reason"]), &["latency", "took longer than 100 ms"]);
    recording.abort();
    serving.abort();
}
