//! Bodies on their way through, frame by frame, so that back-pressure reaches both ends.
//!
//! The upload tells how far it is, because a slow client must not be held against the instance.
//! The download counts the outcome before the last frame is handed on, so whoever has the whole
//! answer also finds it counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::counts::Outcome;
use super::instance::Flight;
use super::serve::Active;
use super::upstream::Connection;

/// What breaks a body off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the sender broke off")]
    Broken(#[source] hyper::Error),
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Progress {
    /// The instance has not asked for more.
    Offered,
    /// The instance has asked and the client has not sent.
    AwaitsClient,
    /// The whole body was handed to the instance's connection.
    Done,
    /// The client broke off.
    ClientFailed,
    /// The client sent more than is allowed.
    TooLarge,
}

/// The progress of one request body, read by the timeout.
#[derive(Debug)]
pub(super) struct Upload {
    begun: Instant,
    progress: AtomicU8,
    /// Microseconds from `begun` to the last frame.
    moved: AtomicU64,
}

impl Upload {
    fn set(&self, progress: Progress) {
        self.progress.store(progress as u8, Ordering::Release);
    }

    fn moved(&self) {
        let micros = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(micros, Ordering::Release);
    }

    pub(super) fn progress(&self) -> Progress {
        const ALL: [Progress; 5] = [
            Progress::Offered,
            Progress::AwaitsClient,
            Progress::Done,
            Progress::ClientFailed,
            Progress::TooLarge,
        ];
        ALL[usize::from(self.progress.load(Ordering::Acquire))]
    }

    /// Whether the client is to blame for what breaks.
    pub(super) fn failed(&self) -> bool {
        matches!(self.progress(), Progress::ClientFailed | Progress::TooLarge)
    }

    /// When the last frame moved.
    pub(super) fn last_moved(&self) -> Instant {
        self.begun + Duration::from_micros(self.moved.load(Ordering::Acquire))
    }
}

/// A request's body on its way to an instance.
#[derive(Debug)]
pub(super) enum RequestBody {
    Empty,
    Streaming { inner: Incoming, upload: Arc<Upload>, left: u64, limit: u64 },
}

impl RequestBody {
    /// Wraps what the client sends; `limit` is in bytes.
    pub(super) fn new(inner: Incoming, limit: Option<u64>) -> (Self, Option<Arc<Upload>>) {
        if inner.is_end_stream() {
            return (Self::Empty, None);
        }
        let upload = Arc::new(Upload {
            begun: Instant::now(),
            progress: AtomicU8::new(Progress::Offered as u8),
            moved: AtomicU64::new(0),
        });
        let limit = limit.unwrap_or(u64::MAX);
        (Self::Streaming { inner, upload: Arc::clone(&upload), left: limit, limit }, Some(upload))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Streaming { inner, upload, left, limit } = self.get_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *inner).poll_frame(cx);
        match polled {
            Poll::Pending => {
                upload.set(Progress::AwaitsClient);
                Poll::Pending
            }
            Poll::Ready(None) => {
                upload.moved();
                upload.set(Progress::Done);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                upload.set(Progress::ClientFailed);
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |part| part.len() as u64);
                let Some(rest) = left.checked_sub(length) else {
                    upload.set(Progress::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge(*limit))));
                };
                *left = rest;
                upload.moved();
                let ended = inner.is_end_stream();
                upload.set(if ended { Progress::Done } else { Progress::Offered });
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { inner, .. } => inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { inner, .. } => inner.size_hint(),
        }
    }
}

/// An answer's body on its way to the client.
#[derive(Debug)]
pub(super) struct ResponseBody {
    kind: Kind,
    /// Keeps the client's connection from looking idle.
    _active: Active,
}

#[derive(Debug)]
enum Kind {
    /// The proxy's own words, or nothing.
    Own(Option<Bytes>),
    /// What the instance sends.
    Relayed(Box<Relay>),
}

#[derive(Debug)]
struct Relay {
    inner: Incoming,
    status: u16,
    flight: Option<Flight>,
    connection: Option<Connection>,
    upload: Option<Arc<Upload>>,
}

impl ResponseBody {
    pub(super) fn own(text: &'static str, active: Active) -> Self {
        let text = (!text.is_empty()).then(|| Bytes::from_static(text.as_bytes()));
        Self { kind: Kind::Own(text), _active: active }
    }

    /// Relays `inner`, counts its end in `flight` and then gives the connection back.
    pub(super) fn relayed(
        inner: Incoming,
        status: u16,
        flight: Flight,
        connection: Option<Connection>,
        upload: Option<Arc<Upload>>,
        active: Active,
    ) -> Self {
        let mut relay = Relay { inner, status, flight: Some(flight), connection, upload };
        if relay.inner.is_end_stream() {
            relay.finish(Outcome::Answered { status });
            return Self { kind: Kind::Own(None), _active: active };
        }
        Self { kind: Kind::Relayed(Box::new(relay)), _active: active }
    }
}

impl Relay {
    fn finish(&mut self, outcome: Outcome) {
        let Some(mut flight) = self.flight.take() else { return };
        flight.record(outcome);
        let uploaded =
            self.upload.as_ref().is_none_or(|upload| upload.progress() == Progress::Done);
        let intact = matches!(outcome, Outcome::Answered { .. } | Outcome::Spoiled { .. });
        if let Some(connection) = self.connection.take()
            && uploaded
            && intact
        {
            flight.instance.pool.put(connection);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let status = self.status;
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.finish(Outcome::Answered { status });
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                // The connection is dropped with the relay: it is of no more use.
                self.connection = None;
                if self.upload.as_ref().is_some_and(|upload| upload.failed()) {
                    // The client's upload broke the exchange off, which is an abort.
                    self.flight = None;
                }
                self.finish(Outcome::Spoiled { status });
                Poll::Ready(Some(Err(BodyError::Broken(error))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                if frame.trailers_ref().is_some_and(says_server_error) {
                    self.finish(Outcome::Spoiled { status });
                } else if self.inner.is_end_stream() {
                    self.finish(Outcome::Answered { status });
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().kind {
            Kind::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Kind::Relayed(relay) => relay.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(text) => text.is_none(),
            Kind::Relayed(relay) => relay.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Kind::Relayed(relay) => relay.inner.size_hint(),
        }
    }
}

/// Whether gRPC trailers report a failure of the server.
///
/// The codes are those that OpenTelemetry's RPC conventions call errors of a server span: unknown,
/// deadline exceeded, unimplemented, internal, unavailable, data loss.
pub(super) fn says_server_error(headers: &HeaderMap) -> bool {
    headers
        .get("grpc-status")
        .is_some_and(|code| matches!(code.as_bytes(), b"2" | b"4" | b"12" | b"13" | b"14" | b"15"))
}
