//! Connections to one instance: kept alive, shared out, replaced when stale.
//!
//! hyper's connections are used directly rather than through a pooling client, because the proxy
//! must tell a request of which nothing was sent (it may go elsewhere) from one that broke off
//! (it may not), and because a pool per instance dies with its instance.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::body::RequestBody;

/// Longest wait for a connection. An instance in the same cluster accepts within milliseconds; a
/// second covers one lost SYN packet, and leaves time to go elsewhere.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection may take from the end of an answer until it is ready for the next request.
/// Its task needs microseconds; an instance that answered without reading the whole request may
/// never be ready.
const READY_WITHIN: Duration = Duration::from_millis(20);

/// Idle connections kept per instance: more than a busy instance needs at once, few enough to be
/// no burden to it.
const MAX_IDLE: usize = 256;

/// How long an idle connection is kept. Most servers close theirs after 60 s or more.
const IDLE_FOR: Duration = Duration::from_secs(50);

/// Ping interval of HTTP/2 connections, so that a dead instance is noticed between requests.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Largest response head, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// An HTTP/1.1 connection to an instance.
pub(super) type Connection = http1::SendRequest<RequestBody>;

/// How an instance is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// A request that got no response head.
#[derive(Debug)]
pub(super) struct SendFailure {
    /// The request, when it may be sent again: nothing of it was sent, or sending it twice is
    /// harmless.
    pub(super) request: Option<Box<Request<RequestBody>>>,
    /// What went wrong.
    pub(super) cause: SendCause,
}

/// Why a request got no response head.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendCause {
    #[error("connect to the instance")]
    Connect(#[source] io::Error),
    #[error("send the request")]
    Send(#[source] hyper::Error),
}

/// The connections to one instance.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    /// Idle HTTP/1.1 connections, the last used at the back. Held for nanoseconds.
    idle: Mutex<VecDeque<(Instant, Connection)>>,
    /// The one HTTP/2 connection, once there is one. Held for nanoseconds.
    shared: Mutex<Option<http2::SendRequest<RequestBody>>>,
    /// Makes the first requests wait for one HTTP/2 connection instead of opening one each; held
    /// across the connect, which is bounded.
    opening: tokio::sync::Mutex<()>,
}

impl Pool {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            idle: Mutex::default(),
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
        }
    }

    /// Sends `request` and waits for the response head; with it comes the connection, to be given
    /// back with [`Pool::put`] once the answer has ended. Dropping the future cancels the request.
    pub(super) async fn send(
        &self,
        protocol: Protocol,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Option<Connection>), SendFailure> {
        match protocol {
            Protocol::Http1 => {
                let (response, connection) = self.send_http1(request).await?;
                Ok((response, Some(connection)))
            }
            Protocol::Http2 => Ok((self.send_http2(request).await?, None)),
        }
    }

    async fn send_http1(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Connection), SendFailure> {
        let mut spare = replayable(&request);
        // Each pooled connection may have gone stale; each is tried once and there is an end to
        // them. One that breaks under a replayable request ends the search: the next is fresh.
        while let Some(mut connection) = self.take() {
            if !is_ready(&mut connection).await {
                continue;
            }
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, connection)),
                Err(mut error) => match (error.take_message(), spare.take()) {
                    (Some(unsent), kept) => {
                        request = unsent;
                        spare = kept;
                    }
                    (None, Some(copy)) => {
                        request = copy;
                        spare = replayable(&request);
                        break;
                    }
                    (None, None) => return Err(broken(None, error.into_error())),
                },
            }
        }
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(error) => return Err(unreached(request, error)),
        };
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
        let (mut connection, driver) = match handshake {
            Ok(pair) => pair,
            Err(error) => return Err(broken(Some(request), error)),
        };
        // Ends when the connection closes: at the latest when its sender is dropped. What breaks
        // it is told to the request that it carries.
        TokioExecutor::new().execute(async move {
            let _told_to_the_request = driver.with_upgrades().await;
        });
        match connection.try_send_request(request).await {
            Ok(response) => Ok((response, connection)),
            Err(mut error) => Err(broken(error.take_message().or(spare), error.into_error())),
        }
    }

    async fn send_http2(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendFailure> {
        // An open connection may be about to close, so there is a second attempt after one; there
        // is none after a connection that was opened for this request.
        let mut tried = false;
        loop {
            let spare = replayable(&request);
            let (mut sender, fresh) = match self.shared_connection().await {
                Ok(connected) => connected,
                Err(SendCause::Connect(error)) => return Err(unreached(request, error)),
                Err(SendCause::Send(error)) => return Err(broken(Some(request), error)),
            };
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message().or(spare) {
                    Some(again) if !fresh && !tried => request = again,
                    again => return Err(broken(again, error.into_error())),
                },
            }
            tried = true;
        }
    }

    /// The connection, and whether it was just opened.
    async fn shared_connection(
        &self,
    ) -> Result<(http2::SendRequest<RequestBody>, bool), SendCause> {
        if let Some(open) = self.open_connection() {
            return Ok((open, false));
        }
        let _only_one = self.opening.lock().await;
        if let Some(open) = self.open_connection() {
            return Ok((open, false));
        }
        let stream = self.connect().await.map_err(SendCause::Connect)?;
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(SendCause::Send)?;
        TokioExecutor::new().execute(async move {
            let _told_to_the_requests = driver.await;
        });
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = Some(sender.clone());
        Ok((sender, true))
    }

    fn open_connection(&self) -> Option<http2::SendRequest<RequestBody>> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address))
            .await
            .unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The idle connection that was used last, as it is the least likely to be stale.
    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((_, connection)) = idle.pop_back() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose request and answer have both ended.
    pub(super) fn put(&self, connection: Connection) {
        if connection.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle.len() >= MAX_IDLE
            || idle.front().is_some_and(|(since, _)| now.duration_since(*since) > IDLE_FOR)
        {
            idle.pop_front();
        }
        idle.push_back((now, connection));
    }
}

/// Whether a pooled connection can take a request.
async fn is_ready(connection: &mut Connection) -> bool {
    connection.is_ready()
        || timeout(READY_WITHIN, connection.ready()).await.is_ok_and(|ready| ready.is_ok())
}

/// A copy of `request`, when sending it twice does what sending it once does (RFC 9110, 9.2.2).
fn replayable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let repeatable = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    (repeatable && matches!(request.body(), RequestBody::Empty)).then(|| {
        let mut copy = Request::new(RequestBody::Empty);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        copy
    })
}

fn unreached(request: Request<RequestBody>, error: io::Error) -> SendFailure {
    SendFailure { request: Some(Box::new(request)), cause: SendCause::Connect(error) }
}

fn broken(request: Option<Request<RequestBody>>, error: hyper::Error) -> SendFailure {
    SendFailure { request: request.map(Box::new), cause: SendCause::Send(error) }
}
