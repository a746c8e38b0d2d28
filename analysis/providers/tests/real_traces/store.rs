//! The stores as programs of their own, on loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use analysis_providers::spans::{self, Limits};
use analysis_providers::traces::{JaegerSettings, TraceStore, ZipkinSettings, jaeger, zipkin};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::planted::Planted;

/// Longest wait for a program to answer, or to show what was pushed.
const BOUND: Duration = Duration::from_secs(60);

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Jaeger2,
    Jaeger1,
    Zipkin,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Jaeger2 => "jaeger",
            Self::Jaeger1 => "jaeger-all-in-one",
            Self::Zipkin => "zipkin",
        }
    }

    fn path(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        let mut files = std::env::split_paths(&path).map(|folder| folder.join(self.name()));
        files.find(|file| file.is_file())
    }

    /// Its arguments, with what it keeps in `folder`; answers at the first port, takes spans in at the second.
    fn arguments(self, folder: &Path, [answers, takes]: [u16; 2]) -> Vec<String> {
        let address = |port: u16| format!("127.0.0.1:{port}");
        match self {
            Self::Jaeger2 => {
                let configuration = json!({
                    "service": {
                        "extensions": ["jaeger_storage", "jaeger_query"],
                        "pipelines": { "traces": {
                            "receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"],
                        } },
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
                let file = folder.join("jaeger.yaml");
                // JSON is YAML.
                std::fs::write(&file, configuration.to_string()).unwrap();
                vec!["--config".into(), file.display().to_string()]
            }
            Self::Jaeger1 => {
                let mut arguments = vec![
                    format!("--query.http-server.host-port={}", address(answers)),
                    format!("--collector.otlp.http.host-port={}", address(takes)),
                    "--collector.queue-size=100000".to_owned(),
                    "--log-level=error".to_owned(),
                ];
                let others = ["admin.http", "collector.grpc-server", "collector.http-server"];
                let more = ["collector.otlp.grpc", "query.grpc-server"];
                for name in others.into_iter().chain(more) {
                    arguments.push(format!("--{name}.host-port={}", address(free_port())));
                }
                arguments
            }
            Self::Zipkin => vec![
                "--armeria.ports[0].address=127.0.0.1".to_owned(),
                format!("--armeria.ports[0].port={answers}"),
                "--armeria.ports[0].protocols[0]=HTTP".to_owned(),
                "--logging.level.root=ERROR".to_owned(),
            ],
        }
    }
}

/// The port is free a moment before the program takes it.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The running program; ended when the test ends in any way.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after the wait.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A store that holds its spans in memory.
#[derive(Debug)]
pub(crate) struct Store {
    program: Program,
    ports: [u16; 2],
    client: reqwest::Client,
    running: Option<Running>,
    _folder: TempDir,
}

impl Store {
    /// Starts one; `None`, with a line that says so, where the program is not installed.
    #[expect(clippy::print_stderr, reason = "says what was left out where the program is missing")]
    pub(crate) async fn start(program: Program) -> Option<Self> {
        let Some(path) = program.path() else {
            eprintln!(
                "left out: the test against a real {program:?}, as no program `{}` is on the path",
                program.name()
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port()];
        let child = Command::new(path)
            .args(program.arguments(folder.path(), ports))
            // Jaeger traces itself, and would send that to whoever listens at the usual port.
            .env("OTEL_TRACES_SAMPLER", "always_off")
            .env("SPAN_STORAGE_TYPE", "memory")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let running = Some(Running(child.unwrap()));
        let store = Self { program, ports, client, running, _folder: folder };
        let path = match program {
            Program::Jaeger2 | Program::Jaeger1 => "api/services",
            Program::Zipkin => "health",
        };
        store.until("it answers", async || store.get(path, &[]).await.map(|_| ())).await;
        Some(store)
    }

    /// Ends the program.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// What is tested.
    pub(crate) fn reader(&self) -> Arc<dyn TraceStore> {
        let reader = match self.program {
            Program::Jaeger2 | Program::Jaeger1 => {
                jaeger(JaegerSettings::new(self.url(), Timestamp::now))
            }
            Program::Zipkin => zipkin(ZipkinSettings::new(self.url(), Timestamp::now)),
        };
        reader.unwrap()
    }

    /// Pushes all spans and waits until all can be found.
    pub(crate) async fn push(&self, planted: &Planted) {
        let (port, path, bodies): (_, _, Vec<Value>) = match self.program {
            Program::Jaeger2 | Program::Jaeger1 => {
                (self.ports[1], "v1/traces", planted.otlp().collect())
            }
            Program::Zipkin => (self.ports[0], "api/v2/spans", planted.zipkin().collect()),
        };
        let url = format!("http://127.0.0.1:{port}/{path}");
        for body in bodies {
            let answer = self.client.post(&url).json(&body).send().await.unwrap();
            answer.error_for_status().unwrap();
        }
        self.until("all spans can be found", async || {
            let found = match self.program {
                Program::Jaeger2 | Program::Jaeger1 => {
                    let query = [("service", "gateway"), ("limit", "90000"), ("lookback", "1h")];
                    let body = json(&self.get("api/traces", &query).await?);
                    let traces = body["data"].as_array().cloned().unwrap_or_default();
                    traces.iter().filter_map(|trace| trace["spans"].as_array()).map(Vec::len).sum()
                }
                Program::Zipkin => {
                    let query = [("serviceName", "gateway"), ("limit", "90000")];
                    let body = json(&self.get("api/v2/traces", &query).await?);
                    let traces = body.as_array().cloned().unwrap_or_default();
                    traces.iter().filter_map(Value::as_array).map(Vec::len).sum::<usize>()
                }
            };
            assert!(found <= planted.count(), "{found}");
            (found == planted.count()).then_some(())
        })
        .await;
    }

    /// The answer of Jaeger's API v3, which this version of it cannot be searched by: its form is the newer ones' too.
    pub(crate) async fn answers_of_version_3(&self, planted: &Planted, ended: Timestamp) {
        if self.program == Program::Zipkin {
            return;
        }
        let (from, to) = ((ended - super::LASTED).to_string(), ended.to_string());
        let query = [
            ("query.service_name", "gateway"),
            ("query.start_time_min", &from),
            ("query.start_time_max", &to),
            ("query.num_traces", "90000"),
        ];
        let body = self.get("api/v3/traces", &query).await.unwrap();
        let limits = Limits { max_bytes: 64 << 20, max_spans: 100_000, ..Limits::default() };
        let decoded = spans::jaeger(&body, &limits).unwrap();
        assert_eq!(decoded.refused.total(), 0, "{:?}", decoded.refused.told());
        assert_eq!(decoded.spans.len(), planted.count());
    }

    /// The body of a success.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Vec<u8>> {
        let request = self.client.get(format!("{}/{path}", self.url())).query(query);
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        Some(answer.bytes().await.ok()?.to_vec())
    }

    async fn until(&self, what: &str, look: impl AsyncFn() -> Option<()>) {
        let begun = Instant::now();
        while look().await.is_none() {
            assert!(begun.elapsed() < BOUND, "{:?}: not in time: {what}", self.program);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}
