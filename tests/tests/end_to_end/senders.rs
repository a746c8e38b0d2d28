//! Real senders of spans: Envoy over gRPC and Traefik over HTTP, to the real binary.
//!
//! Each version of the shop is a proxy before a process that sells, and Serin knows of its requests what the proxy's
//! spans tell. Runs where the programs `envoy` and `traefik` are on the path, as `tests/run` puts them there;
//! elsewhere it says what was left out. What they send, beyond what their documents say:
//! - Envoy 1.40 sends every attribute as text, `http.status_code` too; its entry is called `ingress`, or by the route's
//!   decorator, and has no `http.route`. Its version comes only from the resource detector `static_config`.
//! - Envoy sends when five spans wait or five seconds are over, and what waits when it ends is lost; a request makes
//!   two spans with `spawn_upstream_span`, else one.
//! - Traefik 3.7 sends after five seconds, which `OTEL_BSP_SCHEDULE_DELAY` changes; a request makes an entry named by
//!   its method, without `http.route`, and a client's `ReverseProxy`. Its resource tells the whole command line. Its
//!   `/ping` answers before its routes are there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::any;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{World, free_port, says, text};

/// Requests per second.
const RATE: f64 = 250.0;

/// How often senders send, as both are set up below.
///
/// A new version's first spans come when it has answered about a hundred requests: with a dozen, a slow one is rolled
/// back before there are enough traces to compare.
const FLUSH: Duration = Duration::from_secs(2);

/// A version as an Envoy, which tells Serin of each request by gRPC.
///
/// Words between `@` are filled in, port and revision by the command that starts it.
const ENVOY: &str = r#"
layered_runtime:
  layers:
  - name: test
    static_layer: { tracing.opentelemetry.flush_interval_ms: 2000, tracing.opentelemetry.min_flush_spans: 500 }
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: @PORT@ } }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: shop
          tracing:
            spawn_upstream_span: true
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                service_name: shop
                grpc_service: { envoy_grpc: { cluster_name: serin }, timeout: 5s }
                resource_detectors:
                - name: envoy.tracers.opentelemetry.resource_detectors.static_config
                  typed_config:
                    "@type": type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig
                    attributes: { service.version: "@REVISION@", service.instance.id: "shop-@PORT@" }
          route_config:
            response_headers_to_add: [{ header: { key: x-served-by-revision, value: "@REVISION@" } }]
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { path: /healthz }
                direct_response: { status: 200 }
                tracing: { overall_sampling: { numerator: 0 } }
              - match: { prefix: / }
                route: { cluster: behind, prefix_rewrite: @PATH@/ }
                decorator: { operation: sell }
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  clusters:
  - name: behind
    load_assignment: { cluster_name: behind, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @BEHIND@ } } } }] }] }
  - name: serin
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    load_assignment: { cluster_name: serin, endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: @SERIN@ } } } }] }] }
"#;

/// A version as a Traefik, which fills in the revision by itself.
const TRAEFIK: &str = r#"
http:
  routers:
    all: { rule: "PathPrefix(`/`)", service: behind, middlewares: [path, revision] }
    health: { rule: "Path(`/healthz`)", service: behind, observability: { tracing: false } }
  middlewares:
    path: { addPrefix: { prefix: @PATH@/now } }
    revision: { headers: { customResponseHeaders: { x-served-by-revision: '{{ env "SERIN_REVISION" }}' } } }
  services:
    behind: { loadBalancer: { servers: [{ url: "http://127.0.0.1:@BEHIND@" }] } }
"#;

/// How versions send their spans.
struct Sender {
    /// What a version is, with words between `@`.
    version: &'static str,
    /// How one is started, by a shell.
    command: String,
    /// The port at which Serin takes spans by gRPC.
    grpc: u16,
    /// The span around the call to the process that sells.
    call: &'static str,
    /// Its name of what it was asked.
    entry: &'static str,
}

/// The path of a program; says what is left out where there is none.
#[expect(clippy::print_stdout, reason = "says what was left out where the program is missing")]
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        println!("left out: spans of a real `{name}`, as no such program is on the path");
    }
    found
}

/// What answers behind every version: below `/fails` one request in ten fails, below `/slow` each takes long.
async fn behind() -> u16 {
    let asked = Arc::new(AtomicU64::new(0));
    let fails = any(async move || match asked.fetch_add(1, Ordering::Relaxed) % 10 {
        0 => (StatusCode::INTERNAL_SERVER_ERROR, "no price\n"),
        _ => (StatusCode::OK, "sold\n"),
    });
    let slow = any(async || {
        tokio::time::sleep(Duration::from_millis(60)).await;
        "sold\n"
    });
    let router = Router::new().route("/fails/{*rest}", fails).route("/slow/{*rest}", slow);
    let router = router.fallback(async || "sold\n");
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    // Ends with the runtime of the test.
    drop(tokio::spawn(async move { axum::serve(listener, router).await }));
    port
}

/// What the check of errors has counted of the canary: failed and all.
async fn counted(world: &World, deployment: &str) -> Option<(u64, u64)> {
    let story = world.get(&format!("/api/v1/deployments/{deployment}")).await;
    let last = story["points"].as_array()?.last()?.clone();
    let findings = last["verdict"]["findings"].as_array()?;
    let canary = &findings.iter().find(|finding| finding["check"] == "errors")?["canary"];
    Some((canary["events"].as_u64()?, canary["of"].as_u64()?))
}

/// Asks so many times; whether then each request that the canary ever answered is counted, and none twice.
///
/// What a sender tells when the other version's tells nothing more is only counted with the other's next, so that
/// after some rounds a few requests are still to come; a lost one would be missing for ever.
async fn all_are_counted(world: &World, requests: u64, deployment: &str, revision: &str) -> bool {
    world.load.set_rate(RATE);
    world.more_requests(requests).await;
    world.load.set_rate(0.0);
    let mut counts = world.load.watch();
    // Two publications later the pause is seen, and what is under way is in the counts.
    for _ in 0..2 {
        counts.changed().await.expect("the load runs");
    }
    let all = async || {
        let counts = world.load.counts();
        (counts.sent == counts.ok + counts.failed).then_some(())
    };
    world.until("every request is answered", all).await;
    let answers = world.answers(revision);
    let truth = (answers.failed, answers.ok + answers.failed);
    assert!(truth.1 > requests / 10, "{truth:?}");
    let counted = async || {
        let counted = counted(world, deployment).await?;
        assert!(counted.1 <= truth.1, "{counted:?} of {truth:?}");
        (counted == truth).then_some(())
    };
    let counted = world.until("all are counted", counted);
    tokio::time::timeout(2 * FLUSH, counted).await.is_ok()
}

/// A version that is paused has every request counted; a good one passes; what is wrong with a failing and with a
/// slow one is named.
async fn is_judged_by_spans(mut world: World, sender: Sender) {
    let behind = behind().await;
    world.settings = format!("otlp: {{ grpc: \"127.0.0.1:{}\" }}\n", sender.grpc);
    let version = |path: &str, subject: &str| {
        let text = sender.version.replace("@PATH@", path).replace("@BEHIND@", &behind.to_string());
        format!("# {subject}{}", text.replace("@SERIN@", &sender.grpc.to_string()))
    };
    let target = json!({ "process": {
        "command": ["sh", "-c", format!("exec {}", sender.command)],
        "health": "/healthz", "startTimeout": "10s", "stopGrace": "2s",
    } });
    let policy = world.policy().with("target", &target.to_string()).with("metrics", "traces");
    let files =
        [(policy.path(), policy.text()), ("shop/service.yaml".to_owned(), version("", "Welcome"))];
    let files = files.each_ref().map(|(path, text)| (&**path, Some(&**text)));
    let first = world.forge.push("Open the shop", &files);
    world.start().await;
    world.serves(&first).await;
    world.load.set_rate(RATE);

    let next = world.forge.version("shop", "Greet", &version("", "Hello"));
    let live = world.on_trial(&next).await;
    let paused = world.cli(&["pause", "shop"]).await;
    assert_eq!(paused.code, 0, "{paused:?}");
    let (mut rounds, mut whole) = (0, 0);
    while whole < 2 {
        let all = all_are_counted(&world, 300, text(&live["id"]), &next).await;
        (rounds, whole) = (rounds + 1, whole + u32::from(all));
        assert!(rounds < 12, "requests are missing after {rounds} rounds\n{}", world.log());
    }
    world.load.set_rate(RATE);
    let resumed = world.cli(&["resume", "shop"]).await;
    assert_eq!(resumed.code, 0, "{resumed:?}");
    world.ends(&next, "promoted").await;

    let fails = world.forge.version("shop", "Add gift cards", &version("/fails", "Gift cards"));
    let ended = world.ends(&fails, "rolledBack").await;
    says(text(&ended["cause"]), &["new error `HTTP 500`", sender.call]);
    let slow = world.forge.version("shop", "Compute tax", &version("/slow", "Tax"));
    let ended = world.ends(&slow, "rolledBack").await;
    says(text(&ended["reason"]), &["latency", "took longer than"]);
    says(text(&ended["cause"]), &[sender.call, "called from", sender.entry]);
    assert_eq!(ended["git"]["undone"], Value::from(true), "{ended:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_envoys_push_by_grpc_judge_versions_and_name_what_is_wrong() {
    let Some(envoy) = program("envoy") else { return };
    let world = World::new().await;
    let command = format!(
        "{} --concurrency 1 --log-level error --use-dynamic-base-id --config-yaml \
         \"$(sed -e s/@PORT@/$PORT/ -e s/@REVISION@/$SERIN_REVISION/ shop/service.yaml)\"",
        envoy.display()
    );
    let (call, entry) = ("router behind egress", "sell");
    let sender = Sender { version: ENVOY, command, grpc: free_port(), call, entry };
    is_judged_by_spans(world, sender).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_traefiks_push_by_http_judge_versions_and_name_what_is_wrong() {
    let Some(traefik) = program("traefik") else { return };
    let world = World::new().await;
    let command = format!(
        "env OTEL_BSP_SCHEDULE_DELAY=2000 {} --global.checkNewVersion=false --log.level=ERROR \
         --entryPoints.web.address=127.0.0.1:$PORT --providers.file.filename=shop/service.yaml --tracing.serviceName=shop \
         --tracing.resourceAttributes.service.version=$SERIN_REVISION \
         --tracing.otlp.http.endpoint=http://127.0.0.1:{}/v1/traces",
        traefik.display(),
        world.page
    );
    let (call, entry) = ("ReverseProxy", "GET");
    let sender = Sender { version: TRAEFIK, command, grpc: free_port(), call, entry };
    is_judged_by_spans(world, sender).await;
}
