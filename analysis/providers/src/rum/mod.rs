//! Real user monitoring: what browsers report of the pages that real people look at, as a source of observations.
//!
//! A version can answer every request quickly and still be worse: its page jumps, its script breaks. Only browsers
//! know. They report each page view's web vitals and script errors, with the version of the page; here they are
//! counted per arm: page views whose vital is poor, and sessions with a script error.
//!
//! - Exact: the last value of each page view counts, once, when it has settled; what is reported again adds nothing.
//!   The rules are told in `ids.rs` and held against a naive model by tests.
//! - Private: kept are counts, page groups, masked error messages, and for half an hour keyed hashes of the ids of
//!   sessions and page views. No query string, address, user, or user agent is looked at.
//! - Bounded: 64 KiB a beacon, so many a second for each origin and session, so many ids.
//!
//! Anyone who can open the page can report whatever they like. The limits keep that from costing memory, and a flood
//! shows in [`RumCounts::left_out`]; it cannot be told from people.

mod answer;
mod arms;
mod beacon;
mod ids;
mod limits;
mod private;
mod told;
mod totals;
mod vital;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use jiff::{SignedDuration, Timestamp};

use self::answer::{Left, LeftOut};
use self::beacon::Beacon;
use self::ids::{Ids, Place, Settled};
use self::limits::Buckets;
use self::totals::Totals;
use self::watch::Watch;
use crate::subject::Subject;
use crate::{Choice, Completeness, Measured, MetricProvider};

pub use self::answer::{AppCounts, ErrorCount, Refused, RumCounts, Share, Taken};
pub use self::limits::Rate;
pub use self::vital::Vital;

/// Most bytes of one beacon, packed and unpacked.
pub const MOST_BYTES: usize = beacon::LARGEST;

/// Sessions whose rate is kept.
const MOST_SESSIONS: usize = 50_000;

/// A deployment that nobody measured for this long is forgotten.
const FORGOTTEN: SignedDuration = SignedDuration::from_mins(15);

/// Who may report, how much, and whose pages they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RumSettings {
    /// Origins of pages that may report, as browsers write them, e.g. `https://shop.example`.
    pub origins: BTreeSet<String>,
    /// The service that each app is a page of. Empty: every app is accepted and is the service of its own name.
    pub apps: BTreeMap<String, String>,
    /// What pages send as `x-api-key`, if they must. It is public, as the page is: it keeps out strays, not attackers.
    pub key: Option<String>,
    /// Beacons of one origin.
    pub origin_rate: Rate,
    /// Beacons of one session.
    pub session_rate: Rate,
    /// Most page views' vitals and sessions that are kept, half an hour each; some 120 bytes for each.
    pub max_ids: usize,
    /// When an arm had no page view for this long, it is stale.
    pub stale_after: Duration,
}

impl Default for RumSettings {
    /// No origin, 200 beacons a second of one origin (1,000 at once) and 2 of one session (60 at once), 250,000 ids,
    /// which are some 23 page views a second, and ten minutes.
    fn default() -> Self {
        Self {
            origins: BTreeSet::new(),
            apps: BTreeMap::new(),
            key: None,
            origin_rate: Rate { per_second: 200, burst: 1_000 },
            session_rate: Rate { per_second: 2, burst: 60 },
            max_ids: 250_000,
            stale_after: Duration::from_mins(10),
        }
    }
}

/// One beacon as it arrived.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival<'a> {
    /// The body as it came.
    pub body: &'a [u8],
    /// `Content-Encoding`.
    pub encoding: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `x-api-key`, or `key` of the query.
    pub key: Option<&'a str>,
    /// `app` of the query, for senders whose body does not name it.
    pub app: Option<&'a str>,
    /// `version` of the query, for the same.
    pub version: Option<&'a str>,
    /// Whether its headers say that a check sent it.
    pub synthetic: bool,
}

/// Reports of browsers as a source of observations.
#[derive(Debug)]
pub struct Rum {
    settings: RumSettings,
    /// Hashes that nobody outside can aim at or turn back.
    hashes: (RandomState, RandomState),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The latest time that was told; it never goes back. Nanoseconds since 1970.
    now: i64,
    ids: Ids,
    totals: Totals,
    left: Left,
    /// What was left out in the last minute.
    lately: Left,
    origins: Buckets,
    sessions: Buckets,
    /// By the subject's id.
    watches: HashMap<String, Watch>,
    /// Subjects that wait for an app.
    by_app: BTreeMap<String, BTreeSet<String>>,
    /// When deployments that are no longer measured were last dropped.
    swept: Timestamp,
}

impl Rum {
    /// Nothing is counted yet.
    pub fn new(settings: RumSettings) -> Self {
        let state = State {
            now: 0,
            ids: Ids::new(settings.max_ids),
            totals: Totals::default(),
            left: Left::default(),
            lately: Left::default(),
            origins: Buckets::new(settings.origin_rate, settings.origins.len().max(1)),
            sessions: Buckets::new(settings.session_rate, MOST_SESSIONS),
            watches: HashMap::new(),
            by_app: BTreeMap::new(),
            swept: Timestamp::UNIX_EPOCH,
        };
        Self { settings, hashes: Default::default(), state: Mutex::new(state) }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole reports: each is taken in at once.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether pages of this origin may report; what a CORS preflight asks.
    pub fn allows(&self, origin: &str) -> bool {
        self.settings.origins.contains(origin)
    }

    /// Takes in a payload of Grafana Faro, at the receiver's time.
    ///
    /// # Errors
    /// When nothing of it can be taken; the text says what to do.
    pub fn receive_faro(&self, arrival: &Arrival<'_>, now: Timestamp) -> Result<Taken, Refused> {
        self.admit(arrival, now)?;
        let body = beacon::json(arrival.body, arrival.encoding)?;
        self.take(beacon::faro(&body)?, arrival, now)
    }

    /// Takes in objects of the `web-vitals` library, or what Serin's own script sends, at the receiver's time.
    ///
    /// # Errors
    /// As [`Self::receive_faro`].
    pub fn receive_vitals(&self, arrival: &Arrival<'_>, now: Timestamp) -> Result<Taken, Refused> {
        self.admit(arrival, now)?;
        let body = beacon::json(arrival.body, arrival.encoding)?;
        let usual = serde_json::json!({ "app": arrival.app, "version": arrival.version });
        self.take(beacon::vitals(&body, &usual)?, arrival, now)
    }

    /// What was counted since the start, until `now`.
    pub fn counts(&self, now: Timestamp) -> RumCounts {
        let mut state = self.locked();
        state.advance(nanoseconds(now));
        RumCounts { apps: state.totals.told(), open: state.ids.open(), left_out: state.left.told() }
    }

    /// Checks who sends, before anything is unpacked.
    fn admit(&self, arrival: &Arrival<'_>, now: Timestamp) -> Result<(), Refused> {
        let origin = arrival.origin.ok_or(Refused::NoOrigin)?;
        if !self.allows(origin) {
            return Err(Refused::Origin(private::cut(origin, 80).to_owned()));
        }
        if self.settings.key.is_some() && self.settings.key.as_deref() != arrival.key {
            return Err(Refused::Key);
        }
        let who = self.hash(&origin);
        let mut state = self.locked();
        let now = state.advance(nanoseconds(now));
        let taken = state.origins.take(who, now);
        taken.map_err(|retry_after| Refused::TooOften { retry_after })
    }

    fn take(
        &self,
        beacon: Beacon,
        arrival: &Arrival<'_>,
        now: Timestamp,
    ) -> Result<Taken, Refused> {
        if !self.settings.apps.is_empty() && !self.settings.apps.contains_key(&beacon.app) {
            return Err(Refused::UnknownApp(beacon.app));
        }
        if beacon.versions.is_empty() {
            return Err(Refused::NoVersion);
        }
        let mut taken = Taken { vitals: 0, errors: 0, synthetic: false, left_out: Vec::new() };
        if arrival.synthetic || beacon.synthetic {
            taken.synthetic = true;
            return Ok(taken);
        }
        let Beacon { app, versions, page, session, ended, vitals, errors, mut left, .. } = beacon;
        let place = Arc::new(Place { app, versions, page });
        let mut state = self.locked();
        let now = state.advance(nanoseconds(now));
        if let Some(session) = &session {
            let who = self.hash(&(&place.app, session));
            let within = state.sessions.take(who, now);
            within.map_err(|retry_after| Refused::TooOften { retry_after })?;
        }
        let mut settled = Vec::new();
        for reported in vitals {
            let view = (&place.app, &place.versions);
            let id = self.hash(&(view, reported.vital, reported.id));
            let value = (reported.vital, reported.value, reported.stamp);
            match state.ids.vital(id, &place, value, now) {
                Ok(()) => taken.vitals += 1,
                Err(why) => left.add(why),
            }
            if ended {
                state.ids.end(id, &mut settled);
            }
        }
        if let Some(session) = session {
            let id = self.hash(&(&place.app, &place.versions, &place.page, session));
            match state.ids.session(id, &place, !errors.is_empty(), now) {
                Ok(()) => taken.errors = errors.len(),
                Err(why) => left.add(why),
            }
            if ended {
                state.ids.end(id, &mut settled);
            }
        } else {
            for _ in &errors {
                left.add(LeftOut::NoId);
            }
        }
        state.totals.fail(&place, &errors, now);
        state.count(&settled);
        state.left.extend(&left);
        state.lately.extend(&left);
        taken.left_out = left.told();
        Ok(taken)
    }

    fn hash(&self, what: &impl Hash) -> u128 {
        let (high, low) = (self.hashes.0.hash_one(what), self.hashes.1.hash_one(what));
        u128::from(high) << 64 | u128::from(low)
    }

    /// Apps whose pages belong to a subject.
    fn apps(&self, subject: &Subject) -> BTreeSet<String> {
        let named = watch::named_apps(subject).cloned();
        let usual: Vec<String> = if self.settings.apps.is_empty() {
            vec![subject.service.clone()]
        } else {
            let of = self.settings.apps.iter().filter(|(_, service)| **service == subject.service);
            of.map(|(app, _)| app.clone()).collect()
        };
        named.chain(usual).collect()
    }

    fn one(&self, subject: &Subject, at: Timestamp) -> Measured {
        let stale_after = i64::try_from(self.settings.stale_after.as_nanos()).unwrap_or(i64::MAX);
        let apps = self.apps(subject);
        let mut state = self.locked();
        let now = state.advance(nanoseconds(at));
        state.watch(subject, apps, at);
        let trouble = state.lately.troubles();
        let measured = state.watches.get_mut(&subject.id);
        let result = measured.map(|watch| watch.measure(at, now, stale_after));
        let result = result.unwrap_or_else(|| {
            let scrape = analysis::Scrape { at, observations: Vec::new() };
            (scrape, Completeness::None("nothing is measured".to_owned()))
        });
        let result = match (result, trouble) {
            ((scrape, Completeness::Full), Some(why)) => (scrape, Completeness::Partial(why)),
            (result, _) => result,
        };
        state.drop_forgotten(at);
        Measured { subject: subject.id.clone(), result: Ok(result) }
    }
}

impl State {
    /// Lets the time go on, counts what is due, and returns the time.
    fn advance(&mut self, now: i64) -> i64 {
        self.now = self.now.max(now);
        let mut settled = Vec::new();
        self.ids.advance(self.now, &mut settled);
        self.count(&settled);
        self.now
    }

    fn count(&mut self, settled: &[Settled]) {
        for one in settled {
            self.totals.take(one, self.now);
            for id in self.by_app.get(&one.place.app).into_iter().flatten() {
                if let Some(watch) = self.watches.get_mut(id) {
                    watch.take(one, self.now);
                }
            }
        }
    }

    /// Begins to watch a subject, or takes it as it is now.
    fn watch(&mut self, subject: &Subject, apps: BTreeSet<String>, at: Timestamp) {
        let id = &subject.id;
        if let Some(known) = self.watches.get_mut(id) {
            if *known.apps() == apps {
                known.renew(subject, apps);
                return;
            }
            let known = known.apps().clone();
            self.unlist(id, &known);
        }
        for app in &apps {
            self.by_app.entry(app.clone()).or_default().insert(id.clone());
        }
        match self.watches.get_mut(id) {
            Some(known) => known.renew(subject, apps),
            None => {
                self.watches.insert(id.clone(), Watch::new(subject, apps, at));
            }
        }
    }

    fn unlist(&mut self, id: &str, apps: &BTreeSet<String>) {
        for app in apps {
            if let Some(ids) = self.by_app.get_mut(app) {
                ids.remove(id);
                if ids.is_empty() {
                    self.by_app.remove(app);
                }
            }
        }
    }

    fn forget(&mut self, id: &str) {
        if let Some(watch) = self.watches.remove(id) {
            self.unlist(id, watch.apps());
        }
    }

    /// Drops deployments that are no longer measured; looks once a minute.
    fn drop_forgotten(&mut self, at: Timestamp) {
        if at.duration_since(self.swept) < SignedDuration::from_mins(1) {
            return;
        }
        self.swept = at;
        self.lately = Left::default();
        let old = |watch: &Watch| at.duration_since(watch.measured()) > FORGOTTEN;
        let ids: Vec<String> =
            self.watches.iter().filter(|(_, watch)| old(watch)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.forget(&id);
        }
    }
}

impl MetricProvider for Rum {
    fn measure<'a>(
        &'a self,
        subjects: &'a [Subject],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Measured>> {
        ready(subjects.iter().map(|subject| self.one(subject, at)).collect()).boxed()
    }

    fn chosen(&self, subject: &str) -> Vec<Choice> {
        let state = self.locked();
        let Some(watch) = state.watches.get(subject) else { return Vec::new() };
        let apps: Vec<&str> = watch.apps().iter().map(String::as_str).collect();
        let choice = |check: &watch::Check| Choice {
            check: check.measure.check.clone(),
            chosen: told::chosen(check.measure.kind, &apps),
        };
        watch.checks().iter().map(choice).collect()
    }

    fn forget(&self, subject: &str) {
        self.locked().forget(subject);
    }
}

/// Nanoseconds since 1970, 0 before that.
fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(0).max(0)
}

#[cfg(test)]
mod tests;
