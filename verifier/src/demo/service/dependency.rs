//! The shared dependency of the demo, which fails for both versions alike.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::dice::Dice;

/// What both versions of the service depend on, with a switch to make it fail for both alike.
///
/// It serves on the loopback address, in this process, until it is dropped.
pub struct Dependency {
    url: String,
    switch: Arc<Switch>,
    _server: JoinSet<io::Result<()>>,
}

struct Switch {
    /// Share of requests that fail, as the bits of an `f64`.
    failing: AtomicU64,
    dice: Dice,
}

impl Dependency {
    /// Starts a dependency that works.
    ///
    /// # Errors
    ///
    /// No port can be listened on.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let switch = Arc::new(Switch {
            failing: AtomicU64::new(0.0_f64.to_bits()),
            dice: Dice::new(u64::from(address.port())),
        });
        let router = Router::new().fallback(price).with_state(Arc::clone(&switch));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url: format!("http://{address}/price"), switch, _server: server })
    }

    /// Where it is asked.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on this share of requests fails with 503; taken as at least 0 and at most 1.
    pub fn fail(&self, share: f64) {
        self.switch.failing.store(share.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }
}

async fn price(State(switch): State<Arc<Switch>>) -> impl IntoResponse {
    let failing = f64::from_bits(switch.failing.load(Ordering::Relaxed));
    if switch.dice.uniform() < failing {
        (StatusCode::SERVICE_UNAVAILABLE, "the price list is locked\n")
    } else {
        (StatusCode::OK, "9.99\n")
    }
}
