//! Taking in what services push, whichever door it comes through.
//!
//! All bodies of a kind together are bounded while they are read, and two are unpacked at a time, away from the threads that
//! serve. What cannot be taken in at once is refused at once, with a time to come back.

use std::sync::Arc;
use std::time::Duration;

use analysis_providers::intake::{Intake, IntakeSettings};
use analysis_providers::otlp::{Accepted, Content, Otlp, OtlpSettings, Rejected, Signal};
use axum::body::Body;
use futures_util::StreamExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::now;

/// Bodies of the largest size that may be held at once, packed.
const LARGEST_AT_ONCE: usize = 2;

/// Bodies that are unpacked and counted at once; each takes milliseconds.
const WORKERS: usize = 2;

/// How long a body waits for that before the sender is told to come back.
const PATIENCE: Duration = Duration::from_secs(5);

/// When to come back, in seconds; exporters add their own backoff.
pub(crate) const RETRY_AFTER: u8 = 1;

/// Where pushed metrics and spans go.
pub(crate) struct Receiver {
    metrics: Arc<Otlp>,
    traces: Arc<Intake>,
    /// Of metrics and of spans: neither keeps the other out.
    bytes: [Arc<Semaphore>; 2],
    workers: Arc<Semaphore>,
}

/// A body that was read, and its part of what all bodies may take.
pub(crate) struct Read {
    bytes: Vec<u8>,
    held: Option<OwnedSemaphorePermit>,
}

impl Read {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body without its first bytes.
    pub(crate) fn without_first(mut self, count: usize) -> Self {
        self.bytes.drain(..count.min(self.bytes.len()));
        self
    }
}

/// Why a body is not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Others are being taken in; come back.
    #[error("more {} arrive than can be taken in; push smaller batches or less often", .0.name())]
    Busy(Signal),
    /// Its sender went away half-way.
    #[error("the body could not be read; send it again")]
    Unread,
    /// Too large, packed unknowably, or malformed.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// A defect of Serin.
    #[error("the {} could not be taken in; please report it", .0.name())]
    Broken(Signal),
}

impl Refused {
    fn too_large(limit: usize) -> Self {
        Self::Rejected(Rejected::TooLarge { limit })
    }
}

impl Receiver {
    pub(crate) fn new(metrics: Arc<Otlp>, traces: Arc<Intake>) -> Self {
        let bytes = [metrics.max_bytes(), traces.max_bytes()].map(|largest| {
            let held = largest.saturating_mul(LARGEST_AT_ONCE).min(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(held))
        });
        Self { metrics, traces, bytes, workers: Arc::new(Semaphore::new(WORKERS)) }
    }

    /// The same with metrics that go elsewhere.
    pub(in crate::web) fn with_metrics(&self, metrics: Arc<Otlp>) -> Self {
        Self::new(metrics, self.traces.clone())
    }

    /// The same with spans that go elsewhere.
    pub(in crate::web) fn with_traces(&self, traces: Arc<Intake>) -> Self {
        Self::new(self.metrics.clone(), traces)
    }

    /// Most bytes of one body.
    pub(crate) fn limit(&self, signal: Signal) -> usize {
        match signal {
            Signal::Metrics => self.metrics.max_bytes(),
            Signal::Traces => self.traces.max_bytes(),
        }
    }

    /// A body within the limit of its own and the one for all; `more` are bytes of a frame around it.
    pub(crate) async fn read(
        &self,
        signal: Signal,
        body: Body,
        announced: Option<usize>,
        more: usize,
    ) -> Result<Read, Refused> {
        let limit = self.limit(signal);
        let most = limit.saturating_add(more);
        if announced.is_some_and(|length| length > most) {
            return Err(Refused::too_large(limit));
        }
        let [metrics, traces] = &self.bytes;
        let free = match signal {
            Signal::Metrics => metrics,
            Signal::Traces => traces,
        };
        let mut read = Read { bytes: Vec::new(), held: None };
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refused::Unread)?;
            if chunk.len() > most - read.bytes.len() {
                return Err(Refused::too_large(limit));
            }
            let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let permit = free.clone().try_acquire_many_owned(size);
            let permit = permit.map_err(|_| Refused::Busy(signal))?;
            match &mut read.held {
                Some(held) => held.merge(permit),
                None => read.held = Some(permit),
            }
            read.bytes.extend_from_slice(&chunk);
        }
        Ok(read)
    }

    /// Takes a body in, as soon as there is a worker for it.
    pub(crate) async fn take(
        &self,
        signal: Signal,
        read: Read,
        encoding: Option<String>,
        content: Content,
    ) -> Result<Accepted, Refused> {
        let worker = tokio::time::timeout(PATIENCE, self.workers.clone().acquire_owned());
        let Ok(Ok(worker)) = worker.await else { return Err(Refused::Busy(signal)) };
        let (metrics, traces) = (self.metrics.clone(), self.traces.clone());
        let taking = tokio::task::spawn_blocking(move || {
            let (body, encoding) = (read.bytes(), encoding.as_deref());
            let taken = match signal {
                Signal::Metrics => metrics.receive(body, encoding, content, now()),
                Signal::Traces => traces.receive(body, encoding, content, now()),
            };
            drop((worker, read));
            taken
        });
        let accepted = taking.await.map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "what was pushed could not be taken in; please report it");
            Refused::Broken(signal)
        })??;
        if let Some(message) = &accepted.message {
            let rejected = accepted.rejected;
            tracing::debug!(rejected, message, "a part of what was pushed was refused");
        }
        Ok(accepted)
    }
}

impl Default for Receiver {
    /// Takes in what nobody waits for.
    fn default() -> Self {
        let metrics = Arc::new(Otlp::new(OtlpSettings::default()));
        Self::new(metrics, Arc::new(Intake::new(IntakeSettings::default())))
    }
}
