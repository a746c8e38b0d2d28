//! What was found, by arm: each request once, and no more of each kind than was wanted.
//!
//! A trace that was found without regard to what it is counts as such, also when a search for slow or failed ones
//! finds it again: times are compared among those only, and that sample must not lose its slow ones. Routes are
//! taken in turn among slow and failed traces, so that one noisy route does not fill the sample; never among the
//! others, whose shares of routes are what the comparison weighs by.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use analysis::Arm;
use analysis_traces::{
    Arms, EntrySubtree, Kept, Refused, Resource, Span, TraceId, entries, name_of, traces,
};

use super::source::Wanted;

/// Requests of the baseline from which on it is known what is slow.
const ENOUGH: usize = 20;

/// Subtrees by arm.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    arms: &'a Arms,
    service: &'a str,
    seen: HashSet<(bool, TraceId)>,
    found: [Vec<EntrySubtree>; 2],
    /// What was left out of the traces.
    pub(super) refused: Refused,
    /// Requests of the service that say nothing that tells the arms apart.
    pub(super) unlabelled: u64,
}

impl<'a> Sample<'a> {
    /// Nothing yet. `service` is the name in the store's spans.
    pub(super) fn new(arms: &'a Arms, service: &'a str) -> Self {
        Self {
            arms,
            service,
            seen: HashSet::new(),
            found: [Vec::new(), Vec::new()],
            refused: Refused::default(),
            unlabelled: 0,
        }
    }

    /// Adds what a search for an arm found.
    pub(super) fn add(&mut self, arm: Arm, kept: Kept, spans: Vec<Span>) {
        for mut trace in traces(spans) {
            if !self.seen.insert((arm == Arm::Canary, trace.id)) {
                continue;
            }
            trace.kept = kept;
            for subtree in entries(trace, Some(self.service), &mut self.refused) {
                match arm_of(self.arms, subtree.entry()) {
                    Some(found) if found == arm => self.found[index(arm)].push(subtree),
                    Some(_) => {}
                    None => self.unlabelled += 1,
                }
            }
        }
    }

    /// How many there are of an arm.
    pub(super) fn count(&self, arm: Arm) -> usize {
        self.found[index(arm)].len()
    }

    /// What only one in twenty of the baseline's requests exceeds; `None` if there are too few to know.
    pub(super) fn slow(&self) -> Option<Duration> {
        let uniform = self.found[0].iter().filter(|one| one.kept() == Kept::Uniform);
        let mut lengths: Vec<u64> =
            uniform.map(|one| one.entry().end.saturating_sub(one.entry().start)).collect();
        if lengths.len() < ENOUGH {
            return None;
        }
        lengths.sort_unstable();
        lengths.get(lengths.len() * 19 / 20).copied().map(Duration::from_nanos)
    }

    /// What is handed on of an arm: no more than `most`, and of slow and failed ones no more than wanted.
    pub(super) fn take(&mut self, arm: Arm, wanted: Wanted, most: usize) -> Vec<EntrySubtree> {
        let all = std::mem::take(&mut self.found[index(arm)]);
        let mut kinds: [Vec<EntrySubtree>; 3] = Default::default();
        for subtree in all {
            let kind = match subtree.kept() {
                Kept::Uniform => 0,
                Kept::Slow => 1,
                Kept::Error => 2,
            };
            kinds[kind].push(subtree);
        }
        let [mut uniform, slow, error] = kinds;
        let slow = in_turn(slow, wanted.slow);
        let error = in_turn(error, wanted.error);
        uniform.sort_by_key(by_chance);
        uniform.truncate(most.saturating_sub(slow.len() + error.len()));
        uniform.extend(slow);
        uniform.extend(error);
        uniform
    }
}

/// Ids are random; in some systems only their second half is.
fn by_chance(subtree: &EntrySubtree) -> (u128, u64) {
    (subtree.trace().0.rotate_right(64), subtree.entry().id.0)
}

/// At most `most`, of each operation in turn.
fn in_turn(mut subtrees: Vec<EntrySubtree>, most: usize) -> Vec<EntrySubtree> {
    subtrees.sort_by_key(by_chance);
    let mut turns: HashMap<String, usize> = HashMap::new();
    let mut keyed: Vec<(usize, EntrySubtree)> = subtrees
        .into_iter()
        .map(|subtree| {
            let turn = turns.entry(name_of(subtree.entry())).or_default();
            *turn += 1;
            (*turn, subtree)
        })
        .collect();
    keyed.sort_by_key(|(turn, _)| *turn);
    keyed.truncate(most);
    keyed.into_iter().map(|(_, subtree)| subtree).collect()
}

/// The arm of a request: from its process, or from its own tags where a store does not keep them apart.
fn arm_of(arms: &Arms, entry: &Span) -> Option<Arm> {
    arms.arm_of(&entry.resource).or_else(|| {
        let mut attributes = entry.attributes.clone();
        let version = attributes.get("version").cloned();
        attributes.0.extend(version.map(|version| ("service.version".into(), version)));
        arms.arm_of(&Resource { service: Arc::clone(&entry.resource.service), attributes })
    })
}

fn index(arm: Arm) -> usize {
    usize::from(arm == Arm::Canary)
}

#[cfg(test)]
mod tests;
