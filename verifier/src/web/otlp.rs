//! `POST /v1/metrics`: where services push their OpenTelemetry metrics.
//!
//! A sender that waits is a service that waits, so what cannot be taken in at once is refused at once, with a
//! time to come back. All bodies together are bounded while they are read, and two are unpacked at a time, away
//! from the threads that serve. Protocol: <https://opentelemetry.io/docs/specs/otlp/#otlphttp> (1.9).

use std::sync::Arc;
use std::time::Duration;

use analysis_providers::otlp::{Content, Otlp, OtlpSettings, refusal};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::problem::Problem;
use crate::clock::now;

/// Bodies of the largest size that may be held at once, packed.
const LARGEST_AT_ONCE: usize = 2;

/// Bodies that are unpacked and counted at once; each takes milliseconds.
const WORKERS: usize = 2;

/// How long a body waits for that before the sender is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to come back, in seconds; exporters add their own backoff.
const RETRY_AFTER: &str = "1";

/// Marks an answer in the protocol's own form, which no page or problem replaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer;

/// Where pushed metrics go.
pub(super) struct Receiver {
    otlp: Arc<Otlp>,
    bytes: Arc<Semaphore>,
    workers: Arc<Semaphore>,
}

impl Receiver {
    pub(super) fn new(otlp: Arc<Otlp>) -> Self {
        let held = otlp.max_bytes().saturating_mul(LARGEST_AT_ONCE).min(Semaphore::MAX_PERMITS);
        let (bytes, workers) = (Semaphore::new(held), Semaphore::new(WORKERS));
        Self { otlp, bytes: Arc::new(bytes), workers: Arc::new(workers) }
    }
}

impl Default for Receiver {
    /// Takes metrics in that nobody waits for.
    fn default() -> Self {
        Self::new(Arc::new(Otlp::new(OtlpSettings::default())))
    }
}

/// A refusal, in words for people.
struct Refused {
    status: StatusCode,
    text: String,
}

impl Refused {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn busy() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "more metrics arrive than can be taken in; push smaller batches or less often",
        )
    }

    fn too_large(limit: usize) -> Self {
        let text = format!("the body has more than {limit} bytes; send smaller batches");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    }
}

/// `POST /v1/metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(content) = text(&parts.headers, &header::CONTENT_TYPE).and_then(Content::of) else {
        return Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "metrics come as application/x-protobuf or application/json",
            "set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf or http/json",
        )
        .into_response();
    };
    match take(&app.metrics, &parts.headers, content, body).await {
        Ok(reply) => answer(StatusCode::OK, content, reply),
        Err(refused) => {
            let reply = refusal(content, refused.status.as_u16(), &refused.text);
            let mut response = answer(refused.status, content, reply);
            if refused.status == StatusCode::TOO_MANY_REQUESTS {
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
            }
            response
        }
    }
}

async fn take(
    receiver: &Receiver,
    headers: &HeaderMap,
    content: Content,
    body: Body,
) -> Result<Vec<u8>, Refused> {
    let limit = receiver.otlp.max_bytes();
    let announced = text(headers, &header::CONTENT_LENGTH).and_then(|n| n.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Refused::too_large(limit));
    }
    let encoding = text(headers, &header::CONTENT_ENCODING).map(str::to_owned);
    let (body, held) = read(receiver, body, limit).await?;
    let worker = tokio::time::timeout(PATIENCE, receiver.workers.clone().acquire_owned());
    let Ok(Ok(worker)) = worker.await else { return Err(Refused::busy()) };
    let otlp = receiver.otlp.clone();
    let taking = tokio::task::spawn_blocking(move || {
        let taken = otlp.receive(&body, encoding.as_deref(), content, now());
        drop((worker, held));
        taken
    });
    match taking.await {
        Ok(Ok(accepted)) => {
            if let Some(message) = &accepted.message {
                tracing::debug!(
                    rejected = accepted.rejected,
                    message,
                    "pushed points were refused"
                );
            }
            Ok(accepted.reply(content))
        }
        Ok(Err(rejected)) => {
            let status = StatusCode::from_u16(rejected.status());
            let status = status.unwrap_or(StatusCode::BAD_REQUEST);
            Err(Refused::new(status, rejected.to_string()))
        }
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "pushed metrics could not be taken in; please report it");
            let text = "the metrics could not be taken in; please report it";
            Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

/// A body within the limit of its own and the one for all, and its part of the latter.
async fn read(
    receiver: &Receiver,
    body: Body,
    limit: usize,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Refused> {
    let (mut whole, mut held) = (Vec::new(), None::<OwnedSemaphorePermit>);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            Refused::new(StatusCode::BAD_REQUEST, "the body could not be read; send it again")
        })?;
        if chunk.len() > limit - whole.len() {
            return Err(Refused::too_large(limit));
        }
        let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let permit = receiver.bytes.clone().try_acquire_many_owned(size);
        let permit = permit.map_err(|_| Refused::busy())?;
        match &mut held {
            Some(held) => held.merge(permit),
            None => held = Some(permit),
        }
        whole.extend_from_slice(&chunk);
    }
    Ok((whole, held))
}

fn answer(status: StatusCode, content: Content, reply: Vec<u8>) -> Response {
    let kind = HeaderValue::from_static(content.content_type());
    let mut response = (status, [(header::CONTENT_TYPE, kind)], reply).into_response();
    response.extensions_mut().insert(Answer);
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
