//! The page and the HTTP API: what Serin knows, and the buttons that people press.
//!
//! Everything shown is read from the board and the journal, never from the driver's own state, so
//! that no number of readers can hold a rollback up. Orders go to the driver's inbox like any event.

mod access;
mod api;
mod assets;
mod bundle;
mod chart;
mod hooks;
mod orders;
pub(crate) mod otlp;
mod pages;
mod past;
mod probes;
mod problem;
mod rum;
mod serve;
mod shapes;
mod show;
mod stream;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use analysis_providers::Rum;
use analysis_providers::intake::Intake;
use analysis_providers::otlp::Otlp;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rollout_routers::Proxy;
use tokio::sync::{Notify, Semaphore, watch};

pub(crate) use self::access::bearer;
use self::problem::Problem;
pub use self::serve::serve;
pub(crate) use self::serve::{HEAD, serve_router};
use crate::board::Board;
use crate::config::Instance;
use crate::driver::Inbox;
use crate::journal::Reader;
use crate::perform::Performer;
use crate::run::Handle;

/// Bytes of a body other than a webhook's: an order is some hundred bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// Longest wait for the head of an answer; the journal answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// No script, style, frame or connection from elsewhere, and nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the handlers share.
pub struct App {
    board: Arc<Board>,
    inbox: Inbox,
    reader: Reader,
    nudge: Arc<Notify>,
    proxy: Proxy,
    performer: Arc<Performer>,
    access: access::Access,
    hooks: hooks::Hooks,
    pages: pages::Pages,
    stories: past::Stories,
    endings: past::Endings,
    streams: Arc<Semaphore>,
    pushed: Arc<otlp::Receiver>,
    rum: Option<Arc<Rum>>,
    stopping: watch::Sender<bool>,
}

impl App {
    /// The page of this instance; `public_url` is how people reach it.
    pub fn new(
        instance: &Instance,
        handle: Handle,
        performer: Arc<Performer>,
        public_url: String,
    ) -> Self {
        let Handle { board, inbox, reader, nudge, proxy, address: _ } = handle;
        Self {
            access: access::Access::new(instance.api_token.clone(), public_url),
            hooks: hooks::Hooks::new(instance),
            pages: pages::Pages::new(),
            stories: past::Stories::new(reader.clone(), board.clone()),
            endings: past::Endings::new(reader.clone()),
            streams: Arc::new(Semaphore::new(stream::MOST_STREAMS)),
            pushed: Arc::default(),
            rum: instance.rum.clone().map(|settings| Arc::new(Rum::new(settings))),
            stopping: watch::Sender::new(false),
            performer,
            board,
            inbox,
            reader,
            nudge,
            proxy,
        }
    }

    /// Hands what browsers report to this provider, the one that is measured, in place of one of its own.
    #[must_use]
    pub fn with_rum(mut self, rum: Option<Arc<Rum>>) -> Self {
        self.rum = rum;
        self
    }

    /// Hands metrics that services push to this provider; without it they are taken in and not used.
    #[must_use]
    pub fn with_otlp(mut self, otlp: Arc<Otlp>) -> Self {
        self.pushed = Arc::new(self.pushed.with_metrics(otlp));
        self
    }

    /// Hands spans that services push to this intake; without it they are taken in and not used.
    #[must_use]
    pub fn with_traces(mut self, intake: Arc<Intake>) -> Self {
        self.pushed = Arc::new(self.pushed.with_traces(intake));
        self
    }

    /// Where pushes go, for other doors than this one.
    pub(crate) fn pushed(&self) -> Arc<otlp::Receiver> {
        self.pushed.clone()
    }
}

fn router(app: Arc<App>) -> Router {
    let hooks = Router::new()
        .route("/hooks/generic", post(hooks::generic))
        .layer(DefaultBodyLimit::max(hooks::LARGEST_BODY));
    let guarded = Router::new()
        .route("/", get(pages::overview))
        .route("/services/{name}", get(pages::service).post(orders::from_service_page))
        .route("/deployments/{id}", get(pages::deployment).post(orders::from_deployment_page))
        .route("/login", get(access::login_page).post(access::login))
        .route("/logout", post(access::logout))
        .route("/static/{hash}/{name}", get(assets::get))
        .route("/favicon.ico", get(assets::favicon))
        .route("/api/v1/services", get(api::services))
        .route("/api/v1/services/{name}", get(api::service))
        .route("/api/v1/services/{name}/actions", post(orders::to_service))
        .route("/api/v1/deployments", get(api::deployments))
        .route("/api/v1/deployments/{id}", get(api::deployment))
        .route("/api/v1/deployments/{id}/bundle", get(bundle::of_deployment))
        .route("/api/v1/deployments/{id}/actions", post(orders::to_deployment))
        .route("/api/v1/stream", get(stream::updates))
        .route("/api/v1/rum", get(rum::counts))
        .route("/api/v1/prometheus-targets", get(probes::targets))
        .route("/api/v1/openapi.json", get(api::openapi))
        .route("/metrics", get(probes::metrics))
        .route("/healthz", get(probes::alive))
        .route("/readyz", get(probes::ready))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .merge(hooks)
        // They bound their bodies themselves.
        .route("/v1/metrics", post(otlp::metrics))
        .route("/v1/traces", post(otlp::traces))
        .layer(middleware::from_fn(in_time))
        .layer(middleware::from_fn_with_state(app.clone(), access::guard));
    // Doors for pages of others, which the settings list, stand outside the guard; what is found nowhere does not.
    rum::doors()
        .layer(middleware::from_fn(in_time))
        .merge(guarded)
        .layer(middleware::from_fn_with_state(app.clone(), present))
        .with_state(app)
}

/// Whether programs ask here, so that errors are JSON.
fn for_programs(path: &str) -> bool {
    ["/api/", "/hooks/", "/v1/", "/metrics", "/healthz", "/readyz", "/static/"]
        .iter()
        .any(|start| path.starts_with(start))
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(PATIENCE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::slow().into_response(),
    }
}

/// Gives every answer its security headers, and every error its form: JSON or a page.
async fn present(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let status = response.status();
    let is_page = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"text/html"));
    let is_final = is_page || response.extensions().get::<otlp::Answer>().is_some();
    if (status.is_client_error() || status.is_server_error()) && !is_final {
        let problem = response.extensions().get::<Problem>().cloned();
        let problem = problem.unwrap_or_else(|| Problem::of_status(status, &path));
        let allowed = response.headers().get(header::ALLOW).cloned();
        response = if for_programs(&path) {
            problem.into_response()
        } else {
            app.pages.problem(&app, problem)
        };
        if let Some(allowed) = allowed {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
    }
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    // Everything but the static files changes from one moment to the next.
    set(header::CACHE_CONTROL, "no-store");
    response
}
