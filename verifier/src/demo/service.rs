//! The service that `serin demo` deploys: a web shop in miniature whose faults are configuration.
//!
//! The demo must show real commits, real processes and real requests on a machine with nothing but
//! this binary, so the binary itself is the service, and what a commit changes is the file that it
//! reads from its checkout. Latencies are slept, not worked for: the demo then leaves the processor
//! to the proxy and to the analysis.

mod counts;
mod dependency;
mod dice;

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use self::counts::Counts;
pub use self::dependency::Dependency;
use self::dice::Dice;

/// Header in which the service says which version has answered.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by-revision");
/// No request takes longer, however the latencies are configured: a stop of the service waits for
/// requests in flight.
const LONGEST_LATENCY: Duration = Duration::from_secs(2);
/// Longest wait for the shared dependency.
const DEPENDENCY_PATIENCE: Duration = Duration::from_secs(1);
/// A configuration is some ten lines; a larger file is another one.
const LARGEST_FILE: u64 = 64 * 1024;
/// Quantile 0.95 of the standard normal distribution: above it a request counts as slow.
const SLOW_FROM: f64 = 1.644_853_626_951_472_7;
/// Quantile 0.99 of the standard normal distribution.
const P99: f64 = 2.326_347_874_040_840_8;
/// What one version of the service does, as its file in the checkout says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceConfig {
    /// Paths that are answered, each beginning with `/`; others are not found.
    pub routes: Vec<String>,
    /// Share of requests that fail with 500, from 0 to 1.
    #[serde(default)]
    pub error_share: f64,
    /// How long requests take.
    pub latency: Latency,
    /// Address that is asked once for each request; when it fails the answer is 502.
    #[serde(default)]
    pub dependency: Option<String>,
    /// The revision that the service says it is; not from the file, since a commit cannot name
    /// itself.
    #[serde(skip)]
    pub revision: Option<String>,
}

/// A log-normal distribution of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Latency {
    /// Half of all requests are faster; milliseconds above 0.
    pub median_ms: f64,
    /// One request in a hundred is slower; milliseconds, at least the median.
    pub p99_ms: f64,
    /// Factor by which the slowest one in a hundred are slower still, at least 1. It fades out to
    /// nothing at the 95th percentile, so the median stays where it is. Default 1.
    #[serde(default = "one")]
    pub slow_tail: f64,
}

fn one() -> f64 {
    1.0
}

impl ServiceConfig {
    /// Reads a configuration from a YAML or JSON file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is not a configuration, or holds a value that makes no sense; the
    /// text names the file and the place.
    pub async fn read(path: &Path) -> io::Result<Self> {
        let wrong = |what: String| {
            let text = format!("{}: {what}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let metadata = tokio::fs::metadata(path).await.map_err(|e| wrong(e.to_string()))?;
        if metadata.len() > LARGEST_FILE {
            return Err(wrong(format!("longer than {LARGEST_FILE} bytes")));
        }
        let text = tokio::fs::read_to_string(path).await.map_err(|e| wrong(e.to_string()))?;
        let config: Self = serde_saphyr::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        config.validate().map_err(wrong)?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        if self.routes.is_empty() || !self.routes.iter().all(|route| route.starts_with('/')) {
            return Err("routes: write at least one path, each beginning with `/`".to_owned());
        }
        if !(0.0..=1.0).contains(&self.error_share) {
            return Err(format!("errorShare: {} is not from 0 to 1", self.error_share));
        }
        let Latency { median_ms, p99_ms, slow_tail } = self.latency;
        let ordered = 0.0 < median_ms && median_ms <= p99_ms && p99_ms.is_finite();
        if !ordered {
            return Err("latency: write 0 < medianMs <= p99Ms".to_owned());
        }
        if !(1.0..=100.0).contains(&slow_tail) {
            return Err(format!("latency.slowTail: {slow_tail} is not from 1 to 100"));
        }
        Ok(())
    }
}

impl Latency {
    /// The latency whose normal score is `z`: 0 for the median, 2.33 for the 99th percentile.
    fn at(self, z: f64) -> Duration {
        let sigma = (self.p99_ms / self.median_ms).ln() / P99;
        let slow = ((z - SLOW_FROM) / (P99 - SLOW_FROM)).clamp(0.0, 1.0);
        let ms = self.median_ms * (sigma * z).exp() * (1.0 + (self.slow_tail - 1.0) * slow);
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(LONGEST_LATENCY).min(LONGEST_LATENCY)
    }
}

/// Serves on a port of the loopback address until SIGTERM, then finishes what is in flight.
///
/// Dropping the future ends the listener; open connections end with the process.
///
/// # Errors
///
/// The configuration makes no sense, the port is taken, or a signal cannot be awaited.
pub async fn serve(config: ServiceConfig, port: u16) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    serve_until(config, listener, async move {
        terminate.recv().await;
    })
    .await
}

async fn serve_until(
    config: ServiceConfig,
    listener: TcpListener,
    until: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    config.validate().map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    let seed = u64::from(listener.local_addr()?.port());
    let served_by = config
        .revision
        .as_deref()
        .map(HeaderValue::from_str)
        .transpose()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let shop = Arc::new(Shop {
        config,
        served_by,
        client: client(DEPENDENCY_PATIENCE)?,
        dice: Dice::new(seed),
        counts: Counts::default(),
    });
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .fallback(buy)
        .with_state(shop);
    axum::serve(listener, router).with_graceful_shutdown(until).await
}

/// A client for plain HTTP between parts of the demo: no proxy, no redirects, no certificates.
pub(crate) fn client(patience: Duration) -> io::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .no_gzip()
        .http1_only()
        .tls_certs_only([])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(patience)
        .build()
        .map_err(io::Error::other)
}

struct Shop {
    config: ServiceConfig,
    served_by: Option<HeaderValue>,
    client: reqwest::Client,
    dice: Dice,
    counts: Counts,
}

/// Any request but those for health and metrics.
async fn buy(State(shop): State<Arc<Shop>>, uri: Uri) -> Response {
    let began = Instant::now();
    let in_flight = shop.counts.enter();
    let code = shop.work(uri.path()).await;
    drop(in_flight);
    shop.counts.count(code, began.elapsed());
    let text = match code {
        StatusCode::OK => "sold\n",
        StatusCode::NOT_FOUND => "no such page\n",
        StatusCode::BAD_GATEWAY => "the price service failed\n",
        _ => "this version is broken\n",
    };
    let mut response = (code, text).into_response();
    if let Some(revision) = &shop.served_by {
        response.headers_mut().insert(SERVED_BY, revision.clone());
    }
    response
}

async fn metrics(State(shop): State<Arc<Shop>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shop.counts.text())
}

impl Shop {
    async fn work(&self, path: &str) -> StatusCode {
        if !self.config.routes.iter().any(|route| route == path) {
            return StatusCode::NOT_FOUND;
        }
        sleep(self.config.latency.at(self.dice.normal())).await;
        if let Some(dependency) = &self.config.dependency {
            let asked = self.client.get(dependency).send().await;
            // The body is read so that the connection can be used again.
            let answered = match asked.and_then(reqwest::Response::error_for_status) {
                Ok(response) => response.bytes().await.is_ok(),
                Err(_) => false,
            };
            if !answered {
                return StatusCode::BAD_GATEWAY;
            }
        }
        if self.dice.uniform() < self.config.error_share {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        StatusCode::OK
    }
}

#[cfg(test)]
mod tests;
