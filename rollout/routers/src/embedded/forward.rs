//! One request from its client to an instance and back.
//!
//! A request that did not reach an instance of the canary is served by the baseline instead: the
//! client sees nothing of it and the canary's count does. Nothing ever goes the other way.

use std::future::Future;
use std::pin::pin;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, SET_COOKIE, UPGRADE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::time::{Instant, timeout_at};

use super::body::{Progress, RequestBody, ResponseBody, Upload, says_server_error};
use super::counts::Outcome;
use super::headers::{self, Hop};
use super::instance::Flight;
use super::route::{Asker, Choice};
use super::serve::{Active, Served};
use super::upgrade::tunnel;
use super::upstream::{Connection, SendFailure};

/// Why an attempt gave no response head.
#[derive(Debug)]
enum Missed {
    /// The instance broke off; the request may be sent elsewhere if it is still there.
    Failed(Option<Box<Request<RequestBody>>>),
    /// The instance took too long.
    Hung,
    /// The client broke its upload off or stalled.
    Client,
    /// The client's upload is too large.
    TooLarge,
}

type Answer = (Response<Incoming>, Option<Connection>);

/// Serves one request. Dropping the future counts the request as given up by its client.
pub(super) async fn forward(
    served: &Served,
    peer: &HeaderValue,
    mut request: Request<Incoming>,
    active: Active,
) -> Response<ResponseBody> {
    let options = &served.options;
    if request.method() == Method::CONNECT {
        return refuse(Refusal::Connect, active);
    }
    if options.body_limit.is_some_and(|limit| request.body().size_hint().lower() > limit) {
        return refuse(Refusal::TooLarge, active);
    }
    let asker = if options.is_tester(request.headers()) {
        Asker::Tester
    } else {
        Asker::Client(options.kept_position(request.headers()))
    };
    let wanted = headers::wanted_upgrade(request.version(), request.headers());
    let client = wanted.is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    parts.extensions.clear();
    let hop = Hop {
        peer,
        protocol: options.protocol,
        start_traces: options.start_traces,
        random: &served.random,
    };
    if headers::rewrite_request(&mut parts, &hop, wanted.as_ref()).is_err() {
        return refuse(Refusal::NoHost, active);
    }
    let (body, upload) = RequestBody::new(body, options.body_limit);
    let Some(Choice { flight, assigned }) = served.route.choose(asker) else {
        return refuse(Refusal::NoInstance, active);
    };

    let request = Request::from_parts(parts, body);
    let (flight, answered) = serve(served, flight, request, upload.as_deref()).await;
    let (mut response, connection) = match answered {
        Ok(answer) => answer,
        Err(refusal) => return refuse(refusal, active),
    };

    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let instance = hyper::upgrade::on(&mut response);
        let mut flight = flight;
        let Some(client) = client else {
            flight.record(Outcome::Unanswered);
            return refuse(Refusal::NoAnswer, active);
        };
        flight.record(Outcome::Answered { status: 101 });
        TokioExecutor::new().execute(tunnel(client, instance, flight, served.phase.clone()));
        let agreed = response.headers().get(UPGRADE).cloned().or(wanted);
        headers::rewrite_response(response.headers_mut(), agreed.as_ref());
        return relay_head(response, |_| ResponseBody::own("", active));
    }

    headers::rewrite_response(response.headers_mut(), None);
    if let Some(cookie) = &options.sticky
        && let Some(set) = assigned.and_then(|position| position.to_cookie(cookie))
    {
        response.headers_mut().append(SET_COOKIE, set);
    }
    let status = response.status().as_u16();
    relay_head(response, |body| {
        ResponseBody::relayed(body, status, flight, connection, upload, active)
    })
}

/// Sends the request to the chosen instance, and to another if it did not arrive. Whatever failed
/// is counted; the flight that is returned is the one that answered.
async fn serve(
    served: &Served,
    mut flight: Flight,
    mut request: Request<RequestBody>,
    upload: Option<&Upload>,
) -> (Flight, Result<Answer, Refusal>) {
    let mut others = Some(());
    loop {
        match attempt(served, &flight, request, upload).await {
            Ok((response, connection)) => {
                let status = response.status().as_u16();
                if status >= 500 {
                    // At once, not at the end of the body: a failure is known by its head.
                    flight.record(Outcome::Answered { status });
                } else if says_server_error(response.headers()) {
                    flight.record(Outcome::Spoiled { status });
                }
                return (flight, Ok((response, connection)));
            }
            Err(Missed::Failed(unsent)) => {
                flight.record(Outcome::Unanswered);
                let other = unsent.and_then(|unsent| {
                    others.take()?;
                    Some((served.route.choose_other(&flight)?, unsent))
                });
                let Some((next, unsent)) = other else {
                    return (flight, Err(Refusal::NoAnswer));
                };
                (flight, request) = (next, *unsent);
            }
            Err(Missed::Hung) => {
                flight.record(Outcome::Hung);
                return (flight, Err(Refusal::Timeout));
            }
            // Not recorded, hence counted as aborted.
            Err(Missed::Client) => return (flight, Err(Refusal::ClientTimeout)),
            Err(Missed::TooLarge) => return (flight, Err(Refusal::TooLarge)),
        }
    }
}

/// One attempt at one instance, bounded by the timeout.
async fn attempt(
    served: &Served,
    flight: &Flight,
    request: Request<RequestBody>,
    upload: Option<&Upload>,
) -> Result<Answer, Missed> {
    let sending = pin!(flight.instance.pool.send(served.options.protocol, request));
    let Some(sent) = within(served, flight.start, sending, upload).await else {
        return Err(match upload.map(Upload::progress) {
            Some(Progress::AwaitsClient | Progress::ClientFailed) => Missed::Client,
            Some(Progress::TooLarge) => Missed::TooLarge,
            Some(Progress::Offered | Progress::Done) | None => Missed::Hung,
        });
    };
    sent.map_err(|SendFailure { request, cause }| {
        let instance = &flight.instance.backend;
        tracing::debug!(
            instance = instance.instance,
            address = %instance.address,
            error = &cause as &dyn std::error::Error,
            "an instance gave no answer"
        );
        match upload.map(Upload::progress) {
            Some(Progress::ClientFailed) => Missed::Client,
            Some(Progress::TooLarge) => Missed::TooLarge,
            Some(Progress::Offered | Progress::AwaitsClient | Progress::Done) | None => {
                Missed::Failed(request)
            }
        }
    })
}

/// Waits for `sending` until nothing has moved for the timeout.
async fn within<F: Future + Unpin>(
    served: &Served,
    start: Instant,
    mut sending: F,
    upload: Option<&Upload>,
) -> Option<F::Output> {
    let mut deadline = start + served.options.timeout;
    loop {
        if let Ok(sent) = timeout_at(deadline, &mut sending).await {
            return Some(sent);
        }
        let moved = upload.map_or(start, Upload::last_moved).max(start);
        if moved + served.options.timeout <= deadline {
            return None;
        }
        deadline = moved + served.options.timeout;
    }
}

fn relay_head(
    response: Response<Incoming>,
    body: impl FnOnce(Incoming) -> ResponseBody,
) -> Response<ResponseBody> {
    let (parts, incoming) = response.into_parts();
    let mut relayed = Response::new(body(incoming));
    *relayed.status_mut() = parts.status;
    *relayed.headers_mut() = parts.headers;
    relayed
}

/// Why the proxy answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Connect,
    NoHost,
    NoInstance,
    NoAnswer,
    Timeout,
    ClientTimeout,
    TooLarge,
}

fn refuse(refusal: Refusal, active: Active) -> Response<ResponseBody> {
    let (status, text) = match refusal {
        Refusal::Connect => {
            (StatusCode::METHOD_NOT_ALLOWED, "this proxy opens no tunnels by CONNECT\n")
        }
        Refusal::NoHost => (StatusCode::BAD_REQUEST, "the request has no valid Host\n"),
        Refusal::NoInstance => {
            (StatusCode::SERVICE_UNAVAILABLE, "no instance of the service is running\n")
        }
        Refusal::NoAnswer => (StatusCode::BAD_GATEWAY, "the service gave no answer\n"),
        Refusal::Timeout => (StatusCode::GATEWAY_TIMEOUT, "the service did not answer in time\n"),
        Refusal::ClientTimeout => {
            (StatusCode::REQUEST_TIMEOUT, "the request body did not arrive in time\n")
        }
        Refusal::TooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, "the request body is larger than is allowed\n")
        }
    };
    let mut response = Response::new(ResponseBody::own(text, active));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if refusal == Refusal::Connect {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
    }
    response
}
