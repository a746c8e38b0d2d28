//! Reads both arms' counters for every live deployment: one loop and one timer for all of them.
//!
//! The embedded proxy's own counts are taken four times a second and cost no I/O. Scraped pages and
//! stores are asked when they are due, many subjects in one call; what hangs there holds up nobody else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use analysis::{Arm, Scrape, Test};
use analysis_providers::{
    Completeness, Instance, Measure, MeasureKind, Measured, MetricProvider, Source, Subject,
    Totals, TotalsDiffer,
};
use jiff::Timestamp;
use rollout::policy::{EDGE, Metrics};
use rollout::{DeploymentId, Happened, Live, Policy};
use rollout_routers::{LE, Proxy};
use rollout_targets::process::Processes;
use tokio::task::JoinSet;

use crate::board::Board;
use crate::clock::now;
use crate::driver::Inbox;

/// Between two looks at the proxy's counters: a version that fails every request is out within about a second.
const TICK: Duration = Duration::from_millis(250);

/// Looks that are skipped while baking, where hours of quarter seconds would only fill the journal.
const BAKING_EVERY: u32 = 4;

/// One live deployment being measured.
struct Meter {
    service: String,
    canary: String,
    stable: String,
    policy: Arc<Policy>,
    differ: TotalsDiffer,
    known: HashSet<String>,
    due: Timestamp,
    asked: bool,
    trouble: Option<String>,
}

/// What is measured, shared between the driver and the loop.
#[derive(Default)]
pub struct Meters(Mutex<HashMap<DeploymentId, Meter>>);

/// Everything that the loop reads from.
pub struct Sources {
    /// The embedded proxy.
    pub proxy: Proxy,
    /// The local processes, for their addresses.
    pub processes: Processes,
    /// The embedded scraper.
    pub scraper: Arc<dyn MetricProvider>,
    /// Stores from `serin.yaml`, by name.
    pub stores: BTreeMap<String, Arc<dyn MetricProvider>>,
}

impl Meters {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeploymentId, Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            due: now(),
            asked: false,
            trouble: None,
        });
    }

    /// Ends it.
    pub fn stop(&self, id: &DeploymentId) {
        self.lock().remove(id);
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
        let mut asked = JoinSet::new();
        let mut count = 0_u32;
        loop {
            let mut events = Vec::new();
            tokio::select! {
                _ = ticks.tick() => {
                    count = count.wrapping_add(1);
                    self.edge(&sources, &board, count, &mut events);
                    self.ask(&sources, &mut asked);
                }
                Some(answer) = asked.join_next() => match answer {
                    Ok(measured) => self.answered(measured, &board, &mut events),
                    Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a provider ended in a defect; please report it"),
                },
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
            if !from_proxy && !meter.reads(EDGE) {
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
                scrape.observations.retain(|o| o.check == "errors");
                for observation in &mut scrape.observations {
                    EDGE.clone_into(&mut observation.check);
                }
            }
            if scrape.observations.iter().any(has_requests) {
                let what = Happened::Observed { deployment: id.clone(), scrape };
                events.push((meter.service.clone(), what));
            }
        }
    }

    /// Asks each provider at once for everything that is due.
    fn ask(&self, sources: &Sources, asked: &mut JoinSet<Vec<Measured>>) {
        let at = now();
        let mut scraped = Vec::new();
        let mut stored: BTreeMap<&str, Vec<Subject>> = BTreeMap::new();
        let mut meters = self.lock();
        for (id, meter) in meters.iter_mut() {
            if meter.asked || at < meter.due {
                continue;
            }
            let policy = meter.policy.clone();
            let interval = match &policy.metrics {
                Metrics::Proxy => continue,
                Metrics::Scrape { path, interval } => {
                    scraped.push(meter.subject(id, sources, Some(path), None));
                    *interval
                }
                Metrics::Prometheus { provider, version_label, labels, interval } => {
                    let Some((name, _)) = sources.stores.get_key_value(provider) else {
                        meter.trouble.get_or_insert_with(|| {
                            format!("serin.yaml has no provider named {provider}")
                        });
                        continue;
                    };
                    stored.entry(name).or_default().push(meter.subject(
                        id,
                        sources,
                        None,
                        Some((version_label, labels)),
                    ));
                    *interval
                }
            };
            meter.asked = true;
            meter.due = at.checked_add(interval).unwrap_or(Timestamp::MAX);
        }
        drop(meters);
        // One call for each subject of the scraper, so that one slow page delays nobody else's; a
        // store is asked once for all, since it can answer them together.
        for subject in scraped {
            spawn(asked, sources.scraper.clone(), vec![subject], at);
        }
        for (name, subjects) in stored {
            if let Some(store) = sources.stores.get(name) {
                spawn(asked, store.clone(), subjects, at);
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
            let Some(meter) = meters.get_mut(&id) else { continue };
            meter.asked = false;
            board.metrics.scraped(source(&meter.policy.metrics), completeness(&one.result));
            let trouble = match one.result {
                Ok((scrape, completeness)) => {
                    if scrape.observations.iter().any(has_requests) {
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
            // Each trouble is told once, not at every scrape.
            if let Some(why) = &trouble
                && meter.trouble != trouble
            {
                let what = Happened::Unobserved { deployment: id, why: why.clone() };
                events.push((meter.service.clone(), what));
            }
            meter.trouble = trouble;
        }
    }
}

fn spawn(
    asked: &mut JoinSet<Vec<Measured>>,
    provider: Arc<dyn MetricProvider>,
    subjects: Vec<Subject>,
    at: Timestamp,
) {
    asked.spawn(async move { provider.measure(&subjects, at).await });
}

/// Where a policy's observations come from, for the metrics.
fn source(metrics: &Metrics) -> &str {
    match metrics {
        Metrics::Proxy => "proxy",
        Metrics::Scrape { .. } => "scrape",
        Metrics::Prometheus { provider, .. } => provider,
    }
}

fn completeness(
    result: &Result<(Scrape, Completeness), analysis_providers::FetchError>,
) -> &'static str {
    match result {
        Ok((_, Completeness::Full)) => "complete",
        Ok((_, Completeness::Partial(_))) => "partial",
        Ok((_, Completeness::None(_) | Completeness::Stale(_))) => "missing",
        Err(_) => "failed",
    }
}

fn has_requests(observation: &analysis::Observation) -> bool {
    match &observation.sample {
        analysis::Sample::Events { of, .. } => 0 < *of,
        analysis::Sample::Histogram { counts, .. } => counts.iter().any(|c| 0 < *c),
    }
}

impl Meter {
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

    fn subject(
        &self,
        id: &DeploymentId,
        sources: &Sources,
        path: Option<&str>,
        store: Option<(&String, &BTreeMap<String, String>)>,
    ) -> Subject {
        let arms = [(Arm::Canary, &self.canary), (Arm::Baseline, &self.stable)];
        let instances = arms.into_iter().flat_map(|(arm, revision)| {
            let labels = store.map_or_else(BTreeMap::new, |(label, labels)| {
                let mut labels = labels.clone();
                labels.insert(label.clone(), revision.clone());
                labels
            });
            // A store is asked for a version as a whole; it knows the instances itself.
            let running = match path {
                None => vec![(revision.clone(), None)],
                Some(path) => sources
                    .processes
                    .running(&self.service, revision)
                    .into_iter()
                    .map(|r| (r.instance, Some(format!("http://{}{path}", r.address))))
                    .collect(),
            };
            running.into_iter().map(move |(name, url)| Instance {
                name,
                arm,
                url,
                labels: labels.clone(),
            })
        });
        Subject {
            id: id.to_string(),
            service: self.service.clone(),
            instances: instances.collect(),
            measures: measures(&self.policy),
        }
    }
}

/// What a policy's checks read from a provider, each once.
pub fn measures(policy: &Policy) -> Vec<Measure> {
    let mut measures: Vec<Measure> = Vec::new();
    for check in &policy.analysis.checks {
        let kind = match check.test {
            Test::Errors { .. } | Test::ErrorObjective { .. } => MeasureKind::Errors,
            Test::Latency { .. } | Test::LatencyObjective { .. } => MeasureKind::Latency,
        };
        if check.reads != EDGE && measures.iter().all(|m| m.check != check.reads) {
            measures.push(Measure { check: check.reads.clone(), kind, source: Source::Auto });
        }
    }
    measures
}
