//! Reads both arms' counters for every live deployment: one loop and one timer for all of them.
//!
//! The embedded proxy's own counts are taken four times a second and cost no I/O. Scraped pages and
//! stores are asked when they are due, many subjects in one call; what hangs there holds up nobody else.

mod attempts;
mod beside;
mod restarts;
mod subject;
mod walks;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use analysis::{Arm, Observation, Scrape};
use analysis_providers::intake::Intake;
use analysis_providers::{
    Completeness, FetchError, Measured, MetricProvider, Rum, Subject, Totals, TotalsDiffer,
};
use jiff::Timestamp;
use rollout::policy::{EDGE, Metrics};
use rollout::{DeploymentId, Happened, Live, Policy};
use rollout_routers::{LE, Proxy};
use rollout_targets::process::Processes;
use tokio::task::{Id, JoinError, JoinSet};

use self::attempts::Attempts;
use self::beside::Beside;
pub use self::beside::{arms, traced_as};
use self::restarts::Uptimes;
pub use self::subject::measures;
use self::subject::{counts_restarts, subject};
pub use self::walks::Trail;
use self::walks::{Trails, Walk, walks};
use crate::board::Board;
use crate::clock::now;
use crate::driver::Inbox;

/// Between two looks at the proxy's counters: a version that fails every request is out within about a second.
const TICK: Duration = Duration::from_millis(250);

/// Looks that are skipped while baking, where hours of quarter seconds would only fill the journal.
const BAKING_EVERY: u32 = 4;

/// Between two looks at what services pushed; it costs no I/O.
const PUSHED_EVERY: Duration = Duration::from_secs(1);

/// One live deployment being measured.
struct Meter {
    service: String,
    canary: String,
    stable: String,
    policy: Arc<Policy>,
    differ: TotalsDiffer,
    known: HashSet<String>,
    uptimes: Uptimes,
    due: Timestamp,
    asked: bool,
    trouble: Option<String>,
    beside: Beside,
    walks: Vec<Walk>,
}

/// What is measured, shared between the driver and the loop.
#[derive(Default)]
pub struct Meters {
    live: Mutex<HashMap<DeploymentId, Meter>>,
    /// Deployments that are measured no more, for providers to forget.
    ended: Mutex<Vec<DeploymentId>>,
    /// Deployments that are over, whose spans nobody will look at any more.
    finished: Mutex<Vec<DeploymentId>>,
    trails: Trails,
}

/// Everything that the loop reads from.
pub struct Sources {
    /// The embedded proxy.
    pub proxy: Proxy,
    /// The local processes, for their addresses.
    pub processes: Processes,
    /// The embedded scraper.
    pub scraper: Arc<dyn MetricProvider>,
    /// What services push to Serin.
    pub otlp: Arc<dyn MetricProvider>,
    /// Spans that services push to Serin.
    pub spans: Arc<Intake>,
    /// What browsers report to Serin.
    pub browsers: Arc<Rum>,
    /// Makes the requests of synthetic journeys.
    pub client: reqwest::Client,
    /// Stores from `serin.yaml`, by name.
    pub stores: BTreeMap<String, Arc<dyn MetricProvider>>,
}

impl Meters {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeploymentId, Meter>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to measure a deployment; again is the same.
    pub fn start(&self, service: &str, live: &Live) {
        let id = live.deployment.id.clone();
        self.lock().entry(id).or_insert_with(|| Meter {
            service: service.to_owned(),
            canary: live.deployment.canary.revision().to_string(),
            stable: live.deployment.stable.revision.to_string(),
            policy: live.deployment.canary.policy.clone(),
            differ: TotalsDiffer::default(),
            known: HashSet::new(),
            uptimes: Uptimes::default(),
            due: now(),
            asked: false,
            trouble: None,
            beside: Beside::default(),
            walks: walks(&live.deployment.canary.policy),
        });
    }

    /// What the journeys of a deployment left behind.
    pub fn trail(&self, id: &DeploymentId) -> Trail {
        self.trails.of(id)
    }

    /// A deployment is over, and its traces have been looked at.
    pub fn finish(&self, id: &DeploymentId) {
        self.stop(id);
        self.trails.forget(id);
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).push(id.clone());
    }

    /// Ends it.
    pub fn stop(&self, id: &DeploymentId) {
        if self.lock().remove(id).is_some() {
            self.ended().push(id.clone());
        }
    }

    fn ended(&self) -> MutexGuard<'_, Vec<DeploymentId>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process ended by itself.
    pub fn exited(&self, service: &str, revision: &str, instance: &str) {
        for meter in self.lock().values_mut().filter(|meter| meter.service == service) {
            if [&*meter.canary, &*meter.stable].contains(&revision) {
                meter.uptimes.exited(instance);
            }
        }
    }

    /// How many deployments are measured.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Reads until the driver stops.
    pub async fn run(self: Arc<Self>, sources: Arc<Sources>, inbox: Inbox, board: Arc<Board>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut attempts = Attempts::default();
        let mut walking = JoinSet::new();
        let mut count = 0_u32;
        loop {
            let mut events = Vec::new();
            tokio::select! {
                _ = ticks.tick() => {
                    count = count.wrapping_add(1);
                    self.edge(&sources, &board, count, &mut events);
                    self.forget(&sources);
                    self.ask(&sources, &mut attempts, &mut events);
                    self.beside(&sources, now(), &mut events);
                    self.set_out(&sources, now(), &mut walking);
                }
                Some(Ok(walked)) = walking.join_next() => self.came_back(walked, &mut events),
                Some(answer) = attempts.tasks.join_next_with_id() => {
                    let measured = self.finished(&mut attempts, answer);
                    self.answered(measured, &board, &mut events);
                }
            }
            for (service, what) in events {
                if inbox.send(&service, what).await.is_err() {
                    return;
                }
            }
        }
    }

    /// The proxy's counts of every deployment that is judged by them.
    fn edge(
        &self,
        sources: &Sources,
        board: &Board,
        count: u32,
        events: &mut Vec<(String, Happened)>,
    ) {
        let at = now();
        for (id, meter) in self.lock().iter_mut() {
            let from_proxy = meter.policy.metrics == Metrics::Proxy;
            let at_the_edge = meter.reads(EDGE);
            let restarts = counts_restarts(&meter.policy);
            if !from_proxy && !at_the_edge && !restarts {
                continue;
            }
            let baking = board
                .service(&meter.service)
                .and_then(|s| s.live.as_ref().map(|live| live.phase == "baking"))
                .unwrap_or(false);
            if baking && !count.is_multiple_of(BAKING_EVERY) {
                continue;
            }
            let totals = meter.totals(&sources.proxy);
            let mut scrape = meter.differences(at, &totals);
            if !from_proxy {
                scrape.observations.retain(|o| at_the_edge && o.check == "errors");
                for observation in &mut scrape.observations {
                    EDGE.clone_into(&mut observation.check);
                }
            }
            if restarts {
                scrape.observations.extend(meter.restarts(at, &sources.processes));
            }
            if scrape.observations.iter().any(|o| o.sample.says_something()) {
                let what = Happened::Observed { deployment: id.clone(), scrape };
                events.push((meter.service.clone(), what));
            }
        }
    }

    /// Lets providers forget what is measured no more.
    fn forget(&self, sources: &Sources) {
        let ended = std::mem::take(&mut *self.ended());
        for id in ended {
            let id = id.to_string();
            let all = [&sources.scraper, &sources.otlp].into_iter().chain(sources.stores.values());
            all.for_each(|provider| provider.forget(&id));
            sources.browsers.forget(&id);
        }
        let finished =
            std::mem::take(&mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner));
        for id in finished {
            sources.spans.forget(&id.to_string());
        }
    }

    /// Asks each provider at once for everything that is due.
    fn ask(
        &self,
        sources: &Sources,
        attempts: &mut Attempts,
        events: &mut Vec<(String, Happened)>,
    ) {
        let at = now();
        let (mut scraped, mut pushed, mut traced) = (Vec::new(), Vec::new(), Vec::new());
        let mut stored: BTreeMap<&str, Vec<Subject>> = BTreeMap::new();
        for (id, meter) in self.lock().iter_mut() {
            if meter.asked || at < meter.due {
                continue;
            }
            let due = match &meter.policy.metrics {
                Metrics::Proxy => continue,
                Metrics::Scrape { interval, .. } => {
                    scraped.push(meter.subject(id, sources));
                    at.checked_add(*interval).unwrap_or(Timestamp::MAX)
                }
                Metrics::Otlp { .. } => {
                    pushed.push(meter.subject(id, sources));
                    together(at, PUSHED_EVERY)
                }
                Metrics::Traces { .. } => {
                    traced.push(meter.subject(id, sources));
                    together(at, PUSHED_EVERY)
                }
                Metrics::Prometheus { provider, interval, .. }
                | Metrics::Store { provider, interval, .. } => {
                    let Some((name, _)) = sources.stores.get_key_value(provider) else {
                        let why = format!("serin.yaml has no provider named {provider}");
                        events.extend(meter.trouble(id, Some(why)));
                        continue;
                    };
                    stored.entry(name).or_default().push(meter.subject(id, sources));
                    together(at, *interval)
                }
            };
            meter.asked = true;
            meter.due = due;
        }
        // One call for each subject of the scraper, so that one slow page delays nobody else's; a
        // store is asked once for all, since it can answer them together.
        for subject in scraped {
            attempts.begin(&sources.scraper, vec![subject], at);
        }
        if !pushed.is_empty() {
            attempts.begin(&sources.otlp, pushed, at);
        }
        if !traced.is_empty() {
            let spans: Arc<dyn MetricProvider> = sources.spans.clone();
            attempts.begin(&spans, traced, at);
        }
        for (name, subjects) in stored {
            if let Some(store) = sources.stores.get(name) {
                attempts.begin(store, subjects, at);
            }
        }
    }

    /// What an attempt brought. One that ended in a defect brings nothing, and its deployments are asked again.
    fn finished(
        &self,
        attempts: &mut Attempts,
        answer: Result<(Id, Vec<Measured>), JoinError>,
    ) -> Vec<Measured> {
        match answer {
            Ok((id, measured)) => {
                attempts.deployments.remove(&id);
                measured
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a provider ended in a defect; please report it"
                );
                let mut meters = self.lock();
                for id in attempts.deployments.remove(&error.id()).unwrap_or_default() {
                    if let Some(meter) = meters.get_mut(&id) {
                        meter.asked = false;
                    }
                }
                Vec::new()
            }
        }
    }

    fn answered(
        &self,
        measured: Vec<Measured>,
        board: &Board,
        events: &mut Vec<(String, Happened)>,
    ) {
        let mut meters = self.lock();
        for one in measured {
            let id = DeploymentId::from_text(&one.subject);
            let Some(meter) = meters.get_mut(&id) else {
                // It ended meanwhile, and the provider has just remembered it again.
                self.ended().push(id);
                continue;
            };
            meter.asked = false;
            board.metrics.scraped(source(&meter.policy.metrics), completeness(&one.result));
            let trouble = match one.result {
                Ok((scrape, completeness)) => {
                    if scrape.observations.iter().any(|o| o.sample.says_something()) {
                        let what = Happened::Observed { deployment: id.clone(), scrape };
                        events.push((meter.service.clone(), what));
                    }
                    match completeness {
                        Completeness::Full => None,
                        Completeness::Partial(why) => {
                            Some(format!("only part of the metrics can be read: {why}"))
                        }
                        Completeness::None(why) => Some(format!("there are no metrics: {why}")),
                        Completeness::Stale(why) => Some(format!("the metrics are stale: {why}")),
                    }
                }
                Err(error) => Some(format!("the metrics cannot be read: {}", crate::chain(&error))),
            };
            events.extend(meter.trouble(&id, trouble));
        }
    }
}

/// The next beginning of an interval, the same for everyone, so that whoever asks a store that often is asked for
/// in one call.
fn together(at: Timestamp, interval: Duration) -> Timestamp {
    let length = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let next = (at.as_millisecond().div_euclid(length) + 1).saturating_mul(length);
    Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX)
}

/// Where a policy's observations come from, for the metrics.
fn source(metrics: &Metrics) -> &str {
    match metrics {
        Metrics::Proxy => "proxy",
        Metrics::Scrape { .. } => "scrape",
        Metrics::Otlp { .. } => "otlp",
        Metrics::Traces { .. } => "traces",
        Metrics::Prometheus { provider, .. } | Metrics::Store { provider, .. } => provider,
    }
}

fn completeness(result: &Result<(Scrape, Completeness), FetchError>) -> &'static str {
    match result {
        Ok((_, Completeness::Full)) => "complete",
        Ok((_, Completeness::Partial(_))) => "partial",
        Ok((_, Completeness::None(_) | Completeness::Stale(_))) => "missing",
        Err(_) => "failed",
    }
}

impl Meter {
    /// Takes in what troubles its source; each trouble is told once, not at every scrape.
    fn trouble(
        &mut self,
        id: &DeploymentId,
        trouble: Option<String>,
    ) -> Option<(String, Happened)> {
        let new = trouble.clone().filter(|_| self.trouble != trouble);
        self.trouble = trouble;
        let what = Happened::Unobserved { deployment: id.clone(), why: new? };
        Some((self.service.clone(), what))
    }

    fn reads(&self, name: &str) -> bool {
        self.policy.analysis.checks.iter().any(|check| check.reads == name)
    }

    fn totals(&self, proxy: &Proxy) -> Vec<Totals> {
        let counts = proxy.counts(&self.service).into_iter();
        counts
            .map(|c| Totals {
                arm: c.arm,
                instance: c.instance,
                completed: c.completed,
                failed: c.failed,
                le: LE.to_vec(),
                counts: c.counts.to_vec(),
            })
            .collect()
    }

    fn differences(&mut self, at: Timestamp, totals: &[Totals]) -> Scrape {
        // The proxy counts an instance from zero when it is added, which for the canary is after
        // this meter began: its first counts are differences already.
        let fresh: Vec<Totals> = totals
            .iter()
            .filter(|t| t.arm == Arm::Canary && !self.known.contains(&t.instance))
            .map(|t| Totals {
                completed: 0,
                failed: 0,
                counts: vec![0; t.counts.len()],
                ..t.clone()
            })
            .collect();
        if !fresh.is_empty() {
            let before = at.checked_sub(TICK).unwrap_or(at);
            self.differ.observe(before, &fresh);
            self.known.extend(fresh.into_iter().map(|t| t.instance));
        }
        let (scrape, refused) = self.differ.observe(at, totals);
        for refusal in refused {
            tracing::debug!(service = self.service, ?refusal, "counts of the proxy were refused");
        }
        scrape
    }

    /// What a provider is asked for this deployment.
    fn subject(&self, id: &DeploymentId, sources: &Sources) -> Subject {
        let revisions = [&*self.canary, &*self.stable];
        subject(&id.to_string(), &self.service, &self.policy, revisions, &sources.processes)
    }

    /// Restarts of the processes since the look before.
    fn restarts(&mut self, at: Timestamp, processes: &Processes) -> Vec<Observation> {
        let of = |(arm, revision): (Arm, &str)| {
            let running = processes.running(&self.service, revision).into_iter();
            running.map(move |process| (arm, process.instance)).collect::<Vec<_>>()
        };
        let arms = [(Arm::Canary, &*self.canary), (Arm::Baseline, &*self.stable)];
        let running: Vec<_> = arms.into_iter().flat_map(of).collect();
        self.uptimes.observe(at, running)
    }
}

#[cfg(test)]
mod tests;
