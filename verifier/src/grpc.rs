//! OTLP over gRPC: the door for collectors and SDKs that push by their default protocol.
//!
//! A call is one message in a frame of five bytes, and its answer one more and a status in the trailers. Frames are
//! read here rather than by a codec, so that a body is bounded together with all others while it arrives, and is
//! unpacked away from the threads that serve, as at `/v1/traces`; codes and statuses are tonic's. A listener that
//! other machines can reach asks for the API's token.
//!
//! Protocol: <https://opentelemetry.io/docs/specs/otlp/#otlpgrpc> (1.9) and gRPC over HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use analysis_providers::otlp::{Content, Rejected, Signal, come_back};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::routing::post;
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::{Code, Status};

use crate::config::Secret;
use crate::web::otlp::{RETRY_AFTER, Receiver, Refused};
use crate::web::{HEAD, bearer, serve_router};

/// `TraceService` of opentelemetry-proto 1.10.
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// `MetricsService` of the same.
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// Whether the message is packed, and its length.
const PREFIX: usize = 5;

/// Longest time for one call; exporters give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(20);

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPTED: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// What the calls share.
struct Door {
    receiver: Arc<Receiver>,
    token: Option<Secret>,
}

/// Serves until `stop` resolves; `token` is what callers must send, if anything.
pub(crate) async fn serve(
    listener: TcpListener,
    receiver: Arc<Receiver>,
    token: Option<Secret>,
    stop: impl Future<Output = ()>,
) {
    let door = Arc::new(Door { receiver, token });
    let router = Router::new()
        .route(TRACES, post(traces))
        .route(METRICS, post(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(door);
    serve_router(listener, router, watch::Sender::new(false), stop, HEAD).await;
}

async fn traces(State(door): State<Arc<Door>>, request: Request) -> Response {
    call(&door, Signal::Traces, request).await
}

async fn metrics(State(door): State<Arc<Door>>, request: Request) -> Response {
    call(&door, Signal::Metrics, request).await
}

async fn unknown() -> Response {
    let text = "Serin takes TraceService/Export and MetricsService/Export of OpenTelemetry";
    Status::unimplemented(text).into_http()
}

async fn call(door: &Door, signal: Signal, request: Request) -> Response {
    let answer = tokio::time::timeout(PATIENCE, answer(door, signal, request));
    match answer.await.unwrap_or_else(|_| Err(status(&Refused::Busy(signal)))) {
        Ok(message) => success(&message),
        Err(status) => {
            let mut response: Response = status.into_http();
            let gzip = HeaderValue::from_static("gzip,identity");
            response.headers_mut().insert(ACCEPTED, gzip);
            response
        }
    }
}

/// The message of the answer.
async fn answer(door: &Door, signal: Signal, request: Request) -> Result<Vec<u8>, Status> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    if let Some(token) = &door.token
        && !bearer(headers).is_some_and(|said| token.matches(said.as_bytes()))
    {
        return Err(Status::unauthenticated(
            "a token is needed: set OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20TOKEN with the token of \
             `api.tokenFrom`",
        ));
    }
    let kind = text(headers, &header::CONTENT_TYPE).unwrap_or_default();
    if !matches!(kind, "application/grpc" | "application/grpc+proto") {
        return Err(Status::invalid_argument("a call has the content type application/grpc"));
    }
    let read = door.receiver.read(signal, body, None, PREFIX).await.map_err(|e| status(&e))?;
    let is_packed = framed(read.bytes(), door.receiver.limit(signal))?;
    let encoding = text(headers, &ENCODING).filter(|_| is_packed).map(str::to_owned);
    if is_packed && encoding.is_none() {
        return Err(Status::invalid_argument(
            "the message is packed, but grpc-encoding is missing",
        ));
    }
    let read = read.without_first(PREFIX);
    let taken = door.receiver.take(signal, read, encoding, Content::Protobuf).await;
    taken.map(|accepted| accepted.reply(signal, Content::Protobuf)).map_err(|e| status(&e))
}

/// Whether the only message of a call is packed.
fn framed(body: &[u8], limit: usize) -> Result<bool, Status> {
    let Some((prefix, message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(Status::invalid_argument("a call holds one message; the body is empty or cut"));
    };
    let [packed, length @ ..] = *prefix;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(status(&Refused::Rejected(Rejected::TooLarge { limit })));
    }
    if packed > 1 || length != message.len() {
        return Err(Status::invalid_argument(format!(
            "a call holds one message of {length} bytes; the body has {} more, or is cut",
            message.len().saturating_sub(length)
        )));
    }
    Ok(packed == 1)
}

/// The status for a refusal: what may be sent again, and what may not.
fn status(refused: &Refused) -> Status {
    let text = refused.to_string();
    match refused {
        Refused::Busy(_) => {
            let details = come_back(Code::Unavailable.into(), &text, RETRY_AFTER);
            Status::with_details(Code::Unavailable, text, details.into())
        }
        Refused::Unread => Status::unavailable(text),
        Refused::Rejected(Rejected::TooLarge { .. }) => Status::resource_exhausted(text),
        Refused::Rejected(Rejected::Encoding(_)) => Status::unimplemented(text),
        Refused::Rejected(Rejected::Malformed { .. }) => Status::invalid_argument(text),
        Refused::Broken(_) => Status::internal(text),
    }
}

/// One message, not packed, and the status that all is well.
fn success(message: &[u8]) -> Response {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(PREFIX + message.len());
    frame.push(0);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    let mut trailers = HeaderMap::new();
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::from(frame).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests;
