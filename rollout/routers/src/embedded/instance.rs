//! One running copy of a version, and a request that is on its way to it.
//!
//! A [`Flight`] counts its instance's request from the choice of the instance to the end of the
//! answer, whatever happens in between: it is counted where it is dropped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::counts::{Counts, Outcome};
use super::upstream::Pool;

/// Where one running copy of a version answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// The name under which it is counted, unique in its service.
    pub instance: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A backend with its connections and counters.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) backend: Backend,
    pub(super) counts: Counts,
    pub(super) pool: Pool,
    /// Told whenever the last request in flight has ended.
    idle: Notify,
}

impl Instance {
    pub(super) fn new(backend: Backend) -> Arc<Self> {
        let pool = Pool::new(backend.address);
        Arc::new(Self { backend, counts: Counts::default(), pool, idle: Notify::new() })
    }

    /// Waits until nothing is in flight, at most `deadline`; returns what is left.
    pub(super) async fn drain(&self, deadline: Duration) -> usize {
        let empty = async {
            loop {
                // Registered before the look, so that an end in between is not missed.
                let ended = self.idle.notified();
                if self.counts.in_flight() == 0 {
                    return;
                }
                ended.await;
            }
        };
        // Running out of time is no error here: what is left tells.
        let _elapsed = timeout(deadline, empty).await;
        self.counts.in_flight()
    }
}

/// Whether a request is a fair sample of the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampled {
    /// Sent to its arm by chance: counts as evidence.
    Fair,
    /// Sent there on demand by a tester: no evidence.
    Tester,
}

/// One request on its way to one instance.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) instance: Arc<Instance>,
    pub(super) start: Instant,
    sampled: Sampled,
    recorded: bool,
}

impl Flight {
    pub(super) fn begin(instance: Arc<Instance>, sampled: Sampled) -> Self {
        instance.counts.enter();
        Self { instance, start: Instant::now(), sampled, recorded: false }
    }

    pub(super) fn sampled(&self) -> Sampled {
        self.sampled
    }

    /// Counts the outcome; only the first one of a flight counts.
    pub(super) fn record(&mut self, outcome: Outcome) {
        if self.recorded {
            return;
        }
        self.recorded = true;
        match self.sampled {
            Sampled::Fair => self.instance.counts.complete(outcome, self.start.elapsed()),
            Sampled::Tester => self.instance.counts.tester(),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.recorded {
            self.instance.counts.abort();
        }
        if self.instance.counts.leave() {
            self.instance.idle.notify_waiters();
        }
    }
}
