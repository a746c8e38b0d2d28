//! The cause from a store: services send their spans to a real Jaeger, and Serin reads both versions there.
//!
//! Runs where the program `jaeger` is on the path, as `tests/run` puts it there; elsewhere it says what was left out.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{World, client, free_port, says, text};
use crate::shop::{BINARY, version};

/// A running Jaeger; ended when the test ends in any way.
struct Jaeger(Child);

impl Drop for Jaeger {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[expect(clippy::print_stdout, reason = "says what was left out where the program is missing")]
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|f| f.join("jaeger")).find(|file| file.is_file());
    if found.is_none() {
        println!("left out: a cause from a real Jaeger, as no program `jaeger` is on the path");
    }
    found
}

/// Jaeger 2 in memory, which answers at the first port and takes spans in at the second.
fn jaeger(program: PathBuf, world: &World, [answers, takes]: [u16; 2]) -> Jaeger {
    let address = |port: u16| format!("127.0.0.1:{port}");
    let configuration = json!({
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": { "traces": { "receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"] } },
            "telemetry": { "metrics": { "level": "none" }, "logs": { "level": "error" } },
        },
        "extensions": {
            "jaeger_query": {
                "storage": { "traces": "memory" },
                "http": { "endpoint": address(answers) },
                "grpc": { "endpoint": address(free_port()) },
            },
            "jaeger_storage": { "backends": { "memory": { "memory": { "max_traces": 100_000 } } } },
        },
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": address(takes) } } } },
        "exporters": { "jaeger_storage_exporter": { "trace_storage": "memory" } },
    });
    let file = world.path().join("jaeger.yaml");
    // JSON is YAML.
    std::fs::write(&file, configuration.to_string()).expect("written");
    let child = Command::new(program)
        .arg("--config")
        .arg(file)
        // Jaeger traces itself, and would send that to whoever listens at the usual port.
        .env("OTEL_TRACES_SAMPLER", "always_off")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Jaeger(child.expect("started"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_is_read_from_a_real_jaeger_with_links_to_it() {
    let Some(program) = program() else { return };
    let mut world = World::new().await;
    let ports = [free_port(), free_port()];
    let _jaeger = jaeger(program, &world, ports);
    let page = format!("http://127.0.0.1:{}", ports[0]);
    let asking = client();
    world
        .until("Jaeger answers", async || {
            asking.get(format!("{page}/api/services")).send().await.ok().map(|_| ())
        })
        .await;
    world.settings = format!("providers: [{{ name: main, jaeger: {{ url: \"{page}\" }} }}]\n");
    let target = json!({ "process": {
        "command": [BINARY, "demo-service", "--config", "shop/service.yaml"],
        "environment": { "OTEL_EXPORTER_OTLP_ENDPOINT": format!("http://127.0.0.1:{}", ports[1]) },
        "health": "/healthz", "startTimeout": "10s", "stopGrace": "2s",
    } });
    let policy =
        world.policy().with("target", &target.to_string()).with("traces", "{ provider: main }");
    world.open_shop(&policy).await;
    let bad = world.forge.version("shop", "Add gift cards", &version(0.3, "Gift cards"));
    let ended = world.ends(&bad, "rolledBack").await;
    assert_eq!(ended["git"]["undone"], true, "{ended:#}");
    says(text(&ended["cause"]), &["ShopError", "shop/service.yaml:3", &bad[..7]]);
    let (_, message) = &world.forge.log()[0];
    says(message, &["\nCause:\n", "ShopError", "\n  operation ", "\n  request "]);
    says(message, &[&format!("  {page}/trace/")]);
    let story = world.get(&format!("/api/v1/deployments/{}", text(&ended["id"]))).await;
    let links = story["cause"]["links"].to_string();
    says(&links, &["both example traces in main", &format!("{page}/trace/"), "..."]);
    // Both examples can be opened there.
    for arm in ["baseline", "canary"] {
        let trace = text(&story["cause"][arm]["trace"]).to_owned();
        let answer = asking.get(format!("{page}/api/traces/{trace}")).send().await;
        assert!(answer.is_ok_and(|answer| answer.status().is_success()), "{arm} {trace}");
    }
}
