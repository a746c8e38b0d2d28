//! Serin's own logs and traces: sentences with fields on standard error or in a file, and spans over
//! OTLP when an endpoint is set.

pub mod metrics;
mod process;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Where logs go.
#[derive(Debug, Clone)]
pub enum Logs {
    /// Standard error.
    Terminal,
    /// A file, where the terminal shows something else.
    File(PathBuf),
}

/// Ends what telemetry holds back: the last spans.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends the last spans, for a few seconds at most.
    pub fn end(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            crate::cli::complain(&format!("the last traces were not sent: {error}"));
        }
    }
}

/// Begins to log, and to trace where `otlp` names an endpoint such as `http://127.0.0.1:4318`.
///
/// `RUST_LOG` sets what is logged, e.g. `debug` or `verifier=debug`. What cannot be set up is said
/// on standard error and left out: telemetry never keeps Serin from its work.
pub fn start(otlp: Option<&str>, logs: Logs) -> Telemetry {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,hyper=warn"));
    let layer = tracing_subscriber::fmt::layer().with_target(false);
    let logs = match logs {
        Logs::Terminal => {
            layer.with_writer(std::io::stderr).with_ansi(crate::cli::colourful()).boxed()
        }
        Logs::File(path) => match File::create(&path) {
            Ok(file) => layer.with_ansi(false).with_writer(Arc::new(file)).boxed(),
            Err(error) => {
                crate::cli::complain(&format!(
                    "failed to write the log {}: {error}",
                    path.display()
                ));
                layer.with_writer(std::io::sink).boxed()
            }
        },
    };
    let provider = otlp.and_then(exporter);
    let traces = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("serin")));
    let registry = tracing_subscriber::registry().with(filter).with(logs).with(traces);
    if registry.try_init().is_err() {
        crate::cli::complain("another part of this program logs already; its way is kept");
    }
    Telemetry(provider)
}

fn exporter(endpoint: &str) -> Option<SdkTracerProvider> {
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let built = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&endpoint)
        .build();
    match built {
        Ok(exporter) => {
            let resource = Resource::builder().with_service_name("serin").build();
            Some(
                SdkTracerProvider::builder()
                    .with_batch_exporter(exporter)
                    .with_resource(resource)
                    .build(),
            )
        }
        Err(error) => {
            crate::cli::complain(&format!("traces are not sent to {endpoint}: {error}"));
            None
        }
    }
}
