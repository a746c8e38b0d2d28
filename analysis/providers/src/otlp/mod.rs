//! OpenTelemetry metrics that services push to Serin: a provider without a store.
//!
//! What arrives is decoded, differenced point by point, and kept only as counts since the last measurement, only
//! for deployments that are live. A push is taken in by [`Otlp::receive`], whatever brought it; `measure` asks
//! nobody.
//!
//! - Whose: `service.name` names the service (the policy's name, or a label `service.name` of the instances);
//!   `service.version`, else `vcs.ref.head.revision`, names the version, whole or by at least seven digits of its
//!   revision; else `service.instance.id` names an instance. Other labels of the instances must be equal.
//! - What: the families and status labels that every provider knows, with OpenTelemetry's names written as
//!   Prometheus would.
//! - Exact: cumulative points are differenced by their start time, deltas are added, and late or repeated points
//!   add nothing. Since exporters push once a minute by default, set `OTEL_METRIC_EXPORT_INTERVAL` to some
//!   seconds.
//! - Bounded: bodies, points, streams and names; what does not fit is counted and told to the sender.
//!
//! Protocol: <https://opentelemetry.io/docs/specs/otlp/> (1.9).

mod answer;
mod arms;
mod check;
pub(crate) mod decode;
pub(crate) mod json;
mod model;
mod names;
mod protobuf;
mod samples;
mod stream;
mod told;
mod watch;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use jiff::{SignedDuration, Timestamp};

use self::model::Refused;
use self::watch::{IDLE, Identities, Watch, nanoseconds};
use crate::subject::Subject;
use crate::{Choice, Measured, MetricProvider};

pub use answer::{Accepted, Content, Rejected, Signal, come_back, refusal};

/// Services whose names are kept for messages.
const MOST_SERVICES: usize = 1_000;

/// A deployment that nobody measured for this long is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(15);

/// Bounds of what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Most bytes of one body, packed and unpacked.
    pub max_bytes: usize,
    /// Most streams (one metric, one set of attributes, one process) of one deployment.
    pub max_streams: usize,
    /// Most streams of all deployments.
    pub max_all_streams: usize,
    /// When an arm pushed nothing for this long, it is stale; some three export intervals.
    pub stale_after: Duration,
}

impl Default for OtlpSettings {
    /// 64 MiB, 10,000 and 100,000 streams, and three times the minute that exporters wait by default.
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1_024 * 1_024,
            max_streams: 10_000,
            max_all_streams: 100_000,
            stale_after: Duration::from_secs(180),
        }
    }
}

/// Pushed metrics as a source of observations.
#[derive(Debug)]
pub struct Otlp {
    settings: OtlpSettings,
    identities: Identities,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the subject's id.
    watches: HashMap<String, Kept>,
    by_service: HashMap<String, Vec<String>>,
    /// Streams of all deployments.
    streams: usize,
    /// When deployments that are no longer measured were last dropped.
    swept: Timestamp,
    /// Services that pushed lately, and when.
    seen: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Kept {
    service: String,
    watch: Arc<Mutex<Watch>>,
    /// Its streams, as of the last look.
    streams: usize,
    /// When it was last measured.
    measured: Timestamp,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves whole points: each is taken in at once.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Otlp {
    /// Nothing is kept yet.
    pub fn new(settings: OtlpSettings) -> Self {
        Self { settings, identities: Identities::default(), state: Mutex::default() }
    }

    /// Most bytes of one body.
    pub const fn max_bytes(&self) -> usize {
        self.settings.max_bytes
    }

    /// Takes in the body of one request, `encoding` being its `Content-Encoding` and `now` the receiver's clock.
    ///
    /// Works for up to some hundred milliseconds on a body of the largest size, so not on an asynchronous thread.
    ///
    /// # Errors
    /// When the body is too large, packed unknowably or malformed; nothing of it is taken in then, and sending it
    /// again will not help.
    pub fn receive(
        &self,
        body: &[u8],
        encoding: Option<&str>,
        content: Content,
        now: Timestamp,
    ) -> Result<Accepted, Rejected> {
        locked(&self.state).drop_forgotten(now);
        let wanted = |service: &str| self.wanted(service);
        let export = decode::decode(body, encoding, content, self.settings.max_bytes, &wanted)?;
        let now = nanoseconds(now);
        self.note_seen(export.seen, now);
        let mut refused = export.refused;
        for batch in &export.batches {
            refused.extend(&self.take(batch, now));
        }
        let rejected = refused.total();
        let message =
            (rejected > 0).then(|| format!("not all was counted: {}", refused.told().join("; ")));
        Ok(Accepted { rejected, message })
    }

    /// Hands a batch to everyone who waits for its service; returns what the first of them refused.
    fn take(&self, batch: &model::Batch, now: u64) -> Refused {
        let waiting = self.waiting(&batch.service);
        let mut first = None;
        for (id, watch, room) in waiting {
            let mut watch = locked(&watch);
            let most = self.settings.max_streams.min(watch.streams() + room);
            let refused = watch.take(batch, now, most, &self.identities);
            let streams = watch.streams();
            drop(watch);
            locked(&self.state).note_streams(&id, streams);
            first.get_or_insert(refused);
        }
        first.unwrap_or_default()
    }

    /// The watches of a service, with the streams that may still be added.
    fn waiting(&self, service: &str) -> Vec<(String, Arc<Mutex<Watch>>, usize)> {
        let state = locked(&self.state);
        let room = self.settings.max_all_streams.saturating_sub(state.streams);
        let ids = state.by_service.get(service).into_iter().flatten();
        ids.filter_map(|id| Some((id.clone(), state.watches.get(id)?.watch.clone(), room)))
            .collect()
    }

    /// Names of metrics that policies give for a service; `None` when nobody waits for it.
    fn wanted(&self, service: &str) -> Option<Vec<String>> {
        let waiting = self.waiting(service);
        let names = |watch: &Mutex<Watch>| -> Vec<String> {
            locked(watch).checks.iter().flat_map(check::Check::names).collect()
        };
        (!waiting.is_empty())
            .then(|| waiting.iter().flat_map(|(_, watch, _)| names(watch)).collect())
    }

    fn note_seen(&self, services: std::collections::BTreeSet<String>, now: u64) {
        let mut state = locked(&self.state);
        state.seen.extend(services.into_iter().map(|service| (service, now)));
        while state.seen.len() > MOST_SERVICES {
            let oldest = state.seen.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.map(|name| state.seen.remove(&name));
        }
    }

    fn one(&self, subject: &Subject, at: Timestamp) -> Measured {
        let now = nanoseconds(at);
        let (watch, seen) = {
            let mut state = locked(&self.state);
            let lately = |(_, seen): &(&String, &u64)| seen.saturating_add(IDLE) > now;
            let seen: Vec<String> =
                state.seen.iter().filter(lately).take(10).map(|(name, _)| name.clone()).collect();
            (state.watch(subject, at), seen)
        };
        let stale_after = u64::try_from(self.settings.stale_after.as_nanos()).unwrap_or(u64::MAX);
        let result = locked(&watch).measure(subject, at, stale_after, &seen);
        Measured { subject: subject.id.clone(), result: Ok(result) }
    }
}

impl State {
    /// The watch of a subject, begun where there is none.
    fn watch(&mut self, subject: &Subject, at: Timestamp) -> Arc<Mutex<Watch>> {
        let service = watch::service(subject);
        if let Some(kept) = self.watches.get_mut(&subject.id) {
            if kept.service == service {
                kept.measured = kept.measured.max(at);
                return kept.watch.clone();
            }
            self.forget(&subject.id);
        }
        let watch = Arc::new(Mutex::new(Watch::new(subject, at)));
        self.by_service.entry(service.clone()).or_default().push(subject.id.clone());
        let kept = Kept { service, watch: watch.clone(), streams: 0, measured: at };
        self.watches.insert(subject.id.clone(), kept);
        watch
    }

    fn forget(&mut self, subject: &str) {
        let Some(kept) = self.watches.remove(subject) else { return };
        self.streams = self.streams.saturating_sub(kept.streams);
        if let Some(ids) = self.by_service.get_mut(&kept.service) {
            ids.retain(|id| id != subject);
            if ids.is_empty() {
                self.by_service.remove(&kept.service);
            }
        }
    }

    fn note_streams(&mut self, subject: &str, streams: usize) {
        if let Some(kept) = self.watches.get_mut(subject) {
            self.streams = (self.streams + streams).saturating_sub(kept.streams);
            kept.streams = streams;
        }
    }

    /// Drops deployments that are no longer measured; looks once a minute.
    fn drop_forgotten(&mut self, now: Timestamp) {
        if now.duration_since(self.swept) < SignedDuration::from_mins(1) {
            return;
        }
        self.swept = now;
        let old = |kept: &Kept| now.duration_since(kept.measured) > FORGOTTEN;
        let ids: Vec<String> =
            self.watches.iter().filter(|(_, kept)| old(kept)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.forget(&id);
        }
    }
}

impl MetricProvider for Otlp {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        ready(subjects.iter().map(|subject| self.one(subject, at)).collect()).boxed()
    }

    fn chosen(&self, subject: &str) -> Vec<Choice> {
        let watch = locked(&self.state).watches.get(subject).map(|kept| kept.watch.clone());
        let Some(watch) = watch else { return Vec::new() };
        let watch = locked(&watch);
        let mut choices: Vec<Choice> = watch
            .checks
            .iter()
            .map(|check| {
                let name = &check.measure.check;
                let chosen = check.chosen.clone().unwrap_or_else(|| Err(told::undecided(name)));
                Choice { check: name.clone(), chosen }
            })
            .collect();
        choices.sort_by(|a, b| a.check.cmp(&b.check));
        choices
    }

    fn forget(&self, subject: &str) {
        locked(&self.state).forget(subject);
    }
}

#[cfg(test)]
mod tests;
