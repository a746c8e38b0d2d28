//! The service that `serin demo` deploys: a web shop in miniature whose faults are configuration.
//!
//! The demo must show real commits, real processes and real requests on a machine with nothing but
//! this binary, so the binary itself is the service, and what a commit changes is the file that it
//! reads from its checkout. Latencies are slept, not worked for: the demo then leaves the processor
//! to the proxy and to the analysis.

mod config;
mod counts;
mod dependency;
mod dice;
mod query;
mod spans;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::config::Lines;
pub use self::config::{Latency, ServiceConfig};
use self::counts::Counts;
pub use self::dependency::Dependency;
use self::dice::Dice;
use self::query::Asks;
pub use self::query::Query;
pub use self::spans::Telemetry;
use self::spans::{About, Exporter, Trace, number, place, text};

/// Header in which the service says which version has answered.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by-revision");
/// Longest wait for the shared dependency.
const DEPENDENCY_PATIENCE: Duration = Duration::from_secs(1);
/// How long one query for prices takes on average; each between half and one and a half of it.
const QUERY: Duration = Duration::from_micros(700);
/// The smallest cart, and how many sizes there are: 16 lines on average.
const CARTS: (u32, f64) = (4, 25.0);
/// What people read who meet the share of requests that fails.
const BROKEN: &str = "this version is broken";

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

/// The same on a listener, until something happens.
pub(super) async fn serve_until(
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
    let exporter = config.telemetry.clone().map(Exporter::new).transpose()?.map(Arc::new);
    let (mut exporting, stop) = (JoinSet::new(), Arc::new(Notify::new()));
    if let Some(exporter) = &exporter {
        exporting.spawn(exporter.clone().run(stop.clone()));
    }
    let shop = Arc::new(Shop {
        config,
        exporter: exporter.clone(),
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
    axum::serve(listener, router).with_graceful_shutdown(until).await?;
    stop.notify_one();
    while exporting.join_next().await.is_some() {}
    if let Some(exporter) = exporter
        && let Err(why) = exporter.send().await
    {
        crate::cli::complain(&format!("the last spans are lost: {why}"));
    }
    Ok(())
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
    exporter: Option<Arc<Exporter>>,
    served_by: Option<HeaderValue>,
    client: reqwest::Client,
    dice: Dice,
    counts: Counts,
}

/// Any request but those for health and metrics.
async fn buy(State(shop): State<Arc<Shop>>, uri: Uri, headers: HeaderMap) -> Response {
    let began = Instant::now();
    let in_flight = shop.counts.enter();
    let exporter = shop.exporter.as_deref();
    let mut trace = exporter.and_then(|exporter| Trace::begin(exporter, &shop.dice, &headers));
    let cart = shop.cart();
    let code = shop.work(uri.path(), cart, trace.as_mut()).await;
    drop(in_flight);
    shop.counts.count(code, began.elapsed());
    let text = match code {
        StatusCode::OK => "sold",
        StatusCode::NOT_FOUND => "no such page",
        StatusCode::BAD_GATEWAY => "the price service failed",
        _ => BROKEN,
    };
    if let Some(trace) = trace {
        trace.end(about(uri.path(), cart, code, text));
    }
    let mut response = (code, format!("{text}\n")).into_response();
    if let Some(revision) = &shop.served_by {
        response.headers_mut().insert(SERVED_BY, revision.clone());
    }
    response
}

async fn metrics(State(shop): State<Arc<Shop>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shop.counts.text())
}

impl Shop {
    /// Lines of the next cart.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of 25 is a small whole number"
    )]
    fn cart(&self) -> u32 {
        CARTS.0 + (self.dice.uniform() * CARTS.1) as u32
    }

    async fn work(&self, path: &str, cart: u32, mut trace: Option<&mut Trace<'_>>) -> StatusCode {
        if !self.config.routes.iter().any(|route| route == path) {
            return StatusCode::NOT_FOUND;
        }
        sleep(self.config.latency.at(self.dice.normal())).await;
        if let Some(query) = &self.config.query {
            self.price(query, cart, trace.as_deref_mut()).await;
        }
        if let Some(dependency) = &self.config.dependency
            && !self.ask(dependency, trace.as_deref_mut()).await
        {
            return StatusCode::BAD_GATEWAY;
        }
        if self.sell(trace) { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }
    }

    /// Takes the payment; whether it worked.
    fn sell(&self, trace: Option<&mut Trace<'_>>) -> bool {
        let failed = (self.dice.uniform() < self.config.error_share).then_some(BROKEN);
        if let Some(trace) = trace {
            let Lines { file, error_share, .. } = &self.config.lines;
            let attributes = place(file, *error_share, "errorShare").to_vec();
            let (name, kind) = ("take the payment".to_owned(), SpanKind::Internal);
            trace.add(trace.root(), Instant::now(), About { name, kind, attributes, failed });
        }
        failed.is_none()
    }

    /// Looks the prices of a cart up, as often as the query asks.
    async fn price(&self, query: &Query, cart: u32, mut trace: Option<&mut Trace<'_>>) {
        let began = Instant::now();
        let id = trace.as_deref().map(Trace::reserve);
        let calls = match query.asks {
            Asks::Once => 1,
            Asks::ForEachLine => cart,
        };
        // The ends are planned one after the other, so that the clock's coarseness does not add up.
        let mut end = began;
        for _ in 0..calls {
            let from = Instant::now();
            end += QUERY.mul_f64(0.5 + self.dice.uniform());
            sleep_until(end).await;
            if let (Some(trace), Some(id)) = (trace.as_deref_mut(), id) {
                trace.add(id, from, select(query));
            }
        }
        if let (Some(trace), Some(id)) = (trace, id) {
            let (name, kind) = ("price the cart".to_owned(), SpanKind::Internal);
            let about = About { name, kind, attributes: Vec::new(), failed: None };
            trace.add_as(id, trace.root(), began, about);
        }
    }

    /// Asks the shared dependency; whether it answered well.
    async fn ask(&self, dependency: &str, trace: Option<&mut Trace<'_>>) -> bool {
        let began = Instant::now();
        let asked = self.client.get(dependency).send().await;
        // The body is read so that the connection can be used again.
        let answered = match asked.and_then(reqwest::Response::error_for_status) {
            Ok(response) => response.bytes().await.is_ok(),
            Err(_) => false,
        };
        if let Some(trace) = trace {
            let mut attributes = vec![
                text("http.request.method", "GET"),
                text("url.full", dependency),
                text("peer.service", "price-service"),
            ];
            let Lines { file, dependency, .. } = &self.config.lines;
            attributes.extend(place(file, *dependency, "dependency"));
            let failed = (!answered).then_some("the price service failed");
            let (name, kind) = ("GET /price".to_owned(), SpanKind::Client);
            trace.add(trace.root(), began, About { name, kind, attributes, failed });
        }
        answered
    }
}

/// What the request's own span says.
fn about(path: &str, cart: u32, code: StatusCode, said: &'static str) -> About {
    let mut attributes = vec![
        text("http.request.method", "GET"),
        text("url.path", path),
        number("http.response.status_code", code.as_u16().into()),
        number("cart.lines", cart),
    ];
    let mut name = "GET".to_owned();
    if code != StatusCode::NOT_FOUND {
        attributes.push(text("http.route", path));
        name = format!("GET {path}");
    }
    let failed = code.is_server_error().then_some(said);
    About { name, kind: SpanKind::Server, attributes, failed }
}

/// What one query's span says.
fn select(query: &Query) -> About {
    let mut attributes = vec![
        text("db.system.name", "postgresql"),
        text("db.operation.name", "SELECT"),
        text("db.collection.name", &query.table),
        text("db.query.text", &query.text),
    ];
    attributes.extend(place(&query.file, query.line, &query.name));
    let name = format!("SELECT {}", query.table);
    About { name, kind: SpanKind::Client, attributes, failed: None }
}

#[cfg(test)]
mod tests;
