//! Synthetic journeys of live deployments: one pair at a time for each, baseline and canary in turn.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use analysis::{Arm, Observation, Sample, Scrape};
use analysis_traces::TraceId;
use jiff::Timestamp;
use rollout::{DeploymentId, Happened, Policy};
use tokio::task::JoinSet;

use super::{Meter, Meters, Sources};
use crate::clock::now;
use crate::journey::{Attempt, Script, pair};

/// Pairs whose traces are remembered, the newest; enough to compare.
const MOST_PAIRS: usize = 200;

/// Failures that are remembered, the newest.
const MOST_FAILURES: usize = 3;

/// One journey of one deployment.
pub(super) struct Walk {
    script: Arc<Script>,
    due: Timestamp,
    walking: bool,
    pairs: u64,
}

/// A pair that was walked.
pub(super) struct Walked {
    deployment: DeploymentId,
    journey: usize,
    attempts: [Attempt; 2],
}

/// What the journeys of a deployment left behind, for people.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// Traces of pairs, baseline and canary; the newest last.
    pub traces: VecDeque<[TraceId; 2]>,
    /// How attempts on the canary failed that did not fail on the baseline, in words; the newest last.
    pub failures: VecDeque<String>,
}

/// The trails of all deployments.
#[derive(Default)]
pub(super) struct Trails(Mutex<HashMap<DeploymentId, Trail>>);

impl Trails {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeploymentId, Trail>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn of(&self, id: &DeploymentId) -> Trail {
        self.lock().get(id).cloned().unwrap_or_default()
    }

    pub(super) fn forget(&self, id: &DeploymentId) {
        self.lock().remove(id);
    }
}

/// The journeys of a policy, ready to be walked.
pub(super) fn walks(policy: &Policy) -> Vec<Walk> {
    let ready = policy.journeys.iter().filter_map(|journey| {
        let script = Script::new(journey).inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, journey = journey.name, "a journey cannot be walked");
        });
        Some(Walk { script: Arc::new(script.ok()?), due: now(), walking: false, pairs: 0 })
    });
    ready.collect()
}

impl Meters {
    /// Sets out on every journey that is due and has an instance of both versions to ask.
    pub(super) fn set_out(&self, sources: &Sources, at: Timestamp, walking: &mut JoinSet<Walked>) {
        for (id, meter) in self.lock().iter_mut() {
            if meter.walks.is_empty() {
                continue;
            }
            let bases = [&meter.stable, &meter.canary].map(|revision| {
                let running = sources.processes.running(&meter.service, revision);
                running.into_iter().map(|process| process.address).collect::<Vec<_>>()
            });
            for (journey, walk) in meter.walks.iter_mut().enumerate() {
                let turn = usize::try_from(walk.pairs).unwrap_or(usize::MAX);
                let one = |all: &Vec<_>| all.get(turn % all.len().max(1)).copied();
                let (Some(stable), Some(canary)) = (one(&bases[0]), one(&bases[1])) else {
                    continue;
                };
                if walk.walking || at < walk.due {
                    continue;
                }
                walk.walking = true;
                walk.due = at.checked_add(walk.script.journey().every).unwrap_or(Timestamp::MAX);
                let canary_first = walk.pairs % 2 == 1;
                walk.pairs += 1;
                let (script, client, deployment) =
                    (walk.script.clone(), sources.client.clone(), id.clone());
                walking.spawn(async move {
                    let bases = [stable, canary].map(|address| format!("http://{address}"));
                    let bases = [&*bases[0], &*bases[1]];
                    let attempts = pair(&client, &script, bases, canary_first).await;
                    Walked { deployment, journey, attempts }
                });
            }
        }
    }

    /// Takes a pair in.
    pub(super) fn came_back(&self, walked: Walked, events: &mut Vec<(String, Happened)>) {
        let Walked { deployment, journey, attempts } = walked;
        let mut meters = self.lock();
        let Some(meter) = meters.get_mut(&deployment) else { return };
        let Some(scrape) = meter.walked(journey, &attempts) else { return };
        let [baseline, canary] = &attempts;
        let mut trails = self.trails.lock();
        let trail = trails.entry(deployment.clone()).or_default();
        if trail.traces.len() >= MOST_PAIRS {
            trail.traces.pop_front();
        }
        trail.traces.push_back([baseline.trace, canary.trace]);
        if let (None, Some(failure)) = (&baseline.failed, &canary.failed) {
            if trail.failures.len() >= MOST_FAILURES {
                trail.failures.pop_front();
            }
            let name = &meter.policy.journeys[journey].name;
            trail
                .failures
                .push_back(format!("journey {name} fails on the canary alone: {failure}"));
        }
        events.push((meter.service.clone(), Happened::Observed { deployment, scrape }));
    }
}

impl Meter {
    fn walked(&mut self, journey: usize, attempts: &[Attempt; 2]) -> Option<Scrape> {
        let walk = self.walks.get_mut(journey)?;
        walk.walking = false;
        let check = walk.script.journey().name.clone();
        let arms = [Arm::Baseline, Arm::Canary];
        let observations = arms.into_iter().zip(attempts).map(|(arm, attempt)| Observation {
            arm,
            instance: walk.pairs.to_string(),
            check: check.clone(),
            stratum: None,
            sample: Sample::Attempt { failed: attempt.failed.is_some(), seconds: attempt.seconds },
        });
        Some(Scrape { at: now(), observations: observations.collect() })
    }
}
