//! The services: what each version counts, shown on pages as client libraries write them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::protobuf::{self, Durations};

/// What one version of one service counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Version {
    pub(crate) good: u64,
    pub(crate) bad: u64,
    pub(crate) slow: u64,
    pub(crate) started: u64,
    /// Of the protobuf page, by status.
    pub(crate) durations: BTreeMap<String, Durations>,
    /// The process is not there.
    pub(crate) down: bool,
}

/// All versions by `service-version`, and where they are scraped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exporter {
    versions: Arc<Mutex<BTreeMap<String, Version>>>,
    pub(crate) address: String,
}

impl Exporter {
    pub(crate) async fn start(versions: impl IntoIterator<Item = (&str, Version)>) -> Self {
        let versions = versions.into_iter().map(|(name, version)| (name.to_owned(), version));
        let mut exporter =
            Self { versions: Arc::new(Mutex::new(versions.collect())), address: String::new() };
        let app = axum::Router::new()
            .route("/text/{name}", axum::routing::get(text))
            .route("/native/{name}", axum::routing::get(native))
            .with_state(exporter.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        exporter.address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        exporter
    }

    pub(crate) fn versions(&self) -> MutexGuard<'_, BTreeMap<String, Version>> {
        self.versions.lock().unwrap()
    }

    /// The configuration of a store that scrapes all of them every second.
    pub(crate) fn scraped(&self, format: &str) -> String {
        let versions = self.versions();
        let jobs = versions.keys().map(|name| {
            let (service, version) = name.split_once('-').unwrap();
            format!(
                "- job_name: {name}\n  metrics_path: /{format}/{name}\n  \
                 static_configs: [{{targets: ['{}'], \
                 labels: {{service: {service}, version: {version}}}}}]\n",
                self.address
            )
        });
        let jobs: String = jobs.collect();
        format!("global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs}")
    }

    fn one(&self, name: &str) -> Option<Version> {
        self.versions().get(name).filter(|version| !version.down).cloned()
    }
}

async fn text(State(exporter): State<Exporter>, Path(name): Path<String>) -> Response {
    let Some(Version { good, bad, slow, started, .. }) = exporter.one(&name) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let all = good + bad;
    let fast = all - slow;
    // The first failure makes its series, as with real client libraries.
    let failures = if bad == 0 {
        String::new()
    } else {
        format!("http_requests_total{{code=\"500\",path=\"/buy\"}} {bad}\n")
    };
    format!(
        "process_start_time_seconds {started}\n\
         http_requests_total{{code=\"200\",path=\"/buy\"}} {good}\n\
         http_requests_total{{code=\"200\",path=\"/metrics\"}} 7\n{failures}\
         http_request_duration_seconds_bucket{{le=\"0.1\"}} {fast}\n\
         http_request_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n\
         http_request_duration_seconds_sum 3\n\
         http_request_duration_seconds_count {all}\n"
    )
    .into_response()
}

async fn native(State(exporter): State<Exporter>, Path(name): Path<String>) -> Response {
    let Some(version) = exporter.one(&name) else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let page = protobuf::page(version.started, &version.durations);
    Response::builder()
        .header("content-type", protobuf::CONTENT_TYPE)
        .body(Body::from(page))
        .unwrap()
}
