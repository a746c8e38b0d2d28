//! Spans that services push to Serin: exact counts, new errors, and a few traces of each arm to compare.
//!
//! - Whose: `service.name` names the service; the arm follows from `service.version`, `vcs.ref.head.revision`, the
//!   pod template's hash or the instance, in this order ([`analysis_traces::Arms`]).
//! - What is counted: server and consumer spans whose parent is not of the same service, as far as it is known when
//!   they arrive; each once, also when an exporter sends it again. All that arrive count, whatever is kept of them.
//! - What is compared: complete traces, some hundred of each arm, chosen by [`analysis_traces::Reservoir`]. A trace
//!   is complete when nothing more came for a while after its entry. Senders flush every five seconds by default, so
//!   that shorter waits would cut the parts of other services off, and of one arm more often than of the other.
//! - Known errors: what a service showed in the day before, also while nothing is live.
//! - Bounded: bodies, spans, bytes, services, instances, errors. When more arrives than may be held, whole traces
//!   are given up by a hash of their id, which leaves a uniform sample of complete ones; counts stay exact.
//!
//! Protocol: <https://opentelemetry.io/docs/specs/otlp/> (1.9).

mod complete;
mod decided;
mod history;
mod provide;
mod request;
mod state;
mod tail;
mod tally;
mod told;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use analysis::Arm;
use analysis_traces::{Arms, EntrySubtree, Fingerprint, Refused, Requests, Span, Split, TraceId};
use jiff::Timestamp;

use self::complete::complete;
use self::state::State;
use self::tail::Pending;
use crate::otlp::{Accepted, Content, Rejected, decode::unpacked};
use crate::spans::{self, Decoded, Limits, Unreadable};

pub use told::NoTraces;
pub use watch::{ArmCount, ErrorCount};

/// Spans of a body that are decoded while nobody wants any: enough to know who sends.
const GLANCE: usize = 64;

/// When traces are asked for, one whose entry is there need not have been quiet for longer.
const EARLY: Duration = Duration::from_secs(2);

/// Bounds of what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntakeSettings {
    /// Most bytes of one body, packed and unpacked.
    pub max_bytes: usize,
    /// Most spans that are held, in traces under way and in reservoirs.
    pub max_spans: usize,
    /// Most bytes that these take, estimated from above.
    pub max_held: usize,
    /// Subtrees of one route and arm while other routes need room; an arm has room for four times as many.
    pub per_reservoir: usize,
    /// How long a trace may gather spans after its entry arrived.
    pub settle: Duration,
    /// Complete sooner when nothing came for this long; longer than senders wait between two batches.
    pub quiet: Duration,
    /// When an arm had no request for this long, it is stale.
    pub stale_after: Duration,
}

impl Default for IntakeSettings {
    /// 64 MiB, 200,000 spans in 256 MiB, 256 subtrees, 10 and 6 seconds, one minute.
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1_024 * 1_024,
            max_spans: 200_000,
            max_held: 256 * 1_024 * 1_024,
            per_reservoir: 256,
            settle: Duration::from_secs(10),
            quiet: Duration::from_secs(6),
            stale_after: Duration::from_secs(60),
        }
    }
}

/// Pushed spans: a source of observations and of traces.
#[derive(Debug)]
pub struct Intake {
    settings: IntakeSettings,
    state: Mutex<State>,
}

/// What is held at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Traces that gather spans.
    pub traces: usize,
    /// Spans in these and in reservoirs.
    pub spans: usize,
    /// Bytes that all of it takes, estimated from above.
    pub bytes: usize,
    /// Traces of wanted services that were given up because more arrived than may be held.
    pub given_up: u64,
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

fn nanoseconds_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Intake {
    /// Nothing is kept yet.
    pub fn new(settings: IntakeSettings) -> Self {
        let state = Mutex::new(State::new(settings.clone()));
        Self { settings, state }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole spans: each is taken in at once.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let body = unpacked(body, encoding, self.settings.max_bytes)?;
        let is_idle = self.locked().services.is_empty();
        let max_spans = if is_idle { GLANCE } else { self.settings.max_spans };
        let limits = Limits { max_bytes: self.settings.max_bytes, max_spans, ..Limits::default() };
        let Decoded { spans, refused } = match content {
            Content::Protobuf => spans::otlp_protobuf(&body, &limits),
            Content::Json => spans::otlp_json(&body, &limits),
        }
        .map_err(|error| rejected(error, content))?;
        let beyond = self.accept(spans, now);
        if is_idle {
            return Ok(Accepted::default());
        }
        let rejected = refused.total().saturating_add(beyond);
        let mut told = refused.told();
        if beyond > 0 {
            told.push(format!("{beyond} spans beyond what is held of one trace"));
        }
        let message = (rejected > 0).then(|| format!("not all was taken: {}", told.join("; ")));
        Ok(Accepted { rejected, message })
    }

    /// Takes in spans, in any order; returns how many had no place because their trace has too many.
    pub fn accept(&self, mut spans: Vec<Span>, now: Timestamp) -> u64 {
        let now = nanoseconds(now);
        spans.sort_by_key(|span| span.trace);
        let (refused, due) = {
            let mut state = self.locked();
            state.note_seen(&spans, now);
            if state.services.is_empty() {
                return 0;
            }
            state.add(spans, now)
        };
        self.finish(due, now);
        refused
    }

    /// Takes complete traces apart, outside of the lock, and keeps what they say.
    fn finish(&self, due: Vec<(TraceId, Pending)>, now: u64) {
        if !due.is_empty() {
            let complete =
                due.into_iter().flat_map(|(id, pending)| complete(id, pending)).collect();
            self.locked().take(complete, now);
        }
    }

    /// Finishes what is complete by now.
    fn settle(&self, now: u64) {
        let due = self.locked().tail.due(now);
        self.finish(due, now);
    }

    /// Begins to watch a live deployment; the same again only says that it still lives. It is watched until
    /// [`Self::forget`], or until nobody asked about it for 15 minutes.
    pub fn watch(&self, id: &str, service: &str, arms: &Arms, now: Timestamp) {
        self.locked().watch(id, service, arms, nanoseconds(now));
    }

    /// Ends it. What the service shows is still remembered, for its next deployment.
    pub fn forget(&self, id: &str) {
        self.locked().forget(id);
    }

    /// Notes errors of a service that were seen at this time, and has its spans looked at from now on, so that they
    /// are known when its next deployment begins.
    pub fn remember(
        &self,
        service: &str,
        errors: impl IntoIterator<Item = Fingerprint>,
        seen: Timestamp,
    ) {
        let seen = nanoseconds(seen);
        let mut state = self.locked();
        let service = state.services.want(service, seen);
        for error in errors {
            service.note(error, seen);
        }
    }

    /// Errors that a service showed in the day before, for [`Self::remember`] after a restart.
    pub fn remembered(&self, service: &str, now: Timestamp) -> BTreeSet<Fingerprint> {
        let state = self.locked();
        state.services.get(service).map(|it| it.known(nanoseconds(now))).unwrap_or_default()
    }

    /// Errors that were known before the canary of a deployment appeared: for [`analysis_traces::Settings`].
    pub fn known_errors(&self, id: &str) -> BTreeSet<Fingerprint> {
        self.locked().watches.get(id).map(|watch| watch.known().clone()).unwrap_or_default()
    }

    /// Exact counts of a deployment since the call before, or since it was last measured as a metric provider:
    /// each request is told once, to whoever asks first. Empty for one that is not watched.
    pub fn counts(&self, id: &str, now: Timestamp) -> Vec<ArmCount> {
        let now = nanoseconds(now);
        self.settle(now);
        let mut state = self.locked();
        let Some(watch) = state.watches.get_mut(id) else { return Vec::new() };
        watch.asked = watch.asked.max(now);
        watch.take_counts()
    }

    /// The traces that are kept of both arms, what was left out, and how many requests each arm had in all.
    ///
    /// # Errors
    /// When there are none to compare; show the message.
    pub fn subtrees(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<(Split, Refused, Requests), NoTraces> {
        let now = nanoseconds(now);
        self.settle(now);
        let early = self.locked().tail.early(now, nanoseconds_of(EARLY.min(self.settings.quiet)));
        self.finish(early, now);
        let mut state = self.locked();
        let Some(watch) = state.watches.get_mut(id) else {
            return Err(NoTraces::NotWatched(request::cut(id, 100).to_owned()));
        };
        watch.asked = watch.asked.max(now);
        let split = Split {
            baseline: watch.reservoir.kept(Arm::Baseline),
            canary: watch.reservoir.kept(Arm::Canary),
            unlabelled: watch.unlabelled,
        };
        let (requests, refused) = (watch.requests(), watch.refused);
        let is_one_sided = requests.baseline == 0 || requests.canary == 0;
        if is_one_sided || (split.baseline.is_empty() && split.canary.is_empty()) {
            let service = watch.service.clone();
            let (others, pushes) = (state.others(&service, now), state.pushes(&service, now));
            let watch = state.watches.get(id).map(|watch| told::nothing(watch, pushes, others));
            return Err(watch.unwrap_or_else(|| NoTraces::NotWatched(id.to_owned())));
        }
        Ok((split, refused, requests))
    }

    /// Requests that synthetic checks made, of the baseline and of the canary, at most sixty of each, the newest
    /// last. They are in no count.
    pub fn synthetic(&self, id: &str, now: Timestamp) -> [Vec<EntrySubtree>; 2] {
        let now = nanoseconds(now);
        self.settle(now);
        let early = self.locked().tail.early(now, nanoseconds_of(EARLY.min(self.settings.quiet)));
        self.finish(early, now);
        let state = self.locked();
        let Some(watch) = state.watches.get(id) else { return [Vec::new(), Vec::new()] };
        [Arm::Baseline, Arm::Canary]
            .map(|arm| watch.synthetic[watch::place(arm)].iter().cloned().collect())
    }

    /// What is held now.
    pub fn held(&self) -> Held {
        let state = self.locked();
        let (spans, bytes) = state.held();
        Held { traces: state.tail.traces(), spans, bytes, given_up: state.tail.given_up }
    }
}

/// A body that cannot be read, in the words of the protocol.
fn rejected(error: Unreadable, content: Content) -> Rejected {
    let what = content.named();
    match error {
        Unreadable::TooLarge { limit } => Rejected::TooLarge { limit },
        Unreadable::Gzip { cause } => Rejected::Malformed { what: "gzip", cause },
        Unreadable::Json { cause, .. } | Unreadable::Protobuf { cause, .. } => {
            Rejected::Malformed { what, cause }
        }
        Unreadable::Shape { found, expected, .. } => {
            Rejected::Malformed { what, cause: format!("found {found}, expected {expected}") }
        }
        Unreadable::Empty => Rejected::Malformed { what, cause: "it is empty".to_owned() },
        Unreadable::Refused { .. } | Unreadable::Unknown { .. } => {
            Rejected::Malformed { what, cause: error.to_string() }
        }
    }
}

#[cfg(test)]
mod tests;
