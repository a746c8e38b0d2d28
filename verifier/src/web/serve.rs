//! Accepting connections, and ending them in order.
//!
//! The accept loop is our own for three bounds that `axum::serve` lacks: how many connections there
//! are, how long a request's head may take, and how long an idle connection stays open. So a client
//! that says nothing, or a thousand of them, cost a place for seconds and never the page.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::App;

/// Connections at once: all streams and as many for ordinary requests. Further ones wait in the
/// system's queue.
const MOST_CONNECTIONS: usize = 1_024;

/// Longest wait for the head of a request, from the moment that the connection is open or idle.
pub(crate) const HEAD: Duration = Duration::from_secs(20);

/// Before accepting again when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves; then takes no new connection, ends streams, lets answers under way
/// finish, and returns. Dropping it half-way ends all connections at once.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    serve_with(listener, app, stop, HEAD).await;
}

/// As [`serve`], with another wait for heads.
pub(super) async fn serve_with(
    listener: TcpListener,
    app: Arc<App>,
    stop: impl Future<Output = ()>,
    head: Duration,
) {
    let stopping = app.stopping.clone();
    serve_router(listener, super::router(app), stopping, stop, head).await;
}

/// As [`serve`], for any handlers; tells `stopping` when `stop` resolved, for streams to end.
pub(crate) async fn serve_router(
    listener: TcpListener,
    router: Router,
    stopping: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
    head: Duration,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(head).keep_alive_timeout(head);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            stream = accepted(&listener, &places) => stream,
        };
        let Some((stream, place)) = stream else { continue };
        let service = TowerToHyperService::new(router.clone());
        let connection =
            graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        connections.spawn(async move {
            if let Err(error) = connection.await {
                // The client went away or spoke no HTTP: its own affair.
                tracing::debug!(error, "a connection to the page ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    stopping.send_replace(true);
    graceful.shutdown().await;
}

/// The next connection, and its place; `None` when the system refuses one.
async fn accepted(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Small answers are not to wait for more; without it they only come later.
            let _ = stream.set_nodelay(true);
            Some((stream, place))
        }
        Err(error) => {
            tracing::warn!(error = crate::chain(&error), "the page could not take a connection");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
