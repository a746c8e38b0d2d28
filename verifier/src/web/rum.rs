//! `/v1/rum`: where browsers report what pages were like for the people who looked at them.
//!
//! Unlike everything else here these doors are for pages of others, so they stand outside the guard of the page and
//! the API: the list of origins in serin.yaml decides, and what they answer tells nothing. A page sends its last
//! beacon while it closes and reads no answer; senders that do, as Grafana Faro, honour 429 with `Retry-After`.

use std::sync::{Arc, LazyLock};

use analysis_providers::Rum;
use analysis_providers::rum::{Arrival, MOST_BYTES, Refused, RumCounts, Taken};
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::App;
use super::problem::Problem;
use crate::clock::now;

/// What pages include, without what only its readers need.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    let lines = include_str!("assets/serin-rum.js").lines().map(str::trim_start);
    lines.filter(|line| !line.starts_with("//")).flat_map(|line| [line, "\n"]).collect()
});

/// Headers that a page may send with a beacon; those of Faro and of traces.
const HEADERS: &str = "content-type, content-encoding, x-api-key, x-faro-session-id, traceparent, tracestate, baggage";

/// How Serin's own journeys name themselves.
const JOURNEYS: &str = "serin-journey/";

/// The doors for pages.
pub(super) fn doors() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/rum/faro", post(faro).options(preflight))
        .route("/v1/rum/vitals", post(vitals).options(preflight))
        .route("/v1/rum/serin-rum.js", get(script))
}

/// What may stand in the address, for senders that cannot set headers or fields.
#[derive(Deserialize, Default)]
struct Asked {
    app: Option<String>,
    version: Option<String>,
    key: Option<String>,
}

type Receive = fn(&Rum, &Arrival<'_>, Timestamp) -> Result<Taken, Refused>;

/// `POST /v1/rum/faro`.
async fn faro(State(app): State<Arc<App>>, request: Request) -> Response {
    take(&app, request, Rum::receive_faro).await
}

/// `POST /v1/rum/vitals`.
async fn vitals(State(app): State<Arc<App>>, request: Request) -> Response {
    take(&app, request, Rum::receive_vitals).await
}

async fn take(app: &App, request: Request, receive: Receive) -> Response {
    let Some(rum) = &app.rum else { return closed().into_response() };
    let (parts, body) = request.into_parts();
    let allowed = allowed(rum, &parts.headers);
    let Query(asked) = Query::<Asked>::try_from_uri(&parts.uri).unwrap_or_default();
    let mut response = match read(&parts.headers, body).await {
        Ok(body) => {
            let header = |name: &str| text(&parts.headers, name);
            let arrival = Arrival {
                body: &body,
                encoding: header("content-encoding"),
                origin: header("origin"),
                key: header("x-api-key").or(asked.key.as_deref()),
                app: asked.app.as_deref(),
                version: asked.version.as_deref(),
                synthetic: is_synthetic(&parts.headers),
            };
            answer(receive(rum, &arrival, now()))
        }
        Err(problem) => problem.into_response(),
    };
    cors(&mut response, allowed);
    response
}

fn answer(taken: Result<Taken, Refused>) -> Response {
    let refused = match taken {
        Ok(taken) => {
            if !taken.left_out.is_empty() {
                tracing::debug!(left_out = taken.left_out.join("; "), "a beacon was taken in part");
            }
            return StatusCode::ACCEPTED.into_response();
        }
        Err(refused) => refused,
    };
    tracing::debug!(%refused, "a beacon was refused");
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let text = refused.to_string();
    // The texts are made of what is wrong and what to do.
    let (error, hint) =
        text.split_once("; ").unwrap_or((&text, "see \"Real users\" in the README"));
    let mut response = Problem::new(status, error, hint).into_response();
    if let Refused::TooOften { retry_after } = refused {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    }
    response
}

/// `OPTIONS`: whether a page may report here, asked by its browser.
async fn preflight(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let Some(rum) = &app.rum else { return closed().into_response() };
    let Some(origin) = allowed(rum, &headers) else {
        let shown = text(&headers, "origin").unwrap_or_default().to_owned();
        return answer(Err(Refused::Origin(shown.chars().take(80).collect())));
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    cors(&mut response, Some(origin));
    let mut set = |name, value| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    set(header::ACCESS_CONTROL_ALLOW_METHODS, "POST");
    set(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    set(header::ACCESS_CONTROL_MAX_AGE, "7200");
    response
}

/// The origin of a request, if its pages may report.
fn allowed(rum: &Rum, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    rum.allows(origin.to_str().ok()?).then(|| origin.clone())
}

/// Lets the page read the answer. `sendBeacon` always sends what cookies there are, so that must be allowed; there
/// are none of use here, since these doors look at no cookie.
fn cors(response: &mut Response, allowed: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("cross-origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers
            .insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
}

/// `GET /v1/rum/serin-rum.js`: what pages include.
async fn script(State(app): State<Arc<App>>) -> Response {
    if app.rum.is_none() {
        return closed().into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    let mut response = (headers, SCRIPT.as_str()).into_response();
    let policy = HeaderName::from_static("cross-origin-resource-policy");
    response.headers_mut().insert(policy, HeaderValue::from_static("cross-origin"));
    response
}

fn closed() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no page may report to this Serin",
        "list the origins of your pages in serin.yaml: rum: { origins: [https://shop.example] }",
    )
}

/// Whether a check sent it and not a person.
fn is_synthetic(headers: &HeaderMap) -> bool {
    let baggage = headers.get_all("baggage").iter().filter_map(|value| value.to_str().ok());
    let mut members = baggage.flat_map(|value| value.split(','));
    let ours = text(headers, "user-agent").is_some_and(|agent| agent.starts_with(JOURNEYS));
    ours || members.any(|member| {
        let pair = member.split(';').next().unwrap_or_default().split_once('=');
        pair.is_some_and(|(key, value)| key.trim() == "synthetic" && value.trim() == "true")
    })
}

/// The body, within its limit.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || {
        let error = format!("the body has more than {MOST_BYTES} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, "send fewer items at once")
    };
    let announced = text(headers, "content-length").and_then(|n| n.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MOST_BYTES) {
        return Err(too_large());
    }
    let (mut whole, mut chunks) = (Vec::new(), body.into_data_stream());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk
            .map_err(|_| Problem::bad_request("the body could not be read", "send it again"))?;
        if chunk.len() > MOST_BYTES - whole.len() {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// `GET /api/v1/rum`.
#[derive(Serialize)]
pub(super) struct Reported {
    /// Whether pages may report at all.
    configured: bool,
    #[serde(flatten)]
    counts: RumCounts,
}

/// What was counted since the start, by app and version.
pub(super) async fn counts(State(app): State<Arc<App>>) -> Json<Reported> {
    let counts = app.rum.as_ref().map(|rum| rum.counts(now()));
    Json(Reported { configured: counts.is_some(), counts: counts.unwrap_or_default() })
}
