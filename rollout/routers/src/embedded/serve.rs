//! Listening: one task per service accepts, one task per client connection serves.
//!
//! Connections live in the accepting task's set and end with it, so closing or dropping a service
//! leaves nothing behind. Idle and stalled clients are found by one timer per connection rather
//! than one per request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::forward::forward;
use super::options::Checked;
use super::random::Random;
use super::route::Route;
use super::upstream::MAX_HEAD;

/// Most client connections of one service at a time; more wait in the operating system's queue.
/// At some 20 KB each they take 200 MB at worst.
const MAX_CONNECTIONS: usize = 10_000;

/// Most requests at a time on one HTTP/2 connection; RFC 9113 advises no fewer than 100.
const MAX_STREAMS: u32 = 256;

/// Pause after the operating system refused to accept, most likely for want of file descriptors:
/// long enough not to spin, short enough not to be noticed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Whether a service still takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// No new connection and no new request on old ones.
    Closing,
    /// Whatever is left ends now.
    Closed,
}

/// What every connection of a service needs.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) route: Arc<Route>,
    pub(super) options: Checked,
    pub(super) random: Arc<Random>,
    pub(super) phase: watch::Receiver<Phase>,
}

/// Requests on one client connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    started: AtomicU64,
    active: AtomicUsize,
}

/// A request that keeps its connection from looking idle.
#[derive(Debug)]
pub(super) struct Active(Arc<Activity>);

impl Active {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.started.fetch_add(1, Ordering::Relaxed);
        activity.active.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until the service closes, then waits for the connections to end.
pub(super) async fn accept(listener: TcpListener, served: Arc<Served>) {
    let mut phase = served.phase.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closing(&mut phase) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, Arc::clone(&served)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until the service closes; also when the proxy is gone.
async fn closing(phase: &mut watch::Receiver<Phase>) {
    let _gone = phase.wait_for(|phase| *phase != Phase::Open).await;
}

/// Serves one client connection to its end.
async fn connection(stream: TcpStream, peer: SocketAddr, served: Arc<Served>) {
    // Without it answers are as right, only slower.
    let _best_effort = stream.set_nodelay(true);
    let Ok(peer) = HeaderValue::from_str(&peer.ip().to_canonical().to_string()) else { return };
    let mut phase = served.phase.clone();
    let idle = served.options.idle;
    let activity = Arc::new(Activity::default());
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request| {
            let active = Active::begin(&activity);
            let served = Arc::clone(&served);
            let peer = peer.clone();
            async move { Ok::<_, Infallible>(forward(&served, &peer, request, active).await) }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Stalled heads are found by the timer below.
    builder.http1().header_read_timeout(None).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut check = interval_at(Instant::now() + idle, idle);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = 0;
    let mut ending = false;
    loop {
        tokio::select! {
            biased;
            // An error here is the client's: it left or does not speak HTTP.
            _ = serving.as_mut() => return,
            () = closing(&mut phase), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
            _ = check.tick() => {
                let started = activity.started.load(Ordering::Relaxed);
                let idle = started == seen && activity.active.load(Ordering::Relaxed) == 0;
                seen = started;
                match (idle, ending) {
                    (false, _) => {}
                    (true, false) => {
                        ending = true;
                        serving.as_mut().graceful_shutdown();
                    }
                    // Told to end and still in the middle of a head: nothing good is to come.
                    (true, true) => return,
                }
            }
        }
    }
}
