//! Everything that is kept of pushed spans, behind one lock that is held for moments.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use analysis::Arm;
use analysis_traces::{Arms, Refused, Resource, Span, TraceId};

use super::complete::Complete;
use super::decided::Decided;
use super::history::Services;
use super::request;
use super::tail::{Pending, Tail, Times};
use super::told::{arms_of, service_of};
use super::watch::Watch;
use super::{IntakeSettings, nanoseconds_of};
use crate::subject::Subject;

/// Services whose names are kept for messages.
const MOST_SEEN: usize = 1_000;

/// Services that one body may make known.
const MOST_NEW: usize = 64;

/// Longest name of a service in bytes.
const LONGEST_NAME: usize = 256;

/// A deployment that nobody asked about for this long is forgotten; nanoseconds.
const FORGOTTEN: u64 = 900 * 1_000_000_000;

/// Between two looks for such; nanoseconds.
const SWEEP: u64 = 60 * 1_000_000_000;

/// A service that pushed nothing for this long does not push; nanoseconds.
const LATELY: u64 = 600 * 1_000_000_000;

/// What is kept.
#[derive(Debug)]
pub(super) struct State {
    settings: IntakeSettings,
    pub(super) services: Services,
    pub(super) watches: HashMap<String, Watch>,
    pub(super) tail: Tail,
    decided: Decided,
    /// Services that pushed lately, and when.
    seen: BTreeMap<String, u64>,
    /// Spans and bytes in all reservoirs.
    kept: (usize, usize),
    swept: u64,
    /// The newest time that anybody told.
    now: u64,
}

impl State {
    pub(super) fn new(settings: IntakeSettings) -> Self {
        let times = Times {
            settle: nanoseconds_of(settings.settle),
            quiet: nanoseconds_of(settings.quiet.min(settings.settle)),
        };
        Self {
            tail: Tail::new(times),
            settings,
            services: Services::default(),
            watches: HashMap::new(),
            decided: Decided::default(),
            seen: BTreeMap::new(),
            kept: (0, 0),
            swept: 0,
            now: 0,
        }
    }

    /// Spans and bytes that are held.
    pub(super) fn held(&self) -> (usize, usize) {
        let bytes = self.tail.bytes() + self.kept.1 + self.decided.bytes();
        (self.tail.spans() + self.kept.0, bytes)
    }

    /// Notes which services send spans.
    pub(super) fn note_seen(&mut self, spans: &[Span], now: u64) {
        let mut before: Option<&Arc<Resource>> = None;
        let mut new = 0;
        for span in spans {
            if before.is_some_and(|before| Arc::ptr_eq(before, &span.resource)) {
                continue;
            }
            before = Some(&span.resource);
            let service = &*span.resource.service;
            if let Some(seen) = self.seen.get_mut(service) {
                *seen = now;
            } else if new < MOST_NEW && !service.is_empty() && service.len() <= LONGEST_NAME {
                new += 1;
                self.seen.insert(service.to_owned(), now);
            }
        }
        while self.seen.len() > MOST_SEEN {
            let oldest = self.seen.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.map(|name| self.seen.remove(&name));
        }
    }

    /// Services that pushed lately, without this one.
    pub(super) fn others(&self, service: &str, now: u64) -> Vec<String> {
        let others = self
            .seen
            .iter()
            .filter(|(name, at)| **name != service && at.saturating_add(LATELY) > now);
        others.take(10).map(|(name, _)| name.clone()).collect()
    }

    /// Whether a service pushed lately.
    pub(super) fn pushes(&self, service: &str, now: u64) -> bool {
        self.seen.get(service).is_some_and(|at| at.saturating_add(LATELY) > now)
    }

    /// Takes in spans, sorted by trace; returns how many had no place, and what is complete.
    pub(super) fn add(&mut self, mut spans: Vec<Span>, now: u64) -> (u64, Vec<(TraceId, Pending)>) {
        self.advance(now);
        let mut wanted = Wanted::default();
        spans.retain(|span| {
            let counts = span.kind.receives() && wanted.of(&self.services, span).is_some();
            !(counts && self.decided.contains(span))
        });
        let mut refused = 0;
        let mut rest = spans.into_iter().peekable();
        while let Some(trace) = rest.peek().map(|span| span.trace) {
            let group = std::iter::from_fn(|| rest.next_if(|span| span.trace == trace));
            let Self { services, watches, tail, decided, .. } = self;
            refused += tail.add(trace, group, now, |pending, from| {
                look(pending, from, now, services, watches, decided, &mut wanted);
            });
            let (spans, bytes) = self.room();
            self.tail.make_room(spans, bytes);
        }
        let (spans, bytes) = self.room();
        self.tail.relax(spans, bytes, now);
        (refused, self.tail.due(now))
    }

    /// Spans and bytes that traces under way may take.
    fn room(&self) -> (usize, usize) {
        let bytes = self.kept.1 + self.decided.bytes();
        (
            self.settings.max_spans.saturating_sub(self.kept.0),
            self.settings.max_held.saturating_sub(bytes).max(self.settings.max_held / 4),
        )
    }

    /// Takes in what complete traces say.
    pub(super) fn take(&mut self, complete: Vec<Complete>, now: u64) {
        // Half of all room, shared by those that have anything.
        let filled = self.watches.values().filter(|watch| !watch.reservoir.is_empty()).count();
        let share = 2 * filled.max(1);
        let most = (self.settings.max_spans / share, self.settings.max_held / share);
        for Complete { service: name, requests, synthetic, refused } in complete {
            let Some(service) = self.services.get_mut(&name) else { continue };
            for subtree in synthetic {
                for id in &service.watches {
                    if let Some(watch) = self.watches.get_mut(id) {
                        watch.take_synthetic(&subtree);
                    }
                }
            }
            for mut request in requests {
                let mut subtree = request.subtree.take();
                let mut is_canary = service.may_be_canary(&request.resource, now);
                for (at, id) in service.watches.iter().enumerate() {
                    let Some(watch) = self.watches.get_mut(id) else { continue };
                    let is_last = at + 1 == service.watches.len();
                    let own = if is_last { subtree.take() } else { subtree.clone() };
                    is_canary |= watch.take(&request, own, most.1) == Some(Arm::Canary);
                }
                if !is_canary {
                    for error in &request.errors {
                        service.note(error.fingerprint, now);
                    }
                }
            }
            for id in &service.watches {
                let Some(watch) = self.watches.get_mut(id) else { continue };
                add(&mut watch.refused, refused);
                let reservoir = &mut watch.reservoir;
                while (reservoir.spans() > most.0 || reservoir.bytes() > most.1)
                    && reservoir.shrink()
                {}
            }
        }
        self.count_kept();
    }

    fn count_kept(&mut self) {
        self.kept = self.watches.values().fold((0, 0), |(spans, bytes), watch| {
            (spans + watch.reservoir.spans(), bytes + watch.reservoir.bytes())
        });
    }

    /// Watches a deployment with given arms; the same again only says that it still lives.
    pub(super) fn watch(&mut self, id: &str, service: &str, arms: &Arms, now: u64) {
        self.advance(now);
        let watch = self.begun(id, service, arms, now);
        watch.is_given = true;
        if watch.arms != *arms {
            watch.arms = arms.clone();
        }
    }

    /// Watches a deployment as a provider of metrics.
    pub(super) fn watch_subject(&mut self, subject: &Subject, now: u64) -> &mut Watch {
        self.advance(now);
        let arms = arms_of(subject);
        let watch = self.begun(&subject.id, service_of(subject), &arms, now);
        if !watch.is_given && watch.arms != arms {
            watch.arms = arms;
        }
        watch.measure_by(&subject.measures);
        watch
    }

    /// The watch of a deployment, begun where there is none of this service.
    fn begun(&mut self, id: &str, service: &str, arms: &Arms, now: u64) -> &mut Watch {
        if self.watches.get(id).is_some_and(|watch| &*watch.service != service) {
            self.forget(id);
        }
        let room = self.settings.per_reservoir.saturating_mul(4);
        let wanted = self.services.want(service, now);
        let known = if wanted.watches.iter().any(|other| other == id) {
            BTreeSet::new()
        } else {
            wanted.watches.push(id.to_owned());
            wanted.known(now)
        };
        let name = self.services.wanted(service).unwrap_or_else(|| service.into());
        let watch = self
            .watches
            .entry(id.to_owned())
            .or_insert_with(|| Watch::new(name, arms.clone(), known, room, now));
        watch.asked = watch.asked.max(now);
        watch
    }

    /// Ends a watch.
    pub(super) fn forget(&mut self, id: &str) {
        let Some(watch) = self.watches.remove(id) else { return };
        let now = self.now;
        if let Some(service) = self.services.get_mut(&watch.service) {
            service.watches.retain(|other| other != id);
            service.end(watch.arms, now);
        }
        self.count_kept();
    }

    /// Drops deployments that nobody asks about any more; looks once a minute.
    fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        if now < self.swept.saturating_add(SWEEP) {
            return;
        }
        self.swept = now;
        let is_old = |watch: &Watch| watch.asked.saturating_add(FORGOTTEN) < now;
        let old: Vec<String> = self
            .watches
            .iter()
            .filter(|(_, watch)| is_old(watch))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &old {
            self.forget(id);
        }
    }
}

/// Looks at the new spans of a trace: which wanted services it touches, and which requests are to be counted.
fn look(
    pending: &mut Pending,
    from: usize,
    now: u64,
    services: &Services,
    watches: &mut HashMap<String, Watch>,
    decided: &mut Decided,
    wanted: &mut Wanted,
) {
    for index in from..pending.spans.len() {
        let span = &pending.spans[index];
        let Some(service) = wanted.of(services, span) else { continue };
        let is_new = span.kind.receives() && decided.insert(span, now);
        let is_entry = is_new && !pending.has_parent_of_service(span) && request::is_counted(span);
        if is_entry {
            let ids = services.get(service).map(|service| &service.watches);
            for id in ids.into_iter().flatten() {
                if let Some(watch) = watches.get_mut(id) {
                    watch.count(span, now);
                }
            }
            pending.enter(now);
        }
        pending.touch(service);
    }
}

/// Whether a span's service is wanted, asked once for neighbours of one process.
#[derive(Debug, Default)]
struct Wanted {
    last: Option<(Arc<Resource>, Option<Arc<str>>)>,
}

impl Wanted {
    fn of(&mut self, services: &Services, span: &Span) -> Option<&Arc<str>> {
        let is_last = self.last.as_ref().is_some_and(|(last, _)| Arc::ptr_eq(last, &span.resource));
        if !is_last {
            let service = services.wanted(&span.resource.service);
            self.last = Some((span.resource.clone(), service));
        }
        self.last.as_ref().and_then(|(_, service)| service.as_ref())
    }
}

fn add(sum: &mut Refused, more: Refused) {
    sum.duplicates += more.duplicates;
    sum.backwards += more.backwards;
    sum.cycles += more.cycles;
    sum.orphans += more.orphans;
    sum.incomplete += more.incomplete;
    sum.skewed += more.skewed;
    sum.oversized += more.oversized;
    sum.synthetic += more.synthetic;
}
