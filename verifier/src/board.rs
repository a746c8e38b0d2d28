//! What everyone else may see of the driver's states: a short record per service, troubles, and a
//! stream of what changes. Pages and the watcher read here and never hold the driver up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use rollout::{Policy, Release, Revision, State};
use serde::Serialize;
use tokio::sync::broadcast;

use crate::clock::now;
use crate::telemetry::metrics::Metrics;

/// Changes that a slow reader may fall behind before it has to read everything afresh.
const STREAM: usize = 1_024;

/// A service at a glance.
#[derive(Debug, Clone)]
pub struct Glance {
    /// Its name.
    pub service: String,
    /// Where it comes from, once a version was seen.
    pub repository: Option<String>,
    /// The version that serves.
    pub stable: Option<Release>,
    /// The newest tip that was taken in; `None` asks to look afresh.
    pub seen: Option<Revision>,
    /// The newest good policy.
    pub policy: Option<Arc<Policy>>,
    /// The deployment under way.
    pub live: Option<LiveGlance>,
    /// The commit that waits, for people.
    pub waiting: Option<String>,
    /// Why it waits for a person.
    pub hold: Option<String>,
    /// Whether a revert waits for approval.
    pub approvable: bool,
    /// The newest reason, and when.
    pub reason: Option<(Timestamp, String)>,
}

/// A deployment under way, at a glance. Also the shape that the API shows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveGlance {
    /// Its id.
    pub id: String,
    /// Short revision of the canary.
    pub revision: String,
    /// First line of its message.
    pub subject: String,
    /// Who wrote it.
    pub author: String,
    /// One or two words.
    pub phase: &'static str,
    /// Step from 1, while progressing.
    pub step: Option<usize>,
    /// How many steps there are.
    pub steps: usize,
    /// The canary's share that was asked for, a share in [0, 1].
    pub weight: f64,
    /// Whether the data plane confirmed it.
    pub confirmed: bool,
    /// Natural logarithm of the evidence against the canary.
    pub log_evidence: f64,
    /// Where it fails.
    pub log_threshold: f64,
    /// The largest weight that the evidence allows, a share in [0, 1].
    pub allowed: f64,
    /// Who paused it.
    pub paused_by: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// What the evidence says, in one sentence.
    pub verdict: Option<String>,
    /// Why nothing can be read at the moment.
    pub unobserved: Option<String>,
}

/// One change, for streams.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Which service.
    pub service: String,
    /// The deployment under way, if there is one.
    pub live: Option<LiveGlance>,
    /// What was decided, if anything.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// The shared board.
#[derive(Debug)]
pub struct Board {
    /// Serin's own metrics, counted by whoever has the board at hand.
    pub metrics: Metrics,
    services: RwLock<BTreeMap<String, Arc<Glance>>>,
    troubles: RwLock<BTreeMap<String, (Timestamp, String)>>,
    updates: broadcast::Sender<Arc<Update>>,
    events: AtomicU64,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            metrics: Metrics::default(),
            services: RwLock::default(),
            troubles: RwLock::default(),
            updates: broadcast::channel(STREAM).0,
            events: AtomicU64::new(0),
        }
    }
}

impl Board {
    /// Shows a service's new state.
    pub fn publish(&self, state: &State, reason: Option<&str>) {
        let at = now();
        let mut glance = glance(state);
        let live = glance.live.clone();
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        glance.reason = match reason {
            Some(reason) => Some((at, reason.to_owned())),
            None => services.get(&state.service).and_then(|old| old.reason.clone()),
        };
        services.insert(state.service.clone(), Arc::new(glance));
        drop(services);
        let service = state.service.clone();
        // Nobody listening is fine.
        let _ = self.updates.send(Arc::new(Update {
            service,
            live,
            reason: reason.map(str::to_owned),
            at,
        }));
    }

    /// One service.
    pub fn service(&self, name: &str) -> Option<Arc<Glance>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All services, by name.
    pub fn services(&self) -> Vec<Arc<Glance>> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Notes what is wrong with a part of Serin or its surroundings, or that it no longer is.
    pub fn trouble(&self, part: &str, what: Option<String>) {
        let mut troubles = self.troubles.write().unwrap_or_else(PoisonError::into_inner);
        match what {
            None => {
                troubles.remove(part);
            }
            Some(what) => {
                let since = troubles.get(part).map_or_else(now, |(since, _)| *since);
                troubles.insert(part.to_owned(), (since, what));
            }
        }
    }

    /// What is wrong: part, since when, what.
    pub fn troubles(&self) -> Vec<(String, Timestamp, String)> {
        let troubles = self.troubles.read().unwrap_or_else(PoisonError::into_inner);
        troubles.iter().map(|(part, (at, what))| (part.clone(), *at, what.clone())).collect()
    }

    /// Changes from now on.
    pub fn updates(&self) -> broadcast::Receiver<Arc<Update>> {
        self.updates.subscribe()
    }

    /// Counts appended events.
    pub fn appended(&self, events: usize) {
        self.events.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Events appended since the start.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

fn glance(state: &State) -> Glance {
    let live = state.live.as_deref();
    let policy =
        live.map(|l| &l.deployment.canary.policy).or(state.stable.as_ref().map(|s| &s.policy));
    let repository = live
        .map(|l| &l.deployment.canary.repository)
        .or(state.stable.as_ref().map(|s| &s.repository));
    Glance {
        service: state.service.clone(),
        repository: repository.cloned(),
        stable: state.stable.clone(),
        seen: state.seen.clone(),
        policy: policy.cloned(),
        live: live.map(live_glance),
        waiting: state
            .waiting
            .as_ref()
            .map(|c| format!("{} {}", c.revision().short(), c.commit.subject)),
        hold: state.hold.as_ref().map(|hold| hold.why.clone()),
        approvable: state.hold.as_ref().is_some_and(|hold| hold.revert.is_some()),
        reason: None,
    }
}

fn live_glance(live: &rollout::Live) -> LiveGlance {
    let canary = &live.deployment.canary;
    let verdict = live.verdict.as_ref();
    let step = match live.phase {
        rollout::Phase::Progressing { step, .. } => Some(step + 1),
        rollout::Phase::Adopting
        | rollout::Phase::Starting
        | rollout::Phase::Baking { .. }
        | rollout::Phase::Comparing { .. }
        | rollout::Phase::Promoting { .. }
        | rollout::Phase::RollingBack(_) => None,
    };
    LiveGlance {
        id: live.deployment.id.to_string(),
        revision: canary.revision().short().to_owned(),
        subject: canary.commit.subject.clone(),
        author: canary.commit.author.clone(),
        phase: live.phase.words(),
        step,
        steps: live.deployment.plan.steps().len(),
        weight: live.shift.weight.share(),
        confirmed: live.shift.confirmed.is_some(),
        log_evidence: verdict.map_or(0.0, |v| v.log_evidence),
        log_threshold: verdict.map_or(0.0, |v| v.log_threshold),
        allowed: verdict.map_or(0.0, |v| v.allowed),
        paused_by: live.paused.as_ref().map(|p| p.by.clone()),
        began: live.deployment.began,
        verdict: verdict.map(|v| v.reason.clone()),
        unobserved: live.unobserved.clone(),
    }
}
