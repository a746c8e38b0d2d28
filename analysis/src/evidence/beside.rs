//! Evidence that is no comparison of rates: errors that nobody saw before, and journeys walked on both versions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Arm, Observation, Refusal, Sample,
    sequential::{Look, NewErrors, Paired, paired::Pair},
};

/// Bytes of an error's name that tell it from others: its fingerprint.
const FINGERPRINT: usize = 16;

/// Most errors of one scrape; a version that fails in more ways than these fails.
const MOST_ERRORS: usize = 200;

/// New errors, scrape by scrape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Novelty {
    pub(crate) evidence: NewErrors,
    /// Requests so far, canary first.
    pub(crate) requests: [u64; 2],
    /// Fingerprints that earlier rollouts saw in stable.
    known: BTreeSet<String>,
    #[serde(skip)]
    incoming: Look,
}

impl Novelty {
    pub(crate) fn knowing(known: &BTreeSet<String>) -> Self {
        Self { known: known.clone(), ..Self::default() }
    }

    /// Requests of one instance, or those of them that showed one error.
    pub(crate) fn take(&mut self, observation: &Observation) -> Result<(), Refusal> {
        let Sample::Events { events, of } = observation.sample else {
            return Err(Refusal::WrongKind);
        };
        let look = &mut self.incoming;
        let of_canary = observation.arm == Arm::Canary;
        let Some(name) = &observation.stratum else {
            let (requests, all) = match observation.arm {
                Arm::Canary => (&mut look.canary_requests, &mut self.requests[0]),
                Arm::Baseline => (&mut look.baseline_requests, &mut self.requests[1]),
            };
            *requests = requests.saturating_add(of);
            *all = all.saturating_add(of);
            if of_canary && of > 0 {
                look.canary_instances.insert(observation.instance.clone());
            }
            return Ok(());
        };
        if events == 0 || self.known.contains(fingerprint(name)) {
            return Ok(());
        }
        if look.errors.len() >= MOST_ERRORS && !look.errors.contains_key(name) {
            return Err(Refusal::TooManyStrata);
        }
        let seen = look.errors.entry(name.clone()).or_default();
        if of_canary {
            seen.canary = seen.canary.saturating_add(events);
            seen.instances.insert(observation.instance.clone());
        } else {
            seen.baseline = seen.baseline.saturating_add(events);
        }
        Ok(())
    }

    /// Whether the scrape said anything.
    pub(crate) fn settle(&mut self) -> bool {
        let look = std::mem::take(&mut self.incoming);
        let compares = look.canary_requests > 0 && look.baseline_requests > 0;
        self.evidence.observe(&look);
        compares
    }

    /// Fingerprints that stable showed.
    pub(crate) fn of_baseline(&self) -> impl Iterator<Item = &str> {
        self.evidence.of_baseline().map(fingerprint)
    }
}

/// What tells one error from another in a name like `00f1e2d3c4b5a697 TypeError: x is undefined`.
fn fingerprint(name: &str) -> &str {
    name.get(..FINGERPRINT).unwrap_or(name)
}

/// The same for people: without the fingerprint, where words follow.
pub(crate) fn words_of(name: &str) -> &str {
    let words = name.get(FINGERPRINT..).unwrap_or_default().trim();
    if words.is_empty() { name } else { words }
}

/// Journeys, pair by pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Walked {
    pub(crate) paired: Paired,
    pub(crate) gate: u32,
    /// Attempts of this scrape by pair, canary first.
    #[serde(skip)]
    incoming: BTreeMap<String, [Option<(bool, f64)>; 2]>,
}

impl Walked {
    pub(crate) fn new(stretch: f64, gate: u32) -> Self {
        Self { paired: Paired::new(stretch), gate, incoming: BTreeMap::new() }
    }

    pub(crate) fn take(&mut self, observation: &Observation) -> Result<(), Refusal> {
        let Sample::Attempt { failed, seconds } = observation.sample else {
            return Err(Refusal::WrongKind);
        };
        let pair = self.incoming.entry(observation.instance.clone()).or_default();
        pair[usize::from(observation.arm == Arm::Baseline)] = Some((failed, seconds));
        Ok(())
    }

    /// Counts the pairs of the scrape; an attempt without its counterpart is no pair. Whether there was one.
    pub(crate) fn settle(&mut self) -> bool {
        let mut some = false;
        for pair in std::mem::take(&mut self.incoming).into_values() {
            if let [Some(canary), Some(baseline)] = pair {
                let (failed, seconds) = ([baseline.0, canary.0], [baseline.1, canary.1]);
                self.paired.add(Pair { failed, seconds });
                some = true;
            }
        }
        some
    }

    /// Whether enough pairs have passed for the canary to get traffic.
    pub(crate) fn passes(&self) -> bool {
        self.paired.passes(self.gate.into())
    }
}
