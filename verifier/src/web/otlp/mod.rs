//! `POST /v1/metrics` and `POST /v1/traces`: where services push their OpenTelemetry metrics and spans.
//!
//! A sender that waits is a service that waits, so what cannot be taken in at once is refused at once, with a
//! time to come back. Protocol: <https://opentelemetry.io/docs/specs/otlp/#otlphttp> (1.9).

mod receiver;

use std::sync::Arc;

use analysis_providers::otlp::{Content, Signal, refusal};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

pub(crate) use self::receiver::{RETRY_AFTER, Receiver, Refused};
use super::App;
use super::problem::Problem;

/// Marks an answer in the protocol's own form, which no page or problem replaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer;

/// `POST /v1/metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>, request: Request) -> Response {
    push(&app.pushed, Signal::Metrics, request).await
}

/// `POST /v1/traces`.
pub(super) async fn traces(State(app): State<Arc<App>>, request: Request) -> Response {
    push(&app.pushed, Signal::Traces, request).await
}

async fn push(receiver: &Receiver, signal: Signal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let Some(content) = text(headers, &header::CONTENT_TYPE).and_then(Content::of) else {
        return Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("{} come as application/x-protobuf or application/json", signal.name()),
            "set OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf or http/json",
        )
        .into_response();
    };
    let announced = text(headers, &header::CONTENT_LENGTH).and_then(|n| n.parse::<usize>().ok());
    let encoding = text(headers, &header::CONTENT_ENCODING).map(str::to_owned);
    let taken = match receiver.read(signal, body, announced, 0).await {
        Ok(read) => receiver.take(signal, read, encoding, content).await,
        Err(refused) => Err(refused),
    };
    match taken {
        Ok(accepted) => answer(StatusCode::OK, content, accepted.reply(signal, content)),
        Err(refused) => {
            let status = status(&refused);
            let reply = refusal(content, status.as_u16(), &refused.to_string());
            let mut response = answer(status, content, reply);
            if status == StatusCode::TOO_MANY_REQUESTS {
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(u16::from(RETRY_AFTER)));
            }
            response
        }
    }
}

fn status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
        Refused::Unread => StatusCode::BAD_REQUEST,
        Refused::Rejected(rejected) => {
            StatusCode::from_u16(rejected.status()).unwrap_or(StatusCode::BAD_REQUEST)
        }
        Refused::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
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
