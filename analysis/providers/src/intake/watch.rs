//! What is kept for one live deployment: its arms, its counts, its errors and its reservoir.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use analysis::{Arm, Exponential};
use analysis_traces::{
    Arms, Candidate, EntrySubtree, ErrorKind, Fingerprint, Refused, Requests, Reservoir, Span,
    spans_bytes,
};

use super::complete::Request;
use super::request::{cut, instance};
use super::tally::{Cell, Errors, Key, Seen, Tally};
use crate::subject::Measure;

/// Errors of one deployment; later ones are not told apart.
const MOST_ERRORS: usize = 1_000;

/// Ways to split the traffic that a policy may name.
const MOST_TALLIES: usize = 8;

/// Requests of synthetic checks that are kept of each arm, and the most spans of one.
const MOST_SYNTHETIC: usize = 60;
const LARGEST_SYNTHETIC: usize = 200;

/// Longest name of an error in bytes: its fingerprint and its words.
const LONGEST_ERROR: usize = 200;

/// Requests of one instance and route of one arm since the last time, exact.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmCount {
    /// Whose requests.
    pub arm: Arm,
    /// The process that answered.
    pub instance: String,
    /// The operation, where there are few; `(other)` beyond.
    pub route: Option<String>,
    /// Requests that were answered.
    pub requests: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// How long they took.
    pub durations: Exponential,
    /// Requests of which all spans are here: those among which errors were counted.
    pub complete: u64,
    /// Errors that were not known before the deployment, by fingerprint.
    pub errors: Vec<ErrorCount>,
}

/// Requests with one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCount {
    /// Which error.
    pub fingerprint: Fingerprint,
    /// Its fingerprint and words, at most 200 bytes.
    pub name: String,
    /// Requests with it, each counted once.
    pub requests: u64,
    /// Whether it was not told of before for this deployment.
    pub is_first: bool,
}

/// What is kept of one deployment.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) service: Arc<str>,
    pub(super) arms: Arms,
    /// Its arms were given, not read from a subject.
    pub(super) is_given: bool,
    /// When it was last asked about; nanoseconds since 1970.
    pub(super) asked: u64,
    pub(super) measures: Vec<Measure>,
    /// By route first.
    tallies: Vec<Tally>,
    errors: Errors,
    names: HashMap<Fingerprint, Named>,
    known: BTreeSet<Fingerprint>,
    pub(super) reservoir: Reservoir,
    /// What synthetic checks asked each arm for, the newest last.
    pub(super) synthetic: [VecDeque<EntrySubtree>; 2],
    pub(super) refused: Refused,
    requests: [u64; 2],
    /// When the newest request of each arm arrived.
    arrived: [Option<u64>; 2],
    /// Requests that belong to neither arm.
    pub(super) unlabelled: u64,
    /// Requests that stand for several, and for how many in all.
    pub(super) sampled: (u64, f64),
    /// When it was last measured.
    pub(super) measured: u64,
}

#[derive(Debug)]
struct Named {
    name: String,
    is_told: bool,
}

impl Watch {
    pub(super) fn new(
        service: Arc<str>,
        arms: Arms,
        known: BTreeSet<Fingerprint>,
        room: usize,
        now: u64,
    ) -> Self {
        Self {
            service,
            arms,
            is_given: false,
            asked: now,
            measures: Vec::new(),
            tallies: vec![Tally::new(Vec::new())],
            errors: Errors::default(),
            names: HashMap::new(),
            known,
            reservoir: Reservoir::new(room),
            synthetic: [VecDeque::new(), VecDeque::new()],
            refused: Refused::default(),
            requests: [0; 2],
            arrived: [None; 2],
            unlabelled: 0,
            sampled: (0, 0.0),
            measured: 0,
        }
    }

    /// Splits the traffic as these checks want it.
    pub(super) fn measure_by(&mut self, measures: &[Measure]) {
        if self.measures == measures {
            return;
        }
        self.measures = measures.to_vec();
        let wanted = |labels: &[String]| measures.iter().any(|measure| measure.strata == *labels);
        self.tallies.retain(|tally| tally.labels().is_empty() || wanted(tally.labels()));
        for measure in measures {
            let is_there = self.tallies.iter().any(|tally| *tally.labels() == *measure.strata);
            if !is_there && self.tallies.len() < MOST_TALLIES {
                self.tallies.push(Tally::new(measure.strata.clone()));
            }
        }
    }

    /// Counts a request as it arrives.
    pub(super) fn count(&mut self, entry: &Span, now: u64) {
        let Some(arm) = self.arms.arm_of(&entry.resource) else {
            self.unlabelled += 1;
            return;
        };
        self.requests[place(arm)] += 1;
        self.arrived[place(arm)] = self.arrived[place(arm)].max(Some(now));
        if entry.weight > 1.0 {
            self.sampled = (self.sampled.0 + 1, self.sampled.1 + entry.weight);
        }
        let instance = instance(&entry.resource);
        for tally in &mut self.tallies {
            tally.count(arm, &instance, entry);
        }
    }

    /// Keeps one of the newest requests of a synthetic check, where it is small.
    pub(super) fn take_synthetic(&mut self, subtree: &EntrySubtree) {
        let Some(arm) = self.arms.arm_of(&subtree.entry().resource) else { return };
        if subtree.spans().len() > LARGEST_SYNTHETIC {
            return;
        }
        let kept = &mut self.synthetic[place(arm)];
        if kept.len() >= MOST_SYNTHETIC {
            kept.pop_front();
        }
        kept.push_back(subtree.clone());
    }

    /// Takes in a request whose trace is complete; says whose it is.
    pub(super) fn take(
        &mut self,
        request: &Request,
        subtree: Option<EntrySubtree>,
        most_bytes: usize,
    ) -> Option<Arm> {
        let arm = self.arms.arm_of(&request.resource)?;
        if self.arrived[place(Arm::Canary)].is_none() {
            // Nothing of the canary is there yet: what shows now was there before it.
            self.known.extend(request.errors.iter().map(|error| error.fingerprint));
        }
        let new: Vec<Fingerprint> = request
            .errors
            .iter()
            .filter(|error| self.is_new(error))
            .map(|error| error.fingerprint)
            .collect();
        let route = self.tallies[0].stratum_of(&request.route);
        self.errors.count((arm, instance(&request.resource), route), new.into_iter());
        let Some(subtree) = subtree else { return Some(arm) };
        if spans_bytes(subtree.spans()) > most_bytes {
            self.refused.oversized += 1;
            return Some(arm);
        }
        let error = request.errors.first().map(|error| error.fingerprint);
        self.reservoir.offer(arm, Candidate { route: request.route.clone(), error, subtree });
        Some(arm)
    }

    /// Whether an error was not known before, and has a name of its own.
    fn is_new(&mut self, error: &ErrorKind) -> bool {
        if self.known.contains(&error.fingerprint) {
            return false;
        }
        if self.names.contains_key(&error.fingerprint) {
            return true;
        }
        if self.names.len() >= MOST_ERRORS {
            return false;
        }
        let name = error_name(error);
        self.names.insert(error.fingerprint, Named { name, is_told: false });
        true
    }

    /// The name of an error for people and for a stratum.
    pub(super) fn name(&self, error: Fingerprint) -> String {
        self.names.get(&error).map_or_else(|| error.to_string(), |named| named.name.clone())
    }

    /// Errors that were known before the canary appeared.
    pub(super) fn known(&self) -> &BTreeSet<Fingerprint> {
        &self.known
    }

    /// Requests of both arms since it is watched.
    pub(super) fn requests(&self) -> Requests {
        Requests { baseline: self.requests[0], canary: self.requests[1] }
    }

    /// When the newest request of an arm arrived; nanoseconds since 1970.
    pub(super) fn arrived(&self, arm: Arm) -> Option<u64> {
        self.arrived[place(arm)]
    }

    /// Whether an arm has counts that were not taken.
    pub(super) fn has_counts(&self, arm: Arm) -> bool {
        self.tallies.iter().all(|tally| tally.has(arm))
    }

    /// Whether an arm has complete requests that were not taken.
    pub(super) fn has_complete(&self, arm: Arm) -> bool {
        self.errors.has(arm)
    }

    /// All counts since the last time, by the labels that split them.
    pub(super) fn take_cells(&mut self) -> HashMap<Vec<String>, BTreeMap<Key, Cell>> {
        self.tallies.iter_mut().map(|tally| (tally.labels().to_vec(), tally.take())).collect()
    }

    /// All errors since the last time.
    pub(super) fn take_errors(&mut self) -> BTreeMap<Key, Seen> {
        self.errors.take()
    }

    /// All counts and errors since the last time, by route.
    pub(super) fn take_counts(&mut self) -> Vec<ArmCount> {
        let mut cells = self.take_cells().remove(&Vec::new()).unwrap_or_default();
        let mut errors = self.errors.take();
        let keys: BTreeSet<Key> = cells.keys().chain(errors.keys()).cloned().collect();
        keys.into_iter()
            .map(|key| {
                let cell = cells.remove(&key).unwrap_or_else(Cell::empty);
                let seen = errors.remove(&key).unwrap_or_default();
                let (arm, instance, route) = key;
                ArmCount {
                    arm,
                    instance: instance.to_string(),
                    route: Some(route.to_string()).filter(|route| !route.is_empty()),
                    requests: cell.requests,
                    failed: cell.failed,
                    durations: cell.durations,
                    complete: seen.requests,
                    errors: seen
                        .errors
                        .into_iter()
                        .map(|(error, requests)| self.counted(error, requests))
                        .collect(),
                }
            })
            .collect()
    }

    fn counted(&mut self, fingerprint: Fingerprint, requests: u64) -> ErrorCount {
        let name = self.name(fingerprint);
        let named = self.names.get_mut(&fingerprint);
        let is_first = named.is_some_and(|named| !std::mem::replace(&mut named.is_told, true));
        ErrorCount { fingerprint, name, requests, is_first }
    }
}

pub(super) fn place(arm: Arm) -> usize {
    match arm {
        Arm::Baseline => 0,
        Arm::Canary => 1,
    }
}

/// `0123456789abcdef Type: message`, in one line.
fn error_name(error: &ErrorKind) -> String {
    let words = error.to_string();
    let words: Vec<&str> = words.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let words = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    cut(&format!("{} {words}", error.fingerprint), LONGEST_ERROR).to_owned()
}
