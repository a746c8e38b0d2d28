//! New errors as evidence, at the moment they appear.
//!
//! If the canary is harmless, an error that nobody saw before falls into the canary with its share `q` of the
//! requests, each time anew. Seen `k` times in the canary and never in the baseline, its probability is `q^k`, and
//! `q^-k` (0 once the baseline has it as well) is an e-process from its first appearance on: a bet, at fair odds,
//! that the next one is the canary's again (Vovk and Wang 2021, arXiv 1912.06116). A small canary share makes new
//! errors strong evidence early, the opposite of a test of rates.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{as_f64, weighted_mean};

/// Times that an error must be seen before it says anything.
pub const LEAST_TIMES: u64 = 3;

/// Traces, and instances where the canary has as many, that must show it.
pub const LEAST_APART: usize = 2;

/// Most errors that are told apart; later ones say nothing.
const MOST_ERRORS: usize = 1_000;

/// The canary's share is never taken as smaller than this: a canary without counted requests proves nothing.
const LEAST_SHARE: f64 = 1e-6;

/// Requests with one error since the look before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Requests of the canary with it; each counts once, however often it failed.
    pub canary: u64,
    /// Requests of the baseline with it.
    pub baseline: u64,
    /// Canary instances that showed it.
    pub instances: BTreeSet<String>,
}

/// What was counted since the look before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Requests that the canary answered.
    pub canary_requests: u64,
    /// Requests that the baseline answered.
    pub baseline_requests: u64,
    /// Canary instances that answered any.
    pub canary_instances: BTreeSet<String>,
    /// Errors by name, without those that were known before.
    pub errors: BTreeMap<String, Seen>,
}

/// One error that was not known before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct New {
    /// Requests of the canary with it.
    pub canary: u64,
    /// Requests of the baseline with it; at 1 or more it is not the canary's.
    pub baseline: u64,
    /// Canary instances that showed it; at most two are kept.
    pub instances: BTreeSet<String>,
    /// Natural logarithm of `q^-k`, while the baseline has not shown it.
    pub log_evidence: f64,
    /// Its part of the bet, fixed when it first appeared.
    pub weight: f64,
}

/// The evidence of new errors, look by look. Plain data: store it and go on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NewErrors {
    errors: BTreeMap<String, New>,
    canary_instances: BTreeSet<String>,
}

impl NewErrors {
    /// Takes in what one look counted. Errors that were seen before the canary appeared are to be left out of it.
    pub fn observe(&mut self, look: &Look) {
        keep_two(&mut self.canary_instances, &look.canary_instances);
        let all = as_f64(look.canary_requests) + as_f64(look.baseline_requests);
        // Without requests of the baseline there is nothing to be new against: q = 1, and no factor changes.
        let share = if look.baseline_requests == 0 || all <= 0.0 {
            1.0
        } else {
            (as_f64(look.canary_requests) / all).clamp(LEAST_SHARE, 1.0)
        };
        for (name, seen) in &look.errors {
            if seen.canary.saturating_add(seen.baseline) == 0 {
                continue;
            }
            let order = self.errors.len();
            if !self.errors.contains_key(name) {
                if order >= MOST_ERRORS {
                    continue;
                }
                // 1/2, 1/6, 1/12, ...: sums to 1 however many there will be, and known before the first throw.
                let place = as_f64(order as u64) + 1.0;
                let weight = 1.0 / (place * (place + 1.0));
                self.errors.insert(name.clone(), New { weight, ..New::default() });
            }
            let Some(new) = self.errors.get_mut(name) else { continue };
            new.canary = new.canary.saturating_add(seen.canary);
            new.baseline = new.baseline.saturating_add(seen.baseline);
            new.log_evidence -= as_f64(seen.canary) * share.ln();
            keep_two(&mut new.instances, &seen.instances);
        }
    }

    /// Natural logarithm of the e-value against "no new error is the canary's"; merge it like that of any check.
    pub fn log_evidence(&self) -> f64 {
        let mut unused = 1.0;
        let mut parts = Vec::with_capacity(self.errors.len() + 1);
        for new in self.errors.values() {
            unused -= new.weight;
            parts.push((new.weight, self.log_evidence_of(new)));
        }
        parts.push((unused.max(f64::MIN_POSITIVE), 0.0));
        weighted_mean(parts.into_iter())
    }

    /// Natural logarithm of one error's own e-value, without its weight. An error seen too rarely, or at one place
    /// only, may speak against itself but not for it.
    pub fn log_evidence_of(&self, new: &New) -> f64 {
        if new.baseline > 0 {
            return f64::NEG_INFINITY;
        }
        let places = LEAST_APART.min(self.canary_instances.len());
        if new.canary < LEAST_TIMES || new.instances.len() < places {
            return new.log_evidence.min(0.0);
        }
        new.log_evidence
    }

    /// The error that speaks most against the canary, with its own evidence.
    pub fn strongest(&self) -> Option<(&str, &New)> {
        let only_of_canary = self.errors.iter().filter(|(_, new)| self.log_evidence_of(new) > 0.0);
        only_of_canary
            .max_by(|a, b| a.1.log_evidence.total_cmp(&b.1.log_evidence).then(b.0.cmp(a.0)))
            .map(|(name, new)| (name.as_str(), new))
    }

    /// Errors that the baseline showed: the next canary is not to be blamed for them.
    pub fn of_baseline(&self) -> impl Iterator<Item = &str> {
        self.errors.iter().filter(|(_, new)| new.baseline > 0).map(|(name, _)| name.as_str())
    }
}

fn keep_two(kept: &mut BTreeSet<String>, more: &BTreeSet<String>) {
    for name in more {
        if kept.len() >= LEAST_APART {
            return;
        }
        kept.insert(name.clone());
    }
}

#[cfg(test)]
mod tests;
