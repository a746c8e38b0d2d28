//! Traces of two versions of a real service, compared by the real binary with no Serin running.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt as _;
use futures_util::stream;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::harness::{BOUND, client, free_port, said, says, signal};
use crate::shop::{BINARY, Forge};

/// Requests to each version.
const REQUESTS: usize = 150;

const TOGETHER: &str = "-- name: CartPrices :many\nSELECT amount FROM price WHERE sku = ANY($1);\n";
const LINE_BY_LINE: &str =
    "-- name: LinePrice :one\nSELECT amount, tax FROM price WHERE sku = $1;\n";

type Bodies = Arc<Mutex<Vec<u8>>>;

/// Bodies one after the other are one message: their fields are repeated.
async fn take(State(bodies): State<Bodies>, body: Bytes) {
    bodies.lock().expect("not poisoned").extend_from_slice(&body);
}

/// Runs a version from its files, asks it, and returns everything that it sent until it had ended.
async fn traced(checkout: &Path, revision: &str) -> Vec<u8> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let bodies = Bodies::default();
    let router = Router::new().route("/v1/traces", post(take)).with_state(bodies.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let port = free_port();
    let attributes = format!("service.version={revision},service.instance.id=shop-{port}");
    let mut service = Command::new(BINARY)
        .args(["demo-service", "--config", "shop/service.yaml"])
        .current_dir(checkout)
        .env("PORT", port.to_string())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_SERVICE_NAME", "shop")
        .env("OTEL_RESOURCE_ATTRIBUTES", attributes)
        .kill_on_drop(true)
        .spawn()
        .expect("started");
    let client = client();
    let url = format!("http://127.0.0.1:{port}");
    let began = Instant::now();
    while client.get(format!("{url}/healthz")).send().await.is_err() {
        assert!(began.elapsed() < BOUND, "it serves in time");
        tokio::task::yield_now().await;
    }
    let ask = |_| async { client.get(format!("{url}/checkout")).send().await.expect("answered") };
    let answers = stream::iter(0..REQUESTS).map(ask).buffer_unordered(8).count().await;
    assert_eq!(answers, REQUESTS);
    signal(service.id().expect("it runs"), Signal::TERM);
    let ended = timeout(BOUND, service.wait()).await.expect("it ends in time").expect("waited for");
    assert!(ended.success(), "{ended}");
    bodies.lock().expect("not poisoned").clone()
}

/// A repository with three commits, and the traces of the versions at both ends.
struct Dumps {
    folder: TempDir,
    forge: Forge,
    commits: [String; 3],
}

impl Dumps {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let forge = Forge::create(&folder.path().join("shop.git"));
        let service =
            "routes: [/checkout]\nlatency: { medianMs: 3, p99Ms: 9 }\nprices: prices.query\n";
        let greeted = format!("# Welcome\n{service}");
        let commits = [
            forge.push(
                "Open the shop",
                &[("shop/service.yaml", Some(service)), ("shop/prices.query", Some(TOGETHER))],
            ),
            forge.push("Compute tax per line", &[("shop/prices.query", Some(LINE_BY_LINE))]),
            forge.push("Greet people", &[("shop/service.yaml", Some(&greeted))]),
        ];
        let dumps = Self { folder, forge, commits };
        for (name, end, service, prices) in
            [("old", 0, service, TOGETHER), ("new", 2, &*greeted, LINE_BY_LINE)]
        {
            let checkout = dumps.path(&format!("{name}-checkout"));
            fs::create_dir_all(checkout.join("shop")).expect("made");
            fs::write(checkout.join("shop/service.yaml"), service).expect("written");
            fs::write(checkout.join("shop/prices.query"), prices).expect("written");
            let spans = traced(&checkout, &dumps.commits[end]).await;
            fs::write(dumps.path(name), spans).expect("written");
        }
        dumps
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `serin traces compare` with these words.
    fn compare(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["traces", "compare"]).args(words).current_dir(self.folder.path());
        command
    }
}

#[tokio::test]
async fn dumps_of_two_versions_name_the_query_its_line_and_the_commit() {
    let dumps = Dumps::new().await;
    let [first, bad, last] = &dumps.commits;
    let range = format!("{first}..{last}");
    let clone = dumps.forge.path.to_str().expect("UTF-8");
    let ends = ["--service", "shop", "--repo", clone, "--range", &range];

    let files = ["--baseline", "old", "--canary", "new"];
    let found = said(&mut dumps.compare(&[&files[..], &ends].concat())).await;
    assert_eq!(found.code, 0, "{}", found.err);
    let told = [
        "`SELECT price`: 1.00 -> 1",
        "one after the other (N+1)",
        "called from `price the cart` at `LinePrice` (shop/prices.query:2)",
        &format!("suspect commit 1 of 2: {} Compute tax per line", &bad[..7]),
        "confidence high",
        "operation",
    ];
    says(&found.out, &told);

    // The same, one file packed and one from a pipe, as numbers.
    let mut packed =
        GzEncoder::new(File::create(dumps.path("new.gz")).expect("made"), Compression::fast());
    packed.write_all(&fs::read(dumps.path("new")).expect("there")).expect("packed");
    packed.finish().expect("packed");
    let files = ["--baseline", "-", "--canary", "new.gz", "--json"];
    let mut command = dumps.compare(&[&files[..], &ends].concat());
    command.stdin(Stdio::from(File::open(dumps.path("old")).expect("there")));
    let found = said(&mut command).await;
    assert_eq!(found.code, 0, "{}", found.err);
    let json: Value = serde_json::from_str(&found.out).expect("JSON");
    let finding = &json["rootCause"]["findings"][0];
    assert_eq!(finding["cause"], "nPlusOne");
    assert_eq!(finding["suspect"]["commit"], **bad);
    assert_eq!(finding["suspect"]["matched"], "line");
    assert_eq!(json["rootCause"]["canary"]["traces"], REQUESTS);
    assert_eq!(json["refused"], Value::Array(Vec::new()));

    // Both in one file, told apart by the commits that the spans name.
    let both =
        [fs::read(dumps.path("old")), fs::read(dumps.path("new"))].map(|read| read.expect("there"));
    fs::write(dumps.path("both"), both.concat()).expect("written");
    let versions = format!("{},{}", &first[..10], &last[..10]);
    let words = ["--baseline", "both", "--versions", &versions, "--service", "shop"];
    let found = said(&mut dumps.compare(&words)).await;
    assert_eq!(found.code, 0, "{}", found.err);
    says(&found.out, &["one after the other (N+1)", "at `LinePrice` (shop/prices.query:2)"]);
}

#[tokio::test]
async fn what_cannot_be_compared_is_said_and_exits_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write("letter", "Dear Ann,\n");
    write("empty", "");
    let zipkin = r#"[{"traceId": "1", "id": "1", "kind": "SERVER", "name": "get /", "timestamp": 1764000000000000, "duration": 9, "localEndpoint": {"serviceName": "till"}}]"#;
    write("zipkin", zipkin);
    let both = ["--baseline", "zipkin", "--canary", "zipkin2"];
    write("zipkin2", zipkin);
    for (words, told) in [
        (&["--baseline", "none", "--canary", "zipkin"][..], "failed to read none"),
        (&["--baseline", "letter", "--canary", "zipkin"], "accepted are OTLP"),
        (&["--baseline", "empty", "--canary", "zipkin"], "empty"),
        (&[&both[..], &["--service", "shop"]].concat(), "requests of till"),
        (&[&both[..], &["--repo", ".", "--range", "a..b"]].concat(), "--repo"),
        (&["--baseline", "-", "--canary", "-"], "name a file for each"),
        (&["--baseline", "zipkin"], "--canary"),
        (&[&both[..], &["--versions", "1"]].concat(), "two different versions"),
    ] {
        let mut command = Command::new(BINARY);
        command.args(["traces", "compare"]).args(words).current_dir(folder.path());
        let found = said(command.stdin(Stdio::null())).await;
        assert_eq!((found.code, &*found.out), (2, ""), "{words:?}: {}", found.err);
        says(&found.err, &[told]);
    }
    // Too few to say much is not wrong.
    let mut command = Command::new(BINARY);
    let found =
        said(command.args(["traces", "compare"]).args(both).current_dir(folder.path())).await;
    assert_eq!(found.code, 0, "{}", found.err);
    says(&found.out, &["till: 1 canary and 1 baseline traces", "times were not compared"]);
}
